"""Bricks that models share: activations, the feed-forward block, and which layers' states are kept."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, nearest

__all__ = [
    "ACTIVATIONS",
    "Embedding",
    "FeedForward",
    "LayerNorm",
    "LayerSelection",
    "Linear",
    "activation",
    "add_residual",
    "select_layers",
]

LayerSelection = bool | Sequence[int]


Activation = Callable[[Tensor], Tensor]

# Each function, and what computes it in place.
_gelu_: Activation = torch.ops.aten.gelu_.default
ACTIVATIONS: dict[str, tuple[Activation, Activation]] = {
    "gelu": (F.gelu, _gelu_),
    "gelu_new": (partial(F.gelu, approximate="tanh"), partial(_gelu_, approximate="tanh")),
    "gelu_pytorch_tanh": (partial(F.gelu, approximate="tanh"), partial(_gelu_, approximate="tanh")),
    "relu": (F.relu, torch.relu_),
    "silu": (F.silu, partial(F.silu, inplace=True)),
    "swish": (F.silu, partial(F.silu, inplace=True)),
    "tanh": (torch.tanh, torch.tanh_),
}


def activation(name: str) -> Activation:
    """Return the activation function of a configuration's `hidden_act`.

    GELU is Hendrycks & Gimpel (2016), `gelu_new` its tanh approximation.

    Raises:
        InputError: there is none of that name.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"hidden_act is {name!r}{nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name][0]


class Linear(nn.Linear):
    """A linear layer that a checkpoint can be loaded into without first computing values to throw away."""

    def reset_parameters(self) -> None:
        """Set initial values, except on the meta device: what PyTorch does there costs seconds."""
        if not self.weight.is_meta:
            super().reset_parameters()


class Embedding(nn.Embedding):
    """A table of embeddings; see `Linear`."""

    def reset_parameters(self) -> None:
        """Set initial values, except on the meta device."""
        if not self.weight.is_meta:
            super().reset_parameters()


class LayerNorm(nn.LayerNorm):
    """Layer normalisation (Ba et al., 2016); see `Linear`."""

    def reset_parameters(self) -> None:
        """Set initial values, except on the meta device."""
        if not self.weight.is_meta:
            super().reset_parameters()


class FeedForward(nn.Module):
    """W₂ f(W₁ x + b₁) + b₂, at each position (Vaswani et al., 2017, section 3.3)."""

    def __init__(self, hidden_size: int, intermediate_size: int, hidden_act: str) -> None:
        super().__init__()
        self.up = Linear(hidden_size, intermediate_size)
        self.down = Linear(intermediate_size, hidden_size)
        self.activation = activation(hidden_act)
        self.activation_in_place = ACTIVATIONS[hidden_act][1]

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., hidden) to (..., hidden)."""
        raised = self.up(hidden)
        # Overwritten where nobody else needs it, neither a gradient nor a hook: that spares a layer's largest tensor.
        hooks = cast("dict[int, object]", self.up._forward_hooks)  # pyright: ignore[reportUnknownMemberType]
        held = raised.requires_grad or torch.compiler.is_compiling() or bool(hooks)
        return self.down(self.activation(raised) if held else self.activation_in_place(raised))


def add_residual(update: Tensor, residual: Tensor) -> Tensor:
    """Add a block's input to its output, in place where that loses no precision: one tensor less to allocate.

    `update` must be a fresh result that nobody else holds. Under autocast it is of lower precision than `residual`.
    """
    return update.add_(residual) if update.dtype == residual.dtype else update + residual


def select_layers(selection: LayerSelection, count: int, flag: str) -> list[bool]:
    """Say for each of `count` entries whether it is asked for.

    Args:
        selection: True for all, False for none, or indices; negative ones count from the end.
        count: entries there are: layers, for hidden states one more.
        flag: name of the argument, for the error.

    Raises:
        InputError: an index out of range, or a selection that is neither.
    """
    if isinstance(selection, bool):
        return [selection] * count
    if isinstance(selection, str) or not hasattr(selection, "__iter__"):
        raise InputError(f"{flag} is {selection!r}; expected True, False or layer indices such as [0, -1]")
    asked = [False] * count
    for index in selection:
        if isinstance(index, bool) or not hasattr(index, "__index__") or not -count <= index < count:
            raise InputError(f"{flag} asks for layer {index!r}; this model has {-count} to {count - 1}")
        asked[index] = True
    return asked
