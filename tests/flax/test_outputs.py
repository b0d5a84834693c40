"""The 15 Flax classes against the facts of the documentation page."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")

import jax.numpy as jnp

import modeloutputs.flax
from modeloutputs import ContractError, UsageError
from modeloutputs.flax import FlaxBaseModelOutput, FlaxBaseModelOutputWithPast, outputs
from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.output.contract import returned_when

from ..support.random_outputs import full
from ..support.spec_checks import ClassesOfThePage
from ..support.spec_checks import pytest_generate_tests as pytest_generate_tests

every_class = pytest.mark.parametrize("class_name", outputs.__all__)


class TestClasses(ClassesOfThePage):
    framework = FRAMEWORKS["jax"]
    count = 15


def test_the_folder_has_every_class():
    assert set(outputs.__all__) <= set(modeloutputs.flax.__all__)
    assert modeloutputs.flax.FlaxCausalLMOutput is outputs.FlaxMaskedLMOutput


@every_class
def test_no_class_has_a_loss(class_name: str):
    cls = getattr(outputs, class_name)
    assert "loss" not in cls.__output_fields__
    with pytest.raises(UsageError, match=f"^{class_name} has no field 'loss'"):
        cls(loss=jnp.zeros(()))


@every_class
def test_replace_gives_a_new_output_and_leaves_the_old(class_name: str):
    output = full(getattr(outputs, class_name))
    first, *others = output.keys()
    changed = output.replace(**{first: jnp.zeros(3)})
    assert type(changed) is type(output)
    assert changed is not output
    assert changed[first].shape == (3,)
    assert output[first].ndim >= 2
    assert all(changed[name] is output[name] for name in others)


def test_a_cache_of_constant_shape_is_a_dict_of_arrays():
    output = full(FlaxBaseModelOutputWithPast)
    assert list(output.past_key_values) == [
        "layers.0.cached_key",
        "layers.0.cached_value",
        "layers.1.cached_key",
        "layers.1.cached_value",
        "cache_index",
    ]
    assert output.past_key_values["layers.0.cached_key"].shape == (2, 6, 2, 8)
    assert output.past_key_values["cache_index"].dtype == jnp.int32
    assert returned_when(FlaxBaseModelOutputWithPast, "past_key_values") == "use_cache=True"
    with pytest.raises(ContractError, match=r"past_key_values: expected a mapping, found 2 x f32\[2,3,48\]"):
        output.replace(past_key_values=output.hidden_states).check()


def test_a_tuple_of_layers_may_not_be_a_list():
    states = jnp.zeros((2, 3, 8))
    output = FlaxBaseModelOutput(last_hidden_state=states, hidden_states=[states])
    with pytest.raises(ContractError, match=r"^FlaxBaseModelOutput\.hidden_states: expected a tuple"):
        output.check()
