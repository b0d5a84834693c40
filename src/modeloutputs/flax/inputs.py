"""Checks of what models are called with, and the arrays that compiled calls take."""

from typing import Any, cast

import numpy as np

from ..architectures.checks import Facts
from ..errors import InputError
from .libraries import is_traced, jax, jnp

__all__ = ["as_array", "can_compile", "check_mask", "facts", "has_values", "hides_nothing"]

_ARRAYS = (jax.Array, np.ndarray)
_INDICES = {"input_ids", "token_type_ids", "position_ids", "decoder_input_ids", "decoder_position_ids"}


def facts(array: Any) -> Facts:
    """Describe an array to the checks; values are read where they are known and on the CPU."""
    dtype = np.dtype(array.dtype)
    kind = "floating" if jnp.issubdtype(dtype, jnp.floating) else "index" if dtype.kind in "iu" else "other"
    bounds = None
    if kind == "index" and array.size and has_values(array):
        values = np.asarray(array)
        bounds = (values.min().item(), values.max().item())
    return Facts(tuple(array.shape), array.dtype, kind, bounds)


def check_mask(mask: Any, rows: int, length: int, heads: int, room: int | None = None) -> None:
    """Refuse a mask that is not (rows, keys), (rows, length, keys) or (rows or 1, heads or 1, length, keys).

    Args:
        mask: what was passed.
        rows: rows of the batch.
        length: positions of the call; they are the keys, without a cache.
        heads: of attention.
        room: positions that the cache has room for. A mask (rows, keys) may then have any number of keys up to it.

    Raises:
        InputError: naming its shape.
    """
    shape, keys = tuple(mask.shape), length if room is None else room
    fits = (
        shape == (rows, keys)
        or (room is not None and len(shape) == 2 and shape[0] == rows and length <= shape[1] <= room)
        or shape == (rows, length, keys)
        or (len(shape) == 4 and shape[0] in (1, rows) and shape[1] in (1, heads) and shape[2:] == (length, keys))
    )
    if not fits:
        raise InputError(
            f"attention mask has shape {shape}; expected (batch, keys) = {(rows, keys)}, "
            f"(batch, seq, keys) = {(rows, length, keys)} or (batch, heads, seq, keys)"
        )


def can_compile(*trees: Any) -> bool:
    """Return whether a call is outside a trace, and its leaves are arrays: objects of users' own may not be."""
    kinds: dict[Any, Any] = {
        type(leaf): leaf for leaf in jax.tree.leaves(trees)
    }  # hundreds of leaves, of two or three types
    return all(isinstance(leaf, _ARRAYS) and not is_traced(leaf) for leaf in kinds.values())


def has_values(array: Any) -> bool:
    """Return whether an array's values are known, and read at no cost: not in a trace, nor on an accelerator."""
    if isinstance(array, np.ndarray):
        return True
    return not is_traced(array) and {d.platform for d in array.devices()} == {"cpu"}


def as_array(name: str, value: Any) -> Any:
    """Return an argument as an array that compiled functions take; NumPy's int64 as int32.

    Raises:
        InputError: it is no array.
    """
    if not isinstance(value, (*_ARRAYS, np.generic)):
        advice = ' (tokenizer(..., return_tensors="np"))' if name == "input_ids" else ""
        raise InputError(f"{name} is a {type(value).__name__}, not an array; pass a NumPy or JAX array{advice}")
    if name in _INDICES and isinstance(value, np.ndarray):
        array = cast("Any", value)
        wide = array.dtype in (np.int64, np.uint32, np.uint64)
        fits = not array.size or (array.min() >= -(2**31) and array.max() < 2**31)
        return array.astype(np.int32) if wide and fits else array
    return value


def hides_nothing(name: str, value: Any) -> bool:
    """Return whether a mask is known to hide nothing; it is left out then, and costs nothing."""
    return name.endswith("attention_mask") and has_values(value) and bool((np.asarray(value) != 0).all())
