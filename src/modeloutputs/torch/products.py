"""The product of a few rows with a weight, as in each step of decoding: what is read is the weight, so read it well.

PyTorch's kernel for a product of one row reads the weight on one core, and for some more rows rearranges it first,
which costs more than the product. The same product as a batch of narrower ones, each with some of the weight's rows,
does neither: it runs on all cores, at 1.2 to 2.9 times the speed with 1 to 64 rows on two cores.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Product", "linear"]

MOST_ROWS = 64
"""Rows up to which the batch of narrow products is the faster one."""

LEAST_WEIGHT = 2**19
"""Numbers in a weight below which preparing the batch costs more than it gains."""

_BEST_WIDTH = 96


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows · weightᵀ + bias.

    Args:
        rows: (..., in).
        weight: (out, in).
        bias: (out,) or None.
    """
    few = 0 < rows.numel() <= MOST_ROWS * weight.shape[-1] and rows.dtype == weight.dtype
    if not few or weight.numel() < LEAST_WEIGHT or not _is_divisible(weight) or rows.shape[-1:] != weight.shape[1:]:
        return F.linear(rows, weight, bias)
    return Product(weight, bias)(rows.reshape(-1, weight.shape[1])).view(*rows.shape[:-1], -1)


def _is_divisible(weight: Tensor) -> bool:
    """Whether a batch of narrow products can and should be used: in inference, on the CPU, in float32."""
    return (
        not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and type(weight) in (Tensor, nn.Parameter)  # others, such as quantised ones, bring a product of their own
        and weight.layout == torch.strided
        and weight.is_contiguous()
        and not torch.is_autocast_enabled("cpu")
        and _width(weight.shape[0]) is not None
    )


class Product:
    """The product with one weight, prepared once to be called many times: rows (n, in) to (n, out).

    Args:
        weight: (out, in).
        bias: (out,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._bias = weight, bias
        self._outputs, inputs = weight.shape
        width = _width(self._outputs) if _is_divisible(weight) else None
        self._parts = 0 if width is None else self._outputs // width
        if width is not None:
            self._right = weight.view(self._parts, width, inputs).transpose(1, 2)
            self._below = None if bias is None else bias.view(self._parts, 1, width)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return rows · weightᵀ + bias."""
        count = rows.shape[0]
        if not self._parts or count > MOST_ROWS:
            return F.linear(rows, self._weight, self._bias)
        left = rows.expand(self._parts, -1, -1)
        product = torch.bmm(left, self._right) if self._below is None else torch.baddbmm(self._below, left, self._right)
        # With one row the parts lie one behind the other as they should.
        return product.view(1, -1) if count == 1 else product.transpose(0, 1).reshape(count, self._outputs)


@cache
def _width(outputs: int) -> int | None:
    """Return the divisor of `outputs` that is the best width of a narrow product; None where there is no good one."""
    divisors = [width for width in range(32, outputs // 2 + 1) if outputs % width == 0]
    return min(divisors, key=lambda width: abs(width - _BEST_WIDTH), default=None)
