"""Dropout (Srivastava et al., 2014) whose random bits are drawn for two elements at a time.

On the CPU drawing them is the larger part of dropout, and dropout a tenth of a training step.
"""

from typing import Any, cast

from flax import linen as nn
from jax import Array

from .libraries import jax, jnp

__all__ = ["Dropout"]

_LEVELS = 2**16


class Dropout(nn.Dropout):
    """Linen's dropout, whose rate is rounded to a multiple of 2⁻¹⁶; with `broadcast_dims` it is linen's own."""

    @nn.compact
    def __call__(self, inputs: Array, deterministic: bool | None = None, rng: Any = None) -> Array:
        """Set elements to 0 at random and scale the others, so that the expected value stays.

        Args:
            inputs: any shape and floating point dtype.
            deterministic: return the inputs as they are; else as the attribute says.
            rng: a key; by default one of the collection that `rng_collection` names, "dropout".

        Raises:
            flax.errors.InvalidRngError: there is no such key.
        """
        dropped = round(self.rate * _LEVELS)
        chosen = nn.merge_param("deterministic", self.deterministic, deterministic)
        if chosen or self.broadcast_dims or not 0 < dropped < _LEVELS:
            return cast("Any", super()).__call__(inputs, deterministic, rng)
        key = self.make_rng(self.rng_collection) if rng is None else rng
        drawn = jax.random.bits(key, (-(-inputs.size // 2),), jnp.uint32)
        levels = jax.lax.bitcast_convert_type(drawn, jnp.uint16).reshape(-1)[: inputs.size].reshape(inputs.shape)
        return jnp.where(levels >= dropped, inputs * jnp.asarray(_LEVELS / (_LEVELS - dropped), inputs.dtype), 0)
