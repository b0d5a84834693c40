"""Factors of heads: the same numbers as an output projection whose columns for that head are scaled."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

import modeloutputs.torch as ours
from modeloutputs import InputError
from modeloutputs.torch.layers import Conv1D

from .tiny import padded_mask, randomise

LAYERS, HEADS, WIDTH = 2, 2, 8
IDS = torch.randint(1, 20, (2, 5), generator=torch.Generator().manual_seed(0))
MASK = padded_mask((5, 3), "left", 5)
BERT = {
    "vocab_size": 20, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "intermediate_size": 8,
}  # fmt: skip
GPT = {"vocab_size": 20, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 16}
BART = {
    "vocab_size": 20, "d_model": WIDTH, "encoder_layers": LAYERS, "decoder_layers": LAYERS,
    "encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8,
    "max_position_embeddings": 16,
}  # fmt: skip
DECODER = {"is_decoder": True, "add_cross_attention": True}
MODELS: dict[str, tuple[str, str, dict[str, Any], dict[str, tuple[str, ...]]]] = {
    "BERT": ("BertModel", "BertConfig", BERT, {"head_mask": ("encoder.layer.{}.attention.output.dense",)}),
    "BERT decoder": (
        "BertLMHeadModel", "BertConfig", {**BERT, **DECODER},
        {"head_mask": ("bert.encoder.layer.{}.attention.output.dense",
                       "bert.encoder.layer.{}.crossattention.output.dense")},
    ),
    "GPT": ("OpenAIGPTLMHeadModel", "OpenAIGPTConfig", GPT, {"head_mask": ("transformer.h.{}.attn.c_proj",)}),
    "GPT-2": (
        "GPT2LMHeadModel", "GPT2Config", {**GPT, "add_cross_attention": True},
        {"head_mask": ("transformer.h.{}.attn.c_proj", "transformer.h.{}.crossattention.c_proj")},
    ),
    "BART": (
        "BartForConditionalGeneration", "BartConfig", BART,
        {"head_mask": ("model.encoder.layers.{}.self_attn.out_proj",),
         "decoder_head_mask": ("model.decoder.layers.{}.self_attn.out_proj",),
         "cross_attn_head_mask": ("model.decoder.layers.{}.encoder_attn.out_proj",)},
    ),
}  # fmt: skip
CASES = [(name, argument) for name, entry in MODELS.items() for argument in entry[3]]
every_case = pytest.mark.parametrize(("name", "argument"), CASES, ids=["-".join(case) for case in CASES])
FACTORS = torch.tensor([[0.0, 1.0], [0.5, 0.0]])


def built(name: str) -> Any:
    cls, config, settings, _ = MODELS[name]
    return randomise(getattr(ours, cls)(getattr(ours, config)(**settings))).eval()


def given(name: str) -> dict[str, Any]:
    crosses = MODELS[name][2].get("add_cross_attention")
    encoder = {"encoder_hidden_states": torch.ones(2, 3, WIDTH).cumsum(1)} if crosses else {}
    return {"input_ids": IDS, "attention_mask": MASK, **encoder}


def scaled(name: str, argument: str) -> Any:
    model = built(name)
    for path in MODELS[name][3][argument]:
        for layer in range(LAYERS):
            _scale(model.get_submodule(path.format(layer)), FACTORS[layer])
    return model


@torch.no_grad()
def _scale(projection: nn.Module, factors: Tensor) -> None:
    columns = factors.repeat_interleave(WIDTH // HEADS)
    weight: Any = projection.weight
    weight.mul_(columns[:, None] if isinstance(projection, Conv1D) else columns)


def first(output: Any) -> Tensor:
    return output.to_tuple()[0]


@torch.no_grad()
@every_case
def test_factors_scale_what_heads_add(name: str, argument: str) -> None:
    model, expected = built(name), scaled(name, argument)(**given(name))
    found = model(**given(name), **{argument: FACTORS})
    torch.testing.assert_close(first(found), first(expected))
    assert not torch.allclose(first(found), first(model(**given(name))), atol=1e-3)
    with_weights = model(**given(name), **{argument: FACTORS}, output_attentions=True)
    torch.testing.assert_close(first(with_weights), first(expected))


@torch.no_grad()
@every_case
def test_factors_of_one_are_none_and_those_of_all_layers_may_be_given_once(name: str, argument: str) -> None:
    model, plain = built(name), first(built(name)(**given(name)))
    torch.testing.assert_close(first(model(**given(name), **{argument: torch.ones(HEADS)})), plain)
    once, each = torch.tensor([0.5, 0.0]), torch.tensor([[0.5, 0.0]] * LAYERS)
    found = [first(model(**given(name), **{argument: factors})) for factors in (once, each)]
    assert torch.equal(*found)


@torch.no_grad()
def test_steps_with_a_cache_are_a_whole_sequence() -> None:
    model, inputs = built("GPT-2"), {"head_mask": FACTORS, "encoder_hidden_states": torch.ones(2, 3, WIDTH)}
    whole = model(IDS, **inputs).logits
    start = model(IDS[:, :4], **inputs)
    step = model(IDS[:, 4:], past_key_values=start.past_key_values, **inputs)
    torch.testing.assert_close(step.logits, whole[:, 4:])


@torch.no_grad()
def test_returned_weights_are_those_that_count() -> None:
    weights = built("BERT")(IDS, head_mask=FACTORS, output_attentions=True).attentions
    plain = built("BERT")(IDS, output_attentions=True).attentions
    torch.testing.assert_close(weights[0], plain[0] * FACTORS[0][:, None, None])
    assert weights[1][:, 1].abs().max() == 0


def test_factors_get_gradients() -> None:
    factors = torch.ones(LAYERS, HEADS, requires_grad=True)
    built("GPT-2")(IDS, labels=IDS, head_mask=factors, encoder_hidden_states=torch.ones(2, 3, WIDTH)).loss.backward()
    assert factors.grad is not None
    assert (factors.grad != 0).all()


@pytest.mark.parametrize("mask", [torch.ones(3), torch.ones(3, 2), torch.ones(2, 3), torch.ones(2, 1, 2, 1, 1)])
def test_factors_of_another_shape_are_refused(mask: Tensor) -> None:
    line = r"head_mask has shape .*; expected \(heads,\) = \(2,\) or \(layers, heads\) = \(2, 2\)"
    with pytest.raises(InputError, match=line):
        built("BERT")(IDS, head_mask=mask)


def test_heads_are_not_cut_out_and_a_checkpoint_that_lost_some_is_refused() -> None:
    with pytest.raises(InputError, match="heads are not cut out; pass head_mask="):
        built("BERT").prune_heads({0: [1]})
    config = ours.BertConfig.from_dict({**BERT, "pruned_heads": {"0": [1]}})
    with pytest.raises(InputError, match=r"config.pruned_heads is {'0': \[1\]}: heads were cut out of this checkpoint"):
        ours.BertModel(config)
    assert ours.BertModel(ours.BertConfig.from_dict({**BERT, "pruned_heads": {}})) is not None
