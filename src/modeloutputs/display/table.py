"""The content of a table of an output: per field its shape with axis names, dtypes, devices and bytes.

Nothing here raises, whatever the fields hold: notebooks draw tables unasked.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, TypeVar, cast

from ..arrays.base import shape_of
from ..arrays.dtypes import short_dtype
from ..output.contract import returned_when
from ..output.nested import children, distinct_arrays, is_array, is_nested
from ..output.protocol import OutputLike
from ..output.schema import UNKNOWN, Schema, axes_of, item_schemas, matching_option, schema_of
from .text import printable, summary

__all__ = ["FieldRows", "MissingField", "Row", "Size", "StyledText", "TableModel", "table_model"]

Result = TypeVar("Result")

SHOWN_AT_EACH_END = 12
"""Entries of a field to show one by one at its start, and as many at its end."""

LONGEST = 240
"""Characters in one cell; longer text is cut off."""


class StyledText(NamedTuple):
    """A piece of text; axis names and placeholders are dimmed."""

    text: str
    is_dim: bool = False


Text = tuple[StyledText, ...]


@dataclass(frozen=True)
class Size:
    """Bytes of arrays by shape and dtype; views count like copies."""

    count: int
    is_exact: bool
    """False if the size of an array is unknown, as while a compiler traces; that array is not counted."""

    def __str__(self) -> str:
        if not self.is_exact:
            return f"at least {_with_unit(self.count)}" if self.count else "unknown"
        return _with_unit(self.count)


@dataclass(frozen=True)
class Row:
    """One row of a table: a field, or one entry of a field."""

    label: str
    shape: Text
    dtype: str
    """The name of the type if the value is not an array."""

    device: str
    size: Size | None
    """None if the value holds no arrays."""


@dataclass(frozen=True)
class FieldRows:
    """The row of a field and those of its first and last entries; `left_out` counts the entries between."""

    row: Row
    first: tuple[Row, ...] = ()
    left_out: int = 0
    last: tuple[Row, ...] = ()


@dataclass(frozen=True)
class MissingField:
    """A field that is None, and what makes a model return it."""

    name: str
    returned_when: str


@dataclass(frozen=True)
class TableModel:
    """The content of a table of an output: its present fields and its missing ones."""

    title: str
    fields: tuple[FieldRows, ...]
    missing: tuple[MissingField, ...]
    size: Size
    """Of all fields together; an array in two places is counted once."""


def table_model(output: OutputLike) -> TableModel:
    """Return the content of a table of an output.

    Examples:
        >>> import numpy as np
        >>> from jaxtyping import Float
        >>> from modeloutputs import ModelOutput
        >>> class Scores(ModelOutput):
        ...     loss: float | None = None
        ...     logits: Float[np.ndarray, "batch labels"] | None = None
        >>> model = table_model(Scores(logits=np.ones((2, 3), np.float32)))
        >>> row = model.fields[0].row
        >>> row.label, row.dtype, str(row.size), model.missing[0].returned_when
        ('logits', 'f32', '24 B', 'labels are passed')
    """
    cls = type(output)
    schemas: Mapping[str, Schema] = _or_else({}, schema_of, cls)
    fields = tuple(_field(name, value, schemas.get(name, UNKNOWN)) for name, value in output.items())
    missing = tuple(
        MissingField(_printable(name), _printable(_or_else("the model has it", returned_when, cls, name)))
        for name in cls.__output_fields__
        if name not in output
    )
    size = _or_else(Size(0, is_exact=False), _size, output)
    return TableModel(_printable(cls.__name__), fields, missing, size or Size(0, is_exact=True))


def _or_else(fallback: Result, function: Callable[..., Result], *arguments: Any) -> Result:
    """Return what a function returns, or a fallback if it fails: the attributes of values may raise anything."""
    try:
        return function(*arguments)
    except Exception:  # noqa: BLE001  # a failing table would hide the output that it should show
        return fallback


# -- rows -------------------------------------------------------------------------------------------------------------


def _field(name: str, value: Any, schema: Schema) -> FieldRows:
    unknown = Row(_printable(name), (StyledText("cannot be shown"),), _printable(type(value).__name__), "", None)
    return _or_else(FieldRows(unknown), _field_with_entries, name, value, schema)


def _field_with_entries(name: str, value: Any, schema: Schema) -> FieldRows:
    row = _row(name, value, schema)
    entries = _entries(value, schema)
    left_out = max(len(entries) - 2 * SHOWN_AT_EACH_END, 0)
    split = SHOWN_AT_EACH_END if left_out else len(entries)
    first, last = entries[:split], entries[split + left_out :]
    return FieldRows(row, tuple(_row(*entry) for entry in first), left_out, tuple(_row(*entry) for entry in last))


def _row(label: str, value: Any, schema: Schema) -> Row:
    arrays = distinct_arrays(value)
    dtypes = [short_dtype(array.dtype) for array in arrays] or ([] if value is None else [type(value).__name__])
    devices = [device for array in arrays for device in _or_else([], _devices, array)]
    return Row(_printable(label), _cut(_shape(value, schema)), _listed(dtypes), _listed(devices), _size(value))


def _entries(value: Any, schema: Schema) -> list[tuple[str, Any, Any]]:
    """Return label, value and schema of each entry of a value that has entries."""
    items = children(value)
    schemas = _or_else(None, _item_schemas, value, schema) or [UNKNOWN] * len(items)
    return [(str(key), item, own) for (key, item), own in zip(items, schemas, strict=True)]


def _item_schemas(value: Any, schema: Schema) -> list[Schema] | None:
    cls = cast("type[Any]", type(value))
    if hasattr(cls, "__output_fields__"):  # an output within an output
        return [schema_of(cls)[name] for name in value.keys()]  # noqa: SIM118
    return item_schemas(matching_option(schema, value), value)


# -- shapes -----------------------------------------------------------------------------------------------------------


def _shape(value: Any, schema: Schema) -> Text:
    """Describe a value: `batch 2 × seq 8`, `7 × (batch 2 × seq 8)`; runs of equal entries are counted."""
    if is_array(value):
        return _array_shape(value, schema)
    if value is None:
        return (StyledText("not asked for", is_dim=True),)
    if is_nested(value):
        return _runs([(item, own) for _, item, own in _entries(value, schema)])
    return (StyledText(_printable(summary(value))),)


def _runs(items: list[tuple[Any, Any]]) -> Text:
    """Count runs of equal entries: `7 × (batch 2)`, or `2 of 7 × (batch 2)` if the other five are None."""
    if not items:
        return (StyledText("empty", is_dim=True),)
    present = [item for item in items if item[0] is not None]
    runs = [(text, len(list(run))) for text, run in groupby(_entry_shape(*item) for item in present)]
    share = f"{len(present)} of {len(items)}"
    if len(runs) == 1 and len(present) < len(items):
        return _counted(runs[0][0], share)
    counted = _joined([_counted(text, str(count) if count > 1 else "") for text, count in runs], ", ")
    if len(present) == len(items):
        return counted
    return (StyledText(f"{share}: "), *counted) if counted else (StyledText(f"{share} asked for", is_dim=True),)


def _entry_shape(value: Any, schema: Schema) -> Text:
    text = _shape(value, schema)
    return _in_parentheses(text) if is_nested(value) else text


def _counted(text: Text, count: str) -> Text:
    if not count:
        return text
    has_parts = len(text) > 1 and text[0].text != "("
    return (StyledText(f"{count} × "), *(_in_parentheses(text) if has_parts else text))


def _array_shape(array: Any, schema: Schema) -> Text:
    sizes = shape_of(array)
    if sizes is None:
        return (StyledText("of unknown rank"),)
    if not sizes:
        return (StyledText("scalar"),)
    names = _or_else(None, _axis_names, array, schema) or ("_",) * len(sizes)
    return _joined([_axis(name, size) for name, size in zip(names, sizes, strict=True)], " × ")


def _axis_names(array: Any, schema: Schema) -> tuple[str, ...] | None:
    return axes_of(matching_option(schema, array), len(array.shape))


def _axis(name: str, size: Any) -> Text:
    """Return one size with its axis name, unless that is `_` or a number."""
    text = "?" if size is None else _printable(str(size))
    name = name.lstrip("#?").partition("=")[0]  # jaxtyping's marks: broadcasts, differs per leaf, has this size
    if name == "_" or name.isdigit():
        return (StyledText(text),)
    return StyledText(_printable(name), is_dim=True), StyledText(f"\N{NO-BREAK SPACE}{text}")


def _joined(texts: Iterable[Text], separator: str) -> Text:
    pieces: list[StyledText] = []
    for text in texts:
        pieces += [StyledText(separator), *text] if pieces else text
    return tuple(pieces)


def _in_parentheses(text: Text) -> Text:
    return StyledText("("), *text, StyledText(")")


def _cut(text: Text) -> Text:
    """Cut a text off at the length of a cell."""
    room, kept = LONGEST, list[StyledText]()
    for piece in text:
        if len(piece.text) > room:
            return (*kept, StyledText(f"{piece.text[:room]} …"))
        kept.append(piece)
        room -= len(piece.text)
    return tuple(kept)


def _listed(names: Iterable[str]) -> str:
    return _printable(", ".join(dict.fromkeys(names)), LONGEST // 4)


def _printable(text: str, longest: int = LONGEST) -> str:
    """Return a text on one line, cut off at a length."""
    return printable(text if len(text) <= longest else f"{text[:longest]} …")


# -- arrays -----------------------------------------------------------------------------------------------------------


def _devices(array: Any) -> list[str]:
    devices: Callable[[], Iterable[Any]] | None = getattr(array, "devices", None)  # JAX arrays may be on several
    if devices is not None:
        return sorted(map(str, devices()))
    # TensorFlow names devices by a path that ends in `device:CPU:0`.
    device = str(getattr(array, "device", "")).rpartition("device:")
    return [device[2].lower() if device[1] else device[2]] if device[2] else []


def _size(value: Any) -> Size | None:
    counts = [_or_else(None, _bytes, array) for array in distinct_arrays(value)]
    return Size(sum(count or 0 for count in counts), is_exact=None not in counts) if counts else None


def _bytes(array: Any) -> int | None:
    sizes = shape_of(array)
    # TensorFlow's dtypes have a `size` instead, which is 0 for strings.
    width = getattr(array.dtype, "itemsize", None) or getattr(array.dtype, "size", None)
    if sizes is None or not width or not all(isinstance(size, int) for size in sizes):
        return None
    return math.prod(sizes) * width


def _with_unit(count: int) -> str:
    value, units = float(count), iter(("KiB", "MiB", "GiB", "TiB", "PiB"))
    unit = "B"
    while value >= 1024 and (larger := next(units, None)) is not None:
        value, unit = value / 1024, larger
    digits = 0 if unit == "B" or value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"
