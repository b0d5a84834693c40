"""Bricks that models share beside PyTorch's own, the feed-forward block, and the choice of layers to return."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..architectures.layers import LayerSettings
from ..architectures.selection import LayerSelection, select_layers
from ..architectures.setting_checks import shown
from ..errors import InputError, nearest
from .dropout import drop
from .plain import PackedModule, apply_linear, apply_linears, can_modify_in_place, pack_linears, returns_new_tensors
from .products import transposed_linear

__all__ = [
    "ACTIVATIONS",
    "Conv1D",
    "FeedForward",
    "LayerSelection",
    "RMSNorm",
    "activate",
    "activation",
    "feed_forward",
    "linear_layer",
    "norm_layer",
    "select_layers",
]


Activation = Callable[[Tensor], Tensor]

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
"""Activation functions by their names in configurations, each with its in-place form."""


def activation(name: str) -> Activation:
    """Return the activation function of a configuration's `hidden_act`.

    GELU is Hendrycks & Gimpel (2016), `gelu_new` its tanh approximation.

    Raises:
        InputError: no activation has that name.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"hidden_act is {shown(name)}{nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name][0]


def activate(name: str, states: Tensor, producer: nn.Module) -> Tensor:
    """Apply an activation, in place where neither autograd nor a hook needs the result of `producer`.

    That spares a layer's largest tensor.
    """
    in_place = not (states.requires_grad or torch.compiler.is_compiling()) and can_modify_in_place(producer)
    return ACTIVATIONS[name][in_place](states)


@returns_new_tensors
class Conv1D(nn.Module):
    """GPT's linear layer: x W + b with a weight of shape (in, out), named as in its original code."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight from a normal distribution of standard deviation 0.02 and zero the bias."""
        nn.init.normal_(self.weight, std=0.02)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return transposed_linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes for `repr`."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class RMSNorm(nn.Module):
    """Division by the root mean square, times a weight (Zhang & Sennrich, 2019); in float32 or wider."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., width) to (..., width)."""
        if hidden.dtype in (torch.float32, torch.float64):
            return F.rms_norm(hidden, self.weight.shape, self.weight, self.eps)
        return F.rms_norm(hidden.float(), self.weight.shape, None, self.eps).to(hidden.dtype) * self.weight


def linear_layer(settings: LayerSettings, inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
    """Return a new linear layer of a stack."""
    return (Conv1D if settings.transposed_weights else nn.Linear)(inputs, outputs, bias=bias)


def norm_layer(settings: LayerSettings) -> nn.Module:
    """Return a new normalisation of a stack."""
    return (RMSNorm if settings.rms_norm else nn.LayerNorm)(settings.hidden_size, settings.norm_eps)


@returns_new_tensors
class FeedForward(PackedModule):
    """The feed-forward block; see `feed_forward`.

    Args:
        settings: sizes and activation.
        up: name of the layer W₁.
        down: name of the layer W₂.
        gate: name of the layer V, or None.
    """

    def __init__(self, settings: LayerSettings, *, up: str, down: str, gate: str | None = None) -> None:
        super().__init__()
        activation(settings.activation)
        self.settings = settings
        self.input_names = (up,) if gate is None else (gate, up)
        self.output_name = down
        width, inner, bias = settings.hidden_size, settings.intermediate_size, settings.feed_forward_bias
        for name in self.input_names:
            self.add_module(name, linear_layer(settings, width, inner, bias=bias))
        self.add_module(down, linear_layer(settings, inner, width, bias=bias))

    def pack(self) -> None:
        """Move gate and values end to end in memory, so that one product computes both."""
        pack_linears([self.get_submodule(name) for name in self.input_names])

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., hidden) to (..., hidden)."""
        inputs = [getattr(self, name) for name in self.input_names]
        return feed_forward(self.settings, inputs, getattr(self, self.output_name), hidden, self.training)


def feed_forward(
    settings: LayerSettings, inputs: Sequence[nn.Module], output: nn.Module, hidden: Tensor, training: bool
) -> Tensor:
    """Return W₂ f(W₁ x + b₁) + b₂ (Vaswani et al., 2017, section 3.3) or, gated, W₂ (f(V x) ⊙ W₁ x) (Shazeer, 2020).

    Args:
        settings: names f and the dropout of its values.
        inputs: the layer W₁, or V and W₁.
        output: the layer W₂.
        hidden: (..., hidden).
        training: apply dropout.
    """
    if len(inputs) == 1:
        inner = activate(settings.activation, apply_linear(inputs[0], hidden), inputs[0])
    else:
        gate, values = apply_linears(inputs, hidden)
        inner = ACTIVATIONS[settings.activation][0](gate) * values
    if settings.activation_dropout and training:
        inner = drop(inner, settings.activation_dropout)
    return apply_linear(output, inner)
