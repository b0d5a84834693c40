"""Goes through the arrays of one output, or of several alike, knowing the axis names of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from ..display.text import summary
from ..errors import ContractError, UsageError
from ..output import ModelOutput
from ..output.contract import has_rows
from ..output.nested import ArrayMemo, flat_name, is_array, rebuild
from ..output.schema import UNKNOWN, Schema, axes_of, item_schemas, matching_option, names_axes, schema_of

__all__ = ["Leaf", "Padding", "Walk"]

Output = TypeVar("Output", bound=ModelOutput)

_plain: type[dict[str, Any]] = dict
"""Reads fields without the look at the key that outputs take."""

Padding = float | Mapping[str, float] | None


@dataclass(frozen=True)
class Leaf:
    """One array of an output: where it stands, what its axes are called, and what its padding holds."""

    place: str
    axes: tuple[str, ...]
    field: str
    fill: float

    @property
    def row_axis(self) -> int | None:
        """The axis that holds the rows; None where none does."""
        return next((i for i, name in enumerate(self.axes) if has_rows(name)), None)

    def padding(self, given: Padding) -> float:
        """Return what padding holds: the caller's word, else the class's."""
        return given.get(self.field, self.fill) if isinstance(given, Mapping) else self.fill if given is None else given


@dataclass(frozen=True)
class _Place:
    """Where in its output a value stands, with its annotation."""

    path: str
    schema: Schema
    field: str
    fill: float

    def item(self, key: object, schema: Schema) -> "_Place":
        return _Place(flat_name(self.path, key), schema, self.field, self.fill)


_places_of: dict[type[ModelOutput], dict[str, _Place]] = {}


def _places(cls: type[ModelOutput]) -> dict[str, _Place]:
    """Return the place of each field, looked up once: in a dictionary, for compilers trace into `functools.cache`."""
    if cls not in _places_of:
        schemas = schema_of(cls)
        _places_of[cls] = {
            name: _Place(name, schemas[name], name, field.metadata.get("padding", 0))
            for name, field in cls.__output_fields__.items()
        }
    return _places_of[cls]


class Walk:
    """Builds an output from what a function returns for the arrays that stand in one place of several outputs.

    Where it returns None the field goes. Placeholders stay, and an array that stands in two places is one array
    afterwards too.
    """

    def __init__(self, function: Callable[[Leaf, list[Any]], Any]) -> None:
        self._function = function
        self._memo = ArrayMemo()

    def outputs(self, outputs: Sequence[Output], within: str = "") -> Output:
        """Build the output; `within` is the path before its fields' names.

        Raises:
            UsageError: the outputs differ in class, fields, layers or values that are no arrays.
            ContractError: an array's axes are not known.
        """
        if not outputs:
            raise UsageError("there are no outputs to join; pass one at least")
        first, cls = outputs[0], type(outputs[0])
        for i, other in enumerate(outputs):
            _check_alike(first, other, i)
        places = _places(cls)
        values: dict[str, Any] = {}
        for name in first.keys():  # noqa: SIM118  # keys() is the way that compilers trace
            place = replace(places[name], path=f"{within}{name}") if within else places[name]
            value = self._value(place, [_plain.__getitem__(output, name) for output in outputs])
            if value is not None:
                values[name] = value
        return cls.unflatten(values.keys(), values.values())

    def _value(self, place: _Place, values: list[Any]) -> Any:
        first = values[0]
        if is_array(first):
            return self._arrays(place, values)
        if isinstance(first, ModelOutput):
            return self.outputs(cast("list[ModelOutput]", values), f"{place.path}.")
        if isinstance(first, (tuple, list, Mapping)):
            return self._nested(place, values)
        if first is not None and names_axes(place.schema):
            raise _undescribed(place, first)  # whatever arrays it may hold, nothing would be done to them
        for i, value in enumerate(values):
            alike = value is first or (not is_array(value) and type(value) is type(first) and value == first)
            if not alike:
                raise UsageError(
                    f"{place.path} is {summary(first)} in outputs[0] and {summary(value)} in outputs[{i}]; "
                    "outputs are joined with the same layers and settings in each"
                )
        return first

    def _nested(self, place: _Place, values: list[Any]) -> Any:
        first = values[0]
        keys = _keys(first)
        for i, value in enumerate(values):
            if not _same_kind(value, first) or len(value) != len(keys) or not _has_keys(value, keys):
                raise _differing(place, first, value, i)
        schemas = item_schemas(matching_option(place.schema, first), first)
        if schemas is None:
            if keys and names_axes(place.schema):
                raise _undescribed(place, first)
            schemas = [UNKNOWN] * len(keys)
        items = [
            self._value(place.item(key, item), [value[key] for value in values])
            for key, item in zip(keys, schemas, strict=True)
        ]
        return rebuild(first, items)

    def _arrays(self, place: _Place, arrays: list[Any]) -> Any:
        leaf = _leaf(place, arrays)
        # Where the axes are others, as of an encoder's states among a decoder's, what is done with it is another thing.
        return self._memo.get(arrays, lambda: self._function(leaf, arrays), leaf.axes, leaf.fill)


def _check_alike(first: ModelOutput, other: ModelOutput, index: int) -> None:
    if not isinstance(other, ModelOutput):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"outputs[{index}] is a {type(other).__name__}; expected outputs of one class")
    if type(other) is not type(first):
        raise UsageError(f"outputs[{index}] is a {type(other).__name__} and outputs[0] a {type(first).__name__}")
    if first.keys() != other.keys():
        name = next(name for name in first.__output_fields__ if (name in first) != (name in other))
        has, lacks = (0, index) if name in first else (index, 0)
        raise UsageError(
            f"outputs[{has}] has {name} and outputs[{lacks}] has not; drop it, or return it from each call"
        )


def _same_kind(left: Any, right: Any) -> bool:
    # A tuple of a class of its own, as caches are, is a tuple.
    return type(left) is type(right) or all(
        isinstance(left, kind) == isinstance(right, kind) for kind in (tuple, list, Mapping)
    )


def _has_keys(value: Any, keys: list[Any]) -> bool:
    return not isinstance(value, Mapping) or all(key in value for key in keys)


def _keys(value: Any) -> list[Any]:
    return list(cast("Mapping[Any, Any]", value)) if isinstance(value, Mapping) else list(range(len(value)))


def _leaf(place: _Place, arrays: list[Any]) -> Leaf:
    first = arrays[0]
    kind, rank = cast("type[Any]", type(first)), len(first.shape)
    largest = first
    for i, array in enumerate(arrays):
        if type(array) is not kind and not is_array(array):
            raise _differing(place, first, array, i)
        if len(array.shape) != rank:
            # Losses of outputs that were joined before, among those of others.
            if not _is_listed(place, first) or not _is_listed(place, array):
                raise _differing(place, first, array, i)
            largest = max(largest, array, key=lambda array: len(array.shape))
    axes = _axes(place, largest)
    if axes is None:
        raise _undescribed(place, first)
    return Leaf(place.path, axes, place.field, place.fill)


def _axes(place: _Place, array: Any) -> tuple[str, ...] | None:
    """Return the axis names of an array; one number of the batch has an axis once outputs were joined."""
    schema, rank = matching_option(place.schema, array), len(array.shape)
    axes = axes_of(schema, rank)
    if axes is None and not rank and not names_axes(place.schema):
        return ()  # a number needs no names
    return ("parts",) if axes is None and rank == 1 and axes_of(schema, 0) == () else axes


def _is_listed(place: _Place, array: Any) -> bool:
    """Whether an array is a number of the batch, or a list of such."""
    axes = _axes(place, array) if len(array.shape) < 2 else None
    return axes is not None and not any(map(has_rows, axes))


def _differing(place: _Place, first: Any, value: Any, index: int) -> UsageError:
    return UsageError(
        f"{place.path} is {summary(first)} in outputs[0] and {summary(value)} in outputs[{index}]; "
        "outputs are joined with the same layers in each"
    )


def _undescribed(place: _Place, value: Any) -> ContractError:
    if names_axes(place.schema):
        return ContractError(
            f"{place.path} is {summary(value)} of {type(value).__name__}, which has not the axes that its class names; "
            "hold it against them with check(), or drop it first"
        )
    return ContractError(
        f"{place.path} is {summary(value)}, and its class does not say which axes these are; "
        "annotate the field, as in Float[Tensor, 'batch seq hidden']"
    )
