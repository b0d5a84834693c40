"""NumPy's arrays."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .base import Backend, Shapes, joined_shape
from .dtypes import is_floating, numpy_dtype

__all__ = ["BACKEND", "FOR_SHARING", "NumpyBackend", "in_native_byte_order"]

_ALIGNMENT = 64
"""TensorFlow and JAX take over memory that begins at a multiple of so many bytes; other memory they copy."""


class NumpyBackend(Backend):
    """The operations on NumPy's arrays."""

    name = "numpy"
    xp = np

    def pad_and_concat(
        self, arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], value: float, shapes: Shapes | None = None
    ) -> Any:
        """Pad and join by writing each array to its place in the result."""
        shapes = shapes or self.shapes(arrays)
        result = self.full(joined_shape(shapes, axis, lefts), value, arrays[0].dtype)
        places = {shape: _place(shape, axis, lefts, result.shape) for shape in set(shapes)}
        row = 0
        for array, shape in zip(arrays, shapes, strict=True):
            place, stop = places[shape], row + shape[axis]
            place[axis] = slice(row, stop)
            result[tuple(place)] = array
            row = stop
        return result

    def full(self, shape: tuple[int, ...], value: float, dtype: Any) -> Any:
        """Return an array of one value."""
        # Fresh memory is zero already, and what is not written to is never touched.
        return np.full(shape, value, dtype) if _has_bits(value, dtype) else np.zeros(shape, dtype)

    def to_device(self, array: Any, device: Any, dtype: Any, *, non_blocking: bool) -> Any:
        """Return the array in a dtype; the only device is "cpu"."""
        if device is not None and str(device) != "cpu":
            raise InputError(f"device is {device!r}; NumPy arrays are on the cpu only")
        return array if dtype is None or not is_floating(array.dtype) else array.astype(numpy_dtype(dtype), copy=False)

    def device(self, array: Any) -> str:
        """Return "cpu"."""
        return "cpu"

    def numpy(self, array: Any) -> Any:
        """Return the array itself."""
        return array

    def from_numpy(self, array: Any) -> Any:
        """Return the array itself."""
        return array


class _ForSharing(NumpyBackend):
    """The operations whose results other frameworks take over without a copy."""

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        """Concatenate arrays of one dtype along an axis."""
        shape = joined_shape([array.shape for array in arrays], axis, {})
        return np.concatenate(arrays, axis=axis, out=_aligned(np.empty, shape, arrays[0].dtype))

    def full(self, shape: tuple[int, ...], value: float, dtype: Any) -> Any:
        """Return an array of one value."""
        if not _has_bits(value, dtype):
            return _aligned(np.zeros, shape, dtype)
        array = _aligned(np.empty, shape, dtype)
        array.fill(value)
        return array


def _aligned(allocate: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return an array whose memory begins where frameworks want it to."""
    size = math.prod(shape) * dtype.itemsize
    memory = allocate(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _has_bits(value: float, dtype: Any) -> bool:
    """Return whether a value is stored as anything but zero bytes: minus zero is."""
    return any(np.asarray(value).astype(dtype).tobytes())


def _place(shape: tuple[int, ...], axis: int, lefts: Mapping[int, bool], whole: tuple[int, ...]) -> list[slice]:
    """Return the place of an array of a shape in a result of the shape `whole`, all of the axis of rows."""
    place = [slice(None)] * (max(axis, *lefts) + 1)
    for padded, left in lefts.items():
        place[padded] = slice(whole[padded] - shape[padded], None) if left else slice(0, shape[padded])
    return place


def in_native_byte_order(values: Any) -> Any:
    """Return values as a NumPy array in this machine's byte order; arrays from files may be in the other."""
    array = np.asarray(values)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="), copy=False)


BACKEND = NumpyBackend()
FOR_SHARING = _ForSharing()
