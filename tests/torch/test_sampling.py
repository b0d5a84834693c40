"""Scores and draws, held against the logits processors of transformers and the probabilities that they leave."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modeloutputs.torch import GPT2LMHeadModel
from modeloutputs.torch.sampling import (
    exclude,
    force_tokens,
    keep_epsilon,
    keep_eta,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    penalise_repetition,
    sample_token,
)

from .generating import BY_ID
from .peer import peer_class
from .tiny import token_ids

VOCAB = 12
CHECKED = settings(max_examples=30, deadline=None)

# Quarters are exact, and come up twice: these have ties.
tied = st.lists(st.integers(-40, 40).map(lambda n: n / 4), min_size=VOCAB, max_size=VOCAB)
distinct = st.lists(st.integers(-4000, 4000), min_size=VOCAB, max_size=VOCAB, unique=True).map(
    lambda row: [n / 400 for n in row]
)


def rows_of(values: st.SearchStrategy[list[float]]) -> st.SearchStrategy[Tensor]:
    return st.lists(values, min_size=1, max_size=3).map(torch.tensor)


def tokens_for(scores: Tensor) -> Tensor:
    return torch.randint(0, VOCAB, (len(scores), 5), generator=torch.Generator().manual_seed(len(scores)))


def peers(scores: Tensor, tokens: Tensor, *processors: tuple[str, Any]) -> Tensor:
    """Return what the peer's processors of these names make of scores, one after the other."""
    for name, value in processors:
        scores = peer_class(name)(value)(tokens, scores)
    return scores


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert torch.equal(found.isneginf(), expected.isneginf())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


# -- each change ------------------------------------------------------------------------------------------------------


@CHECKED
@given(rows_of(tied), st.sampled_from([0.25, 0.8, 1.0, 1.3, 5.0]))
def test_penalising_repetition(scores: Tensor, penalty: float):
    tokens = tokens_for(scores)
    expected = peers(scores, tokens, ("RepetitionPenaltyLogitsProcessor", penalty))
    assert_same(penalise_repetition(scores, tokens, penalty), expected)


def test_a_token_that_came_twice_is_penalised_once():
    found = penalise_repetition(torch.tensor([[4.0, -4.0, 1.0]]), torch.tensor([[0, 0, 1, 1, 0]]), 2.0)
    assert found.tolist() == [[2.0, -8.0, 1.0]]


@CHECKED
@given(rows_of(tied), st.integers(1, VOCAB + 3))
def test_top_k_ties_included(scores: Tensor, count: int):
    assert_same(keep_top_k(scores, count), peers(scores, tokens_for(scores), ("TopKLogitsWarper", count)))


@CHECKED
@given(rows_of(distinct), st.floats(0.01, 0.99))
def test_top_p(scores: Tensor, mass: float):
    assert_same(keep_top_p(scores, mass), peers(scores, tokens_for(scores), ("TopPLogitsWarper", mass)))


@CHECKED
@given(rows_of(tied), st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_that_have_the_mass(scores: Tensor, mass: float):
    kept = ~keep_top_p(scores, mass).isneginf()
    probabilities = scores.double().softmax(-1)
    for row, mask in zip(probabilities, kept, strict=True):
        ordered = row.sort(descending=True).values.cumsum(0)
        fewest = int((ordered < mass - 1e-6).sum()) + 1
        most = int((ordered < mass + 1e-6).sum()) + 1  # a sum within rounding of the mass may count either way
        assert fewest <= int(mask.sum()) <= most
        assert row[mask].min() >= row[~mask].max() if not mask.all() else True


@CHECKED
@given(rows_of(tied), st.floats(0.01, 1.0))
def test_min_p_ties_included(scores: Tensor, share: float):
    assert_same(keep_min_p(scores, share), peers(scores, tokens_for(scores), ("MinPLogitsWarper", share)))


def test_min_p_of_1_keeps_at_least_one_token():
    assert keep_min_p(torch.tensor([[1.0, 3.0, 2.0]]), 1.0).tolist() == [[float("-inf"), 3.0, float("-inf")]]


@CHECKED
@given(rows_of(distinct), st.floats(0.05, 0.99))
def test_typical(scores: Tensor, mass: float):
    assert_same(keep_typical(scores, mass), peers(scores, tokens_for(scores), ("TypicalLogitsWarper", mass)))


@CHECKED
@given(rows_of(tied), st.floats(0.001, 0.9))
def test_cutoffs(scores: Tensor, cutoff: float):
    assert_same(keep_epsilon(scores, cutoff), peers(scores, tokens_for(scores), ("EpsilonLogitsWarper", cutoff)))
    assert_same(keep_eta(scores, cutoff), peers(scores, tokens_for(scores), ("EtaLogitsWarper", cutoff)))


def test_what_is_excluded_already_stays_so():
    """And is no information: its probability is 0, whatever filter looks at it."""
    scores = torch.tensor([[2.0, float("-inf"), 1.0, 0.0, float("-inf")]])
    for keep in (keep_typical, keep_epsilon, keep_eta):
        found = keep(scores, 0.5)
        assert not found.isnan().any()
        assert found.isneginf()[0, [1, 4]].all()
        assert not found.isneginf().all()


def test_excluding():
    scores = torch.zeros(2, 4)
    rows = exclude(scores, np.array([0, 0, 1]), np.array([1, 1, 3]))
    assert rows.isneginf().tolist() == [[False, True, False, False], [False, False, False, True]]
    assert exclude(scores, None, np.array([2])).isneginf().tolist() == [[False, False, True, False]] * 2
    assert torch.equal(exclude(scores, np.array([], dtype=np.int64), np.array([], dtype=np.int64)), scores)


def test_forcing():
    found = force_tokens(torch.randn(2, 4), [1, 3])
    assert found.softmax(-1).tolist() == [[0.0, 0.5, 0.0, 0.5]] * 2


@CHECKED
@given(rows_of(distinct), st.integers(1, VOCAB), st.floats(0.05, 0.95), st.floats(0.01, 0.5))
def test_one_after_the_other(scores: Tensor, count: int, mass: float, share: float):
    found = keep_min_p(keep_top_p(keep_top_k(scores, count), mass), share)
    names = (("TopKLogitsWarper", count), ("TopPLogitsWarper", mass), ("MinPLogitsWarper", share))
    assert_same(found, peers(scores, tokens_for(scores), *names))


@CHECKED
@given(rows_of(distinct), st.integers(1, VOCAB + 1))
def test_as_many_are_kept_as_beams_need(scores: Tensor, least: int):
    cases = (
        (keep_top_k, "TopKLogitsWarper", 2),
        (keep_top_p, "TopPLogitsWarper", 0.2),
        (keep_min_p, "MinPLogitsWarper", 0.9),
        (keep_typical, "TypicalLogitsWarper", 0.2),
        (keep_epsilon, "EpsilonLogitsWarper", 0.4),
        (keep_eta, "EtaLogitsWarper", 0.6),
    )
    for keep, name, value in cases:
        expected = peer_class(name)(value, min_tokens_to_keep=least)(tokens_for(scores), scores)
        assert_same(keep(scores, value, least), expected)


def test_scores_passed_in_stay_as_they_are():
    scores, tokens = torch.randn(2, VOCAB), token_ids(2, 3, VOCAB)
    kept = scores.clone()
    for changed in (
        penalise_repetition(scores, tokens, 2.0),
        keep_top_k(scores, 2),
        keep_top_p(scores, 0.3),
        keep_min_p(scores, 0.3),
        keep_typical(scores, 0.3),
        keep_epsilon(scores, 0.3),
        keep_eta(scores, 0.3),
        exclude(scores, None, np.array([1])),
        exclude(scores, np.array([0]), np.array([1])),
        force_tokens(scores, [1]),
    ):
        assert not torch.equal(changed, scores)
        assert torch.equal(scores, kept)


# -- what is drawn ----------------------------------------------------------------------------------------------------

PROCESSORS = {
    "repetition_penalty": "RepetitionPenaltyLogitsProcessor",
    "temperature": "TemperatureLogitsWarper",
    "top_k": "TopKLogitsWarper",
    "top_p": "TopPLogitsWarper",
    "min_p": "MinPLogitsWarper",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cold": {"temperature": 0.6},
    "hot": {"temperature": 1.7},
    "top k": {"top_k": 4},
    "top p": {"top_p": 0.7},
    "min p": {"min_p": 0.2},
    "repeating less": {"repetition_penalty": 1.5},
    "all": {"temperature": 1.4, "top_k": 8, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.2},
}
every_setting = pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS.keys())
DRAWS = 4000


def small() -> tuple[GPT2LMHeadModel, Any]:
    """Return a model of ten tokens that is sure of little, and the peer's."""
    return BY_ID["GPT2LMHeadModel"].pair(vocab_size=10, eos_token_id=None, bos_token_id=None, pad_token_id=None)


@torch.no_grad()
def peers_scores(peer: Any, ids: Tensor, options: dict[str, Any]) -> Tensor:
    """Return the next token's scores (rows, vocab) after the peer's processors."""
    names = [(processor, options[name]) for name, processor in PROCESSORS.items() if name in options]
    return peers(peer(ids).logits[:, -1], ids, *names)


@every_setting
def test_scores_that_are_drawn_by_are_the_peers(options: dict[str, Any]):
    mine, other = small()
    ids = token_ids(3, 4, 10)
    found = mine.generate(ids, max_new_tokens=1, do_sample=True, output_scores=True, **options)
    expected = peers_scores(other, ids, options)
    assert torch.equal(found.scores[:, 0].isneginf(), expected.isneginf())
    torch.testing.assert_close(found.scores[:, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [SETTINGS["plain"], SETTINGS["top k"], SETTINGS["all"]])
def test_two_tokens_come_as_often_as_the_peer_says(options: dict[str, Any]):
    mine, other = small()
    ids = token_ids(1, 4, 10)
    found = mine.generate(
        ids,
        max_new_tokens=2,
        do_sample=True,
        num_return_sequences=DRAWS,
        generator=torch.Generator().manual_seed(0),
        **options,
    )
    first = peers_scores(other, ids, options).softmax(-1)[0]
    after = torch.cat([ids.expand(10, -1), torch.arange(10)[:, None]], 1)
    second = peers_scores(other, after, options).softmax(-1)
    expected = (first[:, None] * second).flatten().double() * DRAWS
    new = found.sequences[:, 4:]
    counts = torch.bincount(new[:, 0] * 10 + new[:, 1], minlength=100).double()
    assert counts[expected == 0].sum() == 0
    assert p_value(counts, expected) > 0.01


def p_value(counts: Tensor, expected: Tensor) -> float:
    """Return Pearson's chi-square test's, cells that expect fewer than 5 taken together."""
    rare = expected < 5
    cells = [(counts[~rare], expected[~rare])]
    if expected[rare].sum() > 0:
        cells.append((counts[rare].sum()[None], expected[rare].sum()[None]))
    observed, wanted = (torch.cat(parts) for parts in zip(*cells, strict=True))
    statistic = ((observed - wanted) ** 2 / wanted).sum()
    return float(torch.special.gammaincc(torch.tensor((len(wanted) - 1) / 2).double(), statistic / 2))


def test_the_test_of_frequencies_finds_what_is_wrong():
    expected = torch.tensor([0.5, 0.3, 0.2]).double() * 4000
    drawn = torch.bincount(torch.multinomial(torch.tensor([0.46, 0.34, 0.2]), 4000, replacement=True)).double()
    assert p_value(drawn, expected) < 0.01
    assert p_value(expected.round(), expected) > 0.99


def test_drawing_takes_one_token_a_row():
    scores = torch.tensor([[0.0, float("-inf")], [float("-inf"), 0.0]])
    assert sample_token(scores, None).tolist() == [0, 1]


def test_a_generator_decides_what_is_drawn():
    model, ids = small()[0], token_ids(2, 4, 10)

    def drawn(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return model.generate(ids, max_new_tokens=12, do_sample=True, generator=generator).sequences

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    torch.manual_seed(5)
    first = model.generate(ids, max_new_tokens=12, do_sample=True).sequences
    torch.manual_seed(5)
    assert torch.equal(model.generate(ids, max_new_tokens=12, do_sample=True).sequences, first)
    state = torch.get_rng_state()
    drawn(3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("options", [{}, {"top_k": 1}, {"min_p": 1.0}, {"top_p": 0.1, "num_return_sequences": 2}])
def test_beams_may_be_drawn(options: dict[str, Any]):
    model, ids = small()[0], token_ids(2, 4, 10)
    settings = {"max_new_tokens": 5, "num_beams": 3, "do_sample": True, "output_scores": True, "length_penalty": 0.0}
    found = model.generate(ids, generator=torch.Generator().manual_seed(0), **settings, **options)
    found.check()
    chosen = found.scores.gather(2, found.sequences[:, 4:, None])[:, :, 0]
    torch.testing.assert_close(chosen.sum(1), found.sequences_scores, rtol=1e-5, atol=1e-5)
