"""TensorFlow's tensors, eager and in graphs."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .base import Backend, Shapes, pad_widths
from .dtypes import DTYPES, dtype_name, invalid_dtype
from .numpy import FOR_SHARING as NUMPY

__all__ = ["BACKEND", "TensorFlowBackend"]

_tf: Any = importlib.import_module("tensorflow")


class TensorFlowBackend(Backend):
    """The operations on TensorFlow's tensors."""

    name = "tensorflow"
    xp = _tf

    def take(self, array: Any, indices: Any, axis: int) -> Any:
        """Return the entries at these indices along an axis; a tensor of them may hold negative ones."""
        if isinstance(indices, _tf.Tensor) or (indices < 0).any():
            indices = _tf.cast(indices, _tf.int64)
            indices = _tf.where(indices < 0, indices + _tf.shape(array, _tf.int64)[axis], indices)
        return _tf.gather(array, indices, axis=axis)

    def swapaxes(self, array: Any, first: int, second: int) -> Any:
        """Return the tensor with two axes exchanged."""
        order = list(range(len(array.shape)))
        order[first], order[second] = second, first
        return _tf.transpose(array, order)

    def shapes(self, arrays: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the shape of each tensor; equal ones are one object."""
        known: dict[Any, Any] = {}
        return [known.setdefault(shape := tuple(array.shape.as_list()), shape) for array in arrays]

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        """Concatenate tensors along an axis."""
        return _tf.concat(list(arrays), axis)

    def pad(self, array: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
        """Add, along each axis, so many entries before and after."""
        kind, dtype = array.dtype.as_numpy_dtype, DTYPES.get(dtype_name(array.dtype))
        if dtype is None or not dtype.from_ml_dtypes or dtype.bits > 8:
            return _tf.pad(array, list(widths), constant_values=_tf.constant(np.asarray(value, kind)))
        for axis, pair in enumerate(widths):  # `tf.pad` has no kernel for floats of 8 bits
            shapes = [(*array.shape[:axis], width, *array.shape[axis + 1 :]) for width in pair]
            before, after = (_tf.constant(np.full(shape, value, kind)) for shape in shapes)
            array = self.concat([before, array, after], axis)
        return array

    def pad_and_concat(
        self, arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], value: float, shapes: Shapes | None = None
    ) -> Any:
        """Pad and join, in a graph also arrays whose sizes are unknown while it is traced."""
        if _are_on_host(arrays):
            return _taken_over(NUMPY.pad_and_concat(list(map(np.asarray, arrays)), axis, lefts, value, shapes))
        if all(array.shape[padded] is not None for array in arrays for padded in lefts):
            return super().pad_and_concat(arrays, axis, lefts, value, shapes)
        sizes = [_tf.unstack(_tf.shape(array)) for array in arrays]
        wanted = {padded: _tf.reduce_max([size[padded] for size in sizes]) for padded in lefts}
        joined: list[Any] = []
        for array, size in zip(arrays, sizes, strict=True):
            target = [wanted.get(i) for i in range(len(size))]
            padded = self.pad(array, pad_widths(size, target, lefts), value)
            joined.append(_tf.ensure_shape(padded, [None if i in lefts else n for i, n in enumerate(array.shape)]))
        return _tf.concat(joined, axis)

    def as_booleans(self, array: Any) -> Any:
        """Return whether each entry is other than zero."""
        return _tf.cast(array, _tf.bool)

    def cast_like(self, array: Any, like: Any) -> Any:
        """Return the tensor in the dtype of another."""
        return _tf.cast(array, like.dtype)

    def where(self, condition: Any, array: Any, value: float) -> Any:
        """Return the tensor where the condition holds, and `value` elsewhere."""
        return _tf.where(condition, array, _tf.cast(value, array.dtype))

    def sum(self, array: Any, axis: int) -> Any:
        """Return the sum along an axis; of booleans their number."""
        return _tf.reduce_sum(_tf.cast(array, _tf.int32) if array.dtype.is_bool else array, axis)

    def max(self, array: Any, axis: int) -> Any:
        """Return the largest entry along an axis."""
        return _tf.reduce_max(array, axis)

    def cumsum(self, booleans: Any, axis: int) -> Any:
        """Return how many are true up to each entry along an axis."""
        return _tf.cumsum(_tf.cast(booleans, _tf.int32), axis)

    def to_device(self, array: Any, device: Any, dtype: Any, *, non_blocking: bool) -> Any:
        """Return the tensor on a device and, where it is of floating point, in a dtype; None keeps either."""
        if dtype is not None and array.dtype.is_floating:
            array = _tf.cast(array, _dtype(dtype))
        if device is None:
            return array
        _check_device(device)
        with _tf.device(device):
            return _tf.identity(array)

    def detach(self, array: Any) -> Any:
        """Return the tensor with gradients stopped."""
        return _tf.stop_gradient(array)

    def numpy(self, array: Any) -> Any:
        """Return the values as a NumPy array."""
        return array.numpy()

    def from_numpy(self, array: Any) -> Any:
        """Return a NumPy array's values, copied."""
        return _tf.constant(array)

    def exports_dlpack(self, array: Any) -> bool:
        """Return whether the elements are numbers: TensorFlow aborts the process when asked for memory of strings."""
        return array.dtype.as_numpy_dtype is not object

    def from_dlpack(self, array: Any) -> Any:
        """Return the array of another framework, sharing its memory."""
        return _tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _are_on_host(arrays: Sequence[Any]) -> bool:
    """Return whether NumPy may join these tensors of one dtype: no tape, graph or other device would notice.

    TensorFlow starts a kernel, and copies, for each of them. A tape that watches none of them counts too.
    """
    if not _tf.executing_eagerly() or _may_record() or len(_tf.config.list_logical_devices()) > 1:
        return False
    return (
        set(map(type, arrays)) == {_tf.__internal__.EagerTensor}
        and arrays[0].dtype.name in DTYPES
        and all(array.device.endswith("device:CPU:0") for array in arrays)
    )


def _recording_test() -> Callable[[], bool]:
    """Return the function that says whether a tape or a forward accumulator may record what is done now."""
    try:
        return importlib.import_module("tensorflow.python.eager.record").could_possibly_record
    except (ImportError, AttributeError):
        return lambda: True  # another version of TensorFlow, which keeps it elsewhere


_may_record = _recording_test()


def _taken_over(values: Any) -> Any:
    """Return a NumPy array that nobody else has as a tensor, which shares its memory where the types allow it."""
    if values.size and values.dtype.isbuiltin == 1 and values.dtype.kind in "fiu":
        return BACKEND.from_dlpack(values)
    return _tf.constant(values)


def _check_device(device: Any) -> None:
    """Refuse a missing device: TensorFlow would silently put tensors somewhere else."""
    wanted = str(device).lower().rpartition("device:")[2].lstrip("/")
    there = [found.name.lower().rpartition("device:")[2] for found in _tf.config.list_logical_devices()]
    if (wanted if ":" in wanted else f"{wanted}:0") not in there:
        raise InputError(f"device is {device!r}; TensorFlow has {', '.join(there)}")


def _dtype(dtype: Any) -> Any:
    try:
        return _tf.as_dtype(dtype_name(dtype))
    except TypeError:
        raise invalid_dtype(dtype) from None


BACKEND = TensorFlowBackend()
