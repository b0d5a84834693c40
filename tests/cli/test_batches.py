"""Batches of bounded size, and their outputs joined in the order of the texts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float

from modeloutputs import ModelOutput
from modeloutputs.cli.batches import cut_positions, group_by_length, join_batches


class Scores(ModelOutput):
    logits: Float[np.ndarray, "batch seq labels"] | None = None
    attentions: tuple[Float[np.ndarray, "batch heads seq seq"], ...] | None = None


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(1, 60))
def test_batches_hold_each_text_once_and_no_more_tokens_than_allowed(lengths: list[int], most: int):
    groups = group_by_length(lengths, most)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    sizes = [len(group) * max(lengths[i] for i in group) for group in groups]
    assert all(size <= most or len(group) == 1 for size, group in zip(sizes, groups, strict=True))
    longest = [lengths[i] for group in groups for i in group]
    assert len(groups) == 1 or longest == sorted(lengths, reverse=True)


def test_rows_come_in_the_order_of_the_texts():
    first, second = np.arange(12.0).reshape(2, 3, 2), 100 + np.arange(4.0).reshape(1, 2, 2)
    # Texts 2 and 0 of three tokens, then text 1 of two.
    joined = join_batches([Scores(logits=first), Scores(logits=second)], [[2, 0], [1]])
    expected = [[[6, 7], [8, 9], [10, 11]], [[100, 101], [102, 103], [0, 0]], [[0, 1], [2, 3], [4, 5]]]
    assert joined["logits"].tolist() == expected


def test_positions_are_cut_along_all_their_axes():
    rng = np.random.default_rng(0)
    logits, weights = rng.random((2, 5, 3)), rng.random((2, 4, 5, 5))
    cut = cut_positions(Scores(logits=logits, attentions=(weights,)), 2)
    np.testing.assert_array_equal(cut["logits"], logits[:, :2])
    np.testing.assert_array_equal(cut["attentions"][0], weights[:, :, :2, :2])
