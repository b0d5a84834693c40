"""Pools the states of each row's tokens into one vector, whatever padding the row has."""

from collections.abc import Callable
from typing import Any

from ..arrays.backends import get_backend, to_numpy
from ..arrays.base import Backend, shape_of
from ..arrays.dtypes import dtype_name, is_floating
from ..display.text import summary
from ..errors import InputError
from ..output import ModelOutput
from ..output.nested import is_array
from .mapping import skip_autograph

__all__ = ["pool"]

_STATES = "last_hidden_state"


@skip_autograph
def pool(states: Any, attention_mask: Any = None, how: str = "mean") -> Any:
    """Return one vector for each row, from the states of its tokens; padding on either side has no part in it.

    Args:
        states: (batch, seq, hidden), an array of any framework, or an output with `last_hidden_state`.
        attention_mask: (batch, keys), 1 at tokens and 0 at padding: of the same framework, of NumPy, or nested lists.
            Of more keys than `seq`, as with a cache, the last ones count. None if there is no padding.
        how: "mean" of all tokens, "max" of each feature over them, "cls" the first token, "last" the last.

    Returns:
        (batch, hidden), of the framework and dtype of the states. Means are computed in float32 at least. A row without
        any token, where its mask cannot be looked at before, gives zeros, or minus infinity for "max".

    Raises:
        InputError: the states are no floating point array, `how` is unknown, the mask does not fit, is not of zeros and
            ones, or has a row without any token.

    Examples:
        >>> import numpy as np
        >>> states = np.array([[[1.0], [3.0], [9.0]]])
        >>> pool(states, [[1, 1, 0]]).tolist(), pool(states, [[1, 1, 0]], "last").tolist()
        ([[2.0]], [[3.0]])
    """
    if how not in _WAYS:
        raise InputError(f"how is {how!r}; expected one of {', '.join(map(repr, _WAYS))}")
    states = _states_of(states)
    backend = get_backend(states)
    if attention_mask is None:
        mask = backend.as_booleans(backend.from_numpy(_ones(states)))
    else:
        mask = backend.as_booleans(_checked_mask(backend, attention_mask, states))
    return _WAYS[how](backend, states, mask)


# -- checks ---------------------------------------------------------------------------------------------------------


def _states_of(states: Any) -> Any:
    if isinstance(states, ModelOutput):
        if _STATES not in states:
            raise InputError(
                f"{type(states).__name__} has no {_STATES} to pool; pass an array, such as output.hidden_states[-1]"
            )
        states = states[_STATES]
    if not is_array(states) or len(shape_of(states) or ()) != 3 or not is_floating(states.dtype):
        raise InputError(f"states is {summary(states)}; expected a floating point array (batch, seq, hidden)")
    return states


def _ones(states: Any) -> Any:
    import numpy as np

    if states.shape[1] is None:
        raise InputError("the length of the states is unknown while tracing; pass attention_mask")
    return np.ones((1, states.shape[1]), np.int32)


def _checked_mask(backend: Backend, given: Any, states: Any) -> Any:
    """Return the mask of the states' positions as an array of their framework, on their device."""
    import numpy as np

    is_own = is_array(given) and get_backend(given) is backend
    try:
        mask = given if is_own else np.asarray(to_numpy(given) if is_array(given) else given)
    except ValueError:
        mask = np.asarray(None)  # rows of several lengths
    shape: tuple[Any, ...] = shape_of(mask) or ()
    rows, seq = states.shape[:2]
    fits = len(shape) == 2 and (None in (shape[0], rows) or shape[0] == rows)
    if not fits or (None not in (shape[1], seq) and shape[1] < seq):
        raise InputError(
            f"attention_mask is {summary(given)}; expected ({rows}, {seq}), of the same rows as the states"
        )
    _check_values(backend.concrete_values(mask) if is_own else mask)
    if not is_own:
        mask = backend.from_numpy(mask)
        mask = backend.to_device(mask, states.device, None, non_blocking=False) if backend.name == "torch" else mask
    return mask if None in (shape[1], seq) or shape[1] == seq else mask[:, shape[1] - seq :]


def _check_values(mask: Any) -> None:
    import numpy as np

    if mask is None:
        return
    if not np.isin(mask, (0, 1)).all():
        raise InputError("attention_mask holds other values than zeros and ones; pass 1 at tokens and 0 at padding")
    empty = np.flatnonzero(~mask.astype(bool).any(axis=1))
    if len(empty):
        raise InputError(f"row {empty[0]} of attention_mask has no token, so there is nothing to pool")


# -- ways -----------------------------------------------------------------------------------------------------------


def _mean(backend: Backend, states: Any, mask: Any) -> Any:
    exact = states
    if dtype_name(states.dtype) in ("float16", "bfloat16"):
        exact = backend.to_device(states, None, "float32", non_blocking=False)
    # `where`, not a product: what stands at padding may be infinite or no number.
    total = backend.sum(backend.where(mask[..., None], exact, 0), 1)
    counts = backend.sum(mask, 1)[:, None]
    counts = backend.cast_like(backend.where(counts > 0, counts, 1), total)
    return backend.cast_like(total / counts, states)


def _max(backend: Backend, states: Any, mask: Any) -> Any:
    return backend.max(backend.where(mask[..., None], states, float("-inf")), 1)


def _first(backend: Backend, states: Any, mask: Any) -> Any:
    return _one(backend, states, mask & (backend.cumsum(mask, 1) == 1))


def _last(backend: Backend, states: Any, mask: Any) -> Any:
    counts = backend.cumsum(mask, 1)
    return _one(backend, states, mask & (counts == counts[:, -1:]))


def _one(backend: Backend, states: Any, chosen: Any) -> Any:
    """Return the one state of each row that is chosen: the sum of it and zeros, which is exact."""
    return backend.sum(backend.where(chosen[..., None], states, 0), 1)


_WAYS: dict[str, Callable[[Backend, Any, Any], Any]] = {"mean": _mean, "cls": _first, "last": _last, "max": _max}
