"""The stack of layers that all models share: what it is made of, what one call gives it, and what it returns."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from ..errors import InputError
from ..output import ModelOutput
from .attention import AttentionMask, CrossAttention, Rotation, SelfAttention, build_mask, compute_dtype
from .blocks import block_rows, in_blocks
from .cache import Extension, KeyValue, PastKeyValues, check_cache, cross_length, past_length
from .inputs import check_embeds, check_positions
from .layers import (
    FeedForward,
    GatedFeedForward,
    LayerNorm,
    LayerSelection,
    Linear,
    RMSNorm,
    add_residual,
    is_watched,
    select_layers,
)
from .steps import Steps

__all__ = ["Call", "Given", "LayerSettings", "Stack", "StackResult"]

STEPS: ContextVar[Steps | None] = ContextVar("STEPS", default=None)
"""What a loop of decoding has prepared, for the stack that it was prepared from."""

Output = TypeVar("Output", bound=ModelOutput)


@dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """What the layers of a stack are made of."""

    hidden_size: int
    heads: int
    intermediate_size: int
    activation: str
    norm_eps: float
    kv_heads: int | None = None
    """Heads of keys and values, fewer than `heads` where several queries share one; `heads` if None."""
    head_dim: int | None = None
    """Width of a head; `hidden_size / heads` if None."""
    root_mean_square: bool = False
    """Normalise with RMSNorm instead of LayerNorm."""
    norm_first: bool = False
    """Normalise what each block reads (Xiong et al., 2020, "Pre-LN") instead of what it and its input add up to."""
    gated: bool = False
    """Multiply the feed-forward block's values with a gate."""
    attention_bias: bool = True
    feed_forward_bias: bool = True
    causal: bool = False
    """No position sees a later one."""
    cross_attention: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    scales: Sequence[float | None] = field(default=())
    """By layer, what attention scores are multiplied with; 1 / √head_dim where there is none."""

    def norm(self) -> nn.Module:
        """Return a new normalisation."""
        return (RMSNorm if self.root_mean_square else LayerNorm)(self.hidden_size, self.norm_eps)

    @property
    def cache_shape(self) -> tuple[int, int]:
        """Heads and width of cached keys."""
        return self.kv_heads or self.heads, self.head_dim or self.hidden_size // self.heads


# -- one layer --------------------------------------------------------------------------------------------------------


class LayerContext(NamedTuple):
    """What all layers of one call are given alike."""

    mask: AttentionMask
    encoder_hidden_states: Tensor | None
    encoder_mask: AttentionMask
    extension: Extension | None
    turned: Rotation | None

    def cross_key_value(self, layer: int, attention: CrossAttention) -> KeyValue | None:
        """Return the encoder's key and value for a layer: the cache's, else projected; None where there is neither."""
        held = None if self.extension is None else self.extension.cross(layer)
        if held is not None or self.encoder_hidden_states is None:
            return held
        return attention.project(self.encoder_hidden_states)


class LayerResult(NamedTuple):
    """What one layer returns; what was not asked for is None."""

    hidden: Tensor
    attention: Tensor | None
    cross_attention: Tensor | None
    present: tuple[Tensor, ...] | None


class Layer(nn.Module):
    """Self-attention, cross-attention where there is any, and feed-forward, each added to its input."""

    def __init__(self, settings: LayerSettings, index: int) -> None:
        super().__init__()
        width = settings.hidden_size
        scale = settings.scales[index] if settings.scales else None
        self.index = index
        self.norm_first = settings.norm_first
        self.attention = SelfAttention(
            width,
            settings.heads,
            settings.attention_dropout,
            kv_heads=settings.kv_heads,
            head_dim=settings.head_dim,
            bias=settings.attention_bias,
            scale=scale,
        )
        self.attention_norm = settings.norm()
        self.cross_attention: CrossAttention | None = None
        if settings.cross_attention:
            self.cross_attention = CrossAttention(width, settings.heads, settings.attention_dropout, scale)
            self.cross_attention_norm = settings.norm()
        self.feed_forward: FeedForward | GatedFeedForward = _feed_forward(settings)
        self.feed_forward_norm = settings.norm()
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, hidden: Tensor, context: LayerContext, with_weights: bool) -> LayerResult:
        """Map (B, S, hidden) to (B, S, hidden)."""
        extension = context.extension
        extend = None if extension is None else partial(extension.extend, self.index)
        attended, weights, present = self.attention(
            self._read(hidden, self.attention_norm), context.mask, extend, with_weights, context.turned
        )
        hidden = self._add(attended, hidden, self.attention_norm, self.attention, self.attention.output)
        cross_weights, kept = None, cast("tuple[Tensor, ...]", present)
        across = self.cross_attention
        cross = None if across is None else context.cross_key_value(self.index, across)
        if across is not None and cross is not None:
            read = self._read(hidden, self.cross_attention_norm)
            attended, cross_weights = across(read, cross, context.encoder_mask, with_weights)
            hidden = self._add(attended, hidden, self.cross_attention_norm, across, across.output)
            kept = (*present, *cross)
        raised = self.feed_forward(self._read(hidden, self.feed_forward_norm))
        hidden = self._add(raised, hidden, self.feed_forward_norm, self.feed_forward, self.feed_forward.down)
        return LayerResult(hidden, weights, cross_weights, kept if extension is not None else None)

    def _read(self, hidden: Tensor, norm: nn.Module) -> Tensor:
        return norm(hidden) if self.norm_first else hidden

    def _add(self, update: Tensor, hidden: Tensor, norm: nn.Module, *makers: nn.Module) -> Tensor:
        added = add_residual(self.dropout(update), hidden, self.dropout, *makers)
        return added if self.norm_first else norm(added)


def _feed_forward(settings: LayerSettings) -> FeedForward | GatedFeedForward:
    sizes = settings.hidden_size, settings.intermediate_size, settings.activation
    if settings.gated:
        return GatedFeedForward(*sizes, bias=settings.feed_forward_bias)
    return FeedForward(*sizes, dropout=settings.activation_dropout)


# -- one call ----------------------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """What a caller gives a stack beside its tokens; each as the model's `forward` describes it."""

    attention_mask: Tensor | None = None
    encoder_hidden_states: Tensor | None = None
    encoder_attention_mask: Tensor | None = None
    past_key_values: PastKeyValues | None = None
    use_cache: bool = False
    output_hidden_states: LayerSelection = False
    output_attentions: LayerSelection = False
    gradient_checkpointing: bool = False


class Call(NamedTuple):
    """A call that was checked: sizes known, and for each layer whether its states and attentions are returned."""

    given: Given
    rows: int
    length: int
    past: int
    limit: int
    keep_hidden: list[bool]
    keep_attention: list[bool]


class StackResult(NamedTuple):
    """What a stack returns, under the names that output classes use; what was not asked for is None."""

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor | None, ...] | None = None
    attentions: tuple[Tensor | None, ...] | None = None
    cross_attentions: tuple[Tensor | None, ...] | None = None
    past_key_values: PastKeyValues | None = None

    def as_output(self, cls: type[Output], **fields: Any) -> Output:
        """Return an output of `cls`, whose other fields are `fields`."""
        values = self._asdict()
        return cls(**{name: values[name] for name in cls.__output_fields__ if name in values}, **fields)


class Stack(nn.ModuleList):
    """Layers one after the other."""

    def __init__(self, settings: LayerSettings, layers: int) -> None:
        super().__init__(Layer(settings, i) for i in range(layers))
        self.settings = settings

    def check(self, given: Given, rows: int, length: int, limit: int) -> Call:
        """Look at all that a call gives, before anything is computed.

        Args:
            given: what it is.
            rows: rows of the batch.
            length: positions of this call.
            limit: positions that the model can hold.

        Raises:
            InputError: something of wrong shape, dtype or range, or that this stack has no use for.
        """
        past = self._check_cache(given, rows)
        check_positions(length, past, limit)
        self._check_encoder(given, rows)
        return Call(
            given,
            rows,
            length,
            past,
            limit,
            select_layers(given.output_hidden_states, len(self) + 1, "output_hidden_states"),
            select_layers(given.output_attentions, len(self), "output_attentions"),
        )

    def _check_cache(self, given: Given, rows: int) -> int:
        past = given.past_key_values
        if past is None:
            return 0
        if not self.settings.causal:
            raise InputError("past_key_values was passed to an encoder; set config.is_decoder=True for a decoder")
        qkv = cast("Layer", self[0]).attention.qkv
        # Walking through the parameters takes as long as a small layer; somebody's own layer may have no weight.
        weight = qkv.weight if type(qkv) is Linear else next(self.parameters())
        check_cache(past, len(self), (rows, *self.settings.cache_shape), compute_dtype(weight), weight.device)
        if cross_length(past) is not None and not self.settings.cross_attention:
            raise InputError("past_key_values holds an encoder's keys, and this model has no cross-attention")
        return past_length(past)

    def _check_encoder(self, given: Given, rows: int) -> None:
        states, held = given.encoder_hidden_states, cross_length(given.past_key_values)
        if states is None:
            if given.encoder_attention_mask is not None and held is None:
                raise InputError("encoder_attention_mask was passed without encoder_hidden_states; pass both")
            return
        if not self.settings.cross_attention:
            raise InputError(
                "encoder_hidden_states was passed to a model without cross-attention; "
                "set config.is_decoder=True and config.add_cross_attention=True"
            )
        check_embeds(states, self.settings.hidden_size, "encoder_hidden_states", rows)
        if held is not None and held != states.shape[1]:
            raise InputError(
                f"encoder_hidden_states has {states.shape[1]} positions, and past_key_values was made with {held}; "
                "pass the same encoder output in every step"
            )

    def forward(
        self, hidden: Tensor, call: Call, *, turned: Rotation | None = None, final_norm: nn.Module | None = None
    ) -> StackResult:
        """Run all layers.

        Args:
            hidden: the embeddings (B, S, hidden).
            call: what `check` returned.
            turned: rotary positions.
            final_norm: applied to what the last layer returns; the last hidden state is what it returns.
        """
        given = call.given
        context = LayerContext(
            build_mask(
                given.attention_mask,
                call.length,
                call.past + call.length,
                hidden,
                causal=self.settings.causal,
                heads=self.settings.heads,
            ),
            given.encoder_hidden_states,
            _encoder_mask(given, call.length, hidden),
            _extension(call),
            turned,
        )
        steps = None if torch.compiler.is_compiling() else STEPS.get()
        if steps is not None and steps.stack is self and _is_a_step(call, hidden.device):
            return self._step(steps, hidden, call, context, final_norm)
        block = block_rows(hidden)
        apart = not any(call.keep_attention) and _rows_are_apart(context)
        if block is not None and apart and not is_watched(self):
            return self._in_blocks(hidden, call, context, final_norm, block)
        return self._whole(hidden, call, context, final_norm)

    def _whole(self, hidden: Tensor, call: Call, context: LayerContext, final_norm: nn.Module | None) -> StackResult:
        states = [hidden if call.keep_hidden[0] else None]
        weights: list[Tensor | None] = []
        cross_weights: list[Tensor | None] = []
        presents: list[tuple[Tensor, ...]] = []
        for layer, keep, with_weights in zip(self, call.keep_hidden[1:], call.keep_attention, strict=True):
            run = partial(_recompute, layer) if call.given.gradient_checkpointing else layer
            result: LayerResult = run(hidden, context, with_weights)
            hidden = result.hidden
            states.append(hidden if keep else None)
            weights.append(result.attention)
            cross_weights.append(result.cross_attention)
            presents.extend([] if result.present is None else [result.present])
        if final_norm is not None:
            hidden = final_norm(hidden)
            states[-1] = hidden if call.keep_hidden[-1] else None
        extension = context.extension if call.given.use_cache else None
        return StackResult(
            hidden,
            tuple(states) if any(call.keep_hidden) else None,
            tuple(weights) if any(call.keep_attention) else None,
            tuple(cross_weights) if any(w is not None for w in cross_weights) else None,
            None if extension is None else extension.extended(presents),
        )

    def _step(
        self, steps: Steps, hidden: Tensor, call: Call, context: LayerContext, final_norm: nn.Module | None
    ) -> StackResult:
        """Run all layers for one position; see `modeloutputs.torch.steps`."""
        hidden, presents = steps.run(hidden, context)
        assert context.extension is not None  # a step extends a cache
        return StackResult(
            hidden if final_norm is None else final_norm(hidden), past_key_values=context.extension.extended(presents)
        )

    def _in_blocks(
        self, hidden: Tensor, call: Call, context: LayerContext, final_norm: nn.Module | None, block: int
    ) -> StackResult:
        """Run all layers over some rows at a time; see `modeloutputs.torch.blocks`."""
        last = len(self)
        wanted = [i for i in range(1, last + 1) if call.keep_hidden[i] or i == last]

        def run(hidden: Tensor, bias: Tensor | None, *turned: Tensor) -> list[Tensor]:
            rows = context._replace(mask=context.mask._replace(bias=bias), turned=cast("Rotation", turned) or None)
            states: dict[int, Tensor] = {}
            for i, layer in enumerate(self, 1):
                hidden = layer(hidden, rows, False).hidden
                states[i] = hidden
            if final_norm is not None:
                states[last] = final_norm(hidden)
            return [states[i] for i in wanted]

        by_row = (hidden, context.mask.bias, *(context.turned or ()))
        states = dict(zip(wanted, in_blocks(run, hidden.shape[0], block, by_row), strict=True))
        states[0] = hidden
        kept = tuple(states[i] if keep else None for i, keep in enumerate(call.keep_hidden))
        return StackResult(states[last], kept if any(call.keep_hidden) else None)


def _is_a_step(call: Call, device: torch.device) -> bool:
    """Whether a call is for one position, and for nothing but its state and the cache."""
    flags = any(call.keep_hidden) or any(call.keep_attention)
    alone = call.length == 1 and call.given.use_cache and not flags
    # Under autocast sums are of another precision than products, which a step does not tell apart.
    return alone and not torch.is_grad_enabled() and not torch.is_autocast_enabled(device.type)


def _encoder_mask(given: Given, length: int, hidden: Tensor) -> AttentionMask:
    states, held = given.encoder_hidden_states, cross_length(given.past_key_values)
    keys = held if states is None else states.shape[1]
    if keys is None:
        return AttentionMask()
    return build_mask(given.encoder_attention_mask, length, keys, hidden, causal=False)


def _extension(call: Call) -> Extension | None:
    given = call.given
    if given.past_key_values is None and not given.use_cache:
        return None
    return Extension(given.past_key_values, call.length, call.limit, kept=given.use_cache)


def _rows_are_apart(context: LayerContext) -> bool:
    """Whether layers are given, and return, nothing more by row than states, mask and positions."""
    return context.extension is None and context.encoder_hidden_states is None


def _recompute(layer: nn.Module, *arguments: Any) -> Any:
    return cast("Any", checkpoint(layer, *arguments, use_reentrant=False))
