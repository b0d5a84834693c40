"""Beam search over tables of log probabilities, held against a search through every sequence that there is."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modeloutputs.generation.beams import Beams, Candidates, candidates_per_beam
from modeloutputs.generation.settings import EarlyStopping

VOCAB, STEPS, END, FILL = 3, 3, 0, 2
EVERYTHING = VOCAB**STEPS
START = 1


class Table:
    """Log probabilities of the next token after each sequence of up to STEPS tokens, for rows of a batch."""

    def __init__(self, rows: int, seed: int, scale: float) -> None:
        size = sum(VOCAB**n for n in range(STEPS))
        logits = np.random.default_rng(seed).normal(size=(rows, size, VOCAB)) * scale
        self.values = logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def after(self, row: int, tokens: list[int]) -> NDArray[np.float64]:
        place = sum(VOCAB**n for n in range(len(tokens)))
        for i, token in enumerate(reversed(tokens)):
            place += token * VOCAB**i
        return self.values[row, place]

    def score(self, row: int, tokens: list[int]) -> float:
        return sum(float(self.after(row, tokens[:i])[token]) for i, token in enumerate(tokens))


def sequences() -> Iterator[list[int]]:
    """Yield every sequence that ends with END, or is of STEPS tokens."""
    for length in range(1, STEPS + 1):
        for tokens in itertools.product(range(VOCAB), repeat=length):
            if END not in tokens[:-1] and (tokens[-1] == END or length == STEPS):
                yield list(tokens)


def every_score(table: Table, row: int, length_penalty: float) -> list[tuple[float, list[int]]]:
    """Return all sequences with their scores, the best first."""
    scored = [(table.score(row, tokens) / len(tokens) ** length_penalty, tokens) for tokens in sequences()]
    return sorted(scored, reverse=True)


def has_ended(tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (tokens[:, -1] == END) | (tokens.shape[1] == 1 + STEPS)


def best_candidates(beams: Beams, log_probabilities: NDArray[np.floating], count: int) -> Candidates:
    """Return the best continuations, as a framework's decoder does."""
    rows, width = beams.running.scores.shape
    sums = (log_probabilities.reshape(rows, width, -1) + beams.running.scores[:, :, None]).reshape(rows, -1)
    order = np.argsort(-sums, axis=1)[:, :count]
    parents, tokens = np.divmod(order, log_probabilities.shape[-1])
    return Candidates(np.take_along_axis(sums, order, 1), parents, tokens)


def search(table: Table, width: int, length_penalty: float, early_stopping: EarlyStopping) -> tuple[Beams, int]:
    """Run beams over a table; return them and how many steps they took."""
    beams = Beams(
        np.full((len(table.values), 1), START),
        STEPS,
        num_beams=width,
        fill_id=FILL,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
    )
    while beams.unfinished:
        tokens = beams.running.sequences[:, :, 1 : beams.length].reshape(len(table.values) * width, beams.step).tolist()
        # What continues an ended sequence is never chosen, whatever its score.
        asked = [table.after(i // width, row) if END not in row else np.zeros(VOCAB) for i, row in enumerate(tokens)]
        beams.advance(best_candidates(beams, np.stack(asked), width * candidates_per_beam(1)), has_ended)
    return beams, beams.step


def found_tokens(beams: Beams, row: int, place: int) -> list[int]:
    return beams.best.sequences[row, place, 1 : 1 + int((beams.best.origins[row, place] >= 0).sum())].tolist()


tables = st.builds(Table, st.integers(1, 3), st.integers(0, 10**6), st.sampled_from([0.3, 1.0, 3.0]))
CHECKED = settings(max_examples=50, deadline=None)


@CHECKED
@given(tables, st.sampled_from([-1.0, 0.0, 0.5, 1.0, 3.0]))
def test_as_many_beams_as_sequences_find_all_in_order(table: Table, length_penalty: float):
    beams, _ = search(table, EVERYTHING, length_penalty, "never")
    for row in range(len(table.values)):
        expected = every_score(table, row, length_penalty)
        scores = beams.best.scores[row, : len(expected)]
        np.testing.assert_allclose(scores, [score for score, _ in expected], rtol=1e-5, atol=1e-5)
        for place, (score, _) in enumerate(expected):
            tokens = found_tokens(beams, row, place)
            assert table.score(row, tokens) / len(tokens) ** length_penalty == pytest.approx(score, abs=1e-4)


@CHECKED
@given(tables, st.sampled_from([-1.0, 0.0]))
def test_where_length_is_no_gain_what_could_not_do_better_now_never_can(table: Table, length_penalty: float):
    beams, _ = search(table, EVERYTHING, length_penalty, False)
    for row in range(len(table.values)):
        best, _ = every_score(table, row, length_penalty)[0]
        assert float(beams.best.scores[row, 0]) == pytest.approx(best, abs=1e-5)


@CHECKED
@given(tables, st.integers(1, 4), st.sampled_from([-1.0, 0.0, 1.0]), st.sampled_from([True, False, "never"]))
def test_any_number_of_beams_finds_sequences_with_their_scores(
    table: Table, width: int, length_penalty: float, early_stopping: EarlyStopping
):
    beams, steps = search(table, width, length_penalty, early_stopping)
    assert 1 <= steps <= STEPS
    for row in range(len(table.values)):
        best, _ = every_score(table, row, length_penalty)[0]
        tokens = found_tokens(beams, row, 0)
        assert tokens in list(sequences())
        score = table.score(row, tokens) / len(tokens) ** length_penalty
        assert float(beams.best.scores[row, 0]) == pytest.approx(score, abs=1e-5)
        assert score <= best + 1e-5
        rest = beams.best.sequences[row, 0, 1 + len(tokens) :]
        assert (rest == FILL).all()


@CHECKED
@given(tables)
def test_one_beam_takes_the_most_probable_token_each_time(table: Table):
    beams, _ = search(table, 1, 1.0, True)
    for row in range(len(table.values)):
        tokens: list[int] = []
        # A second candidate goes on where the first ends: a beam that has ended is best only if nothing beats it.
        while not tokens or (tokens[-1] != END and len(tokens) < STEPS):
            tokens.append(int(table.after(row, tokens).argmax()))
        assert found_tokens(beams, row, 0) == tokens


@CHECKED
@given(tables, st.sampled_from([True, False, "never"]), st.integers(1, 4))
def test_rows_are_independent(table: Table, early_stopping: EarlyStopping, width: int):
    together, _ = search(table, width, 1.0, early_stopping)
    for row in range(len(table.values)):
        own = Table(1, 0, 1.0)
        own.values = table.values[row : row + 1]
        alone, _ = search(own, width, 1.0, early_stopping)
        assert found_tokens(together, row, 0) == found_tokens(alone, 0, 0)
        np.testing.assert_allclose(together.best.scores[row, 0], alone.best.scores[0, 0])


def test_early_stopping_stops_at_the_first_that_are_enough():
    table = Table(1, 0, 1.0)
    table.values[:] = np.log([0.6, 0.3, 0.1])  # the end is always the most probable
    assert search(table, 1, 1.0, True)[1] == 1
    assert search(table, 2, 1.0, True)[1] == 2
    assert search(table, 1, -1.0, "never")[1] == 1
    assert search(table, 1, 5.0, "never")[1] == STEPS  # length makes up for anything


def small_beams(new_tokens: int, length_penalty: float = 1.0) -> Beams:
    options = {"num_beams": 2, "fill_id": 2, "length_penalty": length_penalty, "early_stopping": False}
    return Beams(np.ones((1, 1), np.int64), new_tokens, **options)


def test_more_end_tokens_than_there_are_continuations():
    beams = small_beams(2)
    scores = np.log(np.array([[0.5, 0.3, 0.2]] * 2, np.float32))
    rows = beams.advance(best_candidates(beams, scores, 20), lambda tokens: tokens[:, -1] >= 0)
    assert rows.tolist() == [0, 0]
    assert beams.best.sequences[0, :, 1].tolist() == [0, 1]
    assert not beams.unfinished


def test_a_sequence_that_ended_is_best_however_low_an_extreme_penalty_makes_its_score():
    beams = small_beams(3, length_penalty=-100.0)
    scores = np.log(np.array([[0.1, 0.5, 0.4]] * 2, np.float32))
    for _ in range(3):
        beams.advance(best_candidates(beams, scores, 4), lambda tokens: np.full(len(tokens), tokens.shape[1] == 4))
    assert beams.best.ended.all()
    assert beams.best.sequences[0].tolist() == [[1, 1, 1, 1], [1, 1, 1, 2]]
    assert (beams.best.scores < -1e30).all()


def test_scores_keep_their_dtype():
    for dtype in (np.float32, np.float64):
        beams = small_beams(2)
        for _ in range(2):
            scores = np.log(np.array([[0.5, 0.3, 0.2]] * 2, dtype))
            beams.advance(best_candidates(beams, scores, 4), lambda tokens: tokens[:, -1] == 0)
        assert beams.best.scores.dtype == beams.running.scores.dtype == dtype
