from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which these are held against")

import jax
import jax.numpy as jnp
import numpy as np

from modeloutputs import InputError

from .tiny import models

IDS = np.arange(3, 17).reshape(2, 7)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_ids": [[1, 2]]}, "input_ids is a list, not an array"),
        ({"input_ids": IDS + 40}, "input_ids ranges from 43 to 56; expected 0 to 39"),
        ({"input_ids": IDS[0]}, r"input_ids has shape \(7,\); expected \(batch, seq\)"),
        ({"input_ids": IDS / 2}, "input_ids is float64"),
        ({"input_ids": np.zeros((1, 30), int)}, "30 positions exceed the model's max_position_embeddings of 24"),
        ({"attention_mask": np.ones((2, 6))}, r"attention mask has shape \(2, 6\)"),
        ({"position_ids": np.full((2, 7), 24)}, "position_ids ranges from 24 to 24"),
        ({"token_type_ids": np.full((2, 7), 2)}, "token_type_ids ranges from 2 to 2; expected 0 to 1"),
        ({"encoder_hidden_states": np.zeros((2, 3, 16))}, "encoder_hidden_states was passed to a model without"),
        ({"past_key_values": {"a": 1}}, "keeps no cache"),
        ({"train": True}, "pass dropout_rng="),
        ({"output_attentions": [2]}, "asks for layer 2; this model has -2 to 1"),
    ],
)
def test_what_a_model_cannot_be_called_with_is_refused(given: dict[str, Any], message: str):
    _, model, _ = models("FlaxBertModel")
    with pytest.raises(InputError, match=message):
        model(**{"input_ids": IDS, **given})


def test_caches_of_others_are_refused():
    _, model, _ = models("FlaxGPT2Model")
    with pytest.raises(InputError, match="past_key_values is a list"):
        model(IDS, past_key_values=[1])
    with pytest.raises(InputError, match="7 positions exceed"):
        model(IDS, past_key_values=model.init_cache(2, 6))
    llama = models("FlaxLlamaModel")[1]
    with pytest.raises(InputError, match="past_key_values has no 'layers/0/self_attn/cached_key'"):
        llama(IDS, past_key_values={"cache_index": jnp.zeros(2, jnp.int32)})


@pytest.mark.parametrize("name", ["FlaxBertModel", "FlaxGPT2Model", "FlaxBartModel"])
def test_calls_are_compiled_once_for_flags_and_shapes(name: str):
    _, model, folder = models(name)
    compiled = type(model).from_pretrained(folder)
    traces: list[int] = []
    apply = type(compiled.module).apply

    class Counting:
        def apply(self, *given: Any, **options: Any) -> Any:
            traces.append(1)
            return apply(compiled_module, *given, **options)

    compiled_module, compiled.module = compiled.module, Counting()
    np.testing.assert_allclose(compiled(IDS)[0], model(IDS)[0], atol=1e-5)
    compiled(IDS + 1, attention_mask=np.ones((2, 7)))  # a mask that hides nothing is left out
    assert len(traces) == 1
    compiled(IDS[:1])
    assert len(traces) == 2


def test_traces_are_not_broken_by_checks():
    _, model, _ = models("FlaxBertModel")
    expected = model(IDS)[0]
    batched = jax.jit(jax.vmap(lambda ids: model(ids[None], params=model.params)[0][0]))(jnp.asarray(IDS))
    np.testing.assert_allclose(batched, expected, atol=1e-5)
    plain = model(IDS, return_dict=False)
    assert isinstance(plain, tuple)
    np.testing.assert_array_equal(plain[0], expected)


def test_the_collection_of_linen_is_a_cache_too():
    _, model, _ = models("FlaxGPT2Model")
    whole = model(IDS)[0]
    empty = model.cache_layout.to_collection(model.init_cache(2, 7))
    output, changed = model.module.apply(
        {"params": model.params, "cache": empty}, jnp.asarray(IDS[:, :5]), mutable=["cache"]
    )
    np.testing.assert_allclose(output[0], whole[:, :5], atol=1e-5)
    after = model(IDS[:, 5:], past_key_values=changed["cache"])
    np.testing.assert_allclose(after[0], whole[:, 5:], atol=1e-5)
    made = model.module.init(jax.random.PRNGKey(0), jnp.zeros((2, 7), jnp.int32), init_cache=True)["cache"]
    assert made["h"]["0"]["attn"]["cached_key"].shape == (2, 7, 4, 4)
