"""Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1) and the masks that limit it.

Shapes: B rows, H heads, Q query positions, K key positions, D width of a head.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..architectures.layers import LayerSettings
from ..errors import InputError
from .dropout import draws_in_bulk, drop
from .layers import linear_layer
from .plain import PackedModule, apply_linear, apply_linears, pack_linears, returns_new_tensors, split_columns
from .results import Made, finished
from .values import has_concrete_values, require_tensor, values_on_cpu

__all__ = [
    "Attention",
    "AttentionContext",
    "AttentionMask",
    "AttentionResult",
    "CrossAttention",
    "KeyValue",
    "PositionEmbeddings",
    "apply_rotary",
    "attend",
    "build_mask",
    "check_mask",
    "checked_head_mask",
    "compute_dtype",
    "is_unmasked",
    "rotary_cos_sin",
]

KeyValue = tuple[Tensor, Tensor]


class AttentionMask(NamedTuple):
    """The keys that each query may see.

    `bias` (B or 1, 1 or H, Q or 1, K) is added to the scores: 0 where a key is seen, a large negative number where it
    is not; None where all are. `causal` says that it is None because the kernel itself hides later positions. `heads`
    (1, H, 1, 1) multiplies the weights of each head; None where nothing does.
    """

    bias: Tensor | None = None
    causal: bool = False
    heads: Tensor | None = None


def is_unmasked(mask: Tensor | None) -> bool:
    """Whether a mask hides nothing. Where its values are unknown, only an absent mask is known to."""
    return mask is None or (has_concrete_values(mask) and bool((mask != 0).all()))


def build_mask(mask: Tensor | None, queries: int, keys: int, like: Tensor, *, causal: bool) -> AttentionMask:
    """Turn a caller's mask, which `check_mask` has seen, into what `attend` takes.

    Args:
        mask: non-zero where a key is seen; (B, K), or (B, Q, K) or (B, H, Q, K), which say everything: `causal` is
            not added to them.
        queries: Q.
        keys: K; the last Q of them are the queries' own positions.
        like: a tensor on the device, and of the dtype, that attention computes in.
        causal: hide from each query the positions after its own.
    """
    if mask is not None and mask.dim() > 2:
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


def check_mask(mask: Tensor | None, rows: int, queries: int, keys: int, heads: int | None = None) -> None:
    """Refuse a mask that is not (rows, keys), (rows, queries, keys) or (rows or 1, heads or 1, queries, keys).

    Raises:
        InputError: the mask has another shape, or negative values.
    """
    if mask is None:
        return
    require_tensor(mask, "attention_mask")
    if not _fits(mask, rows, queries, keys, heads):
        raise InputError(
            f"attention mask has shape {tuple(mask.shape)}; expected (batch, keys) = {(rows, keys)}, "
            f"(batch, seq, keys) = {(rows, queries, keys)} or (batch, heads, seq, keys)"
        )
    if values_on_cpu(mask) and mask.is_floating_point() and mask.min() < 0:
        raise InputError(
            "attention mask has negative values, as masks to be added to scores have; pass 1 where a key is seen, 0 not"
        )


def checked_head_mask(mask: Tensor | None, layers: int, heads: int, what: str) -> Tensor | None:
    """Return factors of heads, (heads,) or (layers, heads), as (layers, 1, heads, 1, 1) or None.

    Raises:
        InputError: no tensor, or of another shape.
    """
    if mask is None:
        return None
    require_tensor(mask, what)
    if tuple(mask.shape) not in ((heads,), (layers, heads)):
        raise InputError(
            f"{what} has shape {tuple(mask.shape)}; "
            f"expected (heads,) = {(heads,)} or (layers, heads) = {(layers, heads)}"
        )
    return mask.expand(layers, heads)[:, None, :, None, None]


def _fits(mask: Tensor, rows: int, queries: int, keys: int, heads: int | None) -> bool:
    # Size by size: to a compiler, tuples of sizes that it does not know yet are never equal.
    sizes = mask.shape
    if mask.dim() == 2:
        return sizes[0] == rows and sizes[1] == keys
    if not 3 <= mask.dim() <= 4 or sizes[-1] != keys or sizes[-2] != queries:
        return False
    if mask.dim() == 3:
        return sizes[0] == rows
    return (sizes[0] == 1 or sizes[0] == rows) and (not heads or sizes[1] == 1 or sizes[1] == heads)


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
    if kind == "meta":
        return like.dtype
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
        with_weights: also return the weights; without them, and without dropout on the CPU, a fused kernel runs.
        scale: s; 1 / √D where not passed.

    Returns:
        context (B, H, Q, D) and weights (B, H, Q, K), before dropout, or None.
    """
    groups, fused = query.shape[1] // key.shape[1], not with_weights and mask.heads is None
    if groups > 1 and query.shape[2] == 1 and fused and (mask.bias is None or mask.bias.shape[1] == 1):
        # Heads that share a key are queries of it, and the key need not be repeated for each.
        context, _ = attend(query.view(*key.shape[:2], groups, -1), key, value, mask, dropout, False, scale)
        return context.reshape(query.shape), None
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if fused and not (dropout and draws_in_bulk(query)):
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
    if mask.heads is not None:
        weights = weights * mask.heads.to(weights.dtype)
    dropped = drop(weights, dropout) if dropout else weights
    return torch.matmul(dropped, value), weights if with_weights else None


PositionEmbeddings = tuple[Tensor, Tensor]
"""Cosines and sines (B or 1, 1, Q, D) of the angles of rotary positions."""


def rotary_cos_sin(
    positions: Tensor, inverse_frequencies: Sequence[float] | Tensor, dtype: torch.dtype, factor: float = 1.0
) -> PositionEmbeddings:
    """Return cosines and sines of rotary positions (Su et al., 2021, section 3.2.2).

    Args:
        positions: (B or 1, Q) integers.
        inverse_frequencies: D / 2 angles per position, of all rows or (B, D / 2) of each; dimension i is paired with
            dimension i + D / 2.
        dtype: of the result; angles are computed in float32.
        factor: what cosines and sines are multiplied by.
    """
    frequencies = torch.as_tensor(inverse_frequencies, dtype=torch.float32, device=positions.device)
    frequencies = torch.cat([frequencies, frequencies], -1)
    if frequencies.dim() == 2:
        frequencies = frequencies[:, None, None, :]
    angles = positions[:, None, :, None].float() * frequencies
    cos, sin = angles.cos(), angles.sin()
    return (cos.to(dtype), sin.to(dtype)) if factor == 1.0 else ((cos * factor).to(dtype), (sin * factor).to(dtype))


def apply_rotary(states: Tensor, position_embeddings: PositionEmbeddings) -> Tensor:
    """Rotate states (B, H, Q, D) by the angles that `rotary_cos_sin` returned."""
    cos, sin = position_embeddings
    left, right = states.chunk(2, -1)
    return states * cos + torch.cat([-right, left], -1) * sin


# -- modules ----------------------------------------------------------------------------------------------------------


Projection = tuple[str, int]
"""Name of a module and number of heads of its result."""


class Projections(NamedTuple):
    """The three projections of an attention block."""

    query: Projection
    key: Projection
    value: Projection


class AttentionContext(Protocol):
    """The inputs that all attention blocks of one call share."""

    @property
    def mask(self) -> AttentionMask:
        """The keys that each query may see."""
        ...

    @property
    def encoder_mask(self) -> AttentionMask:
        """The encoder's positions that each query may see."""
        ...

    @property
    def encoder_hidden_states(self) -> Tensor | None:
        """(B, E, hidden), or None."""
        ...

    @property
    def position_embeddings(self) -> PositionEmbeddings | None:
        """Rotary positions of the queries, or None."""
        ...

    @property
    def made(self) -> Made:
        """What the call's modules made; see `modeloutputs.torch.results`."""
        ...

    @property
    def has_cache(self) -> bool:
        """Whether keys and values are returned, for a cache."""
        ...

    def append(self, key: Tensor, value: Tensor) -> KeyValue:
        """Return key and value of all positions, the cached ones first."""
        ...

    def cached_cross(self) -> KeyValue | None:
        """Return the encoder's key and value from the cache, or None."""
        ...


class AttentionResult(NamedTuple):
    """The result of an attention block."""

    hidden: Tensor
    """(B, Q, hidden)."""
    weights: Tensor | None = None
    """(B, H, Q, K), where asked for."""
    key_value: KeyValue | None = None
    """Key and value of all positions (B, kv_heads, K, D), where there is a cache."""


@returns_new_tensors
class Attention(PackedModule):
    """Multi-head attention of a sequence to itself and to the cached positions before it.

    Args:
        settings: sizes of the layer.
        layer: index of the layer, which its scale depends on.
        query: name of the query projection.
        key: name of the key projection; roles with one name are slices of one matrix.
        value: name of the value projection.
        output: name of the output projection; None where another module does it.
    """

    def __init__(
        self, settings: LayerSettings, layer: int, *, query: str, key: str, value: str, output: str | None
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = settings.heads, settings.key_heads, settings.head_width
        self.dropout = settings.attention_dropout
        self.scale = settings.scale(layer)
        self.projections = Projections((query, self.heads), (key, self.kv_heads), (value, self.kv_heads))
        self.output_name = output
        widths: dict[str, int] = {}
        for name, heads in self.projections:
            widths[name] = widths.get(name, 0) + heads * self.head_dim
        size, bias = settings.hidden_size, settings.attention_bias
        for name, width in widths.items():
            self.add_module(name, linear_layer(settings, size, width, bias=bias))
        if output is not None:
            self.add_module(output, linear_layer(settings, self.heads * self.head_dim, size, bias=bias))

    def pack(self) -> None:
        """Move projections of one input end to end in memory, so that one product computes them all."""
        pack_linears(self._layers(*self.projections))

    def _layers(self, *projections: Projection) -> list[nn.Module]:
        return [getattr(self, name) for name in dict.fromkeys(name for name, _ in projections)]

    def project(self, states: Tensor, *projections: Projection) -> list[Tensor]:
        """Return projections of states (B, S, hidden), each (B, heads, S, D)."""
        results = apply_linears(self._layers(*projections), states)
        if len(results) < len(projections):  # slices of one matrix
            results = split_columns(results[0], [heads * self.head_dim for _, heads in projections])
        rows, length = states.shape[:2]
        return [
            result.view(rows, length, heads, self.head_dim).transpose(1, 2)
            for result, (_, heads) in zip(results, projections, strict=True)
        ]

    def forward(self, hidden: Tensor, context: AttentionContext, with_weights: bool = False) -> tuple[Any, ...]:
        """Attend from `hidden` (B, Q, hidden) to itself and to the cached positions; `with_weights` returns weights.

        Returns:
            the parts of an `AttentionResult` but the last, which is noted in `context.made`.
        """
        query, key, value = self.project(hidden, *self.projections)
        rotary = context.position_embeddings
        if rotary is not None:
            query, key = apply_rotary(query, rotary), apply_rotary(key, rotary)
        key_value = context.append(key, value)
        attended, weights = self.attend(query, key_value, context.mask, with_weights)
        return finished(context.made, attended, weights, beside=(key_value if context.has_cache else None,))

    def attend(
        self, query: Tensor, key_value: KeyValue, mask: AttentionMask, with_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from a projected query (B, H, Q, D) and project the result; also return weights, where asked for."""
        dropout = self.dropout if self.training else 0.0
        attended, weights = attend(query, *key_value, mask, dropout, with_weights, self.scale)
        hidden = attended.transpose(1, 2).flatten(2)
        if self.output_name is not None:
            hidden = apply_linear(getattr(self, self.output_name), hidden)
        return hidden, weights


@returns_new_tensors
class CrossAttention(Attention):
    """Multi-head attention of a sequence to an encoder's output; arguments as of `Attention`."""

    def pack(self) -> None:
        """Move the projections of the encoder's states end to end in memory."""
        pack_linears(self._layers(*self.projections[1:]))

    def encoder_key_value(self, context: AttentionContext) -> KeyValue | None:
        """Return the encoder's key and value, the cached ones if any; None without an encoder."""
        cached = context.cached_cross()
        if cached is not None or context.encoder_hidden_states is None:
            return cached
        key, value = self.project(context.encoder_hidden_states, *self.projections[1:])
        return key, value

    def forward(self, hidden: Tensor, context: AttentionContext, with_weights: bool = False) -> tuple[Any, ...]:
        """Attend from `hidden` (B, Q, hidden) to the encoder's positions; returns as `Attention.forward`."""
        key_value = self.encoder_key_value(context)
        assert key_value is not None  # a layer calls this with an encoder only
        (query,) = self.project(hidden, self.projections.query)
        attended, weights = self.attend(query, key_value, context.encoder_mask, with_weights)
        return finished(context.made, attended, weights, beside=(key_value if context.has_cache else None,))
