"""Concatenates outputs along their rows, guided by their axis names.

What is done to an array follows from its field's annotation: `batch` axes are joined, those that differ in length from
text to text are padded, all others must agree. So every field of every class is joined correctly, caches and
attentions included, whichever framework's arrays it holds.
"""

from collections.abc import Iterable
from typing import Any, TypeVar, cast

from ..arrays.backends import get_backend
from ..arrays.base import Backend
from ..errors import ContractError, UsageError
from ..output import ModelOutput
from ..output.contract import BATCH_AXIS, PADDABLE_AXES
from .lengths import axis_lengths, entries_per_row
from .mapping import FlatOutputs, Leaf, skip_autograph
from .padding import Padding, Side, check_padding, left_padded, padding_value

__all__ = ["concat"]

Output = TypeVar("Output", bound=ModelOutput)

_PADDABLE = ", ".join(sorted(PADDABLE_AXES))


@skip_autograph
def concat(outputs: Iterable[Output], *, side: Side = "right", padding: Padding = None) -> Output:
    """Join outputs of one class into one with the rows of all, in order; shorter ones are padded.

    A loss belongs to the batch, not to a row: the losses of the parts become one 1-D array, and nothing is averaged.
    Losses that are given row by row, or label by label, are joined as they are.

    Args:
        outputs: with the same fields, and the same layers in them.
        side: the side of padding, "right" or "left"; or one by axis name, as `{"past": "left"}`. Choose the left for
            outputs of later calls with a cache, whose `seq` axes are the last positions of `past`. Always on the right
            are `max_length` and `new`, which are filled from the front.
        padding: the value of padding, or one by field. It defaults to 0, and in logits over positions to minus
            infinity, which no argmax chooses.

    Raises:
        UsageError: there is no output, or they differ in class, fields, layers or framework.
        ContractError: axes that cannot be padded differ, or a field names no axes.

    Examples:
        >>> from modeloutputs.torch import BaseModelOutput
        >>> import torch
        >>> parts = [BaseModelOutput(last_hidden_state=torch.ones(2, length, 16)) for length in (3, 5)]
        >>> joined = concat(parts)
        >>> tuple(joined.last_hidden_state.shape)
        (4, 5, 16)
        >>> joined.last_hidden_state[0, :, 0].tolist()
        [1.0, 1.0, 1.0, 0.0, 0.0]
    """
    if isinstance(outputs, ModelOutput):
        raise UsageError(f"concat was given one {type(outputs).__name__}; pass a list of outputs")
    outputs = list(outputs)
    is_left = left_padded(side)
    check_padding(padding, outputs)
    flat = FlatOutputs(outputs)

    def join(leaf: Leaf) -> Any:
        backend, row_axis = _common_backend(leaf), leaf.row_axis
        if row_axis is None:
            return _join_losses(backend, leaf)
        if leaf.axes[row_axis] != BATCH_AXIS:
            _check_entries_per_row(flat, leaf)
        ragged = _ragged_axes(leaf, row_axis)
        if not ragged:
            return backend.concat(leaf.arrays, row_axis)
        lefts = {axis: is_left(leaf.axes[axis]) for axis in ragged}
        return backend.pad_and_concat(leaf.arrays, row_axis, lefts, padding_value(leaf, padding), leaf.shapes)

    return flat.map(join)


def _common_backend(leaf: Leaf) -> Backend:
    """Return the operations for arrays of one framework, dtype and device; refuse a mixture."""
    backend = leaf.backend
    if backend.have_one_key(leaf.arrays):
        return backend
    first = backend.joining_key(leaf.array)
    for i, array in enumerate(leaf.arrays):
        own = get_backend(array)
        if own.joining_key(array) != first:
            raise UsageError(
                f"{leaf.path} is {backend.describe(leaf.array)} in outputs[0] and {own.describe(array)} in "
                f"outputs[{i}]; bring them together with .to() or convert()"
            )
    return backend


def _ragged_axes(leaf: Leaf, row_axis: int) -> list[int]:
    """Return the axes other than the rows' in which arrays differ; refuse those that cannot be padded."""
    distinct = list(dict.fromkeys(leaf.shapes))
    if len(distinct) == 1 and None not in distinct[0]:
        return []
    ragged: list[int] = []
    for axis, name in enumerate(leaf.axes):
        sizes = [shape[axis] for shape in distinct]
        is_unknown = None in sizes  # while tracing
        if axis == row_axis or (len(set(sizes)) == 1 and not is_unknown):
            continue
        if name in PADDABLE_AXES:
            ragged.append(axis)
        elif not is_unknown:
            other = next(i for i, shape in enumerate(leaf.shapes) if shape[axis] != sizes[0])
            raise ContractError(
                f"{leaf.path}: {name} is {sizes[0]} in outputs[0] and {leaf.shapes[other][axis]} in "
                f"outputs[{other}]; only {_PADDABLE} can be padded"
            )
    return ragged


def _check_entries_per_row(flat: FlatOutputs[Any], leaf: Leaf) -> None:
    """Refuse `batch*choices` axes in which rows of two outputs have different numbers of entries."""
    counts = [axis_lengths(flat, index=i).get(BATCH_AXIS) for i in range(len(leaf.arrays))]
    entries = {i: entries_per_row(leaf, count, i) for i, count in enumerate(counts) if count}
    for i, count in entries.items():
        first, expected = next(iter(entries.items()))
        if count != expected:
            raise ContractError(
                f"{leaf.path}: {leaf.axes[cast('int', leaf.row_axis)]} has {expected} for each row in "
                f"outputs[{first}] and {count} in outputs[{i}]; only {_PADDABLE} can be padded"
            )


def _join_losses(backend: Backend, leaf: Leaf) -> Any:
    """Join numbers of whole batches, and lists of them."""
    rank = len(leaf.axes)
    if rank > 1:
        raise ContractError(
            f"{leaf.path} ({' '.join(leaf.axes)}) has no axis {BATCH_AXIS!r}, so it cannot be joined; drop it first"
        )
    if not rank:
        return backend.stack(leaf.arrays)
    return backend.concat([array if len(array.shape) else backend.reshape(array, (1,)) for array in leaf.arrays], 0)
