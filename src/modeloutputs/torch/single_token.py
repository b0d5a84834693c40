"""Layers run for one position at a time, as decoding does again and again: the same arithmetic with less around it.

Between two products of a small model, calling modules and looking up their weights takes as long as the products.
`SingleTokenRunner` looks everything up once. It computes what the layers of `modeloutputs.torch.stack` compute, in the
same order with the same weights, and only where nobody could tell the difference: plain modules without hooks.
"""

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ..architectures.layers import AttentionPaths, FeedForwardPaths, LayerPaths, LayerSettings
from .attention import Attention, AttentionContext, CrossAttention, apply_rotary, attend
from .layers import ACTIVATIONS, Conv1D, FeedForward, RMSNorm
from .plain import has_hooks, joint_parameters
from .products import Product

__all__ = ["SingleTokenRunner", "supports_single_token"]

Function = Callable[[Tensor], Tensor]

_BRICKS = (
    Attention, Conv1D, CrossAttention, FeedForward, RMSNorm, nn.Dropout, nn.LayerNorm, nn.Linear, nn.ModuleList,
)  # fmt: skip


class _Layer(Protocol):
    settings: LayerSettings
    paths: LayerPaths
    index: int

    def get_submodule(self, target: str) -> nn.Module: ...


class _Context(AttentionContext, Protocol):
    @property
    def has_encoder(self) -> bool: ...

    def at(self, layer: int) -> "_Context": ...


def supports_single_token(stack: nn.ModuleList) -> bool:
    """Return whether a stack is as it was built: in evaluation mode, nothing replaced, hooked or wrapped."""
    if torch.is_grad_enabled() or has_hooks(stack):
        return False
    return all(_is_as_built(layer) for layer in stack)


def _is_as_built(layer: nn.Module) -> bool:
    # A class of ours that is not a brick only holds bricks, as BERT's blocks do.
    known = type(layer).__module__.startswith(f"{__package__}.") and hasattr(layer, "paths")
    return known and all(
        (type(part) in _BRICKS or type(part).__module__.startswith(f"{__package__}."))
        and "forward" not in vars(part)
        and not part.training
        for part in layer.modules()
    )


class SingleTokenRunner:
    """The layers of one stack, set up to take one position after the other.

    Args:
        stack: one that `supports_single_token`.
    """

    def __init__(self, stack: nn.ModuleList) -> None:
        self.stack = stack
        self._layers = [_LayerRunner(cast("_Layer", layer)) for layer in stack]

    def run(self, hidden: Tensor, context: _Context) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Map hidden (B, 1, hidden) to (B, 1, hidden), and return what each layer adds to the cache."""
        flat = hidden.view(hidden.shape[0], -1)
        presents: list[tuple[Tensor, ...]] = []
        for i, layer in enumerate(self._layers):
            flat, present = layer(flat, context.at(i))
            presents.append(present)
        return flat.unsqueeze(1), presents


class _LayerRunner:
    """One layer; see `Layer.forward`."""

    def __init__(self, layer: _Layer) -> None:
        paths, settings = layer.paths, layer.settings
        self.settings, self.norm_first = settings, settings.norm_first
        self.head_dim, self.scale = settings.head_width, settings.scale(layer.index)
        self.split = [settings.heads, settings.key_heads, settings.key_heads]
        own = paths.attention
        self.qkv = _projection(layer, own.query, own.key, own.value)
        self.output, self.attention_norm = _projection(layer, own.output), _norm(layer, own.norm)
        self.feed_forward = _feed_forward(layer, paths.feed_forward)
        self.feed_forward_norm = _norm(layer, paths.feed_forward.norm)
        self.crosses = settings.cross_attention and paths.cross_attention is not None
        if self.crosses:
            self._set_up_cross(layer, cast("AttentionPaths", paths.cross_attention))

    def _set_up_cross(self, layer: _Layer, paths: AttentionPaths) -> None:
        self.cross = cast("CrossAttention", layer.get_submodule(paths.block))
        self.cross_query, self.cross_output = _projection(layer, paths.query), _projection(layer, paths.output)
        self.cross_norm = _norm(layer, paths.norm)

    def __call__(self, hidden: Tensor, context: _Context) -> tuple[Tensor, tuple[Tensor, ...]]:
        first = self.norm_first
        attended, present = self._attend(self.attention_norm(hidden) if first else hidden, context)
        hidden = attended.add_(hidden) if first else self.attention_norm(attended.add_(hidden))
        cross = self.cross.encoder_key_value(context) if self.crosses and context.has_encoder else None
        if cross is not None:
            attended = self._attend_across(self.cross_norm(hidden) if first else hidden, cross, context)
            hidden = attended.add_(hidden) if first else self.cross_norm(attended.add_(hidden))
            present = (*present, *cross)
        update = self.feed_forward(self.feed_forward_norm(hidden) if first else hidden)
        return update.add_(hidden) if first else self.feed_forward_norm(update.add_(hidden)), present

    def _attend(self, read: Tensor, context: _Context) -> tuple[Tensor, tuple[Tensor, ...]]:
        rows = read.shape[0]
        query, key, value = self.qkv(read).view(rows, -1, 1, self.head_dim).split_with_sizes(self.split, 1)
        rotary = context.position_embeddings
        if rotary is not None:
            query, key = apply_rotary(query, rotary), apply_rotary(key, rotary)
        key, value = context.append(key, value)
        attended, _ = attend(query, key, value, context.mask, 0.0, False, self.scale)
        return self.output(attended.reshape(rows, -1)), (key, value)

    def _attend_across(self, read: Tensor, cross: tuple[Tensor, Tensor], context: _Context) -> Tensor:
        rows = read.shape[0]
        query = self.cross_query(read).view(rows, self.settings.heads, 1, -1)
        attended, _ = attend(query, *cross, context.encoder_mask, 0.0, False, self.scale)
        return self.cross_output(attended.reshape(rows, -1))


def _projection(layer: _Layer, *paths: str) -> Function:
    """Return the function that computes these projections of one input, side by side."""
    modules = [layer.get_submodule(path) for path in dict.fromkeys(paths)]
    if len(modules) == 1:
        return _product(modules[0])
    joint = joint_parameters(modules)
    if joint is not None:
        return Product(*joint[:2])
    products = [_product(module) for module in modules]
    return lambda rows: torch.cat([product(rows) for product in products], -1)


def _product(module: nn.Module) -> Function:
    weight, bias = cast("Tensor", module.weight), cast("Tensor | None", module.bias)
    detached = None if bias is None else bias.detach()
    return Product(weight.detach(), detached, transposed=type(module) is Conv1D)


def _norm(layer: _Layer, path: str) -> Function:
    norm = layer.get_submodule(path)
    if not isinstance(norm, nn.LayerNorm):
        return norm.forward
    shape, weight, bias, eps = norm.normalized_shape, norm.weight, norm.bias, norm.eps
    return lambda hidden: torch.layer_norm(hidden, shape, weight, bias, eps)  # pyright: ignore


def _feed_forward(layer: _Layer, paths: FeedForwardPaths) -> Function:
    function, in_place = ACTIVATIONS[layer.settings.activation]
    down = _projection(layer, paths.down)
    if paths.gate is None:
        up = _projection(layer, paths.up)
        return lambda hidden: down(in_place(up(hidden)))
    gate_up = _projection(layer, paths.gate, paths.up)

    def gated(hidden: Tensor) -> Tensor:
        gate, values = gate_up(hidden).chunk(2, -1)
        return down(function(gate) * values)

    return gated
