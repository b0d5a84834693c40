"""What a file says of the outputs in it, and how descriptions are refused that say nothing valid."""

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from modeloutputs import FileFormatError, load, save
from modeloutputs.errors import CheckpointNotFoundError
from modeloutputs.files.outputs import read_saved
from modeloutputs.files.outputs.description import SavedOutput

from ...support.compare import assert_values
from ...support.needs import needs_torch
from ...support.saved_files import (
    DESCRIBED_OUTPUT,
    Custom,
    Other,
    framework_of_array,
    numbers,
    refusal,
    write_description,
    write_version_1,
)

INVALID = "has an invalid description of its outputs"


# -- valid descriptions -------------------------------------------------------------------------------------------


def test_the_description_of_a_file_is_read_without_its_tensors(tmp_path: Path):
    outputs = [Custom(states=(None, numbers(2)), table={"a": Other(scores=1)}), Other()]
    save(outputs, tmp_path / "file", notes={"a": "b"})
    saved = read_saved(tmp_path / "file")
    first, second = saved.outputs
    module = Custom.__module__
    assert (first.class_name, second.class_name) == (f"{module}.Custom", f"{module}.Other")
    assert (first.fields, second.fields) == (("states", "table", "name"), ("scores",))
    nothing, reference = first.values["states"]
    assert (nothing, reference.name, type(first.values["states"])) == (None, "0.states.1", tuple)
    assert first.values["table"] == {"a": SavedOutput(f"{module}.Other", ("scores",), {"scores": 1})}
    assert (saved.several, saved.framework, list(saved.tensors)) == (True, "numpy", ["0.states.1"])
    assert saved.notes == {"a": "b"}
    assert saved.nested_fields == {"states", "table", "name", "scores"}


def test_the_description_is_the_json_that_it_was_in_earlier_versions(tmp_path: Path):
    save([Custom(states=(None, numbers(2)), table={"a": [Other(scores=1.5)]})], tmp_path / "file")
    length = struct.unpack("<Q", (tmp_path / "file").read_bytes()[:8])[0]
    header = json.loads((tmp_path / "file").read_bytes()[8 : 8 + length])
    module = Custom.__module__
    assert json.loads(header["__metadata__"]["modeloutputs"]) == {
        "version": 2,
        "several": True,
        "framework": "numpy",
        "outputs": [
            {
                "class": f"{module}.Custom",
                "fields": ["states", "table", "name"],
                "structure": {
                    "states": {"tuple": [{"value": None}, {"array": "0.states.1"}]},
                    "table": {
                        "dict": {
                            "a": {
                                "list": [
                                    {
                                        "output": {
                                            "class": f"{module}.Other",
                                            "fields": ["scores"],
                                            "structure": {"scores": {"value": 1.5}},
                                        }
                                    }
                                ]
                            }
                        }
                    },
                },
            }
        ],
    }


@needs_torch
@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_a_file_of_version_1_still_loads(framework: str, tmp_path: Path):
    logits, layer = numbers(1, 2), numbers(1, 3, 4)
    write_version_1(
        tmp_path / "file",
        {"logits": logits, "hidden_states.1": layer},
        **{"class": "modeloutputs.torch.outputs.SequenceClassifierOutput"},
        fields=["loss", "logits", "hidden_states", "attentions"],
        structure={
            "logits": {"array": "logits"},
            "hidden_states": {"tuple": [{"value": None}, {"array": "hidden_states.1"}]},
        },
    )
    loaded = load(tmp_path / "file", framework)
    assert_values(loaded, {"logits": logits, "hidden_states": (None, layer)})
    assert framework_of_array(loaded.logits) == framework
    assert framework_of_array(load(tmp_path / "file").logits) == "torch"
    saved = read_saved(tmp_path / "file")
    assert (saved.several, saved.framework, saved.notes) == (False, None, {})


# -- invalid descriptions -----------------------------------------------------------------------------------------


def test_the_description_that_the_next_tests_change_is_right(tmp_path: Path):
    assert_values(load(write_description(tmp_path)), {"a": numbers(2)})


@pytest.mark.parametrize("entry", ["version", "several", "outputs"])
@pytest.mark.parametrize("value", [..., None, [], {}, "2", 2.0, -1, 0, [None], [[]], ["a"], [{}], [3]], ids=str)
def test_a_wrong_entry_of_a_description_is_refused(entry: str, value: Any, tmp_path: Path):
    said = refusal(write_description(tmp_path, **{entry: value}))
    assert any(words in said for words in (INVALID, "has format version", "holds 0 outputs"))


def test_arrays_of_an_unknown_framework_are_numpys_and_a_newer_version_is_named(tmp_path: Path):
    for value in (..., None, "theano", [], {}, 3):
        assert isinstance(load(write_description(tmp_path, framework=value)).a, np.ndarray)
        assert read_saved(tmp_path / "file").framework == "numpy"
    assert refusal(write_description(tmp_path, version=3, outputs=...)).endswith(
        "has format version 3; this modeloutputs reads up to 2"
    )
    assert "holds 2 outputs but is not marked as a list" in refusal(
        write_description(tmp_path, outputs=[DESCRIBED_OUTPUT, DESCRIBED_OUTPUT])
    )
    assert "holds 0 outputs" in refusal(write_description(tmp_path, outputs=[]))


WRONG = [..., None, 3, ["a", "a"], [1], [None], [["a"]], {"a": 1}, {"z": {"value": 1}}]


@pytest.mark.parametrize("entry", ["class", "fields", "structure"])
@pytest.mark.parametrize("value", WRONG, ids=str)
def test_a_wrong_entry_of_an_output_is_refused(entry: str, value: Any, tmp_path: Path):
    output = {name: part for name, part in (DESCRIBED_OUTPUT | {entry: value}).items() if part is not ...}
    assert INVALID in refusal(write_description(tmp_path, outputs=[output]))


@pytest.mark.parametrize(
    "node",
    [
        None, 3, "t", [], {}, {"array": "t", "value": 1}, {"pickle": "x"}, {"array": None}, {"array": 3}, {"array": []},
        {"array": {"a": 1}}, {"tuple": "abc"}, {"tuple": {}}, {"tuple": None}, {"tuple": [3]}, {"list": {"a": 1}},
        {"dict": []}, {"dict": None}, {"dict": {"a": 3}}, {"value": []}, {"value": {"a": [1]}}, {"output": None},
        {"output": {}}, {"output": DESCRIBED_OUTPUT | {"fields": []}},
        {"output": DESCRIBED_OUTPUT | {"structure": {"a": {"array": 3}}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_description_of_a_value_is_refused(node: Any, tmp_path: Path):
    assert INVALID in refusal(write_description(tmp_path, outputs=[DESCRIBED_OUTPUT | {"structure": {"a": node}}]))
    within = {"structure": {"a": {"tuple": [{"array": "t"}, {"dict": {"k": node}}]}}}
    assert INVALID in refusal(write_description(tmp_path, outputs=[DESCRIBED_OUTPUT | within]))


def test_tensors_that_are_not_there_are_named(tmp_path: Path):
    gone = {"a": {"tuple": [{"array": "t"}, {"array": "go\nne"}]}, "b": {"array": "x" * 1000}}
    assert r"lacks the tensors 'go\nne', 'xxx" in refusal(
        write_description(tmp_path, outputs=[DESCRIBED_OUTPUT | {"structure": gone}])
    )


@pytest.mark.parametrize(
    "opening",
    [
        '{"tuple": [',
        '{"list": [',
        '{"dict": {"a": ',
        '{"output": {"class": "a.B", "fields": ["a"], "structure": {"a": ',
    ],
)
@pytest.mark.parametrize("depth", [150, 20_000])
def test_a_description_that_nests_without_end_is_refused(opening: str, depth: int, tmp_path: Path):
    closing = "".join({"[": "]", "{": "}"}[sign] for sign in reversed(opening) if sign in "[{")
    if "output" in opening:
        closing = "}}}"
    deep = opening * depth + '{"value": 1}' + closing * depth
    text = json.dumps({"version": 2, "several": False, "outputs": [DESCRIBED_OUTPUT | {"structure": {"a": "HERE"}}]})
    save_file({"t": numbers(2)}, tmp_path / "file", metadata={"modeloutputs": text.replace('"HERE"', deep)})
    assert INVALID in refusal(tmp_path / "file")


@pytest.mark.parametrize(
    "text", ["", "no json", "[" * 100_000, '{"version": ' + "9" * 5000 + "}", "3", "null", '"text"']
)
def test_a_description_that_is_no_json_object_is_refused(text: str, tmp_path: Path):
    save_file({"t": numbers(2)}, tmp_path / "file", metadata={"modeloutputs": text})
    assert INVALID in refusal(tmp_path / "file")


# -- files without outputs ----------------------------------------------------------------------------------------


def test_files_of_others_and_missing_files_are_refused_in_words(tmp_path: Path):
    save_file({"a": numbers(1)}, tmp_path / "plain")
    assert "holds tensors, but no output saved by modeloutputs" in refusal(tmp_path / "plain")
    save_file({"a": numbers(1)}, tmp_path / "plain", metadata={"format": "pt"})
    assert "holds tensors, but no output saved by modeloutputs" in refusal(tmp_path / "plain")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": [1] * 1000}))
    refusal(tmp_path / "pickle")
    (tmp_path / "empty").touch()
    refusal(tmp_path / "empty")
    for header in (b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe{}", b"null"):
        (tmp_path / "odd").write_bytes(struct.pack("<Q", len(header)) + header)
        refusal(tmp_path / "odd")
    for nothing in (tmp_path / "nothing", tmp_path):
        with pytest.raises(CheckpointNotFoundError, match=f"^there is no file '{nothing}'$"):
            load(nothing)


def test_a_file_with_any_one_byte_changed_loads_or_is_refused_in_one_line(tmp_path: Path):
    """Some changes give another valid file; none gives a foreign error."""
    save([Custom(states=(numbers(1), None), table={"a": 1}), Other()], tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    refused: list[str] = []
    loaded = 0
    for place, byte in enumerate(content):
        for changed in (byte ^ 1, (byte ^ 128, ord('"'), ord("0"))[place % 3]):
            (tmp_path / "file").write_bytes(content[:place] + bytes([changed]) + content[place + 1 :])
            try:
                assert isinstance(load(tmp_path / "file"), list)
                loaded += 1
            except FileFormatError as error:
                refused.append(str(error))
    assert len(refused) > 500
    assert loaded > 100
    assert not [text for text in refused if len(text.splitlines()) != 1]


def test_a_truncated_file_is_refused(tmp_path: Path):
    save([Custom(states=(numbers(3), None), table={"a": numbers(2)}, name="n")], tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    for length in [*range(0, len(content), 41), len(content) - 1]:
        (tmp_path / "file").write_bytes(content[:length])
        refusal(tmp_path / "file")
    (tmp_path / "file").write_bytes(content + b"\0")
    refusal(tmp_path / "file")
