"""Stopping: end tokens, and stop strings in the new text of each row."""

from typing import Any

import numpy as np
import pytest

from modeloutputs.generation.prompt import Prompt
from modeloutputs.generation.settings import GenerationSettings
from modeloutputs.generation.stopping import StoppingCriteria

from ..support.tiny_text import END_TEXT, ids_of, spaces_tokenizer, tokenizer


def prompt_of(rows: list[list[int]], eos_ids: list[int]) -> Prompt:
    return Prompt(np.array(rows), None, max_new_tokens=50, eos_ids=eos_ids)


def stopped_length(
    prompt: list[int], script: list[int], stop: Any, words: Any = None, eos: list[int] | None = None
) -> int:
    """Return after how many of the script's tokens a row ends; all of them where it does not."""
    settings = GenerationSettings(stop_strings=stop, tokenizer=words or tokenizer())
    stopping = StoppingCriteria(prompt_of([prompt], eos or []), settings)
    for new in range(1, len(script) + 1):
        tokens = np.array([[*prompt, *script[:new]]])
        if stopping.ended(tokens[:, -stopping.window :], tokens.shape[1])[0]:
            return new
    return len(script)


def test_end_tokens():
    for eos_ids, expected in (([7], [True, False, False]), ([7, 9], [True, True, False]), ([], [False] * 3)):
        stopping = StoppingCriteria(prompt_of([[1]] * 3, eos_ids), GenerationSettings())
        assert stopping.can_stop == bool(eos_ids)
        assert stopping.window == 1
        assert stopping.ended(np.array([[7], [9], [8]]), length=4).tolist() == expected


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
        ("xyzqwv", [], "xyzqwv"),
        ("xyzqwvxyzqwvxyzqwv-", "xyzqwvxyzqwvxyzqwv", "xyzqwvxyzqwvxyzqwv"),
        ("xyz", ["hello", "ox"], "xyz"),  # the prompt is not searched, alone or with what follows
    ],
)
def test_a_row_ends_with_the_token_that_completes_a_stop_string(text: str, stop: Any, expected: str):
    script = ids_of(text)
    length = stopped_length(ids_of("hello"), script, stop)
    assert tokenizer().decode(script[:length]) == expected


def test_text_of_a_token_beyond_the_stop_string_is_kept():
    token = next(i for i in range(len(tokenizer())) if tokenizer().decode([i]) == "hello")
    assert stopped_length(ids_of("a"), [token, 5], "ell") == 1


def test_a_stop_string_may_be_that_of_a_special_token():
    assert stopped_length(ids_of("a"), [5, tokenizer().eos_token_id, 6], END_TEXT) == 2


def test_end_tokens_and_stop_strings_both_end_rows():
    script = ids_of("xyzqwv")
    assert stopped_length([1], script, "qw", eos=[script[1]]) == 2
    assert stopped_length([1], script, "xy", eos=[script[5]]) == 2


def test_stop_strings_are_searched_in_each_row():
    settings = GenerationSettings(stop_strings=["zq", "vw"], tokenizer=tokenizer())
    stopping = StoppingCriteria(prompt_of([[1], [1]], []), settings)
    rows = np.array([[1, *ids_of("xyzqwv")], [1, *ids_of("uvwxyz")]])
    found = [stopping.ended(rows[:, :length][:, -stopping.window :], length).tolist() for length in range(2, 8)]
    assert [row for row, _ in found].index(True) == 3
    assert [row for _, row in found].index(True) == 2


def test_a_stop_string_may_begin_with_the_space_before_the_first_new_word():
    """Tokenizers like Llama 2's drop it at the start of a text."""
    words = spaces_tokenizer()
    prompt, word = (words(text, add_special_tokens=False)["input_ids"] for text in ("the", "fox"))
    assert words.decode(word) == "fox"
    assert words.decode([*prompt, *word]) == "the fox"
    assert stopped_length(prompt, [*word, *word, *word], " fox", words) == len(word)
