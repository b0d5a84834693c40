"""GPT-2: what it has of its own; how it behaves as a decoder is in `test_heads.py`."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor

from modeloutputs import InputError
from modeloutputs.torch import GPT2Config, GPT2LMHeadModel

from .tiny import BY_NAME, GPT_SIZES, LENGTHS, WIDTH, padded_ids, padded_mask, states, token_ids

BASE, LM = BY_NAME["GPT2Model"], BY_NAME["GPT2LMHeadModel"]
CLASSIFIER = BY_NAME["GPT2ForSequenceClassification, one class"]
IDS = token_ids(2, 5)


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# -- the stack --------------------------------------------------------------------------------------------------------


def test_embeddings_are_of_tokens_positions_and_types_from_one_vocabulary() -> None:
    model, types = BASE.model(), token_ids(2, 5, seed=4)
    output = model(IDS, token_type_ids=types, output_hidden_states=True)
    close(output.hidden_states[0], model.wte.weight[IDS] + model.wpe.weight[:5] + model.wte.weight[types])


def test_the_last_state_is_normalised_and_the_others_are_not() -> None:
    model = BASE.model()
    kept: list[Tensor] = []
    model.h[-1].register_forward_hook(lambda module, arguments, result: kept.append(result[0]))
    output = model(IDS, output_hidden_states=True)
    close(output.hidden_states[-1], model.ln_f(kept[0]))
    assert output.hidden_states[-1] is output.last_hidden_state


@pytest.mark.parametrize(
    ("settings", "scales"),
    [
        ({}, [8**-0.5, 8**-0.5]),
        ({"scale_attn_weights": False}, [1.0, 1.0]),
        ({"scale_attn_by_inverse_layer_idx": True}, [8**-0.5, 8**-0.5 / 2]),
        ({"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True}, [1.0, 0.5]),
    ],
)
@pytest.mark.parametrize("cross", [False, True])
def test_scores_are_scaled_as_configured(settings: dict[str, Any], scales: list[float], cross: bool) -> None:
    """In cross-attention too: the weights are those of scores that are scaled by hand."""
    model = BASE.model(**settings)
    seen: list[Tensor] = []
    for layer in model.h:
        part = layer.crossattention.q_attn if cross else layer.attn.c_attn
        part.register_forward_hook(lambda module, arguments, result: seen.append(result))
    encoded = states(2, 3)
    output = model(IDS, encoder_hidden_states=encoded, output_attentions=True)
    for i, (layer, scale) in enumerate(zip(model.h, scales, strict=True)):
        if cross:
            query = seen[i].view(2, 5, 4, 8).transpose(1, 2)
            key, found = (
                layer.crossattention.c_attn(encoded)[..., :32].view(2, 3, 4, 8).transpose(1, 2),
                output.cross_attentions[i],
            )
            mask = torch.ones(5, 3).bool()
        else:
            query, key, _ = seen[i].view(2, 5, 12, 8).transpose(1, 2).split(4, 1)
            mask, found = torch.ones(5, 5).tril().bool(), output.attentions[i]
        scores = (scale * query @ key.transpose(-1, -2)).masked_fill(~mask, float("-inf"))
        close(found, scores.softmax(-1))
        close(model(IDS, encoder_hidden_states=encoded).last_hidden_state, output.last_hidden_state)


def test_what_is_added_to_the_residual_stream_starts_smaller() -> None:
    """Section 2.3: by the root of how many blocks add to it."""
    model = GPT2LMHeadModel(GPT2Config(**{**GPT_SIZES, "n_embd": 128, "n_layer": 8}))
    for layer in model.transformer.h:
        for weight in (layer.attn.c_proj.weight, layer.mlp.c_proj.weight):
            assert weight.std().item() == pytest.approx(0.02 / 4, rel=0.1)
        assert layer.attn.c_attn.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_tied_scores_read_the_token_embeddings_backwards() -> None:
    model, untied = LM.model(), LM.model(tie_word_embeddings=False)
    assert model.lm_head.weight is model.transformer.wte.weight
    close(model(IDS).logits, model.transformer(IDS).last_hidden_state @ model.transformer.wte.weight.T)
    close(untied(IDS).logits, untied.transformer(IDS).last_hidden_state @ untied.lm_head.weight.T)


# -- the classifier ---------------------------------------------------------------------------------------------------


def alone(model: Any) -> Tensor:
    """Return the logits of each row without its padding."""
    ids = padded_ids(LENGTHS, "right")
    return torch.cat([model(row[None, :n]).logits for row, n in zip(ids, LENGTHS, strict=True)])


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_class_is_read_off_the_last_token_that_the_mask_shows(side: str) -> None:
    ids, mask = padded_ids(LENGTHS, side), padded_mask(LENGTHS, side)
    for pad in (0, None, 5):  # the mask says it, whatever the padding token is
        model = CLASSIFIER.model(pad_token_id=pad)
        close(model(ids, mask).logits, alone(model))
        embeds = model.get_input_embeddings()(ids)
        close(model(inputs_embeds=embeds, attention_mask=mask).logits, alone(model))


def test_without_a_mask_it_is_the_last_that_is_no_padding_token() -> None:
    model = CLASSIFIER.model()
    close(model(padded_ids(LENGTHS, "right")).logits, alone(model))


def test_without_either_it_is_the_last() -> None:
    model, ids = CLASSIFIER.model(pad_token_id=None), padded_ids(LENGTHS, "right")
    close(model(ids).logits, model.score(model.transformer(ids).last_hidden_state[:, -1]))


def test_a_padding_token_within_a_row_is_a_token() -> None:
    model, ids = CLASSIFIER.model(), token_ids(1, WIDTH)
    ids[0, 2] = 0
    close(model(ids).logits, model.score(model.transformer(ids).last_hidden_state[:, -1]))


def test_a_row_of_padding_alone_is_finite() -> None:
    model, mask = CLASSIFIER.model(), padded_mask((0, 3), "right")
    assert model(torch.zeros(2, WIDTH).long()).logits.isfinite().all()
    assert model(token_ids(2, WIDTH), mask).logits.isfinite().all()


# -- what is refused --------------------------------------------------------------------------------------------------


def held(rows: int = 2, length: int = 3, layers: int = 2, tensors: int = 2, **options: Any) -> Any:
    return tuple(tuple(torch.zeros(rows, 4, length, 8, **options) for _ in range(tensors)) for _ in range(layers))


PLAIN = {"add_cross_attention": False}
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "ids outside the vocabulary": ({}, {"input_ids": IDS - 99}, "input_ids ranges from -"),
    "too long": ({}, {"input_ids": token_ids(1, 41)}, "41 positions exceed"),
    "too long with the cache": ({}, {"past_key_values": held(length=36)}, "5 positions after 36 cached ones exceed"),
    "a mask of another shape": ({}, {"attention_mask": torch.ones(2, 6)}, "attention mask has shape"),
    "a mask without the cached": (
        {},
        {"attention_mask": torch.ones(2, 5), "past_key_values": held()},
        r"expected \(batch, keys\) = \(2, 8\)",
    ),
    "a cache of another model": ({}, {"past_key_values": held(layers=3)}, "has 3 layers; this model has 2"),
    "a cache of another batch": ({}, {"past_key_values": held(rows=1)}, "past_key_values.* expected"),
    "a cache of another dtype": ({}, {"past_key_values": held(dtype=torch.float64)}, "is torch.float64 on cpu"),
    "a cache of no tuples": ({}, {"past_key_values": torch.zeros(2)}, "past_key_values is a Tensor"),
    "an encoder for plain GPT-2": (PLAIN, {"encoder_hidden_states": states(2, 5)}, "without cross-attention"),
    "an encoder's cache for plain GPT-2": (PLAIN, {"past_key_values": held(tensors=4)}, "has no cross-attention"),
    "an encoder of another batch": (
        {},
        {"encoder_hidden_states": states(1, 5)},
        "encoder_hidden_states is .* expected",
    ),
    "an encoder mask alone": ({}, {"encoder_attention_mask": torch.ones(2, 5)}, "without encoder_hidden_states"),
    "another encoder than the cache's": (
        {},
        {"encoder_hidden_states": states(2, 5), "past_key_values": held(tensors=4)},
        "encoder_hidden_states has 5 positions, but past_key_values was made with 3",
    ),
}


@pytest.mark.parametrize("head", [BASE, LM], ids=lambda head: head.name)
@pytest.mark.parametrize(("settings", "arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_computed_is_refused_in_one_line(
    head: Any, settings: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        head.model(**settings)(**{"input_ids": IDS, **arguments})
    assert "\n" not in str(caught.value)
