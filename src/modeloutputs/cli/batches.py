"""Runs many texts in batches of bounded size, those of like lengths together, and joins what comes of them."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from ..ops.concat import concat
from ..ops.mapping import FlatOutputs
from ..ops.rows import select
from ..output import ModelOutput

__all__ = ["MOST_TOKENS", "cut_positions", "group_by_length", "join_batches", "with_progress"]

MOST_TOKENS = 4096
"""In a batch, padding included: the states of a layer of width 768 take 12 MB, the scores of 30,000 words 500 MB."""


def group_by_length(lengths: Sequence[int], most_tokens: int = MOST_TOKENS) -> list[list[int]]:
    """Return batches of indices whose padded texts have at most so many tokens, but at least one text.

    If all fit into one batch, their order stays; else the longest come first, so that memory is asked for at once.

    Examples:
        >>> group_by_length([2, 9, 3], most_tokens=12)
        [[1], [2, 0]]
        >>> group_by_length([2, 9, 3], most_tokens=27)
        [[0, 1, 2]]
    """
    if max(lengths) * len(lengths) <= most_tokens:
        return [list(range(len(lengths)))]
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # The first of a group is its longest.
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= most_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def join_batches(outputs: Sequence[ModelOutput], groups: Sequence[Sequence[int]]) -> ModelOutput:
    """Join the outputs of batches, which have no losses, into one with its rows in the order of the texts.

    Args:
        outputs: of the batches.
        groups: the index of the text in each row of each.
    """
    joined = outputs[0] if len(outputs) == 1 else concat(outputs)
    order = [index for group in groups for index in group]
    if order == sorted(order):
        return joined
    places = {index: row for row, index in enumerate(order)}
    return select(joined, [places[index] for index in range(len(places))])


def cut_positions(output: ModelOutput, length: int) -> ModelOutput:
    """Return the first positions of an output's texts; it holds no cache.

    Args:
        output: its axes of positions are named `seq`.
        length: how many positions to keep.
    """
    kept = {"seq": slice(0, length)}
    return FlatOutputs([output]).map(
        lambda leaf: leaf.backend.slice_axes(leaf.array, tuple(kept.get(name, slice(None)) for name in leaf.axes))
    )


@contextmanager
def with_progress(texts: int) -> Generator[Callable[[int], None]]:
    """Show a bar on standard error while it is a terminal; yield a function that is told how many texts are done."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("texts", total=texts)
        yield lambda count: progress.advance(bar, count)
