"""Runs outputs over two devices and prints what came of it; XLA_FLAGS must ask for two."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .jax_models import WIDTH, Scored, normal, score, twice

WEIGHT = normal(WIDTH, WIDTH)
STATES = normal(4, WIDTH, seed=1)
MESH = Mesh(np.array(jax.devices()), ("batch",))
ROWS, ALL = PartitionSpec("batch"), PartitionSpec()
SPLIT = Scored(loss=ALL, scores=ROWS, hidden_states=(ROWS, None, ROWS))
"""Which fields hold rows, and which one number for all of them."""


HALF = jax.tree.map(lambda array: array / 2, score(WEIGHT, STATES))


def scored_rows(weight: Array, states: Array) -> Scored:
    """Score the rows of one device, with the loss of all rows."""
    output = score(weight, states)
    return output.replace(loss=jax.lax.pmean(output.loss, "batch"))


def pmap() -> Any:
    """Score two rows on each device."""
    output = jax.pmap(scored_rows, axis_name="batch", in_axes=(None, 0))(WEIGHT, STATES.reshape(2, 2, WIDTH))
    assert len(output.scores.sharding.device_set) == 2
    return _joined(output)


def pmap_of_an_output() -> Any:
    """Double half of an output, its rows spread over the devices and its loss on both."""
    axes = jax.tree.map(lambda _: 0, HALF)
    axes.loss = None
    spread = jax.tree.map(lambda array: array.reshape(2, 2, *array.shape[1:]) if array.ndim else array, HALF)
    return _joined(jax.pmap(twice, in_axes=(axes,))(spread))


def shard_map() -> Any:
    """Score two rows on each device."""
    return _sharded(scored_rows, (ALL, ROWS), SPLIT)(WEIGHT, STATES)


def shard_map_of_an_output() -> Any:
    """Double half of an output, its rows spread over the devices and its loss on both."""
    return _sharded(twice, (SPLIT,), SPLIT)(HALF)


def shardings_of_jit() -> Any:
    """Say of each field of a compiled function's result where it is to be."""
    shardings = jax.tree.map(lambda spec: NamedSharding(MESH, spec), SPLIT)
    output = jax.jit(score, out_shardings=shardings)(WEIGHT, STATES)
    assert jax.tree.map(lambda array: array.sharding.spec, output) == SPLIT
    return output


def device_put() -> Any:
    """Spread an output over the devices, by field."""
    output = jax.device_put(score(WEIGHT, STATES), jax.tree.map(lambda spec: NamedSharding(MESH, spec), SPLIT))
    assert len(output.scores.addressable_shards) == 2
    assert output.scores.addressable_shards[0].data.shape == (2,)
    return output


def gradient() -> Any:
    """Differentiate on each device, sum up, and return the output with the gradient as its cache."""

    def step(weight: Array, states: Array) -> Any:
        def loss(weight: Array) -> tuple[Array, Scored]:
            output = score(weight, states)
            return output.loss, output

        (_, output), gradient = jax.value_and_grad(loss, has_aux=True)(weight)
        mean = jax.lax.pmean(gradient, "batch")
        return output.replace(loss=jax.lax.pmean(output.loss, "batch"), cache={"weight": mean})

    # Told that the weight varies, JAX leaves the sum over devices to us.
    varying = jax.device_put(np.stack([WEIGHT, WEIGHT]))
    sharded = _sharded(lambda weights, states: step(weights[0], states), (ROWS, ROWS), SPLIT.replace(cache=ALL))
    return sharded(varying, STATES)


def _sharded(function: Callable[..., Any], given: Any, returned: Any) -> Callable[..., Any]:
    return jax.jit(jax.shard_map(function, mesh=MESH, in_specs=given, out_specs=returned))


def _joined(output: Any) -> Any:
    return jax.tree.map(lambda array: array.reshape(4, *array.shape[2:]) if array.ndim > 1 else array[0], output)


def main() -> None:
    """Print, by name, the class and the values that each of the functions above returns."""
    assert len(jax.devices()) == 2
    functions = (pmap, pmap_of_an_output, shard_map, shard_map_of_an_output, shardings_of_jit, device_put, gradient)
    outputs = {function.__name__: function() for function in functions}
    values = {name: jax.tree.map(lambda array: array.tolist(), output) for name, output in outputs.items()}
    print(json.dumps({name: (type(output).__name__, values[name]) for name, output in outputs.items()}))  # noqa: T201


if __name__ == "__main__":
    main()
