"""What `generate` starts from: caches, embeddings, masks, token types and start tokens, held against transformers."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers, which these tests compare with, is not installed")

from torch import Tensor

from modeloutputs.errors import FieldKeyError, InputError
from modeloutputs.torch.cache import Cache

from .generating import BY_ID, Generator, counted_calls
from .tiny import padded_mask, token_ids

GPT2, LLAMA, BERT = BY_ID["GPT2LMHeadModel"], BY_ID["LlamaForCausalLM"], BY_ID["BertLMHeadModel"]
BART = BY_ID["BartForConditionalGeneration"]
NEW: dict[str, Any] = {"max_new_tokens": 6, "pad_token_id": 3, "eos_token_id": ()}


def both(generator: Generator, inputs: dict[str, Any], **options: Any) -> tuple[Any, Tensor]:
    """Return what we generate, and the peer's sequences."""
    mine, other = generator.pair()
    theirs = {name: None if value == () else value for name, value in options.items()}
    return mine.generate(**inputs, **options), other.generate(**inputs, **theirs, do_sample=False)


# -- caches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2}])
@pytest.mark.parametrize("side", ["left", "none"])
def test_a_second_turn_reads_only_what_is_new(options: dict[str, Any], side: str):
    model, ids = LLAMA.pair()[0], token_ids(2, 7)
    mask = torch.ones_like(ids) if side == "none" else padded_mask((7, 4), "left", 7)
    first = model.generate(ids, mask, **NEW, return_dict_in_generate=True)
    first.check()
    assert first.past_key_values.length == 12
    kept = first.past_key_values.to_tuples()
    values = [[tensor.clone() for tensor in layer] for layer in kept]
    whole = torch.cat([first.sequences, token_ids(2, 3, seed=4)], 1)
    seen = torch.cat([first.attention_mask, torch.ones(2, 3, dtype=torch.int64)], 1)
    with counted_calls(model) as calls:
        again = model.generate(whole, seen, past_key_values=first.past_key_values, **NEW, **options)
    assert calls == [4, 1, 1, 1, 1, 1]
    expected = model.generate(whole, seen, **NEW, **options)
    assert torch.equal(again.sequences, expected.sequences)
    assert torch.equal(again.attention_mask, expected.attention_mask)
    for layer, before in zip(first.past_key_values, values, strict=True):
        assert all(torch.equal(tensor, old) for tensor, old in zip(layer, before, strict=True))


def test_a_cache_of_rows_that_ended_early_goes_on_where_they_ended():
    model, ids = LLAMA.pair()[0], token_ids(2, 5)
    plain = model.generate(ids, **NEW).sequences
    end = int(plain[0, 6])
    first = model.generate(ids, **{**NEW, "eos_token_id": end}, return_dict_in_generate=True)
    assert first.attention_mask[0].sum() == 7 < first.attention_mask[1].sum()
    more = token_ids(2, 2, seed=4)
    whole, seen = torch.cat([first.sequences, more], 1), torch.cat([first.attention_mask, torch.ones(2, 2)], 1)
    found = model.generate(whole, seen, past_key_values=first.past_key_values, **NEW)
    alone = model.generate(torch.cat([plain[:1, :7], more[:1]], 1), **NEW)
    assert found.sequences[0, -6:].tolist() == alone.sequences[0, -6:].tolist()


@pytest.mark.parametrize("generator", [GPT2, BERT, BY_ID["GPT2LMHeadModel, crossing"]], ids=lambda each: each.id)
@pytest.mark.parametrize("kind", [Cache, tuple, list])
def test_caches_of_calls_are_taken(generator: Generator, kind: Any):
    inputs = generator.inputs(padded=False)
    model = generator.pair()[0]
    options = {**NEW, "num_return_sequences": 2, "num_beams": 2}
    expected = model.generate(**inputs, **options).sequences
    prefix = {**inputs, "input_ids": inputs["input_ids"][:, :4], "attention_mask": inputs["attention_mask"][:, :4]}
    with torch.no_grad():
        past = kind(model(**prefix, use_cache=True).past_key_values)
    assert torch.equal(model.generate(**inputs, **options, past_key_values=past).sequences, expected)


def test_the_last_token_is_read_again_where_the_cache_holds_all():
    model, ids = GPT2.pair()[0], token_ids(2, 5)
    past = model(ids, use_cache=True).past_key_values
    with counted_calls(model) as calls:
        found = model.generate(ids, past_key_values=past, **NEW)
    assert calls == [1] * 6
    assert torch.equal(found.sequences, model.generate(ids, **NEW).sequences)


@pytest.mark.parametrize("beams", [1, 2])
def test_an_encoder_decoder_goes_on_from_its_cache_alone(beams: int):
    model, inputs = BART.pair()[0], BART.inputs()
    first = model.generate(**inputs, **NEW, return_dict_in_generate=True)
    mask = inputs["attention_mask"]
    rest = {"decoder_input_ids": first.sequences, **NEW, "num_beams": beams}
    expected = model.generate(**inputs, **rest).sequences
    with counted_calls(model.model.encoder) as calls:
        found = model.generate(attention_mask=mask, past_key_values=first.past_key_values, **rest)
    assert calls == []
    assert torch.equal(found.sequences, expected)


def test_caches_come_out_only_where_they_are_asked_for():
    model, ids = GPT2.pair()[0], token_ids(2, 5)
    for options in ({}, {"return_dict_in_generate": True, "num_beams": 2}):
        with pytest.raises(FieldKeyError, match="return_dict_in_generate=True, without beams"):
            _ = model.generate(ids, **NEW, **options)["past_key_values"]
    assert model.generate(ids, **NEW, use_cache=False, return_dict_in_generate=True).past_key_values is None


CACHE = ((torch.zeros(1, 4, 3, 8),) * 2,) * 2
CACHES: dict[str, tuple[Any, str]] = {
    "no cache": ("cache", "past_key_values is a str; expected what a call returned"),
    "layers": (CACHE[:1], "past_key_values has 1 layers; this model has 2"),
    "rows": (((torch.zeros(5, 4, 3, 8),) * 2,) * 2, "past_key_values"),
    "long": (((torch.zeros(1, 4, 9, 8),) * 2,) * 2, "past_key_values holds 9 positions and the prompt has 5; pass the"),
}


@pytest.mark.parametrize(("past", "message"), CACHES.values(), ids=CACHES.keys())
def test_caches_of_something_else_are_refused(past: Any, message: str):
    with pytest.raises(InputError, match=message) as raised:
        GPT2.pair()[0].generate(token_ids(1, 5), past_key_values=past)
    assert "\n" not in str(raised.value)


def test_padding_behind_a_prompt_would_leave_its_cache():
    model, ids, mask = GPT2.pair()[0], token_ids(2, 5), padded_mask((5, 3), "right", 5)
    past = model(ids[:, :2], use_cache=True).past_key_values
    with pytest.raises(InputError, match="padding behind the prompt, away from the cache; pad on the left"):
        model.generate(ids, mask, past_key_values=past)


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "BartForConditionalGeneration"])
@pytest.mark.parametrize("beams", [1, 2])
def test_without_a_cache_tokens_are_the_same(name: str, beams: int):
    model, inputs = BY_ID[name].pair()[0], BY_ID[name].inputs()
    found, expected = (
        model.generate(**inputs, **NEW, num_beams=beams, use_cache=use_cache).sequences for use_cache in (False, True)
    )
    assert torch.equal(found, expected)


# -- embeddings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generator", [GPT2, LLAMA], ids=lambda each: each.id)
@pytest.mark.parametrize("options", [{}, {"num_beams": 3, "num_return_sequences": 2}, {"max_length": 11}])
def test_embeddings_stand_for_tokens(generator: Generator, options: dict[str, Any]):
    inputs = generator.inputs()
    embeds = generator.pair()[0].get_input_embeddings()(inputs["input_ids"]).detach()
    options = {**NEW, **options}
    if "max_length" in options:
        del options["max_new_tokens"]
    given = {"inputs_embeds": embeds, "attention_mask": inputs["attention_mask"]}
    found, expected = both(generator, given, **options)
    found.check()
    assert found.sequences.tolist() == expected.tolist()
    assert found.generated.all()
    whole = generator.pair()[0].generate(**inputs, **options)
    assert torch.equal(found.sequences, whole.sequences[:, 7:])
    together = generator.pair()[0].generate(**inputs, inputs_embeds=embeds, **options)
    assert torch.equal(together.sequences, whole.sequences)


def test_embeddings_may_be_padded_on_the_right():
    model, ids, mask = GPT2.pair()[0], token_ids(2, 5), padded_mask((5, 3), "right", 5)
    embeds = model.get_input_embeddings()(ids)
    found = model.generate(inputs_embeds=embeds, attention_mask=mask, **NEW, repetition_penalty=1.3)
    alone = model.generate(inputs_embeds=embeds[1:, :3], **NEW, repetition_penalty=1.3)
    assert found.sequences[1].tolist() == alone.sequences[0].tolist()


def test_the_tokens_of_embeddings_are_not_counted():
    found = both(GPT2, {"inputs_embeds": torch.zeros(2, 5, 32)}, **NEW, no_repeat_ngram_size=1, repetition_penalty=1.5)
    assert found[0].sequences.tolist() == found[1].tolist()
    lengths: list[int] = []
    GPT2.pair()[0].generate(
        inputs_embeds=torch.zeros(1, 5, 32), **NEW, stopping_criteria=lambda t, _: bool(lengths.append(t.shape[1]))
    )
    assert lengths == [1, 2, 3, 4, 5, 6]


def test_an_encoder_takes_embeddings():
    model, inputs = BART.pair()[0], BART.inputs()
    expected = model.generate(**inputs, **NEW).sequences
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    found = model.generate(inputs_embeds=embeds, attention_mask=inputs["attention_mask"], **NEW)
    assert torch.equal(found.sequences, expected)


EMBEDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "width": ("GPT2LMHeadModel", {"inputs_embeds": torch.zeros(1, 5, 7)}, "inputs_embeds"),
    "flat": ("GPT2LMHeadModel", {"inputs_embeds": torch.zeros(5, 32)}, "inputs_embeds"),
    "lengths": ("GPT2LMHeadModel", {"inputs_embeds": torch.zeros(1, 5, 32), "input_ids": token_ids(1, 4)}, "input_ids"),
    "states": (
        "GPT2LMHeadModel",
        {"inputs_embeds": torch.zeros(1, 5, 32), "output_hidden_states": True},
        "states of generated tokens were asked for with inputs_embeds",
    ),
    "no cache": ("OpenAIGPTLMHeadModel", {"inputs_embeds": torch.zeros(1, 5, 32)}, "takes no inputs_embeds"),
    "source": (
        "GPT2LMHeadModel",
        {"inputs_embeds": torch.zeros(1, 5, 32), "encoder_no_repeat_ngram_size": 2},
        "encoder_no_repeat_ngram_size was passed without input_ids",
    ),
}


@pytest.mark.parametrize(("name", "inputs", "message"), EMBEDS.values(), ids=EMBEDS.keys())
def test_embeddings_that_are_refused(name: str, inputs: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message) as raised:
        BY_ID[name].pair()[0].generate(**inputs)
    assert "\n" not in str(raised.value)


# -- padding ----------------------------------------------------------------------------------------------------------

TARGETS = torch.tensor([[7, 0, 11, 12, 13], [3, 3, 7, 0, 14]])


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}])
@pytest.mark.parametrize("masked", [True, False])
def test_a_padded_target_goes_on_as_if_it_were_alone(options: dict[str, Any], masked: bool):
    """Huggingface/transformers#10478; without a mask, padding tokens are the padding."""
    model, ids = BART.pair()[0], token_ids(2, 6, seed=2).clamp(min=4)
    options = {**NEW, **options}
    mask = {"decoder_attention_mask": (TARGETS != 3).long()} if masked else {}
    found = model.generate(ids, decoder_input_ids=TARGETS, **mask, **options)
    for row, start in ((0, 0), (1, 2)):
        alone = model.generate(ids[row : row + 1], decoder_input_ids=TARGETS[row : row + 1, start:], **options)
        assert found.new_tokens()[row].tolist() == alone.new_tokens()[0].tolist()
    assert found.attention_mask[:, :5].tolist() == (TARGETS != 3).long().tolist()


def test_a_start_token_that_pads_too_is_no_padding():
    model = BART.pair()[0]
    targets = torch.tensor([[3, 11, 12, 13], [3, 3, 3, 14]])
    found = model.generate(token_ids(2, 6), decoder_input_ids=targets, decoder_start_token_id=3, **NEW)
    assert found.attention_mask[:, :4].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    started = model.generate(token_ids(2, 6), decoder_start_token_id=3, **NEW)
    assert started.sequences[:, 0].tolist() == [3, 3]
    assert started.attention_mask.all()


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_padding_tokens_are_padding_where_there_is_no_mask(name: str):
    ids = token_ids(3, 6).clamp(min=4)
    ids[1, :2] = ids[2, :5] = 3
    found, expected = both(BY_ID[name], {"input_ids": ids}, max_new_tokens=6, pad_token_id=3)
    assert found.sequences.tolist() == expected.tolist()
    masked = BY_ID[name].pair()[0].generate(ids, (ids != 3).long(), max_new_tokens=6, pad_token_id=3)
    assert torch.equal(found.attention_mask, masked.attention_mask)
    assert not found.attention_mask.all()


def test_an_end_token_that_pads_is_text_where_there_is_no_mask():
    ids = token_ids(2, 6).clamp(min=4)
    ids[1, :2] = 3
    found, expected = both(GPT2, {"input_ids": ids}, max_new_tokens=6, pad_token_id=3, eos_token_id=3)
    assert found.sequences.tolist() == expected.tolist()
    assert found.attention_mask[:, :6].all()


def test_padding_tokens_of_an_encoder():
    model, ids = BART.pair()[0], token_ids(2, 6).clamp(min=4)
    ids[1, 4:] = 3
    found = model.generate(ids, **NEW, encoder_no_repeat_ngram_size=1)
    alone = model.generate(ids[1:, :4], **NEW, encoder_no_repeat_ngram_size=1)
    assert found.new_tokens()[1].tolist() == alone.new_tokens()[0].tolist()


# -- start tokens, token types, names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"bos_token_id": 20}])
@pytest.mark.parametrize("generator", [GPT2, LLAMA, BART], ids=lambda each: each.id)
def test_no_prompt_starts_from_the_start_token(generator: Generator, options: dict[str, Any]):
    if generator is BART:
        options = {**options, "decoder_start_token_id": 7}
    found, expected = both(generator, {}, max_new_tokens=5, **options)
    assert found.sequences.tolist() == expected.tolist()
    assert generator is BART or found.sequences[0, 0] == options.get("bos_token_id", 7)


def test_nothing_to_start_from():
    with pytest.raises(InputError, match="input_ids was not passed, and there is no bos_token_id to start from; pass"):
        BY_ID["OpenAIGPTLMHeadModel"].pair()[0].generate()
    model = BY_ID["GPT2LMHeadModel, crossing"]
    states = model.inputs()["encoder_hidden_states"]
    assert model.pair()[0].generate(encoder_hidden_states=states, max_new_tokens=2).sequences.shape == (3, 3)


@pytest.mark.parametrize("generator", [GPT2, BERT], ids=lambda each: each.id)
@pytest.mark.parametrize("beams", [1, 2])
def test_token_types_are_read_and_continued(generator: Generator, beams: int):
    inputs = generator.inputs()
    types = torch.tensor([[0, 0, 0, 0, 0, 1, 1]] * 2 + [[0] * 7])
    found, expected = both(generator, {**inputs, "token_type_ids": types}, **NEW, num_beams=beams)
    assert found.sequences.tolist() == expected.tolist()
    states = generator.pair()[0].generate(
        **inputs, token_type_ids=types, **NEW, num_beams=beams, output_hidden_states=True
    )
    whole = torch.cat([types, types[:, -1:].expand(-1, 6)], 1)
    again = generator.pair()[0](states.sequences, states.attention_mask, whole, output_hidden_states=True)
    torch.testing.assert_close(states.hidden_states[-1], again.hidden_states[-1].detach(), rtol=1e-5, atol=1e-5)


def test_token_types_move_with_padding():
    model, ids, mask = BERT.pair()[0], token_ids(2, 5), padded_mask((5, 3), "right", 5)
    types = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]])
    found = model.generate(ids, mask, token_type_ids=types, **NEW)
    alone = model.generate(ids[1:, :3], token_type_ids=types[1:, :3], **NEW)
    assert found.new_tokens()[1].tolist() == alone.new_tokens()[0].tolist()


@pytest.mark.parametrize("generator", [LLAMA, BART], ids=lambda each: each.id)
def test_models_without_token_types_drop_those_that_say_nothing(generator: Generator):
    model, inputs = generator.pair()[0], generator.inputs()
    zeros = torch.zeros_like(inputs["input_ids"])
    found = model.generate(**inputs, token_type_ids=zeros, **NEW)
    assert torch.equal(found.sequences, model.generate(**inputs, **NEW).sequences)
    with pytest.raises(InputError, match="has no token types; leave token_type_ids out"):
        model.generate(**inputs, token_type_ids=zeros + 1, **NEW)


def test_token_types_of_another_shape():
    with pytest.raises(InputError, match=r"token_type_ids has shape \(1, 4\); expected \(1, 5\), the prompt's"):
        GPT2.pair()[0].generate(token_ids(1, 5), token_type_ids=torch.zeros(1, 4, dtype=torch.int64))


def test_the_peers_name_of_prompts():
    model, ids = GPT2.pair()[0], token_ids(1, 5)
    assert torch.equal(model.generate(inputs=ids, **NEW).sequences, model.generate(ids, **NEW).sequences)
    with pytest.raises(InputError, match="input_ids and inputs were both passed"):
        model.generate(ids, inputs=ids)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"input_ids": "The"}, "input_ids is a str; pass tensors, as the tokenizer returns them with return_tens"),
    "list": ({"input_ids": [[1, 2]]}, "input_ids is a list; pass tensors"),
    "array": ({"input_ids": token_ids(1, 5).numpy()}, "input_ids is a ndarray; pass tensors"),
    "encoding": ({"input_ids": {"input_ids": token_ids(1, 5)}}, r"input_ids is a dict; unpack .*: generate\(\*\*enc"),
    "mask": ({"input_ids": token_ids(1, 5), "attention_mask": [[1] * 5]}, "attention_mask is a list; pass tensors"),
    "types": ({"input_ids": token_ids(1, 5), "token_type_ids": [[0] * 5]}, "token_type_ids is a list; pass a tensor"),
    "generator": ({"input_ids": token_ids(1, 5), "generator": 5}, "generator is a int; expected a torch.Generator, as"),
}


@pytest.mark.parametrize(("inputs", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_what_is_no_tensor_is_refused(inputs: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message) as raised:
        GPT2.pair()[0].generate(**inputs)
    assert "\n" not in str(raised.value)


def test_settings_in_the_place_of_the_mask():
    from transformers import GenerationConfig

    with pytest.raises(InputError, match="attention_mask is a GenerationConfig; pass settings by name, as generation"):
        GPT2.pair()[0].generate(token_ids(1, 5), GenerationConfig())


# -- threads ----------------------------------------------------------------------------------------------------------


def test_eight_threads_get_what_one_gets():
    """Of one model: calls with masks, caches and flags of their own, and generation of every kind."""
    model, ids = LLAMA.pair()[0], token_ids(3, 7)
    cache = model(ids[:, :4], use_cache=True).past_key_values

    def call(i: int) -> Any:
        mask = padded_mask((7, 3 + i % 4, 5), "left" if i % 2 else "right", 7)
        options: list[dict[str, Any]] = [
            {"num_beams": 2, "no_repeat_ngram_size": 2},
            {"do_sample": True, "generator": torch.Generator().manual_seed(i), "top_k": 20},
            {"return_dict_in_generate": True, "repetition_penalty": 1.3, "output_hidden_states": [i % 3]},
            {"past_key_values": cache, "attention_mask": None},
        ]
        with torch.set_grad_enabled(i % 3 == 0):
            flags: dict[str, Any] = {"output_attentions": i % 2 == 0, "output_hidden_states": i % 3 == 0}
            called = model(ids[:, 4:], past_key_values=cache, **flags) if i % 4 == 3 else model(ids, mask, **flags)
            generated = model.generate(**{"input_ids": ids, "attention_mask": mask, **NEW, **options[i % 4]})
            assert torch.is_grad_enabled() == (i % 3 == 0)
        return called, generated

    expected = [call(i) for i in range(16)]
    with ThreadPoolExecutor(8) as pool:
        for (called, generated), (other_call, other) in zip(pool.map(call, range(16)), expected, strict=True):
            assert called.keys() == other_call.keys()
            torch.testing.assert_close(called.logits, other_call.logits, rtol=1e-5, atol=1e-6)
            assert generated.keys() == other.keys()
            assert torch.equal(generated.sequences, other.sequences)
