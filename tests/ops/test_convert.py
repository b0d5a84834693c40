"""Outputs in other frameworks: classes, values, layouts, memory, and what is refused."""

import gc
import math
import sys
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from modeloutputs import InputError, MissingDependencyError, ModelOutput, UsageError
from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.ops.convert import convert, counterpart
from modeloutputs.output import field_names

from ..support.compare import assert_values, values
from ..support.conversion_reference import (
    CLASS_PARAMS,
    EQUAL_LENGTHS,
    STAND_INS,
    WITH_A_LOSS_OF_THE_BATCH,
    counterpart_name,
    expected,
    lost,
)
from ..support.needs import FRAMEWORK_PARAMS, needs, needs_jax, needs_tensorflow, needs_torch
from ..support.processes import run_code
from ..support.random_outputs import array, class_named, framework_of, full
from ..support.spec_checks import PAGE

every_class = pytest.mark.parametrize("name", CLASS_PARAMS)
to_every_framework = pytest.mark.parametrize("to", FRAMEWORK_PARAMS)
every_source = pytest.mark.parametrize("source", FRAMEWORK_PARAMS)
every_pair = pytest.mark.parametrize(
    ("source", "to"),
    [
        pytest.param(source, to, marks=needs(source, to))
        for source in (*FRAMEWORKS, "numpy")
        for to in (*FRAMEWORKS, "numpy")
        if source != to
    ],
)


def others_than(framework: str) -> list[Any]:
    return [param for param in FRAMEWORK_PARAMS if param.values != (framework,)]


class Custom(ModelOutput):
    """Of no framework."""

    states: Any = None
    more: Any = None


def moved(value: Any, to: str) -> Any:
    return convert(Custom(states=value), to).states


def is_of(value: Any, framework: str) -> bool:
    roots = {"torch": ("torch",), "jax": ("jax", "jaxlib"), "tensorflow": ("tensorflow",), "numpy": ("numpy",)}
    return type(value).__module__.partition(".")[0] in roots[framework]


def address(value: Any) -> int:
    """Return where an array's values lie."""
    if is_of(value, "torch"):
        return value.data_ptr()
    if is_of(value, "jax"):
        return value.unsafe_buffer_pointer()
    if is_of(value, "tensorflow"):
        import tensorflow as tf
        import torch

        return torch.from_dlpack(tf.experimental.dlpack.to_dlpack(value)).data_ptr()
    return value.__array_interface__["data"][0]


# -- classes ----------------------------------------------------------------------------------------------------------


@to_every_framework
@every_class
def test_every_class_becomes_its_counterpart_and_comes_back(name: str, to: str):
    cls, target = class_named(name), class_named(counterpart_name(name, to))
    original = full(cls, **EQUAL_LENGTHS).check()
    drop = lost(cls, target)
    there = convert(original, to, drop=drop)
    assert type(there) is target
    there.check()
    assert_values(there, expected(original, target, drop))
    back = convert(there, cls)
    assert type(back) is cls
    back.check()
    assert_values(back, {name: value for name, value in values(original).items() if name not in drop})


@every_class
def test_numpy_keeps_the_class_and_every_field(name: str):
    original = full(class_named(name))
    there = convert(original, "numpy")
    assert type(there) is type(original)
    assert_values(there, values(original))
    assert list(there.keys()) == list(field_names(type(original)))
    back = convert(there, framework_of(name).name)
    assert type(back) is type(original)
    assert back == original


@pytest.mark.parametrize("framework", FRAMEWORK_PARAMS)
def test_every_class_has_one_counterpart_in_every_framework(framework: str):
    found = {
        (name, framework): cls.__name__
        for own in PAGE
        for name in PAGE[own]
        for cls in [counterpart(FRAMEWORKS[own].module, name, framework)]
        if cls is not None
    }
    assert len(found) == 52
    assert found == {(name, framework): counterpart_name(name, framework) for own in PAGE for name in PAGE[own]}
    assert all(name in PAGE[framework] for name in found.values())


def test_the_stand_ins_are_for_what_a_framework_lacks_and_hold_what_is_always_there():
    for (name, framework), stand_in in STAND_INS.items():
        base = name.removeprefix(framework_of(name).prefix)
        assert FRAMEWORKS[framework].prefix + base not in PAGE[framework]
        fields = PAGE[framework_of(name).name][name]
        there = {field["name"] for field in PAGE[framework][stand_in]}
        always = {field["name"] for field in fields if not field["optional"] and field["name"] != "loss"}
        assert always <= there


@needs_torch
def test_what_is_not_ours_has_no_counterpart():
    assert counterpart(__name__, "Custom", "torch") is None
    assert counterpart("modeloutputs.torch.outputs", "Tensor", "torch") is None


@needs_torch
@needs_tensorflow
def test_a_users_class_keeps_its_class_and_its_layout():
    from modeloutputs.torch import BaseModelOutputWithPast

    class Mine(BaseModelOutputWithPast):
        extra: Any = None

    original = Mine(extra=(array(np.ones(2), "torch"), None, "text"), past_key_values=(layer("torch"),))
    there = convert(original, "tensorflow")
    assert type(there) is Mine
    assert is_of(there.extra[0], "tensorflow")
    assert_values(there, values(original))
    assert convert(there, "torch") == original


@every_pair
def test_placeholders_and_arrays_that_stand_twice_stay_so(source: str, to: str):
    last = array(np.arange(6, dtype=np.float32).reshape(1, 2, 3), source)
    original = Custom(states=(None, last, None), more={"last": last, "none": None, "nested": [last, ("x", 1.5)]})
    there = convert(original, to)
    assert there.states[0] is None
    assert there.states[2] is None
    assert there.states[1] is there.more["last"] is there.more["nested"][0]
    assert is_of(there.states[1], to)
    assert_values(there, values(original))


@needs_torch
@needs_jax
def test_outputs_within_an_output_are_converted_likewise():
    from modeloutputs.flax import FlaxBaseModelOutputWithPast
    from modeloutputs.torch import BaseModelOutputWithPast, SequenceClassifierOutput

    logits = array(np.ones((1, 2), np.float32), "torch")
    inner = SequenceClassifierOutput(loss=logits[0, 0], logits=logits)
    cached = full(BaseModelOutputWithPast, **EQUAL_LENGTHS)
    original = Custom(states=[inner, {"cached": cached}], more=logits)
    there = convert(original, "jax", drop=["loss"])
    assert [type(there).__name__, type(there.states[0]).__name__] == ["Custom", "FlaxSequenceClassifierOutput"]
    assert there.states[0].logits is there.more
    assert_values(there.states[1]["cached"], expected(cached, FlaxBaseModelOutputWithPast))
    there.states[0].check()
    there.states[1]["cached"].check()
    assert_values(convert(original, "numpy"), values(original))
    with pytest.raises(
        InputError, match=r"^FlaxSequenceClassifierOutput has no field loss; leave these out with drop=\('loss',"
    ):
        convert(original, "jax")


# -- arrays: values ---------------------------------------------------------------------------------------------------

DTYPES = [
    "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int64", "int32", "int16", "int8",
    "uint64", "uint32", "uint16", "uint8", "bool", "complex64",
]  # fmt: skip


def numpy_dtype(name: str) -> Any:
    return np.dtype(getattr(ml_dtypes, name, name))


def any_bits(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return every kind of value: NaNs with payloads, negative zeros, infinities, subnormals."""
    dtype = numpy_dtype(name)
    size = math.prod(shape) * dtype.itemsize
    bits = np.random.default_rng(0).integers(0, 2 if name == "bool" else 256, size, dtype=np.uint8)
    return bits.view(dtype).reshape(shape)


@pytest.fixture
def jax_with_64_bits() -> Iterator[None]:
    import jax

    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("dtype", DTYPES)
@every_pair
def test_every_bit_of_every_dtype_arrives(source: str, to: str, dtype: str, request: pytest.FixtureRequest):
    if "jax" in (source, to) and numpy_dtype(dtype) in (np.float64, np.int64, np.uint64):
        request.getfixturevalue("jax_with_64_bits")
    for shape in ((16, 8), (), (0, 3), (2, 0)):
        wanted = any_bits(dtype, shape)
        there = moved(moved(wanted.copy(), source), to)
        assert is_of(there, to)
        assert_values(there, wanted, str(shape))


@to_every_framework
@every_source
@pytest.mark.parametrize("offset", [0, 1, 3])
def test_what_does_not_lie_as_the_other_wants_it_is_copied_and_can_be_computed_with(source: str, to: str, offset: int):
    """Misaligned memory ends the process in some kernels of TensorFlow; strides are a thing it does not know."""
    plain = np.arange(40 * 40 + 3, dtype=np.float32)[offset : offset + 1600].reshape(40, 40)
    base = array(np.arange(40 * 40 + 3, dtype=np.float32), source)
    cut = base[offset : offset + 1600]
    cut = cut.reshape(40, 40) if source != "tensorflow" else __import__("tensorflow").reshape(cut, (40, 40))
    forms = {"cut": (cut, plain), "columns": (cut[:, 1:], plain[:, 1:]), "steps": (cut[::2], plain[::2])}
    if source == "torch":
        forms |= {
            "turned": (cut.t(), plain.T),
            "expanded": (cut[:1].expand(8, 40), np.broadcast_to(plain[:1], (8, 40))),
        }
    for form, (given, wanted) in forms.items():
        there = moved(given, to)
        assert_values(there, np.ascontiguousarray(wanted), form)
        ones = moved(np.eye(wanted.shape[1], dtype=np.float32), to)
        np.testing.assert_array_equal(values(there @ ones), wanted)


ODD = {
    "a single number": np.float32(2.5),
    "backwards": np.arange(6, dtype=np.float32)[::-1],
    "in steps": np.arange(6, dtype=np.float32)[::2],
    "of another byte order": np.array([1.5, -2.5], ">f4"),
    "read-only": np.frombuffer(np.arange(4, dtype=np.float32).tobytes(), np.float32),
    "broadcast": np.broadcast_to(np.float32(3), (2, 3)),
    "in Fortran's order": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "bfloat16 turned": np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3).T,
    "bfloat16 backwards": np.arange(6).astype(ml_dtypes.bfloat16)[::-1],
    "misaligned": np.frombuffer(bytearray(b"-" + np.arange(16, dtype=np.float32).tobytes()), np.float32, 16, 1),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", ODD)
@to_every_framework
def test_whatever_numpy_holds_arrives_without_a_warning(to: str, form: str):
    there = moved(ODD[form], to)
    assert is_of(there, to)
    wanted = np.asarray(ODD[form])
    assert_values(there, np.ascontiguousarray(wanted).astype(wanted.dtype.newbyteorder("=")).reshape(wanted.shape))


@needs_torch
def test_writing_to_a_tensor_does_not_reach_what_numpy_forbids_to_write_to():
    constant = np.frombuffer(np.ones(4, np.float32).tobytes(), np.float32)
    moved(constant, "torch").zero_()
    assert constant.tolist() == [1, 1, 1, 1]


@needs_torch
@pytest.mark.parametrize("to", [*others_than("torch"), "numpy"])
def test_tensors_that_are_read_otherwise_than_they_lie_arrive_as_they_are_read(to: str):
    import torch

    numbers = torch.arange(64, dtype=torch.float32)
    waves = torch.complex(numbers, numbers + 1)
    for tensor in (waves.conj(), waves.conj().imag, torch._neg_view(numbers), torch._neg_view(waves.conj())):
        assert tensor.is_conj() or tensor.is_neg()
        assert_values(moved(tensor, to), values(tensor))


@needs_torch
@pytest.mark.parametrize("to", [*others_than("torch"), "numpy"])
def test_gradients_do_not_cross(to: str):
    import torch

    weight = torch.nn.Parameter(torch.arange(16.0))
    with torch.inference_mode():
        inferred = torch.arange(16.0)
    for tensor, wanted in ((weight, 1), (weight * 2, 2), (inferred, 1)):
        assert_values(moved(tensor, to), np.arange(16, dtype=np.float32) * wanted)
    assert weight.requires_grad
    again = torch.arange(16.0, requires_grad=True)
    assert moved(again, "torch") is again


def test_of_the_same_framework_it_is_the_same_array():
    states = np.ones(2)
    there = convert(Custom(states=states), "numpy")
    assert there.states is states
    assert there == Custom(states=states)


@needs_tensorflow
@pytest.mark.parametrize("to", [pytest.param("torch", marks=needs("torch")), "numpy"])
def test_a_variable_arrives_as_it_was(to: str):
    import tensorflow as tf

    variable = tf.Variable(tf.range(64.0))
    there = moved(variable, to)
    variable.assign_add(tf.ones(64))
    assert_values(there, np.arange(64, dtype=np.float32))


# -- arrays: 64 bits in JAX -------------------------------------------------------------------------------------------


@needs_jax
@pytest.mark.parametrize("source", [pytest.param(name, marks=needs(name)) for name in ("torch", "tensorflow", "numpy")])
def test_jax_without_64_bits_takes_integers_that_fit_and_refuses_all_else(source: str):
    for dtype in ("int64", "uint64"):
        there = moved(array(np.array([0, 1, 2**31 - 1], dtype), source), "jax")
        assert there.dtype == dtype.replace("64", "32")
        assert there.tolist() == [0, 1, 2**31 - 1]
    assert moved(array(np.array(-(2**31)), source), "jax").tolist() == -(2**31)
    refused = [np.array([2**31]), np.array([-(2**31) - 1]), np.array([2**32], np.uint64), np.ones(2), np.ones(2, "c16")]
    for wide in refused:
        with pytest.raises(InputError, match=r'^JAX would turn \w+ into \w+; set jax.config.update\("jax_enable_x64"'):
            moved(array(wide, source), "jax")


@needs_jax
@pytest.mark.usefixtures("jax_with_64_bits")
@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64", "complex128"])
@pytest.mark.parametrize("other", [pytest.param(name, marks=needs(name)) for name in ("torch", "tensorflow", "numpy")])
def test_jax_with_64_bits_takes_and_gives_every_bit(other: str, dtype: str):
    wanted = any_bits(dtype, (8, 4))
    there = moved(array(wanted, other), "jax")
    assert_values(there, wanted)
    assert_values(moved(there, other), wanted)


# -- arrays: memory ---------------------------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "bool"])
@every_pair
def test_memory_is_shared_where_both_can(source: str, to: str, dtype: str):
    import torch

    numbers = torch.arange(256).to(getattr(torch, dtype)).reshape(16, 16)  # PyTorch aligns its memory
    given = numbers if source == "torch" else moved(numbers, source)
    there = moved(given, to)
    copied = {("tensorflow", "numpy"), ("numpy", "tensorflow"), ("numpy", "jax")}
    assert (address(there) == address(given)) is ((source, to) not in copied)
    assert_values(there, values(given))


@every_source
def test_values_outlive_what_they_came_from(source: str):
    wanted = {name: np.arange(100_000).astype(numpy_dtype(name)) for name in ("float32", "bfloat16", "float8_e5m2")}
    others = [name for name, framework in FRAMEWORKS.items() if framework.is_installed] + ["numpy"]
    there = {(to, name): moved(moved(wanted[name].copy(), source), to) for to in others for name in wanted}
    gc.collect()
    for i in range(4):  # what is free is written over
        assert len([array(np.full(100_000, i, dtype), kind) for kind in others for dtype in ("f4", "i2", "i1")]) > 0
    for (_, name), value in there.items():
        assert_values(value, wanted[name])


@needs_jax
@pytest.mark.parametrize("to", [*others_than("jax"), "numpy"])
def test_what_jax_gives_away_or_deletes_stays_with_who_shares_it(to: str):
    import jax

    given = jax.numpy.arange(100_000.0)
    there = moved(given, to)
    jax.jit(lambda values: values * 0 + 5, donate_argnums=0)(given).block_until_ready()
    assert_values(there, np.arange(100_000, dtype=np.float32))
    deleted = jax.numpy.arange(100_000.0)
    there = moved(deleted, to)
    deleted.delete()
    jax.numpy.full(100_000, 7.0).block_until_ready()
    assert_values(there, np.arange(100_000, dtype=np.float32))


@needs_jax
@pytest.mark.parametrize("source", [*others_than("jax"), "numpy"])
def test_jax_does_not_write_into_memory_that_it_was_lent(source: str):
    import jax

    given = moved(np.arange(100_000, dtype=np.float32), source)
    there = moved(given, "jax")
    jax.jit(lambda values: values * 0 + 5, donate_argnums=0)(there).block_until_ready()
    assert_values(given, np.arange(100_000, dtype=np.float32))


@needs_jax
@needs_torch
def test_a_value_that_jax_still_computes_is_waited_for():
    import jax.numpy as jnp

    value = jnp.ones((600, 600))
    for _ in range(6):
        value = value @ jnp.ones((600, 600)) / 600
    assert_values(moved(value, "torch"), np.ones((600, 600), np.float32))


# -- arrays that cannot go --------------------------------------------------------------------------------------------


def refused(value: Any, to: str) -> str:
    with pytest.raises(InputError) as caught:
        moved(value, to)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@needs_torch
@needs_tensorflow
def test_tensors_without_values_in_one_piece_of_memory_are_refused():
    import torch

    message = refused(torch.eye(3).to_sparse(), "tensorflow")
    assert message.startswith("f32[3,3] of torch on cpu cannot be converted to tensorflow: can't convert Sparse")
    assert "no data" in refused(torch.ones(3, device="meta"), "numpy")
    with pytest.raises(InputError, match="cannot be converted to tensorflow"):
        torch.func.vmap(lambda row: moved(row, "tensorflow"))(torch.ones(2, 2))


@needs_tensorflow
@needs_torch
def test_text_is_refused_where_it_would_end_the_process():
    import tensorflow as tf

    assert "string[1]" in refused(tf.constant(["text"]), "torch")
    assert moved(tf.constant(["text"]), "numpy").tolist() == [b"text"]
    assert "SparseTensor" in refused(tf.sparse.from_dense(tf.eye(2)), "numpy")


@needs_jax
@needs_torch
def test_values_that_jax_does_not_have_yet_or_has_no_numbers_for_are_refused():
    import jax

    assert "traced" in refused_when_traced(jax)
    assert "PRNGKey" in refused(jax.random.key(0), "torch")
    assert "int4" in refused(jax.numpy.ones(2, jax.numpy.int4), "torch")


def refused_when_traced(jax: Any) -> str:
    messages: list[str] = []
    jax.jit(lambda value: messages.append(refused(value, "torch")))(jax.numpy.ones(2))
    return messages[0]


@pytest.mark.parametrize(
    "values", [np.array(["a"]), np.array([None]), np.zeros(2, [("a", int)]), np.ones(2, np.longdouble)], ids=str
)
@pytest.mark.parametrize("to", others_than("tensorflow"))
def test_what_a_framework_has_no_type_for_is_refused(to: str, values: np.ndarray):
    assert "of numpy cannot be converted to" in refused(values, to)


@to_every_framework
def test_a_mask_is_not_lost_on_the_way(to: str):
    assert "is masked" in refused(np.ma.masked_array([1.0, 2.0], [False, True], np.float32), to)


@needs_tensorflow
def test_an_element_type_that_tensorflow_lacks_is_refused():
    assert "f8_e8m0fnu[2] of" in refused(np.ones(2, ml_dtypes.float8_e8m0fnu), "tensorflow")


# -- caches -----------------------------------------------------------------------------------------------------------


def layer(kind: str, *, length: int = 3, width: int = 2, start: int = 0) -> tuple[Any, Any]:
    key = np.arange(start, start + 2 * 2 * length * width, dtype=np.float32).reshape(2, 2, length, width)
    return array(key, kind), array(-key, kind)


def with_cache(name: str, cache: Any) -> Any:
    kind = framework_of(name).name
    return class_named(name)(last_hidden_state=array(np.ones((2, 1, 4), np.float32), kind), past_key_values=cache)


def cache_of(name: str, cache: Any, to: Any) -> Any:
    return convert(with_cache(name, cache), to).past_key_values


@needs_torch
@needs_tensorflow
def test_keys_and_values_are_stacked_for_tensorflow_and_an_encoders_stand_beside_them():
    plain, crossing = layer("torch"), layer("torch", start=50) + layer("torch", length=5, start=90)
    stacks = cache_of("BaseModelOutputWithPastAndCrossAttentions", (plain, crossing), "tensorflow")
    assert type(stacks) is list
    np.testing.assert_array_equal(stacks[0].numpy(), np.stack(values(plain)))
    assert type(stacks[1]) is tuple
    np.testing.assert_array_equal(stacks[1][0].numpy(), np.stack(values(crossing[:2])))
    np.testing.assert_array_equal(stacks[1][1].numpy(), np.stack(values(crossing[2:])))
    back = cache_of("TFBaseModelOutputWithPastAndCrossAttentions", stacks, "torch")
    assert_values(back, (values(plain), values(crossing)))


@needs_torch
@needs_jax
def test_the_cache_of_constant_shape_holds_the_same_by_other_names():
    layers = (layer("torch"), layer("torch", start=50))
    cache = cache_of("BaseModelOutputWithPast", layers, "jax")
    assert list(cache) == [f"layers.{i}.cached_{what}" for i in (0, 1) for what in ("key", "value")] + ["cache_index"]
    for i in (0, 1):
        for what, states in zip(("key", "value"), layers[i], strict=True):
            for row, head, position in np.ndindex(2, 2, 3):
                there = cache[f"layers.{i}.cached_{what}"][row, position, head]
                np.testing.assert_array_equal(there, states[row, head, position].numpy())
    assert (cache["cache_index"].tolist(), str(cache["cache_index"].dtype)) == ([3, 3], "int32")


@needs_jax
@pytest.mark.parametrize("to", others_than("jax"))
@pytest.mark.parametrize("index", [[4, 4], [4, 1], [0, 0], 4])
def test_room_behind_what_is_filled_does_not_come_along(to: str, index: Any):
    room = np.random.default_rng(0).standard_normal((2, 7, 2, 3), dtype=np.float32)
    cache = {"layers.0.cached_key": room, "layers.0.cached_value": -room, "cache_index": np.array(index, np.int32)}
    arrays = {name: array(part, "jax") for name, part in cache.items()}
    there = values(cache_of("FlaxBaseModelOutputWithPast", arrays, to))
    filled = np.max(index)
    wanted = room.transpose(0, 2, 1, 3)[:, :, :filled]
    np.testing.assert_array_equal(np.stack(there[0]), np.stack([wanted, -wanted]))


@needs_jax
def test_between_classes_of_one_framework_the_layout_changes_too():
    past = cache_of(
        "FlaxBaseModelOutputWithPastAndCrossAttentions", (layer("jax"),), class_named("FlaxBaseModelOutputWithPast")
    )
    assert past["layers.0.cached_key"].shape == (2, 3, 2, 2)
    again = cache_of("FlaxBaseModelOutputWithPast", past, class_named("FlaxBaseModelOutputWithPastAndCrossAttentions"))
    assert_values(again, (values(layer("jax")),))


@needs_torch
@needs_tensorflow
@needs_jax
def test_a_cache_of_no_layers():
    assert cache_of("BaseModelOutputWithPast", (), "tensorflow") == []
    static = cache_of("BaseModelOutputWithPast", (), "jax")
    assert list(static) == ["cache_index"]
    assert cache_of("FlaxBaseModelOutputWithPast", static, "torch") == ()


@needs_torch
@needs_tensorflow
def test_the_cache_of_our_decoders_is_a_cache_like_any():
    from modeloutputs.torch.cache import Cache

    grown = Cache([layer("torch")])
    assert_values(cache_of("BaseModelOutputWithPast", grown, "tensorflow"), [np.stack(values(layer("torch")))])
    assert_values(cache_of("BaseModelOutputWithPast", grown, "numpy"), (values(layer("torch")),))


K = np.ones((2, 2, 3, 2), np.float32)
NO_CACHES = {
    "a layer that is not there": (None, (K, K)),
    "a layer of nothing": ((),),
    "a key alone": ((K,),),
    "three": ((K, K, K),),
    "too few axes": ((K[0], K[0]),),
    "too many axes": ((K[None], K[None]),),
    "one array": K,
    "text": "cache",
    "an object": object(),
}


@needs_torch
@pytest.mark.parametrize("to", others_than("torch"))
@pytest.mark.parametrize("form", NO_CACHES)
def test_what_is_no_cache_is_refused_by_its_shapes(form: str, to: str):
    with pytest.raises(InputError, match=r"^\w+\.past_key_values was given .*; expected keys and values of each layer"):
        cache_of("BaseModelOutputWithPast", NO_CACHES[form], to)


@needs_jax
@needs_torch
@pytest.mark.parametrize(
    "change",
    [
        {"cache_index": None},
        {"cache_index": 3},
        {"layers.0.cached_value": None},
        {"layers.0.cached_key": K[0]},
        {"layers.7.cached_key": K},
        {"layers.7.cached_key": K, "layers.7.cached_value": K},
        {3: K, 4: K},
    ],
    ids=str,
)
def test_a_dict_that_is_no_cache_is_refused_by_its_names(change: dict[Any, Any]):
    cache = {"layers.0.cached_key": K, "layers.0.cached_value": K, "cache_index": np.array([1, 1])} | change
    given = {name: value for name, value in cache.items() if value is not None}
    with pytest.raises(
        InputError, match=r"^BaseModelOutputWithPast\.past_key_values was given \{.*'layers\.0\.cached_key'"
    ):
        cache_of("FlaxBaseModelOutputWithPast", given, "torch")


@needs_jax
@needs_torch
def test_a_cache_filled_beyond_its_room_is_refused():
    cache = {"layers.0.cached_key": K, "layers.0.cached_value": K, "cache_index": np.array([1, 9])}
    with pytest.raises(InputError, match=r"cache_index says that 9 positions are filled, but there are 2$"):
        cache_of("FlaxBaseModelOutputWithPast", cache, "torch")


@needs_torch
@needs_jax
@needs_tensorflow
def test_a_cache_that_the_other_layout_has_no_place_for_is_refused():
    sliding = (layer("torch"), layer("torch", length=2))
    for what, cache, to in (
        ("layers of two lengths under one index", sliding, "jax"),
        ("values wider than keys", ((layer("torch")[0], layer("torch", width=5)[0]),), "tensorflow"),
        ("values of another type", ((layer("torch")[0], layer("torch")[0].half()),), "tensorflow"),
        ("an encoder's keys", (layer("torch") * 2,), class_named("FlaxBaseModelOutputWithPast")),
        ("an encoder's keys", (layer("torch") * 2,), class_named("TFBaseModelOutputWithPast")),
    ):
        with pytest.raises(
            InputError, match=r"represent this cache: .*; leave it out with drop=\('past_key_values',\)$"
        ):
            pytest.fail(f"{what}: {cache_of('BaseModelOutputWithPast', cache, to)}")
    assert [stack.shape[3] for stack in cache_of("BaseModelOutputWithPast", sliding, "tensorflow")] == [3, 2]


# -- losses -----------------------------------------------------------------------------------------------------------


def loss_of(name: str, shape: tuple[int, ...], to: str) -> Any:
    kind, numbers = framework_of(name).name, np.arange(1, 1 + math.prod(shape), dtype=np.float32).reshape(shape)
    output = full(class_named(name), absent=["cross_attentions"]).replace(loss=array(numbers, kind))
    there = convert(output, to).check().loss
    return values(there).tolist()


@needs_torch
@needs_tensorflow
@pytest.mark.parametrize("base", sorted(WITH_A_LOSS_OF_THE_BATCH))
def test_the_loss_of_a_batch_has_an_axis_in_tensorflow_and_none_in_pytorch(base: str):
    assert loss_of(base, (), "tensorflow") == [1.0]
    assert loss_of(f"TF{base}", (1,), "torch") == 1.0


@needs_torch
@needs_tensorflow
@pytest.mark.parametrize("base", sorted(WITH_A_LOSS_OF_THE_BATCH))
def test_the_losses_of_parts_stay_the_losses_of_parts(base: str):
    assert loss_of(base, (3,), "tensorflow") == [1.0, 2.0, 3.0]
    assert loss_of(f"TF{base}", (3,), "torch") == [1.0, 2.0, 3.0]


@needs_torch
@needs_tensorflow
def test_losses_of_labels_or_rows_are_no_losses_of_parts():
    for name, shape, to, message in (
        ("TFTokenClassifierOutput", (3,), "torch", "() or (parts), and f32[3] with the axes (n) cannot"),
        ("TFSequenceClassifierOutput", (2,), "torch", "() or (parts), and f32[2] with the axes (batch) cannot"),
        ("TokenClassifierOutput", (), "tensorflow", "(n), and f32[] with the axes () cannot"),
        ("SequenceClassifierOutput", (2,), "tensorflow", "(batch), and f32[2] with the axes (parts) cannot"),
    ):
        advice = "reduce it first, or " if to == "torch" else ""
        with pytest.raises(InputError) as caught:
            loss_of(name, shape, to)
        said = str(caught.value).partition(".loss has the axes ")[2]
        assert said == f"{message} be reshaped to that; {advice}leave it out with drop=('loss',)"


@needs_torch
@needs_tensorflow
def test_one_label_or_row_has_one_loss():
    assert loss_of("TFTokenClassifierOutput", (1,), "torch") == 1.0


@needs_torch
@needs_jax
def test_flax_has_no_losses():
    with pytest.raises(InputError, match=r"^FlaxTokenClassifierOutput has no field loss; .* with drop=\('loss',\)$"):
        loss_of("TokenClassifierOutput", (), "jax")


# -- what was asked for -----------------------------------------------------------------------------------------------


@needs_torch
def test_every_word_that_is_none_is_named():
    from modeloutputs.torch import SequenceClassifierOutput

    output = full(SequenceClassifierOutput)
    for arguments, message in (
        ({"drop": ["los"]}, "^SequenceClassifierOutput has no field 'los', named in drop; did you mean 'loss'?"),
        ({"drop": "loss"}, r"^drop is the text 'loss'; pass the names of fields, as in \('loss',\)$"),
        ({"to": "theano"}, "^framework is 'theano'; expected one of 'torch', 'jax', 'tensorflow', 'numpy'$"),
        ({"to": int}, "^int is not one of this library's classes; pass the framework to convert to instead$"),
        ({"to": Custom}, "^Custom is not one of this library's classes"),
        ({"to": ModelOutput}, "^ModelOutput is not one of this library's classes"),
    ):
        with pytest.raises(InputError, match=message):
            convert(output, **({"to": "numpy"} | arguments))


def test_what_is_no_output_is_named():
    for value, name in (({"logits": 1}, "dict"), ([Custom()], "list"), (None, "NoneType")):
        with pytest.raises(UsageError, match=f"^convert takes one output; got a {name}$"):
            convert(value, "numpy")  # pyright: ignore[reportArgumentType]


@needs_torch
def test_to_another_class_of_the_same_framework():
    from modeloutputs.torch import BaseModelOutputWithPast, BaseModelOutputWithPastAndCrossAttentions

    original = full(BaseModelOutputWithPast)
    there = convert(original, BaseModelOutputWithPastAndCrossAttentions)
    assert type(there) is BaseModelOutputWithPastAndCrossAttentions
    assert there.to_dict() == original.to_dict()
    assert there.last_hidden_state is original.last_hidden_state
    with pytest.raises(InputError, match=r"^BaseModelOutputWithPast has no field cross_attentions"):
        convert(full(BaseModelOutputWithPastAndCrossAttentions), BaseModelOutputWithPast)


def test_the_public_name_is_the_function_whatever_was_used_before():
    code = "import modeloutputs; modeloutputs.load; print(callable(modeloutputs.convert))"
    assert run_code(code) == "True"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_that_is_missing_is_named(framework: str, monkeypatch: pytest.MonkeyPatch):
    from modeloutputs.arrays import backends as arrays

    arrays.backend_named.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, framework, raising=False)
    folder = FRAMEWORKS[framework].folder
    with pytest.raises(
        MissingDependencyError, match=rf"^framework '{framework}' is not .*install modeloutputs\[{folder}\]$"
    ):
        convert(Custom(states=np.ones(2)), framework)
    arrays.backend_named.cache_clear()
