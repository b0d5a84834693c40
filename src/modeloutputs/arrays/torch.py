"""PyTorch's tensors."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from . import tracing
from .base import Backend, Shapes, joined_shape, pad_widths
from .dtypes import DTYPES, DType, dtype_name, invalid_dtype
from .numpy import in_native_byte_order

__all__ = ["BACKEND", "TorchBackend"]

_FRESH_MEMORY = 1 << 25
"""Result size (bytes) above which page faults dominate, so PyTorch's multithreaded `pad_sequence` wins over `cat`."""

_ALIGNMENT = 64
"""TensorFlow and JAX want the memory of an array to begin at a multiple of so many bytes."""

_torch = cast("Any", torch)


class TorchBackend(Backend):
    """The operations on PyTorch's tensors."""

    name = "torch"
    xp = _torch

    def take(self, array: Any, indices: Any, axis: int) -> Any:
        """Return the entries at these indices along an axis; a tensor of them may hold negative ones."""
        if isinstance(indices, torch.Tensor):  # on an accelerator, or traced
            indices = indices.to(array.device, torch.int64)
            indices = indices + (indices < 0) * array.shape[axis]
        else:
            indices = torch.as_tensor(indices, dtype=torch.int64).to(array.device)
        return array.index_select(axis, indices)

    def slice_each(self, array: Any, several: Sequence[tuple[slice, ...]]) -> list[Any]:
        """Return views of several parts, each by one indexing: autograd forbids writing to the views of `split`."""
        if all(len(slices) == 1 for slices in several):
            return [array[rows] for (rows,) in several]  # a third faster than with a tuple
        return [array[slices] for slices in several]

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        """Concatenate tensors along an axis."""
        return _torch.cat(list(arrays), axis)

    def stack(self, arrays: Sequence[Any]) -> Any:
        """Join tensors of one shape along a new first axis."""
        return _torch.stack(list(arrays))

    def pad(self, array: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
        """Add, along each axis, so many entries before and after."""
        return _torch.constant_pad_nd(array, _as_torch_counts(widths), value)

    def pad_and_concat(
        self, arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], value: float, shapes: Shapes | None = None
    ) -> Any:
        """Pad and join without writing into one tensor, which would copy the whole gradient at each write."""
        shapes = shapes or self.shapes(arrays)
        shape = joined_shape(shapes, axis, lefts)
        in_graph = torch.compiler.is_compiling() or (torch.is_grad_enabled() and any(a.requires_grad for a in arrays))
        if axis == 0 and list(lefts) == [1] and shape[0]:  # rows with their length in front
            if in_graph or math.prod(shape) * arrays[0].element_size() < _FRESH_MEMORY:
                return _join_rows(arrays, shapes, shape, lefts[1], value)
            rows = [row for array in arrays for row in array.unbind()]
            return _torch.nn.utils.rnn.pad_sequence(rows, True, value, "left" if lefts[1] else "right")
        widths = {own: _as_torch_counts(pad_widths(own, shape, lefts)) for own in set(shapes)}
        pairs, pad = zip(arrays, shapes, strict=True), _torch.constant_pad_nd
        return self.concat([pad(array, widths[own], value) if widths[own] else array for array, own in pairs], axis)

    def as_booleans(self, array: Any) -> Any:
        """Return whether each entry is other than zero."""
        return array.bool()

    def cast_like(self, array: Any, like: Any) -> Any:
        """Return the tensor in the dtype of another."""
        return array.to(like.dtype)

    def where(self, condition: Any, array: Any, value: float) -> Any:
        """Return the tensor where the condition holds, and `value` elsewhere."""
        return array.masked_fill(~condition, value)

    def max(self, array: Any, axis: int) -> Any:
        """Return the largest entry along an axis."""
        return array.amax(axis)

    def to_device(self, array: Any, device: Any, dtype: Any, *, non_blocking: bool) -> Any:
        """Return the tensor on a device and, where it is of floating point, in a dtype; None keeps either."""
        if not isinstance(dtype, (torch.dtype, type(None))):
            dtype = _dtype(dtype)
        wanted = dtype if array.is_floating_point() else None
        return array.to(device=device, dtype=wanted, non_blocking=non_blocking)

    def joining_device(self, array: Any) -> Any:
        """Return the tensor's device."""
        return array.device

    def have_one_key(self, arrays: Sequence[Any]) -> bool:
        """Return whether tensors agree in element type and device."""
        return super().have_one_key(arrays) and len({array.device for array in arrays}) == 1

    def detach(self, array: Any) -> Any:
        """Return the tensor detached from the autograd graph."""
        return array.detach()

    def numpy(self, array: Any) -> Any:
        """Return the values as a NumPy array, bit for bit; element types that NumPy lacks are ml_dtypes's."""
        host = array.detach().cpu().resolve_conj().resolve_neg()
        dtype = DTYPES.get(dtype_name(host.dtype))
        if dtype is None or not dtype.from_ml_dtypes:
            return host.numpy()
        return host.contiguous().view(getattr(torch, _carrier(dtype))).numpy().view(dtype.numpy)

    def concrete_values(self, array: Any) -> Any:
        """Return the values of a tensor on the CPU; None under a compiler."""
        if tracing.in_compiler_trace() or array.device.type != "cpu":
            return None
        return super().concrete_values(array)

    def from_numpy(self, array: Any) -> Any:
        """Return a tensor of a NumPy array's values, sharing its memory where that is writeable."""
        array = in_native_byte_order(array)
        if not array.flags.writeable or min(array.strides, default=0) < 0:
            array = array.copy()  # a tensor may be written to, and has no negative strides
        if array.dtype.isbuiltin == 1:  # NumPy's own; to ask for its name would take longer than all the rest
            return _torch.from_numpy(array)
        dtype = DTYPES.get(array.dtype.name)
        if dtype is None or not dtype.from_ml_dtypes:
            return _torch.from_numpy(array)
        return _torch.from_numpy(array.view(_carrier(dtype))).view(getattr(torch, dtype.name))

    def exports_dlpack(self, array: Any) -> bool:
        """Return whether the tensor is dense, contiguous, aligned, and neither conjugated nor negated lazily."""
        try:
            is_whole = bool(array.is_contiguous()) and array.data_ptr() % _ALIGNMENT == 0
        except RuntimeError:
            return False  # sparse tensors and those that `vmap` passes have no such memory
        return is_whole and not array.is_conj() and not array.is_neg()


def _as_torch_counts(widths: Sequence[tuple[int, int]]) -> list[int]:
    """Return the padding before and after each axis, from the last to the first that has some."""
    first = next((axis for axis, pair in enumerate(widths) if any(pair)), len(widths))
    return [width for pair in reversed(widths[first:]) for width in pair]


def _join_rows(arrays: Sequence[Any], shapes: Shapes, shape: tuple[int, ...], left: bool, value: float) -> Any:
    """Join rows by one concatenation along axis 1: each row, and the padding that it lacks to the longest."""
    padding = arrays[0].new_full((1, *shape[1:]), value)
    gaps = {size: padding.narrow(1, 0, shape[1] - size) for size in {own[1] for own in shapes}}
    pieces: list[Any] = []
    for array, own in zip(arrays, shapes, strict=True):
        gap = gaps[own[1]]
        # PyTorch splits an array of no rows into one empty part.
        for row in (array,) if own[0] == 1 else array.split(1)[: own[0]]:
            pieces += (gap, row) if left else (row, gap)
    return _torch.cat(pieces, 1).view(shape)


def _carrier(dtype: DType) -> str:
    """Return the integer type that carries the bits of an element type that NumPy lacks."""
    return "uint8" if dtype.bits == 8 else f"int{dtype.bits}"


def _dtype(dtype: Any) -> torch.dtype:
    found = getattr(torch, dtype_name(dtype), None)
    if not isinstance(found, torch.dtype):
        raise invalid_dtype(dtype)
    return found


BACKEND = TorchBackend()
