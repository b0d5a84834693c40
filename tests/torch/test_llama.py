"""Llama against its formulas written down plainly in float64, and what it refuses."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor

from modeloutputs import InputError
from modeloutputs.torch import LlamaConfig, LlamaForCausalLM, LlamaModel

from .tiny import BY_NAME, LLAMA3, LLAMA_SIZES, padded_mask, states, token_ids

BASE, LM = BY_NAME["LlamaModel"], BY_NAME["LlamaForCausalLM"]
IDS = token_ids(2, 5)


def close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


# -- the formulas -----------------------------------------------------------------------------------------------------


def rms(x: Tensor, norm: Any) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight


def rotated(x: Tensor, frequencies: list[float]) -> Tensor:
    """Rotate each pair (i, i + D / 2), as a complex number, by its position's angle: (B, H, S, D)."""
    left, right = x.chunk(2, -1)
    angles = torch.arange(x.shape[2])[:, None].float() * torch.tensor(frequencies)
    turn = torch.complex(angles.cos().double(), angles.sin().double())  # from float32, as everywhere
    pairs = torch.complex(left, right) * turn
    return torch.cat([pairs.real, pairs.imag], -1)


def reference(model: Any, ids: Tensor) -> Tensor:
    """Return the logits, each head's computed on its own."""
    config, base = model.config, model.model
    x = base.embed_tokens.weight[ids]
    heads, groups, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    for layer in base.layers:
        read, attention = rms(x, layer.input_layernorm), layer.self_attn
        query, key, value = (
            project(read).unflatten(-1, (-1, width)).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = (rotated(part, config.inverse_frequencies()) for part in (query, key))
        contexts: list[Tensor] = []
        for head in range(heads):
            group = head // (heads // groups)
            scores = query[:, head] @ key[:, group].transpose(-1, -2) / math.sqrt(width)
            hidden = torch.ones(scores.shape[-2:]).triu(1).bool()
            contexts.append(scores.masked_fill(hidden, -math.inf).softmax(-1) @ value[:, group])
        x = x + attention.o_proj(torch.cat(contexts, -1))
        read = rms(x, layer.post_attention_layernorm)
        gate, up = layer.mlp.gate_proj(read), layer.mlp.up_proj(read)
        x = x + layer.mlp.down_proj(gate * gate.sigmoid() * up)
    table = base.embed_tokens if config.tie_word_embeddings else model.lm_head
    return rms(x, base.norm) @ table.weight.T


VARIANTS: dict[str, dict[str, Any]] = {
    "grouped": {},
    "one key for all": {"num_key_value_heads": 1},
    "a key for each": {"num_key_value_heads": 4},
    "tied": {"tie_word_embeddings": True},
    "attention bias": {"attention_bias": True},
    "feed-forward bias": {"mlp_bias": True},
    "wide heads": {"head_dim": 10},
    "narrow heads": {"head_dim": 2},
    "heads that do not divide the width": {"num_attention_heads": 6, "head_dim": 4},
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama3": {"rope_scaling": LLAMA3, "rope_theta": 500.0},
    "theta": {"rope_theta": 123.0},
}


@torch.no_grad()
@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_computes_the_formulas(settings: dict[str, Any]) -> None:
    model = LM.model(**settings).double()
    expected = reference(model, IDS)
    close(model(IDS, output_attentions=True).logits, expected, 1e-12)
    close(model(IDS).logits, expected, 1e-12)
    first = model(IDS[:, :4])
    close(model(IDS[:, 4:], past_key_values=first.past_key_values).logits, expected[:, 4:], 1e-12)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_each_variant_changes_the_numbers(settings: dict[str, Any]) -> None:
    """Else the test above would hold of settings that nobody reads."""
    if not settings:
        settings = {"num_key_value_heads": 4}
    assert not torch.allclose(LM.model(**settings)(IDS).logits, LM.model()(IDS).logits, atol=1e-4)


def test_the_cache_has_a_key_for_each_group() -> None:
    output = LM.model()(IDS)
    output.check()
    assert [tensor.shape for tensor in output.past_key_values[0]] == [(2, 2, 5, 8)] * 2


def test_only_distances_between_positions_matter() -> None:
    model = LM.model()
    close(model(IDS, position_ids=torch.arange(5)[None] + 30).logits, model(IDS).logits, 1e-4)
    spread = model(IDS, position_ids=2 * torch.arange(5)[None]).logits
    assert not torch.allclose(spread, model(IDS).logits, atol=1e-2)


def test_heads_that_share_a_key_attend_alike_with_weights_and_without() -> None:
    """A single query of many heads is computed as many queries of one."""
    model, ids = LM.model(), token_ids(3, 6)
    mask = padded_mask((6, 3, 5), "left", 6)
    past = model(ids[:, :5], mask[:, :5]).past_key_values
    step = {"attention_mask": mask, "past_key_values": past}
    close(model(ids[:, 5:], **step).logits, model(ids[:, 5:], **step, output_attentions=True).logits)


# -- what is refused --------------------------------------------------------------------------------------------------


def held(heads: int = 2, width: int = 8, tensors: int = 2, length: int = 3) -> Any:
    return tuple(tuple(torch.zeros(2, heads, length, width) for _ in range(tensors)) for _ in range(2))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "ids outside the vocabulary": ({"input_ids": IDS + 99}, "input_ids ranges from"),
    "too long": ({"input_ids": token_ids(2, 41)}, "41 positions exceed the model's max_position_embeddings of 40"),
    "too long with the cache": ({"past_key_values": held(length=36)}, "5 positions after 36 cached ones"),
    "positions beyond": ({"position_ids": torch.full((2, 5), 40)}, "position_ids ranges from 40 to 40"),
    "a mask of another shape": ({"attention_mask": torch.ones(3, 5)}, "attention mask has shape"),
    "an added mask": ({"attention_mask": torch.full((2, 1, 5, 5), -1e9)}, "attention mask has negative values"),
    "a cache of ungrouped heads": ({"past_key_values": held(heads=4)}, r"has shape \(2, 4, 3, 8\); expected \(2, 2, 3"),
    "a cache of other heads": ({"past_key_values": held(width=6)}, r"has shape \(2, 2, 3, 6\); expected"),
    "an encoder's cache": ({"past_key_values": held(tensors=4)}, "this model has no cross-attention"),
    "embeddings of another width": (
        {"input_ids": None, "inputs_embeds": states(2, 5, 31)},
        r"inputs_embeds is .* \(batch, positions, 32\)",
    ),
}


@pytest.mark.parametrize("head", [BASE, LM], ids=lambda head: head.name)
@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_computed_is_refused_in_one_line(head: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        head.model()(**{"input_ids": IDS, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", [LlamaModel, LlamaForCausalLM])
def test_cross_attention_is_refused_when_the_model_is_built(cls: Any) -> None:
    with pytest.raises(InputError, match="Llama has no cross-attention; leave add_cross_attention out, or use GPT-2"):
        cls(LlamaConfig(**LLAMA_SIZES, add_cross_attention=True))


def test_there_is_no_argument_for_an_encoder() -> None:
    with pytest.raises(TypeError, match="encoder_hidden_states"):
        LM.model()(IDS, encoder_hidden_states=states(2, 5))
