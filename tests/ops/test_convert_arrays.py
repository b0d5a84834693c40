"""convert: values, memory and element types of arrays, and arrays that cannot be converted."""

import gc
import math
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from modeloutputs import InputError
from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.ops.convert import convert

from ..support.compare import assert_values, values
from ..support.conversions import (
    Custom,
    every_pair,
    every_source,
    is_of,
    moved,
    others_than,
    to_every_framework,
)
from ..support.needs import needs, needs_jax, needs_tensorflow, needs_torch
from ..support.random_outputs import array


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
def test_misaligned_and_strided_arrays_are_copied(source: str, to: str, offset: int):
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


UNUSUAL = {
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
@pytest.mark.parametrize("form", UNUSUAL)
@to_every_framework
def test_unusual_numpy_arrays_arrive_without_a_warning(to: str, form: str):
    there = moved(UNUSUAL[form], to)
    assert is_of(there, to)
    wanted = np.asarray(UNUSUAL[form])
    assert_values(there, np.ascontiguousarray(wanted).astype(wanted.dtype.newbyteorder("=")).reshape(wanted.shape))


@needs_torch
def test_writing_to_a_tensor_leaves_read_only_memory_unchanged():
    constant = np.frombuffer(np.ones(4, np.float32).tobytes(), np.float32)
    moved(constant, "torch").zero_()
    assert constant.tolist() == [1, 1, 1, 1]


@needs_torch
@pytest.mark.parametrize("to", [*others_than("torch"), "numpy"])
def test_lazily_conjugated_and_negated_tensors_arrive_resolved(to: str):
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


def test_arrays_of_the_same_framework_are_not_copied():
    states = np.ones(2)
    there = convert(Custom(states=states), "numpy")
    assert there.states is states
    assert there == Custom(states=states)


@needs_tensorflow
@pytest.mark.parametrize("to", [pytest.param("torch", marks=needs("torch")), "numpy"])
def test_a_variable_arrives_with_the_values_it_had(to: str):
    import tensorflow as tf

    variable = tf.Variable(tf.range(64.0))
    there = moved(variable, to)
    variable.assign_add(tf.ones(64))
    assert_values(there, np.arange(64, dtype=np.float32))


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


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "bool"])
@every_pair
def test_memory_is_shared_if_both_can(source: str, to: str, dtype: str):
    import torch

    numbers = torch.arange(256).to(getattr(torch, dtype)).reshape(16, 16)  # PyTorch aligns its memory
    given = numbers if source == "torch" else moved(numbers, source)
    there = moved(given, to)
    copied = {("tensorflow", "numpy"), ("numpy", "tensorflow"), ("numpy", "jax")}
    assert (address(there) == address(given)) is ((source, to) not in copied)
    assert_values(there, values(given))


@every_source
def test_values_outlive_their_source(source: str):
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
def test_memory_that_jax_donates_or_deletes_stays_with_who_shares_it(to: str):
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
def test_jax_does_not_write_into_borrowed_memory(source: str):
    import jax

    given = moved(np.arange(100_000, dtype=np.float32), source)
    there = moved(given, "jax")
    jax.jit(lambda values: values * 0 + 5, donate_argnums=0)(there).block_until_ready()
    assert_values(given, np.arange(100_000, dtype=np.float32))


@needs_jax
@needs_torch
def test_a_pending_value_of_jax_is_waited_for():
    import jax.numpy as jnp

    value = jnp.ones((600, 600))
    for _ in range(6):
        value = value @ jnp.ones((600, 600)) / 600
    assert_values(moved(value, "torch"), np.ones((600, 600), np.float32))


def refused(value: Any, to: str) -> str:
    with pytest.raises(InputError) as caught:
        moved(value, to)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@needs_torch
@needs_tensorflow
def test_sparse_meta_and_mapped_tensors_are_refused():
    import torch

    message = refused(torch.eye(3).to_sparse(), "tensorflow")
    assert message.startswith("f32[3,3] of torch on cpu cannot be converted to tensorflow: can't convert Sparse")
    assert "no data" in refused(torch.ones(3, device="meta"), "numpy")
    with pytest.raises(InputError, match="cannot be converted to tensorflow"):
        torch.func.vmap(lambda row: moved(row, "tensorflow"))(torch.ones(2, 2))


@needs_tensorflow
@needs_torch
def test_text_is_refused_before_it_aborts_the_process():
    import tensorflow as tf

    assert "string[1]" in refused(tf.constant(["text"]), "torch")
    assert moved(tf.constant(["text"]), "numpy").tolist() == [b"text"]
    assert "SparseTensor" in refused(tf.sparse.from_dense(tf.eye(2)), "numpy")


@needs_jax
@needs_torch
def test_tracers_and_random_keys_are_refused():
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
def test_unsupported_element_types_are_refused(to: str, values: np.ndarray):
    assert "of numpy cannot be converted to" in refused(values, to)


@to_every_framework
def test_masked_arrays_are_refused(to: str):
    assert "is masked" in refused(np.ma.masked_array([1.0, 2.0], [False, True], np.float32), to)


@needs_tensorflow
def test_an_element_type_that_tensorflow_lacks_is_refused():
    assert "f8_e8m0fnu[2] of" in refused(np.ones(2, ml_dtypes.float8_e8m0fnu), "tensorflow")
