"""Every Flax model against its PyTorch counterpart with the same weights."""

import warnings
from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which these are held against")

import jax
import jax.numpy as jnp
import numpy as np
import torch

import modeloutputs.flax as flax_wing
import modeloutputs.torch as torch_wing

from .tiny import CASES, SIZES, Case, inputs, models, padding

DECODERS = [case for case in CASES if case.name in ("FlaxGPT2LMHeadModel, add_cross_attention", "FlaxLlamaModel")]
"""One with either form of cache; compiling steps takes seconds."""


def cases(chosen: Any = CASES) -> Any:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in chosen])


def difference(ours: Any, reference: Any, mask: Any) -> float:
    """Return the largest difference at tokens: nobody reads what a model says of padding."""
    ours = np.asarray(ours, np.float64)
    assert ours.shape == tuple(reference.shape)
    found = np.abs(ours - reference.numpy())
    seen = mask.reshape(-1, mask.shape[-1]) != 0
    if found.ndim == 4:
        found = found * seen[:, None, :, None]
    elif found.ndim == 3:
        found = found * seen[..., None]
    elif found.shape == seen.shape:
        found = found * seen
    return float(found.max())


@cases()
def test_every_field_is_the_pytorch_models(case: Case):
    """The first row has no padding, the second has it on the left, the third on the right."""
    model, ours, _ = models(case.name)
    given = inputs(case)
    mask = padding(case)
    flags = {"output_hidden_states": True, "output_attentions": [1]}
    given["attention_mask"] = mask
    output = ours(**given, **flags).check()
    with torch.no_grad():
        tensors = {name: torch.as_tensor(value) for name, value in given.items()}
        options = {"use_cache": False} if case.family not in ("Bert", "OpenAIGPT") or case.crosses else {}
        options = {} if "Sequence" in case.torch_class and case.family == "GPT2" else options
        reference = model(**tensors, **flags, **options)
    assert type(output).__name__ == case.returns
    assert list(output) == list(reference)
    for name, value in output.items():
        pairs = zip(value, reference[name], strict=True) if isinstance(value, tuple) else [(value, reference[name])]
        for ours_, theirs in pairs:
            assert (ours_ is None) == (theirs is None)
            if ours_ is not None:
                assert difference(ours_, theirs, mask) < 1e-5, name


@cases()
def test_what_is_saved_is_what_was_read(case: Case, tmp_path: Any):
    model, ours, _ = models(case.name)
    ours.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).state_dict()
    stored = {name: value for name, value in model.state_dict().items() if "shared" not in name}
    assert all(torch.equal(again[name], value) for name, value in stored.items())


@cases(DECODERS)
def test_step_by_step_gives_the_numbers_of_one_call(case: Case):
    """The first row has padding on the left; a mask of the cache's whole room, so that all steps have one shape."""
    _, ours, folder = models(case.name)
    ours = type(ours).from_pretrained(folder)  # compiled, as steps are
    given = inputs(case)
    ids = given.pop("input_ids")
    mask = np.ones((3, 9), np.int64)
    mask[0, :2] = 0
    whole = ours(ids, attention_mask=mask[:, :7], **given)[0]
    past = ours.init_cache(3, 9)
    pieces: list[Any] = []
    for start, stop in ((0, 4), (4, 5), (5, 6), (6, 7)):
        output = ours(ids[:, start:stop], attention_mask=mask, past_key_values=past, **given)
        past = output.past_key_values
        pieces.append(output[0])
    np.testing.assert_allclose(np.concatenate(pieces, 1)[1:], whole[1:], atol=1e-5)
    np.testing.assert_allclose(np.concatenate(pieces, 1)[0, 2:], whole[0, 2:], atol=1e-5)
    index = past["cache_index"] if isinstance(past, dict) else past.cache_index
    assert index.tolist() == [7, 7, 7]


def test_an_encoder_decoder_encodes_once_and_decodes_in_steps():
    _, ours, folder = models("FlaxBartForConditionalGeneration")
    ours = type(ours).from_pretrained(folder)
    case = next(case for case in CASES if case.name == "FlaxBartForConditionalGeneration")
    ids, mask = inputs(case)["input_ids"], padding(case)
    target = np.random.default_rng(2).integers(3, 40, (3, 6))
    whole = ours(ids, mask, target)
    encoded = ours.encode(ids, mask).check()
    assert isinstance(encoded, flax_wing.FlaxBaseModelOutput)
    past, pieces = ours.init_cache(3, 8, encoded), []
    for start, stop in ((0, 4), (4, 5), (5, 6)):
        output = ours.decode(target[:, start:stop], tuple(encoded.to_tuple()), mask, past_key_values=past).check()
        past = output.past_key_values
        pieces.append(output.logits)
    assert isinstance(output, flax_wing.FlaxCausalLMOutputWithCrossAttentions)
    assert [len(layer) for layer in past] == [4, 4]
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole.logits, atol=1e-5)
    np.testing.assert_allclose(encoded.last_hidden_state, whole.encoder_last_hidden_state, atol=1e-6)


def test_three_dimensional_masks_say_what_each_query_sees():
    model, ours, _ = models("FlaxBertModel")
    ids = np.arange(3, 17).reshape(2, 7)
    mask = np.tril(np.ones((2, 7, 7), np.int64))
    with torch.no_grad():
        reference = model(torch.as_tensor(ids), torch.as_tensor(mask)).last_hidden_state
    np.testing.assert_allclose(ours(ids, mask).last_hidden_state, reference, atol=1e-5)


def test_heads_are_masked():
    _, ours, _ = models("FlaxBertModel")
    ids = np.arange(3, 17).reshape(2, 7)
    attentions = ours(ids, head_mask=np.array([1, 0, 1, 1]), output_attentions=True).attentions
    assert all(float(np.abs(layer[:, 1]).max()) == 0 for layer in attentions)
    np.testing.assert_allclose(attentions[0][:, [0, 2, 3]].sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 6},
        {
            "rope_type": "longrope", "factor": 3.0, "original_max_position_embeddings": 6, "short_factor": [1.0, 1.5],
            "long_factor": [2.0, 5.0],
        },
    ],
    ids=lambda scaling: scaling["rope_type"],
)  # fmt: skip
def test_rotary_positions_are_stretched_by_each_rows_own_length(scaling: dict[str, Any], tmp_path: Any):
    sizes = {**SIZES["Llama"], "num_hidden_layers": 1, "max_position_embeddings": 6, "rope_scaling": scaling}
    model = torch_wing.LlamaModel(torch_wing.LlamaConfig(**sizes)).eval()
    model.save_pretrained(tmp_path)
    ids = np.arange(3, 23).reshape(2, 10)
    mask = np.ones((2, 10), np.int64)
    mask[1, :6] = 0  # the second row is shorter than the context, the first is longer
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = model(torch.as_tensor(ids), torch.as_tensor(mask), use_cache=False).last_hidden_state
    output = flax_wing.FlaxLlamaModel.from_pretrained(tmp_path)(ids, mask).last_hidden_state
    assert difference(output, reference, mask) < 1e-5


def test_gradients_are_the_pytorch_models():
    model, ours, _ = models("FlaxGPT2Model")
    ids = np.arange(3, 17).reshape(2, 7)

    def loss(params: Any) -> Any:
        return (ours(ids, params=params).last_hidden_state ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(ours.params)["h"]["0"]["attn"]["c_attn"]["kernel"]
    model.zero_grad()
    (model(torch.as_tensor(ids)).last_hidden_state ** 2).sum().backward()
    reference = model.h[0].attn.c_attn.weight.grad.numpy().T
    np.testing.assert_allclose(gradient, reference, atol=1e-4 * float(np.abs(reference).max()))
    model.zero_grad()


def test_dropout_is_drawn_by_the_key():
    _, ours, _ = models("FlaxBertForSequenceClassification")
    ids = np.arange(3, 17).reshape(2, 7)
    keys = jax.random.split(jax.random.PRNGKey(0))
    first, again, other = (ours(ids, dropout_rng=key, train=True)[0] for key in (keys[0], keys[0], keys[1]))
    np.testing.assert_array_equal(first, again)
    assert float(jnp.abs(first - other).max()) > 1e-4


def test_values_that_are_computed_again_give_the_same_gradients():
    _, ours, folder = models("FlaxGPT2Model")
    saving = type(ours).from_pretrained(folder)
    saving.enable_gradient_checkpointing()
    ids, key = np.arange(3, 17).reshape(2, 7), jax.random.PRNGKey(0)

    def loss(params: Any, model: Any) -> Any:
        return (model(ids, params=params, dropout_rng=key, train=True)[0] ** 2).sum()

    def gradient(model: Any) -> Any:
        return jax.jit(jax.grad(loss), static_argnums=1)(ours.params, model)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), gradient(ours), gradient(saving))


def test_computation_in_bfloat16_is_near_and_leaves_parameters_as_they_are():
    _, ours, folder = models("FlaxLlamaModel")
    half = type(ours).from_pretrained(folder, jnp.bfloat16)
    ids = np.arange(3, 17).reshape(2, 7)
    output = half(ids).last_hidden_state
    assert output.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(half.params)} == {"float32"}
    np.testing.assert_allclose(output.astype(np.float32), ours(ids).last_hidden_state, atol=0.15)
    narrow = half.to_bf16(half.params)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(narrow)} == {"bfloat16"}
