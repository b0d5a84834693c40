"""Layouts of losses and caches, which differ from framework to framework.

A cache is a tuple of keys and values in PyTorch and Flax, one stacked tensor for each layer in TensorFlow, and in
FlaxBaseModelOutputWithPast a dict of arrays of constant shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..arrays.base import Backend
from ..display.text import summary
from ..errors import InputError
from ..output.nested import is_array
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
)

__all__ = ["FieldLayout", "adapt_cache", "adapt_loss"]


@dataclass(frozen=True)
class FieldLayout:
    """The layout of a field in the target class and, if known, in the source class; its arrays are of `backend`."""

    name: str
    target: Schema
    source: Schema | None
    backend: Backend


def _options(schema: Schema) -> list[Schema]:
    """Return the alternatives of a schema that describe arrays."""
    return [option for option in options_of(schema) if not isinstance(option, OtherSchema)]


# -- losses ---------------------------------------------------------------------------------------------------------


def adapt_loss(loss: Any, layout: FieldLayout) -> Any:
    """Return a loss in the target's shape, if that holds the same number or numbers.

    Raises:
        InputError: it does not.
    """
    wanted = [option.axes for option in _options(layout.target) if isinstance(option, ArraySchema)]
    if not wanted or not is_array(loss):
        return loss
    axes = None if layout.source is None else _axes_of_loss(layout.source, tuple(loss.shape))
    if axes in wanted:
        return loss
    single, scalars = all(size == 1 for size in loss.shape), {(): (), ("1",): (1,)}
    for names, shape in scalars.items():
        if single and names in wanted:
            return layout.backend.reshape(loss, shape)
    own = "" if axes is None else f" with the axes {_written(axes)}"
    advice = "reduce it first, or " if any(names in wanted for names in scalars) else ""
    raise InputError(
        f"{layout.name} has the axes {' or '.join(map(_written, wanted))}, and {summary(loss)}{own} "
        f"cannot be reshaped to that; {advice}leave it out with drop=('loss',)"
    )


def _axes_of_loss(schema: Schema, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    """Return the axes of the alternative that fits a shape, sizes written as numbers included."""
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
"""For each layer key and value (batch, kv_heads, past, head_dim) and, with cross-attention, those of the encoder."""


def adapt_cache(cache: Any, layout: FieldLayout) -> Any:
    """Return a cache in the target's layout.

    Raises:
        InputError: the cache has an unknown layout, or the target's cannot represent it.
    """
    lay_out = {tuple: _as_tuples, list: _as_stacks, dict: _as_static}
    wanted = [_container_of(option) for option in _options(layout.target)]
    if not wanted or wanted[0] not in lay_out:
        return cache  # a user's own class, whose annotation does not describe a layout
    laid_out = lay_out[wanted[0]](_layers(cache, layout), layout.backend)
    if laid_out is None or not matches_structure(layout.target, laid_out):
        raise InputError(
            f"{layout.name} cannot represent this cache: {summary(cache)}; leave it out with drop=('past_key_values',)"
        )
    return laid_out


def _container_of(schema: Schema) -> type | None:
    if isinstance(schema, (SequenceSchema, MappingSchema)):
        return schema.kind
    return tuple if isinstance(schema, TupleSchema) else None


def _layers(cache: Any, layout: FieldLayout) -> Layers:
    """Return the keys and values of each layer, from any layout."""
    if isinstance(cache, Mapping):
        return _layers_of_static(cast("Mapping[str, Any]", cache), layout)
    layers = [_unstacked(layer) for layer in cast("list[Any]", cache)] if isinstance(cache, (tuple, list)) else [()]
    if not all(len(layer) in (2, 4) and all(map(_is_states, layer)) for layer in layers):
        raise InputError(
            f"{layout.name} was given {summary(cache)}; expected keys and values of each layer, "
            "(batch kv_heads past head_dim), and those of an encoder with cross-attention"
        )
    return layers


def _unstacked(layer: Any) -> tuple[Any, ...]:
    """Return a layer's keys and values one by one, unstacked."""
    parts = cast("list[Any]", layer) if isinstance(layer, (tuple, list)) else [layer]
    return tuple(part for array in parts for part in ((array[0], array[1]) if _is_stack(array) else (array,)))


def _is_stack(array: Any) -> bool:
    return is_array(array) and len(array.shape) == 5 and array.shape[0] == 2


def _is_states(array: Any) -> bool:
    return is_array(array) and len(array.shape) == 4


def _layers_of_static(cache: Mapping[str, Any], layout: FieldLayout) -> Layers:
    pairs = [(f"layers.{i}.cached_key", f"layers.{i}.cached_value") for i in range(len(cache) // 2)]
    states: list[Any] = [cache.get(name) for pair in pairs for name in pair]
    index = cache.get("cache_index")
    if len(states) + 1 != len(cache) or not all(map(_is_states, states)) or not is_array(index):
        raise InputError(
            f"{layout.name} was given {summary(cache)}; expected arrays (batch max_length kv_heads head_dim) named "
            "'layers.0.cached_key', 'layers.0.cached_value', ... and 'cache_index'"
        )
    length, room = int(layout.backend.numpy(index).max(initial=0)), min((array.shape[1] for array in states), default=0)
    if length > room:
        raise InputError(f"{layout.name}: cache_index says that {length} positions are filled, but there are {room}")

    def positions(name: str) -> Any:
        return layout.backend.slice_axes(
            layout.backend.swapaxes(cache[name], 1, 2), (slice(None), slice(None), slice(0, length))
        )

    return [(positions(key), positions(value)) for key, value in pairs]


def _as_tuples(layers: Layers, backend: Backend) -> Any:
    return tuple(layers)


def _as_stacks(layers: Layers, backend: Backend) -> Any:
    pairs = [[layer[i : i + 2] for i in range(0, len(layer), 2)] for layer in layers]
    if not all(key.shape == value.shape and key.dtype == value.dtype for layer in pairs for key, value in layer):
        return None
    stacks = [tuple(backend.stack(pair) for pair in layer) for layer in pairs]
    return [stack[0] if len(stack) == 1 else stack for stack in stacks]


def _as_static(layers: Layers, backend: Backend) -> Any:
    import numpy as np

    lengths = {array.shape[2] for layer in layers for array in layer}
    if any(len(layer) != 2 for layer in layers) or len(lengths) > 1:
        return None  # one index cannot describe keys of an encoder, or layers of different lengths
    cache: dict[str, Any] = {}
    for i, layer in enumerate(layers):
        for name, array in zip(("cached_key", "cached_value"), layer, strict=True):
            cache[f"layers.{i}.{name}"] = backend.swapaxes(array, 1, 2)
    rows, length = (layers[0][0].shape[0], layers[0][0].shape[2]) if layers else (0, 0)
    return {**cache, "cache_index": backend.from_numpy(np.full(rows, length, np.int32))}
