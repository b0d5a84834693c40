"""Special tokens of checkpoints: which are read, which count, and what is written."""

import json
from pathlib import Path

import pytest

from modeloutputs.architectures import GPT2Config
from modeloutputs.errors import FileFormatError
from modeloutputs.generation.special_tokens import read_special_tokens, special_tokens_of, write_special_tokens


def test_special_tokens_are_read_and_written_and_nothing_else(tmp_path: Path):
    assert read_special_tokens(tmp_path) == {}
    path = tmp_path / "generation_config.json"
    content = {"eos_token_id": [7, 8], "pad_token_id": 3, "do_sample": True, "max_length": 6, "bos_token_id": None}
    path.write_text(json.dumps(content))
    found = read_special_tokens(tmp_path)
    assert found == {"eos_token_id": [7, 8], "pad_token_id": 3}
    write_special_tokens(tmp_path, found)
    assert json.loads(path.read_text()) == found


def test_no_file_is_written_for_no_tokens(tmp_path: Path):
    write_special_tokens(tmp_path, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", ["{", '{"eos_token_id": "end"}', '{"pad_token_id": [1.5]}', '{"eos_token_id": true}']
)
def test_a_corrupt_file_is_refused(tmp_path: Path, content: str):
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(FileFormatError, match=r"generation_config\.json") as raised:
        read_special_tokens(tmp_path)
    assert "\n" not in str(raised.value)


def test_the_generation_config_takes_precedence_over_the_configuration():
    config = GPT2Config(vocab_size=20, eos_token_id=5, bos_token_id=6, other={"forced_eos_token_id": 9})
    found = special_tokens_of(config, {"eos_token_id": [7, 8]})
    assert found["eos_token_id"] == [7, 8]
    assert found["bos_token_id"] == [6]
    assert found["forced_eos_token_id"] == [9]
    assert found["pad_token_id"] == []


def test_tokens_outside_the_vocabulary_do_not_count():
    config = GPT2Config(vocab_size=20, eos_token_id=50256)
    assert special_tokens_of(config, {})["eos_token_id"] == []
    assert special_tokens_of(config, {"eos_token_id": [20, 13], "pad_token_id": -1})["eos_token_id"] == [13]
    assert special_tokens_of(config, {"pad_token_id": -1})["pad_token_id"] == []
