"""What an output holds, field by field: shapes with axis names, dtypes, devices and bytes; for tables of any look.

Nothing here raises, whatever the fields hold: tables are drawn unasked, in the middle of somebody's work.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, TypeVar, cast

from ..output.contract import returned_when
from ..output.nested import children, distinct_arrays, is_array, is_nested
from ..output.protocol import OutputLike
from ..output.schema import UNKNOWN, Schema, axes_of, item_schemas, matching_option, schema_of
from .text import dtype_of, shape_of, summary

__all__ = ["Absent", "Field", "Inventory", "Line", "Size", "Span", "take_inventory"]

Result = TypeVar("Result")

SHOWN_AT_EACH_END = 12
"""Entries of a field that are shown one by one: so many first ones, and so many last ones."""

LONGEST = 240
"""Characters of one cell. What is cut off is what a table could not show legibly either."""


class Span(NamedTuple):
    """A piece of text. A quiet one is there to be read second: an axis' name, a word for what is not there."""

    text: str
    is_quiet: bool = False


Text = tuple[Span, ...]


@dataclass(frozen=True)
class Size:
    """Bytes that arrays take by their own shape and dtype, a view as much as a copy."""

    count: int
    is_exact: bool
    """False where a size is not known, as in a trace: it is then not counted."""

    def __str__(self) -> str:
        if not self.is_exact:
            return f"at least {_with_unit(self.count)}" if self.count else "unknown"
        return _with_unit(self.count)


@dataclass(frozen=True)
class Line:
    """One row of a table: a field, or one entry of a field."""

    label: str
    shape: Text
    dtype: str
    """The type's name where the value is no array."""

    device: str
    size: Size | None
    """None where there is no array."""


@dataclass(frozen=True)
class Field:
    """A field, and its entries where it holds several: the first, how many are left out, and the last."""

    line: Line
    first: tuple[Line, ...] = ()
    left_out: int = 0
    last: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Absent:
    """A field that is None, and what makes a model return it."""

    name: str
    returned_when: str


@dataclass(frozen=True)
class Inventory:
    """All that an output holds, and what it could hold."""

    title: str
    fields: tuple[Field, ...]
    absent: tuple[Absent, ...]
    size: Size
    """Of all fields together; an array that stands in two places is counted once."""


def take_inventory(output: OutputLike) -> Inventory:
    """List what an output holds."""
    cls = type(output)
    schemas: Mapping[str, Schema] = _or_else({}, schema_of, cls)
    fields = tuple(_field(name, value, schemas.get(name, UNKNOWN)) for name, value in output.items())
    absent = tuple(
        Absent(_printable(name), _printable(_or_else("the model has it", returned_when, cls, name)))
        for name in cls.__output_fields__
        if name not in output
    )
    size = _or_else(Size(0, is_exact=False), _size, output)
    return Inventory(_printable(cls.__name__), fields, absent, size or Size(0, is_exact=True))


def _or_else(otherwise: Result, function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function, or return something else where it fails: values may be anything, and their attributes too."""
    try:
        return function(*arguments)
    except Exception:  # noqa: BLE001  # a table that fails would hide the output that it is of
        return otherwise


# -- lines ------------------------------------------------------------------------------------------------------------


def _field(name: str, value: Any, schema: Schema) -> Field:
    unknown = Line(_printable(name), (Span("cannot be shown"),), _printable(type(value).__name__), "", None)
    return _or_else(Field(unknown), _field_with_entries, name, value, schema)


def _field_with_entries(name: str, value: Any, schema: Schema) -> Field:
    line = _line(name, value, schema)
    entries = _entries(value, schema)
    left_out = max(len(entries) - 2 * SHOWN_AT_EACH_END, 0)
    split = SHOWN_AT_EACH_END if left_out else len(entries)
    first, last = entries[:split], entries[split + left_out :]
    return Field(line, tuple(_line(*entry) for entry in first), left_out, tuple(_line(*entry) for entry in last))


def _line(label: str, value: Any, schema: Schema) -> Line:
    arrays = distinct_arrays(value)
    dtypes = [dtype_of(array) for array in arrays] or ([] if value is None else [type(value).__name__])
    devices = [device for array in arrays for device in _or_else([], _devices, array)]
    return Line(_printable(label), _cut(_shape(value, schema)), _listed(dtypes), _listed(devices), _size(value))


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
    """Describe a value: `batch 2 × seq 8`, `7 × (batch 2 × seq 8)`; runs of like entries are counted."""
    if is_array(value):
        return _array_shape(value, schema)
    if value is None:
        return (Span("not asked for", is_quiet=True),)
    if is_nested(value):
        return _runs([(item, own) for _, item, own in _entries(value, schema)])
    return (Span(_printable(summary(value))),)


def _runs(items: list[tuple[Any, Any]]) -> Text:
    """Count like entries: `7 × (batch 2)`, or `2 of 7 × (batch 2)` where the other five are placeholders."""
    if not items:
        return (Span("empty", is_quiet=True),)
    present = [item for item in items if item[0] is not None]
    runs = [(text, len(list(run))) for text, run in groupby(_entry_shape(*item) for item in present)]
    share = f"{len(present)} of {len(items)}"
    if len(runs) == 1 and len(present) < len(items):
        return _counted(runs[0][0], share)
    counted = _joined([_counted(text, str(count) if count > 1 else "") for text, count in runs], ", ")
    if len(present) == len(items):
        return counted
    return (Span(f"{share}: "), *counted) if counted else (Span(f"{share} asked for", is_quiet=True),)


def _entry_shape(value: Any, schema: Schema) -> Text:
    text = _shape(value, schema)
    return _in_parentheses(text) if is_nested(value) else text


def _counted(text: Text, count: str) -> Text:
    if not count:
        return text
    has_parts = len(text) > 1 and text[0].text != "("
    return (Span(f"{count} × "), *(_in_parentheses(text) if has_parts else text))


def _array_shape(array: Any, schema: Schema) -> Text:
    sizes = shape_of(array)
    if sizes is None:
        return (Span("of unknown rank"),)
    if not sizes:
        return (Span("scalar"),)
    names = _or_else(None, _axis_names, array, schema) or ("_",) * len(sizes)
    return _joined([_axis(name, size) for name, size in zip(names, sizes, strict=True)], " × ")


def _axis_names(array: Any, schema: Schema) -> tuple[str, ...] | None:
    return axes_of(matching_option(schema, array), len(array.shape))


def _axis(name: str, size: Any) -> Text:
    """Name one size, unless its class names it `_`, or by the number that it is."""
    text = "?" if size is None else _printable(str(size))
    name = name.lstrip("#?").partition("=")[0]  # jaxtyping's marks: may be 1, differs per leaf, of this size
    if name == "_" or name.isdigit():
        return (Span(text),)
    return Span(_printable(name), is_quiet=True), Span(f"\N{NO-BREAK SPACE}{text}")


def _joined(texts: Iterable[Text], separator: str) -> Text:
    spans: list[Span] = []
    for text in texts:
        spans += [Span(separator), *text] if spans else text
    return tuple(spans)


def _in_parentheses(text: Text) -> Text:
    return Span("("), *text, Span(")")


def _cut(text: Text) -> Text:
    """Leave as much of a text as a cell has room for."""
    room, kept = LONGEST, list[Span]()
    for span in text:
        if len(span.text) > room:
            return (*kept, Span(f"{span.text[:room]} …"))
        kept.append(span)
        room -= len(span.text)
    return tuple(kept)


def _listed(names: Iterable[str]) -> str:
    return _printable(", ".join(dict.fromkeys(names)), LONGEST // 4)


def _printable(text: str, longest: int = LONGEST) -> str:
    """Return a text on one line: what would move the cursor or turn the direction of writing is spelled out."""
    kept = text if len(text) <= longest else f"{text[:longest]} …"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in kept)


# -- arrays -----------------------------------------------------------------------------------------------------------


def _devices(array: Any) -> list[str]:
    devices: Callable[[], Iterable[Any]] | None = getattr(array, "devices", None)  # JAX: there may be several
    if devices is not None:
        return sorted(map(str, devices()))
    # TensorFlow's name for one is a path, whose end tells.
    device = str(getattr(array, "device", "")).rpartition("device:")
    return [device[2].lower() if device[1] else device[2]] if device[2] else []


def _size(value: Any) -> Size | None:
    counts = [_or_else(None, _bytes, array) for array in distinct_arrays(value)]
    return Size(sum(count or 0 for count in counts), is_exact=None not in counts) if counts else None


def _bytes(array: Any) -> int | None:
    sizes = shape_of(array)
    # TensorFlow's dtypes have a `size`, which is 0 where elements are of no fixed one, as strings are.
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
