"""How code that was written for transformers 4 calls Flax models; what `test_pretrained` and `test_calling` leave."""

import inspect
import re
from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which the models of these tests are made with")

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util

import modeloutputs.flax as wing

from .tiny import BY_NAME, CASES, models

IDS = np.random.default_rng(0).integers(3, 40, (2, 6))  # int64, as tokenizers return them
BERT, GPT2, BART = "FlaxBertForSequenceClassification", "FlaxGPT2LMHeadModel, add_cross_attention", "FlaxBartModel"

HEAD = "input_ids attention_mask"
FLAGS = "output_attentions output_hidden_states return_dict"
ORDERS = {
    "Bert": f"{HEAD} token_type_ids position_ids head_mask encoder_hidden_states encoder_attention_mask params "
    f"dropout_rng train {FLAGS} past_key_values",
    "GPT2": f"{HEAD} position_ids encoder_hidden_states encoder_attention_mask params past_key_values dropout_rng "
    f"train {FLAGS}",
    "Llama": f"{HEAD} position_ids params past_key_values dropout_rng train {FLAGS}",
    "Bart": f"{HEAD} decoder_input_ids decoder_attention_mask position_ids decoder_position_ids {FLAGS} train params "
    "dropout_rng",
}


@pytest.mark.parametrize("family", ORDERS)
def test_arguments_come_in_each_architectures_order(family: str):
    for case in (case for case in CASES if case.family == family and case.flax_class != "FlaxBartForCausalLM"):
        parameters = inspect.signature(getattr(wing, case.flax_class).__call__).parameters
        assert " ".join(list(parameters)[1:]) == ORDERS[family], case.flax_class


def test_the_second_argument_of_from_pretrained_is_the_dtype_of_computation_and_not_of_parameters():
    _, ours, folder = models(BERT)
    half: Any = wing.FlaxBertForSequenceClassification.from_pretrained(folder, jnp.bfloat16, num_labels=3)
    half.jit_calls = False
    assert half(IDS).logits.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(half.params)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(np.asarray(half(IDS).logits, np.float32), ours(IDS).logits, atol=0.05)


def test_parameters_are_cast_where_a_mask_of_booleans_says():
    _, ours, _ = models(BERT)
    flat = traverse_util.flatten_dict(ours.params)
    mask = traverse_util.unflatten_dict({path: path[-2:] != ("LayerNorm", "scale") for path in flat})
    cast = traverse_util.flatten_dict(ours.to_bf16(ours.params, mask))
    assert all((leaf.dtype == jnp.float32) == (path[-2:] == ("LayerNorm", "scale")) for path, leaf in cast.items())
    assert flat[next(iter(flat))].dtype == jnp.float32, "the tree that was passed is left as it is"
    back = jax.tree.leaves(ours.to_fp32(ours.to_fp16(ours.params)))
    assert {leaf.dtype for leaf in back} == {jnp.dtype("float32")}


@jax.tree_util.register_pytree_node_class
class Doubled:
    """A leaf of a library's own: an array that stands for twice itself."""

    def __init__(self, half: Any) -> None:
        self.half = half

    def __jax_array__(self) -> Any:
        return self.half * 2

    @property
    def shape(self) -> Any:
        return self.half.shape

    @property
    def dtype(self) -> Any:
        return self.half.dtype

    def tree_flatten(self) -> Any:
        return (self.half,), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> Any:
        return cls(*children)


def test_parameters_are_passed_on_as_they_are():
    """FrozenDicts, tracers, NumPy arrays, and objects of libraries that replace matrices by something else."""
    _, ours, _ = models(BERT)
    expected = ours(IDS).logits
    frozen = flax.core.freeze(ours.params)
    np.testing.assert_allclose(ours(IDS, params=frozen).logits, expected, atol=1e-6)
    np.testing.assert_allclose(ours(IDS, params=jax.device_get(ours.params)).logits, expected, atol=1e-6)
    flat = traverse_util.flatten_dict(ours.params)
    own = {path: Doubled(leaf / 2) if path[-1] == "kernel" else leaf for path, leaf in flat.items()}
    np.testing.assert_allclose(ours(IDS, params=traverse_util.unflatten_dict(own)).logits, expected, atol=1e-5)


def test_results_are_read_by_position():
    _, ours, _ = models(GPT2)
    output = ours(IDS)
    assert output[0] is output.logits is output["logits"]
    plain = ours(IDS, return_dict=False)
    assert type(plain) is tuple
    np.testing.assert_array_equal(plain[0], output[0])


def test_modules_are_applied_with_collections_and_methods():
    _, ours, _ = models(BART)
    variables = {"params": ours.params}
    encoded = ours.module.apply(variables, IDS, method=ours.module.encode)
    np.testing.assert_allclose(encoded[0], ours.encode(IDS)[0], atol=1e-6)
    decoded = ours.module.apply(variables, IDS[:, :3], encoded[0], method=ours.module.decode, deterministic=True)
    np.testing.assert_allclose(decoded[0], ours.decode(IDS[:, :3], encoded)[0], atol=1e-6)
    dropped = ours.module.apply(variables, IDS, deterministic=False, rngs={"dropout": jax.random.key(0)})
    assert (dropped[0] != ours(IDS)[0]).any()


def test_modules_are_initialised_in_shapes_alone():
    _, ours, _ = models(BERT)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    shapes = jax.eval_shape(lambda: ours.module.init(keys, jnp.ones((1, 4), jnp.int32), return_dict=False))["params"]
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == jax.tree.map(lambda leaf: leaf.shape, ours.params)
    assert jax.tree.map(lambda leaf: leaf.shape, ours.params_shape_tree) == jax.tree.map(jnp.shape, ours.params)
    assert ours.required_params == set(traverse_util.flatten_dict(ours.params))


def test_modules_are_bridged_to_nnx():
    _, ours, _ = models("FlaxBertModel")
    module = nnx.bridge.ToNNX(wing.FlaxBertModule(ours.config, add_pooling_layer=False), rngs=nnx.Rngs(0))
    module.lazy_init(jnp.asarray(IDS))
    hidden = module(jnp.asarray(IDS)).last_hidden_state
    assert hidden.shape == (2, 6, 16)
    assert module(jnp.asarray(IDS)).get("pooler_output") is None


def test_rules_by_path_find_every_parameter():
    """A regular expression over the joined path, and tuples of the last names."""
    rules = (
        r"transformer/(wte|wpe)/embedding",
        r"(attn|crossattention)/(c_attn|q_attn|c_proj)/(kernel|bias)",
        r"mlp/(c_fc|c_proj)/(kernel|bias)",
        r"(ln_1|ln_2|ln_f|ln_cross_attn)/(scale|bias)",
    )
    _, ours, _ = models(GPT2)
    paths = ["/".join(path) for path in traverse_util.flatten_dict(ours.params)]
    assert all(sum(bool(re.search(rule, path)) for rule in rules) == 1 for path in paths)
    norms = {path[-2:] for path in traverse_util.flatten_dict(ours.params) if "ln" in "".join(path[-2:]).lower()}
    assert norms == {(f"ln_{n}", leaf) for n in ("1", "2", "f", "cross_attn") for leaf in ("scale", "bias")}


def test_facts_are_read_from_models():
    model: Any = wing.FlaxBertModel(BY_NAME["FlaxBertModel"].config(), input_shape=(2, 3), seed=4, _do_init=False)
    assert (model.framework, model.main_input_name, model.base_model_prefix) == ("flax", "input_ids", "bert")
    assert (model.input_shape, model.dtype, model.can_generate()) == ((2, 3), jnp.float32, False)
    assert (np.asarray(model.key) == np.asarray(jax.random.PRNGKey(4))).all()
    assert isinstance(model.module, wing.FlaxBertModule)
