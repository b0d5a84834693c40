"""Layers run without calling their modules: the same arithmetic with less around it.

Between the products of a few rows, calling modules and looking up their weights takes as long as the products.
`StackRunner` looks everything up once. It computes what the layers of `modeloutputs.torch.stack` compute, in the same
order with the same weights, and only where nobody could tell the difference: plain modules without hooks, in evaluation
mode, whose weights are still those that it has looked up.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from ..architectures.layers import AttentionPaths, FeedForwardPaths, LayerPaths, LayerSettings
from .attention import Attention, AttentionContext, CrossAttention, apply_rotary, attend
from .layers import ACTIVATIONS, Conv1D, FeedForward, RMSNorm
from .plain import has_global_hooks, is_observed, joint_parameters
from .products import Product

__all__ = ["StackRunner", "runner_of", "without_runner"]

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


# -- whether nobody could tell ----------------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """A module as it was when it was looked at."""

    own: dict[str, Any]
    """Its attributes, as they are now."""
    tells: bool
    """Whether somebody would miss its call."""
    modules: dict[str, nn.Module | None]
    tensors: list[tuple[str, Tensor | None, int]]
    """Names of parameters, and where they lie in memory."""

    @classmethod
    def of(cls, module: nn.Module) -> "_Seen":
        """Look at a module."""
        own = module.__dict__
        held: dict[str, Tensor | None] = own["_parameters"]
        tensors = [(name, tensor, 0 if tensor is None else tensor.data_ptr()) for name, tensor in held.items()]
        return cls(own, _tells(own), dict(own["_modules"]), tensors)

    def is_current(self) -> bool:
        """Return whether the module is still as it was."""
        own = self.own
        if _tells(own) != self.tells or own["_modules"] != self.modules:
            return False
        held = own["_parameters"]
        if len(held) != len(self.tensors):
            return False
        for name, tensor, address in self.tensors:
            if held.get(name) is not tensor or (tensor is not None and tensor.data_ptr() != address):
                return False
        return True


def _tells(own: dict[str, Any]) -> bool:
    """Return whether a call of a module with these attributes does more, or other, than in evaluation mode."""
    return own.get("training", True) or is_observed(own)


def _is_as_built(layer: nn.Module) -> bool:
    # A class of ours that is not a brick only holds bricks, as BERT's blocks do.
    known = type(layer).__module__.startswith(f"{__package__}.") and hasattr(layer, "paths")
    return known and all(
        type(part) in _BRICKS or type(part).__module__.startswith(f"{__package__}.") for part in layer.modules()
    )


_HELD = "_looked_up"
"""Attribute of a stack that holds what was looked up in it; it is neither copied nor written."""


class _Lookup(NamedTuple):
    seen: list[_Seen]
    runner: "StackRunner | None"


def runner_of(stack: nn.ModuleList) -> "StackRunner | None":
    """Return the runner of a stack in inference; None where something in it is replaced, hooked, wrapped or training.

    It is looked up anew where the stack has changed.
    """
    if has_global_hooks():
        return None
    held: _Lookup | None = stack.__dict__.get(_HELD)
    if held is None or not all(map(_Seen.is_current, held.seen)):
        seen = [_Seen.of(module) for module in stack.modules()]
        plain = not any(module.tells for module in seen) and all(map(_is_as_built, stack))
        held = stack.__dict__[_HELD] = _Lookup(seen, StackRunner(stack) if plain else None)
    return held.runner


def without_runner(state: dict[str, Any]) -> dict[str, Any]:
    """Return a stack's attributes without the runner, for copies of the stack."""
    return {name: value for name, value in state.items() if name != _HELD}


# -- running ----------------------------------------------------------------------------------------------------------


class StackRunner:
    """The layers of one stack, set up to run; see `runner_of`."""

    def __init__(self, stack: nn.ModuleList) -> None:
        self.stack = stack
        self._layers = [_LayerRunner(cast("_Layer", layer)) for layer in stack]

    def run(
        self, hidden: Tensor, context: _Context, kept: Sequence[bool]
    ) -> tuple[list[Tensor | None], list[tuple[Tensor, ...]]]:
        """Return the states after each layer, and what each adds to the cache.

        Args:
            hidden: (B, S, hidden).
            context: the layers' common inputs.
            kept: for each layer whether its states are returned; those of the last layer always are.
        """
        shape = hidden.shape
        rows, length = shape[:2]
        flat = hidden.reshape(rows * length, -1)
        states: list[Tensor | None] = []
        presents: list[tuple[Tensor, ...]] = []
        for i, layer in enumerate(self._layers):
            flat, present = layer(flat, context.at(i), rows, length)
            states.append(flat.view(shape) if kept[i] or i == len(kept) - 1 else None)
            presents.append(present)
        return states, presents


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

    def __call__(self, hidden: Tensor, context: _Context, rows: int, length: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map hidden (B x S, hidden), which is left as it is."""
        first = self.norm_first
        attended, present = self._attend(self.attention_norm(hidden) if first else hidden, context, rows, length)
        hidden = attended.add_(hidden) if first else self.attention_norm(attended.add_(hidden))
        cross = self.cross.encoder_key_value(context) if self.crosses and context.has_encoder else None
        if cross is not None:
            read = self.cross_norm(hidden) if first else hidden
            attended = self._attend_across(read, cross, context, rows, length)
            hidden = attended.add_(hidden) if first else self.cross_norm(attended.add_(hidden))
            present = (*present, *cross)
        update = self.feed_forward(self.feed_forward_norm(hidden) if first else hidden)
        return update.add_(hidden) if first else self.feed_forward_norm(update.add_(hidden)), present

    def _attend(self, read: Tensor, context: _Context, rows: int, length: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        heads = _heads(self.qkv(read), rows, length, self.head_dim)
        query, key, value = heads.split_with_sizes(self.split, 1)
        rotary = context.position_embeddings
        if rotary is not None:
            query, key = apply_rotary(query, rotary), apply_rotary(key, rotary)
        key, value = context.append(key, value)
        attended, _ = attend(query, key, value, context.mask, 0.0, False, self.scale)
        return self.output(_side_by_side(attended, rows * length)), (key, value)

    def _attend_across(
        self, read: Tensor, cross: tuple[Tensor, Tensor], context: _Context, rows: int, length: int
    ) -> Tensor:
        query = _heads(self.cross_query(read), rows, length, self.head_dim)
        attended, _ = attend(query, *cross, context.encoder_mask, 0.0, False, self.scale)
        return self.cross_output(_side_by_side(attended, rows * length))


def _heads(flat: Tensor, rows: int, length: int, width: int) -> Tensor:
    """View (B x S, heads x D) as (B, heads, S, D)."""
    return flat.view(rows, -1, 1, width) if length == 1 else flat.view(rows, length, -1, width).transpose(1, 2)


def _side_by_side(attended: Tensor, count: int) -> Tensor:
    """Return (B x S, heads x D) for (B, heads, S, D)."""
    return (attended if attended.shape[2] == 1 else attended.transpose(1, 2)).reshape(count, -1)


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
    shape, weight, bias = norm.normalized_shape, norm.weight, norm.bias
    return lambda hidden: torch.layer_norm(hidden, shape, weight, bias, norm.eps)  # pyright: ignore


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
