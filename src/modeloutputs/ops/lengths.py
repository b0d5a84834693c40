"""The lengths of an output's axes, and the number of its rows."""

import operator
from collections.abc import Collection, Mapping
from typing import Any, cast

from ..errors import ContractError, InputError
from ..output.contract import BATCH_AXIS, PADDABLE_AXES
from .mapping import FlatOutputs, Leaf

__all__ = ["AGREEING_AXES", "as_integer", "axis_lengths", "entries_per_row", "known_length", "known_rows", "row_count"]

AGREEING_AXES = PADDABLE_AXES - {"seq"}
"""Axes that have one length in all fields. Not `seq`: a model may return logits of the last positions only."""


def axis_lengths(flat: FlatOutputs[Any], agreeing: Collection[str] = (), index: int = 0) -> dict[str, Any]:
    """Return the largest length of each axis in one of the outputs; None if it is unknown while tracing.

    Raises:
        ContractError: `batch`, or an axis in `agreeing`, has different lengths in two fields.
    """
    lengths: dict[str, Any] = {}
    for leaf in flat.leaves:
        for name, size in zip(leaf.axes, leaf.arrays[index].shape, strict=False):
            known = lengths.setdefault(name, size)
            if known is None or size is None:
                lengths[name] = size if known is None else known
            elif (name == BATCH_AXIS or name in agreeing) and size != known:
                raise ContractError(
                    f"{flat.cls.__name__}.{leaf.path}: {name} is {size}, but {known} in the fields before it"
                )
            else:
                lengths[name] = max(size, known)
    return lengths


def row_count(flat: FlatOutputs[Any]) -> Any:
    """Return the number of rows; None if it is unknown while tracing.

    Raises:
        ContractError: no field has a `batch` axis, or two have different ones.
    """
    lengths = axis_lengths(flat)
    if BATCH_AXIS not in lengths:
        raise ContractError(f"{flat.cls.__name__} has no field with an axis {BATCH_AXIS!r}, so it has no rows")
    return lengths[BATCH_AXIS]


def known_rows(flat: FlatOutputs[Any]) -> int:
    """Return the number of rows.

    Raises:
        InputError: it is unknown while tracing.
        ContractError: no field has a `batch` axis, or two have different ones.
    """
    rows = row_count(flat)
    if rows is None:
        raise InputError(
            f"the batch size of {flat.cls.__name__} is unknown while tracing; "
            "select with a tensor of indices, or trace with a fixed batch size"
        )
    return rows


def known_length(lengths: Mapping[str, Any], name: str) -> int:
    """Return the length of an axis.

    Raises:
        InputError: it is unknown while tracing.
    """
    if lengths[name] is None:
        raise InputError(f"the length of {name} is unknown while tracing; trace with a fixed length")
    return lengths[name]


def entries_per_row(leaf: Leaf, rows: int | None, index: int = 0) -> int:
    """Return how many entries each row has along the row axis: more than one if that is `batch*choices`.

    Raises:
        InputError: it is unknown while tracing.
        ContractError: the entries cannot be divided among the rows.
    """
    axis = cast("int", leaf.row_axis)
    size, name = leaf.arrays[index].shape[axis], leaf.axes[axis]
    if name == BATCH_AXIS or rows == 0:
        return 1
    if rows is None or size is None:
        raise InputError(
            f"the number of entries of {name} per row in {leaf.path} is unknown while tracing; "
            "trace with a fixed batch size"
        )
    if size % rows:
        raise ContractError(f"{leaf.path} has {size} entries for {rows} rows; expected a multiple")
    return size // rows


def as_integer(value: Any) -> int | None:
    """Return a value as an int, as `operator.index` does; None if it is not an integer."""
    try:
        return operator.index(value)
    except TypeError:
        return None
