"""Pooling against a loop over rows in NumPy, of every framework, with padding on either side."""

from typing import Any

import numpy as np
import pytest

from modeloutputs import InputError, ModelOutput, pool
from modeloutputs.arrays.backends import backend_named, get_backend, to_numpy

from ..support.needs import FRAMEWORK_PARAMS, needs_jax, needs_tensorflow, needs_torch

LENGTHS = (4, 1, 7, 3)
SEQ, WIDTH = 7, 5
WAYS = {
    "mean": lambda tokens: tokens.mean(0),
    "max": lambda tokens: tokens.max(0),
    "cls": lambda tokens: tokens[0],
    "last": lambda tokens: tokens[-1],
}


def tokens() -> list[Any]:
    return [np.random.default_rng(n).standard_normal((n, WIDTH)).astype(np.float32) for n in LENGTHS]


def batch(side: str, junk: float = np.nan) -> tuple[Any, Any]:
    """Return the rows with junk where there is padding, and their mask; "both" pads one row before and after."""
    states, mask = np.full((len(LENGTHS), SEQ, WIDTH), junk, np.float32), np.zeros((len(LENGTHS), SEQ), np.int64)
    for i, row in enumerate(tokens()):
        start = {"right": 0, "left": SEQ - len(row), "both": (SEQ - len(row)) // 2}[side]
        states[i, start : start + len(row)] = row
        mask[i, start : start + len(row)] = 1
    return states, mask


@pytest.mark.parametrize("side", ["left", "right", "both"])
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", ["numpy", *FRAMEWORK_PARAMS])
def test_as_a_loop_over_rows(name: str, how: str, side: str):
    backend = backend_named(name)
    states, mask = batch(side)
    expected = np.stack([WAYS[how](row) for row in tokens()])
    given = backend.from_numpy(states)
    for own in (mask, mask.tolist(), mask.astype(bool), backend.from_numpy(mask.astype(np.int32))):
        pooled = pool(given, own, how)
        assert get_backend(pooled).name == name
        assert to_numpy(pooled).dtype == np.float32
        np.testing.assert_allclose(to_numpy(pooled), expected, rtol=1e-6, atol=1e-6)
    if how != "mean":
        assert np.array_equal(to_numpy(pool(given, mask, how)), expected)


def test_without_a_mask_every_position_is_a_token():
    states = np.random.default_rng(0).standard_normal((2, 3, 4))
    np.testing.assert_allclose(pool(states), states.mean(1))
    np.testing.assert_array_equal(pool(states, how="last"), states[:, -1])


def test_the_last_keys_of_a_mask_are_those_of_the_states():
    states, mask = batch("left")
    longer = np.concatenate([np.ones((len(LENGTHS), 3), int), mask], 1)
    np.testing.assert_array_equal(pool(states, longer, "cls"), pool(states, mask, "cls"))


@needs_torch
def test_outputs_gradients_and_half_precision_in_pytorch():
    import torch

    from modeloutputs.torch import BaseModelOutput

    states, mask = (torch.from_numpy(value) for value in batch("left", junk=0.0))
    output = BaseModelOutput(last_hidden_state=states.requires_grad_())
    pool(output, mask).sum().backward()
    assert states.grad is not None
    expected = mask[..., None] / mask.sum(1)[:, None, None]
    torch.testing.assert_close(states.grad, expected.expand_as(states).float())
    ones = torch.ones(1, 5000, 2, dtype=torch.bfloat16)
    assert pool(ones, torch.ones(1, 5000)).tolist() == [[1.0, 1.0]]
    assert pool(ones, torch.ones(1, 5000)).dtype == torch.bfloat16
    compiled = torch.compile(lambda states, mask: pool(states, mask), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(states, mask), pool(states, mask))


@needs_jax
def test_under_jit():
    import jax

    states, mask = batch("right")
    for how in WAYS:
        jitted = jax.jit(lambda states, mask, how=how: pool(states, mask, how))(states, mask)
        np.testing.assert_allclose(jitted, pool(states, mask, how), rtol=1e-6, atol=1e-6)


@needs_tensorflow
def test_in_a_graph_of_unknown_shapes():
    import tensorflow as tf

    states, mask = batch("left")
    spec = [tf.TensorSpec((None, None, WIDTH), tf.float32), tf.TensorSpec((None, None), tf.int64)]
    for how in WAYS:
        graph = tf.function(lambda states, mask, how=how: pool(states, mask, how), input_signature=spec)
        np.testing.assert_allclose(graph(states, mask), pool(states, mask, how), rtol=1e-6, atol=1e-6)


class Logits(ModelOutput):
    logits: Any = None


@pytest.mark.parametrize(
    ("states", "mask", "how", "message"),
    [
        (np.ones((1, 2, 3)), None, "sum", "how is 'sum'; expected one of 'mean', 'cls', 'last', 'max'"),
        (np.ones((2, 3)), None, "mean", r"states is f64\[2,3\]; expected a floating point array"),
        (np.ones((1, 2, 3), int), None, "mean", "expected a floating point array"),
        ([[[1.0]]], None, "mean", "expected a floating point array"),
        (Logits(np.ones((1, 2, 3))), None, "mean", "Logits has no last_hidden_state to pool; pass an array"),
        (np.ones((1, 2, 3)), [[1]], "mean", r"attention_mask is .*; expected \(1, 2\)"),
        (np.ones((1, 2, 3)), [[1, 1], [1, 1]], "mean", r"expected \(1, 2\)"),
        (np.ones((1, 2, 3)), [[1, 1], [1]], "mean", r"expected \(1, 2\)"),
        (np.ones((1, 2, 3)), [[0.0, -1e9]], "mean", "other values than zeros and ones"),
        (np.ones((2, 2, 3)), [[1, 0], [0, 0]], "mean", "row 1 of attention_mask has no token"),
    ],
)
def test_what_cannot_be_pooled_is_refused(states: Any, mask: Any, how: str, message: str):
    with pytest.raises(InputError, match=message):
        pool(states, mask, how)
