"""Converts outputs between PyTorch, JAX, TensorFlow and NumPy: class, arrays, and how caches and losses are laid out.

Arrays change hands by DLPack, which shares their memory where both frameworks can; bytes are never changed. What two
frameworks lay out differently is laid out anew: a cache is a tuple of keys and values in PyTorch and Flax, one stacked
tensor for each layer in TensorFlow, and in FlaxBaseModelOutputWithPast a dict of arrays of constant shape. What the
other class has no place for is refused, unless it is dropped by name.
"""

import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from .arrays import Arrays, arrays_named, arrays_of, is_array, map_arrays
from .contract import annotations, axes_of, fitting, resembles
from .display import summary
from .errors import InputError, nearest
from .frameworks import FRAMEWORKS, Framework
from .output import ModelOutput, field_names

__all__ = ["convert", "convert_fields", "counterpart"]

_UNIONS = (typing.Union, types.UnionType)

_ALIGNMENT = 64
"""Bytes at whose multiples TensorFlow and JAX want arrays to begin."""

_NEAREST = {
    "BaseModelOutputWithCrossAttentions": "BaseModelOutputWithPastAndCrossAttentions",
    "BaseModelOutputWithPoolingAndCrossAttentions": "BaseModelOutputWithPooling",
    "CausalLMOutput": "CausalLMOutputWithCrossAttentions",
    "CausalLMOutputWithPast": "CausalLMOutputWithCrossAttentions",
}
"""For classes that not every framework has: the one there that holds the most of their fields."""


def convert(output: ModelOutput, to: str | type[ModelOutput], *, drop: Collection[str] = ()) -> Any:
    """Return an output as its counterpart in another framework, with that framework's arrays.

    Memory is shared where both frameworks can, so neither side should then be written to. Gradients do not cross.
    An output of a class that is not this library's keeps its class. Where a framework lacks the counterpart, the class
    that holds most of its fields stands in: `CausalLMOutput` becomes `FlaxCausalLMOutputWithCrossAttentions`.

    Args:
        output: the output.
        to: "torch", "jax", "tensorflow", or "numpy", which keeps the class; or an output class, of this library's.
        drop: fields to leave out.

    Raises:
        InputError: the other class lacks a field that is not dropped, or lays out a loss or cache in a way that this
            one cannot be brought into; JAX would change the values' precision.
        MissingDependencyError: that framework is not installed.
    """
    for name in drop:
        if name not in field_names(output):
            raise InputError(
                f"{type(output).__name__} has no field {name!r} to drop{nearest(name, field_names(output))}"
            )
    kept = {name: value for name, value in output.items() if name not in drop}
    cls = type(output)
    if isinstance(to, type):
        target, kind = to, arrays_named(_framework_of(to.__module__, to.__name__).name)
    else:
        kind = arrays_named(to)
        target = cls if to == "numpy" else counterpart(cls.__module__, cls.__name__, to) or cls
    return convert_fields(kept, target, kind, cls)


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
    fields: Mapping[str, Any], target: type[ModelOutput], kind: Arrays, source: type[ModelOutput] | None = None
) -> Any:
    """Return an output of a class from fields that may be laid out as another's, with arrays of `kind`.

    Args:
        fields: values by name.
        target: the class.
        kind: the operations of its framework.
        source: the class that the fields are of, where that is known.

    Raises:
        InputError: as `convert`.
    """
    lacking = [name for name in fields if name not in field_names(target)]
    if lacking:
        raise InputError(
            f"{target.__name__} has no field {', '.join(lacking)}; leave out what it lacks with drop={tuple(lacking)!r}"
        )
    moved = map_arrays(lambda array: _move(array, kind), dict(fields))
    if source is not target:
        for name, lay_out in (("loss", _as_loss), ("past_key_values", _as_cache)):
            if name in moved:
                own = None if source is None else annotations(source)[name]
                place = _Place(f"{target.__name__}.{name}", annotations(target)[name], own, kind)
                moved[name] = lay_out(moved[name], place)
    names = [name for name in field_names(target) if name in moved]
    return target.unflatten(names, [moved[name] for name in names])


@dataclass(frozen=True)
class _Place:
    """A field that is laid out anew: its name, its annotation there and, where known, here."""

    name: str
    annotation: Any
    source: Any
    kind: Arrays


def _options(annotation: Any) -> list[Any]:
    """Return the alternatives of an annotation that say something of arrays."""
    options = typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else (annotation,)
    return [option for option in options if hasattr(option, "dim_str") or typing.get_origin(option) is not None]


# -- arrays ---------------------------------------------------------------------------------------------------------


def _move(array: Any, kind: Arrays) -> Any:
    own = arrays_of(array)
    if own is kind:
        return array
    array = own.detach(array)
    if own.name == "numpy":
        return kind.from_numpy(array)
    if kind.name != "numpy" and _can_share(array, own):
        try:
            return kind.from_dlpack(array)
        except InputError:
            raise
        except Exception:  # noqa: BLE001  # each framework has its own error for an element type that the other lacks
            pass
    return kind.from_numpy(own.numpy(array))


def _can_share(array: Any, own: Arrays) -> bool:
    """Whether the memory of an array is laid out as the other framework's operations assume without a look."""
    if own.name != "torch":
        return True
    return bool(array.is_contiguous()) and array.data_ptr() % _ALIGNMENT == 0


# -- losses ---------------------------------------------------------------------------------------------------------


def _as_loss(loss: Any, place: "_Place") -> Any:
    """Bring a loss into the shape that it has in the other class, where that is the same number or numbers."""
    wanted = [axes for option in _options(place.annotation) for axes in [axes_of(option, len(option.dim_str.split()))]]
    rank, single = len(loss.shape), all(size == 1 for size in loss.shape)
    axes = None if place.source is None else axes_of(fitting(place.source, loss), rank)
    if not wanted or axes in wanted:
        return loss
    for shape, name in (((), ()), ((1,), ("1",))):
        if single and name in wanted:
            return place.kind.reshape(loss, shape)
    written = " or ".join(f"({' '.join(names or ())})" for names in wanted)
    raise InputError(
        f"{place.name} has the axes {written}, and {summary(loss)} "
        "cannot be made into that; reduce it first, or leave it out with drop=('loss',)"
    )


# -- caches ---------------------------------------------------------------------------------------------------------

Layers = list[tuple[Any, ...]]
"""Of each layer key and value (batch, kv_heads, past, head_dim) and, cross-attending, the encoder's."""


def _as_cache(cache: Any, place: "_Place") -> Any:
    lay_out = {tuple: _as_tuples, list: _as_stacks, dict: _as_static}
    wanted = [typing.get_origin(option) for option in _options(place.annotation)]
    if not wanted or wanted[0] not in lay_out:
        return cache  # a user's own class, which says nothing of its layout
    laid_out = lay_out[wanted[0]](_layers(cache, place), place.kind)
    if not resembles(place.annotation, laid_out):
        raise InputError(
            f"{place.name} has no place for all of {summary(cache)}; leave it out with drop=('past_key_values',)"
        )
    return laid_out


def _layers(cache: Any, place: "_Place") -> Layers:
    if isinstance(cache, Mapping):
        return _layers_of_static(cast("Mapping[str, Any]", cache), place)
    return [_unstacked(layer) if _is_stacked(layer) else tuple(layer) for layer in cache]


def _unstacked(layer: Any) -> tuple[Any, ...]:
    return tuple(part for stack in _several(layer) for part in (stack[0], stack[1]))


def _several(layer: Any) -> Any:
    return (layer,) if is_array(layer) else layer


def _is_stacked(layer: Any) -> bool:
    return len(_several(layer)[0].shape) == 5


def _layers_of_static(cache: Mapping[str, Any], place: "_Place") -> Layers:
    names = [name for name in cache if name.endswith(".cached_key")]
    if "cache_index" not in cache or len(names) * 2 + 1 != len(cache):
        raise InputError(
            f"{place.name} was given the keys {', '.join(sorted(cache))}; "
            "expected 'layers.0.cached_key', 'layers.0.cached_value', ... and 'cache_index'"
        )
    length = int(place.kind.numpy(cache["cache_index"]).max(initial=0))

    def positions(name: str) -> Any:
        return place.kind.narrow(place.kind.swap(cache[name], 1, 2), 2, 0, length)

    return [(positions(f"layers.{i}.cached_key"), positions(f"layers.{i}.cached_value")) for i in range(len(names))]


def _as_tuples(layers: Layers, kind: Arrays) -> Any:
    return tuple(layers)


def _as_stacks(layers: Layers, kind: Arrays) -> Any:
    pairs = [tuple(kind.stack(layer[i : i + 2]) for i in range(0, len(layer), 2)) for layer in layers]
    return [pair[0] if len(pair) == 1 else pair for pair in pairs]


def _as_static(layers: Layers, kind: Arrays) -> Any:
    import numpy as np

    if any(len(layer) != 2 for layer in layers):
        return layers  # keys of an encoder too: fits no such cache
    cache: dict[str, Any] = {}
    for i, layer in enumerate(layers):
        for name, array in zip(("cached_key", "cached_value"), layer, strict=True):
            cache[f"layers.{i}.{name}"] = kind.swap(array, 1, 2)
    rows, _, length, _ = layers[0][0].shape if layers else (0, 0, 0, 0)
    return {**cache, "cache_index": kind.from_numpy(np.full(rows, length, np.int32))}
