"""Joining 1,000 outputs of ragged length, beside the same done by hand, field by field, and beside TensorDict."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf
import torch
from tensordict import TensorDict, pad_sequence

from harness import Row
from modeloutputs import ModelOutput, concat
from modeloutputs.flax import FlaxBaseModelOutput
from modeloutputs.tensorflow import TFBaseModelOutput
from modeloutputs.torch import BaseModelOutput, CausalLMOutputWithPast
from native_race import Call, race

__all__ = ["tables"]

COUNT = 1000
HEADS, HEAD_DIM, LAYERS = 2, 16, 2
TARGET = 1.1
"""Of the time of the same by hand, at most: by hand nothing is checked."""

# accelerate has no row: `concatenate` joins what is of one shape, and `pad_across_processes` pads between processes.


def lengths(longest: int, step: int = 1) -> list[int]:
    """Return how many tokens each output has: 8 at least, a multiple of `step`."""
    return (np.random.default_rng(0).integers(8, longest + 1, COUNT) // step * step).tolist()


def arrays_of_states(width: int, states: int, step: int = 1) -> list[list[np.ndarray]]:
    """Return, for each output, its hidden states."""
    rng = np.random.default_rng(1)
    return [[rng.standard_normal((1, n, width), np.float32) for _ in range(states)] for n in lengths(128, step)]


def with_states(cls: type[ModelOutput], rows: list[list[np.ndarray]], convert: Callable[[Any], Any]) -> list[Any]:
    """Return outputs of one text each, with these hidden states."""
    return [cls(hidden_states=tuple(map(convert, row))) for row in rows]


def by_hand(outputs: Sequence[Any], join: Callable[[list[Any]], Any]) -> Call:
    """Return what one writes without `concat`: the same for each layer of the field."""

    def run() -> Any:
        layers = range(len(outputs[0].hidden_states))
        states = tuple(join([output.hidden_states[i] for output in outputs]) for i in layers)
        return type(outputs[0])(hidden_states=states)

    return run


def torch_states(width: int, states: int) -> Row:
    outputs = with_states(BaseModelOutput, arrays_of_states(width, states), torch.from_numpy)
    dicts = [TensorDict({str(i): s[0] for i, s in enumerate(output.hidden_states)}) for output in outputs]

    def join(arrays: list[torch.Tensor]) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence([array[0] for array in arrays], batch_first=True)

    contenders = {
        "ours": lambda: concat(outputs),
        "pad_sequence by hand": by_hand(outputs, join),
        "TensorDict": lambda: pad_sequence(dicts),
    }
    expected, found = contenders["pad_sequence by hand"](), contenders["ours"]()
    check(bool((found.hidden_states[0] == expected.hidden_states[0]).all()))
    return race(f"PyTorch, {states} states {width} wide", contenders, seconds=4).row(target=TARGET)


def torch_caches() -> Row:
    """Race joining caches and attentions, whose padded axes are not the second."""

    def layer(*shape: int) -> torch.Tensor:
        return torch.randn(1, HEADS, *shape)

    def output(n: int) -> CausalLMOutputWithPast:
        caches = tuple((layer(n, HEAD_DIM), layer(n, HEAD_DIM)) for _ in range(LAYERS))
        attentions = tuple(layer(n, n) for _ in range(LAYERS))
        return CausalLMOutputWithPast(past_key_values=caches, attentions=attentions)

    outputs = [output(n) for n in lengths(64)]

    def padded() -> Any:
        longest = max(output.attentions[0].shape[-1] for output in outputs)

        def join(arrays: list[torch.Tensor], square: bool) -> torch.Tensor:
            wide = [longest - array.shape[2] for array in arrays]
            widths = [(0, n, 0, n) if square else (0, 0, 0, n) for n in wide]
            return torch.cat([torch.nn.functional.pad(a, w) for a, w in zip(arrays, widths, strict=True)])

        caches = [[[o.past_key_values[i][j] for o in outputs] for j in range(2)] for i in range(LAYERS)]
        attentions = [[o.attentions[i] for o in outputs] for i in range(LAYERS)]
        return CausalLMOutputWithPast(
            past_key_values=tuple(tuple(join(arrays, False) for arrays in pair) for pair in caches),
            attentions=tuple(join(arrays, True) for arrays in attentions),
        )

    contenders = {"ours": lambda: concat(outputs), "F.pad + cat by hand": padded}
    check(contenders["ours"]() == padded())
    return race(f"PyTorch, caches and attentions of {LAYERS} layers", contenders, seconds=3).row(target=TARGET)


def numpy_join(arrays: list[np.ndarray]) -> np.ndarray:
    """Write arrays of (1, length, width) into one of zeros."""
    joined = np.zeros((len(arrays), max(a.shape[1] for a in arrays), arrays[0].shape[2]), arrays[0].dtype)
    for row, array in enumerate(arrays):
        joined[row, : array.shape[1]] = array[0]
    return joined


def numpy_states() -> Row:
    outputs = with_states(BaseModelOutput, arrays_of_states(32, 3), np.asarray)
    contenders = {"ours": lambda: concat(outputs), "zeros and slices by hand": by_hand(outputs, numpy_join)}
    check(contenders["ours"]() == contenders["zeros and slices by hand"]())
    return race("NumPy, 3 states 32 wide", contenders, seconds=2).row(target=TARGET)


def jax_states() -> Row:
    # In 16 lengths, not 121: `jnp.pad` is compiled for each, and would take half a minute before the first round.
    outputs = with_states(FlaxBaseModelOutput, arrays_of_states(32, 3, step=8), jnp.asarray)

    def join(arrays: list[jax.Array]) -> jax.Array:
        longest = max(array.shape[1] for array in arrays)
        return jnp.concatenate([jnp.pad(a, ((0, 0), (0, longest - a.shape[1]), (0, 0))) for a in arrays])

    def by_numpy(arrays: list[jax.Array]) -> jax.Array:
        return jnp.asarray(numpy_join([np.asarray(array) for array in arrays]))

    contenders = {
        "ours": lambda: jax.block_until_ready(concat(outputs)),
        "jnp.pad + concatenate by hand": lambda: jax.block_until_ready(by_hand(outputs, join)()),
        "NumPy by hand": lambda: jax.block_until_ready(by_hand(outputs, by_numpy)()),
    }
    check(contenders["ours"]() == contenders["NumPy by hand"]())
    return race("JAX, 3 states 32 wide", contenders, seconds=4).row(target=TARGET)


def tensorflow_states() -> Row:
    outputs = with_states(TFBaseModelOutput, arrays_of_states(32, 3), tf.constant)

    def join(arrays: list[tf.Tensor]) -> tf.Tensor:
        longest = max(array.shape[1] for array in arrays)
        return tf.concat([tf.pad(a, ((0, 0), (0, longest - a.shape[1]), (0, 0))) for a in arrays], 0)

    def by_numpy(arrays: list[tf.Tensor]) -> tf.Tensor:
        return tf.constant(numpy_join([array.numpy() for array in arrays]))

    contenders = {
        "ours": lambda: concat(outputs),
        "tf.pad + concat by hand": by_hand(outputs, join),
        "NumPy by hand": by_hand(outputs, by_numpy),
    }
    check(contenders["ours"]() == contenders["tf.pad + concat by hand"]())
    return race("TensorFlow, 3 states 32 wide", contenders, seconds=4).row(target=TARGET)


def check(same: bool) -> None:
    """Refuse to race what gives something else."""
    if not same:
        raise RuntimeError("concat gives other values than the same by hand")


def tables() -> Iterator[tuple[str, list[Row]]]:
    """Return the table's title and lines."""
    yield (
        f"concat of {COUNT:,} outputs of 8 to 128 tokens (caches: to 64)",
        [torch_states(32, 3), torch_states(384, 1), torch_caches(), numpy_states(), jax_states(), tensorflow_states()],
    )
