"""The loops step by step: where rows end and what follows, stop strings, and what the cache spares."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


from modeloutputs.errors import InputError
from modeloutputs.tokenizers import LlamaTokenizer
from modeloutputs.torch import GPT2LMHeadModel
from modeloutputs.torch.cache import Cache
from modeloutputs.torch.decoder import select_rows
from modeloutputs.torch.outputs import BaseModelOutput

from ..support.tiny_text import END_TEXT, ids_of, tokenizer
from ..tokenizers.tiny import llama2_bpe
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


def test_the_end_token_pads_where_there_is_no_other():
    end = tokenizer().eos_token_id
    found = Scripted([5, end], [8, 9]).generate(two_prompts(), max_new_tokens=3)
    assert found.sequences[0, 1:].tolist() == [5, end, end]
    assert found.attention_mask[0].tolist() == [1, 1, 1, 0]


def test_the_first_of_several_end_tokens_pads():
    found = Scripted([5, 13], [8, 9]).generate(two_prompts(), max_new_tokens=3, eos_token_id=[12, 13])
    assert found.sequences[0, 1:].tolist() == [5, 13, 12]


def test_special_tokens_outside_the_vocabulary_are_none():
    size = len(tokenizer())
    model = Scripted([5, 13], [8, 9])
    model.token_ids = {"eos_token_id": [size, 13], "pad_token_id": -1}
    found = model.generate(two_prompts(), max_new_tokens=3)
    assert found.sequences[0, 1:].tolist() == [5, 13, 13]


def test_no_end_token_at_all():
    end = tokenizer().eos_token_id
    found = Scripted([end]).generate(text_ids("a"), max_new_tokens=3, eos_token_id=())
    assert found.sequences[0, -3:].tolist() == [end] * 3
    assert found.generated[0, -3:].all()


def test_an_end_token_in_the_prompt_ends_nothing():
    end = tokenizer().eos_token_id
    found = Scripted([5, 6, end]).generate(torch.tensor([[end, 4, end]]), max_new_tokens=5)
    assert found.new_tokens()[0].tolist() == [5, 6, end]


def test_padding_that_is_said_is_a_token():
    found = Scripted([5, 3, 6]).generate(text_ids("a"), max_new_tokens=3, pad_token_id=3)
    assert found.new_tokens()[0].tolist() == [5, 3, 6]
    assert found.attention_mask.all()


# -- stop strings -----------------------------------------------------------------------------------------------------


def stop_after(text: str, stop: Any, **options: Any) -> tuple[str, int]:
    """Have a model say a text, and return what it said until it was stopped, and how often it was called."""
    script = ids_of(text)
    model = Scripted(script)
    found = model.generate(
        text_ids("hello"), max_new_tokens=len(script), stop_strings=stop, tokenizer=tokenizer(), **options
    )
    return said(model, found)[0], model.calls


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("xyzqwv uvw", "zq", "xyzq"),
        ("xyz qwv uvw", "z q", "xyz q"),
        ("xyzqwv uvw", ["uv", "wv"], "xyzqwv"),
        ("xyz中文qv", "中", "xyz中"),
        ("xyz😀qv", "😀", "xyz😀"),
        ("xxxxxxxxyxx", "xy", "xxxxxxxxy"),
        ("q\n\nxyz", "\n\n", "q\n\n"),
        ("xyzqwv", "uu", "xyzqwv"),
        ("xyzqwv", ["", "qw"], "xyzqw"),
        ("xyzqwv", [], "xyzqwv"),
        ("xyzqwv", "", "xyzqwv"),
        ("xyzqwvxyzqwvxyzqwv-", "xyzqwvxyzqwvxyzqwv", "xyzqwvxyzqwvxyzqwv"),
    ],
)
def test_a_row_ends_with_the_token_that_completes_a_stop_string(text: str, stop: Any, expected: str):
    found, calls = stop_after(text, stop, eos_token_id=())
    assert found == expected
    assert calls == len(ids_of(text)[: len(ids_of(expected))])


def test_text_of_a_token_beyond_the_stop_string_stays():
    token = next(i for i in range(len(tokenizer())) if tokenizer().decode([i]) == "hello")
    found = Scripted([token, 5]).generate(text_ids("a"), max_new_tokens=2, stop_strings="ell", tokenizer=tokenizer())
    assert tokenizer().decode(found.new_tokens()[0]) == "hello"


def test_the_prompt_is_not_searched_for_stop_strings():
    found, _ = stop_after("xyz", ["hello", "ox"], eos_token_id=())
    assert found == "xyz"


def test_a_stop_string_may_be_that_of_a_special_token():
    end = tokenizer().eos_token_id
    found = Scripted([5, end, 6]).generate(
        text_ids("a"), max_new_tokens=3, stop_strings=END_TEXT, tokenizer=tokenizer(), eos_token_id=()
    )
    assert found.new_tokens()[0].tolist() == [5, end]


def test_stop_strings_are_looked_for_in_each_row():
    texts = ["xyzqwv", "uvwxyz"]
    model = Scripted(*map(ids_of, texts))
    found = model.generate(
        two_prompts(), max_new_tokens=6, stop_strings=["zq", "vw"], tokenizer=tokenizer(), pad_token_id=3
    )
    assert said(model, found) == ["xyzq", "uvw"]
    assert found.sequences[1, 4:].tolist() == [3]
    assert model.calls == 4


def test_a_stop_string_may_begin_with_the_space_before_the_first_new_word(tmp_path: Path):
    """Which tokenizers of Llama 2's kind leave out where a text begins."""
    (tmp_path / "tokenizer.json").write_text(llama2_bpe().to_str(), encoding="utf-8")
    spaced = LlamaTokenizer.from_pretrained(tmp_path)
    prompt, word = (spaced(text, add_special_tokens=False)["input_ids"] for text in ("the", "fox"))
    assert spaced.decode(word) == "fox"
    assert spaced.decode([*prompt, *word]) == "the fox"
    model = Scripted([*word, *word, *word])
    found = model.generate(torch.tensor([prompt]), max_new_tokens=9, stop_strings=" fox", tokenizer=spaced)
    assert found.new_tokens()[0].tolist() == word


def test_beams_end_with_stop_strings():
    options = {"max_new_tokens": 8, "num_beams": 3, "eos_token_id": (), "pad_token_id": 3}
    model, ids = text_model(), text_ids("hello there")
    plain = model.generate(ids, **options)
    stop = tokenizer().decode([int(plain.new_tokens()[0][2])])
    if "\N{REPLACEMENT CHARACTER}" in stop:
        stop = tokenizer().decode(plain.new_tokens()[0][:3])
    found = model.generate(ids, **options, stop_strings=stop, tokenizer=tokenizer(), length_penalty=-5.0)
    assert stop in said(model, found)[0]
    assert len(found.new_tokens()[0]) < 8


# -- what is computed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "LlamaForCausalLM", "BertLMHeadModel"])
@pytest.mark.parametrize("beams", [1, 3])
def test_each_token_is_read_once(name: str, beams: int):
    model = model_of(name)
    with counted_calls(model) as calls:
        model.generate(token_ids(2, 5), max_new_tokens=4, num_beams=beams, eos_token_id=())
    assert calls == [5, 1, 1, 1]


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
    "name", ["GPT2LMHeadModel", "LlamaForCausalLM", "BartForCausalLM", "BartForConditionalGeneration"]
)
@pytest.mark.parametrize("beams", [1, 4])
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


def test_rows_of_inputs():
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


def test_stop_strings_need_a_tokenizer():
    with pytest.raises(InputError, match="stop_strings was passed without tokenizer"):
        text_model().generate(text_ids("a"), stop_strings="a")


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
