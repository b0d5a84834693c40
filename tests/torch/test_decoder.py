"""The decoder of PyTorch models: what is computed, kept in the cache, and repeated for several sequences."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


from modeloutputs.torch import GPT2LMHeadModel
from modeloutputs.torch.cache import Cache
from modeloutputs.torch.decoder import select_rows
from modeloutputs.torch.outputs import BaseModelOutput

from ..support.tiny_text import ids_of, tokenizer
from .generating import (
    BY_ID,
    MANY_ENDS,
    Scripted,
    counted_calls,
    model_of,
    text_ids,
    text_model,
)
from .tiny import states, token_ids


def said(model: Any, found: Any) -> list[str]:
    return [tokenizer().decode(row) for row in found.new_tokens()]


def two_prompts() -> torch.Tensor:
    return torch.tensor([ids_of("hello")[:1], ids_of("world")[:1]])


# -- ends -------------------------------------------------------------------------------------------------------------


def test_a_row_ends_with_its_end_token_and_padding_follows():
    end = tokenizer().eos_token_id
    model = Scripted([5, end, 6, 7], [8, 9, 10, end])
    found = model.generate(two_prompts(), max_new_tokens=8, pad_token_id=11)
    assert found.sequences[:, 1:].tolist() == [[5, end, 11, 11], [8, 9, 10, end]]
    assert found.attention_mask[:, 1:].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert found.generated.tolist() == [[False, True, True, False, False], [False, True, True, True, True]]
    assert [row.tolist() for row in found.new_tokens()] == [[5, end], [8, 9, 10, end]]
    assert model.calls == 4  # nothing is computed once all have ended


# -- stop strings -----------------------------------------------------------------------------------------------------


def test_stop_strings_are_looked_for_in_each_row():
    texts = ["xyzqwv", "uvwxyz"]
    model = Scripted(*map(ids_of, texts))
    found = model.generate(
        two_prompts(), max_new_tokens=6, stop_strings=["zq", "vw"], tokenizer=tokenizer(), pad_token_id=3
    )
    assert said(model, found) == ["xyzq", "uvw"]
    assert found.sequences[1, 4:].tolist() == [3]
    assert model.calls == 4


# -- what is computed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "beams"), [("GPT2LMHeadModel", 1), ("LlamaForCausalLM", 3), ("BertLMHeadModel", 1)])
def test_each_token_is_read_once(name: str, beams: int):
    model = model_of(name)
    with counted_calls(model) as calls:
        model.generate(token_ids(2, 5), max_new_tokens=4, num_beams=beams, eos_token_id=())
    assert calls == [5, 1, 1, 1]


def test_all_is_read_again_by_a_model_without_a_cache():
    with counted_calls(model := model_of("OpenAIGPTLMHeadModel")) as calls:
        model.generate(token_ids(2, 5), max_new_tokens=4, eos_token_id=())
    assert calls == [5, 6, 7, 8]


def test_the_encoder_runs_once():
    model = model_of("BartForConditionalGeneration")
    with counted_calls(model.model.encoder) as calls:
        model.generate(token_ids(2, 5), max_new_tokens=4, num_beams=2, output_hidden_states=True)
    assert calls == [5]


def test_a_prompt_is_read_once_however_many_sequences_are_drawn():
    rows: list[int] = []
    model = model_of("GPT2LMHeadModel")
    model.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
    model.generate(token_ids(2, 5), max_new_tokens=3, do_sample=True, num_return_sequences=4, eos_token_id=())
    assert rows == [2, 8, 8]


@pytest.mark.parametrize("name", ["GPT2LMHeadModel, crossing", "BartForConditionalGeneration", "OpenAIGPTLMHeadModel"])
def test_drawn_sequences_are_those_of_a_batch_that_repeats_the_prompts(name: str):
    generator = BY_ID[name]
    model, inputs = generator.pair()[0], generator.inputs()
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": True, "eos_token_id": MANY_ENDS, "pad_token_id": 3}
    found = model.generate(**inputs, **options, num_return_sequences=3, generator=torch.Generator().manual_seed(1))
    repeated = {name: value.repeat_interleave(3, 0) for name, value in inputs.items()}
    expected = model.generate(**repeated, **options, generator=torch.Generator().manual_seed(1))
    assert found.sequences.tolist() == expected.sequences.tolist()
    assert found.generated.tolist() == expected.generated.tolist()


@pytest.mark.parametrize(
    ("name", "beams"),
    [("GPT2LMHeadModel", 1), ("LlamaForCausalLM", 4), ("BartForCausalLM", 1), ("BartForConditionalGeneration", 4)],
)
def test_what_was_kept_is_what_would_be_computed_again(name: str, beams: int):
    generator = BY_ID[name]
    model, inputs = generator.pair()[0], generator.inputs()
    options: dict[str, Any] = {"max_new_tokens": 9, "num_beams": beams, "output_scores": True, "eos_token_id": ()}
    kept = model.generate(**inputs, **options)
    decode = model.decode_step

    def decode_all(tokens: Any, mask: Any, cache: Any, given: Any) -> Any:
        return decode(tokens, mask, None, given)[0], None

    model.keeps_cache, model.decode_step = False, decode_all
    try:
        again = model.generate(**inputs, **options)
    finally:
        del model.keeps_cache, model.decode_step
    assert torch.equal(kept.sequences, again.sequences)
    torch.testing.assert_close(kept.scores, again.scores, rtol=1e-5, atol=1e-5)


def test_rows_of_nested_inputs():
    whole = {
        "a": torch.arange(3),
        "b": BaseModelOutput(last_hidden_state=states(3, 2)),
        "c": (torch.arange(3),),
        "d": 5,
    }
    rows = select_rows(whole, torch.tensor([2, 0, 0]))
    assert rows["a"].tolist() == [2, 0, 0]
    assert torch.equal(rows["b"].last_hidden_state, states(3, 2)[[2, 0, 0]])
    assert rows["c"][0].tolist() == [2, 0, 0]
    assert rows["d"] == 5


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_return_sequences": 3, "do_sample": True}])
def test_a_model_whose_caches_are_plain_tuples_is_searched_alike(options: dict[str, Any]):
    """As those of compiled models are."""

    class Plain(GPT2LMHeadModel):
        def decode_step(self, tokens: Any, mask: Any, cache: Any, inputs: Any) -> tuple[Any, Any]:
            logits, cache = super().decode_step(tokens, mask, None if cache is None else Cache(cache), inputs)
            return logits, cache.to_tuples()

    model = text_model()
    plain = Plain(model.config).eval()
    plain.load_state_dict(model.state_dict())
    ids = text_ids("hello there")
    found, expected = (
        each.generate(ids, max_new_tokens=6, generator=torch.Generator().manual_seed(0), **options)
        for each in (plain, model)
    )
    assert torch.equal(found.sequences, expected.sequences)
