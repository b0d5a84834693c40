"""One layer of a stack: attention and feed-forward blocks, each added to its input."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from ..architectures.layers import AttentionPaths, FeedForwardPaths, LayerPaths, LayerSettings
from .attention import Attention, AttentionMask, AttentionResult, CrossAttention, KeyValue, PositionEmbeddings
from .cache import CacheUpdate
from .layers import FeedForward, feed_forward, norm_layer
from .plain import add_residual, apply_dropout
from .results import Made, finished, result_of

__all__ = ["Layer", "LayerContext", "LayerResult"]


class LayerContext(NamedTuple):
    """The inputs that all layers of one call share."""

    mask: AttentionMask
    encoder_hidden_states: Tensor | None
    encoder_mask: AttentionMask
    cache: CacheUpdate | None
    position_embeddings: PositionEmbeddings | None
    made: Made
    head_mask: Tensor | None = None
    """(layers, 1, heads, 1, 1), or None."""
    cross_attn_head_mask: Tensor | None = None
    layer: int = 0
    """Index of the layer: its place in the stack, whichever it was built for, since layers may be moved or shared."""

    def at(self, layer: int) -> "LayerContext":
        """Return the inputs of the layer at an index, which the cache and factors of heads tell apart."""
        if self.head_mask is None and self.cross_attn_head_mask is None:
            return self if self.cache is None else self._replace(layer=layer)
        own, cross = (None if mask is None else mask[layer] for mask in (self.head_mask, self.cross_attn_head_mask))
        masks = self.mask._replace(heads=own), self.encoder_mask._replace(heads=cross)
        return self._replace(layer=layer, mask=masks[0], encoder_mask=masks[1])

    def append(self, key: Tensor, value: Tensor) -> KeyValue:
        """Return key and value of all positions, the cached ones first."""
        return (key, value) if self.cache is None else self.cache.append(self.layer, key, value)

    def cached_cross(self) -> KeyValue | None:
        """Return the encoder's key and value from the cache, or None."""
        return None if self.cache is None else self.cache.cross(self.layer)

    @property
    def has_cache(self) -> bool:
        """Whether keys and values are returned, for a cache."""
        return self.cache is not None

    @property
    def has_encoder(self) -> bool:
        """Whether there is an encoder to attend to."""
        return self.encoder_hidden_states is not None or self.cached_cross() is not None


class LayerResult(NamedTuple):
    """The result of one layer; what was not asked for is None."""

    hidden: Tensor
    attention: Tensor | None = None
    cross_attention: Tensor | None = None
    present: tuple[Tensor, ...] | None = None


class Layer(nn.Module):
    """Self-attention, cross-attention where configured, and feed-forward, each added to its input.

    Args:
        settings: sizes and switches.
        paths: names of the modules.
        index: index of the layer in its stack.
    """

    def __init__(self, settings: LayerSettings, paths: LayerPaths, index: int) -> None:
        super().__init__()
        self.settings, self.paths, self.index = settings, paths, index
        self._add_attention(Attention, paths.attention)
        if settings.cross_attention and paths.cross_attention is not None:
            self._add_attention(CrossAttention, paths.cross_attention)
        self._add_feed_forward(paths.feed_forward)
        self.dropout = nn.Dropout(settings.dropout)

    def _add_attention(self, kind: type[Attention], paths: AttentionPaths) -> None:
        names = {role: _leaf(getattr(paths, role)) for role in ("query", "key", "value", "output")}
        self.add_module(paths.block, kind(self.settings, self.index, **names))
        self.add_module(paths.norm, norm_layer(self.settings))

    def _add_feed_forward(self, paths: FeedForwardPaths) -> None:
        settings, names = self.settings, {"up": _leaf(paths.up), "down": _leaf(paths.down)}
        gate = None if paths.gate is None else _leaf(paths.gate)
        block = FeedForward(settings, **names, gate=gate)
        if paths.block:
            self.add_module(paths.block, block)
        else:  # the block's layers are this layer's own
            for name, layer in block.named_children():
                self.add_module(name, layer)
        self.add_module(paths.norm, norm_layer(settings))

    def forward(self, hidden: Tensor, context: LayerContext, with_weights: bool = False) -> tuple[Any, ...]:
        """Map (B, S, hidden) to the parts of a `LayerResult` but the last, which is noted in `context.made`.

        `with_weights` also returns the attention weights.
        """
        hidden, weights, present = self._attend(hidden, self.paths.attention, context, with_weights)
        cross_weights, cross = None, self.paths.cross_attention
        if self.settings.cross_attention and cross is not None and context.has_encoder:
            hidden, cross_weights, encoder = self._attend(hidden, cross, context, with_weights)
            present = None if present is None or encoder is None else (*present, *encoder)
        return finished(context.made, self._feed_forward(hidden), weights, cross_weights, beside=(present,))

    def _attend(
        self, hidden: Tensor, paths: AttentionPaths, context: LayerContext, with_weights: bool
    ) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...] | None]:
        block, norm = getattr(self, paths.block), getattr(self, paths.norm)
        read = self._read(hidden, norm)
        given = {"context": context, "with_weights": with_weights}  # by name, so that hooks see the states alone
        result = result_of(AttentionResult, context.made, block, read, **given)
        attended, weights, key_value = result
        return self._add(attended, hidden, norm, *_producers(block, paths.output)), weights, key_value

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        paths, norm = self.paths.feed_forward, getattr(self, self.paths.feed_forward.norm)
        read = self._read(hidden, norm)
        if paths.block:
            block = getattr(self, paths.block)
            return self._add(block(read), hidden, norm, *_producers(block, paths.down))
        up, down = getattr(self, paths.up), getattr(self, paths.down)
        return self._add(feed_forward(self.settings, [up], down, read, self.training), hidden, norm, down)

    def _read(self, hidden: Tensor, norm: nn.Module) -> Tensor:
        return norm(hidden) if self.settings.norm_first else hidden

    def _add(self, update: Tensor, hidden: Tensor, norm: nn.Module, *producers: nn.Module) -> Tensor:
        added = add_residual(apply_dropout(self.dropout, update), hidden, self.dropout, *producers)
        return added if self.settings.norm_first else norm(added)


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _producers(block: nn.Module, output: str) -> list[nn.Module]:
    """Return the modules that made a block's result: the block and its output layer, unless somebody replaced it."""
    inner = getattr(block, _leaf(output), None)
    return [block] if inner is None else [block, inner]
