"""Tokens that must not come next, held against a search by hand."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modeloutputs.generation.processors import (
    Excluded,
    ends_of_words,
    exclusions_of,
    ngram_ends,
    ngram_ends_of_source,
)
from modeloutputs.generation.prompt import Prompt
from modeloutputs.generation.settings import GenerationSettings

CHECKED = settings(max_examples=60, deadline=None)
tables = st.integers(1, 9).flatmap(
    lambda length: st.lists(st.lists(st.integers(-1, 3), min_size=length, max_size=length), min_size=1, max_size=3)
)


def pairs(excluded: Excluded | None) -> set[tuple[int, int]]:
    if excluded is None:
        return set()
    assert excluded.rows is not None
    return set(zip(excluded.rows.tolist(), excluded.tokens.tolist(), strict=True))


def by_hand(rows: list[list[int]], sources: list[list[int]], size: int) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for i, (row, source) in enumerate(zip(rows, sources, strict=True)):
        start = row[len(row) - size + 1 :] if size > 1 else []
        for at in range(len(source) - size + 1):
            ngram = source[at : at + size]
            if len(start) == size - 1 and ngram[:-1] == start and -1 not in ngram:
                found.add((i, ngram[-1]))
    return found


@CHECKED
@given(tables, st.integers(1, 4))
def test_ngrams_do_not_come_twice(rows: list[list[int]], size: int):
    assert pairs(ngram_ends(np.array(rows), size)) == by_hand(rows, rows, size)


@CHECKED
@given(tables, st.lists(st.integers(-1, 3), min_size=0, max_size=7), st.integers(1, 4))
def test_ngrams_of_a_source_do_not_come(rows: list[list[int]], source: list[int], size: int):
    found = pairs(ngram_ends_of_source(np.array(rows), np.array([source], dtype=np.int64), size))
    assert found == by_hand(rows, [source] * len(rows), size)


def test_several_rows_share_a_source():
    tokens, source = np.array([[1], [2], [1], [2]]), np.array([[1, 5, 2, 6], [1, 7, 2, 8]])
    assert pairs(ngram_ends_of_source(tokens, source, 2)) == {(0, 5), (1, 6), (2, 7), (3, 8)}


def test_words_are_completed_at_the_end_only():
    tokens = np.array([[1, 2, 3], [3, 1, 2], [-1, -1, 2]])
    assert pairs(ends_of_words(tokens, np.array([[1, 2], [9, 9]]), np.array([7, 8]))) == {(1, 7)}
    assert ends_of_words(tokens, np.array([[1, 2, 3, 4]]), np.array([7])) is None


def excluded(tokens: list[int], options: dict[str, Any], **facts: Any) -> set[int]:
    prompt = Prompt(np.array([[1, 2]]), None, 8, **{"eos_ids": [7], **facts})
    row: NDArray[np.int64] = np.array([tokens])
    found = [each(row, len(tokens)) for each in exclusions_of(GenerationSettings(**options), prompt)]
    return {token for each in found if each is not None for token in each.tokens.tolist()}


def test_each_setting_excludes_its_tokens():
    assert excluded([1, 2, 1], {"no_repeat_ngram_size": 2}) == {2}
    assert excluded([1, 2, 5], {"encoder_no_repeat_ngram_size": 2}, source=np.array([[5, 6]])) == {6}
    assert excluded([1, 2, 5], {"suppress_tokens": [4, 9]}) == {4, 9}
    assert excluded([1, 2], {}, min_length=4) == excluded([1, 2, 3], {}, min_length=4) == {7}
    assert excluded([1, 2, 3, 4], {}, min_length=4) == excluded([1, 2], {}, min_length=2) == set()
    assert excluded([1, 2], {}, min_length=4, eos_ids=[]) == set()
    assert excluded([1, 2], {}) == set()


def test_tokens_that_do_not_come_first():
    options = {"begin_suppress_tokens": [4]}
    assert excluded([1, 2], options) == {4}
    assert excluded([1, 2, 3], options) == set()
    # After a prompt of one token, what is forced comes before the first.
    prompt = Prompt(np.array([[1]]), None, 8, [7], forced_bos_ids=[5])
    (rule,) = exclusions_of(GenerationSettings(**options), prompt)
    assert rule(np.array([[1]]), 1) is None
    assert rule(np.array([[1, 5]]), 2) is not None


def test_the_end_of_a_row_is_no_word():
    assert excluded([1, 2], {"bad_words_ids": [[7], [8], [2, 9], [2, 7]]}) == {8, 9, 7}
    assert excluded([1, 3], {"bad_words_ids": [[7], [8], [2, 9], [2, 7]]}) == {8}
