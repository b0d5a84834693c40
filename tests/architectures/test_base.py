"""Reading, overriding and writing config.json, which all configurations share; BERT's stands for them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from modeloutputs import errors
from modeloutputs.architectures import BertConfig, Config
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
