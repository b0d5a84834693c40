"""Flattens outputs into their arrays, each with its axis names, and builds outputs from what is computed of them.

An operation flattens its outputs once, looks at the arrays as often as it needs to, and computes from the arrays in
each place what one or several results hold there.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from ..arrays import tracing
from ..arrays.backends import get_backend, shapes_of
from ..arrays.base import Backend, Shapes
from ..display.text import summary
from ..errors import ContractError, UsageError
from ..output import ModelOutput, field_names
from ..output.contract import has_rows
from ..output.nested import ArrayMemo, children, flat_name, is_array, is_nested, rebuild, walk
from ..output.schema import UNKNOWN, Schema, axes_of, item_schemas, matching_option, names_axes, options_of, schema_of

__all__ = ["FlatOutputs", "Leaf", "fields_within", "skip_autograph"]

Output = TypeVar("Output", bound=ModelOutput)
Function = TypeVar("Function", bound=Callable[..., Any])

_plain: type[dict[str, Any]] = dict
"""Reads fields without the look at the key that outputs take."""


def skip_autograph(function: Function) -> Function:
    """Keep TensorFlow's AutoGraph from rewriting a function and, for seconds, all that is called from it."""
    cast("Any", function).autograph_info__ = None
    return function


def fields_within(output: ModelOutput) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each field of an output and of the outputs within it, absent ones as None."""
    for _, value in walk(output):
        if isinstance(value, ModelOutput):
            yield from ((name, value.get(name)) for name in field_names(value))


# -- leaves ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Leaf:
    """The arrays in one place of outputs of one structure."""

    path: str
    axes: tuple[str, ...]
    """The name of each axis."""

    field: str
    """The innermost field that holds them."""

    fill: float
    """The padding value of this field, unless the caller passes another."""

    arrays: Sequence[Any] = ()
    """One array of each output."""

    shapes: Shapes = dataclasses.field(default=(), compare=False, repr=False)
    """The shape of each array: frameworks take long to tell them, so they are asked once."""

    @property
    def row_axis(self) -> int | None:
        """The axis along the rows; None if there is none."""
        return _row_axis(self.axes)

    @property
    def array(self) -> Any:
        """The array of the first output."""
        return self.arrays[0]

    @property
    def backend(self) -> Backend:
        """The operations on the first array."""
        return get_backend(self.arrays[0])


_row_axes: dict[tuple[str, ...], int | None] = {}


def _row_axis(axes: tuple[str, ...]) -> int | None:
    if axes in _row_axes:
        return _row_axes[axes]
    found = next((i for i, name in enumerate(axes) if has_rows(name)), None)
    if not tracing.in_compiler_trace():
        _row_axes[axes] = found
    return found


@dataclass(slots=True)
class _Place:
    """The place of a value in its output, with its schema."""

    path: str
    schema: Schema
    field: str
    fill: float

    def item(self, key: object, schema: Schema) -> "_Place":
        return _Place(flat_name(self.path, key), schema, self.field, self.fill)

    def within(self, prefix: str) -> "_Place":
        return _Place(prefix + self.path, self.schema, self.field, self.fill)


_places_of: dict[type[ModelOutput], dict[str, _Place]] = {}


def _places(cls: type[ModelOutput]) -> dict[str, _Place]:
    """Return the place of each field, cached in a dictionary because compilers trace into `functools.cache`."""
    if cls not in _places_of:
        schemas = schema_of(cls)
        _places_of[cls] = {
            name: _Place(name, schemas[name], name, declared.metadata.get("padding", 0))
            for name, declared in cls.__output_fields__.items()
        }
    return _places_of[cls]


# -- structure ------------------------------------------------------------------------------------------------------

Columns = list[list[Any]]
"""For each leaf, what each of the results holds in its place."""


class _Node(Protocol):
    """A value of the outputs' structure."""

    def build(self, columns: Columns, count: int) -> list[Any]:
        """Return this value in each of `count` results."""
        ...


@dataclass(slots=True)
class _ArrayNode:
    index: int

    def build(self, columns: Columns, count: int) -> list[Any]:
        return columns[self.index]


@dataclass(frozen=True)
class _ConstantNode:
    value: Any

    def build(self, columns: Columns, count: int) -> list[Any]:
        return [self.value] * count


@dataclass(frozen=True)
class _NestedNode:
    like: Any
    items: list[_Node]

    def build(self, columns: Columns, count: int) -> list[Any]:
        items = [item.build(columns, count) for item in self.items]
        return [rebuild(self.like, row) for row in _rows_of(items, count)]


@dataclass(frozen=True)
class _OutputNode:
    cls: type[ModelOutput]
    fields: dict[str, _Node]

    def build(self, columns: Columns, count: int) -> list[Any]:
        built = {name: node.build(columns, count) for name, node in self.fields.items()}
        present = {name: values for name, values in built.items() if values and values[0] is not None}
        names = list(present)
        return [self.cls.unflatten(names, row) for row in _rows_of(list(present.values()), count)]


def _rows_of(columns: Columns, count: int) -> Sequence[Sequence[Any]]:
    return list(zip(*columns, strict=True)) if columns else [()] * count


class FlatOutputs(Generic[Output]):
    """One output, or several of one class and structure, as a list of leaves.

    Arrays in two places are one leaf, and so one array in the results too. Placeholders and other values that are not
    arrays stay as they are.

    Args:
        outputs: the outputs.

    Attributes:
        cls: the class of the outputs.
        leaves: their arrays.

    Raises:
        UsageError: there is no output, or they differ in class, fields, layers or values that are not arrays.
        ContractError: an array's axes are unknown.
    """

    def __init__(self, outputs: Sequence[Output]) -> None:
        if not outputs:
            raise UsageError("outputs is empty; pass at least one output")
        self.cls = type(outputs[0])
        self.leaves: list[Leaf] = []
        self._memo = ArrayMemo()
        self._root = self._flatten_outputs(outputs, "")

    def map(self, function: Callable[[Leaf], Any]) -> Output:
        """Return an output with what the function returns for each leaf; a field for which that is None is absent."""
        return self.map_several(lambda leaf: [function(leaf)], 1)[0]

    def map_several(self, function: Callable[[Leaf], list[Any]], count: int) -> list[Output]:
        """Return several outputs: for each leaf the function returns what each of them holds in its place."""
        return self._root.build([function(leaf) for leaf in self.leaves], count)

    def _flatten_outputs(self, outputs: Sequence[ModelOutput], prefix: str) -> _OutputNode:
        first, cls = outputs[0], type(outputs[0])
        if not _are_alike(outputs):
            for i, other in enumerate(outputs):
                _check_alike(first, other, i)
        places = _places(cls)
        fields: dict[str, _Node] = {}
        for name in first.keys():  # noqa: SIM118  # keys() is the way that compilers trace
            place = places[name].within(prefix) if prefix else places[name]
            fields[name] = self._flatten(place, [_plain.__getitem__(output, name) for output in outputs])
        return _OutputNode(cls, fields)

    def _flatten(self, place: _Place, values: list[Any]) -> _Node:
        first = values[0]
        if is_array(first):
            return self._flatten_arrays(place, values)
        if isinstance(first, ModelOutput):
            return self._flatten_outputs(values, f"{place.path}.")
        if is_nested(first):
            return self._flatten_nested(place, values)
        if first is not None and names_axes(place.schema):
            raise _without_axes(place, first)  # it may hold arrays, which no operation would reach
        _check_equal(place, values)
        return _ConstantNode(first)

    def _flatten_arrays(self, place: _Place, arrays: list[Any]) -> _Node:
        leaf = _leaf(place, arrays)
        # With other axes, as an encoder's states among a decoder's have, the same array is treated in another way.
        index = self._memo.get(arrays, lambda: self._add(leaf), leaf.axes, leaf.fill)
        return _ArrayNode(index)

    def _add(self, leaf: Leaf) -> int:
        self.leaves.append(leaf)
        return len(self.leaves) - 1

    def _flatten_nested(self, place: _Place, values: list[Any]) -> _Node:
        first = values[0]
        keys = [key for key, _ in children(first)]
        # Usually all are tuples of one length: then no one of them needs a look of its own.
        if isinstance(first, Mapping) or len(set(map(type, values))) > 1 or len(set(map(len, values))) > 1:
            for i, value in enumerate(values):
                if not _same_kind(value, first) or len(value) != len(keys) or not _has_keys(value, keys):
                    raise _differing(place, first, value, i)
        schemas = item_schemas(matching_option(place.schema, first), first)
        if schemas is None and keys and names_axes(place.schema):
            raise _without_axes(place, first)
        schemas = schemas or [UNKNOWN] * len(keys)
        items = [
            self._flatten(place.item(key, schema), [value[key] for value in values])
            for key, schema in zip(keys, schemas, strict=True)
        ]
        return _NestedNode(first, items)


# -- axes -----------------------------------------------------------------------------------------------------------


def _leaf(place: _Place, arrays: list[Any]) -> Leaf:
    first = arrays[0]
    if len(set(map(type, arrays))) > 1:
        for i, array in enumerate(arrays):
            if not is_array(array):
                raise _differing(place, first, array, i)
    shapes = shapes_of(arrays)
    ranks = set(map(len, shapes))
    if len(ranks) > 1:
        # Outputs that were concatenated before have a list of losses, and others one loss.
        alike = {rank: _is_of_the_batch(place, rank) for rank in ranks}
        for i, shape in enumerate(shapes):
            if len(shape) != len(shapes[0]) and not (alike[len(shapes[0])] and alike[len(shape)]):
                raise _differing(place, first, arrays[i], i)
    axes = _axes(place.schema, max(ranks))
    if axes is None:
        raise _without_axes(place, first)
    return Leaf(place.path, axes, place.field, place.fill, arrays, shapes)


_axes_known: dict[tuple[int, int], tuple[Schema, tuple[str, ...] | None]] = {}
"""By the identity of a schema, which is kept, and the number of axes. Not by the schema: some are slow to hash."""


def _axes(schema: Schema, rank: int) -> tuple[str, ...] | None:
    """Return the axis names of arrays with so many axes; None if the schema is not of such."""
    if tracing.in_compiler_trace():
        return _find_axes(schema, rank)
    known = _axes_known.get((id(schema), rank))
    if known is None:
        known = _axes_known[id(schema), rank] = schema, _find_axes(schema, rank)
    return known[1]


def _find_axes(schema: Schema, rank: int) -> tuple[str, ...] | None:
    found = (axes_of(option, rank) for option in options_of(schema))
    axes = next((axes for axes in found if axes is not None), None)
    if axes is None and not rank and not names_axes(schema):
        return ()  # a number needs no names
    # A number of the batch has an axis after outputs were concatenated.
    if axes is None and rank == 1 and axes_of(options_of(schema)[0], 0) == ():
        return ("parts",)
    return axes


def _is_of_the_batch(place: _Place, rank: int) -> bool:
    """Return whether an array with so many axes is a number of the whole batch, or a list of such."""
    axes = _axes(place.schema, rank) if rank < 2 else None
    return axes is not None and not any(map(has_rows, axes))


# -- checks ---------------------------------------------------------------------------------------------------------


def _are_alike(outputs: Sequence[Any]) -> bool:
    """Return whether all are outputs of one class and the same fields, without saying which are not."""
    if not isinstance(outputs[0], ModelOutput) or len(set(map(type, outputs))) > 1:
        return False
    names = outputs[0].keys()
    return all(output.keys() == names for output in outputs)


def _check_alike(first: ModelOutput, other: ModelOutput, index: int) -> None:
    if not isinstance(other, ModelOutput):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"outputs[{index}] is a {type(other).__name__}; expected outputs of one class")
    if type(other) is not type(first):
        raise UsageError(f"outputs[{index}] is a {type(other).__name__} and outputs[0] a {type(first).__name__}")
    if first.keys() != other.keys():
        name = next(name for name in first.__output_fields__ if (name in first) != (name in other))
        has, lacks = (0, index) if name in first else (index, 0)
        raise UsageError(
            f"outputs[{has}] has {name} but outputs[{lacks}] does not; drop it, or return it from every call"
        )


def _check_equal(place: _Place, values: list[Any]) -> None:
    first = values[0]
    for i, value in enumerate(values):
        alike = value is first or (not is_array(value) and type(value) is type(first) and value == first)
        if not alike:
            raise _differing(place, first, value, i, "layers and settings")


def _same_kind(left: Any, right: Any) -> bool:
    # A tuple subclass, such as our caches, counts as a tuple.
    return type(left) is type(right) or all(
        isinstance(left, kind) == isinstance(right, kind) for kind in (tuple, list, Mapping)
    )


def _has_keys(value: Any, keys: list[Any]) -> bool:
    return not isinstance(value, Mapping) or all(key in value for key in keys)


def _differing(place: _Place, first: Any, value: Any, index: int, same: str = "layers") -> UsageError:
    return UsageError(
        f"{place.path} is {summary(first)} in outputs[0] and {summary(value)} in outputs[{index}]; "
        f"outputs can be joined only with the same {same} in each"
    )


def _without_axes(place: _Place, value: Any) -> ContractError:
    found = f"{place.path} is {summary(value)}"
    if names_axes(place.schema):
        return ContractError(
            f"{found} of {type(value).__name__}, whose axes do not match its annotation; "
            "run check() for details, or drop the field"
        )
    return ContractError(
        f"{found}, but its class does not name the axes; annotate the field, as in Float[Tensor, 'batch seq hidden']"
    )
