"""Layers removed from a model, as people do to shorten it: it computes the rest, in steps with a cache too."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn

from modeloutputs.torch import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from ..tiny import GPT_SIZES, LLAMA_SIZES, SIZES, randomise, token_ids


def without_first(stack: Any) -> Any:
    return stack[1:]


def as_module_list(stack: Any) -> Any:
    return nn.ModuleList(list(stack)[1:])


every_way = pytest.mark.parametrize("prune", [without_first, as_module_list])


@every_way
def test_a_shortened_encoder_computes_the_layers_that_are_left(prune: Callable[[Any], Any]):
    model = randomise(BertModel(BertConfig(**SIZES))).eval()
    ids = token_ids(2, 5)
    hidden = model.embeddings(ids, None, None, None, 0)
    kept = list(model.encoder.layer)[1:]
    model.encoder.layer = prune(model.encoder.layer)
    assert list(model.encoder.layer) == kept
    output = model(ids, output_hidden_states=True)
    assert len(output.hidden_states) == len(kept) + 1
    torch.testing.assert_close(output.hidden_states[0], hidden)
    assert not any(name.startswith("encoder.layer.1") for name in model.state_dict())


@every_way
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_shortened_decoder_generates_as_without_a_cache(name: str, prune: Callable[[Any], Any]):
    if name == "gpt2":
        model: Any = randomise(GPT2LMHeadModel(GPT2Config(**GPT_SIZES))).eval()
        model.transformer.h = prune(model.transformer.h)
    else:
        model = randomise(LlamaForCausalLM(LlamaConfig(**LLAMA_SIZES))).eval()
        model.model.layers = prune(model.model.layers)
    ids = token_ids(2, 4)
    with torch.no_grad():
        first = model(ids[:, :3])
        step = model(ids[:, 3:], past_key_values=first.past_key_values)
        torch.testing.assert_close(step.logits, model(ids).logits[:, 3:], rtol=0, atol=1e-5)
        generated = model.generate(ids, max_new_tokens=4, eos_token_id=())
        for position in range(4, 8):
            expected = model(generated.sequences[:, :position], use_cache=False).logits[:, -1].argmax(-1)
            assert generated.sequences[:, position].tolist() == expected.tolist()


def test_removing_a_layer_in_place_keeps_a_cache_right():
    model = randomise(GPT2LMHeadModel(GPT2Config(**{**GPT_SIZES, "n_layer": 3}))).eval()
    del model.transformer.h[1]
    ids = token_ids(1, 4)
    with torch.no_grad():
        first = model(ids[:, :3])
        step = model(ids[:, 3:], past_key_values=first.past_key_values)
        torch.testing.assert_close(step.logits, model(ids).logits[:, 3:], rtol=0, atol=1e-5)
