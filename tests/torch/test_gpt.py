"""GPT: what it has of its own; how it behaves as a decoder is in `test_heads.py`."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn import functional as F

from modeloutputs import InputError
from modeloutputs.architectures import OpenAIGPTConfig
from modeloutputs.torch import OpenAIGPTLMHeadModel, OpenAIGPTModel

from .tiny import BY_NAME, GPT_SIZES, token_ids

BASE, LM = BY_NAME["OpenAIGPTModel"], BY_NAME["OpenAIGPTLMHeadModel"]


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_embeddings_are_of_tokens_positions_and_types_from_one_vocabulary() -> None:
    model, ids, types = BASE.model(), token_ids(2, 5), token_ids(2, 5, seed=4)
    output = model(ids, token_type_ids=types, output_hidden_states=True)
    table = model.tokens_embed.weight
    close(output.hidden_states[0], table[ids] + model.positions_embed.weight[:5] + table[types])


def test_each_block_normalises_what_it_adds_up() -> None:
    """Section 4.1: after attention and after the feed-forward block; "gelu" is the approximation by tanh."""
    model = BASE.model()
    states = model(token_ids(2, 5), output_hidden_states=True).hidden_states
    layer = model.h[1]
    seen = torch.ones(5, 5).tril().bool()
    query, key, value = layer.attn.c_attn(states[1]).view(2, 5, 12, 8).transpose(1, 2).split(4, 1)
    scores = (query @ key.transpose(-1, -2) / 8**0.5).masked_fill(~seen, float("-inf"))
    attended = layer.attn.c_proj((scores.softmax(-1) @ value).transpose(1, 2).reshape(2, 5, 32))
    hidden = layer.ln_1(states[1] + attended)
    update = layer.mlp.c_proj(F.gelu(layer.mlp.c_fc(hidden), approximate="tanh"))
    close(states[2], layer.ln_2(hidden + update))


def test_positions_may_be_passed_and_matter() -> None:
    model, ids = BASE.model(), token_ids(2, 5)
    assert torch.equal(model(ids, position_ids=torch.arange(5)[None]).last_hidden_state, model(ids).last_hidden_state)
    moved = model(ids, position_ids=torch.arange(5).flip(0)[None]).last_hidden_state
    assert not torch.allclose(moved, model(ids).last_hidden_state, atol=1e-2)


def test_tied_scores_read_the_token_embeddings_backwards() -> None:
    model, untied = LM.model(), LM.model(tie_word_embeddings=False)
    assert model.lm_head.weight is model.transformer.tokens_embed.weight
    assert untied.lm_head.weight is not untied.transformer.tokens_embed.weight
    ids = token_ids(2, 5)
    close(model(ids).logits, model.transformer(ids).last_hidden_state @ model.transformer.tokens_embed.weight.T)
    close(untied(ids).logits, untied.transformer(ids).last_hidden_state @ untied.lm_head.weight.T)


IDS = token_ids(2, 5)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "ids outside the vocabulary": ({"input_ids": IDS + 99}, "input_ids ranges from .* expected 0 to 98"),
    "types outside the vocabulary": ({"input_ids": IDS, "token_type_ids": IDS + 99}, "token_type_ids ranges from"),
    "types of another shape": ({"input_ids": IDS, "token_type_ids": IDS[:1]}, "token_type_ids has shape"),
    "too long": ({"input_ids": token_ids(1, 41)}, "41 positions exceed the model's max_position_embeddings of 40"),
    "positions outside the table": ({"input_ids": IDS, "position_ids": IDS + 40}, "position_ids ranges from"),
    "a mask of another shape": ({"input_ids": IDS, "attention_mask": torch.ones(2, 4)}, "attention mask has shape"),
    "nothing": ({}, "neither input_ids nor inputs_embeds was passed"),
    "both": ({"input_ids": IDS, "inputs_embeds": torch.zeros(2, 5, 32)}, "both input_ids and inputs_embeds"),
}


@pytest.mark.parametrize("head", [BASE, LM], ids=lambda head: head.name)
@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_computed_is_refused_in_one_line(head: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        head.model()(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", [OpenAIGPTModel, OpenAIGPTLMHeadModel])
def test_cross_attention_is_refused_when_the_model_is_built(cls: Any) -> None:
    with pytest.raises(InputError, match="GPT has no cross-attention; leave add_cross_attention out, or use GPT-2"):
        cls(OpenAIGPTConfig(**GPT_SIZES, add_cross_attention=True))


@pytest.mark.parametrize("name", ["use_cache", "past_key_values", "encoder_hidden_states"])
def test_there_is_no_argument_for_what_it_lacks(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        LM.model()(IDS, **{name: None})
