"""Outputs in the libraries around JAX: Flax and Orbax."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from pathlib import Path
from typing import Any

import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")

import jax.numpy as jnp
import numpy as np

from modeloutputs import UsageError
from modeloutputs.flax import outputs

from ..support.random_outputs import class_named
from .jax_models import STATES, WEIGHT, Scored, close, partly, score, weight_gradient
from .marks import machinery

every_class = pytest.mark.parametrize("class_name", outputs.__all__)


# -- Flax -----------------------------------------------------------------------------------------------------------


@machinery("modules (Flax)")
def test_nnx_modules_return_outputs():
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")

    class Scorer(nnx.Module):
        def __init__(self, weight: Any) -> None:
            self.weight = nnx.Param(weight)

        def __call__(self, states: Any) -> Scored:
            return score(self.weight[...], states)

    scorer = Scorer(WEIGHT)
    expected = score(WEIGHT, STATES)
    assert close(nnx.jit(lambda module, states: module(states))(scorer, STATES), expected)
    assert nnx.eval_shape(lambda: scorer(STATES)).scores.shape == (4,)

    @nnx.jit
    def step(module: Any, states: Any) -> Any:
        def loss(module: Any) -> Any:
            output = module(states)
            return output.loss, output

        return nnx.value_and_grad(loss, has_aux=True)(module)

    (value, output), gradient = step(scorer, STATES)
    assert close(output, expected)
    assert np.isclose(value, expected.loss)
    assert np.allclose(gradient["weight"][...], weight_gradient(), atol=1e-6)
    scorer.last = nnx.Cache(output)
    again = nnx.merge(*nnx.split(scorer))
    assert close(again.last.get_value(), expected)
    by_row = nnx.vmap(lambda module, states: module(states), in_axes=(None, 0))(scorer, STATES)
    assert close(by_row.replace(loss=None), expected.replace(loss=None))


@machinery("modules (Flax)")
def test_linen_modules_return_outputs():
    linen = pytest.importorskip("flax.linen", reason="Flax is not installed")

    class Scorer(linen.Module):
        @linen.compact
        def __call__(self, states: Any) -> Scored:
            output = score(self.param("weight", lambda _: WEIGHT), states)
            self.sow("intermediates", "output", output)
            return output

    variables = {"params": {"weight": WEIGHT}}
    expected = score(WEIGHT, STATES)
    assert close(jax.jit(Scorer().apply)(variables, STATES), expected)
    assert close(linen.remat(Scorer)().apply(variables, STATES), expected)
    _, state = Scorer().apply(variables, STATES, mutable=["intermediates"])
    assert close(state["intermediates"]["output"][0], expected)


@machinery("save and load")
def test_flax_serializes_outputs_as_it_does_its_own_dataclasses():
    serialization = pytest.importorskip("flax.serialization", reason="Flax is not installed")
    output = partly("FlaxBaseModelOutputWithPast")
    state = serialization.to_state_dict(output)
    assert list(state) == list(output)
    assert state["hidden_states"]["1"] is output.hidden_states[1]
    assert serialization.from_state_dict(jax.tree.map(jnp.zeros_like, output), state) == output
    restored = serialization.from_bytes(jax.tree.map(jnp.zeros_like, output), serialization.to_bytes(output))
    assert type(restored) is type(output)
    assert jax.tree.map(jnp.asarray, restored) == output
    with pytest.raises(UsageError, match="restore into an output that holds the same fields"):
        serialization.from_state_dict(output.replace(attentions=None), state)


# -- orbax ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def orbax() -> Any:
    return pytest.importorskip("orbax.checkpoint", reason="Orbax is not installed")


def shapes_of(output: Any) -> Any:
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding), output)


@machinery("save and load")
@pytest.mark.parametrize("class_name", ["FlaxBaseModelOutputWithPast", "FlaxSeq2SeqLMOutput"])
def test_orbax_restores_the_class(orbax: Any, class_name: str, tmp_path: Path):
    output = partly(class_name)
    with orbax.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "saved", output)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "saved", shapes_of(output))
        plain = checkpointer.restore(tmp_path / "saved")
    assert type(restored) is class_named(class_name)
    assert restored == output
    # Without a target Orbax gives dictionaries, from which an output is built.
    assert list(class_named(class_name)(plain)) == list(output)
    assert plain["hidden_states" if "hidden_states" in output else "decoder_hidden_states"][0] is None


@machinery("save and load")
def test_orbax_restores_outputs_within_a_tree(orbax: Any, tmp_path: Path):
    tree = {"step": jnp.array(3), "outputs": [score(WEIGHT, STATES), score(WEIGHT, STATES * 2)]}
    with orbax.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "tree", tree)
        as_saved = orbax.checkpoint_utils.construct_restore_args(tree)
        restored = checkpointer.restore(tmp_path / "tree", args=orbax.args.PyTreeRestore(tree, as_saved))
    assert restored["outputs"] == tree["outputs"]
    assert {type(output) for output in restored["outputs"]} == {Scored}


@machinery("save and load")
def test_the_checkpoint_manager_of_orbax_restores_the_class(orbax: Any, tmp_path: Path):
    output = score(WEIGHT, STATES)
    with orbax.CheckpointManager(tmp_path / "steps") as manager:
        manager.save(0, args=orbax.args.StandardSave(output))
        manager.wait_until_finished()
        restored = manager.restore(0, args=orbax.args.StandardRestore(shapes_of(output)))
    assert type(restored) is Scored
    assert restored == output
