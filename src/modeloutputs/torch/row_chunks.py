"""Runs a large batch in chunks of rows that fit the processor's caches: same numbers, fewer cache misses.

Rows do not depend on one another, so a stack of layers may finish some rows before it starts the next. The
intermediate results of a chunk are then read from cache, those of a whole batch from memory. It pays on the CPU, and
only where no gradient is recorded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["CHUNK_TOKENS", "chunk_size", "run_in_chunks"]

CHUNK_TOKENS = 1024
"""Tokens of a chunk: at BERT's widths its largest tensor is 6 to 12 MB. Twice or half as many cost 2 to 5% more."""


def chunk_size(batch: Tensor) -> int | None:
    """Return the number of rows of a chunk of a batch (rows, length, ...); None where the whole batch is faster."""
    rows, length = batch.shape[:2]
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or batch.device.type != "cpu":
        return None
    size = max(1, CHUNK_TOKENS // max(length, 1))
    return size if rows >= 2 * size else None


def run_in_chunks(
    function: Callable[..., Sequence[Tensor]], rows: int, size: int, arguments: Sequence[Any]
) -> list[Tensor]:
    """Call `function` on `size` rows of the arguments at a time and join its results along the first axis.

    Args:
        function: takes the arguments and returns tensors whose first axis is rows.
        rows: number of rows; tensors whose first axis has another size, and other values, are passed whole.
        size: rows of a chunk.
        arguments: tensors and other values.
    """
    joined: list[Tensor] = []
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        results = function(*(_slice(argument, rows, start, stop) for argument in arguments))
        joined = joined or [result.new_empty(rows, *result.shape[1:]) for result in results]
        for whole, result in zip(joined, results, strict=True):
            whole[start:stop] = result
    return joined


def _slice(argument: Any, rows: int, start: int, stop: int) -> Any:
    return argument[start:stop] if isinstance(argument, Tensor) and argument.shape[:1] == (rows,) else argument
