"""Goes through the arrays of one output, or of several alike, knowing the axis names of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from .arrays import is_array, rebuilt
from .contract import ROWS, annotations, axes_of, fitting, item_annotations
from .display import summary
from .errors import ContractError, UsageError
from .output import ModelOutput

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
        return next((i for i, name in enumerate(self.axes) if ROWS in name.split("*")), None)

    def padding(self, given: Padding) -> float:
        """Return what padding holds: the caller's word, else the class's."""
        return given.get(self.field, self.fill) if isinstance(given, Mapping) else self.fill if given is None else given


@dataclass(frozen=True)
class _Place:
    """Where in its output a value stands, with its annotation."""

    path: str
    hint: Any
    field: str
    fill: float

    def item(self, key: object, hint: Any) -> "_Place":
        return _Place(f"{self.path}.{key}", hint, self.field, self.fill)


class Walk:
    """Builds an output from what a function returns for the arrays that stand in one place of several outputs.

    Where it returns None the field goes. Placeholders stay, and an array that stands in two places is one array
    afterwards too.
    """

    def __init__(self, function: Callable[[Leaf, list[Any]], Any]) -> None:
        self._function = function
        self._done: dict[tuple[int, ...], Any] = {}

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
        hints, fields = annotations(cls), cls.__output_fields__
        values: dict[str, Any] = {}
        for name in first.keys():  # noqa: SIM118  # keys() is the way that compilers trace
            place = _Place(f"{within}{name}", hints[name], name, fields[name].metadata.get("padding", 0))
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
        for i, value in enumerate(values):
            if is_array(value) or type(value) is not type(first) or value != first:
                raise UsageError(
                    f"{place.path} is {summary(first)} in outputs[0] and {summary(value)} in outputs[{i}]; "
                    "outputs are joined with the same layers and settings in each"
                )
        return first

    def _nested(self, place: _Place, values: list[Any]) -> Any:
        first = values[0]
        keys = _keys(first)
        for i, value in enumerate(values):
            if not _same_kind(value, first) or len(value) != len(keys) or (_is_mapping(value) and _keys(value) != keys):
                raise UsageError(
                    f"{place.path} is {summary(first)} in outputs[0] and {summary(value)} in outputs[{i}]; "
                    "outputs are joined with the same layers in each"
                )
        hint = fitting(place.hint, first)
        hints = item_annotations(hint, first) or [None] * len(keys)
        items = [
            self._value(place.item(key, item), [value[key] for value in values])
            for key, item in zip(keys, hints, strict=True)
        ]
        return rebuilt(first, dict(zip(keys, items, strict=True)) if isinstance(first, Mapping) else items)

    def _arrays(self, place: _Place, arrays: list[Any]) -> Any:
        ids = tuple(map(id, arrays))
        if ids not in self._done:
            self._done[ids] = self._function(_leaf(place, arrays), arrays)
        return self._done[ids]


def _check_alike(first: ModelOutput, other: ModelOutput, index: int) -> None:
    if not isinstance(other, ModelOutput):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"outputs[{index}] is a {type(other).__name__}; expected outputs of one class")
    if type(other) is not type(first):
        raise UsageError(f"outputs[{index}] is a {type(other).__name__} and outputs[0] a {type(first).__name__}")
    for name in first.keys() ^ other.keys():
        has, lacks = (0, index) if name in first else (index, 0)
        raise UsageError(
            f"outputs[{has}] has {name} and outputs[{lacks}] has not; drop it, or return it from each call"
        )


def _same_kind(left: Any, right: Any) -> bool:
    # A tuple of a class of its own, as caches are, is a tuple.
    return type(left) is type(right) or all(
        isinstance(left, kind) == isinstance(right, kind) for kind in (tuple, list, Mapping)
    )


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _keys(value: Any) -> list[Any]:
    return list(cast("Mapping[Any, Any]", value)) if isinstance(value, Mapping) else list(range(len(value)))


def _leaf(place: _Place, arrays: list[Any]) -> Leaf:
    first = arrays[0]
    kind = cast("type[Any]", type(first))
    for i, array in enumerate(arrays):
        if (type(array) is not kind and not is_array(array)) or len(array.shape) != len(first.shape):
            raise UsageError(
                f"{place.path} is {summary(first)} in outputs[0] and {summary(array)} in outputs[{i}]; "
                "outputs are joined with the same layers in each"
            )
    axes = axes_of(fitting(place.hint, first), len(first.shape))
    if axes is None:
        raise ContractError(
            f"{place.path} is {summary(first)}, and its class does not say which axes these are; "
            "annotate the field, as in Float[Tensor, 'batch seq hidden']"
        )
    return Leaf(place.path, axes, place.field, place.fill)
