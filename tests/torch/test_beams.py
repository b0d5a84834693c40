"""Beam search over tables of log probabilities, held against a search through every sequence that there is."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import itertools
from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modeloutputs.torch.beams import Beams, EarlyStopping

VOCAB, STEPS, END, FILLER = 3, 3, 0, 2
EVERYTHING = VOCAB**STEPS
START = 1


class Table:
    """Log probabilities of the next token after each sequence of up to STEPS tokens, for rows of a batch."""

    def __init__(self, rows: int, seed: int, scale: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        size = sum(VOCAB**n for n in range(STEPS))
        self.values = (torch.randn(rows, size, VOCAB, generator=generator) * scale).log_softmax(-1)

    def after(self, row: int, tokens: list[int]) -> Tensor:
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


def search(table: Table, width: int, length_penalty: float, early_stopping: EarlyStopping) -> tuple[Beams, int]:
    """Run beams over a table; return them and how many steps they took."""
    rows = len(table.values)
    beams = Beams(
        torch.full((rows, 1), START),
        STEPS,
        width=width,
        end_tokens=1,
        filler=FILLER,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
    )

    def ends(tokens: Tensor) -> Tensor:
        return (tokens[:, -1] == END) | (tokens.shape[1] == 1 + STEPS)

    def pick(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
        best = scores.topk(count)
        return best.values, best.indices

    while beams.go_on():
        tokens = beams.sequences[:, 1:].tolist()
        # What goes on from an ended sequence is barred, whatever it is said to score.
        asked = [table.after(i // width, row) if END not in row else torch.zeros(VOCAB) for i, row in enumerate(tokens)]
        beams.advance(torch.stack(asked), ends, pick)
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
        torch.testing.assert_close(scores, torch.tensor([score for score, _ in expected]), rtol=1e-5, atol=1e-5)
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
        assert (rest == FILLER).all()


@CHECKED
@given(tables)
def test_one_beam_takes_the_likeliest_token_each_time(table: Table):
    beams, _ = search(table, 1, 1.0, True)
    for row in range(len(table.values)):
        tokens: list[int] = []
        # A second candidate goes on where the first ends: a beam that has ended is best only if nothing beats it.
        while not tokens or (tokens[-1] != END and len(tokens) < STEPS):
            tokens.append(int(table.after(row, tokens).argmax()))
        assert found_tokens(beams, row, 0) == tokens


@CHECKED
@given(tables, st.sampled_from([True, False, "never"]), st.integers(1, 4))
def test_rows_do_not_know_of_one_another(table: Table, early_stopping: EarlyStopping, width: int):
    together, _ = search(table, width, 1.0, early_stopping)
    for row in range(len(table.values)):
        own = Table(1, 0, 1.0)
        own.values = table.values[row : row + 1]
        alone, _ = search(own, width, 1.0, early_stopping)
        assert found_tokens(together, row, 0) == found_tokens(alone, 0, 0)
        torch.testing.assert_close(together.best.scores[row, 0], alone.best.scores[0, 0])


def test_early_stopping_stops_at_the_first_that_are_enough():
    table = Table(1, 0, 1.0)
    table.values[:] = torch.tensor([0.6, 0.3, 0.1]).log()  # the end is always the likeliest
    assert search(table, 1, 1.0, True)[1] == 1
    assert search(table, 2, 1.0, True)[1] == 2
    assert search(table, 1, -1.0, "never")[1] == 1
    assert search(table, 1, 5.0, "never")[1] == STEPS  # length makes up for anything


def test_more_end_tokens_than_there_are_continuations():
    beams = Beams(
        torch.ones(1, 1, dtype=torch.int64),
        2,
        width=2,
        end_tokens=9,
        filler=2,
        length_penalty=1.0,
        early_stopping=False,
    )
    scores = torch.tensor([[0.5, 0.3, 0.2]]).log().repeat(2, 1)

    def pick(sums: Tensor, count: int) -> tuple[Tensor, Tensor]:
        best = sums.topk(count)
        return best.values, best.indices

    rows = beams.advance(scores, lambda tokens: tokens[:, -1] >= 0, pick)
    assert rows.tolist() == [0, 0]
    assert beams.best.sequences[0, :, 1].tolist() == [0, 1]
    assert not beams.go_on()
