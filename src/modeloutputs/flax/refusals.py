"""What is said of arguments that no call can be made with, in one line, before anything is computed.

Values are looked at where they are known; shapes and dtypes are known in a trace too, and no check breaks one.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np
from flax.errors import FlaxError

from ..architectures.checks import check_embeds
from ..errors import InputError, UsageError, first_line, nearest
from .calls import Arrays
from .inputs import facts, has_values
from .libraries import Path, flatten, jax, jnp

__all__ = [
    "check_count",
    "check_encoder",
    "check_filled",
    "check_head_mask",
    "check_key",
    "check_past",
    "check_present",
    "describe_missing",
    "describe_params",
    "leaves_of",
    "naming_unknown",
]


def naming_unknown(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that refuses keywords which it does not know by naming the nearest that it does."""
    method = "" if call.__name__ == "__call__" else f".{call.__name__}"
    known = list(inspect.signature(call).parameters)[1:]

    @functools.wraps(call)
    def checked(model: Any, *args: Any, **keywords: Any) -> Any:
        for keyword in keywords:
            if keyword not in known:
                raise UsageError(f"{type(model).__name__}{method}() takes no {keyword}{_advice(keyword, known)}")
        return call(model, *args, **keywords)

    return checked


def _advice(keyword: str, known: list[str]) -> str:
    if keyword in ("labels", "start_positions", "end_positions", "next_sentence_label"):
        return "; Flax models return no loss, compute it from the output with modeloutputs.flax.losses"
    return nearest(keyword, known)


# -- arrays ---------------------------------------------------------------------------------------------------------


def check_present(inputs: Arrays, name: str) -> None:
    """Refuse a call without tokens, or with none in them.

    Raises:
        InputError: naming the argument.
    """
    if name not in inputs:
        raise InputError(f"{name} was not passed; pass an array of tokens (batch, seq)")
    if not inputs[name].size:
        raise InputError(f"{name} has shape {tuple(inputs[name].shape)}, which holds no tokens; pass one at least")


def check_head_mask(inputs: Arrays, layers: int, heads: int) -> None:
    """Refuse factors of heads that are not (heads,) or (layers, heads).

    Raises:
        InputError: naming both shapes.
    """
    shape = tuple(inputs["head_mask"].shape) if "head_mask" in inputs else None
    if shape is not None and shape not in ((heads,), (layers, heads)):
        raise InputError(
            f"head_mask has shape {shape}; expected (heads,) = {(heads,)} or (layers, heads) = {(layers, heads)}"
        )


def check_encoder(inputs: Arrays, width: int, rows: int) -> None:
    """Refuse states of an encoder that are not (rows, E, width), and a mask of two axes that is not (rows, E).

    Raises:
        InputError: naming the argument.
    """
    if "encoder_hidden_states" not in inputs:
        return
    states = facts(inputs["encoder_hidden_states"])
    check_embeds(states, width, "encoder_hidden_states", rows)
    mask = inputs.get("encoder_attention_mask")
    if mask is not None and mask.ndim == 2 and tuple(mask.shape) != states.shape[:2]:
        raise InputError(f"encoder_attention_mask has shape {tuple(mask.shape)}; expected {states.shape[:2]}")


def check_key(name: str, key: Any) -> None:
    """Refuse what is no random key: neither one of `jax.random.key` nor the two numbers of `jax.random.PRNGKey`.

    Raises:
        InputError: saying how to make one.
    """
    dtype = getattr(key, "dtype", None)
    if dtype is not None and (jnp.issubdtype(dtype, jax.dtypes.prng_key) or (dtype == np.uint32 and key.ndim)):
        return
    shown = repr(key) if isinstance(key, (int, str)) else f"a {type(key).__name__}"
    raise InputError(f"{name} is {shown:.60}; expected a random key, as jax.random.PRNGKey(0)")


def check_count(name: str, value: Any) -> None:
    """Refuse what is no number from 1.

    Raises:
        InputError: naming the argument.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name} is {value!r:.60}; expected an integer from 1")


# -- caches ---------------------------------------------------------------------------------------------------------


def check_past(shape: tuple[int, ...], rows: int, sizes: tuple[int, ...]) -> None:
    """Refuse a cache of other rows than a call's, or of another model's heads.

    Args:
        shape: (rows, room, heads, D) of one layer's keys.
        rows: of the call.
        sizes: (heads, D) of the model.

    Raises:
        InputError: naming both.
    """
    if shape[2:] != sizes:
        raise InputError(
            f"past_key_values has {shape[2]} heads of width {shape[3]}, and this model {sizes[0]} of width {sizes[1]}; "
            "pass what its own init_cache returned"
        )
    if shape[0] != rows:
        raise InputError(f"past_key_values has {shape[0]} rows, and the call {rows}; pass init_cache({rows}, ...)")


def check_filled(filled: Any, length: int, room: int) -> None:
    """Refuse more positions than a cache has room for behind those that are filled.

    Args:
        filled: number of filled positions, (rows,) or (); not looked at in a trace or on an accelerator.
        length: positions of the call.
        room: of the cache.

    Raises:
        InputError: naming the three.
    """
    before = int(np.max(np.asarray(filled))) if has_values(filled) else 0
    if before + length > room:
        behind = f" after {before} cached ones" if before else ""
        raise InputError(
            f"{length} positions{behind} exceed the cache's room for {room}; pass a greater max_length to init_cache"
        )


# -- parameters -----------------------------------------------------------------------------------------------------


def leaves_of(params: Any) -> dict[Path, Any]:
    """Return parameters by path.

    Raises:
        InputError: they are no nested dict.
    """
    if not isinstance(params, Mapping):
        raise InputError(f"params is a {type(params).__name__}; expected a nested dict of arrays, like model.params")
    return flatten(params)


def describe_missing(paths: Iterable[Path]) -> str:
    """Return the message for parameters that lack some."""
    names = ["/".join(path) for path in sorted(paths)]
    return f"params lacks {len(names)} parameters: {', '.join(names[:4])}; model.init_weights fills what is missing"


def describe_params(params: Any, wanted: Any, error: FlaxError) -> str:
    """Return what is wrong with parameters that a module failed on: which are missing, or of another shape.

    Args:
        params: what was passed.
        wanted: tree with the shapes of the model's parameters.
        error: what Flax said, for other faults.
    """
    given, needed = leaves_of(params), flatten(wanted)
    missing = [path for path in needed if path not in given]
    if missing and set(cast("Mapping[str, Any]", params)) == {"params"}:
        return "params holds one entry, 'params'; pass what is in it, params['params']"
    if missing:
        return describe_missing(missing)
    for path, leaf in needed.items():
        shape = getattr(given[path], "shape", leaf.shape)
        if tuple(shape) != tuple(leaf.shape):
            return f"params has {'/'.join(path)} of shape {tuple(shape)}; expected {tuple(leaf.shape)}"
    return first_line(error)
