# ruff: noqa: E402  # what is imported below needs what may be absent

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from safetensors import safe_open
from safetensors.torch import save_file

from modeloutputs import FileFormatError, InputError, ModelOutput, load, save
from modeloutputs.errors import CheckpointNotFoundError
from modeloutputs.serialization import read_saved
from modeloutputs.torch import BaseModelOutputWithPoolingAndCrossAttentions, SequenceClassifierOutput


class Custom(ModelOutput):
    states: Any = None
    table: Any = None
    name: Any = None


def output() -> BaseModelOutputWithPoolingAndCrossAttentions:
    last = torch.randn(2, 3, 4)
    key = torch.randn(2, 2, 3, 2)
    return BaseModelOutputWithPoolingAndCrossAttentions(
        last_hidden_state=last,
        hidden_states=(None, torch.randn(2, 3, 4), last),
        past_key_values=((key, key + 1), (key + 2, key + 3)),
        attentions=(torch.randn(2, 2, 3, 3), None),
    )


def test_class_structure_and_values_come_back(tmp_path: Path):
    original = output()
    save(original, tmp_path / "out.safetensors")
    loaded = load(tmp_path / "out.safetensors")
    assert type(loaded) is type(original)
    assert loaded == original
    assert loaded.check() is loaded


def test_a_tensor_in_two_places_is_stored_once_and_comes_back_as_one(tmp_path: Path):
    save(output(), tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        names = set(file.keys())
    assert "last_hidden_state" in names
    assert "hidden_states.2" not in names
    loaded: Any = load(tmp_path / "out.safetensors")
    assert loaded.hidden_states[2] is loaded.last_hidden_state


def test_any_safetensors_reader_sees_the_tensors_by_their_place(tmp_path: Path):
    original = output()
    save(original, tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", "np") as file:
        np.testing.assert_array_equal(file.get_tensor("hidden_states.1"), original.hidden_states[1].numpy())
        np.testing.assert_array_equal(file.get_tensor("past_key_values.1.0"), original.past_key_values[1][0].numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_dtypes_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype):
    tensor = torch.tensor([[0.0, 1.0, 3.1415926]]).to(dtype)
    save(SequenceClassifierOutput(logits=tensor), tmp_path / "out")
    logits = load(tmp_path / "out")["logits"]
    assert logits.dtype == dtype
    assert torch.equal(logits, tensor)


def test_empty_scalar_strided_and_graph_holding_tensors_are_saved_by_value(tmp_path: Path):
    strided = torch.arange(6.0).view(2, 3).t()
    loss = (torch.ones(2, requires_grad=True) * 2).sum()
    save(SequenceClassifierOutput(loss=loss, logits=strided, hidden_states=(torch.empty(0, 3),)), tmp_path / "out")
    loaded: Any = load(tmp_path / "out")
    assert float(loaded.loss) == 4.0
    assert loaded.loss.shape == ()
    assert not loaded.loss.requires_grad
    assert torch.equal(loaded.logits, strided)
    assert loaded.hidden_states[0].shape == (0, 3)


def test_views_of_one_storage_are_saved_apart(tmp_path: Path):
    both = torch.randn(2, 4)
    save(SequenceClassifierOutput(logits=both[:, :2], hidden_states=(both[:, 2:], both)), tmp_path / "out")
    loaded: Any = load(tmp_path / "out")
    assert torch.equal(loaded.logits, both[:, :2])
    assert torch.equal(loaded.hidden_states[0], both[:, 2:])
    assert torch.equal(loaded.hidden_states[1], both)


def test_numpy_outputs_and_nested_dicts_lists_and_values(tmp_path: Path):
    original = Custom(states=[np.ones(2), None], table={"a": np.zeros((1, 2)), "b": (1, 2.5, "x", True)}, name="n")
    save(original, tmp_path / "out")
    assert load(tmp_path / "out", "numpy") == original


def test_torch_output_loads_as_numpy(tmp_path: Path):
    save(SequenceClassifierOutput(logits=torch.ones(1, 2)), tmp_path / "out")
    logits = load(tmp_path / "out", "numpy")["logits"]
    assert isinstance(logits, np.ndarray)
    assert logits.tolist() == [[1.0, 1.0]]


def test_bfloat16_as_numpy_is_ml_dtypes_or_says_what_to_do(tmp_path: Path):
    save(SequenceClassifierOutput(logits=torch.ones(1, 2, dtype=torch.bfloat16)), tmp_path / "out")
    program = f"""
import modeloutputs
try:
    print(modeloutputs.load({str(tmp_path / "out")!r}, "numpy").logits.dtype)
except modeloutputs.FileFormatError as error:
    print(error)
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "bfloat16" in printed or "load it as 'torch'" in printed


def test_output_without_arrays(tmp_path: Path):
    save(Custom(name="n"), tmp_path / "out")
    assert load(tmp_path / "out") == Custom(name="n")


def test_users_class_comes_back_where_it_is_defined_and_generic_elsewhere(tmp_path: Path):
    save(Custom(states=torch.ones(2)), tmp_path / "out")
    assert type(load(tmp_path / "out")) is Custom
    program = f"""
import sys, modeloutputs
loaded = modeloutputs.load({str(tmp_path / "out")!r})
print(type(loaded).__name__, list(loaded), loaded.states.tolist(), loaded.table)
print(isinstance(loaded, modeloutputs.ModelOutput))
print(sorted(name for name in sys.modules if "test_serialization" in name))
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == ["Custom ['states'] [1.0, 1.0] None", "True", "[]"]


def test_notes_are_kept(tmp_path: Path):
    save(Custom(name="n"), tmp_path / "out", notes={"predictions": "[]"})
    assert read_saved(tmp_path / "out").notes == {"predictions": "[]"}


def test_what_cannot_be_saved_is_named_and_nothing_is_written(tmp_path: Path):
    with pytest.raises(InputError, match=r"table\.a holds a set"):
        save(Custom(table={"a": {1}}), tmp_path / "out")
    with pytest.raises(InputError, match="keys that are not strings"):
        save(Custom(table={1: torch.ones(1)}), tmp_path / "out")
    with pytest.raises(InputError, match="arrays of numpy, torch"):
        save(Custom(table=torch.ones(1), states=np.ones(1)), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file(tmp_path: Path):
    save(Custom(name="old"), tmp_path / "out")
    with pytest.raises(InputError):
        save(Custom(name=object()), tmp_path / "out")
    assert load(tmp_path / "out") == Custom(name="old")


@pytest.mark.parametrize("cut", [0, 7, 8, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, cut: int):
    save(output(), tmp_path / "out")
    content = (tmp_path / "out").read_bytes()
    (tmp_path / "out").write_bytes(content[:cut])
    with pytest.raises(FileFormatError):
        load(tmp_path / "out")


def test_files_of_others_and_missing_files_are_refused_in_words(tmp_path: Path):
    save_file({"a": torch.ones(1)}, tmp_path / "plain")
    with pytest.raises(FileFormatError, match="holds tensors, but no output saved by modeloutputs"):
        load(tmp_path / "plain")
    with pytest.raises(CheckpointNotFoundError, match="there is no file"):
        load(tmp_path / "nothing")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(FileFormatError):
        load(tmp_path / "pickle")
    save(Custom(name="n"), tmp_path / "out")
    with pytest.raises(InputError, match="framework is 'theano'"):
        load(tmp_path / "out", "theano")


CLASS = "modeloutputs.torch.outputs.SequenceClassifierOutput"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("no json", "describes its output wrongly"),
        ({"version": 1}, "describes its output wrongly"),
        ({"version": 1, "class": CLASS, "fields": ["logits"], "structure": {"logits": 3}}, "describes"),
        ({"version": 1, "class": CLASS, "fields": [], "structure": {"logits": {"pickle": "x"}}}, "describes"),
        (
            {"version": 1, "class": CLASS, "fields": [], "structure": {"logits": {"array": "gone"}}},
            "lacks the tensors gone",
        ),
        ({"version": 2, "class": CLASS, "fields": [], "structure": {}}, "is of version 2"),
        ({"version": 1, "class": CLASS, "fields": [], "structure": {"x": {"value": 1}}}, "fields x, which"),
        ({"version": 1, "class": "os.system", "fields": ["a b"], "structure": {}}, "wrongly"),
        ({"version": 1, "class": "a.keys", "fields": ["keys"], "structure": {}}, "wrongly"),
    ],
)
def test_a_tampered_description_is_refused(tmp_path: Path, header: Any, message: str):
    text = header if isinstance(header, str) else json.dumps(header)
    save_file({"a": torch.ones(1)}, tmp_path / "out", metadata={"modeloutputs": text})
    with pytest.raises(FileFormatError, match=message):
        load(tmp_path / "out")


def test_a_name_that_is_no_output_class_of_ours_is_not_used(tmp_path: Path):
    header = {
        "version": 1,
        "class": "modeloutputs.torch.outputs.Tensor",
        "fields": ["a"],
        "structure": {"a": {"value": 1}},
    }
    save_file({"a": torch.ones(1)}, tmp_path / "out", metadata={"modeloutputs": json.dumps(header)})
    loaded = load(tmp_path / "out")
    assert isinstance(loaded, ModelOutput)
    assert loaded.to_dict() == {"a": 1}
