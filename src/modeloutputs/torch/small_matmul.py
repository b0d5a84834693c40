"""The product of a few rows with a weight, as in each step of decoding: reading the weight is the whole cost.

PyTorch's kernel for a product of one row reads the weight on one core, and for a few more rows rearranges it first,
which costs more than the product. The same product as a batch of smaller ones, each over a slice of the weight, does
neither and runs on all cores: 1.2 to 2.9 times as fast with 1 to 64 rows on two cores. A weight of shape (out, in) is
sliced by outputs; one of shape (in, out) by inputs for up to 3 rows, since its slices are then contiguous in memory.
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
_MAX_ROWS_BY_INPUT = 3


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
    outputs, inputs = weight.shape
    width = _width(outputs)
    if width is None:
        return F.linear(rows, weight, bias)
    slices = outputs // width
    below = None if bias is None else bias.view(slices, 1, width)
    product = _join_slices(rows.reshape(-1, inputs), weight.view(slices, width, inputs).transpose(1, 2), below)
    return product.view(*rows.shape[:-1], outputs)


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
        self._by_output: Tensor | None = None  # (slices, in, width)
        self._by_input: Tensor | None = None  # (slices, in / slices, out)
        width = _width(self._weight.shape[0])
        if width is None or not (_is_sliceable(weight) if is_sliceable is None else is_sliceable):
            return
        outputs, inputs = self._weight.shape
        slices = outputs // width
        if not transposed:
            self._by_output = weight.view(slices, width, inputs).transpose(1, 2)
        else:
            self._by_output = weight.view(inputs, slices, width).transpose(0, 1)
            if inputs % _INPUT_SLICES == 0:
                self._by_input = weight.view(_INPUT_SLICES, inputs // _INPUT_SLICES, outputs)
        self._below = None if bias is None else bias.view(slices, 1, width)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the product with the weight, plus bias."""
        count = rows.shape[0]
        if self._by_output is None or count > MAX_ROWS:
            return F.linear(rows, self._weight, self._bias)
        if self._by_input is not None and count <= _MAX_ROWS_BY_INPUT:
            return self._sum_over_inputs(rows, self._by_input)
        return _join_slices(rows, self._by_output, self._below)

    def _sum_over_inputs(self, rows: Tensor, right: Tensor) -> Tensor:
        total = torch.bmm(rows.view(rows.shape[0], _INPUT_SLICES, -1).transpose(0, 1), right).sum(0)
        return total if self._bias is None else total.add_(self._bias)


def _join_slices(rows: Tensor, right: Tensor, below: Tensor | None) -> Tensor:
    """Multiply rows (n, in) with the slices of a weight (slices, in, width); return (n, slices x width)."""
    left = rows.expand(right.shape[0], -1, -1)
    product = torch.bmm(left, right) if below is None else torch.baddbmm(below, left, right)
    count = rows.shape[0]
    # The slices of a single row already lie in order.
    return product.view(1, -1) if count == 1 else product.transpose(0, 1).reshape(count, -1)


@cache
def _width(outputs: int) -> int | None:
    """Return the divisor of `outputs` that is the best width of a slice; None where no divisor is good."""
    divisors = [width for width in range(32, outputs // 2 + 1) if outputs % width == 0]
    return min(divisors, key=lambda width: abs(width - _BEST_WIDTH), default=None)
