"""num_labels, id2label and label2id agree, whichever is assigned, and whatever a file says of them."""

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.architectures import BartConfig, BertConfig
from modeloutputs.architectures.labels import settle_labels
from modeloutputs.errors import ConfigWarning, InputError

NUMBERED = {i: f"LABEL_{i}" for i in range(5)}


def assert_labels(config: Any, id2label: dict[int, str]) -> None:
    assert config.id2label == id2label
    assert config.label2id == {label: i for i, label in id2label.items()}
    assert config.num_labels == len(id2label)


def test_assigning_the_number_names_the_labels_anew() -> None:
    config = BertConfig(id2label={0: "no", 1: "yes"})
    config.num_labels = 2  # nothing changes
    assert_labels(config, {0: "no", 1: "yes"})
    config.num_labels = 5
    assert_labels(config, NUMBERED)


@pytest.mark.parametrize("labels", [{0: "a", 1: "b", 2: "c"}, {"0": "a", "1": "b", "2": "c"}])
def test_assigning_the_labels_moves_the_number_and_the_reverse(labels: Any) -> None:
    config = BertConfig()
    config.id2label = labels
    assert_labels(config, {0: "a", 1: "b", 2: "c"})


def test_assigning_both_mappings_one_after_the_other_works_in_either_order() -> None:
    for order in (("id2label", "label2id"), ("label2id", "id2label")):
        config, values = BartConfig(), {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
        for name in order:
            setattr(config, name, values[name])
        assert_labels(config, {0: "a", 1: "b"})


def test_what_was_assigned_is_saved_and_read_back(tmp_path: Path) -> None:
    config = BertConfig()
    config.num_labels = 5
    config.save_pretrained(tmp_path)
    assert_labels(BertConfig.from_pretrained(tmp_path), NUMBERED)


@pytest.mark.parametrize("value", [0, -1, 2.5, "3", None, True, 10**8])
def test_a_number_that_is_none_is_refused_when_it_is_assigned(value: Any) -> None:
    config = BertConfig()
    with pytest.raises(InputError, match=r"num_labels is .*; (it must be a positive|names are made for at most)"):
        config.num_labels = value
    assert config == BertConfig()


@pytest.mark.parametrize("value", [["a"], {"first": "a"}, "ab", 3, {0: ["a"]}])
def test_labels_that_are_none_are_refused_when_they_are_assigned(value: Any) -> None:
    config = BertConfig()
    with pytest.raises(InputError, match=r"^id2label is .*; expected mappings of number and label$"):
        config.id2label = value
    assert config == BertConfig()


def test_copies_follow_too() -> None:
    for carry in (copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c)), dataclasses.replace):
        config = carry(BertConfig())
        config.num_labels = 5
        assert_labels(config, NUMBERED)


def test_a_file_with_more_labels_than_names_loads_with_a_warning_as_in_the_peer() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    values = {"model_type": "bert", "num_labels": 3, "id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
    message = "^config.json says num_labels 3 and names 2 labels; they are called LABEL_0 and so on$"
    with pytest.warns(ConfigWarning, match=message):
        config = BertConfig.from_dict(values)
    peer = transformers.BertConfig.from_dict(json.loads(json.dumps(values)))
    assert_labels(config, peer.id2label)
    assert config.num_labels == peer.num_labels == 3


@pytest.mark.parametrize("overrides", [{"num_labels": 2}, {"id2label": {0: "x"}}, {"label2id": {"x": 0}}])
def test_what_is_passed_settles_a_files_contradiction_without_a_word(
    overrides: dict[str, Any], recwarn: pytest.WarningsRecorder
) -> None:
    config = BertConfig.from_dict({"num_labels": 3, "id2label": {"0": "a", "1": "b"}}, **overrides)
    assert config.num_labels == (2 if "num_labels" in overrides else 1)
    assert not recwarn.list


def test_the_most_explicit_description_counts() -> None:
    assert settle_labels(5, None, {"x": 0}).id2label == {0: "x"}
    assert settle_labels(5, {0: "y"}, {"x": 0}) == ({0: "y"}, {"y": 0})
