"""The operations that this library performs on arrays: one base class, of which each framework has a subclass.

Operations are named as in the array API standard where that has them. Axes are counted from 0. Most defaults are
written in terms of the framework's array namespace, `xp`, and hold for NumPy and JAX as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from . import tracing
from .dtypes import short_dtype

__all__ = ["Backend", "Shapes", "array_summary", "joined_shape", "pad_widths", "shape_of"]


Shapes = Sequence[tuple[Any, ...]]
"""The sizes of several arrays."""


def shape_of(array: Any) -> tuple[Any, ...] | None:
    """Return an array's sizes, which may be unknown (None) or symbolic; None where its rank is unknown too."""
    try:
        return tuple(array.shape)
    except (TypeError, ValueError):
        return None  # a symbolic tensor of TensorFlow


def array_summary(array: Any) -> str:
    """Return the element type and shape of an array of any framework.

    Examples:
        >>> import numpy as np
        >>> array_summary(np.zeros((2, 3), np.float32))
        'f32[2,3]'
    """
    shape = shape_of(array)
    return f"{short_dtype(array.dtype)}[{'...' if shape is None else ','.join(map(str, shape))}]"


class Backend:
    """The operations on arrays of one framework.

    Attributes:
        name: of the framework: "torch", "jax", "tensorflow" or "numpy".
        xp: its array namespace.
    """

    name: str
    xp: Any

    # -- shapes and parts ---------------------------------------------------------------------------------------

    def take(self, array: Any, indices: Any, axis: int) -> Any:
        """Return the entries at these indices along an axis. Indices are a NumPy array or one of this framework."""
        return self.xp.take(array, self.xp.asarray(indices), axis=axis)

    def slice_axes(self, array: Any, slices: tuple[slice, ...]) -> Any:
        """Return the part within slices along the first axes; a view if the framework has views.

        Each slice has a start and a stop, both counted from 0, or is `slice(None)`.
        """
        return array[slices]

    def slice_each(self, array: Any, several: Sequence[tuple[slice, ...]]) -> list[Any]:
        """Return several parts of an array, each as `slice_axes` does and independent of the others."""
        return [array[slices] for slices in several]

    def reshape(self, array: Any, shape: Sequence[int]) -> Any:
        """Return the array in another shape."""
        return self.xp.reshape(array, tuple(shape))

    def swapaxes(self, array: Any, first: int, second: int) -> Any:
        """Return the array with two axes exchanged."""
        return self.xp.swapaxes(array, first, second)

    def shapes(self, arrays: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the shape of each array; equal ones are one object."""
        if tracing.in_compiler_trace():
            return [array.shape for array in arrays]
        # Thousands of new objects that live on would make the garbage collector run.
        known: dict[Any, Any] = {}
        return [known.setdefault(shape := array.shape, shape) for array in arrays]

    # -- joining and padding ------------------------------------------------------------------------------------

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        """Concatenate arrays along an axis; their other axes agree."""
        return self.xp.concatenate(arrays, axis=axis)

    def stack(self, arrays: Sequence[Any]) -> Any:
        """Join arrays of one shape along a new first axis."""
        return self.xp.stack(arrays)

    def pad(self, array: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
        """Add, along each axis, so many entries of `value` before and after."""
        return self.xp.pad(array, tuple(widths), constant_values=value)

    def pad_and_concat(
        self, arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], value: float, shapes: Shapes | None = None
    ) -> Any:
        """Pad arrays to their largest size along the axes in `lefts` (True: before), then join them along `axis`.

        Whoever has asked for the arrays' shapes passes them: it takes long to ask for many.
        """
        shapes = shapes or self.shapes(arrays)
        whole = joined_shape(shapes, axis, lefts)
        widths = {shape: pad_widths(shape, whole, lefts) for shape in set(shapes)}
        padded = [self.pad(array, widths[shape], value) for array, shape in zip(arrays, shapes, strict=True)]
        return self.concat(padded, axis)

    # -- reducing -----------------------------------------------------------------------------------------------

    def as_booleans(self, array: Any) -> Any:
        """Return whether each entry is other than zero."""
        return array.astype(bool)

    def cast_like(self, array: Any, like: Any) -> Any:
        """Return the array in the dtype of another."""
        return array.astype(like.dtype)

    def where(self, condition: Any, array: Any, value: float) -> Any:
        """Return the array where the condition, which broadcasts to it, holds, and `value` elsewhere."""
        return self.xp.where(condition, array, self.xp.asarray(value, array.dtype))

    def sum(self, array: Any, axis: int) -> Any:
        """Return the sum along an axis, in the array's dtype; of booleans their number."""
        return self.xp.sum(array, axis=axis)

    def max(self, array: Any, axis: int) -> Any:
        """Return the largest entry along an axis."""
        return self.xp.max(array, axis=axis)

    def cumsum(self, booleans: Any, axis: int) -> Any:
        """Return how many are true up to each entry along an axis, itself included."""
        return self.xp.cumsum(booleans, axis=axis)

    # -- devices and autograd -----------------------------------------------------------------------------------

    def to_device(self, array: Any, device: Any, dtype: Any, *, non_blocking: bool) -> Any:
        """Return the array on a device and, where it is of floating point, in a dtype; None keeps either."""
        raise NotImplementedError

    def device(self, array: Any) -> str:
        """Return the name of the array's device."""
        return str(array.device)

    def joining_device(self, array: Any) -> Any:
        """Return the device on which arrays must all be before they are joined; None where the framework sees to it."""
        return None

    def detach(self, array: Any) -> Any:
        """Return the array detached from the autograd graph."""
        return array

    # -- values -------------------------------------------------------------------------------------------------

    def numpy(self, array: Any) -> Any:
        """Return the values as a NumPy array, bit for bit, sharing memory where possible."""
        raise NotImplementedError

    def concrete_values(self, array: Any) -> Any:
        """Return the values as a NumPy array; None where reading them would break a trace or stall a device."""
        try:
            return self.numpy(array)
        except Exception:  # noqa: BLE001  # a tracer's or symbolic tensor's own error: it has no values yet
            return None

    def from_numpy(self, array: Any) -> Any:
        """Return a NumPy array's values, bit for bit, sharing memory where the framework does so safely."""
        raise NotImplementedError

    def exports_dlpack(self, array: Any) -> bool:
        """Return whether another framework may take over the array's memory: plain values laid out as they look."""
        return False

    def from_dlpack(self, array: Any) -> Any:
        """Return the array of another framework, sharing its memory where both allow it, else copied.

        Raises:
            TypeError, ValueError, RuntimeError, BufferError: the frameworks have no such element type in common.
        """
        return self.xp.from_dlpack(array)

    # -- in error messages --------------------------------------------------------------------------------------

    def describe(self, array: Any) -> str:
        """Return element type, shape, framework and, where arrays have to share one, device: "f32[2,3] of numpy"."""
        device = self.joining_device(array)
        return f"{array_summary(array)} of {self.name}" + ("" if device is None else f" on {device}")

    def joining_key(self, array: Any) -> tuple[object, ...]:
        """Return the properties in which arrays must agree to be joined: framework, element type, device."""
        return (self.name, array.dtype, self.joining_device(array))

    def have_one_key(self, arrays: Sequence[Any]) -> bool:
        """Return whether arrays agree in what `joining_key` names; False also where that takes a closer look."""
        return len(set(map(type, arrays))) == len({array.dtype for array in arrays}) == 1


def joined_shape(shapes: Shapes, axis: int, lefts: Mapping[int, bool]) -> tuple[int, ...]:
    """Return the shape that `pad_and_concat` gives to arrays of these shapes."""
    whole = list(shapes[0])
    for padded in lefts:
        whole[padded] = max([shape[padded] for shape in shapes])
    whole[axis] = sum([shape[axis] for shape in shapes])
    return tuple(whole)


def pad_widths(shape: Sequence[Any], wanted: Sequence[Any], lefts: Mapping[int, bool]) -> list[tuple[Any, Any]]:
    """Return the padding before and after each axis that gives the axes in `lefts` their size in `wanted`."""
    counts = [wanted[axis] - size if axis in lefts else 0 for axis, size in enumerate(shape)]
    return [(count, 0) if lefts.get(axis) else (0, count) for axis, count in enumerate(counts)]
