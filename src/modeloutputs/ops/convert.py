"""Converts outputs between PyTorch, JAX, TensorFlow and NumPy: class, arrays, and how caches and losses are laid out.

Arrays change hands by DLPack, which shares their memory where both frameworks can; bytes are never changed. What two
frameworks lay out differently is laid out anew: a cache is a tuple of keys and values in PyTorch and Flax, one stacked
tensor for each layer in TensorFlow, and in FlaxBaseModelOutputWithPast a dict of arrays of constant shape. What the
other class has no place for is refused, unless it is dropped by name.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..arrays.backends import backend_named, get_backend
from ..arrays.base import Backend
from ..display.text import summary
from ..errors import InputError, UsageError, first_line, nearest
from ..frameworks import FRAMEWORKS, Framework
from ..output import ModelOutput, field_names
from ..output.nested import is_array, map_arrays, map_leaves, walk
from ..output.schema import (
    ArraySchema,
    MappingSchema,
    OtherSchema,
    Schema,
    SequenceSchema,
    TupleSchema,
    axes_of,
    matches_structure,
    options_of,
    schema_of,
)

__all__ = ["check_names", "convert", "convert_fields", "counterpart"]

_NEAREST = {
    "BaseModelOutputWithCrossAttentions": "BaseModelOutputWithPastAndCrossAttentions",
    "BaseModelOutputWithPoolingAndCrossAttentions": "BaseModelOutputWithPooling",
    "CausalLMOutput": "CausalLMOutputWithCrossAttentions",
    "CausalLMOutputWithPast": "CausalLMOutputWithCrossAttentions",
}
"""For classes that not every framework has: the one there for all that they always hold, and for most of the rest."""


def convert(output: ModelOutput, to: str | type[ModelOutput], *, drop: Collection[str] = ()) -> Any:
    """Return an output as its counterpart in another framework, with that framework's arrays.

    Memory is shared where both frameworks can, so neither side should then be written to. Gradients do not cross.
    An output of a class that is not this library's keeps its class. Where a framework lacks the counterpart, the class
    that holds most of its fields stands in: `CausalLMOutput` becomes `FlaxCausalLMOutputWithCrossAttentions`.
    Outputs within the output are converted likewise.

    Args:
        output: the output.
        to: "torch", "jax", "tensorflow", or "numpy", which keeps the class; or an output class, of this library's.
        drop: fields to leave out, of the output and of those within it.

    Raises:
        InputError: the other class lacks a field that is not dropped, or lays out a loss or cache in a way that this
            one cannot be brought into; the other framework has no such element type; JAX would change the values'
            precision.
        MissingDependencyError: that framework is not installed.
        UsageError: it is no output.
    """
    if not isinstance(output, ModelOutput):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"convert takes one output; got a {type(output).__name__}")
    check_names("drop", drop, set(_fields_within(output)), type(output).__name__)
    if isinstance(to, type):
        target, kind = to, backend_named(_framework_of(to.__module__, to.__name__).name)
    else:
        kind = backend_named(to)
        target = _counterpart_or_same(type(output), kind)
    return convert_fields(_without(output, drop), target, kind, type(output), drop)


def check_names(argument: str, names: Collection[str], known: Collection[str], owner: str) -> None:
    """Refuse names that are no fields, and one name where a collection of them is expected.

    Raises:
        InputError: there is such a name.
    """
    if isinstance(names, str):
        raise InputError(f"{argument} is the text {names!r}; pass the names of fields, as in ({names!r},)")
    for name in names:
        if name not in known:
            raise InputError(f"{owner} has no field {name!r}, named in {argument}{nearest(name, sorted(known))}")


def _fields_within(value: Any) -> Iterator[str]:
    """Yield the names of the fields of all outputs in a nested value."""
    for _, found in walk(value):
        if isinstance(found, ModelOutput):
            yield from field_names(found)


def _without(output: ModelOutput, drop: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in output.items() if name not in drop}


def _counterpart_or_same(cls: type[ModelOutput], kind: Backend) -> type[ModelOutput]:
    return (counterpart(cls.__module__, cls.__name__, kind.name) if kind.name in FRAMEWORKS else None) or cls


def counterpart(module: str, name: str, framework: str) -> type[ModelOutput] | None:
    """Return the class of a framework that corresponds to one of this library's; None where that is not ours.

    Raises:
        MissingDependencyError: the framework is not installed.
    """
    own = next((known for known in FRAMEWORKS.values() if known.module == module), None)
    if own is None:
        return None
    base, outputs = name.removeprefix(own.prefix), FRAMEWORKS[framework].import_outputs()
    prefix = FRAMEWORKS[framework].prefix
    found = getattr(outputs, prefix + base, None) or getattr(outputs, prefix + _NEAREST.get(base, base), None)
    return found if isinstance(found, type) and issubclass(found, ModelOutput) else None


def _framework_of(module: str, name: str) -> Framework:
    for framework in FRAMEWORKS.values():
        if framework.module == module:
            return framework
    raise InputError(f"{name} is not one of this library's classes; pass the framework to convert to instead")


def convert_fields(
    fields: Mapping[str, Any],
    target: type[ModelOutput],
    kind: Backend,
    source: type[ModelOutput] | None = None,
    drop: Collection[str] = (),
) -> Any:
    """Return an output of a class from fields that may be laid out as another's, with arrays of `kind`.

    Args:
        fields: values by name.
        target: the class.
        kind: the operations of its framework.
        source: the class that the fields are of, where that is known.
        drop: fields to leave out of the outputs within.

    Raises:
        InputError: as `convert`.
    """
    lacking = [name for name in fields if name not in field_names(target)]
    if lacking:
        raise InputError(
            f"{target.__name__} has no field {', '.join(lacking)}; leave out what it lacks with drop={tuple(lacking)!r}"
        )
    moved = map_arrays(lambda array: _move(array, kind), dict(fields))
    moved = map_leaves(lambda value: _output_converted(value, kind, drop), moved, lambda v: isinstance(v, ModelOutput))
    if source is not target:
        for name, lay_out in (("loss", _as_loss), ("past_key_values", _as_cache)):
            if name in moved:
                own = None if source is None else schema_of(source)[name]
                place = _Place(f"{target.__name__}.{name}", schema_of(target)[name], own, kind)
                moved[name] = lay_out(moved[name], place)
    names = [name for name in field_names(target) if name in moved]
    return target.unflatten(names, [moved[name] for name in names])


def _output_converted(value: Any, kind: Backend, drop: Collection[str]) -> Any:
    """Give an output within another, whose arrays are of `kind` by now, the class that goes with them."""
    if not isinstance(value, ModelOutput):
        return value
    cls = type(value)
    return convert_fields(_without(value, drop), _counterpart_or_same(cls, kind), kind, cls, drop)


@dataclass(frozen=True)
class _Place:
    """A field that is laid out anew: its name, its schema there and, where known, here."""

    name: str
    schema: Schema
    source: Schema | None
    kind: Backend


def _options(schema: Schema) -> list[Schema]:
    """Return the alternatives of a schema that say something of arrays."""
    return [option for option in options_of(schema) if not isinstance(option, OtherSchema)]


# -- arrays ---------------------------------------------------------------------------------------------------------


def _move(array: Any, kind: Backend) -> Any:
    own = get_backend(array)
    if own is kind:
        return array
    array = own.detach(array)
    if kind.name != "numpy" and own.exports_dlpack(array):
        try:
            return kind.from_dlpack(array)
        except InputError:
            raise
        except Exception:  # noqa: BLE001  # each framework has its own error for an element type that the other lacks
            pass
    try:
        return kind.from_numpy(_plain(own.numpy(array), kind))
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # and its own for what has no values, or is of no type that it knows
        raise InputError(f"{own.describe(array)} cannot be converted to {kind.name}: {first_line(error)}") from None


def _plain(values: Any, kind: Backend) -> Any:
    """Return values of NumPy as the other framework takes them; most often they are so already."""
    import numpy as np

    if isinstance(values, np.ma.MaskedArray):
        raise InputError(f"{summary(values)} is masked, which {kind.name} knows nothing of; fill it first")
    values = np.asarray(values)  # a single number is no array in TensorFlow's hands, nor what a reduction returns
    return values if kind.name == "numpy" else values.astype(values.dtype.newbyteorder("="), copy=False)


# -- losses ---------------------------------------------------------------------------------------------------------


def _as_loss(loss: Any, place: "_Place") -> Any:
    """Bring a loss into the shape that it has in the other class, where that is the same number or numbers."""
    wanted = [option.axes for option in _options(place.schema) if isinstance(option, ArraySchema)]
    if not wanted or not is_array(loss):
        return loss
    axes = None if place.source is None else _axes_of_loss(place.source, tuple(loss.shape))
    if axes in wanted:
        return loss
    single, scalars = all(size == 1 for size in loss.shape), {(): (), ("1",): (1,)}
    for names, shape in scalars.items():
        if single and names in wanted:
            return place.kind.reshape(loss, shape)
    own = "" if axes is None else f" with the axes {_written(axes)}"
    advice = "reduce it first, or " if any(names in wanted for names in scalars) else ""
    raise InputError(
        f"{place.name} has the axes {' or '.join(map(_written, wanted))}, and {summary(loss)}{own} "
        f"cannot be made into that; {advice}leave it out with drop=('loss',)"
    )


def _axes_of_loss(schema: Schema, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    """Return the axes of the alternative that fits a shape, sizes that are written as numbers included."""
    for option in _options(schema):
        axes = axes_of(option, len(shape)) or ()
        sizes = {name: size for name, size in zip(axes, shape, strict=False) if name.isdigit()}
        if len(axes) == len(shape) and all(int(name) == size for name, size in sizes.items()):
            return axes
    return None


def _written(axes: tuple[str, ...] | None) -> str:
    return f"({' '.join(axes or ())})"


# -- caches ---------------------------------------------------------------------------------------------------------

Layers = list[tuple[Any, ...]]
"""Of each layer key and value (batch, kv_heads, past, head_dim) and, cross-attending, the encoder's."""


def _as_cache(cache: Any, place: "_Place") -> Any:
    lay_out = {tuple: _as_tuples, list: _as_stacks, dict: _as_static}
    wanted = [_container_of(option) for option in _options(place.schema)]
    if not wanted or wanted[0] not in lay_out:
        return cache  # a user's own class, which says nothing of its layout
    laid_out = lay_out[wanted[0]](_layers(cache, place), place.kind)
    if laid_out is None or not matches_structure(place.schema, laid_out):
        raise InputError(
            f"{place.name} has no place for all of {summary(cache)}; leave it out with drop=('past_key_values',)"
        )
    return laid_out


def _container_of(schema: Schema) -> type | None:
    if isinstance(schema, (SequenceSchema, MappingSchema)):
        return schema.kind
    return tuple if isinstance(schema, TupleSchema) else None


def _layers(cache: Any, place: "_Place") -> Layers:
    """Return the keys and values of each layer, however they are laid out."""
    if isinstance(cache, Mapping):
        return _layers_of_static(cast("Mapping[str, Any]", cache), place)
    layers = [_unstacked(layer) for layer in cast("list[Any]", cache)] if isinstance(cache, (tuple, list)) else [()]
    if not all(len(layer) in (2, 4) and all(map(_is_states, layer)) for layer in layers):
        raise InputError(
            f"{place.name} was given {summary(cache)}; expected of each layer keys and values, "
            "(batch kv_heads past head_dim), and those of an encoder where it attends to one"
        )
    return layers


def _unstacked(layer: Any) -> tuple[Any, ...]:
    """Return a layer's keys and values one by one: those that are stacked are taken apart."""
    parts = cast("list[Any]", layer) if isinstance(layer, (tuple, list)) else [layer]
    return tuple(part for array in parts for part in ((array[0], array[1]) if _is_stack(array) else (array,)))


def _is_stack(array: Any) -> bool:
    return is_array(array) and len(array.shape) == 5 and array.shape[0] == 2


def _is_states(array: Any) -> bool:
    return is_array(array) and len(array.shape) == 4


def _layers_of_static(cache: Mapping[str, Any], place: "_Place") -> Layers:
    pairs = [(f"layers.{i}.cached_key", f"layers.{i}.cached_value") for i in range(len(cache) // 2)]
    states: list[Any] = [cache.get(name) for pair in pairs for name in pair]
    index = cache.get("cache_index")
    if len(states) + 1 != len(cache) or not all(map(_is_states, states)) or not is_array(index):
        raise InputError(
            f"{place.name} was given {summary(cache)}; expected arrays (batch max_length kv_heads head_dim) as "
            "'layers.0.cached_key', 'layers.0.cached_value', ... and 'cache_index'"
        )
    length, room = int(place.kind.numpy(index).max(initial=0)), min((array.shape[1] for array in states), default=0)
    if length > room:
        raise InputError(f"{place.name}: cache_index says that {length} positions are filled, and there are {room}")

    def positions(name: str) -> Any:
        return place.kind.slice_along(place.kind.swapaxes(cache[name], 1, 2), 2, 0, length)

    return [(positions(key), positions(value)) for key, value in pairs]


def _as_tuples(layers: Layers, kind: Backend) -> Any:
    return tuple(layers)


def _as_stacks(layers: Layers, kind: Backend) -> Any:
    pairs = [[layer[i : i + 2] for i in range(0, len(layer), 2)] for layer in layers]
    if not all(key.shape == value.shape and key.dtype == value.dtype for layer in pairs for key, value in layer):
        return None
    stacks = [tuple(kind.stack(pair) for pair in layer) for layer in pairs]
    return [stack[0] if len(stack) == 1 else stack for stack in stacks]


def _as_static(layers: Layers, kind: Backend) -> Any:
    import numpy as np

    lengths = {array.shape[2] for layer in layers for array in layer}
    if any(len(layer) != 2 for layer in layers) or len(lengths) > 1:
        return None  # keys of an encoder too, or layers of different lengths: one index cannot tell them all
    cache: dict[str, Any] = {}
    for i, layer in enumerate(layers):
        for name, array in zip(("cached_key", "cached_value"), layer, strict=True):
            cache[f"layers.{i}.{name}"] = kind.swapaxes(array, 1, 2)
    rows, length = (layers[0][0].shape[0], layers[0][0].shape[2]) if layers else (0, 0)
    return {**cache, "cache_index": kind.from_numpy(np.full(rows, length, np.int32))}
