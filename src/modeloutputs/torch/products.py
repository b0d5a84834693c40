"""Which way the product of rows with a weight is computed: the one that is fastest for its shape on this processor.

The rule is a table of what was measured, so that one machine takes the same way in every run and values do not wander;
`benchmarks/products.py` prints each way's speed beside the rule's choice. `use_product`, or the environment variable
MODELOUTPUTS_PRODUCT, forces one way. It is asked in eager mode on the CPU in float32; elsewhere the product is the
framework's own.

- On AMD processors with AVX-512, MKL leaves half of the vector unit idle and oneDNN does not: from 128 rows on the
  product is a convolution, in inference and in training. On those without, it is one for many rows and more outputs
  than inputs, where the bias costs nothing.
- Up to some hundred rows MKL shares its work out badly, and narrow products are faster.
- For a few rows, as in each step of decoding, reading the weight is the whole cost. PyTorch's product reads it on one
  core for a single row and rearranges it for more, at 10 to 20 GB/s of the 30 to 70 that memory has; the other ways
  read it once, on all cores.
"""

import os
import platform
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, nearest
from .product_ways import TRANSPOSED_WAYS, WAYS, Function, constant_kernels

__all__ = [
    "MAX_FEW_ROWS",
    "Processor",
    "Product",
    "choose_product",
    "convolves_constants",
    "freezing_weights",
    "is_eager_inference",
    "is_freezing_weights",
    "linear",
    "multiply",
    "product_way",
    "this_processor",
    "transposed_linear",
    "use_product",
]

MAX_FEW_ROWS = 64
"""Most rows for which reading the weight is most of the cost."""

_MIN_NUMEL = {True: 2**16, False: 2**17}
"""Elements of a weight below which setting up another way costs more than it saves: up to 4 rows, and for more."""

_MIN_NUMEL_OF_ONE_THREAD = 2**19

_MAX_CONVOLVED_NUMEL = 2**24
"""Elements of a weight beyond which oneDNN's copy of it would take too much memory."""

_MIN_CONVOLVED_WIDTH = 64


# -- the rule -------------------------------------------------------------------------------------------------------


class Processor(NamedTuple):
    """What the rule asks about a processor."""

    amd: bool
    avx512: bool

    @property
    def convolves_well(self) -> bool:
        """Whether oneDNN's convolutions are faster than MKL's products of any shape."""
        return self.amd and self.avx512


@cache
def this_processor() -> Processor:
    """Return what the rule asks about the processor that this runs on."""
    backends = cast("Any", torch.backends)
    try:
        description = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        description = platform.processor()
    amd = "AuthenticAMD" in description and backends.mkldnn.is_available()
    return Processor(amd, backends.cpu.get_cpu_capability() == "AVX512")


def choose_product(rows: int, inputs: int, outputs: int, *, transposed: bool = False, recorded: bool = False) -> str:
    """Return the name of the way to multiply rows (rows, in) with a weight.

    Args:
        rows: number of rows.
        inputs: width of a row.
        outputs: width of the result.
        transposed: the weight has the shape (in, out), else (out, in).
        recorded: autograd records the product.
    """
    if _forced is not None:
        return _forced if _forced in (TRANSPOSED_WAYS if transposed else WAYS) else "linear"
    return _choose(rows, inputs, outputs, transposed, recorded, torch.get_num_threads())


@lru_cache(maxsize=4096)
def _choose(rows: int, inputs: int, outputs: int, transposed: bool, recorded: bool, threads: int) -> str:
    processor = this_processor()
    # A single thread's convolutions do not go to oneDNN.
    if threads > 1 and _convolves(rows, inputs, outputs, transposed, recorded, processor):
        return "rows_image"
    least = _MIN_NUMEL[rows <= 4] if threads > 1 else _MIN_NUMEL_OF_ONE_THREAD
    if recorded or not rows or inputs * outputs < least:
        return "linear"
    if rows <= MAX_FEW_ROWS and not transposed and threads > 1:
        return _choose_for_few_rows(rows, inputs, outputs, processor)
    if transposed and (rows <= 3 or (rows == 4 and inputs >= 3072 and not processor.convolves_well)):
        return "input_slices"
    most = MAX_FEW_ROWS
    if processor.amd and threads > 1:
        most = 256 if inputs >= 768 and not transposed else 128
    return "narrow" if rows <= most else "linear"


def _convolves(rows: int, inputs: int, outputs: int, transposed: bool, recorded: bool, processor: Processor) -> bool:
    if min(inputs, outputs) < _MIN_CONVOLVED_WIDTH or inputs * outputs > _MAX_CONVOLVED_NUMEL:
        return False
    if processor.convolves_well:
        return rows >= (256 if transposed else 128)
    return processor.amd and not recorded and outputs > inputs and rows >= (512 if transposed else 384)


def _choose_for_few_rows(rows: int, inputs: int, outputs: int, processor: Processor) -> str:
    if processor.convolves_well:
        return "weight_first" if rows <= 3 or (rows == 4 and inputs < 3072) else "narrow"
    if outputs >= 8192:  # a vocabulary
        return "weight_first" if rows == 1 else "weight_image"
    if rows <= 4:
        first = inputs < 3072 if rows == 1 else rows == 4 or inputs < (768 if rows == 2 else 512)
        return "weight_first" if first else "narrow"
    if inputs >= 1536:
        return "weight_image" if rows % 16 == 0 and outputs >= 512 else "narrow"
    return "weight_image" if inputs >= 512 and outputs >= 2 * inputs else "narrow"


_forced: str | None = None


def use_product(way: str | None) -> None:
    """Force one way to compute products in this process, for comparison; None leaves the choice to the rule.

    Products that it cannot compute are the framework's own then, as they are with a compiler other than
    `compile_for_inference`.

    Args:
        way: "linear" for the framework's own, or another name of `modeloutputs.torch.product_ways`.

    Raises:
        InputError: there is no such way.

    Examples:
        >>> use_product("linear")
        >>> use_product(None)
    """
    global _forced
    names = [*dict.fromkeys((*WAYS, *TRANSPOSED_WAYS))]
    if way is not None and way not in names:
        raise InputError(f"the product is {way!r}{nearest(way, names)}; expected None or one of {', '.join(names)}")
    _forced = way


use_product(os.environ.get("MODELOUTPUTS_PRODUCT") or None)


# -- where the rule is asked ----------------------------------------------------------------------------------------


def product_way(rows: Tensor, weight: Tensor, *, transposed: bool = False) -> str | None:
    """Return the way to multiply rows (..., in) with a weight; None where it is the framework's own product."""
    if torch.compiler.is_compiling():
        return "rows_image" if _freezing and _is_convolved(rows, weight) else None
    inputs, outputs = weight.shape if transposed else weight.shape[::-1]
    if _is_tracing() or not inputs or rows.shape[-1:] != (inputs,):
        return None
    recorded = torch.is_grad_enabled()
    way = choose_product(rows.numel() // inputs, inputs, outputs, transposed=transposed, recorded=recorded)
    return way if way != "linear" and rows.dtype == torch.float32 and _is_plain_weight(weight) else None


def _is_plain_weight(weight: Tensor) -> bool:
    """Return whether a weight can be sliced: on the CPU, in float32, in one piece."""
    return (
        weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and type(weight) in (Tensor, nn.Parameter)  # others, such as quantised ones, bring a product of their own
        and weight.layout == torch.strided
        and weight.is_contiguous()
        and not torch.is_autocast_enabled("cpu")
    )


def is_eager_inference() -> bool:
    """Return whether nothing records or traces the computation."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or _is_tracing())


_is_tracing: Callable[[], bool] = cast("Any", torch.jit).is_tracing


# -- products -------------------------------------------------------------------------------------------------------


def multiply(way: str, rows: Tensor, weight: Tensor, bias: Tensor | None, *, transposed: bool = False) -> Tensor:
    """Return the product of rows (..., in) with a weight, plus bias (out,), by one way."""
    flat = rows.reshape(-1, rows.shape[-1])
    if torch.compiler.is_compiling() and way == "rows_image":
        return constant_kernels(flat, weight, bias).view(*rows.shape[:-1], weight.shape[0])
    product = (TRANSPOSED_WAYS if transposed else WAYS)[way](weight, bias)(flat)
    return product.view(*rows.shape[:-1], product.shape[-1])


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows · weightᵀ + bias.

    Args:
        rows: (..., in).
        weight: (out, in).
        bias: (out,) or None.
    """
    way = product_way(rows, weight)
    return F.linear(rows, weight, bias) if way is None else multiply(way, rows, weight, bias)


def transposed_linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows · weight + bias.

    Args:
        rows: (..., in).
        weight: (in, out).
        bias: (out,) or None.
    """
    if _freezing and torch.compiler.is_compiling():
        return linear(rows, weight.t().contiguous(), bias)  # rearranged once, as the weight is a constant
    way = product_way(rows, weight, transposed=True)
    return multiply("linear" if way is None else way, rows, weight, bias, transposed=True)


class Product:
    """The product with one weight, set up once and called many times: rows (n, in) to (n, out).

    Args:
        weight: (out, in), or (in, out) if `transposed`.
        bias: (out,) or None.
        transposed: the weight is stored as (in, out).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, transposed: bool = False) -> None:
        self._weight, self._bias, self._transposed = weight, bias, transposed
        self._by_way: dict[str, Function] = {}
        self._last: tuple[int, str | None, Function] | None = None

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the product with the weight, plus bias."""
        last = self._last
        if last is not None and last[0] == rows.shape[0] and last[1] == _forced:
            return last[2](rows)
        way = product_way(rows, self._weight, transposed=self._transposed) or "linear"
        function = self._by_way.get(way)
        if function is None:
            ways = TRANSPOSED_WAYS if self._transposed else WAYS
            function = self._by_way[way] = ways[way](self._weight, self._bias)
        self._last = rows.shape[0], _forced, function
        return function(rows)


# -- while a model is compiled for inference ------------------------------------------------------------------------

_freezing = False
_convolving = False


@contextmanager
def freezing_weights(*, convolving: bool = False) -> Generator[None]:
    """Have what is compiled treat weights as constants, which may be rearranged at no cost.

    Args:
        convolving: make products convolutions; see `convolves_constants`.
    """
    global _freezing, _convolving
    before = _freezing, _convolving
    _freezing, _convolving = True, convolving
    try:
        yield
    finally:
        _freezing, _convolving = before


def convolves_constants(rows: int) -> bool:
    """Return whether products of so many rows are best compiled as convolutions, for this shape alone.

    A compiler that does not know the shape does not know either how a convolution's result lies in memory.
    """
    if _forced is not None:
        return _forced == "rows_image" and rows % 4 == 0
    return this_processor().convolves_well and torch.get_num_threads() > 1 and rows >= 128 and rows % 4 == 0


def is_freezing_weights() -> bool:
    """Return whether a compiler traces this call that will take weights for constants."""
    return _freezing and torch.compiler.is_compiling()


def _is_convolved(rows: Tensor, weight: Tensor) -> bool:
    """Return whether a compiler that lays weights out is given a convolution of rows (..., in) with (out, in)."""
    if not _convolving or weight.dtype != torch.float32 or min(weight.shape) < _MIN_CONVOLVED_WIDTH:
        return False
    return rows.numel() >= 128 * weight.shape[1] and rows.numel() % (4 * weight.shape[1]) == 0
