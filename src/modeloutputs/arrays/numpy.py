"""NumPy's arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .base import Backend, joined_shape
from .dtypes import is_floating, numpy_dtype

__all__ = ["BACKEND", "NumpyBackend", "in_native_byte_order"]


class NumpyBackend(Backend):
    """The operations on NumPy's arrays."""

    name = "numpy"
    xp = np

    def pad_and_concat(self, arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], value: float) -> Any:
        """Pad and join by writing each array to its place in the result."""
        result = np.full(joined_shape(arrays, axis, lefts), value, arrays[0].dtype)
        for array, place in zip(arrays, _places(arrays, axis, lefts, result.shape), strict=True):
            result[place] = array
        return result

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


def _places(
    arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], shape: tuple[int, ...]
) -> list[tuple[slice, ...]]:
    """Return the place of each array in a result of that shape."""
    row, places = 0, list[tuple[slice, ...]]()
    for array in arrays:
        place = [slice(None)] * len(shape)
        for padded, left in lefts.items():
            size = array.shape[padded]
            place[padded] = slice(shape[padded] - size, None) if left else slice(0, size)
        place[axis] = slice(row, row + array.shape[axis])
        row += array.shape[axis]
        places.append(tuple(place))
    return places


def in_native_byte_order(values: Any) -> Any:
    """Return values as a NumPy array in this machine's byte order; arrays from files may be in the other."""
    array = np.asarray(values)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


BACKEND = NumpyBackend()
