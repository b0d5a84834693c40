"""Works through a large batch in blocks of rows that stay in the processor's caches: same numbers, less waiting.

Rows do not depend on one another, so a stack of layers may run over some rows to its end before it takes the next.
A block's intermediate results are then found in cache, where those of a whole batch come from memory. Worth it on the
CPU, and possible where no gradient is kept.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["BLOCK_TOKENS", "block_rows", "in_blocks"]

BLOCK_TOKENS = 1024
"""Tokens of a block: at BERT's widths their largest tensor is 6 to 12 MB. Twice or half as many cost 2 to 5% more."""


def block_rows(batch: Tensor) -> int | None:
    """Return how many rows of a batch (rows, length, ...) make a block; None where the whole batch is better."""
    rows, length = batch.shape[:2]
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or batch.device.type != "cpu":
        return None
    block = max(1, BLOCK_TOKENS // max(length, 1))
    return block if rows >= 2 * block else None


def in_blocks(
    function: Callable[..., Sequence[Tensor]], rows: int, block: int, arguments: Sequence[Any]
) -> list[Tensor]:
    """Call `function` on `block` rows of the arguments at a time and join what it returns, along the first axis.

    Args:
        function: takes the arguments and returns tensors whose first axis is rows.
        rows: rows in all; a tensor whose first axis is of another size is passed whole, as is what is no tensor.
        block: rows of a block.
        arguments: tensors and others.
    """
    joined: list[Tensor] = []
    for start in range(0, rows, block):
        stop = min(start + block, rows)
        results = function(*(_rows(argument, rows, start, stop) for argument in arguments))
        joined = joined or [result.new_empty(rows, *result.shape[1:]) for result in results]
        for whole, result in zip(joined, results, strict=True):
            whole[start:stop] = result
    return joined


def _rows(argument: Any, rows: int, start: int, stop: int) -> Any:
    return argument[start:stop] if isinstance(argument, Tensor) and argument.shape[:1] == (rows,) else argument
