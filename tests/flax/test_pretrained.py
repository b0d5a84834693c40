from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which these are held against")
pytest.importorskip("optax", reason="optax is not installed")

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.core import freeze
from flax.training.train_state import TrainState
from flax.traverse_util import flatten_dict

import modeloutputs.flax as flax_wing
from modeloutputs import CheckpointError, CheckpointWarning, InputError, UsageError

from .tiny import SIZES, models

IDS = np.arange(3, 17).reshape(2, 7)


def bert() -> tuple[Any, str]:
    _, model, folder = models("FlaxBertModel")
    return model, folder


def test_parameters_have_the_paths_of_flax_checkpoints():
    paths = {"/".join(path) for path in flatten_dict(models("FlaxGPT2LMHeadModel, add_cross_attention")[1].params)}
    assert {"transformer/wte/embedding", "transformer/h/1/attn/c_attn/kernel", "transformer/ln_f/scale"} <= paths
    paths = {"/".join(path) for path in flatten_dict(models("FlaxLlamaModel")[1].params)}
    assert {"layers/0/self_attn/q_proj/kernel", "layers/0/input_layernorm/weight", "norm/weight"} <= paths
    paths = {"/".join(path) for path in flatten_dict(models("FlaxBartForConditionalGeneration")[1].params)}
    assert {"final_logits_bias", "model/shared/embedding", "model/decoder/layers/0/fc1/kernel"} <= paths
    kernel = models("FlaxGPT2Model")[1].params["h"]["0"]["attn"]["c_attn"]["kernel"]
    assert kernel.shape == (48, 16)


def test_without_initialisation_the_caller_keeps_the_parameters():
    _, folder = bert()
    with pytest.warns(CheckpointWarning, match="new, to be trained: classifier"):
        model, params = flax_wing.FlaxBertForSequenceClassification.from_pretrained(folder, _do_init=False)
    assert "classifier" not in params
    with pytest.raises(UsageError, match="pass params="):
        _ = model.params
    filled = model.init_weights(jax.random.PRNGKey(0), (1, 1), params)
    assert filled["classifier"]["kernel"].shape == (16, 2)
    np.testing.assert_array_equal(
        filled["bert"]["pooler"]["dense"]["kernel"], bert()[0].params["pooler"]["dense"]["kernel"]
    )
    assert model(IDS, params=filled).logits.shape == (2, 2)
    assert type(model.init_weights(jax.random.PRNGKey(0), (1, 1), freeze(params))).__name__ == "FrozenDict"


def test_a_head_and_its_base_load_each_other(tmp_path: Any):
    model, folder = bert()
    with pytest.warns(CheckpointWarning, match="classifier"):
        head = flax_wing.FlaxBertForSequenceClassification.from_pretrained(folder, num_labels=4, seed=3)
    assert head(IDS).logits.shape == (2, 4)
    head.save_pretrained(tmp_path)
    with pytest.warns(CheckpointWarning, match="not used: classifier.bias, classifier.weight"):
        base = flax_wing.FlaxBertModel.from_pretrained(tmp_path, from_pt=True)
    np.testing.assert_allclose(base(IDS)[0], model(IDS)[0], atol=1e-5)


def test_parameters_may_be_frozen_passed_and_set():
    model, _ = bert()
    expected = model(IDS).last_hidden_state
    np.testing.assert_array_equal(model(IDS, params=freeze(model.params))[0], expected)
    np.testing.assert_allclose(model.module.apply({"params": model.params}, jnp.asarray(IDS))[0], expected, atol=1e-6)
    other = type(model)(model.config, seed=5)
    assert float(jnp.abs(other(IDS)[0] - expected).max()) > 1e-3
    other.params = model.params
    np.testing.assert_allclose(other(IDS)[0], expected, atol=1e-5)
    with pytest.raises(InputError, match=r"params lacks .* parameters: embeddings/LayerNorm/bias"):
        other.params = {"encoder": {}}


def test_modules_are_used_in_modules_of_ones_own():
    import flax.linen as nn

    config = flax_wing.BertConfig(**SIZES["Bert"])

    class Own(nn.Module):
        @nn.compact
        def __call__(self, ids: Any) -> Any:
            states = flax_wing.FlaxBertModule(config, add_pooling_layer=False, name="bert")(ids)[0]
            return nn.Dense(2)(states[:, 0])

    variables = Own().init(jax.random.PRNGKey(0), jnp.asarray(IDS))
    assert set(variables["params"]) == {"bert", "Dense_0"}
    assert Own().apply(variables, jnp.asarray(IDS)).shape == (2, 2)


def test_a_training_state_learns_a_task():
    """The shape of a fine-tuning script: whether a row begins with a token below 20."""
    model = flax_wing.FlaxBertForSequenceClassification(flax_wing.BertConfig(**SIZES["Bert"]))
    state = TrainState.create(apply_fn=model.__call__, params=model.params, tx=optax.adam(3e-3))
    rng = np.random.default_rng(0)

    @jax.jit
    def step(state: Any, ids: Any, labels: Any, key: Any) -> Any:
        def loss(params: Any) -> Any:
            logits = state.apply_fn(ids, params=params, dropout_rng=key, train=True)[0]
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, gradient = jax.value_and_grad(loss)(state.params)
        return state.apply_gradients(grads=gradient), value

    for i in range(50):
        ids = rng.integers(3, 40, (32, 5)).astype(np.int32)
        state, _ = step(state, ids, (ids[:, 0] < 20).astype(np.int32), jax.random.PRNGKey(i))
    ids = rng.integers(3, 40, (64, 5))
    predicted = np.asarray(model(ids, params=state.params).logits).argmax(-1)
    assert (predicted == (ids[:, 0] < 20)).mean() > 0.9


def test_models_are_built_in_traced_functions():
    config = flax_wing.BertConfig(**SIZES["Bert"])
    built = jax.jit(lambda params, ids: flax_wing.FlaxBertModel(config, _do_init=False)(ids, params=params)[0])
    model, _ = bert()
    np.testing.assert_allclose(built(model.params, jnp.asarray(IDS)), model(IDS)[0], atol=1e-5)


def test_foreign_configurations_are_read():
    model, folder = bert()

    class Foreign:
        model_type = "bert"

        def to_dict(self) -> dict[str, Any]:
            return {**SIZES["Bert"], "model_type": "bert", "transformers_version": "4.53.3"}

    loaded = flax_wing.FlaxAutoModel.from_pretrained(folder, config=Foreign())
    np.testing.assert_allclose(loaded(IDS)[0], model(IDS)[0], atol=1e-5)


def test_settings_that_were_read_cannot_be_assigned():
    config = flax_wing.BertConfig(**SIZES["Bert"])
    model = flax_wing.FlaxBertModel(config, _do_init=False)
    with pytest.raises(InputError, match="hidden_act was read when a FlaxBertModel was built"):
        model.config.hidden_act = "relu"


def test_what_cannot_be_loaded_is_refused(tmp_path: Any):
    _, folder = bert()
    with pytest.raises(InputError, match="has no setting 'num_label'"):
        flax_wing.FlaxBertModel.from_pretrained(folder, num_label=3)
    with pytest.raises(CheckpointError, match="FlaxAutoModelForSeq2SeqLM has no model for model_type 'bert'"):
        flax_wing.FlaxAutoModelForSeq2SeqLM.from_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"needs \(32,\)"):
        flax_wing.FlaxBertModel.from_pretrained(
            folder, config=flax_wing.BertConfig(**{**SIZES["Bert"], "hidden_size": 32})
        )
