"""The product of a few rows with a weight, as in each step of decoding: reading the weight is the whole cost.

PyTorch's kernel for a product of one row reads the weight on one core, and for a few more rows rearranges it first,
which costs more than the product. The same product as a batch of smaller ones, each over a slice of the weight, does
neither and runs on all cores: 1.2 to 2.9 times as fast with 1 to 64 rows on two cores. A weight of shape (out, in) is
sliced by outputs, one of shape (in, out) by inputs, so that every slice is one contiguous block of memory.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "MAX_ROWS",
    "MIN_WEIGHT_NUMEL",
    "SmallBatchLinear",
    "batched_linear",
    "is_eager_inference",
    "linear",
    "pays",
    "transposed_linear",
]

MAX_ROWS = 64
"""Largest number of rows for which the batch of smaller products is faster."""

MIN_WEIGHT_NUMEL = 2**19
"""Elements of a weight below which setting up the batch costs more than it saves."""

_BEST_WIDTH = 96
_INPUT_SLICES = 4


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows · weightᵀ + bias.

    Args:
        rows: (..., in).
        weight: (out, in).
        bias: (out,) or None.
    """
    if not pays(rows, weight, weight.size(-1)):
        return F.linear(rows, weight, bias)
    return batched_linear(rows, weight, bias)


def batched_linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the same as `linear`, where that `pays`."""
    product = SmallBatchLinear(weight, bias, is_sliceable=True)
    return product(rows.reshape(-1, weight.shape[1])).view(*rows.shape[:-1], -1)


def transposed_linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows · weight + bias.

    Args:
        rows: (..., in).
        weight: (in, out).
        bias: (out,) or None.
    """
    flat = rows.reshape(-1, rows.shape[-1])
    if pays(rows, weight, weight.shape[0]):
        product = SmallBatchLinear(weight, bias, transposed=True, is_sliceable=True)(flat)
    else:
        product = flat @ weight if bias is None else torch.addmm(bias, flat, weight)
    return product.view(*rows.shape[:-1], weight.shape[1])


def pays(rows: Tensor, weight: Tensor, inputs: int) -> bool:
    """Return whether the batch of smaller products is faster for `rows` (..., inputs), and can be used."""
    # The cheapest tests come first: this is asked of every product.
    if weight.numel() < MIN_WEIGHT_NUMEL or not 0 < rows.numel() <= MAX_ROWS * inputs:
        return False
    return rows.shape[-1:] == (inputs,) and rows.dtype == weight.dtype and _is_sliceable(weight)


def is_eager_inference() -> bool:
    """Return whether nothing records or traces the computation."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or _is_tracing())


_is_tracing: Callable[[], bool] = cast("Any", torch.jit).is_tracing


def _is_sliceable(weight: Tensor) -> bool:
    """Return whether a weight can be sliced without a trace: in eager inference, on the CPU, in float32."""
    return (
        weight.dtype == torch.float32
        and is_eager_inference()
        and weight.device.type == "cpu"
        and type(weight) in (Tensor, nn.Parameter)  # others, such as quantised ones, bring a product of their own
        and weight.layout == torch.strided
        and weight.is_contiguous()
        and not torch.is_autocast_enabled("cpu")
    )


class SmallBatchLinear:
    """The product with one weight, set up once and called many times: rows (n, in) to (n, out).

    Args:
        weight: (out, in), or (in, out) if `transposed`.
        bias: (out,) or None.
        transposed: the weight is stored as (in, out).
        is_sliceable: whether the weight can be sliced; found out if None.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, transposed: bool = False, is_sliceable: bool | None = None
    ) -> None:
        self._weight, self._bias = (weight.t() if transposed else weight), bias
        self._slices = 0
        self._transposed = transposed
        if _is_sliceable(weight) if is_sliceable is None else is_sliceable:
            self._slice_inputs(weight) if transposed else self._slice_outputs(weight)

    def _slice_outputs(self, weight: Tensor) -> None:
        outputs, inputs = weight.shape
        width = _width(outputs)
        if width is None:
            return
        self._slices = outputs // width
        self._right = weight.view(self._slices, width, inputs).transpose(1, 2)
        self._below = None if self._bias is None else self._bias.view(self._slices, 1, width)

    def _slice_inputs(self, weight: Tensor) -> None:
        inputs, outputs = weight.shape
        if inputs % _INPUT_SLICES == 0:
            self._slices = _INPUT_SLICES
            self._right = weight.view(self._slices, inputs // self._slices, outputs)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the product with the weight, plus bias."""
        count = rows.shape[0]
        if not self._slices or count > MAX_ROWS:
            return F.linear(rows, self._weight, self._bias)
        return self._sum_over_inputs(rows, count) if self._transposed else self._join_outputs(rows, count)

    def _join_outputs(self, rows: Tensor, count: int) -> Tensor:
        left = rows.expand(self._slices, -1, -1)
        product = torch.bmm(left, self._right) if self._below is None else torch.baddbmm(self._below, left, self._right)
        # The slices of a single row already lie in order.
        return product.view(1, -1) if count == 1 else product.transpose(0, 1).reshape(count, -1)

    def _sum_over_inputs(self, rows: Tensor, count: int) -> Tensor:
        left = rows.view(count, self._slices, -1).transpose(0, 1)
        total = torch.bmm(left, self._right).sum(0)
        return total if self._bias is None else total.add_(self._bias)


@cache
def _width(outputs: int) -> int | None:
    """Return the divisor of `outputs` that is the best width of a slice; None where no divisor is good."""
    divisors = [width for width in range(32, outputs // 2 + 1) if outputs % width == 0]
    return min(divisors, key=lambda width: abs(width - _BEST_WIDTH), default=None)
