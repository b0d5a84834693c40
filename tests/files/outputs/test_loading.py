"""Loading outputs: same class, structure and bits, in any framework; what is read, and when."""

import resource
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeloutputs import InputError, MissingDependencyError, load, save
from modeloutputs.files import safetensors
from modeloutputs.files.outputs import loading

from ...support.compare import assert_values, values
from ...support.conversion_reference import CLASS_PARAMS, EQUAL_LENGTHS, counterpart_name, expected, lost
from ...support.mappings import mapped_ranges, needs_proc
from ...support.needs import FRAMEWORK_PARAMS, needs, needs_jax, needs_tensorflow, needs_torch
from ...support.processes import run_code
from ...support.random_outputs import array, class_named, framework_of, full
from ...support.saved_files import Custom, Other, again, framework_of_array, numbers

into_every_framework = pytest.mark.parametrize("framework", [*FRAMEWORK_PARAMS, "numpy"])


# -- every class ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASS_PARAMS)
def test_every_class_comes_back_as_it_was(name: str, tmp_path: Path):
    original = full(class_named(name))
    loaded = again(original, tmp_path)
    assert type(loaded) is type(original)
    assert loaded == original
    assert_values(loaded, values(original))
    loaded.check()


LAYOUTS = [
    "SequenceClassifierOutput", "BaseModelOutputWithPast", "CausalLMOutput", "Seq2SeqQuestionAnsweringModelOutput",
    "FlaxSequenceClassifierOutput", "FlaxBaseModelOutputWithPast", "FlaxSeq2SeqLMOutput",
    "TFSequenceClassifierOutput", "TFBaseModelOutputWithPast", "TFSeq2SeqLMOutput",
]  # fmt: skip
"""A class of each layout of losses and caches; that `convert` is right for all classes is tested there."""


@into_every_framework
@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(framework_of(name).name)) for name in LAYOUTS])
def test_every_layout_loads_into_every_framework(name: str, framework: str, tmp_path: Path):
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


def test_two_loads_share_nothing_that_can_be_written_to(tmp_path: Path):
    save(Custom(states=numbers(4), table={"a": [numbers(2)]}), tmp_path / "file")
    one, other = load(tmp_path / "file"), load(tmp_path / "file")
    one.states[:] = -1
    one.table["a"].append("more")
    one.table["b"] = 1
    assert_values(other, {"states": numbers(4), "table": {"a": [numbers(2)]}})
    assert_values(load(tmp_path / "file"), {"states": numbers(4), "table": {"a": [numbers(2)]}})


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


@needs_proc
@pytest.mark.parametrize("framework", [pytest.param("torch", marks=needs("torch")), "numpy"])
def test_tensors_are_the_file_itself(framework: str, tmp_path: Path):
    loaded = again(
        Custom(states=numbers(1000), table=(numbers(5), numbers(3).astype(ml_dtypes.bfloat16))), tmp_path, framework
    )
    places = mapped_ranges(tmp_path / "file")
    for tensor in (loaded.states, *loaded.table):
        address = tensor.data_ptr() if framework == "torch" else tensor.__array_interface__["data"][0]
        assert any(address in place for place in places)
    del loaded, tensor
    assert mapped_ranges(tmp_path / "file") == []


def resident() -> float:
    """Return the MiB of memory that this process has touched."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@needs_proc
@pytest.mark.parametrize("framework", [pytest.param("torch", marks=needs_torch), "numpy"])
def test_a_file_takes_memory_where_it_is_looked_at(framework: str, tmp_path: Path):
    count = 25 * 2**20
    save(
        Custom(states=np.zeros(count, np.float32), table=np.zeros(count // 2, np.float32), name="n"), tmp_path / "file"
    )
    load(tmp_path / "file", framework, fields=["name"])
    before = resident()
    loaded = load(tmp_path / "file", framework)
    assert load(tmp_path / "file", framework, fields=["name"]).name == "n"
    assert resident() - before < 10
    assert float(loaded.table.sum()) == 0.0
    assert 40 < resident() - before < 60


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


@needs_proc
def test_a_load_that_fails_leaves_no_mapping_behind(tmp_path: Path):
    save(Custom(states=numbers(2)), tmp_path / "file")
    with pytest.raises(InputError):
        load(tmp_path / "file", fields=["state"])
    assert mapped_ranges(tmp_path / "file") == []


@needs_torch
@pytest.mark.parametrize("spaces", range(4))
def test_what_other_writers_leave_misaligned_can_be_computed_with(spaces: int, tmp_path: Path):
    save(Custom(states=numbers(2, start=1)), tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    header = content[8:-8] + b" " * spaces
    (tmp_path / "file").write_bytes(len(header).to_bytes(8, "little") + header + content[-8:])
    tensor = load(tmp_path / "file", "torch").states
    assert (tensor @ tensor).item() == 5
    assert tensor.data_ptr() % 4 == 0


# -- frameworks that are missing --------------------------------------------------------------------------------------


MISSING = """
import sys
sys.modules["torch"] = None
import modeloutputs
print(modeloutputs.load(sys.argv[2]).states.tolist(), sys.modules.keys() & {"tests", "jax", "tensorflow"})
loaded = modeloutputs.load(sys.argv[1])
print(type(loaded).__name__, type(loaded).__module__, type(loaded.last_hidden_state).__module__, list(loaded.keys()))
there = modeloutputs.load(sys.argv[1], "jax")
print(type(there).__name__, type(there).__module__, type(there.past_key_values).__name__, there.check() is there)
print(float(there.last_hidden_state.sum()), float(loaded.last_hidden_state.sum()))
try:
    modeloutputs.load(sys.argv[1], "torch")
except ImportError as error:
    print(str(error).splitlines()[0])
print("modeloutputs.torch.outputs" in sys.modules)
"""


@needs_torch
@needs_jax
def test_a_file_loads_where_its_framework_is_missing(tmp_path: Path):
    original = full(class_named("BaseModelOutputWithPast"), **EQUAL_LENGTHS)
    save(original, tmp_path / "file")
    save(Custom(states=numbers(2)), tmp_path / "users")
    printed = run_code(MISSING, tmp_path / "file", tmp_path / "users", cwd=tmp_path)
    users, generic, there, sums, refusal, imported = printed.splitlines()
    assert users == "[0.0, 1.0] set()"  # no framework is imported for NumPy's arrays in an unknown class
    assert generic == f"BaseModelOutputWithPast modeloutputs.files.outputs numpy {list(original.keys())}"
    assert there == "FlaxBaseModelOutputWithPast modeloutputs.flax.outputs dict True"
    assert len({round(float(value), 3) for value in sums.split()}) == 1
    assert "torch" in refusal
    assert imported == "False"


@needs_torch
@pytest.mark.parametrize("error", [ImportError("broken"), MissingDependencyError("not installed")])
def test_arrays_are_numpys_where_their_framework_cannot_be_imported(
    error: ImportError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = loading.backend_named

    def backend_named(name: str) -> Any:
        if name == "torch":
            raise error
        return found(name)

    save(Custom(states=array(numbers(2), "torch")), tmp_path / "file")
    monkeypatch.setattr(loading, "backend_named", backend_named)
    assert_values(load(tmp_path / "file").states, numbers(2))
    assert isinstance(load(tmp_path / "file").states, np.ndarray)
    with pytest.raises(ImportError, match=str(error)):
        load(tmp_path / "file", "torch")
