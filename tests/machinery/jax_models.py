"""What somebody writes who has never heard of trees: an output class of their own, and functions that return outputs.

Child processes import it too, so that classes that are read from a file are found there.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from modeloutputs import ModelOutput

from ..support.random_outputs import class_named, full

WIDTH = 4


class Scored(ModelOutput):
    """A user's own class: registered nowhere."""

    loss: jax.Array | None = None
    scores: jax.Array | None = None
    cache: dict[str, jax.Array] | None = None
    hidden_states: tuple[jax.Array | None, ...] | None = None


def normal(*shape: int, seed: int = 0) -> jax.Array:
    """Return values that are the same in every process."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def score(weight: jax.Array, states: jax.Array) -> Scored:
    """Score `states` (batch, WIDTH); of the three states the middle one was not asked for, and there is no cache."""
    mixed = jnp.tanh(states @ weight)
    return Scored(loss=(mixed**2).mean(), scores=mixed.sum(-1), hidden_states=(states, None, mixed))


def twice(output: Any) -> Any:
    """Return an output of twice the values, computed by JAX's own walk through it."""
    return jax.tree.map(lambda array: array * 2, output)


WEIGHT, STATES = normal(WIDTH, WIDTH), normal(4, WIDTH, seed=1)


def partly(class_name: str) -> Any:
    """Return an output of a class, without the first layer of each tuple of layers."""
    output = full(class_named(class_name), choices=1)  # then states of choices have as many rows as logits
    return output.replace(
        **{
            name: (None, *value[1:])
            for name, value in output.items()
            if name.endswith(("hidden_states", "attentions")) and isinstance(value, tuple)
        }
    )


def close(output: ModelOutput, expected: ModelOutput) -> bool:
    """Say whether two outputs are of one class and structure, and hold the same values up to rounding."""
    near = jax.tree.map(lambda one, other: np.allclose(one, other, rtol=1e-5, atol=1e-6), output, expected)
    return type(output) is type(expected) and all(jax.tree.leaves(near))


def weight_gradient() -> Any:
    """Return the gradient of the loss of `score`, by hand."""
    mixed = np.tanh(np.asarray(STATES) @ np.asarray(WEIGHT))
    return np.asarray(STATES).T @ (2 * mixed * (1 - mixed**2) / mixed.size)
