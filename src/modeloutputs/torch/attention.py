"""Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1) and the masks that limit it.

Shapes: B rows, H heads, Q query positions, K key positions, D width of a head.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .layers import Linear
from .values import are_at_hand, are_known

__all__ = [
    "AttentionMask",
    "CrossAttention",
    "Rotation",
    "SelfAttention",
    "attend",
    "build_mask",
    "is_unmasked",
    "rotate",
    "rotation",
]

KeyValue = tuple[Tensor, Tensor]


class AttentionMask(NamedTuple):
    """Which keys each query may see.

    `bias` (B or 1, 1 or H, Q or 1, K) is added to the scores: 0 where a key is seen, a large negative number where it
    is not; None where all are. `causal` says that it is None because the kernel itself hides later positions.
    """

    bias: Tensor | None = None
    causal: bool = False


def is_unmasked(mask: Tensor | None) -> bool:
    """Whether a mask hides nothing. Where its values are unknown, only an absent mask is known to."""
    return mask is None or (are_known(mask) and bool((mask != 0).all()))


def build_mask(
    mask: Tensor | None, queries: int, keys: int, like: Tensor, *, causal: bool, heads: int | None = None
) -> AttentionMask:
    """Turn a caller's mask into what `attend` takes.

    Args:
        mask: non-zero where a key is seen; (B, K), or (B, Q, K) or (B, H, Q, K), which say everything: `causal` is
            not added to them.
        queries: Q.
        keys: K; the last Q of them are the queries' own positions.
        like: a tensor on the device, and of the dtype, that attention computes in.
        causal: hide from each query the positions after its own.
        heads: H, where known.

    Raises:
        InputError: the mask's shape fits neither.
    """
    if mask is not None:
        _check_mask(mask, like.shape[0], queries, keys, heads)
        if mask.dim() > 2:
            return AttentionMask(_bias(mask.unsqueeze(1) if mask.dim() == 3 else mask, like))
    causal = causal and bool(queries > 1)  # a single last query comes after every key
    if is_unmasked(mask):
        if not causal or queries == keys:
            return AttentionMask(causal=causal)
        return AttentionMask(_bias(_triangle(queries, keys, like.device), like))
    assert mask is not None  # else unmasked
    seen = (mask != 0)[:, None, None, :]
    if causal:
        seen = seen & _triangle(queries, keys, like.device)
    return AttentionMask(_bias(seen, like))


def _check_mask(mask: Tensor, rows: int, queries: int, keys: int, heads: int | None) -> None:
    shape = tuple(mask.shape)
    fits = shape in ((rows, keys), (rows, queries, keys))
    if mask.dim() == 4:
        fits = shape[0] in (1, rows) and shape[2:] == (queries, keys) and (not heads or shape[1] in (1, heads))
    if not fits:
        raise InputError(
            f"attention mask has shape {tuple(mask.shape)}; expected (batch, keys) = {(rows, keys)}, "
            f"(batch, seq, keys) = {(rows, queries, keys)} or (batch, heads, seq, keys)"
        )
    if are_at_hand(mask) and mask.is_floating_point() and mask.min() < 0:
        raise InputError(
            "attention mask has negative values, as masks to be added to scores have; pass 1 where a key is seen, 0 not"
        )


def _triangle(queries: int, keys: int, device: torch.device) -> Tensor:
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def _bias(seen: Tensor, like: Tensor) -> Tensor:
    """Half of the lowest number hides a key exactly (its weight underflows to 0) and, unlike infinity, leaves a query
    that sees nothing at all with finite, uniform weights instead of NaN."""
    dtype = compute_dtype(like)
    # Made like `seen`, so that under `vmap` it has the axis that is mapped over.
    return torch.zeros_like(seen, dtype=dtype).masked_fill_(seen == 0, torch.finfo(dtype).min / 2)


def compute_dtype(like: Tensor) -> torch.dtype:
    """The dtype that matrix products of such a tensor come out in: autocast's, where that is on."""
    kind = like.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: AttentionMask,
    dropout: float,
    with_weights: bool,
    scale: float | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Compute softmax(s Q Kᵀ + bias) V.

    Args:
        query: (B, H, Q, D).
        key: (B, H or fewer, K, D); where fewer, H / fewer queries in a row share one (Ainslie et al., 2023).
        value: like the key.
        mask: which keys are seen.
        dropout: probability of dropping a weight.
        with_weights: also return the weights; without them a fused kernel runs.
        scale: s; 1 / √D where not passed.

    Returns:
        context (B, H, Q, D) and weights (B, H, Q, K), before dropout, or None.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and query.shape[2] == 1 and not with_weights and (mask.bias is None or mask.bias.shape[1] == 1):
        # Heads that share a key are queries of it, and the key need not be repeated for each.
        context, _ = attend(query.view(*key.shape[:2], groups, -1), key, value, mask, dropout, False, scale)
        return context.reshape(query.shape), None
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if not with_weights:
        context = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask.bias, dropout_p=dropout, is_causal=mask.causal, scale=scale
        )
        return context, None
    scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scale is None else scale), key.transpose(-1, -2))
    bias = mask.bias
    if mask.causal:
        bias = _bias(_triangle(query.shape[-2], key.shape[-2], query.device), query)
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(-1).to(value.dtype)
    dropped = F.dropout(weights, dropout) if dropout else weights
    return torch.matmul(dropped, value), weights


Rotation = tuple[Tensor, Tensor]
"""Cosines and sines (B or 1, 1, Q, D) of the angles by which queries and keys are turned."""


def rotation(positions: Tensor, inverse_frequencies: Sequence[float], dtype: torch.dtype) -> Rotation:
    """Return what `SelfAttention` turns queries and keys by (Su et al., 2021, section 3.2.2).

    Args:
        positions: (B or 1, Q) integers.
        inverse_frequencies: D / 2 angles per position; dimension i is paired with dimension i + D / 2.
        dtype: of the result; angles are computed in float32.
    """
    frequencies = torch.tensor(inverse_frequencies, dtype=torch.float32, device=positions.device)
    angles = positions[:, None, :, None].float() * torch.cat([frequencies, frequencies])
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(states: Tensor, by: Rotation) -> Tensor:
    """Turn states (B, H, Q, D) by what `rotation` returned."""
    cos, sin = by
    left, right = states.chunk(2, -1)
    return states * cos + torch.cat([-right, left], -1) * sin


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself, query, key and value projected in one product."""

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        dropout: float,
        *,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        bias: bool = True,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.kv_heads = kv_heads or heads
        self.head_dim = head_dim or hidden_size // heads
        self.dropout = dropout
        self.scale = scale
        parts = [count * self.head_dim for count in (heads, self.kv_heads, self.kv_heads)]
        self.qkv = Linear(hidden_size, sum(parts), bias=bias)
        self.qkv.parts = parts
        self.output = Linear(heads * self.head_dim, hidden_size, bias=bias)

    def forward(
        self,
        hidden: Tensor,
        mask: AttentionMask,
        extend: Callable[[Tensor, Tensor], KeyValue] | None = None,
        with_weights: bool = False,
        turned: Rotation | None = None,
    ) -> tuple[Tensor, Tensor | None, KeyValue]:
        """Attend from `hidden` (B, Q, hidden) to itself and to what came before it.

        Args:
            hidden: the states.
            mask: which keys are seen.
            extend: takes this call's key and value (B, kv_heads, Q, D) and returns those of all positions, K.
            with_weights: also return the weights.
            turned: rotary positions of queries and keys.

        Returns:
            the projected context (B, Q, hidden), the weights (B, H, Q, K) or None, and key and value of all positions.
        """
        rows, length, _ = hidden.shape
        heads = self.heads + 2 * self.kv_heads
        qkv = self.qkv(hidden).view(rows, length, heads, self.head_dim).transpose(1, 2)
        query, key, value = qkv.split([self.heads, self.kv_heads, self.kv_heads], 1)
        if turned is not None:
            query, key = rotate(query, turned), rotate(key, turned)
        if extend is not None:
            key, value = extend(key, value)
        dropout = self.dropout if self.training else 0.0
        context, weights = attend(query, key, value, mask, dropout, with_weights, self.scale)
        return (
            self.output(context.transpose(1, 2).reshape(rows, length, self.heads * self.head_dim)),
            weights,
            (key, value),
        )


class CrossAttention(nn.Module):
    """Multi-head attention of a sequence to an encoder's output."""

    def __init__(self, hidden_size: int, heads: int, dropout: float, scale: float | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.scale = scale
        self.query = Linear(hidden_size, hidden_size)
        self.key_value = Linear(hidden_size, 2 * hidden_size)
        self.output = Linear(hidden_size, hidden_size)

    def project(self, encoder_hidden_states: Tensor) -> KeyValue:
        """Return the encoder's key and value (B, H, K, D), which stay the same in every step of decoding."""
        rows, length, width = encoder_hidden_states.shape
        both = self.key_value(encoder_hidden_states).view(rows, length, 2, self.heads, width // self.heads)
        key, value = both.permute(2, 0, 3, 1, 4).unbind()
        return key, value

    def forward(
        self, hidden: Tensor, key_value: KeyValue, mask: AttentionMask, with_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `hidden` (B, Q, hidden) to the encoder; return context (B, Q, hidden) and weights or None."""
        rows, length, width = hidden.shape
        query = self.query(hidden).view(rows, length, self.heads, width // self.heads).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        context, weights = attend(query, *key_value, mask, dropout, with_weights, self.scale)
        return self.output(context.transpose(1, 2).reshape(rows, length, width)), weights
