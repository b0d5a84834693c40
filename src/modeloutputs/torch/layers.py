"""Bricks that models share: activations, the feed-forward block, and which layers' states are kept."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, nearest

__all__ = ["ACTIVATIONS", "FeedForward", "LayerSelection", "activation", "add_residual", "select_layers"]

LayerSelection = bool | Sequence[int]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return the activation function of a configuration's `hidden_act`.

    GELU is Hendrycks & Gimpel (2016), `gelu_new` its tanh approximation.

    Raises:
        InputError: there is none of that name.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"hidden_act is {name!r}{nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


class FeedForward(nn.Module):
    """W₂ f(W₁ x + b₁) + b₂, at each position (Vaswani et al., 2017, section 3.3)."""

    def __init__(self, hidden_size: int, intermediate_size: int, hidden_act: str) -> None:
        super().__init__()
        self.up = nn.Linear(hidden_size, intermediate_size)
        self.down = nn.Linear(intermediate_size, hidden_size)
        self.activation = activation(hidden_act)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., hidden) to (..., hidden)."""
        return self.down(self.activation(self.up(hidden)))


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
    asked = [False] * count
    for index in selection:
        if isinstance(index, bool) or not -count <= index < count:
            raise InputError(f"{flag} asks for layer {index}; this model has {-count} to {count - 1}")
        asked[index] = True
    return asked
