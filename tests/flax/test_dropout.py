"""Dropout that draws bits for two elements at a time: what it keeps, and when it is linen's own."""

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from modeloutputs.flax.dropout import Dropout


def dropped(rate: float, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    module = Dropout(rate)
    return np.asarray(module.apply({}, jnp.ones(shape), deterministic=False, rngs={"dropout": jax.random.key(seed)}))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_as_many_are_kept_as_the_rate_says_and_scaled_so_that_the_mean_stays(rate: float):
    found = dropped(rate, (301, 333))  # an odd number of elements
    assert (found == 0).mean() == pytest.approx(rate, abs=0.005)
    assert np.unique(found).tolist() == pytest.approx([0, 1 / (1 - rate)], rel=1e-4)


def test_elements_that_share_drawn_bits_are_independent():
    kept = dropped(0.5, (2000, 2)) != 0
    together = np.corrcoef(kept[:, 0], kept[:, 1])[0, 1]
    assert abs(together) < 0.08


def test_a_key_decides_and_none_is_needed_where_nothing_is_dropped():
    assert (dropped(0.5, (50,), 1) == dropped(0.5, (50,), 1)).all()
    assert (dropped(0.5, (50,), 1) != dropped(0.5, (50,), 2)).any()
    inputs = jnp.arange(4.0)
    assert Dropout(0.5).apply({}, inputs, deterministic=True).tolist() == inputs.tolist()
    assert Dropout(0.0, deterministic=False).apply({}, inputs).tolist() == inputs.tolist()
    with pytest.raises(flax.errors.InvalidRngError):
        Dropout(0.5).apply({}, inputs, deterministic=False)


def test_tools_find_linens_class_and_its_other_settings():
    assert issubclass(Dropout, nn.Dropout)
    key = {"dropout": jax.random.key(0)}
    rows = Dropout(0.5, broadcast_dims=(1,)).apply({}, jnp.ones((8, 5)), deterministic=False, rngs=key)
    linens = nn.Dropout(0.5, broadcast_dims=(1,)).apply({}, jnp.ones((8, 5)), deterministic=False, rngs=key)
    assert np.asarray(rows).tolist() == np.asarray(linens).tolist()
    assert np.asarray(Dropout(1.0).apply({}, jnp.ones(3), deterministic=False)).tolist() == [0, 0, 0]
