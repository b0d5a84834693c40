"""Checks the values of an output against the annotations of its fields, axis names bound across all fields."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from ..display.text import summary
from ..errors import ContractError
from .nested import children
from .protocol import OutputLike
from .schema import (
    ArraySchema,
    MappingSchema,
    OtherSchema,
    Schema,
    SequenceSchema,
    TupleSchema,
    UnionSchema,
    describe,
    is_optional,
    options_of,
    schema_of,
    without_none,
)

__all__ = ["check"]

Output = TypeVar("Output", bound=OutputLike)

Bound = dict[str, int]
"""Sizes of the axes seen so far, by name."""


def check(output: Output) -> Output:
    """Check every present field of an output against its annotation and return the output.

    Axis names are bound across all fields: a `batch` of 2 in `logits` is a `batch` of 2 in every hidden state.
    Never run implicitly in a forward pass.

    Raises:
        ContractError: naming the first field that differs, what was expected and what was found.

    Examples:
        >>> import numpy as np
        >>> from jaxtyping import Float
        >>> from modeloutputs import ModelOutput, check
        >>> class Scores(ModelOutput):
        ...     scores: Float[np.ndarray, "batch labels"] | None = None
        >>> check(Scores(scores=np.zeros((2, 3)))).scores.shape
        (2, 3)
        >>> check(Scores(scores=np.zeros(2)))
        Traceback (most recent call last):
        modeloutputs.errors.ContractError: Scores.scores: expected Float[batch labels], found f64[2]
    """
    from jaxtyping import jaxtyped  # pyright: ignore[reportUnknownVariableType]

    schemas = schema_of(type(output))
    bound: Bound = {}
    with jaxtyped("context"):
        for name, value in output.items():
            fault = _field_fault(value, without_none(schemas[name]), name, bound)
            if fault is not None:
                raise ContractError(f"{type(output).__name__}.{fault}")
    return output


def _field_fault(value: Any, schema: Schema, name: str, bound: Bound) -> str | None:
    from jaxtyping import AnnotationError

    try:
        return _fault(value, schema, name, bound)
    except AnnotationError:
        return f"{name}: expected {describe(schema)}, computed from axes that no field before it gives"


def _fault(value: Any, schema: Any, where: str, bound: Bound) -> str | None:
    """Return what is wrong with a value, or None; axes of arrays that fit are added to `bound`."""
    return _FAULTS[type(schema)](value, schema, where, bound)


def _union_fault(value: Any, schema: UnionSchema, where: str, bound: Bound) -> str | None:
    if value is None and is_optional(schema):
        return None
    faults: list[str] = []
    for option in options_of(schema):
        fault = _fault(value, option, where, bound)
        if fault is None:
            return None
        faults.append(fault)
    # The alternative that fails deepest inside the value is the one that was meant.
    return max(faults, key=lambda fault: len(fault.partition(":")[0]))


def _tuple_fault(value: Any, schema: TupleSchema, where: str, bound: Bound) -> str | None:
    if not isinstance(value, tuple) or len(cast("tuple[Any, ...]", value)) != len(schema.items):
        return f"{where}: expected a tuple of {len(schema.items)}, found {summary(value)}"
    return _first_fault(value, schema.items, where, bound)


def _sequence_fault(value: Any, schema: SequenceSchema, where: str, bound: Bound) -> str | None:
    if not isinstance(value, schema.kind):
        return f"{where}: expected a {schema.kind.__name__}, found {summary(value)}"
    return _first_fault(value, [schema.item] * len(value), where, bound)


def _mapping_fault(value: Any, schema: MappingSchema, where: str, bound: Bound) -> str | None:
    if not isinstance(value, Mapping):
        return f"{where}: expected a mapping, found {summary(value)}"
    return _first_fault(value, [schema.item] * len(cast("Any", value)), where, bound)


def _first_fault(value: Any, schemas: Iterable[Schema], where: str, bound: Bound) -> str | None:
    items = zip(schemas, children(value), strict=True)
    faults = (_fault(item, schema, f"{where}[{key!r}]", bound) for schema, (key, item) in items)
    return next(filter(None, faults), None)


def _array_fault(value: Any, schema: ArraySchema, where: str, bound: Bound) -> str | None:
    if isinstance(value, schema.annotation):
        bound.update(_sizes_by_name(schema, tuple(value.shape)))
        return None
    known = ", ".join(f"{axis}={bound[axis]}" for axis in schema.axes if axis in bound)
    expected = f"{schema.dtype}[{' '.join(schema.axes)}]" + (f" with {known}" if known else "")
    found = summary(value)
    if schema.array_type is not Any and not isinstance(value, schema.array_type):
        found += f" of {type(value).__name__}"
    return f"{where}: expected {expected}, found {found}"


def _sizes_by_name(schema: ArraySchema, shape: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    if len(schema.axes) == len(shape):
        yield from ((name, size) for name, size in zip(schema.axes, shape, strict=True) if name.isidentifier())


def _other_fault(value: Any, schema: OtherSchema, where: str, bound: Bound) -> str | None:
    annotation = schema.annotation
    try:
        if not isinstance(annotation, type) or isinstance(value, annotation):
            return None
    except TypeError:
        return None  # a TypedDict, a protocol: `isinstance` cannot tell
    return f"{where}: expected {annotation.__name__}, found {summary(value)} of {type(value).__name__}"


_FAULTS: dict[type, Callable[[Any, Any, str, Bound], str | None]] = {
    ArraySchema: _array_fault,
    TupleSchema: _tuple_fault,
    SequenceSchema: _sequence_fault,
    MappingSchema: _mapping_fault,
    UnionSchema: _union_fault,
    OtherSchema: _other_fault,
}
