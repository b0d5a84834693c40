"""Files of outputs: what comes back, what is read and when, and what no file can do to whoever loads it."""

import json
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from modeloutputs import FileFormatError, InputError, ModelOutput, UsageError, load, save
from modeloutputs.errors import CheckpointNotFoundError
from modeloutputs.files import safetensors
from modeloutputs.files.outputs import read_saved
from modeloutputs.frameworks import FRAMEWORKS

from ..support.compare import assert_values, values
from ..support.conversion_reference import (
    CLASS_PARAMS,
    EQUAL_LENGTHS,
    counterpart_name,
    expected,
    lost,
)
from ..support.needs import FRAMEWORK_PARAMS, needs, needs_jax, needs_tensorflow, needs_torch
from ..support.processes import run_code
from ..support.random_outputs import array, class_named, full

into_every_framework = pytest.mark.parametrize("framework", [*FRAMEWORK_PARAMS, "numpy"])
needs_proc = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not list its mappings")


class Custom(ModelOutput):
    states: Any = None
    table: Any = None
    name: Any = None


class Other(ModelOutput):
    scores: Any = None


def again(outputs: Any, folder: Path, framework: str | None = None, **options: Any) -> Any:
    """Return what comes back of outputs that are saved."""
    save(outputs, folder / "file")
    return load(folder / "file", framework, **options)


def numbers(*shape: int, start: float = 0) -> np.ndarray:
    return (np.arange(np.prod(shape, dtype=int), dtype=np.float32) + start).reshape(shape)


def framework_of_array(value: Any) -> str:
    root = type(value).__module__.partition(".")[0]
    return {"jaxlib": "jax"}.get(root, root)


# -- every class ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASS_PARAMS)
def test_every_class_comes_back_as_it_was(name: str, tmp_path: Path):
    original = full(class_named(name))
    loaded = again(original, tmp_path)
    assert type(loaded) is type(original)
    assert loaded == original
    assert_values(loaded, values(original))
    loaded.check()


@into_every_framework
@pytest.mark.parametrize("name", CLASS_PARAMS)
def test_every_class_loads_into_every_framework(name: str, framework: str, tmp_path: Path):
    cls = class_named(name)
    target = cls if framework == "numpy" else class_named(counterpart_name(name, framework))
    original, drop = full(cls, **EQUAL_LENGTHS), lost(cls, target)
    loaded = again(original, tmp_path, framework, drop=drop)
    assert type(loaded) is target
    assert_values(loaded, expected(original, target, drop))
    if framework != "numpy":
        loaded.check()


@needs_torch
@needs_jax
def test_what_the_counterpart_has_no_place_for_must_be_dropped_by_name(tmp_path: Path):
    save(full(class_named("SequenceClassifierOutput")), tmp_path / "file")
    with pytest.raises(InputError, match=r"^FlaxSequenceClassifierOutput has no field loss; .*drop=\('loss',\)$"):
        load(tmp_path / "file", "jax")
    loaded = load(tmp_path / "file", "jax", drop=["loss"])
    assert list(loaded.keys()) == ["logits", "hidden_states", "attentions"]


@needs_torch
def test_the_other_outputs_of_our_models_come_back_too(tmp_path: Path):
    from modeloutputs.torch import GenerateOutput

    original = GenerateOutput(sequences=array(np.array([[1, 2, 3]]), "torch"))
    assert type(again(original, tmp_path)) is GenerateOutput
    assert load(tmp_path / "file") == original


# -- one output, or a list --------------------------------------------------------------------------------------------


def test_one_output_comes_back_as_one_and_a_list_as_a_list(tmp_path: Path):
    one, other = Custom(states=numbers(2)), Other(scores=numbers(3))
    assert again(one, tmp_path) == one
    for outputs in ([], [one], [one, one], [one, other, one], [Custom()]):
        assert again(outputs, tmp_path) == outputs
        assert again(tuple(outputs), tmp_path) == outputs
        assert again(iter(outputs), tmp_path) == outputs
        assert [type(loaded) for loaded in load(tmp_path / "file")] == [type(output) for output in outputs]


@needs_torch
@needs_jax
@needs_tensorflow
def test_a_list_may_mix_classes_and_frameworks(tmp_path: Path):
    names = ["SequenceClassifierOutput", "FlaxBaseModelOutputWithPast", "TFSeq2SeqLMOutput"]
    outputs = [full(class_named(name), **EQUAL_LENGTHS) for name in names]
    loaded = again([*outputs, Custom(states=numbers(2))], tmp_path)
    assert [type(output).__name__ for output in loaded] == [*names, "Custom"]
    for output, original in zip(loaded, outputs, strict=False):
        assert_values(output, values(original))
    assert {framework_of_array(output[0]) for output in loaded} == {"numpy"}
    classes = [type(output).__name__ for output in load(tmp_path / "file", "jax", drop=["loss"])]
    assert classes == ["FlaxSequenceClassifierOutput", names[1], "FlaxSeq2SeqLMOutput", "Custom"]


@into_every_framework
def test_arrays_come_back_in_the_framework_that_they_came_from(framework: str, tmp_path: Path):
    loaded = again(Custom(states=array(numbers(2), framework)), tmp_path)
    assert framework_of_array(loaded.states) == framework


# -- values -----------------------------------------------------------------------------------------------------------

DTYPES = [
    "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "int64", "int32",
    "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool", "complex64",
]  # fmt: skip
WIDE = {"float64", "int64", "uint64"}


def any_bits(name: str, *shape: int) -> np.ndarray:
    """Return every kind of value: NaNs with payloads, negative zeros, infinities, subnormals."""
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    bits = np.random.default_rng(0).integers(0, 2 if name == "bool" else 256, size, dtype=np.uint8)
    return bits.view(dtype).reshape(shape)


@into_every_framework
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_of_every_dtype_comes_back(dtype: str, framework: str, tmp_path: Path):
    original = Custom(
        states=any_bits(dtype, 64, 5), table=(any_bits(dtype), any_bits(dtype, 0, 3), any_bits(dtype, 2, 0))
    )
    if (dtype, framework) == ("float8_e8m0fnu", "tensorflow") or (dtype in WIDE and framework == "jax"):
        with pytest.raises(InputError, match=dtype):  # of JAX, see the next test
            again(original, tmp_path, framework)
        return
    loaded = again(original, tmp_path, framework)
    assert_values(loaded, values(original))
    assert framework_of_array(loaded.states) == framework
    assert_values(again(loaded, tmp_path), values(original))


@needs_jax
def test_jax_takes_64_bits_where_they_fit_or_where_that_is_enabled(tmp_path: Path):
    import jax

    wide = {dtype: any_bits(dtype, 8) for dtype in WIDE}
    assert again(Custom(states=np.array([1, -5])), tmp_path, "jax").states.tolist() == [1, -5]
    for dtype, bits in wide.items():
        with pytest.raises(
            InputError, match=rf'^JAX would turn {dtype} into {dtype[:-2]}32; set .*"jax_enable_x64", True'
        ):
            again(Custom(states=bits), tmp_path, "jax")
    jax.config.update("jax_enable_x64", True)
    try:
        assert_values(again(Custom(table=wide), tmp_path, "jax").table, wide)
    finally:
        jax.config.update("jax_enable_x64", False)


@needs_torch
def test_tensors_of_every_form_are_saved_by_value(tmp_path: Path):
    import torch

    base = torch.arange(24.0).reshape(2, 3, 4)
    waves = torch.complex(base, base + 1)
    forms = {
        "turned": base.transpose(0, 2),
        "cut": base[:, 1:, ::2],
        "expanded": base[:1, :1].expand(5, 3, 4),
        "number": base.sum(),
        "empty": base[:, :0],
        "graph": (torch.ones(2, requires_grad=True) * 2).sum(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "conjugate": waves.conj(),
        "negative": waves.conj().imag,
        "view": waves.imag,
    }
    wanted = {name: tensor.detach().clone().resolve_conj().resolve_neg() for name, tensor in forms.items()}
    loaded = again(Custom(table=forms), tmp_path).table
    for name, tensor in wanted.items():
        assert torch.equal(loaded[name], tensor), name
        assert loaded[name].shape == tensor.shape
        assert not loaded[name].requires_grad


@needs_torch
def test_what_lies_in_the_same_memory_and_is_read_otherwise_is_saved_apart(tmp_path: Path):
    import torch

    waves = torch.complex(torch.arange(6.0), torch.arange(1.0, 7.0))
    pairs = (waves, waves.conj(), waves.imag, waves.conj().imag)
    loaded = again(Custom(states=pairs), tmp_path).states
    for there, tensor in zip(loaded, pairs, strict=True):
        assert_values(there, values(tensor))


def test_numpy_arrays_of_every_form_are_saved_by_value(tmp_path: Path):
    base = numbers(3, 4)
    forms = {
        "turned": base.T,
        "backwards": base[::-1],
        "broadcast": np.broadcast_to(base[:1], (5, 4)),
        "big-endian": base.astype(">f4"),
        "big-endian halves": np.array([1, 300], ">u2"),
        "read-only": np.frombuffer(base.tobytes(), np.float32),
        "number": np.float32(2.5),
        "bfloat16": base.astype(ml_dtypes.bfloat16).T,
    }
    loaded = again(Custom(table=forms), tmp_path).table
    for name, given_array in forms.items():
        wanted = np.asarray(given_array)
        assert_values(loaded[name], wanted.astype(wanted.dtype.newbyteorder("=")), name)


def test_plain_values_and_placeholders(tmp_path: Path):
    plain = ["text", "", "\N{SNOWMAN}\n\0", 0, -1, 10**30, 0.1, 1e-320, True, False, None, float("inf"), float("-inf")]
    loaded = again(Custom(states=plain, table=(None, (None, numbers(1)), {}, [], ()), name=-0.0), tmp_path)
    assert loaded.states == plain
    assert [type(value) for value in loaded.states] == [type(value) for value in plain]
    assert_values(loaded.table, (None, (None, numbers(1)), {}, [], ()))
    assert str(loaded.name) == "-0.0"
    assert np.isnan(again(Custom(name=float("nan")), tmp_path).name)


def test_a_field_of_falsehood_is_there_and_one_of_nothing_is_not(tmp_path: Path):
    loaded = again(Custom(states=False, table=0, name=""), tmp_path)
    assert loaded.to_dict() == {"states": False, "table": 0, "name": ""}
    assert again(Custom(), tmp_path).to_dict() == {}


arrays = st.sampled_from([numbers(2, 3), numbers(), numbers(0), np.array([True, False]), np.array([1.5], np.float16)])
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
keys = st.text(st.characters(exclude_characters=".", exclude_categories=["Cs"]), max_size=4)
nested = st.recursive(
    arrays | plain,
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.lists(inside, max_size=3).map(tuple)
        | st.dictionaries(keys, inside, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(nested, nested)
def test_whatever_nests_comes_back(tmp_path_factory: pytest.TempPathFactory, states: Any, table: Any):
    original = Custom(states=states, table=[{"output": Custom(table=table)}, Other(scores=states)])
    loaded = again(original, tmp_path_factory.mktemp("nested"))
    assert_values(loaded, values(original))
    assert [type(loaded.table[0]["output"]), type(loaded.table[1])] == [Custom, Other]


@needs_torch
def test_a_cache_of_our_decoders_comes_back_as_its_tuples(tmp_path: Path):
    from modeloutputs.torch import BaseModelOutputWithPast
    from modeloutputs.torch.cache import Cache

    key = array(numbers(1, 2, 3, 4), "torch")
    original = BaseModelOutputWithPast(last_hidden_state=key[0], past_key_values=Cache([(key, key + 1)]))
    loaded = again(original, tmp_path)
    assert type(loaded.past_key_values) is tuple
    assert loaded == original


@needs_torch
@needs_jax
def test_outputs_within_an_output_become_counterparts_too(tmp_path: Path):
    inner = full(class_named("BaseModelOutputWithPast"), **EQUAL_LENGTHS)
    save(Custom(states=[inner, full(class_named("MaskedLMOutput"))], table=inner), tmp_path / "file")
    loaded = load(tmp_path / "file", "jax", drop=["loss"])
    assert [type(output).__name__ for output in loaded.states] == ["FlaxBaseModelOutputWithPast", "FlaxMaskedLMOutput"]
    assert_values(loaded.states[0], expected(inner, class_named("FlaxBaseModelOutputWithPast")))
    loaded.table.check()
    with pytest.raises(InputError, match=r"^FlaxMaskedLMOutput has no field loss"):
        load(tmp_path / "file", "jax")


# -- what stands in several places ------------------------------------------------------------------------------------


@into_every_framework
def test_an_array_in_several_places_is_stored_once_and_comes_back_as_one(framework: str, tmp_path: Path):
    last = array(numbers(2, 3), framework)
    outputs = [Custom(states=(None, last), table={"last": last}), Other(scores=last), Other(scores=[last])]
    loaded = again(outputs, tmp_path)
    with safe_open(tmp_path / "file", "np") as file:
        assert list(file.keys()) == ["0.states.1"]
    first = loaded[0].states[1]
    assert first is loaded[0].table["last"] is loaded[1].scores is loaded[2].scores[0]
    assert_values(first, numbers(2, 3))


@needs_torch
def test_tensors_of_one_memory_are_one_and_views_of_parts_are_not(tmp_path: Path):
    import torch

    both = torch.arange(8.0).reshape(2, 4)
    parts = (both[:, :2], both[:, 2:], both, both.detach(), both.t(), both.view(torch.int32), both[:0], both[:0])
    loaded = again(Custom(states=parts), tmp_path).states
    assert all(torch.equal(there, part) for there, part in zip(loaded, parts, strict=True))
    assert loaded[2] is loaded[3]
    assert len({id(there) for there in loaded}) == 7


def test_two_loads_share_nothing_that_can_be_written_to(tmp_path: Path):
    save(Custom(states=numbers(4), table={"a": [numbers(2)]}), tmp_path / "file")
    one, other = load(tmp_path / "file"), load(tmp_path / "file")
    one.states[:] = -1
    one.table["a"].append("more")
    one.table["b"] = 1
    assert_values(other, {"states": numbers(4), "table": {"a": [numbers(2)]}})
    assert_values(load(tmp_path / "file"), {"states": numbers(4), "table": {"a": [numbers(2)]}})


# -- files ------------------------------------------------------------------------------------------------------------


def test_any_safetensors_reader_sees_the_tensors_by_their_place(tmp_path: Path):
    save([Custom(states=(None, numbers(2)), table={"a": Other(scores=numbers(3, start=5))})], tmp_path / "file")
    with safe_open(tmp_path / "file", "np") as file:
        np.testing.assert_array_equal(file.get_tensor("0.states.1"), numbers(2))
        np.testing.assert_array_equal(file.get_tensor("0.table.a.scores"), numbers(3, start=5))


def test_notes_are_kept_and_held_to_be_text(tmp_path: Path):
    notes = {"predictions": "[]", "": "\N{SNOWMAN}", "format": "pt"}
    save(Custom(name="n"), tmp_path / "file", notes=notes)
    assert read_saved(tmp_path / "file").notes == notes
    assert load(tmp_path / "file") == Custom(name="n")
    for wrong in ({"modeloutputs": "mine"}, {"number": 3}, {3: "number"}):
        with pytest.raises(
            InputError, match=r"^note .*; notes map names to text, and the name 'modeloutputs' is reserved$"
        ):
            save(Custom(), tmp_path / "file", notes=wrong)  # pyright: ignore[reportArgumentType]


def test_what_a_file_says_of_itself_is_read_without_its_tensors(tmp_path: Path):
    save([Custom(states=numbers(2)), Other()], tmp_path / "file", notes={"a": "b"})
    saved = read_saved(tmp_path / "file")
    assert [output.class_name.rpartition(".")[2] for output in saved.outputs] == ["Custom", "Other"]
    assert [output.fields for output in saved.outputs] == [("states", "table", "name"), ("scores",)]
    assert (saved.several, saved.framework, list(saved.tensors)) == (True, "numpy", ["0.states"])


def version_1(path: Path, tensors: dict[str, np.ndarray], **header: Any) -> None:
    save_file(tensors, path, metadata={"modeloutputs": json.dumps({"version": 1, **header})})


@needs_torch
@into_every_framework
def test_a_file_of_version_1_still_loads(framework: str, tmp_path: Path):
    logits, layer = numbers(1, 2), numbers(1, 3, 4)
    version_1(
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


# -- which fields -----------------------------------------------------------------------------------------------------


def test_only_the_fields_asked_for_are_there(tmp_path: Path):
    original = Custom(states=numbers(2), table={"a": numbers(1)}, name="n")
    assert again(original, tmp_path, fields=["states"]) == Custom(states=numbers(2))
    assert again(original, tmp_path, fields=["name", "table"]).to_dict().keys() == {"table", "name"}
    assert list(load(tmp_path / "file", fields=["name", "states"]).keys()) == ["states", "name"]
    assert again(original, tmp_path, drop=["states"]) == Custom(table={"a": numbers(1)}, name="n")
    assert again(original, tmp_path, fields=["states", "name"], drop=["name"]) == Custom(states=numbers(2))
    assert again(original, tmp_path, fields=()) == Custom()


def test_of_several_outputs_each_gives_what_its_class_has(tmp_path: Path):
    outputs = [Custom(states=numbers(2), name="n"), Other(scores=numbers(3))]
    assert again(outputs, tmp_path, fields=["scores", "name"]) == [Custom(name="n"), Other(scores=numbers(3))]
    assert again(outputs, tmp_path, drop=["scores"]) == [outputs[0], Other()]


def test_names_that_are_no_fields_are_refused(tmp_path: Path):
    save([Custom(states=Other()), Custom()], tmp_path / "file")
    for options, message in (
        ({"fields": ["state"]}, r"file' has no field 'state', named in fields; did you mean 'states'\?$"),
        ({"fields": ["scores"]}, r"has no field 'scores', named in fields"),
        ({"drop": ["nme"]}, r"has no field 'nme', named in drop; did you mean 'name'\?$"),
        ({"fields": "states"}, r"^fields is the text 'states'; pass the names of fields, as in \('states',\)$"),
        ({"drop": "states"}, r"^drop is the text 'states'"),
        ({"framework": "theano"}, r"^framework is 'theano'; expected one of"),
    ):
        with pytest.raises(InputError, match=message):
            load(tmp_path / "file", **options)
    assert load(tmp_path / "file", drop=["scores"]) == [Custom(states=Other()), Custom()]


# -- what is read, and when -------------------------------------------------------------------------------------------


def mappings(path: Path) -> list[range]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    ends = [line.split()[0].split("-") for line in lines if line.endswith(str(path))]
    return [range(int(start, 16), int(stop, 16)) for start, stop in ends]


@needs_proc
@pytest.mark.parametrize("framework", [pytest.param("torch", marks=needs("torch")), "numpy"])
def test_tensors_are_the_file_itself(framework: str, tmp_path: Path):
    loaded = again(
        Custom(states=numbers(1000), table=(numbers(5), numbers(3).astype(ml_dtypes.bfloat16))), tmp_path, framework
    )
    places = mappings(tmp_path / "file")
    for tensor in (loaded.states, *loaded.table):
        address = tensor.data_ptr() if framework == "torch" else tensor.__array_interface__["data"][0]
        assert any(address in place for place in places)
    del loaded, tensor
    assert mappings(tmp_path / "file") == []


MEMORY = """
import sys
import numpy
from modeloutputs import load

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 // 2**20

path, framework = sys.argv[1:]
before = resident()
if framework == "torch":
    import modeloutputs.torch
    before = resident()
loaded = load(path, framework)
part = load(path, framework, fields=["name"])
print(resident() - before < 40)
total = float(loaded.table.sum())
print(resident() - before > 90)
print(total, part.name)
"""


@needs_proc
@pytest.mark.parametrize("framework", [pytest.param("torch", marks=needs("torch")), "numpy"])
def test_a_file_takes_memory_where_it_is_looked_at(framework: str, tmp_path: Path):
    size = 300 * 2**20
    entry = {"class": "a.Out", "fields": ["states", "table", "name"]}
    structure = {"states": {"array": "s"}, "table": {"array": "t"}, "name": {"value": "n"}}
    description = {"version": 2, "several": False, "framework": "numpy", "outputs": [{**entry, "structure": structure}]}
    tensors = {
        "s": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]},
        "t": {"dtype": "F32", "shape": [100, 2**18], "data_offsets": [size, size + 100 * 2**20]},
    }
    header = json.dumps({"__metadata__": {"modeloutputs": json.dumps(description)}, **tensors}).encode()
    header += b" " * (-len(header) % 8)
    with (tmp_path / "file").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size + 100 * 2**20)  # zeros that take no room on the disk
    assert run_code(MEMORY, tmp_path / "file", framework).splitlines() == ["True", "True", "0.0 n"]


@into_every_framework
def test_writing_to_a_tensor_leaves_the_file_as_it_is(framework: str, tmp_path: Path):
    save(Custom(states=numbers(5000)), tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    loaded = load(tmp_path / "file", framework)
    if framework in ("torch", "numpy"):
        loaded.states[:] = 7
    else:
        loaded.states = loaded.states * 0 + 7
    assert_values(loaded.states, np.full(5000, 7, np.float32))
    assert (tmp_path / "file").read_bytes() == content


@into_every_framework
def test_tensors_outlive_their_file(framework: str, tmp_path: Path):
    save(Custom(states=numbers(5000)), tmp_path / "file")
    loaded = load(tmp_path / "file", framework)
    save(Custom(states=numbers(9000, start=5)), tmp_path / "file")
    newer = load(tmp_path / "file", framework)
    (tmp_path / "file").unlink()
    assert_values(loaded.states, numbers(5000))
    assert_values(newer.states, numbers(9000, start=5))


def test_a_file_can_be_loaded_changed_and_saved_in_its_own_place(tmp_path: Path):
    save(Custom(states=numbers(5000), table=numbers(3)), tmp_path / "file")
    for count in range(1, 4):
        loaded = load(tmp_path / "file")
        loaded.states += 1
        save(loaded, tmp_path / "file")
        assert_values(load(tmp_path / "file"), {"states": numbers(5000, start=count), "table": numbers(3)})
        assert_values(loaded.table, numbers(3))


@pytest.mark.parametrize("replacement", [[Other(scores=numbers(50))], Custom(states=numbers(2, start=3)), "not ours"])
def test_a_file_that_is_replaced_while_it_is_opened_is_read_whole(
    replacement: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its header says where the tensors lie, which would be anywhere in another file."""
    original = Custom(states=numbers(900, start=9), table=numbers(7))
    save(original, tmp_path / "file")
    read = safetensors._read_header

    def replace_and_read(path: Path, mapping: Any) -> Any:
        if isinstance(replacement, str):
            (tmp_path / "other").write_text(replacement)
            (tmp_path / "other").replace(path)
        else:
            save(replacement, path)
        return read(path, mapping)

    monkeypatch.setattr(safetensors, "_read_header", replace_and_read)
    assert_values(load(tmp_path / "file"), values(original))


# -- classes that are not known ---------------------------------------------------------------------------------------

UNKNOWN = """
import sys
import modeloutputs
loaded = modeloutputs.load(sys.argv[1])
again = modeloutputs.load(sys.argv[1])
print(type(loaded).__name__, list(loaded.keys()), loaded.states.tolist(), loaded.table, type(loaded.name).__name__)
print(isinstance(loaded, modeloutputs.ModelOutput), type(loaded) is type(again), loaded == again)
modeloutputs.save(loaded, sys.argv[2])
other = type("Custom", (modeloutputs.ModelOutput,), {"__annotations__": {"b": object}, "__module__": "elsewhere"})
modeloutputs.save(other(b=1), sys.argv[3])
print(sorted(sys.modules.keys() & {"trap", "tests", "torch", "jax", "tensorflow"}))
"""


def test_a_users_class_comes_back_where_it_is_known_and_is_generic_elsewhere(tmp_path: Path):
    save(Custom(states=numbers(2), name=Other(scores=1)), tmp_path / "file")
    assert type(load(tmp_path / "file")) is Custom
    printed = run_code(UNKNOWN, tmp_path / "file", tmp_path / "again", tmp_path / "other").splitlines()
    assert printed == ["Custom ['states', 'name'] [0.0, 1.0] None Other", "True True True", "[]"]
    back = load(tmp_path / "again")
    assert type(back) is Custom
    assert type(back.name) is Other
    assert back == load(tmp_path / "file")


def test_generic_classes_of_one_name_are_not_mixed_up_when_saved_again(tmp_path: Path):
    loaded: list[Any] = []
    for module, fields in (("here", ["a"]), ("there", ["b"]), ("here", ["a", "b"])):
        entry = {"class": f"{module}.Mine", "fields": fields, "structure": {fields[-1]: {"value": module}}}
        version_1(tmp_path / "file", {}, **entry)
        loaded.append(load(tmp_path / "file"))
    assert len({type(output) for output in loaded}) == 3
    for output, module in zip(loaded, ("here", "there", "here"), strict=True):
        back = again(output, tmp_path)
        assert type(back) is type(output)
        assert back == output
        assert read_saved(tmp_path / "file").outputs[0].class_name == f"{module}.Mine"


def test_a_class_that_has_lost_a_field_is_named(tmp_path: Path):
    name = f"{Other.__module__}.Other"
    version_1(tmp_path / "file", {}, **{"class": name}, fields=["scores", "more"], structure={"more": {"value": 1}})
    with pytest.raises(FileFormatError, match=r"^the file has fields 'more', which Other does not declare$"):
        load(tmp_path / "file")
    assert load(tmp_path / "file", drop=["more"]) == Other()


HOSTILE = [
    "trap.Out",
    "trap.Out.more",
    "modeloutputs.torch.os",
    "modeloutputs.torch.outputs.Tensor",
    "modeloutputs.torch.outputs.ModelOutput",
    "modeloutputs.torch.outputs.__class__",
    "modeloutputs.torch.outputs.SequenceClassifierOutput.check",
    "modeloutputs.torch..outputs.SequenceClassifierOutput",
    "modeloutputs.flax.trap.Out",
    "modeloutputs.cli.main",
    "modeloutputs.files.outputs.load",
    "modeloutputs.ModelOutput",
    "os.system",
    "builtins.exec",
    "subprocess.Popen",
    "__class__",
    "__main__.load",
    "",
    ".",
    "trap.",
    "trap.Out\n",
    "trap\n.Out",
    "trap.Out()",
    "trap.print('sprung')",
    "trap.a b",
    "x" * 100_000,
]

HOSTILE_CODE = """
import json, pathlib, sys
import modeloutputs
for path in sorted(pathlib.Path(sys.argv[1]).glob("file*"), key=lambda path: int(path.name[4:])):
    for framework in (None, "jax"):
        try:
            loaded = modeloutputs.load(path, framework)
            assert type(loaded).__mro__[1] is modeloutputs.ModelOutput
            assert type(loaded).__module__ == "modeloutputs.files.outputs"
            print(json.dumps([type(loaded).__name__, loaded.to_dict()]))
        except modeloutputs.FileFormatError as error:
            assert len(str(error).splitlines()) == 1 and len(str(error)) < 600, error
            print(json.dumps([]))
print(sorted(sys.modules.keys() & {"trap", "modeloutputs.cli", "modeloutputs.torch.os", "typer"}))
"""


@needs_jax
@needs_torch
def test_no_name_in_a_file_is_imported_or_called(tmp_path: Path):
    for name in ("trap", "typer"):
        (tmp_path / f"{name}.py").write_text("open('sprung', 'w')\nclass Out: pass\n")
    for i, name in enumerate(HOSTILE):
        version_1(tmp_path / f"file{i}", {}, **{"class": name}, fields=["a"], structure={"a": {"value": 1}})
    *printed, imported = run_code(HOSTILE_CODE, tmp_path, cwd=tmp_path).splitlines()
    found = [json.loads(line) for line in printed]
    for name, results in zip(HOSTILE, zip(found[::2], found[1::2], strict=True), strict=True):
        last = name.rpartition(".")[2]
        wanted = [last, {"a": 1}] if last.isidentifier() and name.isprintable() and len(name) < 1000 else []
        assert results == (wanted, wanted), name
    assert imported == "[]"
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "field",
    ["a b", "", "class", "None", "a\nb", "a=0):\n  import trap #", "__init__", "__self", "__del__", "__post_init__",
     "__class__", "__slots__", "keys", "unflatten", "__output_fields__", "\ufb01"],
)  # fmt: skip
def test_no_field_of_a_file_becomes_code_or_a_method(field: str, tmp_path: Path):
    version_1(tmp_path / "file", {}, **{"class": "a.B"}, fields=["fi", field], structure={"fi": {"value": 1}})
    with pytest.raises(FileFormatError) as caught:
        load(tmp_path / "file")
    assert "\n" not in str(caught.value)


# -- frameworks that are missing --------------------------------------------------------------------------------------

MISSING = """
import sys
{block}
import modeloutputs
loaded = modeloutputs.load(sys.argv[1])
print(type(loaded).__name__, type(loaded).__module__, type(loaded.last_hidden_state).__module__, list(loaded.keys()))
there = modeloutputs.load(sys.argv[1], "{other}")
print(type(there).__name__, type(there).__module__, type(there.past_key_values).__name__, there.check() is there)
print(float(there.last_hidden_state.sum()), float(loaded.last_hidden_state.sum()))
try:
    modeloutputs.load(sys.argv[1], "{missing}")
except ImportError as error:
    print(str(error).splitlines()[0])
print("modeloutputs.{folder}.outputs" in sys.modules)
"""


@needs_torch
@needs_jax
@pytest.mark.parametrize("how", ["fails to import", "is not there"])
@pytest.mark.parametrize("missing", ["torch", "jax"])
def test_a_file_loads_where_its_framework_is_missing(missing: str, how: str, tmp_path: Path):
    other = {"torch": "jax", "jax": "torch"}[missing]
    name = FRAMEWORKS[missing].prefix + "BaseModelOutputWithPast"
    original = full(class_named(name), **EQUAL_LENGTHS)
    save(original, tmp_path / "file")
    (tmp_path / f"{missing}.py").write_text(f"raise ModuleNotFoundError('no {missing} here', name={missing!r})")
    blocks = {"fails to import": "sys.path.insert(0, '.')", "is not there": f"sys.modules[{missing!r}] = None"}
    code = MISSING.format(block=blocks[how], missing=missing, other=other, folder=FRAMEWORKS[missing].folder)
    generic, there, sums, refusal, imported = run_code(code, tmp_path / "file", cwd=tmp_path).splitlines()
    assert generic == f"{name} modeloutputs.files.outputs numpy {list(original.keys())}"
    target = FRAMEWORKS[other].prefix + "BaseModelOutputWithPast"
    cache = {"jax": "dict", "torch": "tuple"}[other]
    assert there == f"{target} modeloutputs.{FRAMEWORKS[other].folder}.outputs {cache} True"
    assert len({round(float(value), 3) for value in sums.split()}) == 1
    assert missing in refusal
    assert imported == "False"


# -- what cannot be saved ---------------------------------------------------------------------------------------------


def refused(outputs: Any, folder: Path, error: type[Exception] = InputError) -> str:
    """Return why outputs cannot be saved, having seen that nothing was written."""
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(error) as caught:
        save(outputs, folder / "never")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_has_no_place_in_a_file_is_named_by_its_place(tmp_path: Path):
    assert "table.a holds a set; arrays, tuples, dicts and plain" in refused(Custom(table={"a": {1}}), tmp_path)
    assert "1.states.0 holds a object" in refused([Custom(), Custom(states=[object()])], tmp_path)
    assert "table has keys that are not strings" in refused(Custom(table={1: numbers(1)}), tmp_path)
    assert "states is of dtype complex128; a safetensors file" in refused(Custom(states=np.ones(1, "c16")), tmp_path)
    assert "states is of dtype str" in refused(Custom(states=np.array(["a"])), tmp_path)
    assert "states is a masked array" in refused(Custom(states=np.ma.masked_array([1.0], [True])), tmp_path)
    twice = Custom(table={"a.b": numbers(1), "a": {"b": numbers(2)}})
    assert "two arrays are named 'table.a.b': a key that contains dots" in refused(twice, tmp_path, UsageError)
    assert "cannot be written: 'utf-8' codec" in refused(Custom(table={"\udc80": numbers(1)}), tmp_path)
    for value, name in ((None, "NoneType"), ("text", "str"), ({"a": Custom()}, "dict"), (3, "int")):
        assert refused(value, tmp_path) == f"save takes an output or a list of them; got a {name}"
    assert refused([None], tmp_path) == "save takes outputs; got a NoneType"


def test_what_nests_without_end_is_refused(tmp_path: Path):
    endless: list[Any] = []
    endless.append(endless)
    assert "levels deep; it cannot be saved" in refused(Custom(states=endless), tmp_path)
    deep: Any = numbers(1)
    for _ in range(100):
        deep = [deep]
    assert_values(again(Custom(states=deep), tmp_path).states, deep)
    assert "more than 100 levels deep" in refused(Custom(states=[deep]), tmp_path)


def test_a_description_that_no_reader_would_take_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"cannot be written: the header would take 1000"):
        save(Custom(), tmp_path / "file", notes={"a": "a" * 100_000_001})
    assert list(tmp_path.iterdir()) == []


@needs_torch
def test_tensors_without_values_are_refused(tmp_path: Path):
    import torch

    for tensor in (torch.ones(2, device="meta"), torch.eye(3).to_sparse()):
        assert refused(Custom(states=tensor), tmp_path).startswith("states has no values to save: ")
    assert "dtype float8_e4m3fnuz" in refused(Custom(states=torch.ones(2).to(torch.float8_e4m3fnuz)), tmp_path)


@needs_jax
def test_what_jax_holds_no_numbers_of_is_refused(tmp_path: Path):
    import jax

    assert "states has no values to save" in refused(Custom(states=jax.random.key(0)), tmp_path)
    assert "dtype int4" in refused(Custom(states=jax.numpy.ones(2, jax.numpy.int4)), tmp_path)
    jax.jit(lambda value: refused(Custom(states=value), tmp_path) and value)(jax.numpy.ones(2))


def test_a_field_called_as_the_format_calls_its_own_is_refused(tmp_path: Path):
    cls = type("Odd", (ModelOutput,), {"__annotations__": {"__metadata__": Any}, "__module__": __name__})
    assert "'__metadata__' cannot be the name of a tensor" in refused(cls({"__metadata__": numbers(1)}), tmp_path)


# -- saving that fails ------------------------------------------------------------------------------------------------


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path):
    save(Custom(name="old"), tmp_path / "file")
    with pytest.raises(InputError):
        save([Custom(states=numbers(9)), Custom(name=object())], tmp_path / "file")
    assert load(tmp_path / "file") == Custom(name="old")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


NO_ROOM = """
import resource, sys
import numpy as np
from modeloutputs import InputError, ModelOutput, save
class Custom(ModelOutput):
    states: object = None

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    save(Custom(states=np.ones(10_000)), sys.argv[1])
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such limits")
def test_a_save_that_finds_no_room_leaves_the_old_file_and_says_which(tmp_path: Path):
    save(Custom(name="old"), tmp_path / "file")
    (said,) = run_code(NO_ROOM, tmp_path / "file").splitlines()
    assert said.startswith(f"{str(tmp_path / 'file')!r} cannot be written: ")
    assert load(tmp_path / "file") == Custom(name="old")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path):
    save(Custom(), tmp_path / "file")
    for place in (tmp_path / "none" / "new", tmp_path / "file" / "new", tmp_path):
        with pytest.raises(OSError, match=str(tmp_path)):
            save(Custom(states=numbers(2)), place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert load(tmp_path / "file") == Custom()


def test_a_path_may_be_text(tmp_path: Path):
    save(Custom(name="n"), os.fspath(tmp_path / "file"))
    assert load(os.fspath(tmp_path / "file")) == Custom(name="n")


# -- files that are not what they seem --------------------------------------------------------------------------------


def said_of(path: Path, **options: Any) -> str:
    """Return why a file is refused: one line of bearable length."""
    with pytest.raises(FileFormatError) as caught:
        load(path, **options)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500 + len(str(path))
    return str(caught.value)


def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path):
    save(
        [Custom(states=(numbers(3), None), table={"a": numbers(2)}, name="n"), Other(scores=numbers(0))],
        tmp_path / "whole",
    )
    content = (tmp_path / "whole").read_bytes()
    for cut in range(len(content)):
        (tmp_path / "file").write_bytes(content[:cut])
        said_of(tmp_path / "file")
    (tmp_path / "file").write_bytes(content + b"\0")
    said_of(tmp_path / "file")
    (tmp_path / "file").write_bytes(content)
    assert len(load(tmp_path / "file")) == 2


DAMAGED = """
import pathlib, sys
import modeloutputs
path = pathlib.Path(sys.argv[1])
content = path.read_bytes()
refused = loaded = 0
for place in range(len(content)):
    for byte in (content[place] ^ 1, content[place] ^ 128, ord("0"), ord('"'), ord("}"), ord("-")):
        path.write_bytes(content[:place] + bytes([byte]) + content[place + 1:])
        try:
            for output in modeloutputs.load(path):
                assert isinstance(output, modeloutputs.ModelOutput)
            loaded += 1
        except modeloutputs.FileFormatError as error:
            assert len(str(error).splitlines()) == 1, error
            refused += 1
print(refused > 1000, loaded > 100, sorted(sys.modules.keys() & {"torch", "jax", "tensorflow"}))
"""


def test_a_file_with_any_one_byte_changed_loads_or_is_refused_in_words(tmp_path: Path):
    save([Custom(states=(numbers(1), None), table={"a": 1}), Other()], tmp_path / "file")
    assert run_code(DAMAGED, tmp_path / "file").splitlines() == ["True True []"]


def test_files_of_others_and_missing_files_are_refused_in_words(tmp_path: Path):
    save_file({"a": numbers(1)}, tmp_path / "plain")
    assert "holds tensors, but no output saved by modeloutputs" in said_of(tmp_path / "plain")
    save_file({"a": numbers(1)}, tmp_path / "plain", metadata={"format": "pt"})
    assert "holds tensors, but no output saved by modeloutputs" in said_of(tmp_path / "plain")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": [1] * 1000}))
    said_of(tmp_path / "pickle")
    (tmp_path / "empty").touch()
    said_of(tmp_path / "empty")
    for header in (b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe{}", b"null"):
        (tmp_path / "odd").write_bytes(struct.pack("<Q", len(header)) + header)
        said_of(tmp_path / "odd")
    for nothing in (tmp_path / "nothing", tmp_path):
        with pytest.raises(CheckpointNotFoundError, match=f"^there is no file '{nothing}'$"):
            load(nothing)


CLASS = "somewhere.Out"
GOOD: dict[str, Any] = {"class": CLASS, "fields": ["a", "b"], "structure": {"a": {"array": "t"}}}


def described(folder: Path, **changes: Any) -> Path:
    """Write a file of one tensor whose description differs from a right one; `...` leaves an entry out."""
    header = {"version": 2, "several": False, "framework": "numpy", "outputs": [GOOD]} | changes
    text = json.dumps({name: entry for name, entry in header.items() if entry is not ...})
    save_file({"t": numbers(2)}, folder / "file", metadata={"modeloutputs": text})
    return folder / "file"


def test_the_description_that_the_next_tests_change_is_right(tmp_path: Path):
    assert_values(load(described(tmp_path)), {"a": numbers(2)})


@pytest.mark.parametrize("entry", ["version", "several", "outputs"])
@pytest.mark.parametrize("value", [..., None, [], {}, "2", 2.0, -1, 0, [None], [[]], ["a"], [{}], [3]], ids=str)
def test_a_wrong_entry_of_a_description_is_refused(entry: str, value: Any, tmp_path: Path):
    said = said_of(described(tmp_path, **{entry: value}))
    assert any(words in said for words in ("invalid description", "has format version", "holds 0 outputs"))


def test_arrays_of_an_unknown_framework_are_numpys_and_a_newer_version_is_named(tmp_path: Path):
    for value in (..., None, "theano", [], {}, 3):
        assert isinstance(load(described(tmp_path, framework=value)).a, np.ndarray)
        assert read_saved(tmp_path / "file").framework == "numpy"
    assert said_of(described(tmp_path, version=3, outputs=...)).endswith(
        "has format version 3; this modeloutputs reads up to 2"
    )
    assert "holds 2 outputs but is not marked as a list" in said_of(described(tmp_path, outputs=[GOOD, GOOD]))
    assert "holds 0 outputs" in said_of(described(tmp_path, outputs=[]))


WRONG = [..., None, 3, ["a", "a"], [1], [None], [["a"]], {"a": 1}, {"z": {"value": 1}}]


@pytest.mark.parametrize("entry", ["class", "fields", "structure"])
@pytest.mark.parametrize("value", WRONG, ids=str)
def test_a_wrong_entry_of_an_output_is_refused(entry: str, value: Any, tmp_path: Path):
    output = {name: part for name, part in (GOOD | {entry: value}).items() if part is not ...}
    assert "invalid description of its outputs" in said_of(described(tmp_path, outputs=[output]))


@pytest.mark.parametrize(
    "node",
    [
        None, 3, "t", [], {}, {"array": "t", "value": 1}, {"pickle": "x"}, {"array": None}, {"array": 3}, {"array": []},
        {"array": {"a": 1}}, {"tuple": "abc"}, {"tuple": {}}, {"tuple": None}, {"tuple": [3]}, {"list": {"a": 1}},
        {"dict": []}, {"dict": None}, {"dict": {"a": 3}}, {"value": []}, {"value": {"a": [1]}}, {"output": None},
        {"output": {}}, {"output": GOOD | {"fields": []}}, {"output": GOOD | {"structure": {"a": {"array": 3}}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_description_of_a_value_is_refused(node: Any, tmp_path: Path):
    assert "invalid description of its outputs" in said_of(
        described(tmp_path, outputs=[GOOD | {"structure": {"a": node}}])
    )
    within = {"structure": {"a": {"tuple": [{"array": "t"}, {"dict": {"k": node}}]}}}
    assert "invalid description of its outputs" in said_of(described(tmp_path, outputs=[GOOD | within]))


def test_tensors_that_are_not_there_are_named(tmp_path: Path):
    gone = {"a": {"tuple": [{"array": "t"}, {"array": "go\nne"}]}, "b": {"array": "x" * 1000}}
    assert r"lacks the tensors 'go\nne', 'xxx" in said_of(described(tmp_path, outputs=[GOOD | {"structure": gone}]))


@pytest.mark.parametrize(
    "opening",
    [
        '{"tuple": [',
        '{"list": [',
        '{"dict": {"a": ',
        '{"output": {"class": "a.B", "fields": ["a"], "structure": {"a": ',
    ],
)
@pytest.mark.parametrize("depth", [150, 450, 900, 20_000])
def test_a_description_that_nests_without_end_is_refused(opening: str, depth: int, tmp_path: Path):
    closing = "".join({"[": "]", "{": "}"}[sign] for sign in reversed(opening) if sign in "[{")
    if "output" in opening:
        closing = "}}}"
    deep = opening * depth + '{"value": 1}' + closing * depth
    text = json.dumps({"version": 2, "several": False, "outputs": [GOOD | {"structure": {"a": "HERE"}}]})
    save_file({"t": numbers(2)}, tmp_path / "file", metadata={"modeloutputs": text.replace('"HERE"', deep)})
    assert "invalid description of its outputs" in said_of(tmp_path / "file")


@pytest.mark.parametrize(
    "text", ["", "no json", "[" * 100_000, '{"version": ' + "9" * 5000 + "}", "3", "null", '"text"']
)
def test_a_description_that_is_no_json_object_is_refused(text: str, tmp_path: Path):
    save_file({"t": numbers(2)}, tmp_path / "file", metadata={"modeloutputs": text})
    assert "invalid description of its outputs" in said_of(tmp_path / "file")


def write_header(path: Path, entries: str, data: bytes = b"\0" * 8) -> None:
    description = json.dumps(json.dumps({"version": 2, "several": False, "framework": "numpy", "outputs": [GOOD]}))
    header = f'{{"__metadata__": {{"modeloutputs": {description}}}, {entries}}}'.encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


@pytest.mark.parametrize(
    ("entries", "data"),
    [
        ('"t": null', b""),
        ('"t": []', b""),
        ('"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}', b"\0" * 9),
        ('"t": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}', b"\0" * 8),
        ('"t": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}', b"\0" * 8),
        ('"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 9]}', b"\0" * 8),
        ('"t": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}', b"\0" * 8),
        ('"t": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}', b"\0" * 8),
        ('"t": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}', b"\0" * 8),
        ('"t": {"dtype": "F4", "shape": [2], "data_offsets": [0, 8]}', b"\0" * 8),
        ('"t": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}', b"\0" * 8),
        ('"t": {"dtype": "F32", "shape": [4611686018427387904], "data_offsets": [0, 18446744073709551616]}', b""),
        ('"t": {"dtype": "F32", "shape": [4611686018427387904], "data_offsets": [0, 0]}', b""),
        ('"t": {"dtype": "F32", "shape": [0, 9223372036854775807, 9223372036854775807], "data_offsets": [0, 0]}', b""),
        ('"t": {"dtype": "F32", "shape": [0, 9223372036854775807], "data_offsets": [0, 0]}', b""),
        ('"t": {"dtype": "F32", "shape": [' + "1, " * 64 + '2], "data_offsets": [0, 8]}', b"\0" * 8),
        (
            '"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, '
            '"u": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}',
            b"\0" * 12,
        ),
        (
            '"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, '
            '"t": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}',
            b"\0" * 16,
        ),
        ('"u": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}', b"\0" * 8),
    ],
)
def test_tensors_that_cannot_be_where_a_header_says_are_refused(entries: str, data: bytes, tmp_path: Path):
    write_header(tmp_path / "file", entries, data)
    said_of(tmp_path / "file")


@needs_torch
def test_what_other_writers_leave_misaligned_can_be_computed_with(tmp_path: Path):
    write_header(
        tmp_path / "file", '"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}', struct.pack("<ff", 1, 2)
    )
    content = (tmp_path / "file").read_bytes()
    for spaces in range(8):
        header = content[8:-8] + b" " * spaces
        (tmp_path / "file").write_bytes(struct.pack("<Q", len(header)) + header + content[-8:])
        tensor = load(tmp_path / "file", "torch").a
        assert (tensor @ tensor).item() == 5
        assert tensor.data_ptr() % 4 == 0


@needs_proc
def test_a_load_that_fails_leaves_no_mapping_behind(tmp_path: Path):
    save(Custom(states=numbers(2)), tmp_path / "file")
    with pytest.raises(InputError):
        load(tmp_path / "file", fields=["state"])
    assert mappings(tmp_path / "file") == []


def test_threads_that_load_an_unknown_class_get_the_same(tmp_path: Path):
    from concurrent.futures import ThreadPoolExecutor

    made = type("Foreign", (ModelOutput,), {"__annotations__": {"x": Any}, "__module__": "somewhere.else"})
    save(made(x=np.ones(1)), tmp_path / "out")
    with (tmp_path / "out").open("r+b") as file:  # a name of the same length that nobody has
        content = file.read().replace(b"Foreign", b"Unknown")
        file.seek(0)
        file.write(content)
    with ThreadPoolExecutor(16) as pool:
        loaded = list(pool.map(lambda _: load(tmp_path / "out"), range(64)))
    assert len({type(output) for output in loaded}) == 1


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    folder = tmp_path / "none"
    with pytest.raises(FileNotFoundError, match=rf"^there is no folder '{folder}' to write 'out' into$"):
        save(Custom(states=np.ones(1)), folder / "out")
