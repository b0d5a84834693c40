"""Layers as all frameworks build them: sizes and switches, and the path of each role's module within a layer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["AttentionPaths", "FeedForwardPaths", "LayerPaths", "LayerSettings"]


@dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """Sizes and switches of the layers of one stack."""

    hidden_size: int
    heads: int
    intermediate_size: int
    activation: str
    norm_eps: float
    kv_heads: int | None = None
    """Heads of keys and values, fewer than `heads` where several queries share one; `heads` if None."""
    head_dim: int | None = None
    """Width of a head; `hidden_size / heads` if None."""
    rms_norm: bool = False
    """Normalise with RMSNorm instead of LayerNorm."""
    norm_first: bool = False
    """Normalise the input of each block (Xiong et al., 2020, "Pre-LN") instead of its sum with the input."""
    transposed_weights: bool = False
    """Store weights as (in, out), as GPT and GPT-2 do, instead of (out, in)."""
    attention_bias: bool = True
    feed_forward_bias: bool = True
    causal: bool = False
    """Hide later positions from each position."""
    cross_attention: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    scales: Sequence[float | None] = field(default=())
    """Factor on the attention scores, by layer; 1 / √head_dim where None or empty."""

    @property
    def key_heads(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def head_width(self) -> int:
        """Width of a head."""
        return self.head_dim or self.hidden_size // self.heads

    def scale(self, index: int) -> float | None:
        """Return the factor on the attention scores of a layer; None for 1 / √head_dim."""
        return self.scales[index] if self.scales else None


@dataclass(frozen=True, kw_only=True)
class AttentionPaths:
    """Paths of an attention block's modules within a layer; roles with one path share one matrix."""

    query: str
    key: str
    value: str
    output: str
    norm: str

    @property
    def block(self) -> str:
        """Path of the attention block."""
        return self.query.rpartition(".")[0]


@dataclass(frozen=True, kw_only=True)
class FeedForwardPaths:
    """Paths of a feed-forward block's modules within a layer."""

    up: str
    down: str
    norm: str
    gate: str | None = None
    """The gate of a gated block (Shazeer, 2020)."""

    @property
    def block(self) -> str:
        """Path of the feed-forward block; empty where its modules are the layer's own."""
        return self.up.rpartition(".")[0]


@dataclass(frozen=True, kw_only=True)
class LayerPaths:
    """Paths of a layer's modules by role, as checkpoints name them."""

    attention: AttentionPaths
    feed_forward: FeedForwardPaths
    cross_attention: AttentionPaths | None = None

    @property
    def residual_outputs(self) -> tuple[str, ...]:
        """The modules whose results are added to the residual stream."""
        cross = () if self.cross_attention is None else (self.cross_attention.output,)
        return (self.attention.output, *cross, self.feed_forward.down)
