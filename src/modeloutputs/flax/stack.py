"""The stack of layers that all models share, and its result."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar, cast

from flax import linen as nn
from jax import Array

from ..architectures.layers import AttentionPaths, LayerPaths
from ..output import ModelOutput
from .attention import Attention, AttentionContext, CallFlags, CrossAttention
from .dropout import Dropout
from .layers import FeedForward, Layout, add_feed_forward, feed_forward
from .libraries import remat

__all__ = ["Kept", "Layer", "LayerResult", "Stack", "StackResult", "has_encoder"]

Output = TypeVar("Output", bound=ModelOutput)


class LayerResult(NamedTuple):
    """The result of one layer."""

    hidden: Array
    attention: Array | None = None
    cross_attention: Array | None = None


class Kept(NamedTuple):
    """Which layers' results a call returns."""

    hidden: Sequence[bool]
    """For the embeddings and each layer, whether its states are returned."""
    attention: Sequence[bool]
    """For each layer, whether its attention weights are returned."""


class StackResult(NamedTuple):
    """The result of a stack, under the names of output classes; what was not asked for is None."""

    last_hidden_state: Array
    hidden_states: tuple[Array | None, ...] | None = None
    attentions: tuple[Array | None, ...] | None = None
    cross_attentions: tuple[Array | None, ...] | None = None

    def as_output(self, cls: type[Output], **fields: Any) -> Output:
        """Return an output of `cls`, whose other fields are `fields`."""
        values = self._asdict()
        return cls(**{name: values[name] for name in cls.__output_fields__ if name in values}, **fields)


class Layer(nn.Module):
    """Self-attention, cross-attention where configured, and feed-forward, each added to its input.

    Attributes:
        layout: sizes and switches.
        paths: names of the modules.
        index: index of the layer in its stack.
    """

    layout: Layout
    paths: LayerPaths
    index: int

    def setup(self) -> None:
        """Make the blocks."""
        settings, paths = self.layout.settings, self.paths
        self._add_attention(Attention, paths.attention)
        if settings.cross_attention and paths.cross_attention is not None:
            self._add_attention(CrossAttention, paths.cross_attention)
        block = paths.feed_forward.block
        if block:
            setattr(self, block, FeedForward(self.layout, paths.feed_forward))
        else:  # the block's layers are this layer's own
            add_feed_forward(self, self.layout, paths.feed_forward)
        setattr(self, paths.feed_forward.norm, self.layout.norm())
        self.dropout = Dropout(settings.dropout)

    def _add_attention(self, kind: type[Attention], paths: AttentionPaths) -> None:
        setattr(self, paths.block, kind(self.layout, paths, self.index))
        setattr(self, paths.norm, self.layout.norm())

    def __call__(self, hidden: Array, context: AttentionContext, flags: CallFlags) -> LayerResult:
        """Map (B, S, hidden) to the layer's result."""
        hidden, weights = self._attend(hidden, self.paths.attention, context, flags)
        cross_weights, cross = None, self.paths.cross_attention
        if self.layout.settings.cross_attention and cross is not None and self._has_encoder(cross, context):
            hidden, cross_weights = self._attend(hidden, cross, context, flags)
        return LayerResult(self._feed_forward(hidden, flags), weights, cross_weights)

    def _has_encoder(self, paths: AttentionPaths, context: AttentionContext) -> bool:
        return has_encoder(getattr(self, paths.block), context)

    def _attend(
        self, hidden: Array, paths: AttentionPaths, context: AttentionContext, flags: CallFlags
    ) -> tuple[Array, Array]:
        norm = getattr(self, paths.norm)
        update, weights = getattr(self, paths.block)(self._read(hidden, norm), context, flags)
        return self._add(update, hidden, norm, flags), weights

    def _feed_forward(self, hidden: Array, flags: CallFlags) -> Array:
        paths = self.paths.feed_forward
        norm = getattr(self, paths.norm)
        read = self._read(hidden, norm)
        if paths.block:
            update = getattr(self, paths.block)(read, flags.deterministic)
        else:
            update = feed_forward(self, self.layout, paths, read, flags.deterministic)
        return self._add(update, hidden, norm, flags)

    def _read(self, hidden: Array, norm: Any) -> Array:
        return norm(hidden) if self.layout.settings.norm_first else hidden

    def _add(self, update: Array, hidden: Array, norm: Any, flags: CallFlags) -> Array:
        added: Any = hidden + cast("Any", self.dropout)(update, deterministic=flags.deterministic)
        return added if self.layout.settings.norm_first else norm(added)


def has_encoder(block: nn.Module, context: AttentionContext) -> bool:
    """Return whether a block that attends to an encoder has one to attend to: its states, or its cached keys."""
    return context.encoder_hidden_states is not None or block.has_variable("cache", "cross_key")


class Stack(nn.Module):
    """Layers that run one after the other; their names are their indices.

    Attributes:
        layout: sizes and switches.
        paths: names of the modules of a layer.
        count: number of layers.
        kind: class of a layer.
        remat: compute the layers' values again in the backward pass, instead of keeping them.
    """

    layout: Layout
    paths: LayerPaths
    count: int
    kind: Any = Layer
    remat: bool = False

    def setup(self) -> None:
        """Make the layers."""
        kind = remat(self.kind, static_argnums=(3,)) if self.remat else self.kind
        self.layers = [kind(self.layout, self.paths, i, name=str(i)) for i in range(self.count)]

    def __call__(
        self,
        hidden: Array,
        context: AttentionContext,
        flags: CallFlags,
        kept: Kept,
        final_norm: Any = None,
    ) -> StackResult:
        """Map embeddings (B, S, hidden) to the results that are `kept`; `final_norm` is applied to the last states."""
        states: list[Array | None] = [hidden if kept.hidden[0] else None]
        weights: list[Array | None] = []
        cross_weights: list[Array | None] = []
        for i, layer in enumerate(self.layers):
            result = LayerResult(*layer(hidden, context, flags))
            hidden = result.hidden
            states.append(hidden if kept.hidden[i + 1] else None)
            weights.append(result.attention if kept.attention[i] else None)
            cross_weights.append(result.cross_attention if kept.attention[i] else None)
        if final_norm is not None:
            hidden = final_norm(hidden)
            states[-1] = hidden if kept.hidden[-1] else None
        return StackResult(hidden, _present(states), _present(weights), _present(cross_weights))


def _present(values: Sequence[Array | None]) -> tuple[Array | None, ...] | None:
    return tuple(values) if any(value is not None for value in values) else None
