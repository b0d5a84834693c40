"""Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1) and the masks that limit it.

Shapes: B rows, H heads, Q query positions, K key positions, D width of a head.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .layers import Linear

__all__ = ["AttentionMask", "CrossAttention", "SelfAttention", "attend", "build_mask", "is_unmasked"]

KeyValue = tuple[Tensor, Tensor]


class AttentionMask(NamedTuple):
    """Which keys each query may see.

    `bias` (B or 1, 1 or H, Q or 1, K) is added to the scores: 0 where a key is seen, a large negative number where it
    is not; None where all are. `causal` says that it is None because the kernel itself hides later positions.
    """

    bias: Tensor | None = None
    causal: bool = False


def is_unmasked(mask: Tensor | None) -> bool:
    """Whether a mask hides nothing. Under a compiler, where values are unknown, only an absent mask is known to."""
    return mask is None or (not torch.compiler.is_compiling() and bool((mask != 0).all()))


def build_mask(mask: Tensor | None, queries: int, keys: int, like: Tensor, *, causal: bool) -> AttentionMask:
    """Turn a caller's mask into what `attend` takes.

    Args:
        mask: non-zero where a key is seen; (B, K), or (B, Q, K) or (B, H, Q, K), which say everything: `causal` is
            not added to them.
        queries: Q.
        keys: K; the last Q of them are the queries' own positions.
        like: a tensor on the device, and of the dtype, that attention computes in.
        causal: hide from each query the positions after its own.

    Raises:
        InputError: the mask's shape fits neither.
    """
    if mask is not None:
        _check_mask(mask, like.shape[0], queries, keys)
        if mask.dim() > 2:
            return AttentionMask(_bias(mask.unsqueeze(1) if mask.dim() == 3 else mask, like))
    causal = causal and queries > 1  # a single last query comes after every key
    if is_unmasked(mask):
        if not causal or queries == keys:
            return AttentionMask(causal=causal)
        return AttentionMask(_bias(_triangle(queries, keys, like.device), like))
    assert mask is not None  # else unmasked
    seen = (mask != 0)[:, None, None, :]
    if causal:
        seen = seen & _triangle(queries, keys, like.device)
    return AttentionMask(_bias(seen, like))


def _check_mask(mask: Tensor, rows: int, queries: int, keys: int) -> None:
    shape = tuple(mask.shape)
    fits = shape in ((rows, keys), (rows, queries, keys))
    if mask.dim() == 4:
        fits = shape[0] in (1, rows) and shape[2:] == (queries, keys)
    if not fits:
        raise InputError(
            f"attention mask has shape {tuple(mask.shape)}; expected (batch, keys) = {(rows, keys)}, "
            f"(batch, seq, keys) = {(rows, queries, keys)} or (batch, heads, seq, keys)"
        )
    if mask.is_floating_point() and not torch.compiler.is_compiling() and mask.device.type == "cpu" and mask.min() < 0:
        raise InputError(
            "attention mask has negative values, as masks to be added to scores have; pass 1 where a key is seen, 0 not"
        )


def _triangle(queries: int, keys: int, device: torch.device) -> Tensor:
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def _bias(seen: Tensor, like: Tensor) -> Tensor:
    """Half of the lowest number hides a key exactly (its weight underflows to 0) and, unlike infinity, leaves a query
    that sees nothing at all with finite, uniform weights instead of NaN."""
    dtype = compute_dtype(like)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(seen == 0, torch.finfo(dtype).min / 2)


def compute_dtype(like: Tensor) -> torch.dtype:
    """The dtype that matrix products of such a tensor come out in: autocast's, where that is on."""
    kind = like.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: AttentionMask, dropout: float, with_weights: bool
) -> tuple[Tensor, Tensor | None]:
    """Compute softmax(Q Kᵀ / √D + bias) V.

    Args:
        query: (B, H, Q, D).
        key: (B, H, K, D).
        value: (B, H, K, D).
        mask: which keys are seen.
        dropout: probability of dropping a weight.
        with_weights: also return the weights; without them a fused kernel runs.

    Returns:
        context (B, H, Q, D) and weights (B, H, Q, K), before dropout, or None.
    """
    if not with_weights:
        context = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask.bias, dropout_p=dropout, is_causal=mask.causal
        )
        return context, None
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
    bias = mask.bias
    if mask.causal:
        bias = _bias(_triangle(query.shape[-2], key.shape[-2], query.device), query)
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(-1).to(value.dtype)
    dropped = F.dropout(weights, dropout) if dropout else weights
    return torch.matmul(dropped, value), weights


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself, query, key and value projected in one product."""

    def __init__(self, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = Linear(hidden_size, 3 * hidden_size)
        self.output = Linear(hidden_size, hidden_size)

    def forward(
        self, hidden: Tensor, mask: AttentionMask, past: KeyValue | None = None, with_weights: bool = False
    ) -> tuple[Tensor, Tensor | None, KeyValue]:
        """Attend from `hidden` (B, Q, hidden) to itself and, before it, to `past`: key and value (B, H, P, D).

        Returns:
            the projected context (B, Q, hidden), the weights (B, H, Q, P + Q) or None, and key and value with those
            of this call appended.
        """
        rows, length, width = hidden.shape
        qkv = self.qkv(hidden).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind()
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        dropout = self.dropout if self.training else 0.0
        context, weights = attend(query, key, value, mask, dropout, with_weights)
        return self.output(context.transpose(1, 2).reshape(rows, length, width)), weights, (key, value)


class CrossAttention(nn.Module):
    """Multi-head attention of a sequence to an encoder's output."""

    def __init__(self, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
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
        context, weights = attend(query, *key_value, mask, dropout, with_weights)
        return self.output(context.transpose(1, 2).reshape(rows, length, width)), weights
