"""Layers run for one position at a time, as decoding does again and again: the same arithmetic with less around it.

Between two products of a small model, calling modules and looking their weights up takes as long as the products.
`Steps` looks everything up once. It runs what `modeloutputs.torch.stack` defines, in the same order on the same
weights, and only where nobody could tell the difference: modules as they are made here, without hooks.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from .attention import CrossAttention, SelfAttention, attend, rotate
from .layers import FeedForward, GatedFeedForward, LayerNorm, Linear, RMSNorm, is_watched
from .products import Product

if TYPE_CHECKING:
    from .stack import Layer, LayerContext, Stack

__all__ = ["Steps", "can_step"]

Norm = Callable[[Tensor], Tensor]

_KNOWN = (CrossAttention, FeedForward, GatedFeedForward, LayerNorm, Linear, RMSNorm, SelfAttention, nn.Dropout)


def can_step(stack: "Stack") -> bool:
    """Whether a stack's layers are as they are made here: in evaluation mode, nothing replaced, hooked or wrapped."""
    known = {*_KNOWN, *(type(layer) for layer in stack if type(layer).__module__ == type(stack).__module__)}
    parts = (part for layer in stack for part in layer.modules())
    as_made = all(type(part) in known and "forward" not in vars(part) and not part.training for part in parts)
    return as_made and not is_watched(stack) and not torch.is_grad_enabled()


class Steps:
    """The layers of one stack, ready to take one position after the other."""

    def __init__(self, stack: "Stack") -> None:
        self.stack = stack
        self._layers = [_Step(cast("Layer", layer)) for layer in stack]

    def run(self, hidden: Tensor, context: "LayerContext") -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Map hidden (B, 1, hidden) to (B, 1, hidden), and return what each layer keeps in the cache."""
        flat = hidden.view(hidden.shape[0], -1)
        presents: list[tuple[Tensor, ...]] = []
        for layer in self._layers:
            flat, present = layer(flat, context)
            presents.append(present)
        return flat.unsqueeze(1), presents

    @contextmanager
    def used(self) -> Generator[None]:
        """Have the stack use this."""
        from .stack import STEPS

        token = STEPS.set(self)
        try:
            yield
        finally:
            STEPS.reset(token)


class _Step:
    """One layer; see `Layer.forward`."""

    def __init__(self, layer: "Layer") -> None:
        self.index = layer.index
        self.norm_first = layer.norm_first
        own = layer.attention
        self.heads, self.kv_heads, self.head_dim, self.scale = own.heads, own.kv_heads, own.head_dim, own.scale
        self.split = [own.heads, own.kv_heads, own.kv_heads]
        self.qkv, self.output = _product(own.qkv), _product(own.output)
        self.attention_norm, self.feed_forward_norm = _norm(layer.attention_norm), _norm(layer.feed_forward_norm)
        self.feed_forward = _feed_forward(layer.feed_forward)
        self.cross = layer.cross_attention
        if self.cross is not None:
            self.cross_norm = _norm(layer.cross_attention_norm)
            self.cross_query, self.cross_output = _product(self.cross.query), _product(self.cross.output)

    def __call__(self, hidden: Tensor, context: "LayerContext") -> tuple[Tensor, tuple[Tensor, ...]]:
        first = self.norm_first
        attended, present = self._attend(self.attention_norm(hidden) if first else hidden, context)
        hidden = attended.add_(hidden) if first else self.attention_norm(attended.add_(hidden))
        cross = None if self.cross is None else context.cross_key_value(self.index, self.cross)
        if cross is not None:
            attended = self._attend_across(self.cross_norm(hidden) if first else hidden, cross, context)
            hidden = attended.add_(hidden) if first else self.cross_norm(attended.add_(hidden))
            present = (*present, *cross)
        raised = self.feed_forward(self.feed_forward_norm(hidden) if first else hidden)
        return raised.add_(hidden) if first else self.feed_forward_norm(raised.add_(hidden)), present

    def _attend(self, read: Tensor, context: "LayerContext") -> tuple[Tensor, tuple[Tensor, ...]]:
        rows = read.shape[0]
        qkv = self.qkv(read).view(rows, -1, 1, self.head_dim)
        query, key, value = qkv.split_with_sizes(self.split, 1)
        if context.turned is not None:
            query, key = rotate(query, context.turned), rotate(key, context.turned)
        assert context.extension is not None  # else there were nothing to go on from
        key, value = context.extension.extend(self.index, key, value)
        attended, _ = attend(query, key, value, context.mask, 0.0, False, self.scale)
        return self.output(attended.reshape(rows, -1)), (key, value)

    def _attend_across(self, read: Tensor, cross: tuple[Tensor, Tensor], context: "LayerContext") -> Tensor:
        rows = read.shape[0]
        query = self.cross_query(read).view(rows, self.heads, 1, -1)
        attended, _ = attend(query, *cross, context.encoder_mask, 0.0, False, self.scale)
        return self.cross_output(attended.reshape(rows, -1))


def _product(layer: nn.Linear) -> Product:
    return Product(layer.weight.detach(), None if cast("Any", layer.bias) is None else layer.bias.detach())


def _norm(norm: nn.Module) -> Norm:
    if not isinstance(norm, nn.LayerNorm):
        return norm.forward
    shape, weight, bias, eps = norm.normalized_shape, norm.weight, norm.bias, norm.eps
    return lambda hidden: torch.layer_norm(hidden, shape, weight, bias, eps)  # pyright: ignore


def _feed_forward(block: nn.Module) -> Callable[[Tensor], Tensor]:
    down = _product(cast("nn.Linear", block.down))
    if isinstance(block, GatedFeedForward):
        gate_up, activation = _product(block.gate_up), block.activation

        def gated(hidden: Tensor) -> Tensor:
            gate, raised = gate_up(hidden).chunk(2, -1)
            return down(activation(gate) * raised)

        return gated
    plain = cast("FeedForward", block)
    up, in_place = _product(plain.up), plain.activation_in_place
    return lambda hidden: down(in_place(up(hidden)))
