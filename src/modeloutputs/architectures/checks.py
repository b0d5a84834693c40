"""Errors about a model's arguments, raised before anything is computed; no framework.

A framework describes its tensors as `Facts`; it leaves `bounds` out where reading values would break a trace or stall
a device.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

from ..errors import InputError

__all__ = [
    "Facts",
    "check_embeds",
    "check_ids",
    "check_length",
    "check_one_given",
    "check_position_ids",
    "describe_other",
]


class Facts(NamedTuple):
    """Description of a tensor that is checked."""

    shape: tuple[int, ...]
    dtype: object
    """As the framework prints it."""
    kind: Literal["index", "floating", "other"]
    """Whether it can index a table, int32 or int64, or holds floating point numbers."""
    bounds: tuple[float, float] | None = None
    """Least and greatest value, where known."""


def describe_other(value: object, what: str, *, kind: str, tensors: str, convert: str) -> str:
    """Return the line about an argument that is no tensor.

    Args:
        value: what was passed.
        what: name of the argument.
        kind: the framework's class of tensors.
        tensors: the framework in `return_tensors`.
        convert: the function that makes a tensor.

    Examples:
        >>> describe_other([[1, 2]], "labels", kind="torch.Tensor", tensors="pt", convert="torch.tensor")
        'labels is a list; expected a torch.Tensor: torch.tensor(labels)'
    """
    name = type(value).__name__
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, list(cast("Mapping[Any, Any]", value))[:4]))
        return f"{what} is a {name} of {keys}; pass its entries by name: model(**inputs)"
    is_ids = what.endswith("input_ids")
    if isinstance(value, str):
        shown = repr(value if len(value) <= 40 else value[:37] + "...")
        advice = f': model(**tokenizer({shown}, return_tensors="{tensors}"))' if is_ids else ""
        return f"{what} is the text {shown}; expected a {kind}{advice}"
    module = type(value).__module__.partition(".")[0]
    shown = name if module in ("builtins", "") else f"{module}.{name}"
    advice = f'call the tokenizer with return_tensors="{tensors}", or pass ' if is_ids or what.endswith("mask") else ""
    return f"{what} is a {shown}; expected a {kind}: {advice}{convert}({what})"


def check_one_given(has_ids: bool, has_embeds: bool, prefix: str = "") -> None:
    """Refuse a call with both `input_ids` and `inputs_embeds`, or neither.

    Args:
        has_ids: `input_ids` was passed.
        has_embeds: `inputs_embeds` was passed.
        prefix: of the arguments' names, as "decoder_".

    Raises:
        InputError: both were passed, or neither.
    """
    if has_ids and has_embeds:
        raise InputError(f"both {prefix}input_ids and {prefix}inputs_embeds were passed; pass one of them")
    if not has_ids and not has_embeds:
        raise InputError(f"neither {prefix}input_ids nor {prefix}inputs_embeds was passed; pass one of them")


def check_ids(ids: Facts, count: int, what: str, shape: tuple[int, ...] | None = None) -> None:
    """Refuse indices into a table of `count` rows that are not integers, of the wrong shape, or out of range.

    Args:
        ids: the indices.
        count: rows of the table.
        what: name of the argument.
        shape: the expected shape; (batch, seq) of any size if None.

    Raises:
        InputError: naming the argument, what was found and what was expected.
    """
    if ids.kind != "index":
        raise InputError(f"{what} is {ids.dtype}; expected int64 or int32")
    if shape is None and len(ids.shape) != 2:
        advice = f"; pass {what}[None] for one row" if len(ids.shape) == 1 else ""
        raise InputError(f"{what} has shape {ids.shape}; expected (batch, seq){advice}")
    if shape is not None and ids.shape != shape:
        raise InputError(f"{what} has shape {ids.shape}; expected {shape}")
    if ids.bounds is not None and (ids.bounds[0] < 0 or ids.bounds[1] >= count):
        low, high = map(int, ids.bounds)
        raise InputError(f"{what} ranges from {low} to {high}; expected 0 to {count - 1}")


def check_position_ids(position_ids: Facts | None, limit: int, rows: int, length: int) -> None:
    """Refuse positions that are not (rows or 1, length) integers below `limit`; see `check_ids`."""
    if position_ids is not None:
        first = 1 if position_ids.shape[:1] == (1,) else rows
        check_ids(position_ids, limit, "position_ids", (first, length))


def check_embeds(embeds: Facts, width: int, what: str, rows: int | None = None) -> None:
    """Refuse vectors that are not (batch, positions, width) floating point numbers.

    Raises:
        InputError: naming the argument, what was found and what was expected.
    """
    shape = embeds.shape
    fits = len(shape) == 3 and shape[2] == width and (rows is None or shape[0] == rows)
    if not fits or embeds.kind != "floating":
        expected = ("batch" if rows is None else rows, "positions", width)
        raise InputError(
            f"{what} is {embeds.dtype} of shape {shape}; expected floating point of shape "
            f"({', '.join(map(str, expected))})"
        )


def check_length(length: int, past: int, limit: int) -> None:
    """Refuse a sequence that is longer than the position table.

    Raises:
        InputError: with the length found and the longest possible.
    """
    if past + length > limit:
        before = f" after {past} cached ones" if past else ""
        raise InputError(
            f"{length} positions{before} exceed the model's max_position_embeddings of {limit}; truncate the input"
        )
