"""Filters against those of the PyTorch wing, which are held against transformers; draws against probabilities."""

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which these are held against")

import jax
import jax.numpy as jnp
import numpy as np
import torch

from modeloutputs.flax.sampling import FILTERS, sample_tokens
from modeloutputs.torch.sampling import FILTERS as TORCH_FILTERS

VALUES = {
    "temperature": (0.3, 2.0),
    "top_k": (1, 4, 50),
    "top_p": (0.05, 0.5, 0.95),
    "min_p": (0.02, 0.4, 1.0),
    "typical_p": (0.1, 0.6, 0.99),
    "epsilon_cutoff": (0.01, 0.2),
    "eta_cutoff": (0.01, 0.3),
}


def tables() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    excluded = rng.normal(size=(4, 12)).astype(np.float32) * 3
    excluded[:, ::3] = -np.inf
    tied = rng.integers(-4, 4, (4, 12)).astype(np.float32) / 4  # exact, with ties
    return [rng.normal(size=(5, 12)).astype(np.float32) * 2, excluded, tied]


def test_there_is_a_filter_for_each_of_the_pytorch_wings():
    assert list(FILTERS) == list(TORCH_FILTERS)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_keeps_what_the_pytorch_wings_keeps(name: str):
    # Which of equal tokens a running sum drops first is the sorting's choice, in either framework.
    summing = name in ("top_p", "typical_p", "min_p")
    for table in tables()[: 2 if summing else 3]:
        for value in VALUES[name]:
            for kept in (1, 3):
                found = np.asarray(FILTERS[name](jnp.asarray(table), value, kept))
                expected = TORCH_FILTERS[name](torch.as_tensor(table), value, kept).numpy()
                np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=f"{value}, {kept}")


def test_draws_come_as_often_as_their_probabilities_say():
    probabilities = np.array([0.5, 0.3, 0.2, 0.0], np.float32)
    scores = jnp.broadcast_to(jnp.log(probabilities), (6000, 4))
    pairs = np.asarray(sample_tokens(jax.random.key(0), scores, 2))
    first = np.bincount(pairs[:, 0], minlength=4) / len(pairs)
    np.testing.assert_allclose(first, probabilities, atol=0.02)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    second = np.bincount(pairs[pairs[:, 0] == 0, 1], minlength=4)  # without replacement: 0.3 to 0.2
    np.testing.assert_allclose(second / second.sum(), [0, 0.6, 0.4, 0], atol=0.03)


def test_a_key_decides_what_is_drawn():
    scores = jnp.zeros((3, 50))
    one, same, other = (np.asarray(sample_tokens(jax.random.key(seed), scores, 1)) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
