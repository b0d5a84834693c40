"""Bricks that models share beside linen's own, and the feed-forward block."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from flax import linen as nn
from jax import Array

from ..architectures.layers import FeedForwardPaths, LayerSettings
from ..architectures.setting_checks import shown
from ..errors import InputError, nearest
from .dropout import Dropout
from .libraries import initializers, jax, jnp

__all__ = [
    "ACTIVATIONS",
    "Conv1D",
    "FeedForward",
    "Layout",
    "RMSNorm",
    "activation",
    "add_feed_forward",
    "feed_forward",
    "leaf",
]

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "gelu_pytorch_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}
"""Activation functions by their names in configurations."""


def activation(name: str) -> Callable[[Array], Array]:
    """Return the activation function of a configuration's `hidden_act`.

    GELU is Hendrycks & Gimpel (2016), `gelu_new` its tanh approximation.

    Raises:
        InputError: no activation has that name.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"hidden_act is {shown(name)}{nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


class Conv1D(nn.Module):
    """GPT's linear layer, x Kᵀ + b, with a kernel of shape (out, in) as Flax checkpoints hold it.

    Attributes:
        features: width of the result.
        use_bias: whether there is a b.
        dtype: of the computation.
        init_std: spread of a new kernel.
    """

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32
    init_std: float = 0.02

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Map (..., in) to (..., out)."""
        module = cast("Any", self)
        kernel = module.param("kernel", initializers.normal(self.init_std), (self.features, inputs.shape[-1]))
        inputs, kernel = jnp.asarray(inputs, self.dtype), jnp.asarray(kernel, self.dtype)
        product = jax.lax.dot_general(inputs, kernel, (((inputs.ndim - 1,), (1,)), ((), ())))
        if not self.use_bias:
            return product
        bias = module.param("bias", initializers.zeros, (self.features,))
        return product + jnp.asarray(bias, self.dtype)


class RMSNorm(nn.Module):
    """Division by the root mean square, times a weight (Zhang & Sennrich, 2019); in float32 or wider.

    Attributes:
        epsilon: added to the mean square.
        dtype: of the result.
    """

    epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, hidden: Array) -> Array:
        """Map (..., width) to (..., width)."""
        weight: Any = cast("Any", self).param("weight", initializers.ones, (hidden.shape[-1],))
        wide = jnp.asarray(hidden, jnp.promote_types(hidden.dtype, jnp.float32))
        normal = wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + self.epsilon)
        return jnp.asarray(weight, self.dtype) * jnp.asarray(normal, self.dtype)


@dataclass(frozen=True)
class Layout:
    """How the modules of a stack are made."""

    settings: LayerSettings
    dtype: Any = jnp.float32
    """Of the computation; parameters are float32 when they are new, and stay what they are when they are given."""
    init_std: float = 0.02
    """Spread of new weights."""

    def linear(self, features: int, *, bias: bool = True) -> nn.Module:
        """Return a linear layer."""
        if self.settings.transposed_weights:
            return Conv1D(features, bias, self.dtype, self.init_std)
        return nn.Dense(features, use_bias=bias, dtype=self.dtype, kernel_init=initializers.normal(self.init_std))

    def norm(self) -> nn.Module:
        """Return a normalisation."""
        if self.settings.rms_norm:
            return RMSNorm(self.settings.norm_eps, self.dtype)
        return nn.LayerNorm(epsilon=self.settings.norm_eps, dtype=self.dtype)

    def embedding(self, rows: int) -> nn.Embed:
        """Return a table of `rows` vectors."""
        return nn.Embed(
            rows,
            self.settings.hidden_size,
            embedding_init=initializers.normal(self.init_std),
            dtype=self.dtype,
        )

    def untransposed(self) -> "Layout":
        """Return the same layout with plain linear layers, for heads."""
        return replace(self, settings=replace(self.settings, transposed_weights=False))


def leaf(path: str) -> str:
    """Return the last name of a path."""
    return path.rpartition(".")[2]


class FeedForward(nn.Module):
    """W₂ f(W₁ x + b₁) + b₂ (Vaswani et al., 2017, section 3.3) or, gated, W₂ (f(V x) ⊙ W₁ x) (Shazeer, 2020).

    Attributes:
        layout: sizes and activation.
        paths: names of the layers.
    """

    layout: Layout
    paths: FeedForwardPaths

    def setup(self) -> None:
        """Make the layers."""
        add_feed_forward(self, self.layout, self.paths)

    def __call__(self, hidden: Array, deterministic: bool = True) -> Array:
        """Map (..., hidden) to (..., hidden)."""
        return feed_forward(self, self.layout, self.paths, hidden, deterministic)


def add_feed_forward(module: nn.Module, layout: Layout, paths: FeedForwardPaths) -> None:
    """Give a module the layers of a feed-forward block."""
    settings = layout.settings
    for path in (paths.gate, paths.up):
        if path is not None:
            setattr(module, leaf(path), layout.linear(settings.intermediate_size, bias=settings.feed_forward_bias))
    setattr(module, leaf(paths.down), layout.linear(settings.hidden_size, bias=settings.feed_forward_bias))
    module.activation_dropout = Dropout(settings.activation_dropout)  # pyright: ignore[reportAttributeAccessIssue]


def feed_forward(
    module: nn.Module, layout: Layout, paths: FeedForwardPaths, hidden: Array, deterministic: bool
) -> Array:
    """Compute the feed-forward block whose layers a module has; see `FeedForward`."""
    held, function = cast("Any", module), activation(layout.settings.activation)
    inner = getattr(held, leaf(paths.up))(hidden)
    inner = function(inner) if paths.gate is None else function(getattr(held, leaf(paths.gate))(hidden)) * inner
    if layout.settings.activation_dropout:
        inner = held.activation_dropout(inner, deterministic=deterministic)
    return getattr(held, leaf(paths.down))(inner)
