"""Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1), its masks, and its cache.

Shapes: B rows, H heads, Q query positions, K key positions, D width of a head. Heads come before positions: on the CPU
that is a fifth of a whole pass faster than the order in which projections return them.

A cache is linen's collection "cache", as users of Flax decoders pass it around: each attention block has `cached_key`
and `cached_value` (B, room, kv_heads, D), and the model `cache_index` (B,), the number of filled positions of each row,
or () of all rows.
Blocks that attend to an encoder have `cross_key` and `cross_value` (B, kv_heads, E, D).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from flax import linen as nn
from jax import Array

from ..architectures.layers import AttentionPaths
from .dropout import Dropout
from .layers import Layout, leaf
from .libraries import jax, jnp

__all__ = [
    "Attention",
    "AttentionContext",
    "CallFlags",
    "CrossAttention",
    "Rotary",
    "apply_rotary",
    "attend",
    "bias_of",
    "positions_from_mask",
    "rotary_cos_sin",
]

Rotary = tuple[Array, Array]
"""Cosines and sines (B or 1, 1, Q, D) of the angles of rotary positions."""


class AttentionContext(NamedTuple):
    """The inputs that all attention blocks of one call share."""

    mask: Array | None = None
    """Keys that are no padding, (B, K), or all that each query sees, (B, Q, K) or (B, H, Q, K)."""
    encoder_hidden_states: Array | None = None
    """(B, E, hidden)."""
    encoder_mask: Array | None = None
    """Like `mask`, of the encoder's positions."""
    rotary: Rotary | None = None
    head_mask: Array | None = None
    """(layers, H), factors on the attention weights."""
    start: Array | None = None
    """Filled positions of the cache, where there is one: (B,), or () for all rows."""


class CallFlags(NamedTuple):
    """What a call asks of all layers, known when it is compiled."""

    deterministic: bool = True
    """No dropout."""
    init_cache: bool = False
    """Make an empty cache, with room for the positions of this call."""


# -- masks and positions ----------------------------------------------------------------------------------------------


def bias_of(mask: Array | None, queries: Array | None, keys: int, dtype: Any) -> Array | None:
    """Return what is added to scores: 0 where a key is seen, half of the lowest number where it is not.

    Half of the lowest number hides a key exactly (its weight underflows to 0) and, unlike infinity, leaves a query
    that sees nothing at all with finite, uniform weights instead of NaN.

    Args:
        mask: non-zero where a key is seen: (B, K), or (B, Q, K) or (B, H, Q, K), which say everything; or None.
        queries: (B or 1, Q) places of the queries among the keys, which see no later key; None if they see all.
        keys: K.
        dtype: of the scores.

    Returns:
        (B or 1, H or 1, Q or 1, K), or None where every key is seen.
    """
    if mask is not None and mask.ndim > 2:
        seen = (mask[:, None] if mask.ndim == 3 else mask) != 0
    else:
        if mask is not None and mask.shape[1] < keys:  # a cache has more room, whose later positions are hidden below
            mask = jnp.pad(mask, ((0, 0), (0, keys - mask.shape[1])), constant_values=1)
        seen = None if mask is None else (mask != 0)[:, None, None, :]
        if queries is not None:
            earlier = jnp.arange(keys) <= queries[:, None, :, None]
            seen = earlier if seen is None else seen & earlier
    if seen is None:
        return None
    return jnp.where(seen, jnp.zeros((), dtype), jnp.asarray(jnp.finfo(dtype).min / 2, dtype))


def positions_from_mask(mask: Array | None, start: Array | int, length: int) -> Array | None:
    """Return the position of each of `length` tokens, counting only unmasked tokens; see the PyTorch wing.

    Args:
        mask: (B, K), or None; other masks say nothing about positions.
        start: index of the first of the tokens in the mask: one, or (B,).
        length: number of tokens.

    Returns:
        (B, length) int32, 0 before the first token; None without a mask.
    """
    if mask is None or mask.ndim != 2:
        return None
    seen, order = mask != 0, jnp.arange(mask.shape[1])
    trailing = order > jnp.where(seen, order, -1).max(-1, keepdims=True)
    # One comparison of all pairs is a single loop once compiled, where a running sum is dozens of small ones.
    filled = (seen | trailing)[:, None] & (order <= order[:, None])
    counted = jnp.maximum(filled.sum(-1, dtype=jnp.int32) - 1, 0)
    places = jnp.reshape(jnp.asarray(start), (-1, 1)) + jnp.arange(length)
    return jnp.take_along_axis(counted, jnp.broadcast_to(places, (mask.shape[0], length)), 1)


def rotary_cos_sin(
    positions: Array, inverse_frequencies: Sequence[float] | Array, dtype: Any, factor: float = 1.0
) -> Rotary:
    """Return cosines and sines of rotary positions (Su et al., 2021, section 3.2.2).

    Args:
        positions: (B or 1, Q) integers.
        inverse_frequencies: D / 2 angles per position, of all rows or (B, D / 2) of each; dimension i is paired with
            dimension i + D / 2.
        dtype: of the result; angles are computed in float32.
        factor: what cosines and sines are multiplied by.
    """
    frequencies = jnp.asarray(inverse_frequencies, jnp.float32)
    frequencies = jnp.concatenate([frequencies, frequencies], -1)
    if frequencies.ndim == 2:
        frequencies = frequencies[:, None, None, :]
    angles = positions[:, None, :, None].astype(jnp.float32) * frequencies
    return (jnp.cos(angles) * factor).astype(dtype), (jnp.sin(angles) * factor).astype(dtype)


def apply_rotary(states: Array, rotary: Rotary) -> Array:
    """Rotate states (B, H, Q, D) by the angles that `rotary_cos_sin` returned."""
    cos, sin = rotary
    left, right = jnp.split(states, 2, -1)
    return states * cos + jnp.concatenate([-right, left], -1) * sin


def attend(
    query: Array,
    key: Array,
    value: Array,
    bias: Array | None,
    *,
    scale: float | None = None,
    dropout: Any = None,
    head_mask: Array | None = None,
) -> tuple[Array, Array]:
    """Compute softmax(s Q Kᵀ + bias) V.

    Args:
        query: (B, H, Q, D).
        key: (B, H or fewer, K, D); where fewer, H / fewer queries in a row share one (Ainslie et al., 2023).
        value: like the key.
        bias: as `bias_of` returns it.
        scale: s; 1 / √D where not passed.
        dropout: a function of the weights, or None.
        head_mask: (H,) factors on the weights, or None.

    Returns:
        context (B, H, Q, D) and weights (B, H, Q, K), before dropout.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = jnp.repeat(key, groups, 1), jnp.repeat(value, groups, 1)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = jnp.matmul(query * jnp.asarray(factor, query.dtype), jnp.swapaxes(key, -1, -2))
    if bias is not None:
        scores = scores + bias
    wide = jnp.promote_types(scores.dtype, jnp.float32)
    weights = jax.nn.softmax(scores.astype(wide), -1).astype(value.dtype)
    if head_mask is not None:
        weights = weights * head_mask.astype(weights.dtype)[:, None, None]
    return jnp.matmul(weights if dropout is None else dropout(weights), value), weights


# -- modules ----------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself and to the cached positions before it.

    Attributes:
        layout: sizes of the layer.
        paths: names of the projections; roles with one name are slices of one matrix.
        index: index of the layer.
        projects: whether the block has its output projection; else another module does.
    """

    layout: Layout
    paths: AttentionPaths
    index: int
    projects: bool = True

    def setup(self) -> None:
        """Make the projections."""
        settings = self.layout.settings
        widths: dict[str, int] = {}
        for name, heads in self._projections():
            widths[name] = widths.get(name, 0) + heads * settings.head_width
        for name, width in widths.items():
            setattr(self, name, self.layout.linear(width, bias=settings.attention_bias))
        if self.projects:
            output = self.layout.linear(settings.hidden_size, bias=settings.attention_bias)
            setattr(self, leaf(self.paths.output), output)
        self.attention_dropout = Dropout(settings.attention_dropout)

    def _projections(self) -> list[tuple[str, int]]:
        """Return the names of the projections of query, key and value, and the heads of each."""
        settings, paths = self.layout.settings, self.paths
        heads = (settings.heads, settings.key_heads, settings.key_heads)
        return list(zip(map(leaf, (paths.query, paths.key, paths.value)), heads, strict=True))

    def project(self, states: Array, projections: Sequence[tuple[str, int]]) -> list[Array]:
        """Return projections of states (B, S, hidden), each (B, heads, S, D)."""
        width = self.layout.settings.head_width
        names = dict.fromkeys(name for name, _ in projections)
        results = [getattr(self, name)(states) for name in names]
        if len(results) < len(projections):  # slices of one matrix
            ends = [sum(heads * width for _, heads in projections[: i + 1]) for i in range(len(projections) - 1)]
            results = jnp.split(results[0], ends, -1)
        return [
            jnp.swapaxes(result.reshape(*states.shape[:2], heads, width), 1, 2)
            for result, (_, heads) in zip(results, projections, strict=True)
        ]

    def __call__(self, hidden: Array, context: AttentionContext, flags: CallFlags) -> tuple[Array, Array]:
        """Attend from `hidden` (B, Q, hidden) to itself and to the cached positions.

        Returns:
            (B, Q, hidden), and the weights (B, H, Q, K); K is the cache's room where there is one.
        """
        query, key, value = self.project(hidden, self._projections())
        if context.rotary is not None:
            query, key = apply_rotary(query, context.rotary), apply_rotary(key, context.rotary)
        start = context.start
        key, value = self._append(key, value, start, flags.init_cache)
        places = None
        # Not `> 1`, which is undecided for the symbolic lengths of `jax.export`.
        if self.layout.settings.causal and (start is not None or query.shape[2] != 1):
            first = jnp.zeros((1,), jnp.int32) if start is None else start
            places = jnp.reshape(first, (-1, 1)) + jnp.arange(query.shape[2], dtype=jnp.int32)
        bias = bias_of(context.mask, places, key.shape[2], query.dtype)
        return self._attend(query, key, value, bias, context, flags)

    def _attend(
        self,
        query: Array,
        key: Array,
        value: Array,
        bias: Array | None,
        context: AttentionContext,
        flags: CallFlags,
    ) -> tuple[Array, Array]:
        settings = self.layout.settings
        drops = settings.attention_dropout > 0 and not flags.deterministic
        attended, weights = attend(
            query,
            key,
            value,
            bias,
            scale=settings.scale(self.index),
            dropout=partial(self.attention_dropout, deterministic=False) if drops else None,
            head_mask=None if context.head_mask is None else context.head_mask[self.index],
        )
        hidden = jnp.swapaxes(attended, 1, 2).reshape(query.shape[0], query.shape[2], -1)
        if self.projects:
            hidden = getattr(self, leaf(self.paths.output))(hidden)
        return hidden, weights

    def _append(self, key: Array, value: Array, start: Array | None, creates: bool) -> tuple[Array, Array]:
        """Write keys and values (B, kv_heads, Q, D) into the cache, and return all of its room.

        Args:
            key: of this call.
            value: of this call.
            start: places of the first ones, (B,) or () for all rows; None without a cache.
            creates: make an empty cache with room for as many positions, instead of writing.

        Returns:
            keys and values (B, kv_heads, room, D).
        """
        if creates:
            empty = jnp.zeros_like(jnp.swapaxes(key, 1, 2))
            self._put(cached_key=empty, cached_value=empty)
        if start is None:
            return key, value
        rooms: list[Any] = [self.get_variable("cache", name) for name in ("cached_key", "cached_value")]
        rooms = [_write_at(room, jnp.swapaxes(new, 1, 2), start) for room, new in zip(rooms, (key, value), strict=True)]
        self._put(cached_key=rooms[0], cached_value=rooms[1])
        return jnp.swapaxes(rooms[0], 1, 2), jnp.swapaxes(rooms[1], 1, 2)

    def _put(self, **arrays: Array) -> None:
        for name, array in arrays.items():
            self.put_variable("cache", name, array)


def _write_at(room: Array, new: Array, start: Array) -> Array:
    """Write (B, Q, heads, D) into (B, room, heads, D), from one start or each row from its own (B,)."""
    if start.ndim == 0:
        return jax.lax.dynamic_update_slice_in_dim(room, new.astype(room.dtype), start, 1)

    def write(row: Array, piece: Array, at: Array) -> Array:
        return jax.lax.dynamic_update_slice(row, piece, (at, 0, 0))

    return jax.vmap(write)(room, new.astype(room.dtype), start)


class CrossAttention(Attention):
    """Multi-head attention of a sequence to an encoder's output; its keys and values are cached. See `Attention`."""

    def __call__(self, hidden: Array, context: AttentionContext, flags: CallFlags) -> tuple[Array, Array]:
        """Attend from `hidden` (B, Q, hidden) to the encoder's positions E; weights are (B, H, Q, E)."""
        projections = self._projections()
        (query,) = self.project(hidden, projections[:1])
        key, value = self._encoder_key_value(context, projections[1:], flags)
        bias = bias_of(context.encoder_mask, None, key.shape[2], query.dtype)
        return self._attend(query, key, value, bias, context, flags)

    def _encoder_key_value(
        self, context: AttentionContext, projections: list[tuple[str, int]], flags: CallFlags
    ) -> tuple[Array, Array]:
        """Return key and value of the encoder's positions, those of the cache if it has them."""
        if self.has_variable("cache", "cross_key"):
            found: list[Any] = [self.get_variable("cache", name) for name in ("cross_key", "cross_value")]
            return found[0], found[1]
        assert context.encoder_hidden_states is not None  # else a layer leaves this block out
        key, value = self.project(context.encoder_hidden_states, projections)
        if flags.init_cache or context.start is not None:
            self._put(cross_key=key, cross_value=value)
        return key, value
