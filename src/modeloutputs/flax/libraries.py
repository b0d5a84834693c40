"""JAX and Flax as strict type checking takes them: what they leave without types is `Any` here, in one place."""

from collections.abc import Mapping
from typing import Any, cast

import jax as _jax
import jax.numpy as _jnp
from flax import linen
from flax.core import FrozenDict
from flax.traverse_util import flatten_dict, unflatten_dict  # pyright: ignore[reportUnknownVariableType]

__all__ = ["Path", "flatten", "initializers", "is_traced", "jax", "jnp", "remat", "unflatten"]

jax: Any = _jax
jnp: Any = _jnp
_linen: Any = linen
initializers: Any = _linen.initializers
remat: Any = _linen.remat

Path = tuple[str, ...]
"""Names from the root of a tree to one of its leaves."""


def flatten(tree: Any) -> dict[Path, Any]:
    """Return the leaves of a nested dict or FrozenDict by path."""
    flat: Any = flatten_dict(tree.unfreeze() if isinstance(tree, FrozenDict) else tree)  # pyright: ignore
    return flat


def unflatten(flat: Mapping[Path, Any]) -> dict[str, Any]:
    """Return the nested dict whose leaves these are."""
    tree: Any = cast("Any", unflatten_dict)(dict(flat))
    return tree


def is_traced(value: Any) -> bool:
    """Return whether a value is a tracer, whose numbers are not known."""
    return isinstance(value, jax.core.Tracer)
