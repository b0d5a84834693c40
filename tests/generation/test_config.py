"""What generation_config.json says: read, set, and written whole."""

import copy
import json
import pickle
from pathlib import Path

import pytest

from modeloutputs.errors import FileFormatError, InputError
from modeloutputs.generation.config import GenerationConfig

SAID = {
    "_from_model_config": True,
    "bos_token_id": None,
    "do_sample": True,
    "early_stopping": True,
    "eos_token_id": [7, 8],
    "max_length": 142,
    "min_length": 56,
    "no_repeat_ngram_size": 3,
    "num_beams": 4,
    "of_tomorrow": {"a": [1, None]},
    "self": 5,
    "pad_token_id": 3,
    "transformers_version": "4.31.0",
}


def test_every_setting_survives_known_or_not(tmp_path: Path):
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps(SAID))
    for place in (tmp_path, path, str(tmp_path)):
        config = GenerationConfig.from_pretrained(place)
        assert config.to_dict() == SAID
    path.unlink()
    config.save_pretrained(tmp_path)
    assert json.loads(path.read_text()) == SAID
    assert config.token_ids() == {"eos_token_id": [7, 8], "pad_token_id": 3}


def test_settings_are_attributes_and_what_was_set_is_told_apart(tmp_path: Path):
    (tmp_path / "generation_config.json").write_text(json.dumps(SAID))
    config = GenerationConfig.from_pretrained(tmp_path)
    assert (config.num_beams, config.of_tomorrow, config.top_p, config.bos_token_id) == (
        4,
        {"a": [1, None]},
        None,
        None,
    )
    assert config.assigned() == {}
    config.pad_token_id = config.eos_token_id[0]
    config.update(max_new_tokens=5, top_p=None)
    assert config.assigned() == {"pad_token_id": 7, "max_new_tokens": 5}
    assert config.to_dict() == {**SAID, "pad_token_id": 7, "max_new_tokens": 5, "top_p": None}
    assert GenerationConfig(num_beams=2).assigned() == {"num_beams": 2}
    del config.max_new_tokens
    assert config.assigned() == {"pad_token_id": 7}
    with pytest.raises(AttributeError, match="generation_config has no setting 'num_beans'"):
        _ = config.num_beans


def test_copies_are_of_their_own():
    config = GenerationConfig(eos_token_id=[7])
    for made in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert made == config
        made.eos_token_id.append(8)
        made.top_k = 5
        assert config == GenerationConfig(eos_token_id=[7])
    assert repr(config) == "GenerationConfig(eos_token_id=[7])"


def test_no_file_for_no_settings(tmp_path: Path):
    assert GenerationConfig.from_pretrained(tmp_path) == GenerationConfig()
    GenerationConfig().save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_json_lacks_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(InputError, match=r"generation_config cannot be written as JSON: .* not JSON serializable"):
        GenerationConfig(logits_processor=[max]).save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_path_where_nothing_is(tmp_path: Path):
    with pytest.raises(InputError, match=r"generation_config is '.*gone', where there is no file; pass a checkpoint's"):
        GenerationConfig.from_pretrained(tmp_path / "gone")


@pytest.mark.parametrize(
    "content", ["{", '{"eos_token_id": "end"}', '{"pad_token_id": [1.5]}', '{"eos_token_id": true}']
)
def test_a_corrupt_file_is_refused(tmp_path: Path, content: str):
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(FileFormatError, match=r"generation_config\.json") as raised:
        GenerationConfig.from_pretrained(tmp_path)
    assert "\n" not in str(raised.value)
