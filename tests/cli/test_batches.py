"""Batches of bounded size, and their outputs joined in the order of the texts."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from modeloutputs.cli.batches import group_by_length, join_batches  # noqa: E402
from modeloutputs.torch import TokenClassifierOutput  # noqa: E402


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(1, 60))
def test_batches_hold_each_text_once_and_no_more_tokens_than_allowed(lengths: list[int], most: int):
    groups = group_by_length(lengths, most)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    sizes = [len(group) * max(lengths[i] for i in group) for group in groups]
    assert all(size <= most or len(group) == 1 for size, group in zip(sizes, groups, strict=True))
    longest = [lengths[i] for group in groups for i in group]
    assert len(groups) == 1 or longest == sorted(lengths, reverse=True)


def parts(device: str) -> list[TokenClassifierOutput]:
    """Texts 2 and 0 of three tokens, then text 1 of two."""
    first = torch.arange(12.0).view(2, 3, 2)
    second = 100 + torch.arange(4.0).view(1, 2, 2)
    return [TokenClassifierOutput(logits=value.to(device)) for value in (first, second)]


def test_rows_come_in_the_order_of_the_texts():
    joined = join_batches(parts("cpu"), [[2, 0], [1]])
    expected = [[[6, 7], [8, 9], [10, 11]], [[100, 101], [102, 103], [0, 0]], [[0, 1], [2, 3], [4, 5]]]
    assert joined["logits"].tolist() == expected


def test_shapes_alone_are_joined_without_memory():
    joined = join_batches(parts("meta"), [[2, 0], [1]])["logits"]
    assert (joined.shape, joined.dtype, joined.device.type) == ((3, 3, 2), torch.float32, "cpu")
    assert joined.untyped_storage().nbytes() == 4
