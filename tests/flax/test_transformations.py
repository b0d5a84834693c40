"""Models under JAX's transformations: the values of plain calls, whatever is done to them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax
import jax.numpy as jnp
import numpy as np

import modeloutputs.flax as wing
from modeloutputs.flax.losses import causal_lm_loss

SIZES = {"vocab_size": 30, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 12}
IDS = np.random.default_rng(0).integers(3, 30, (4, 6)).astype(np.int32)
MASK = np.where(np.arange(6) < np.array([[6], [4], [5], [3]]), 1, 0).astype(np.int32)


def new_model(**options: Any) -> Any:
    model = wing.FlaxGPT2LMHeadModel(wing.GPT2Config(**SIZES), seed=1, **options)
    model.jit_calls = False
    return model


@pytest.fixture(name="model", scope="module")
def fixture_model() -> Any:
    return new_model()


@pytest.fixture(name="expected", scope="module")
def fixture_expected(model: Any) -> Any:
    return np.asarray(model(IDS, MASK).logits)


def loss_of(model: Any, params: Any) -> Any:
    labels = np.where(MASK == 1, IDS, -100)
    return causal_lm_loss(model(IDS, MASK, params=params).logits, labels)


def test_over_rows_and_over_copies_of_parameters(model: Any, expected: Any):
    rows = jax.vmap(lambda ids, mask: model(ids[None], mask[None]).logits[0])(jnp.asarray(IDS), jnp.asarray(MASK))
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    copies = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf * 0.5]), model.params)
    both = jax.vmap(lambda params: model(IDS, MASK, params=params).logits)(copies)
    np.testing.assert_allclose(both[0], expected, atol=1e-5)
    halved = model(IDS, MASK, params=jax.tree.map(lambda leaf: leaf * 0.5, model.params)).logits
    np.testing.assert_allclose(both[1], halved, atol=1e-5)


def test_gradients_are_differences_of_the_loss_in_double_precision():
    with jax.enable_x64(True):
        model = new_model(dtype=jnp.float64)
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model.params)
        assert model(IDS, MASK, params=params).logits.dtype == jnp.float64
        loss = jax.jit(lambda params: loss_of(model, params))
        grads = jax.jit(jax.grad(loss))(params)
        rng = np.random.default_rng(0)
        for _ in range(3):
            way = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), params)
            ahead, behind = (jax.tree.map(lambda p, w, s=s: p + s * 1e-6 * w, params, way) for s in (1, -1))
            slope = sum(float((g * w).sum()) for g, w in zip(*map(jax.tree.leaves, (grads, way)), strict=True))
            assert float(loss(ahead) - loss(behind)) / 2e-6 == pytest.approx(slope, rel=1e-6)


def test_values_computed_again_in_the_backward_pass_give_the_same_gradients(model: Any):
    again = new_model()
    again.enable_gradient_checkpointing()
    plain, checkpointed, outside = (
        jax.jit(jax.grad(function))(model.params)
        for function in (
            lambda params: loss_of(model, params),
            lambda params: loss_of(again, params),
            jax.checkpoint(lambda params: loss_of(model, params)),
        )
    )
    for other in (checkpointed, outside):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), plain, other)


def test_steps_of_decoding_within_a_scan(model: Any, expected: Any):
    """Rows without padding; the cache is carried from step to step."""

    def step(past: Any, tokens: Any) -> Any:
        output = model(tokens[:, None], past_key_values=past)
        return output.past_key_values, output.logits[:, 0]

    _, logits = jax.lax.scan(step, model.init_cache(1, 6), jnp.asarray(IDS[:1].T))
    np.testing.assert_allclose(logits[:, 0], expected[0], atol=1e-5)


def test_an_exported_function_gives_the_same(model: Any, expected: Any):
    rows, length = jax.export.symbolic_shape("rows, length")
    shape = jax.ShapeDtypeStruct((rows, length), jnp.int32)
    exported = jax.export.export(jax.jit(lambda ids, mask: model(ids, mask).logits))(shape, shape)
    restored = jax.export.deserialize(exported.serialize())
    np.testing.assert_allclose(restored.call(IDS, MASK), expected, atol=1e-5)
    np.testing.assert_allclose(restored.call(IDS[:2, :5], MASK[:2, :5]), expected[:2, :5], atol=1e-5)


def test_orbax_keeps_parameters(model: Any, tmp_path: Path):
    orbax = pytest.importorskip("orbax.checkpoint", reason="orbax is not installed")
    with orbax.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "params", model.params)
    with orbax.StandardCheckpointer() as checkpointer:
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), model.params)
        restored = checkpointer.restore(tmp_path / "params", shapes)
    jax.tree.map(np.testing.assert_array_equal, restored, model.params)


def test_half_precision_is_finite_and_near(expected: Any):
    logits = new_model(dtype=jnp.bfloat16)(IDS, MASK).logits
    assert logits.dtype == jnp.bfloat16
    wide = np.asarray(logits, np.float32)
    assert np.isfinite(wide).all()
    assert np.abs((wide - expected) * MASK[..., None]).max() < 0.02 * np.abs(expected).max()


def test_parameters_are_donated_to_a_training_step(model: Any):
    def step(params: Any) -> Any:
        loss, grads = jax.value_and_grad(lambda params: loss_of(model, params))(params)
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, grads), loss

    given = jax.tree.map(jnp.array, model.params)
    donating = jax.jit(step, donate_argnums=0)
    params, first = donating(given)
    params, second = donating(params)
    assert float(second) < float(first)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))


def test_four_devices_give_the_numbers_of_one_and_learn():
    """In a process of its own, since the number of devices is decided once; the examples for several run there too."""
    folder = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.flax.on_four_devices", "--examples"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for name in ("NamedSharding", "pmap", "shard_map"):
        assert found[name] < 1e-5
    assert found["generate in pmap"] == found["sharded"] == 0
    assert found["fine-tuned"] > 0.9
    assert found["masked tokens"] < found["masked tokens at first"]
