"""Fills an output from what its constructor was given: keywords, positions, one mapping or one iterable of pairs.

This is the general and slower way. The constructor that `definition` generates takes it for anything but keywords.
"""

import dataclasses
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from typing import Any, cast

from ..errors import UsageError
from .fields import field_names, fields_of, set_field, unknown_field

__all__ = ["NotGiven", "build"]


class NotGiven:
    """Default of a parameter whose field has a factory. A class, because compilers treat classes as constants."""


def build(output: Any, values: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Set all fields of a new output.

    Args:
        output: the output, without values yet.
        values: positional arguments of its constructor.
        named: keyword arguments of its constructor.

    Raises:
        UsageError: a field is unknown or given twice, or there are more values than fields.
    """
    given = _given_by_position(output, values)
    for name, value in named.items():
        if name not in fields_of(output):
            raise UsageError(unknown_field(output, name))
        if value is NotGiven or value is fields_of(output)[name].default:
            continue  # the generated constructor passes on the defaults of all its parameters
        if name in given:
            raise UsageError(f"{type(output).__name__} was given {name!r} twice, by position and by keyword")
        given[name] = value
    for name, field in fields_of(output).items():
        set_field(output, name, given[name] if name in given else _default(field))


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _given_by_position(output: Any, values: tuple[Any, ...]) -> dict[str, Any]:
    """Name the positional arguments: fields in order, or one mapping of fields, or one iterable of pairs."""
    names = field_names(output)
    if len(values) == 1 and (pairs := _as_pairs(output, values[0])) is not None:
        return _named_once(output, pairs)
    if len(values) > len(names):
        expected = f"at most {len(names)} values ({', '.join(names)})"
        raise UsageError(f"{type(output).__name__} takes {expected}, got {len(values)}")
    return dict(zip(names, values, strict=False))


def _as_pairs(output: Any, value: Any) -> Iterable[Any] | None:
    """Return the pairs that a lone argument holds; None if it is the first field's value."""
    fields = fields_of(output)
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return mapping.items() if not mapping or any(name in fields for name in mapping) else None
    if isinstance(value, (Iterator, ItemsView)):
        return cast("Iterable[Any]", value)
    if isinstance(value, (list, tuple)) and value:
        items = cast("list[Any]", value)
        names_field = any(_is_named_pair(item) and item[0] in fields for item in items)
        return items if names_field or all(map(_is_named_pair, items)) else None
    return None


def _is_named_pair(value: Any) -> bool:
    return type(value) is tuple and _is_pair(value) and isinstance(value[0], str)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(cast("list[Any]", value)) == 2


def _named_once(output: Any, pairs: Iterable[Any]) -> dict[str, Any]:
    owner = type(output).__name__
    given: dict[str, Any] = {}
    for pair in pairs:
        if not _is_pair(pair):
            raise UsageError(f"{owner} takes (name, value) pairs, got {type(pair).__name__}")
        name, value = cast("tuple[Any, Any]", pair)
        if not isinstance(name, str):
            raise UsageError(f"{owner} takes field names as keys, got {name!r} of {type(name).__name__}")
        if name not in fields_of(output):
            raise UsageError(unknown_field(output, name))
        if name in given:
            raise UsageError(f"{owner} was given {name!r} twice")
        given[name] = value
    return given
