"""The ways to compute the product of rows with a weight, all of public operations of PyTorch.

They differ in how the weight is read, which is the whole cost for a few rows, and in the library that computes them:
PyTorch's products go to MKL, its convolutions to oneDNN. `modeloutputs.torch.products` says which is used where.

A way takes a weight and a bias, and returns the function from rows (n, in) to (n, out); for a weight that it cannot
divide it returns the plain product.
"""

from collections.abc import Callable, Mapping
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TRANSPOSED_WAYS", "WAYS", "Function", "Way", "constant_kernels"]

Function = Callable[[Tensor], Tensor]
Way = Callable[[Tensor, Tensor | None], Function]

_BEST_WIDTH = 96
_MIN_WIDTH = 32
_BEST_PARTS = 16
_MAX_PARTS = 128
_INPUT_SLICES = 4


# -- weights of shape (out, in), as `nn.Linear` has them ------------------------------------------------------------


def _linear(weight: Tensor, bias: Tensor | None) -> Function:
    """PyTorch's own product, which reads the weight on one core for one row, and rearranges it for a few."""
    return lambda rows: F.linear(rows, weight, bias)


def _narrow(weight: Tensor, bias: Tensor | None) -> Function:
    """Products with narrow slices of the weight, side by side on all cores."""
    outputs, inputs = weight.shape
    width = _width(outputs)
    if width is None:
        return _linear(weight, bias)
    return _join_columns(weight.view(-1, width, inputs).transpose(1, 2), bias)


def _weight_first(weight: Tensor, bias: Tensor | None) -> Function:
    """The transposed product: parts of the weight, on the left, are read in the order in which they lie."""
    outputs, inputs = weight.shape
    parts = _parts(outputs, torch.get_num_threads())
    if parts is None:
        return _linear(weight, bias)
    left = weight.view(parts, -1, inputs)
    below = None if bias is None else bias.view(parts, -1, 1)

    def product(rows: Tensor) -> Tensor:
        right = rows.t().expand(parts, -1, -1)
        joined = torch.bmm(left, right) if below is None else torch.baddbmm(below, left, right)
        return _rows_first(joined.view(outputs, -1))

    return product


def _weight_image(weight: Tensor, bias: Tensor | None) -> Function:
    """A convolution of the weight, an image with a pixel for each output, with the rows as its kernels."""
    outputs, inputs = weight.shape
    image = weight.view(1, 1, outputs, inputs).permute(0, 3, 1, 2)

    def product(rows: Tensor) -> Tensor:
        joined = F.conv2d(image, rows.reshape(-1, inputs, 1, 1))
        result = _rows_first(joined.permute(0, 2, 3, 1).reshape(outputs, -1))
        return result if bias is None else result.add_(bias)

    return product


def _rows_image(weight: Tensor, bias: Tensor | None) -> Function:
    """A convolution of the rows, an image with a pixel for each, with the weight as 1 x 1 kernels."""
    outputs, inputs = weight.shape
    kernels = weight.view(outputs, inputs, 1, 1)
    return lambda rows: _pixels(F.conv2d(_image(rows), kernels, bias))


WAYS: Mapping[str, Way] = {
    "linear": _linear,
    "narrow": _narrow,
    "weight_first": _weight_first,
    "weight_image": _weight_image,
    "rows_image": _rows_image,
}
"""By name, the ways for weights of shape (out, in)."""


# -- weights of shape (in, out), as GPT has them --------------------------------------------------------------------


def _transposed_linear(weight: Tensor, bias: Tensor | None) -> Function:
    if bias is None:
        return lambda rows: rows @ weight
    return lambda rows: torch.addmm(bias, rows, weight)


def _transposed_narrow(weight: Tensor, bias: Tensor | None) -> Function:
    inputs, outputs = weight.shape
    width = _width(outputs)
    if width is None:
        return _transposed_linear(weight, bias)
    return _join_columns(weight.view(inputs, -1, width).transpose(0, 1), bias)


def _input_slices(weight: Tensor, bias: Tensor | None) -> Function:
    """Products with slices of the weight that lie in one piece, one for some of the inputs each, summed up."""
    inputs, outputs = weight.shape
    if inputs % _INPUT_SLICES:
        return _transposed_narrow(weight, bias)
    right = weight.view(_INPUT_SLICES, -1, outputs)
    if bias is None:
        return lambda rows: torch.bmm(_sliced(rows), right).sum(0)
    below = weight.new_zeros(_INPUT_SLICES, 1, outputs)
    below[0, 0] = bias
    return lambda rows: torch.baddbmm(below, _sliced(rows), right).sum(0)


def _transposed_rows_image(weight: Tensor, bias: Tensor | None) -> Function:
    """A transposed convolution, which takes kernels of shape (in, out)."""
    kernels = weight.view(*weight.shape, 1, 1)
    return lambda rows: _pixels(F.conv_transpose2d(_image(rows), kernels, bias))


TRANSPOSED_WAYS: Mapping[str, Way] = {
    "linear": _transposed_linear,
    "narrow": _transposed_narrow,
    "input_slices": _input_slices,
    "rows_image": _transposed_rows_image,
}
"""By name, the ways for weights of shape (in, out)."""


# -- parts ----------------------------------------------------------------------------------------------------------


def _join_columns(right: Tensor, bias: Tensor | None) -> Function:
    """Return the product with slices (parts, in, width) of a weight, their results side by side."""
    parts, _, width = right.shape
    below = None if bias is None else bias.view(parts, 1, width)

    def product(rows: Tensor) -> Tensor:
        left = rows.expand(parts, -1, -1)
        joined = torch.bmm(left, right) if below is None else torch.baddbmm(below, left, right)
        count = rows.shape[0]
        # The slices of a single row already lie in order.
        return joined.view(1, -1) if count == 1 else joined.transpose(0, 1).reshape(count, -1)

    return product


def _sliced(rows: Tensor) -> Tensor:
    """View rows (n, in) as (slices, n, in / slices)."""
    count = rows.shape[0]
    if count == 1:
        return rows.view(_INPUT_SLICES, 1, -1)
    return rows.view(count, _INPUT_SLICES, -1).transpose(0, 1)


def _rows_first(joined: Tensor) -> Tensor:
    """Return (n, out) for (out, n)."""
    return joined.view(1, -1) if joined.shape[1] == 1 else joined.t().contiguous()


def constant_kernels(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what `rows_image` does, for a compiler that lays the kernels out: rows (4 n, in), weight (out, in).

    No axis of the image has size 1: a compiler writes 0 for the stride of such an axis, by which PyTorch no longer
    recognises that channels lie next to one another.
    """
    image = rows.view(2, -1, 2, rows.shape[-1]).permute(0, 3, 1, 2)
    return F.conv2d(image, weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(-1, weight.shape[0])


def _image(rows: Tensor) -> Tensor:
    """View rows (n, in) as an image (1, in, n, 1) whose channels lie next to one another, as oneDNN reads it best."""
    return rows.view(1, rows.shape[0], 1, -1).permute(0, 3, 1, 2)


def _pixels(image: Tensor) -> Tensor:
    """Return rows (n, out) for an image (1, out, n, 1)."""
    return image.permute(0, 2, 3, 1).reshape(image.shape[2], -1)


@cache
def _width(outputs: int) -> int | None:
    """Return the divisor of `outputs` that is the best width of a slice; None where no divisor is good."""
    divisors = [width for width in range(_MIN_WIDTH, outputs // 2 + 1) if outputs % width == 0]
    return min(divisors, key=lambda width: abs(width - _BEST_WIDTH), default=None)


@cache
def _parts(outputs: int, threads: int) -> int | None:
    """Return the divisor of `outputs` that is the best number of parts for so many threads; None for a prime."""
    divisors = [parts for parts in range(2, min(max(_MAX_PARTS, threads), outputs) + 1) if outputs % parts == 0]
    # Parts are shared out evenly: the last round, in which threads may be idle, counts first.
    return min(divisors, key=lambda n: (round(-(-n // threads) * threads / n, 1), abs(n - _BEST_PARTS)), default=None)
