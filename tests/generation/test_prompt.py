"""Prompts: padded on the left, with the room and the special tokens that a model leaves them."""

from typing import Any

import numpy as np
import pytest

from modeloutputs.architectures import LlamaConfig
from modeloutputs.errors import InputError
from modeloutputs.generation.prompt import ModelLimits, Prompt, mask_of_pads, pad_left
from modeloutputs.generation.settings import GenerationSettings

from ..support.tiny_text import tokenizer

LIMITS = ModelLimits(99, 40, {"eos_token_id": [7, 8], "pad_token_id": [3], "forced_eos_token_id": [55]})


def prompt_of(length: int, limits: ModelLimits = LIMITS, rows: int = 1, **options: Any) -> Prompt:
    return Prompt.of(np.ones((rows, length), np.int64), None, GenerationSettings(**options), limits)


# -- padding ----------------------------------------------------------------------------------------------------------


def test_padding_moves_before_the_prompts_and_what_is_inside_stays():
    tokens = np.array([[1, 2, 3, 4], [5, 6, 0, 0], [0, 0, 7, 8], [0, 9, 0, 0], [1, 0, 2, 0]])
    found, mask = pad_left(tokens, tokens != 0)
    assert found.tolist() == [[1, 2, 3, 4], [0, 0, 5, 6], [0, 0, 7, 8], [0, 0, 0, 9], [0, 1, 0, 2]]
    assert mask is not None
    assert mask.tolist() == (found != 0).tolist()


@pytest.mark.parametrize("mask", [None, np.ones((1, 2), np.bool_)])
def test_a_mask_that_masks_nothing_is_dropped(mask: Any):
    tokens = np.array([[0, 5]])
    found, kept = pad_left(tokens, mask)
    assert kept is None
    assert found is tokens


# -- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "options", "expected"),
    [
        (5, {"max_new_tokens": 9}, 9),
        (30, {}, 11),  # the last token is never read, so it needs no position
        (30, {"output_hidden_states": True}, 10),
        (30, {"output_attentions": [0]}, 10),
        (40, {}, 1),
        (5, {"max_new_tokens": 36}, 36),
    ],
)
def test_new_tokens_fit_the_positions(length: int, options: dict[str, Any], expected: int):
    assert prompt_of(length, **options).max_new_tokens == expected
    assert LIMITS.max_new_tokens(GenerationSettings(**options), length) == expected


def test_128_by_default_where_there_are_as_many_positions():
    assert prompt_of(5, ModelLimits(99, 200, {})).max_new_tokens == 128


# -- special tokens ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("special", "options", "eos_ids", "fill_id"),
    [
        ({"eos_token_id": [7, 8], "pad_token_id": [3]}, {}, [7, 8], 3),
        ({"eos_token_id": [7, 8]}, {}, [7, 8], 7),
        ({}, {}, [], 0),
        ({"eos_token_id": [7], "pad_token_id": [3]}, {"eos_token_id": (), "pad_token_id": 4}, [], 4),
        ({"eos_token_id": [7]}, {"eos_token_id": [12, 13]}, [12, 13], 12),
        ({}, {"eos_token_id": 5}, [5], 5),
    ],
)
def test_arguments_take_precedence_over_the_checkpoint(
    special: dict[str, list[int]], options: dict[str, Any], eos_ids: list[int], fill_id: int
):
    prompt = prompt_of(3, ModelLimits(99, 40, special), **options)
    assert (prompt.eos_ids, prompt.fill_id) == (eos_ids, fill_id)


@pytest.mark.parametrize("new", [1, 2, 6])
def test_forced_tokens_have_their_positions(new: int):
    limits = ModelLimits(99, 40, {"forced_bos_token_id": [44], "forced_eos_token_id": [55]})
    prompt = prompt_of(1, limits, max_new_tokens=new)
    expected = [[44], *[[]] * (new - 2), [55]] if new > 1 else [[55]]
    assert [prompt.forced_at(position) for position in range(1, 1 + new)] == expected
    longer = prompt_of(4, limits, max_new_tokens=new)
    assert [longer.forced_at(position) for position in range(4, 4 + new)] == [*[[]] * (new - 1), [55]]


def test_a_token_is_forced_first_where_none_is_forced_last():
    prompt = prompt_of(1, ModelLimits(99, 40, {"forced_bos_token_id": [44]}), max_new_tokens=1)
    assert prompt.forced_at(1) == [44]


# -- what is refused --------------------------------------------------------------------------------------------------

ROW = np.ones((1, 5), np.int64)
REFUSED: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "empty": (ROW[:, :0], None, {}, "the prompt has shape (1, 0); expected at least one row and one token"),
    "no rows": (ROW[:0], None, {}, "the prompt has shape (0, 5)"),
    "mask": (ROW, np.ones((1, 4), np.bool_), {}, "attention_mask has shape (1, 4); expected (1, 5), the prompt's"),
    "masked": (ROW, np.zeros((1, 5), np.bool_), {}, "attention_mask masks a whole prompt; expected at least one token"),
    "full": (np.ones((1, 41), np.int64), None, {}, "a prompt of 41 and 1 new tokens exceed the model's max_position_"),
    "too many": (ROW, None, {"max_new_tokens": 37}, "a prompt of 5 and 37 new tokens exceed the model's"),
    "read too": (ROW, None, {"max_new_tokens": 36, "output_hidden_states": True}, "a prompt of 5 and 36 new tokens"),
    "beams": (ROW, None, {"num_beams": 100}, "num_beams is 100; the first step has only the 99 tokens of the"),
    "pad": (ROW, None, {"pad_token_id": 99}, "pad_token_id is 99; expected 0 to 98"),
    "end": (ROW, None, {"eos_token_id": [5, -2]}, "eos_token_id is -2; expected 0 to 98"),
}


@pytest.mark.parametrize(("tokens", "mask", "options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_in_one_line(tokens: Any, mask: Any, options: dict[str, Any], message: str):
    with pytest.raises(InputError) as raised:
        Prompt.of(tokens, mask, GenerationSettings(**options), LIMITS)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_the_longest_continuation_is_named():
    with pytest.raises(InputError, match="or pass max_new_tokens=36 or less"):
        prompt_of(5, max_new_tokens=37)
    with pytest.raises(InputError, match="or pass max_new_tokens=0 or less"):
        prompt_of(50)


def test_rows_that_stop_at_different_places_need_padding():
    options = {"stop_strings": "a", "tokenizer": tokenizer(), "eos_token_id": ()}
    limits = ModelLimits(99, 40, {})
    assert prompt_of(5, limits, **options).fill_id == 0
    for more in ({"rows": 2}, {"do_sample": True, "num_return_sequences": 2}):
        with pytest.raises(InputError, match="stop_strings may end some rows before others, which then need padding"):
            prompt_of(5, limits, **options, **more)
    assert prompt_of(5, limits, rows=2, **options, pad_token_id=3).fill_id == 3


# -- lengths, padding and tokens that settings say ---------------------------------------------------------------------

PADDED = ModelLimits(99, 40, {"eos_token_id": [7], "pad_token_id": [3]})


def test_lengths_count_the_prompt_and_new_tokens_do_not():
    rows = np.array([[1, 2, 4]])
    for options, least, most in (
        ({"max_length": 9, "min_length": 5}, 5, 9),
        ({"max_new_tokens": 9, "min_new_tokens": 5}, 8, 12),
        ({"max_new_tokens": 9, "max_length": 4, "min_new_tokens": 0, "min_length": 5}, 3, 12),
    ):
        prompt = Prompt.of(rows, None, GenerationSettings(**options), PADDED)
        assert (prompt.min_length, prompt.total_length) == (least, most)


def test_lengths_that_cannot_be_are_told():
    rows = np.array([[1, 2, 4]])
    with pytest.warns(UserWarning, match="at least 20 positions were asked for and at most 5 come; raise max_new_tok"):
        Prompt.of(rows, None, GenerationSettings(max_new_tokens=2, min_length=20), PADDED)
    with pytest.raises(
        InputError, match="max_length is 3, and the prompt has 3 positions already; pass more, or max_n"
    ):
        Prompt.of(rows, None, GenerationSettings(max_length=3), PADDED)


def test_rotary_positions_go_on_where_the_caller_says_so():
    config = LlamaConfig(vocab_size=20, hidden_size=8, num_attention_heads=2, max_position_embeddings=16)
    limits = ModelLimits.of(config, {})
    assert limits.max_new_tokens(GenerationSettings(), 10) == 7
    assert limits.max_new_tokens(GenerationSettings(), 30) == 128
    assert limits.max_new_tokens(GenerationSettings(max_new_tokens=50), 10) == 50
    assert limits.max_new_tokens(GenerationSettings(max_length=50), 10) == 40


def test_padding_tokens_are_padding_unless_they_end_rows():
    rows = np.array([[3, 5, 3], [4, 6, 8], [3, 3, 3]])
    found = mask_of_pads(rows, GenerationSettings(), PADDED)
    assert found is not None
    assert found.tolist() == [[False, True, False], [True, True, True], [False, False, True]]
    assert mask_of_pads(rows, GenerationSettings(eos_token_id=3), PADDED) is None
    assert mask_of_pads(rows, GenerationSettings(pad_token_id=50), PADDED) is None
    assert mask_of_pads(rows, GenerationSettings(), ModelLimits(99, 40, {})) is None
    started = mask_of_pads(rows, GenerationSettings(), PADDED, start=3)
    assert started is not None
    assert started.tolist() == [[True, True, False], [True, True, True], [False, False, True]]


def test_never_ending_is_an_end_token_of_minus_one():
    rows = np.array([[1, 2]])
    for value, expected in ((-1, []), ([-1, 9], [9]), ((), []), (None, [7]), (9, [9])):
        assert Prompt.of(rows, None, GenerationSettings(eos_token_id=value), PADDED).eos_ids == expected


def test_settings_come_before_special_tokens_of_the_checkpoint():
    settings = GenerationSettings(forced_bos_token_id=5, forced_eos_token_id=[6, 8], pad_token_id=9, max_new_tokens=4)
    limits = ModelLimits(99, 40, {"forced_bos_token_id": [1], "forced_eos_token_id": [2], "pad_token_id": [3]})
    prompt = Prompt.of(np.array([[1]]), None, settings, limits)
    assert (prompt.forced_at(1), prompt.forced_at(4), prompt.fill_id) == ([5], [6, 8], 9)


def test_the_source_of_ngrams_is_the_prompt_without_its_padding():
    prompt = Prompt.of(np.array([[1, 3]]), np.array([[True, False]]), GenerationSettings(), PADDED)
    assert prompt.source is not None
    assert prompt.source.tolist() == [[-1, 1]]
    assert Prompt.of(np.array([[0, 0]]), None, GenerationSettings(), PADDED, unseen=2).source is None
    with pytest.raises(InputError, match="encoder_no_repeat_ngram_size was passed without input_ids"):
        Prompt.of(np.array([[0, 0]]), None, GenerationSettings(encoder_no_repeat_ngram_size=2), PADDED, unseen=2)
