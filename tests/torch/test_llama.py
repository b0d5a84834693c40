"""Llama against its formulas written down plainly in float64, and what it refuses."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import math
import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor

from modeloutputs import InputError
from modeloutputs.torch import LlamaConfig, LlamaForCausalLM, LlamaModel

from .peer import peer_class
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


# -- contexts that are stretched, and rows beyond them ----------------------------------------------------------------

LONG = {"short_factor": [1.0, 1.1, 1.3, 2.0], "long_factor": [1.0, 2.0, 4.0, 8.0]}
SCALINGS: dict[str, Any] = {
    "default": None,
    "linear": {"rope_type": "linear", "factor": 2.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10},
    "longrope": {"rope_type": "longrope", "original_max_position_embeddings": 10, **LONG},
    "llama3": LLAMA3,
}


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:a row is longer")
@pytest.mark.parametrize("length", [8, 30, 60])
@pytest.mark.parametrize("name", SCALINGS)
def test_stretched_contexts_are_the_peers(name: str, length: int) -> None:
    model = LM.model(rope_scaling=SCALINGS[name])
    peer = peer_class("LlamaForCausalLM")(peer_class("LlamaConfig")(**LLAMA_SIZES, rope_scaling=SCALINGS[name])).eval()
    peer.load_state_dict(model.state_dict())
    ids = token_ids(2, length)
    close(model(ids).logits, peer(ids).logits, 2e-5)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:a row is longer")
@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_each_row_is_stretched_by_its_own_length(name: str) -> None:
    model, ids = LM.model(rope_scaling=SCALINGS[name]), token_ids(2, 50)
    alone = model(ids[1:, :9]).logits[0]
    for side, kept in (("right", slice(0, 9)), ("left", slice(41, 50))):
        padded = ids.clone()
        padded[1, kept] = ids[1, :9]
        close(model(padded, padded_mask((50, 9), side, 50)).logits[1, kept], alone)
    positions = torch.arange(50)[None]
    close(model(ids, position_ids=positions).logits, model(ids).logits)


@pytest.mark.parametrize(("name", "length"), [("default", 40), ("linear", 80)])
def test_rows_beyond_the_context_are_computed_with_a_warning(name: str, length: int) -> None:
    model = LM.model(rope_scaling=SCALINGS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(token_ids(1, length))
    with pytest.warns(UserWarning, match=f"a row is longer than the {length} positions that this model is made for"):
        model(token_ids(1, length + 1))


@pytest.mark.filterwarnings("ignore:a row is longer")
def test_generation_goes_on_beyond_the_context() -> None:
    output = LM.model().generate(token_ids(1, 38), max_new_tokens=5, eos_token_id=())
    assert output.sequences.shape == (1, 43)


# -- what is refused --------------------------------------------------------------------------------------------------


def held(heads: int = 2, width: int = 8, tensors: int = 2, length: int = 3) -> Any:
    return tuple(tuple(torch.zeros(2, heads, length, width) for _ in range(tensors)) for _ in range(2))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "ids outside the vocabulary": ({"input_ids": IDS + 99}, "input_ids ranges from"),
    "positions beyond": ({"position_ids": torch.full((2, 5), 2**24)}, "position_ids ranges from 16777216 to 16777216"),
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
def test_invalid_arguments_are_refused_in_one_line(head: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        head.model()(**{"input_ids": IDS, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", [LlamaModel, LlamaForCausalLM])
def test_cross_attention_is_refused_when_the_model_is_built(cls: Any) -> None:
    with pytest.raises(InputError, match="Llama has no cross-attention; leave add_cross_attention out, or use GPT-2"):
        cls(LlamaConfig(**LLAMA_SIZES, add_cross_attention=True))


def test_an_encoder_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="encoder_hidden_states"):
        LM.model()(IDS, encoder_hidden_states=states(2, 5))
