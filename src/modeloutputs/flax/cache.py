"""Caches: as outputs hold them, and as linen's collection "cache" does.

Both have room for a fixed number of positions, so that every step of decoding has one shape and is compiled once.

- In `FlaxBaseModelOutputWithPast`, a dict: for layer i "layers.i.cached_key" and "layers.i.cached_value" (B, room,
  kv_heads, D), and "cache_index" (B,), the number of filled positions of each row.
- Elsewhere a `FlaxCache`: for each layer key and value (B, kv_heads, room, D) and, with an encoder, its key and value
  (B, kv_heads, E, D); `cache_index` is an attribute.
- The collection itself, nested by modules, as `module.apply(..., mutable=["cache"])` takes and returns it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self, cast

from jax import Array

from ..errors import InputError
from .libraries import Path, flatten, jax, jnp, unflatten

__all__ = ["CacheLayout", "FlaxCache"]

_SELF, _CROSS = ("cached_key", "cached_value"), ("cross_key", "cross_value")


@jax.tree_util.register_pytree_node_class
class FlaxCache(tuple[tuple[Array, ...], ...]):
    """Keys and values of each layer, and how many positions of each row are filled.

    Attributes:
        cache_index: (B,) int32.
    """

    cache_index: Any

    def __new__(cls, layers: Iterable[tuple[Array, ...]], cache_index: Any) -> Self:
        """Return a cache of these layers."""
        cache = super().__new__(cls, layers)
        cache.cache_index = cache_index
        return cache

    def __getnewargs__(self) -> Any:
        """Return what a copy is made from."""
        return (tuple(self), self.cache_index)

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        """Return the children for JAX: the layers, and the index."""
        return (tuple(self), self.cache_index), None

    @classmethod
    def tree_unflatten(cls, _: None, children: tuple[Any, ...]) -> Self:
        """Return a cache of children."""
        return cls(*children)


class CacheLayout(NamedTuple):
    """Where the arrays of a model's cache lie in the collection."""

    blocks: list[Path]
    """Of each layer's attention to the sequence itself."""
    cross_blocks: list[Path]
    """Of each layer's attention to an encoder, or empty."""
    filled: Path
    """Of the number of filled positions."""
    sizes: tuple[int, ...]
    """Heads of the keys, and their width."""

    @classmethod
    def of(cls, collection: Any) -> "CacheLayout":
        """Find the arrays in a collection."""
        paths = list(flatten(collection))

        def blocks(name: str) -> list[Path]:
            return sorted((path[:-1] for path in paths if path[-1] == name), key=_layer)

        (index,) = (path for path in paths if path[-1] == "cache_index")
        own = blocks("cached_key")
        sizes = tuple(flatten(collection)[*own[0], "cached_key"].shape[2:])
        return cls(own, blocks("cross_key"), index, sizes)

    def to_collection(self, past: Any) -> Any:
        """Return the collection of a cache of any form.

        Raises:
            InputError: it is not a cache, or another model's.
        """
        if isinstance(past, FlaxCache):
            flat = self._from_layers(past)
        elif isinstance(past, Mapping) and any("." in name for name in cast("Mapping[str, Any]", past)):
            flat = self._from_names(cast("Mapping[str, Array]", past))
        elif isinstance(past, Mapping):
            return self._checked(cast("Any", past))
        else:
            kind = type(past).__name__
            raise InputError(f"past_key_values is a {kind}; expected what init_cache or the call before returned")
        return unflatten(flat)

    def _from_layers(self, past: FlaxCache) -> dict[Path, Array]:
        self._check_count(len(past))
        flat: dict[Path, Array] = {self.filled: past.cache_index}
        for i, layer in enumerate(past):
            flat |= {(*self.blocks[i], name): jnp.swapaxes(it, 1, 2) for name, it in zip(_SELF, layer[:2], strict=True)}
            if len(layer) > 2:
                flat |= {(*self.cross_blocks[i], name): it for name, it in zip(_CROSS, layer[2:], strict=True)}
        return flat

    def _from_names(self, past: Mapping[str, Array]) -> dict[Path, Array]:
        self._check_count(sum(name.endswith(".cached_key") for name in past))
        flat: dict[Path, Array] = {self.filled: past["cache_index"]}
        for i, block in enumerate(self.blocks):
            flat |= {(*block, name): past[f"layers.{i}.{name}"] for name in _SELF}
        return flat

    def _checked(self, collection: Any) -> Any:
        flat = flatten(collection)
        lost = [path for path in ((*block, _SELF[0]) for block in self.blocks) if path not in flat]
        if lost or self.filled not in flat:
            missing = "/".join([*lost, self.filled][0])
            raise InputError(
                f"past_key_values has no {missing!r}; expected what init_cache or the call before returned"
            )
        return collection

    def _check_count(self, count: int) -> None:
        if count != len(self.blocks):
            raise InputError(f"past_key_values has {count} layers, and this model {len(self.blocks)}")

    def without_encoder(self, collection: Any) -> Any:
        """Return a collection without an encoder's keys: they come with the first call."""
        flat = flatten(collection)
        return unflatten({path: array for path, array in flat.items() if path[-1] not in _CROSS})

    def to_layers(self, collection: Any) -> FlaxCache:
        """Return a collection as a `FlaxCache`."""
        flat = flatten(collection)
        layers: list[tuple[Array, ...]] = []
        for i, block in enumerate(self.blocks):
            layer = [jnp.swapaxes(flat[*block, name], 1, 2) for name in _SELF]
            if self.cross_blocks:
                layer += [flat[path] for name in _CROSS if (path := (*self.cross_blocks[i], name)) in flat]
            layers.append(tuple(layer))
        return FlaxCache(layers, flat[self.filled])

    def to_names(self, collection: Any) -> dict[str, Array]:
        """Return a collection as a flat dict."""
        flat = flatten(collection)
        named = {f"layers.{i}.{name}": flat[*block, name] for i, block in enumerate(self.blocks) for name in _SELF}
        return {**named, "cache_index": flat[self.filled]}


def _layer(path: Path) -> int:
    return next(int(name) for name in path if name.isdecimal())
