"""Bricks that models share: activations, the feed-forward block, and which layers' states are kept."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as modules

from ..errors import InputError, nearest
from .products import linear

__all__ = [
    "ACTIVATIONS",
    "Embedding",
    "FeedForward",
    "GatedFeedForward",
    "LayerNorm",
    "LayerSelection",
    "Linear",
    "PositionEmbedding",
    "RMSNorm",
    "activation",
    "add_residual",
    "is_private",
    "is_watched",
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
    """A linear layer, fast for few rows, that a checkpoint can be loaded into without first computing values."""

    parts: Sequence[int] | None = None
    """Rows of each of the matrices that are stacked in this one, where they are not of equal sizes."""

    def forward(self, input: Tensor) -> Tensor:  # the name that it has in PyTorch
        """Map (..., in) to (..., out)."""
        return linear(input, self.weight, self.bias)

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


class PositionEmbedding(nn.Module):
    """A table of learned positions, the first of which stands behind `offset` rows that are for none."""

    def __init__(self, count: int, width: int, offset: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(count + offset, width))
        self.offset = offset

    def forward(self, position_ids: Tensor | None, past: int, length: int) -> Tensor:
        """Return the embeddings (..., length, width) of positions or, without, of `length` that follow `past` others.

        Args:
            position_ids: (batch or 1, length), or None.
            past: positions before.
            length: positions of this call.
        """
        if position_ids is not None:
            return F.embedding(position_ids + self.offset if self.offset else position_ids, self.weight)
        start = past + self.offset  # a slice of the table does for all rows: no look-up
        return self.weight[start : start + length]


class LayerNorm(nn.LayerNorm):
    """Layer normalisation (Ba et al., 2016); see `Linear`."""

    def reset_parameters(self) -> None:
        """Set initial values, except on the meta device."""
        if not self.weight.is_meta:
            super().reset_parameters()


class RMSNorm(nn.Module):
    """Division by the root mean square, and a weight (Zhang & Sennrich, 2019); computed in float32 at least."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., width) to (..., width)."""
        if hidden.dtype in (torch.float32, torch.float64):
            return F.rms_norm(hidden, self.weight.shape, self.weight, self.eps)
        return F.rms_norm(hidden.float(), self.weight.shape, None, self.eps).to(hidden.dtype) * self.weight


class FeedForward(nn.Module):
    """W₂ f(W₁ x + b₁) + b₂, at each position (Vaswani et al., 2017, section 3.3); `dropout` is that of f's values."""

    def __init__(self, hidden_size: int, intermediate_size: int, hidden_act: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = Linear(hidden_size, intermediate_size)
        self.down = Linear(intermediate_size, hidden_size)
        self.activation = activation(hidden_act)
        self.activation_in_place = ACTIVATIONS[hidden_act][1]
        self.dropout = dropout

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., hidden) to (..., hidden)."""
        raised = self.up(hidden)
        # Overwritten where neither a gradient nor a hook needs it: that spares a layer's largest tensor.
        held = raised.requires_grad or torch.compiler.is_compiling() or not is_private(self.up)
        raised = self.activation(raised) if held else self.activation_in_place(raised)
        if self.dropout and self.training:
            raised = F.dropout(raised, self.dropout)
        return self.down(raised)


class GatedFeedForward(nn.Module):
    """W₂ (f(W₁ x) ⊙ V x), at each position (Shazeer, 2020), W₁ and V in one product."""

    def __init__(self, hidden_size: int, intermediate_size: int, hidden_act: str, bias: bool) -> None:
        super().__init__()
        self.gate_up = Linear(hidden_size, 2 * intermediate_size, bias=bias)
        self.down = Linear(intermediate_size, hidden_size, bias=bias)
        self.activation = activation(hidden_act)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., hidden) to (..., hidden)."""
        gate, raised = self.gate_up(hidden).chunk(2, -1)
        return self.down(self.activation(gate) * raised)


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_watched(module: nn.Module) -> bool:
    """Whether a hook sees what a module, or one within it, takes or returns."""
    if modules._global_forward_hooks or modules._global_forward_pre_hooks:  # pyright: ignore
        return True
    return any(getattr(part, hooks) for part in module.modules() for hooks in _HOOKS)


def is_private(*layers: nn.Module) -> bool:
    """Whether nobody else holds what modules return: they are ours, and no hook sees or replaces it."""
    if modules._global_forward_hooks:  # pyright: ignore
        return False
    return all(_is_ours(layer) and not layer._forward_hooks for layer in layers)  # pyright: ignore


def _is_ours(layer: nn.Module) -> bool:
    return type(layer) is nn.Dropout or type(layer).__module__.startswith(f"{__package__}.")


def add_residual(update: Tensor, residual: Tensor, *makers: nn.Module) -> Tensor:
    """Add a block's input to its output, in place where nobody could tell: one tensor less to allocate.

    `makers` are the modules that returned `update`. Under autocast it is of lower precision than `residual`.
    """
    in_place = update.dtype == residual.dtype and is_private(*makers)
    return update.add_(residual) if in_place else update + residual


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
