"""What one call of a model is made of, and its arguments (B rows, S positions).

- `input_ids` (B, S) integers; NumPy arrays of int64 too, JAX arrays, or tracers.
- `attention_mask` (B, S), non-zero at tokens and zero at padding, on either side; masked tokens count as absent and
  take no position. Or (B, S, S) or (B, heads, S, S), a full mask for each query; positions then count padding too. With
  a cache it covers the cached positions and those of this call, and may cover the rest of its room.
- `position_ids` (B, S); from the mask, and behind the cached positions, where not passed.
- `token_type_ids` (B, S), 0 for the first text, 1 for the second.
- `head_mask` (heads,) or (layers, heads), factors on the attention weights.
- `encoder_hidden_states` (B, E, hidden) and `encoder_attention_mask` (B, E), for a decoder with cross-attention.
- `past_key_values`, from `init_cache` or the call before.
- `params`, the model's own where not passed. Its arrays are passed on as they are.
- `train` with `dropout_rng`, a key: dropout is applied.
- `output_hidden_states`, `output_attentions`, `return_dict`: the configuration's where not passed. The two `output_`
  flags also take layer indices: other layers are then None, so that indices keep their meaning. With
  `return_dict=False` a plain tuple of the fields that are present is returned.

Values are checked before anything is computed, where they are known: in a trace only shapes and dtypes are.
"""

from typing import Any, NamedTuple, cast

from flax import linen as nn
from jax import Array

from ..architectures.selection import LayerSelection, select_layers
from ..output import ModelOutput
from .attention import AttentionContext, CallFlags, positions_from_mask
from .libraries import jax, jnp
from .stack import Kept

__all__ = ["Arrays", "StackCall", "as_requested", "first_rows", "last_rows", "state_at"]

Arrays = dict[str, Any]
"""Array arguments of a call, by name; None where not passed."""


class StackCall(NamedTuple):
    """One call of a stack, as a module was asked for it."""

    positions: Array
    """(B, S)."""
    context: AttentionContext
    flags: CallFlags
    kept: Kept

    @classmethod
    def of(
        cls,
        module: nn.Module,
        input_ids: Array,
        attention_mask: Array | None,
        position_ids: Array | None,
        *,
        layers: int,
        head_mask: Array | None = None,
        encoder_hidden_states: Array | None = None,
        encoder_attention_mask: Array | None = None,
        init_cache: bool = False,
        deterministic: bool = True,
        output_attentions: LayerSelection = False,
        output_hidden_states: LayerSelection = False,
    ) -> "StackCall":
        """Return a call.

        Args:
            module: the base model, which counts the filled positions of a cache.
            input_ids: (B, S).
            attention_mask: see this module's description.
            position_ids: (B, S) or None.
            layers: number of layers.
            head_mask: (heads,), (layers, heads) or None.
            encoder_hidden_states: (B, E, hidden) or None.
            encoder_attention_mask: (B, E) or None.
            init_cache: make an empty cache.
            deterministic: no dropout.
            output_attentions: layers whose attention weights are returned.
            output_hidden_states: layers whose states are returned.

        Raises:
            InputError: a layer that there is not.
        """
        rows, length = input_ids.shape
        start = _advance_cache(module, rows, length, init_cache)
        if head_mask is not None:
            head_mask = jnp.broadcast_to(head_mask, (layers, head_mask.shape[-1]))
        first: Array | int = 0 if start is None else start
        if position_ids is None:
            position_ids = positions_from_mask(_mask_of_room(attention_mask, start, length), first, length)
        following = jnp.reshape(jnp.asarray(first), (-1, 1)) + jnp.arange(length)
        return cls(
            jnp.broadcast_to(following, (rows, length)) if position_ids is None else position_ids,
            AttentionContext(
                attention_mask, encoder_hidden_states, encoder_attention_mask, head_mask=head_mask, start=start
            ),
            CallFlags(deterministic, init_cache),
            Kept(
                select_layers(output_hidden_states, layers + 1, "output_hidden_states"),
                select_layers(output_attentions, layers, "output_attentions"),
            ),
        )


def _advance_cache(module: nn.Module, rows: int, length: int, init_cache: bool) -> Array | None:
    """Return the filled positions of the cache before this call, (B,) or () for all rows; None without one.

    Those of this call are counted in the cache.
    """
    if init_cache:
        module.put_variable("cache", "cache_index", jnp.zeros((rows,), jnp.int32))
    if init_cache or not module.has_variable("cache", "cache_index"):
        return None
    index: Any = cast("Any", module).get_variable("cache", "cache_index")
    module.put_variable("cache", "cache_index", index + length)
    return index


def _mask_of_room(mask: Array | None, start: Array | None, length: int) -> Array | None:
    """Return a mask that the places of this call's tokens lie within."""
    if mask is None or start is None or mask.ndim != 2:
        return mask
    # Behind what a mask says there are tokens.
    return jnp.pad(mask, ((0, 0), (0, length)), constant_values=1)


def first_rows(hidden: Array, mask: Array | None) -> Array:
    """Return each row's state at its first token that is no padding: (B, S, hidden) to (B, hidden)."""
    if mask is None or mask.ndim != 2:
        return hidden[:, 0]
    first = jnp.argmax(mask != 0, -1)
    return jnp.take_along_axis(hidden, first[:, None, None], 1)[:, 0]


def state_at(hidden: Array, place: Any) -> Array:
    """Return the states (B, 1, hidden) at a position of all rows, the last one for None."""
    return hidden[:, -1:] if place is None else jax.lax.dynamic_slice_in_dim(hidden, place, 1, 1)


def last_rows(hidden: Array, input_ids: Array, mask: Array | None, pad_token_id: int | None) -> Array:
    """Return each row's state at its last token that is no padding: (B, S, hidden) to (B, hidden).

    Args:
        hidden: (B, S, hidden).
        input_ids: (B, S), looked at where there is no mask.
        mask: (B, S) or None.
        pad_token_id: the token that is padding, or None.
    """
    if mask is not None and mask.ndim == 2:
        seen = mask != 0
    elif pad_token_id is not None:
        seen = input_ids != pad_token_id
    else:
        return hidden[:, -1]
    last = seen.shape[1] - 1 - jnp.argmax(seen[:, ::-1], -1)
    return jnp.take_along_axis(hidden, last[:, None, None], 1)[:, 0]


def as_requested(output: ModelOutput, return_dict: bool) -> Any:
    """Return an output, or the plain tuple of its fields."""
    return output if return_dict else output.to_tuple()
