"""The operations that every backend has, each held against NumPy's."""

import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from modeloutputs import InputError
from modeloutputs.arrays.backends import backend_named, get_backend
from modeloutputs.arrays.base import Backend
from modeloutputs.arrays.dtypes import DTYPES, dtype_name
from modeloutputs.frameworks import FRAMEWORKS

from ..support.bits import every_value, raw
from ..support.needs import EVERY_BACKEND
from ..support.ragged import LEFTS, ragged_parts
from ..support.random_outputs import array

EXTENDED = [name for name, dtype in DTYPES.items() if dtype.from_ml_dtypes]
INF = float("inf")
every_kind = pytest.mark.parametrize("kind", EVERY_BACKEND)

VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

OPERATIONS: dict[str, tuple[Callable[[Backend, Any], Any], Any]] = {
    "take": (lambda kind, x: kind.take(x, np.array([1, 0, 1]), 0), VALUES[[1, 0, 1]]),
    "take, second axis": (lambda kind, x: kind.take(x, np.array([2, 0]), 1), VALUES[:, [2, 0]]),
    "take none": (lambda kind, x: kind.take(x, np.array([], np.int64), 1), VALUES[:, []]),
    "slice": (lambda kind, x: kind.slice_axes(x, (slice(None), slice(1, 3))), VALUES[:, 1:3]),
    "slice to none": (lambda kind, x: kind.slice_axes(x, (slice(None), slice(None), slice(2, 2))), VALUES[:, :, 2:2]),
    "slice of two axes": (lambda kind, x: kind.slice_axes(x, (slice(1, 2), slice(0, 2))), VALUES[1:2, :2]),
    "reshape": (lambda kind, x: kind.reshape(x, (6, -1)), VALUES.reshape(6, 4)),
    "swapaxes": (lambda kind, x: kind.swapaxes(x, 0, 2), VALUES.swapaxes(0, 2)),
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
    "to_device": (lambda kind, x: kind.to_device(x, "cpu", "float16", non_blocking=True), VALUES.astype(np.float16)),
}


@every_kind
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_give_what_numpy_gives(kind: str, operation: str):
    run, expected = OPERATIONS[operation]
    given = array(VALUES.copy(), kind)
    found = run(backend_named(kind), given)
    assert get_backend(found).name == kind
    values = backend_named(kind).numpy(found)
    assert values.dtype == expected.dtype
    assert np.array_equal(values, expected)
    assert np.array_equal(backend_named(kind).numpy(given), VALUES)


@every_kind
@pytest.mark.parametrize("lefts", LEFTS, ids=str)
def test_arrays_are_padded_and_joined_at_once(kind: str, lefts: dict[int, bool]):
    for value in (0, -INF):
        parts, axis, joined = ragged_parts(lefts, value)
        found = backend_named(kind).pad_and_concat([array(part, kind) for part in parts], axis, lefts, value)
        assert np.array_equal(backend_named(kind).numpy(found), joined)


IN_TENSORFLOW = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


@every_kind
@pytest.mark.parametrize("name", EXTENDED)
def test_small_floats_come_and_go_bit_for_bit(kind: str, name: str):
    if kind == "tensorflow" and name not in IN_TENSORFLOW:
        pytest.skip(f"TensorFlow has no {name}")
    operations, values = backend_named(kind), every_value(name)
    made = operations.from_numpy(values)
    assert dtype_name(made.dtype) == name
    there = operations.numpy(made)
    assert there.dtype == values.dtype
    assert raw(there) == raw(values)
    square = operations.swapaxes(operations.reshape(made, (16, -1)), 0, 1)
    assert raw(operations.numpy(square)) == raw(values.reshape(16, -1).T)
    single = operations.numpy(operations.reshape(operations.slice_axes(made, (slice(5, 6),)), ()))
    assert single.shape == ()
    assert raw(single.reshape(1)) == raw(values[5:6])
    assert operations.numpy(operations.slice_axes(made, (slice(3, 3),))).shape == (0,)


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
    operations = backend_named(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = operations.numpy(operations.from_numpy(values))
    assert found.shape == np.shape(values)
    assert found.dtype.name == np.asarray(values).dtype.name
    assert kind == "numpy" or found.dtype.isnative
    assert np.array_equal(found, values)


@every_kind
@pytest.mark.parametrize("name", ["float16", "float32", "bfloat16", "float8_e5m2"])
def test_element_types_of_any_framework_are_accepted(kind: str, name: str):
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
        moved = backend_named(kind).to_device(array(values, kind), None, dtype, non_blocking=False)
        assert dtype_name(moved.dtype) == name
        expected = values.astype(getattr(ml_dtypes, name, name))
        assert raw(backend_named(kind).numpy(moved)) == raw(expected)


@every_kind
@pytest.mark.parametrize("values", [np.arange(3, dtype=np.int32), np.array([True])], ids=["int32", "bool"])
def test_arrays_that_are_not_of_floating_point_keep_their_element_type(kind: str, values: Any):
    moved = backend_named(kind).to_device(array(values, kind), None, "float16", non_blocking=False)
    assert dtype_name(moved.dtype) == values.dtype.name


@every_kind
@pytest.mark.parametrize("dtype", ["float17", "quaternion", np.dtype("U3")])
def test_an_invalid_element_type_is_refused(kind: str, dtype: Any):
    if kind == "tensorflow" and not isinstance(dtype, str):
        pytest.skip("TensorFlow has strings")
    if kind in ("numpy", "jax") and not isinstance(dtype, str):
        pytest.skip("NumPy has strings")
    with pytest.raises(InputError, match=r"^dtype is .*; expected an element type such as 'float32' or 'bfloat16'$"):
        backend_named(kind).to_device(array(np.ones(2, np.float32), kind), None, dtype, non_blocking=False)


@every_kind
def test_the_device_is_named(kind: str):
    assert "cpu" in backend_named(kind).device(array(np.ones(2, np.float32), kind)).lower()


@every_kind
@pytest.mark.parametrize("source", EVERY_BACKEND)
def test_arrays_change_hands_by_dlpack(kind: str, source: str):
    given = array(VALUES.copy(), source)
    if kind == "numpy" or (source, kind) == ("numpy", "tensorflow"):
        pytest.skip("these change hands by from_numpy and numpy")
    found = backend_named(kind).from_dlpack(given)
    assert get_backend(found).name == kind
    assert np.array_equal(backend_named(kind).numpy(found), VALUES)


# -- in error messages ----------------------------------------------------------------------------------------------


@every_kind
def test_arrays_are_described_alike(kind: str):
    place = " on cpu" if kind == "torch" else ""
    assert backend_named(kind).describe(array(VALUES, kind)) == f"f32[2,3,4] of {kind}{place}"


@every_kind
def test_arrays_that_can_be_joined_have_one_key(kind: str):
    backend = backend_named(kind)
    key = backend.joining_key(array(VALUES, kind))
    assert backend.joining_key(array(VALUES[:1], kind)) == key
    assert backend.joining_key(array(VALUES.astype(np.float16), kind)) != key
    assert backend.joining_key(array(VALUES, kind))[0] == kind


@every_kind
def test_concrete_values_are_numpys(kind: str):
    assert np.array_equal(backend_named(kind).concrete_values(array(VALUES, kind)), VALUES)
