"""Selects and splits the rows of an output, guided by its axis names.

A loss belongs to the batch, not to a row: the outputs returned here have none, unless it was returned row by row.
"""

import itertools
import operator
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from ..arrays import tracing
from ..arrays.backends import get_backend
from ..arrays.base import Backend, shape_of
from ..arrays.dtypes import dtype_name
from ..display.text import summary
from ..errors import InputError
from ..output import ModelOutput
from ..output.nested import is_array
from .lengths import as_integer, entries_per_row, known_rows, row_count
from .mapping import FlatOutputs, Leaf, skip_autograph

__all__ = ["select", "split"]

Output = TypeVar("Output", bound=ModelOutput)


@skip_autograph
def split(output: Output, sizes: int | Sequence[int]) -> list[Output]:
    """Split an output into parts by rows.

    The parts share memory with the output if its framework has views.

    Args:
        output: the output.
        sizes: the number of rows of each part; or one number for all, the last part being smaller if needed.

    Raises:
        InputError: the sizes do not add up to the number of rows.
        ContractError: a field names no axes.

    Examples:
        >>> from modeloutputs.torch import BaseModelOutput
        >>> import torch
        >>> output = BaseModelOutput(last_hidden_state=torch.zeros(5, 7, 16))
        >>> [tuple(part.last_hidden_state.shape) for part in split(output, 2)]
        [(2, 7, 16), (2, 7, 16), (1, 7, 16)]
        >>> [len(part.last_hidden_state) for part in split(output, [1, 4])]
        [1, 4]
    """
    flat = FlatOutputs([output])
    rows = known_rows(flat)
    parts = _part_sizes(sizes, rows)
    starts = itertools.accumulate(parts, initial=0)
    return _slice_rows(flat, rows, [(start, start + size) for start, size in zip(starts, parts, strict=False)])


@skip_autograph
def select(output: Output, rows: Any) -> Output:
    """Return the rows at these indices, in their order: to reorder beams, or to sort and sort back.

    Args:
        output: the output.
        rows: a slice; indices, of which negative ones count from the end and any may repeat; or one boolean for each
            row. Sequences and arrays of any framework are accepted. Those on an accelerator or traced are not checked
            for indices out of range, and booleans cannot select while tracing.

    Raises:
        InputError: `rows` is not a valid index, or is out of range.
        ContractError: a field names no axes.

    Examples:
        >>> from modeloutputs.torch import SequenceClassifierOutput
        >>> import torch
        >>> output = SequenceClassifierOutput(logits=torch.tensor([[1.0], [2.0], [3.0]]))
        >>> select(output, [2, 0]).logits.tolist()
        [[3.0], [1.0]]
        >>> select(output, slice(1, None)).logits.tolist()
        [[2.0], [3.0]]
    """
    flat = FlatOutputs([output])
    if isinstance(rows, slice):
        count = known_rows(flat)
        start, stop, step = _bounds(cast("Any", rows), count)
        if step == 1:
            return _slice_rows(flat, count, [(start, max(start, stop))])[0]
        rows = list(range(start, stop, step))
    count = row_count(flat)
    indices = _indices(rows, count)
    return flat.map(lambda leaf: None if leaf.row_axis is None else _take_rows(leaf, indices, count))


def _slice_rows(flat: FlatOutputs[Output], rows: int, bounds: Sequence[tuple[int, int]]) -> list[Output]:
    """Return an output of the rows [start, stop) for each of the bounds."""

    slices_of: dict[tuple[int, int], list[tuple[slice, ...]]] = {}

    def parts(leaf: Leaf) -> list[Any]:
        axis = leaf.row_axis
        if axis is None:
            return [None] * len(bounds)
        entries = entries_per_row(leaf, rows)
        if (axis, entries) not in slices_of:
            before = (slice(None),) * axis
            slices_of[axis, entries] = [(*before, slice(a * entries, b * entries)) for a, b in bounds]
        return leaf.backend.slice_each(leaf.array, slices_of[axis, entries])

    return flat.map_several(parts, len(bounds))


def _take_rows(leaf: Leaf, indices: Any, count: Any) -> Any:
    array, axis, backend = leaf.array, cast("int", leaf.row_axis), leaf.backend
    entries = entries_per_row(leaf, count)
    if entries == 1:
        return backend.take(array, indices, axis)
    before, after = tuple(array.shape[:axis]), tuple(array.shape[axis + 1 :])
    taken = backend.take(backend.reshape(array, (*before, count, entries, *after)), indices, axis)
    found = -1 if taken.shape[axis] is None else taken.shape[axis] * entries
    return backend.reshape(taken, (*before, found, *after))


# -- arguments ------------------------------------------------------------------------------------------------------


def _part_sizes(sizes: Any, rows: int) -> list[int]:
    """Return the number of rows of each part."""
    try:
        parts = [operator.index(size) for size in sizes]
    except TypeError:
        size = as_integer(sizes)
        if size is None or size < 1:
            raise InputError(
                f"sizes is {summary(sizes)}; expected a number of rows, 1 or more, or one for each part"
            ) from None
        return [min(size, rows - start) for start in range(0, max(rows, 1), size)]
    if sum(parts) != rows or any(part < 0 for part in parts):
        raise InputError(f"sizes {parts} add up to {sum(parts)}; the output has {rows} rows")
    return parts


def _bounds(rows: Any, count: int) -> tuple[int, int, int]:
    try:
        return rows.indices(count)
    except (TypeError, ValueError) as error:
        raise InputError(f"rows is {rows}; {error}") from None


def _indices(rows: Any, count: int | None) -> Any:
    """Return row indices as an integer array: of NumPy if their values can be read, else as they were given."""
    import numpy as np

    if not is_array(rows):
        if tracing.in_compiler_trace():
            return _constant_indices(list(rows), count)
        try:
            return _checked_indices(np.asarray(list(rows)), rows, count)
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise _invalid_indices(rows) from None
    backend = get_backend(rows)
    values = backend.concrete_values(rows)
    return _unread_indices(rows, backend, count) if values is None else _checked_indices(values, rows, count)


def _checked_indices(found: Any, given: Any, count: int | None) -> Any:
    """Return NumPy's indices, each counted from the start; booleans become indices."""
    import numpy as np

    if found.size == 0 and found.ndim == 1 and found.dtype != np.bool_:
        return found.astype(np.int64)
    if found.ndim != 1 or found.dtype.kind not in "iub":
        raise _invalid_indices(given)
    if found.dtype.kind == "b":
        _check_booleans(found, count)
        return np.flatnonzero(found)
    if count is None:
        return found.astype(np.int64)
    if found.min() < -count or found.max() >= count:
        raise InputError(f"rows range from {found.min()} to {found.max()}; the output has {count} rows")
    from_start = cast("Any", np.where(found < 0, found + count, found))
    return from_start.astype(np.int64)


def _constant_indices(rows: list[Any], count: Any) -> list[int]:
    """Return indices known to a compiler, without NumPy, which it would trace."""
    if rows and all(isinstance(row, bool) for row in rows):
        _check_booleans(rows, count)
        return [i for i, is_chosen in enumerate(rows) if is_chosen]
    for row in rows:
        if not -count <= row < count:
            raise InputError(f"rows has {row}; the output has {count} rows")
    return [row + count if row < 0 else row for row in rows]


def _unread_indices(rows: Any, backend: Backend, count: int | None) -> Any:
    """Return indices whose values cannot be read, after a look at their shape and dtype."""
    name, shape = dtype_name(rows.dtype), shape_of(rows)
    if (shape is not None and len(shape) != 1) or not (name == "bool" or "int" in name):
        raise _invalid_indices(rows)
    if name != "bool":
        return rows
    if backend.name != "torch":
        raise InputError("rows are booleans without values, so their number is unknown while tracing; pass indices")
    _check_booleans(rows, count)
    return rows.nonzero()[:, 0]


def _check_booleans(rows: Any, count: int | None) -> None:
    if count is not None and len(rows) != count:
        raise InputError(f"rows has {len(rows)} booleans; the output has {count} rows")


def _invalid_indices(rows: Any) -> InputError:
    return InputError(f"rows is {summary(rows)}; expected a slice, 1-D indices or one boolean for each row")
