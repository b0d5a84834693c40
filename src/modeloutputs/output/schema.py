"""Annotations of fields, parsed once into schemas. No other module interprets `typing` annotations.

An annotation is `Float[Tensor, "batch seq hidden"]`, or tuples, lists, mappings and unions of such. Anything else
becomes an `OtherSchema`, which says nothing about arrays.
"""

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

from ..errors import ContractError
from .nested import children
from .protocol import OutputLike

__all__ = [
    "UNKNOWN",
    "ArraySchema",
    "MappingSchema",
    "OtherSchema",
    "Schema",
    "SequenceSchema",
    "TupleSchema",
    "UnionSchema",
    "axes_of",
    "describe",
    "is_optional",
    "item_schemas",
    "matches_structure",
    "matching_option",
    "names_axes",
    "options_of",
    "parse",
    "schema_of",
    "without_none",
]


@dataclass(frozen=True)
class ArraySchema:
    """An array: `Float[Tensor, "batch seq"]`."""

    annotation: Any
    """The jaxtyping class, for `isinstance`."""

    axes: tuple[str, ...] = field(init=False, compare=False, repr=False)
    """Axis names as written, with jaxtyping's marks: `batch`, `2`, `batch*choices`, `...`, `*rest`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", tuple(self.annotation.dim_str.split()))

    @property
    def dtype(self) -> str:
        """The dtypes allowed, by jaxtyping's name: `Float`, `Int`."""
        return self.annotation.__name__.partition("[")[0]

    @property
    def array_type(self) -> Any:
        """The framework's class of arrays."""
        return self.annotation.array_type


@dataclass(frozen=True)
class TupleSchema:
    """A tuple of so many items, each with a schema of its own: `tuple[X, Y]`."""

    items: "tuple[Schema, ...]"


@dataclass(frozen=True)
class SequenceSchema:
    """A tuple or list of any number of items of one schema: `tuple[X, ...]`, `list[X]`."""

    kind: type
    item: "Schema"


@dataclass(frozen=True)
class MappingSchema:
    """A mapping whose values have one schema: `dict[str, X]`."""

    kind: type
    item: "Schema"


@dataclass(frozen=True)
class UnionSchema:
    """One of several alternatives, or None where the union is optional: `X | Y | None`."""

    options: "tuple[Schema, ...]"
    is_optional: bool


@dataclass(frozen=True)
class OtherSchema:
    """Any other annotation: a class, `Any`, a literal."""

    annotation: Any


Schema = ArraySchema | TupleSchema | SequenceSchema | MappingSchema | UnionSchema | OtherSchema

UNKNOWN = OtherSchema(Any)
"""The schema of a value that no annotation describes."""

_BARE: tuple[Any, ...] = (tuple, list, typing.Tuple, typing.List)  # noqa: UP006  # users may annotate with the latter

_schemas: dict[type, dict[str, Schema]] = {}


def schema_of(cls: type[OutputLike]) -> Mapping[str, Schema]:
    """Return the schema of each field of an output class, in declared order.

    Raises:
        ContractError: an annotation refers to a name that cannot be found.

    Examples:
        >>> from modeloutputs import ModelOutput
        >>> class Scores(ModelOutput):
        ...     scores: list[float] | None = None
        >>> describe(schema_of(Scores)["scores"])
        'list of float'
    """
    if cls not in _schemas:  # a dictionary, because compilers trace into `functools.cache`
        _schemas[cls] = {name: parse(annotation) for name, annotation in _annotations(cls).items()}
    return _schemas[cls]


def _annotations(cls: type[OutputLike]) -> dict[str, Any]:
    try:
        annotations = typing.get_type_hints(cls)
    except (NameError, AttributeError, SyntaxError) as error:
        raise ContractError(f"{cls.__name__}: an annotation cannot be resolved ({error}); import that name") from None
    return {name: annotations[name] for name in cls.__output_fields__}


# -- parsing --------------------------------------------------------------------------------------------------------


def parse(annotation: Any) -> Schema:
    """Return the schema of an annotation.

    Examples:
        >>> parse(tuple[int, str])
        TupleSchema(items=(OtherSchema(annotation=<class 'int'>), OtherSchema(annotation=<class 'str'>)))
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if hasattr(annotation, "dim_str"):
        return ArraySchema(annotation)
    if origin in (typing.Union, types.UnionType):
        return _parse_union(arguments)
    if annotation in _BARE:
        return SequenceSchema(origin or annotation, UNKNOWN)
    if origin is tuple and ... not in arguments:
        return TupleSchema(tuple(map(parse, arguments)))
    if origin in (tuple, list):
        return SequenceSchema(origin, parse(arguments[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return MappingSchema(cast("type", origin), parse(arguments[1]) if len(arguments) == 2 else UNKNOWN)
    return OtherSchema(annotation)


def _parse_union(arguments: tuple[Any, ...]) -> Schema:
    options = tuple(parse(argument) for argument in arguments if argument is not type(None))
    return UnionSchema(options, is_optional=len(options) < len(arguments))


# -- what a schema says ---------------------------------------------------------------------------------------------


def options_of(schema: Schema) -> tuple[Schema, ...]:
    """Return the alternatives of a union, None aside; any other schema is its own only alternative."""
    return schema.options if isinstance(schema, UnionSchema) else (schema,)


def is_optional(schema: Schema) -> bool:
    """Return whether a field with this schema may be None."""
    return isinstance(schema, UnionSchema) and schema.is_optional


def without_none(schema: Schema) -> Schema:
    """Return the schema of the values that are not None.

    Examples:
        >>> without_none(parse(int | None))
        OtherSchema(annotation=<class 'int'>)
    """
    if not isinstance(schema, UnionSchema):
        return schema
    return schema.options[0] if len(schema.options) == 1 else UnionSchema(schema.options, is_optional=False)


def names_axes(schema: Schema) -> bool:
    """Return whether the schema is, somewhere within it, of arrays with named axes."""
    if isinstance(schema, (SequenceSchema, MappingSchema)):
        return names_axes(schema.item)
    parts = schema.items if isinstance(schema, TupleSchema) else options_of(schema)
    return isinstance(schema, ArraySchema) or any(names_axes(part) for part in parts if part is not schema)


def axes_of(schema: Schema, rank: int) -> tuple[str, ...] | None:
    """Return one axis name for each of `rank` axes; None if the schema is not of arrays with so many.

    Several axes under one name (`...`, `*rest`) are named `_` each.

    Examples:
        >>> import numpy as np
        >>> from jaxtyping import Float
        >>> axes_of(parse(Float[np.ndarray, "batch ... hidden"]), 4)
        ('batch', '_', '_', 'hidden')
    """
    if not isinstance(schema, ArraySchema):
        return None
    names = schema.axes
    for i, name in enumerate(names):
        if name == "..." or name.startswith("*"):
            names = (*names[:i], *["_"] * max(rank - len(names) + 1, 0), *names[i + 1 :])
            break
    return names if len(names) == rank else None


# -- schemas and values ---------------------------------------------------------------------------------------------


def matching_option(schema: Schema, value: Any) -> Schema:
    """Return the first alternative whose structure and numbers of axes a value has; else the first of all.

    Examples:
        >>> import numpy as np
        >>> from jaxtyping import Float
        >>> loss = parse(Float[np.ndarray, ""] | Float[np.ndarray, "parts"])
        >>> describe(matching_option(loss, np.ones(3)))
        '(parts)'
    """
    options = options_of(schema)
    if len(options) == 1:
        return options[0]
    return next((option for option in options if matches_structure(option, value)), options[0])


def matches_structure(schema: Schema, value: Any) -> bool:
    """Return whether a value nests as its schema does, with as many axes in each array; None fits any item."""
    if isinstance(schema, UnionSchema):
        return any(matches_structure(option, value) for option in schema.options)
    schemas = item_schemas(schema, value)
    if schemas is not None:
        pairs = zip(schemas, children(value), strict=True)
        return all(item is None or matches_structure(own, item) for own, (_, item) in pairs)
    return isinstance(schema, ArraySchema) and hasattr(value, "shape") and axes_of(schema, len(value.shape)) is not None


def item_schemas(schema: Schema, value: Any) -> list[Schema] | None:
    """Return the schema of each item of a tuple, list or mapping; None if the schema is not of such a value."""
    if isinstance(schema, SequenceSchema) and isinstance(value, (tuple, list)):
        return [schema.item] * len(cast("list[Any]", value))
    if isinstance(schema, TupleSchema) and isinstance(value, (tuple, list)):
        return list(schema.items) if len(cast("list[Any]", value)) == len(schema.items) else None
    if isinstance(schema, MappingSchema) and isinstance(value, Mapping):
        return [schema.item] * len(cast("Mapping[Any, Any]", value))
    return None


# -- schemas as text ------------------------------------------------------------------------------------------------


def describe(schema: Schema) -> str:
    """Write a schema for a table: `(batch seq hidden)`, `tuple of (batch seq hidden)`.

    Examples:
        >>> describe(parse(dict[str, int | str] | None))
        'dict of int or str'
    """
    if isinstance(schema, UnionSchema):
        return _describe_options(list(dict.fromkeys(map(describe, schema.options))))
    if isinstance(schema, TupleSchema):
        runs = [(text, len(list(run))) for text, run in groupby(map(describe, schema.items))]
        return " + ".join(text if count == 1 else f"{count} x {text}" for text, count in runs) or "empty tuple"
    if isinstance(schema, (SequenceSchema, MappingSchema)):
        has_items = schema.kind in (tuple, list, dict) and schema.item != UNKNOWN
        return f"{schema.kind.__name__} of {describe(schema.item)}" if has_items else schema.kind.__name__
    if isinstance(schema, ArraySchema):
        return f"({' '.join(schema.axes)})"
    return getattr(schema.annotation, "__name__", str(schema.annotation))


def _describe_options(texts: list[str]) -> str:
    """Join alternatives; where the second only adds to the first, say just what it adds."""
    if len(texts) == 2 and texts[1].startswith(texts[0]):
        return f"{texts[0]} [{texts[1].removeprefix(texts[0]).strip()}]"
    return " or ".join(texts)
