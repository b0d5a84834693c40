"""The operations on arrays, of each framework held against NumPy's; what counts as an array or an element type."""

import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

import modeloutputs.arrays.backends as arrays_module
from modeloutputs import InputError, ModelOutput
from modeloutputs.arrays.backends import (
    Arrays,
    arrays_named,
    arrays_of,
    dtype_name,
    holds,
    is_dtype,
)
from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.output.nested import is_array

from ..ops.test_batch import needs, needs_jax, needs_tensorflow, needs_torch
from ..support.random_outputs import array

KINDS = [
    "numpy",
    *(pytest.param(name, marks=needs(name)) for name in FRAMEWORKS),
]
every_kind = pytest.mark.parametrize("kind", KINDS)
EXTENDED = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]


class Held(ModelOutput):
    value: Any = None


# -- what is an array -----------------------------------------------------------------------------------------------


@every_kind
def test_arrays_are_known_by_their_framework(kind: str):
    made = array(np.ones((2, 3), np.float32), kind)
    assert is_array(made)
    assert arrays_of(made) is arrays_named(kind)
    assert arrays_named(kind).name == kind


def test_what_is_no_array_is_none():
    for value in (None, 1, "f32", [1.0], np.float32, np.ndarray, np.dtype("f4"), (2, 3), {}):
        assert not is_array(value)
    assert is_array(np.float32(1))
    assert is_array(np.ones(2))


@needs_torch
@needs_jax
@needs_tensorflow
def test_arrays_without_values_and_of_users_classes_are_known():
    import jax
    import keras
    import tensorflow as tf
    import torch

    class Mine(torch.Tensor):
        pass

    jax.jit(lambda x: expect(x, "jax"))(np.ones(2))
    tf.function(lambda x: expect(x, "tensorflow"))(tf.ones(2))
    torch.func.vmap(lambda x: expect(x, "torch"))(torch.ones(2))
    for value, kind in (
        (torch.nn.Parameter(torch.ones(2)), "torch"),
        (torch.ones(2).as_subclass(Mine), "torch"),
        (torch.ones(2, device="meta"), "torch"),
        (tf.Variable([1.0]), "tensorflow"),
        (jax.ShapeDtypeStruct((2,), np.float32), "jax"),
        (np.ma.masked_array([1.0]), "numpy"),
    ):
        assert expect(value, kind) is value
    assert is_array(keras.Input((2,)))
    with pytest.raises(
        InputError, match=r"^a keras\.[\w.]+\.KerasTensor is no array of PyTorch, JAX, TensorFlow or NumPy$"
    ):
        arrays_of(keras.Input((2,)))


def expect(value: Any, kind: str) -> Any:
    assert is_array(value)
    assert arrays_of(value).name == kind
    return value


def test_a_framework_that_there_is_not_is_named():
    with pytest.raises(
        InputError, match=r"^framework is 'mxnet'; expected one of 'torch', 'jax', 'tensorflow', 'numpy'$"
    ):
        arrays_named("mxnet")


def test_nothing_is_imported_for_arrays_of_others():
    code = (
        "import sys, numpy, modeloutputs.ops.batch as b; from modeloutputs.arrays.backends import arrays_of;"
        "arrays_of(numpy.ones(2)); print(sorted({'torch', 'jax', 'tensorflow'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# -- element types --------------------------------------------------------------------------------------------------


def element_types() -> list[Any]:
    found: list[Any] = ["float16", "bfloat16", "float8_e5m2", "int32", "bool", np.float32, np.dtype("f2"), float]
    found += [ml_dtypes.bfloat16, np.dtype(ml_dtypes.float8_e4m3fn)]
    return found


def test_element_types_are_told_from_devices():
    assert all(map(is_dtype, element_types()))
    for device in ("cpu", "cuda:1", "gpu", "tpu:0", "meta", "intel", "/device:CPU:0", None, 0):
        assert not is_dtype(device)
    assert [dtype_name(dtype) for dtype in element_types()] == [
        "float16",
        "bfloat16",
        "float8_e5m2",
        "int32",
        "bool",
        "float32",
        "float16",
        "float64",
        "bfloat16",
        "float8_e4m3fn",
    ]


@every_kind
@pytest.mark.parametrize("name", ["float16", "float32", "int32", "bool", *EXTENDED[:3]])
def test_element_types_have_one_name_in_every_framework(kind: str, name: str):
    dtype = getattr(ml_dtypes, name) if name in EXTENDED else np.dtype(name)
    made = arrays_named(kind).from_numpy(np.ones(2, dtype))
    assert dtype_name(made.dtype) == name
    assert is_dtype(made.dtype)


@needs_jax
def test_the_element_types_that_jax_exports_are_known():
    import jax.numpy as jnp

    assert is_dtype(jnp.float16)
    assert dtype_name(jnp.bfloat16) == "bfloat16"


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("dtype", "held", "not_held"),
    [
        ("float32", [0, 1, -0.1, INF, -INF, NAN, 1e30], [1e300]),
        ("float16", [0, 0.1, -INF], [1e6]),
        ("int64", [0, -100, 2**62, True], [0.5, INF, NAN, 2**64]),
        ("uint8", [0, 255], [256, -1]),
        ("bool", [0, 1, False], [2, -1]),
        ("bfloat16", [0, 0.1, -INF, 1e30], []),
        ("float8_e5m2", [0, 0.1, -INF], [1e6]),
        ("float8_e4m3fn", [0, -8, NAN], [INF, -INF]),
        ("float8_e8m0fnu", [1, 0.5], [0, -INF]),
        ("complex64", [0, 1.5, -INF], []),
    ],
)
def test_which_numbers_an_element_type_holds(dtype: str, held: list[float], not_held: list[float]):
    values = np.zeros(1, getattr(ml_dtypes, dtype) if dtype in EXTENDED else dtype)
    assert [value for value in held if not holds(values, value)] == []
    assert [value for value in not_held if holds(values, value)] == []


def test_element_types_that_numpy_does_not_know_are_their_frameworks_to_judge():
    assert holds(types.SimpleNamespace(dtype="string"), -1)


# -- nesting --------------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    first: Any
    second: Any


# -- operations -----------------------------------------------------------------------------------------------------

VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

OPERATIONS: dict[str, tuple[Callable[[Arrays, Any], Any], Any]] = {
    "take": (lambda kind, x: kind.take(x, np.array([1, 0, 1]), 0), VALUES[[1, 0, 1]]),
    "take, second axis": (lambda kind, x: kind.take(x, np.array([2, 0]), 1), VALUES[:, [2, 0]]),
    "take none": (lambda kind, x: kind.take(x, np.array([], np.int64), 1), VALUES[:, []]),
    "narrow": (lambda kind, x: kind.narrow(x, 1, 1, 3), VALUES[:, 1:3]),
    "narrow to none": (lambda kind, x: kind.narrow(x, 2, 2, 2), VALUES[:, :, 2:2]),
    "reshape": (lambda kind, x: kind.reshape(x, (6, -1)), VALUES.reshape(6, 4)),
    "swap": (lambda kind, x: kind.swap(x, 0, 2), VALUES.swapaxes(0, 2)),
    "concat": (lambda kind, x: kind.concat([x, x], 1), np.concatenate([VALUES, VALUES], 1)),
    "stack": (lambda kind, x: kind.stack([x, x]), np.stack([VALUES, VALUES])),
    "pad": (
        lambda kind, x: kind.pad(x, [(0, 1), (2, 0), (0, 0)], -1),
        np.pad(VALUES, [(0, 1), (2, 0), (0, 0)], constant_values=-1),
    ),
    "pad with infinity": (
        lambda kind, x: kind.pad(x, [(0, 0), (1, 1), (0, 0)], -INF),
        np.pad(VALUES, [(0, 0), (1, 1), (0, 0)], constant_values=-INF),
    ),
    "detach": (lambda kind, x: kind.detach(x), VALUES),
    "move": (lambda kind, x: kind.move(x, "cpu", "float16", non_blocking=True), VALUES.astype(np.float16)),
}


@every_kind
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_give_what_numpy_gives(kind: str, operation: str):
    run, expected = OPERATIONS[operation]
    given = array(VALUES.copy(), kind)
    found = run(arrays_named(kind), given)
    assert arrays_of(found).name == kind
    values = arrays_named(kind).numpy(found)
    assert values.dtype == expected.dtype
    assert np.array_equal(values, expected)
    assert np.array_equal(arrays_named(kind).numpy(given), VALUES)


LEFTS = [{1: False}, {1: True}, {2: True}, {1: True, 2: False}, {1: False, 3: True}, {0: True, 2: False}]


@every_kind
@pytest.mark.parametrize("lefts", LEFTS, ids=str)
@pytest.mark.parametrize("fresh_memory", [0, 1 << 25], ids=["large", "small"])
@pytest.mark.parametrize("value", [0, -INF])
def test_arrays_are_padded_and_joined_at_once(
    kind: str, lefts: dict[int, bool], fresh_memory: int, value: float, monkeypatch: pytest.MonkeyPatch
):
    # Results that are large are made in another way; here all are, or none.
    monkeypatch.setattr(arrays_module, "_FRESH_MEMORY", fresh_memory)
    axis = 1 if 0 in lefts else 0
    rng = np.random.default_rng(0)
    base = [2, 2, 2, 2]
    parts: list[Any] = []
    for rows, length in ((1, 3), (3, 1), (2, 4), (0, 2), (1, 0), (1, 4)):
        shape = [length if i in lefts else size for i, size in enumerate(base)]
        shape[axis] = rows
        parts.append(rng.standard_normal(shape, dtype=np.float32))
    wide = [
        np.pad(
            part,
            [(0, 0) if i not in lefts else ((4 - n, 0) if lefts[i] else (0, 4 - n)) for i, n in enumerate(part.shape)],
            constant_values=value,
        )
        for part in parts
    ]
    found = arrays_named(kind).pad_and_concat([array(part, kind) for part in parts], axis, lefts, value)
    assert np.array_equal(arrays_named(kind).numpy(found), np.concatenate(wide, axis))
    if kind == "torch":
        given = [array(part, kind).requires_grad_() for part in parts]
        recorded = arrays_named(kind).pad_and_concat(given, axis, lefts, value)
        assert recorded.requires_grad
        assert np.array_equal(recorded.detach(), found)


@needs_torch
def test_what_is_joined_is_no_view_of_a_part():
    import torch

    parts = [torch.ones(1, 2), torch.ones(1, 3)]
    joined = arrays_named("torch").pad_and_concat(parts, 0, {1: False}, 0)
    joined += 1
    assert parts[0].tolist() == [[1, 1]]
    only = arrays_named("torch").pad_and_concat([torch.ones(1, 2)], 0, {1: False}, 0)
    assert only.tolist() == [[1, 1]]


@needs_torch
def test_rows_whose_values_are_unseen_may_count_from_the_end():
    import torch

    rows = torch.tensor([-1, 0], dtype=torch.int32)
    assert arrays_named("torch").take(torch.arange(6).reshape(3, 2), rows, 0).tolist() == [[4, 5], [0, 1]]


@needs_tensorflow
def test_graphs_take_pad_and_join_arrays_of_unknown_sizes():
    import tensorflow as tf

    kind = arrays_named("tensorflow")

    @tf.function(input_signature=[tf.TensorSpec([None, None, 2]), tf.TensorSpec([None], tf.int32)])
    def run(x: Any, rows: Any) -> Any:
        joined = kind.pad_and_concat([x, x[:1, 1:]], 0, {1: True}, 5)
        assert joined.shape.as_list() == [None, None, 2]
        return kind.take(x, rows, 1), kind.take(x, np.array([-1]), 0), joined

    x = tf.reshape(tf.range(12.0), [2, 3, 2])
    taken, last, joined = run(x, tf.constant([-1, 0]))
    assert np.array_equal(taken, x.numpy()[:, [2, 0]])
    assert np.array_equal(last, x.numpy()[1:])
    assert joined.numpy()[2].tolist() == [[5, 5], [2, 3], [4, 5]]


@pytest.mark.parametrize("name", EXTENDED[1:3])
@needs_tensorflow
def test_tensorflow_pads_what_it_has_no_kernel_for(name: str):
    values = np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, name))
    kind = arrays_named("tensorflow")
    found = kind.numpy(kind.pad(kind.from_numpy(values), [(0, 0), (1, 2)], 2))
    assert found.dtype == values.dtype
    assert np.array_equal(found, np.pad(values, [(0, 0), (1, 2)], constant_values=2))


# -- to and from NumPy ----------------------------------------------------------------------------------------------


def bits(name: str) -> Any:
    """Return every value that there is, NaNs with all their payloads included."""
    unsigned = np.arange(1 << 16, dtype=np.uint16) if name == "bfloat16" else np.arange(1 << 8, dtype=np.uint8)
    return unsigned.view(getattr(ml_dtypes, name))


def raw(values: Any) -> list[int]:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").ravel().tolist()


IN_TENSORFLOW = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


@every_kind
@pytest.mark.parametrize("name", EXTENDED)
def test_small_floats_come_and_go_bit_for_bit(kind: str, name: str):
    if kind == "tensorflow" and name not in IN_TENSORFLOW:
        pytest.skip(f"TensorFlow has no {name}")
    operations, values = arrays_named(kind), bits(name)
    made = operations.from_numpy(values)
    assert dtype_name(made.dtype) == name
    there = operations.numpy(made)
    assert there.dtype == values.dtype
    assert raw(there) == raw(values)
    square = operations.swap(operations.reshape(made, (16, -1)), 0, 1)
    assert raw(operations.numpy(square)) == raw(values.reshape(16, -1).T)
    single = operations.numpy(operations.reshape(operations.narrow(made, 0, 5, 6), ()))
    assert single.shape == ()
    assert raw(single.reshape(1)) == raw(values[5:6])
    assert operations.numpy(operations.narrow(made, 0, 3, 3)).shape == (0,)


@every_kind
@pytest.mark.parametrize(
    "values",
    [
        np.arange(6.0, dtype=np.float32).reshape(2, 3)[::-1],
        np.arange(6.0, dtype=np.float32).reshape(2, 3)[:, ::2],
        np.broadcast_to(np.float32(3), (2, 2)),
        np.arange(3, dtype=">f4"),
        np.arange(3, dtype=">i4"),
        np.float32(4),
        np.array(5, np.int32),
        np.zeros((2, 0), np.float16),
        np.array([True, False]),
        np.array([1 + 2j], np.complex64),
        np.arange(3, dtype=np.uint16),
    ],
    ids=[
        "reversed",
        "strided",
        "repeated",
        "big-endian",
        "big-endian integers",
        "scalar",
        "0-d",
        "empty",
        "bool",
        "complex",
        "uint16",
    ],
)
def test_arrays_of_any_layout_are_taken(kind: str, values: Any):
    operations = arrays_named(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = operations.numpy(operations.from_numpy(values))
    assert found.shape == np.shape(values)
    assert found.dtype.name == np.asarray(values).dtype.name
    assert kind == "numpy" or found.dtype.isnative
    assert np.array_equal(found, values)


@needs_torch
def test_memory_is_shared_with_numpy_where_that_is_safe():
    torch = arrays_named("torch")
    values = np.zeros(4, np.float32)
    assert np.shares_memory(torch.numpy(torch.from_numpy(values)), values)
    small = bits("bfloat16")
    assert np.shares_memory(torch.numpy(torch.from_numpy(small)), small)
    values.flags.writeable = False
    made = torch.from_numpy(values)
    made += 1
    assert values.tolist() == [0] * 4


@needs_torch
def test_numpy_has_values_without_gradients_conjugates_and_strides():
    import torch

    kind = arrays_named("torch")
    assert kind.numpy(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
    assert kind.numpy(torch.nn.Parameter(torch.ones(2)) * 2).tolist() == [2, 2]
    assert kind.numpy(torch.tensor([1 + 2j]).conj()).tolist() == [1 - 2j]
    assert kind.numpy(torch.tensor([1 + 2j]).conj().imag).tolist() == [-2]
    assert kind.numpy(torch.arange(6).reshape(2, 3).t()).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert kind.numpy(torch.zeros(2, 0)).shape == (2, 0)
    with torch.inference_mode():
        assert kind.numpy(torch.ones(2)).tolist() == [1, 1]


@needs_jax
def test_jax_never_narrows_values_in_silence():
    jax = arrays_named("jax")
    assert dtype_name(jax.from_numpy(np.array([1, 2])).dtype) == "int32"
    message = r'^JAX would turn (float64|int64) into (float32|int32); set jax.config.update\("jax_enable_x64", True\)'
    for values in (np.array([0.1]), np.array([2**40])):
        with pytest.raises(InputError, match=message):
            jax.from_numpy(values)


@needs_jax
def test_what_shares_memory_with_a_jax_array_outlives_it_and_its_donation():
    import jax
    import jax.numpy as jnp

    kind = arrays_named("jax")
    whole = jnp.arange(4 * 4096, dtype=jnp.float32).reshape(4, 4096)
    expected = np.array(whole)
    parts = [kind.narrow(whole, 0, i, i + 1) for i in range(4)]
    overwritten = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    overwritten(parts[0]).block_until_ready()
    assert np.array_equal(whole, expected)
    overwritten(whole).block_until_ready()
    del whole
    assert all(np.array_equal(part, expected[i : i + 1]) for i, part in enumerate(parts) if i)


# -- moving ---------------------------------------------------------------------------------------------------------

FLOATS = ["float16", "float32", "bfloat16", "float8_e5m2"]


@every_kind
@pytest.mark.parametrize("name", FLOATS)
def test_an_element_type_may_be_said_in_any_framework(kind: str, name: str):
    said: list[Any] = [name, np.dtype(getattr(ml_dtypes, name, name))]
    if FRAMEWORKS["torch"].is_installed:
        import torch

        said.append(getattr(torch, name))
    if FRAMEWORKS["jax"].is_installed:
        import jax.numpy as jnp

        said.append(getattr(jnp, name))
    if FRAMEWORKS["tensorflow"].is_installed:
        import tensorflow as tf

        said.append(tf.as_dtype(name))
    values = np.array([0.1, 3.0, -2.5], np.float32)
    for dtype in said:
        moved = arrays_named(kind).move(array(values, kind), None, dtype, non_blocking=False)
        assert dtype_name(moved.dtype) == name
        expected = values.astype(getattr(ml_dtypes, name, name))
        assert raw(arrays_named(kind).numpy(moved)) == raw(expected)


@every_kind
@pytest.mark.parametrize("values", [np.arange(3, dtype=np.int32), np.array([True])], ids=["int32", "bool"])
def test_what_is_no_float_keeps_its_element_type(kind: str, values: Any):
    moved = arrays_named(kind).move(array(values, kind), None, "float16", non_blocking=False)
    assert dtype_name(moved.dtype) == values.dtype.name


@every_kind
@pytest.mark.parametrize("dtype", ["float17", "quaternion", np.dtype("U3")])
def test_an_element_type_that_there_is_not_is_refused(kind: str, dtype: Any):
    if kind == "tensorflow" and not isinstance(dtype, str):
        pytest.skip("TensorFlow has strings")
    if kind in ("numpy", "jax") and not isinstance(dtype, str):
        pytest.skip("NumPy has strings")
    with pytest.raises(InputError, match=r"^dtype is .*; expected an element type, as 'float32' or 'bfloat16'$"):
        arrays_named(kind).move(array(np.ones(2, np.float32), kind), None, dtype, non_blocking=False)


@every_kind
def test_arrays_say_where_they_are(kind: str):
    assert (
        "cpu"
        in arrays_named(kind).device(array(np.ones(2), kind) if kind != "jax" else array(np.float32(1), kind)).lower()
    )


@needs_jax
@pytest.mark.parametrize("device", ["cpu:7", "cpu:x"])
def test_a_device_that_jax_has_not_is_refused(device: str):
    with pytest.raises(InputError, match=f"^device is '{device}'; JAX has cpu:0"):
        arrays_named("jax").move(array(np.float32(1), "jax"), device, None, non_blocking=False)


def test_numpy_is_on_the_cpu_alone():
    assert arrays_named("numpy").move(VALUES, "cpu", None, non_blocking=False) is VALUES
    with pytest.raises(InputError, match=r"^device is 'cuda'; NumPy arrays are on the cpu only$"):
        arrays_named("numpy").move(VALUES, "cuda", None, non_blocking=False)


# -- between frameworks ---------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("source", KINDS)
def test_arrays_change_hands_by_dlpack(kind: str, source: str):
    given = array(VALUES.copy(), source)
    if source == "numpy" and kind == "tensorflow":
        pytest.skip("NumPy arrays come to TensorFlow by from_numpy")
    found = arrays_named(kind).from_dlpack(given)
    assert arrays_of(found).name == kind
    assert np.array_equal(arrays_named(kind).numpy(found), VALUES)
