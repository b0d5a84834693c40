"""Reading, overriding and writing config.json, which all configurations share; BERT's stands for them."""

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from modeloutputs import errors
from modeloutputs.architectures import BertConfig, Config, GPT2Config, LlamaConfig
from modeloutputs.errors import CheckpointError, CheckpointNotFoundError, FileFormatError, InputError


def written(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def write(folder: Path, text: str) -> Path:
    (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


# -- the round trip -----------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    config = BertConfig(
        hidden_size=32,
        num_attention_heads=4,
        hidden_act="relu",
        classifier_dropout=0.25,
        id2label={0: "no", 1: "yes", 2: "köszönöm"},
        problem_type="single_label_classification",
        dtype="bfloat16",
        output_attentions=True,
        is_decoder=True,
        add_cross_attention=True,
        tie_word_embeddings=False,
        other={"vendor": {"note": [1, None, "ß"]}},
    )
    config.save_pretrained(tmp_path / "new" / "folder")
    assert BertConfig.from_pretrained(tmp_path / "new" / "folder") == config


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(BertConfig) if "None" in str(f.type)])
def test_none_is_not_read_back_as_the_default(field: str, tmp_path: Path) -> None:
    config = BertConfig(**{field: None})
    config.save_pretrained(tmp_path)
    assert BertConfig.from_pretrained(tmp_path) == config


def test_keys_that_are_no_fields_survive_reading_and_writing(tmp_path: Path) -> None:
    unknown = {
        "architectures": ["BertModel"],
        "gradient_checkpointing": False,
        "transformers_version": "4.8.2",
        "x": None,
    }
    config = BertConfig.from_dict({"model_type": "bert", "hidden_size": 24, **unknown})
    assert config.other == unknown
    config.save_pretrained(tmp_path)
    assert unknown.items() <= written(tmp_path).items()
    assert BertConfig.from_pretrained(tmp_path) == config


def test_writing_replaces_what_is_there_and_leaves_nothing_else(tmp_path: Path) -> None:
    BertConfig(hidden_size=24).save_pretrained(tmp_path)
    BertConfig(hidden_size=48).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert written(tmp_path)["hidden_size"] == 48


def test_two_configurations_share_nothing_mutable() -> None:
    first, second = BertConfig(), BertConfig()
    first.other["note"] = 1
    assert second.other == {}
    assert first.id2label is not second.id2label


# -- overrides ----------------------------------------------------------------------------------------------------


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    BertConfig(hidden_size=24, hidden_act="relu").save_pretrained(tmp_path)
    config = BertConfig.from_pretrained(tmp_path, hidden_size=48, output_hidden_states=True)
    assert (config.hidden_size, config.output_hidden_states, config.hidden_act) == (48, True, "relu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hidden_sizes", "BertConfig has no setting 'hidden_sizes'; did you mean 'hidden_size'?"),
        ("torch_dtype", "BertConfig has no setting 'torch_dtype'; did you mean 'dtype'?"),
        ("other", "BertConfig has no setting 'other'"),
        ("model_type", "BertConfig has no setting 'model_type'"),
    ],
)
def test_a_misspelt_override_is_refused(name: str, message: str, tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError) as caught:
        BertConfig.from_pretrained(tmp_path, **{name: 1})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_override_of_a_misspelt_key_in_the_file_does_not_make_it_a_setting() -> None:
    with pytest.raises(InputError, match="no setting 'hidden_sizes'"):
        BertConfig.from_dict({"hidden_sizes": 3}, hidden_sizes=4)


# -- labels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ({}, {0: "LABEL_0", 1: "LABEL_1"}),
        ({"num_labels": 1}, {0: "LABEL_0"}),
        ({"num_labels": 3}, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, {0: "a", 1: "b", 2: "c"}),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"stale": 0}}, {0: "a", 1: "b", 2: "c"}),
        ({"label2id": {"a": 0, "b": 1, "c": 2}}, {0: "a", 1: "b", 2: "c"}),
        ({"num_labels": 3, "id2label": {"0": "a", "1": "b", "2": "c"}}, {0: "a", 1: "b", 2: "c"}),
        ({"id2label": None, "label2id": None, "num_labels": 3}, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}),
        ({"id2label": {}, "label2id": {}}, {0: "LABEL_0", 1: "LABEL_1"}),
    ],
)
def test_labels_agree_however_they_are_given(values: dict[str, Any], labels: dict[int, str]) -> None:
    config = BertConfig.from_dict(values)
    assert config.id2label == labels
    assert config.label2id == {label: i for i, label in labels.items()}
    assert config.num_labels == len(labels)


THREE = {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}


@pytest.mark.parametrize("in_file", [THREE, {"num_labels": 3}, {"num_labels": 3, **THREE}])
def test_overridden_labels_put_aside_those_of_the_file(in_file: dict[str, Any]) -> None:
    assert BertConfig.from_dict(in_file, num_labels=5).num_labels == 5
    assert BertConfig.from_dict(in_file, id2label={0: "x"}).id2label == {0: "x"}
    assert BertConfig.from_dict(in_file, label2id={"x": 0}).id2label == {0: "x"}


def test_as_many_labels_as_the_file_has_keep_their_names() -> None:
    assert BertConfig.from_dict(THREE, num_labels=3).id2label == {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_labels": 3, "id2label": {0: "a"}}, "num_labels is 3, and the labels are 1"),
        ({"num_labels": 0}, "num_labels is 0; it must be a positive integer"),
        ({"num_labels": -1}, "num_labels is -1"),
        ({"num_labels": 2.5}, "num_labels is 2.5"),
        ({"id2label": {"first": "a"}}, "id2label is {'first': 'a'}"),
        ({"id2label": ["a", "b"]}, r"id2label is \['a', 'b'\]"),
        ({"id2label": {0: ["a"]}}, "id2label is"),
        ({"label2id": {"a": None}}, "label2id {'a': None}"),
        ({"problem_type": "regresion"}, "problem_type is 'regresion'; did you mean 'regression'?"),
        ({"add_cross_attention": True}, "add_cross_attention=True needs is_decoder=True"),
    ],
)
def test_settings_that_contradict_or_cannot_be_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        BertConfig(**values)
    assert "\n" not in str(caught.value)


def test_replacing_the_number_of_labels_is_never_silently_ignored() -> None:
    with pytest.raises(InputError, match="num_labels is 5, and the labels are 2"):
        dataclasses.replace(BertConfig(), num_labels=5)


# -- dtype --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ({}, None),
        ({"torch_dtype": "float16"}, "float16"),
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, "bfloat16"),
    ],
)
def test_the_older_name_of_dtype_is_read_and_not_written(values: dict[str, Any], dtype: str | None) -> None:
    config = BertConfig.from_dict(values)
    assert config.dtype == dtype
    assert "torch_dtype" not in config.to_dict()


def test_an_overridden_dtype_wins_over_the_older_name() -> None:
    assert BertConfig.from_dict({"torch_dtype": "float16"}, dtype="float64").dtype == "float64"


# -- what cannot be read ------------------------------------------------------------------------------------------


def test_a_configuration_of_another_architecture_is_refused(tmp_path: Path) -> None:
    write(tmp_path, '{"model_type": "gpt2", "n_embd": 768}')
    with pytest.raises(CheckpointError, match="model_type is 'gpt2', and BertConfig reads 'bert'"):
        BertConfig.from_pretrained(tmp_path)


def test_a_configuration_that_names_no_architecture_is_taken_as_the_one_asked_for() -> None:
    assert BertConfig.from_dict({"hidden_size": 24}).hidden_size == 24


def test_the_base_reads_any_architecture() -> None:
    assert Config.from_dict({"model_type": "gpt2", "n_embd": 768}).other == {"n_embd": 768}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ('{"hidden_size": 32', "is not valid JSON"),
        ("[1, 2]", "should hold a JSON object, and holds a list"),
        ("null", "should hold a JSON object, and holds a NoneType"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"hidden_size": ' + "9" * 5000 + "}", "is not valid JSON"),
    ],
    ids=["empty", "cut off", "list", "null", "nested too deep", "number too long"],
)
def test_a_corrupt_file_gives_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=message) as caught:
        BertConfig.from_pretrained(write(tmp_path, text))
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_give_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"hidden_act": "\xff"}')
    with pytest.raises(FileFormatError, match="is not valid JSON"):
        BertConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("make_folder", [False, True])
def test_a_folder_without_the_file_is_no_checkpoint(make_folder: bool, tmp_path: Path) -> None:
    if make_folder:
        (tmp_path / "config.json").mkdir()
    with pytest.raises(CheckpointNotFoundError, match=r"has no config\.json; is it a checkpoint folder\?") as caught:
        BertConfig.from_pretrained(tmp_path)
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, errors.ModelOutputsError)


# -- foreign settings, common names, and assigning ----------------------------------------------------------------


def test_foreign_keywords_are_kept_readable_and_saved(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    config = GPT2Config(type_vocab_size=3, hidden_dropout_prob=0.2, note={"a": [1]})
    assert (config.type_vocab_size, config.hidden_dropout_prob, config.note) == (3, 0.2, {"a": [1]})
    config.save_pretrained(tmp_path)
    again = GPT2Config.from_pretrained(tmp_path)
    assert again == config
    assert again.type_vocab_size == written(tmp_path)["type_vocab_size"] == 3
    assert not recwarn.list


def test_a_foreign_keyword_near_a_known_one_is_kept_with_a_warning() -> None:
    with pytest.warns(errors.ConfigWarning) as caught:
        config = BertConfig(hidden_sizes=3)
    assert str(caught[0].message) == (
        "BertConfig has no setting 'hidden_sizes', which is kept as it is; did you mean 'hidden_size'?"
    )
    assert caught[0].filename == __file__
    assert config.hidden_sizes == 3


def test_what_a_file_says_is_not_guessed_at(recwarn: pytest.WarningsRecorder) -> None:
    assert BertConfig.from_dict({"hidden_sizes": 3}).hidden_sizes == 3
    assert not recwarn.list


def test_foreign_settings_may_be_assigned(tmp_path: Path) -> None:
    config = BertConfig()
    config.temperature = 0.5
    config._cached = object()  # private: kept, and not saved
    config.save_pretrained(tmp_path)
    assert written(tmp_path)["temperature"] == 0.5
    assert "_cached" not in written(tmp_path)
    for carry in (copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c)), dataclasses.replace):
        again = BertConfig.from_pretrained(tmp_path)
        assert carry(again).temperature == 0.5


def test_an_absent_setting_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^BertConfig has no setting 'hiden_size'$"):
        _ = BertConfig().hiden_size
    assert getattr(BertConfig(), "x", 7) == 7


def test_what_cannot_be_written_as_json_is_one_line(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    before = written(tmp_path)
    config = BertConfig(note=object())
    with pytest.raises(InputError, match=r"^BertConfig cannot be written as JSON: Object of type object is not"):
        config.save_pretrained(tmp_path)
    assert written(tmp_path) == before
    assert json.loads(BertConfig(note=1).to_json_string(use_diff=False))["note"] == 1


def test_common_names_are_taken_as_keywords_too() -> None:
    config = GPT2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=9)
    assert (config.n_embd, config.n_layer, config.n_head, config.n_positions) == (32, 2, 4, 9)
    assert config.other == {}
    assert BertConfig(torch_dtype="float16", model_type="bert").dtype == "float16"
    assert LlamaConfig(rope_parameters={"rope_theta": 5.0, "rope_type": "default"}).rope_theta == 5.0


@pytest.mark.parametrize("settings", [{"intermediate_size": 3}, {"to_dict": 3}])
def test_what_follows_from_other_settings_cannot_be_passed(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(InputError, match=f"^GPT2Config.{name} follows from other settings and cannot be passed$"):
        GPT2Config(**settings)


def test_a_keyword_of_another_architecture_is_refused() -> None:
    with pytest.raises(InputError, match=r"^model_type is 'gpt2', and BertConfig is for 'bert'$"):
        BertConfig(model_type="gpt2")


def test_configurations_of_the_peer_are_taken() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    peer = transformers.GPT2Config(n_embd=32, n_layer=1, n_head=2, id2label={0: "a"}, dtype="bfloat16", note=3)
    config = GPT2Config.of(peer)
    assert (config.n_embd, config.id2label, config.dtype, config.note) == (32, {0: "a"}, "bfloat16", 3)
    assert GPT2Config.of(config) is config
    with pytest.raises(CheckpointError, match="model_type is 'gpt2', and BertConfig reads 'bert'"):
        BertConfig.of(peer)
    with pytest.raises(InputError, match=r"^config is a GPT2Config; expected a BertConfig$"):
        BertConfig.of(config)
    with pytest.raises(InputError, match=r"^config is a dict; expected a BertConfig$"):
        BertConfig.of({})


# -- once a model was built ---------------------------------------------------------------------------------------


def test_what_a_model_has_read_cannot_be_assigned_any_more() -> None:
    config = LlamaConfig()
    config.mark_built("LlamaModel")
    with pytest.raises(InputError) as caught:
        config.rope_scaling = {"rope_type": "linear", "factor": 2.0}
    assert str(caught.value) == (
        "rope_scaling was read when a LlamaModel was built from this configuration, and assigning it changes nothing; "
        "pass it to from_pretrained, or build another model from dataclasses.replace(config, rope_scaling=...)"
    )
    config.hidden_size = config.hidden_size
    for name, value in {
        "use_cache": False, "output_attentions": True, "pad_token_id": 3, "num_labels": 5, "note": 1,
        "problem_type": "regression", "id2label": {0: "a"}, "dtype": "float16", "eos_token_id": [1, 2],
    }.items():  # fmt: skip
        setattr(config, name, value)
        assert getattr(config, name) == value


def test_common_names_are_held_to_the_same() -> None:
    config = GPT2Config()
    config.mark_built("GPT2Model")
    with pytest.raises(InputError, match=r"^n_embd was read when a GPT2Model was built"):
        config.hidden_size = 3


def test_a_copy_is_free_again() -> None:
    config = BertConfig()
    config.mark_built("BertModel")
    for carry in (copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c)), dataclasses.replace):
        again = carry(config)
        again.hidden_size = 24
        assert again.hidden_size == 24
        assert config.hidden_size == 768
