"""What models are given: which positions a mask leaves, and what is refused before anything is computed."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st

from modeloutputs import InputError
from modeloutputs.architectures.checks import Facts
from modeloutputs.torch.inputs import (
    check_embeds,
    check_ids,
    check_tokens,
    facts,
    first_position,
    last_position,
    positions_from_mask,
    rows_at,
)

IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])

# -- positions --------------------------------------------------------------------------------------------------------


def positions(*rows: list[int], length: int | None = None) -> list[list[int]] | None:
    found = positions_from_mask(torch.tensor(rows), len(rows[0]) if length is None else length)
    return None if found is None else found.tolist()


def test_without_padding_positions_are_left_to_the_table() -> None:
    assert positions_from_mask(None, 3) is None
    assert positions([1, 1, 1], [1, 1, 1]) is None


def test_right_padding_moves_no_token() -> None:
    assert positions([1, 1, 1, 0], [1, 0, 0, 0]) is None


def test_left_padding_takes_no_position() -> None:
    assert positions([0, 0, 1, 1], [1, 1, 1, 1]) == [[0, 0, 0, 1], [0, 1, 2, 3]]


def test_padding_on_both_sides_takes_no_position_before_the_tokens() -> None:
    assert positions([0, 1, 1, 0]) == [[0, 0, 1, 2]]


def test_holes_take_no_position() -> None:
    assert positions([1, 0, 1, 1]) == [[0, 0, 1, 2]]
    assert positions([0, 1, 0, 0, 1, 0]) == [[0, 0, 0, 0, 1, 2]]


def test_a_row_of_padding_has_positions_that_the_table_holds() -> None:
    assert positions([0, 0, 0], [0, 1, 1]) == [[0, 1, 2], [0, 0, 1]]


def test_positions_go_on_after_the_cache() -> None:
    assert positions([0, 0, 1, 1, 1], [1, 1, 1, 1, 1], length=2) == [[1, 2], [3, 4]]
    assert positions([1, 1, 0, 1], length=1) == [[2]]


def test_truth_values_and_floats_are_masks_too() -> None:
    mask = torch.tensor([[0, 1, 1]])
    for kind in (torch.bool, torch.float32):
        found = positions_from_mask(mask.to(kind), 3)
        assert found is not None
        assert found.tolist() == [[0, 0, 1]]
        assert found.dtype == torch.int64


def test_a_mask_of_each_query_says_nothing_about_positions() -> None:
    assert positions_from_mask(torch.zeros(1, 3, 3), 3) is None


masks = st.lists(st.integers(0, 1), min_size=1, max_size=8)


@settings(deadline=None)
@given(masks, st.data())
def test_each_token_has_the_position_that_it_has_without_padding(row: list[int], data: st.DataObject) -> None:
    """Whatever part of the row is passed in this call, the rest being cached."""
    length = data.draw(st.integers(1, len(row)))
    found = positions(row, length=length)
    found_row = list(range(len(row)))[-length:] if found is None else found[0]
    expected = [sum(row[:i]) for i in range(len(row))][-length:]
    tokens = row[-length:]
    assert [p for p, t in zip(found_row, tokens, strict=True) if t] == [
        p for p, t in zip(expected, tokens, strict=True) if t
    ]
    assert all(0 <= p < len(row) for p in found_row)


@settings(deadline=None)
@given(masks)
def test_a_token_keeps_its_position_when_the_mask_grows(row: list[int]) -> None:
    """Else decoding step by step, where the mask grows by one, would differ from one call."""
    whole = positions(row)
    for step in range(1, len(row) + 1):
        if row[step - 1]:
            last = positions(row[:step], length=1)
            assert (step - 1 if last is None else last[0][0]) == (step - 1 if whole is None else whole[0][step - 1])


def test_first_position_is_that_of_the_first_token() -> None:
    found = first_position(torch.tensor([[0, 0, 1], [1, 1, 1], [0, 1, 0], [0, 0, 0]]))
    assert found is not None
    assert found.tolist() == [2, 0, 1, 0]


def test_first_position_is_left_out_where_all_rows_start_at_once() -> None:
    assert first_position(None) is None
    assert first_position(torch.tensor([[1, 0], [1, 1]])) is None
    assert first_position(torch.zeros(1, 2, 2)) is None


PADDED = torch.tensor([[0, 0, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0]])


def test_last_position_is_that_of_the_last_token() -> None:
    for mask in (PADDED, PADDED.bool(), PADDED.float()):
        found = last_position(None, mask, None)
        assert found is not None
        assert found.tolist()[:3] == [2, 1, 1]
        assert 0 <= found[3] < 3  # of a row without tokens, any


def test_last_position_is_asked_of_the_mask_before_the_ids() -> None:
    ids = torch.tensor([[9, 8, 7], [7, 8, 9]])
    by_ids, by_mask = last_position(ids, None, 7), last_position(ids, torch.tensor([[1, 0, 0], [1, 1, 0]]), 7)
    assert by_ids is not None
    assert by_mask is not None
    assert by_ids.tolist() == [1, 2]
    assert by_mask.tolist() == [0, 1]


def test_last_position_is_left_out_where_all_rows_end_at_once() -> None:
    assert last_position(IDS, None, None) is None
    assert last_position(IDS, None, 9) is None
    assert last_position(None, None, 0) is None
    assert last_position(None, torch.tensor([[0, 1], [1, 1]]), None) is None
    assert last_position(IDS, torch.ones(2, 3, 3), None) is None


def test_rows_are_taken_at_their_index() -> None:
    hidden = torch.arange(12.0).view(2, 3, 2)
    assert torch.equal(rows_at(hidden, torch.tensor([2, 0])), torch.stack([hidden[0, 2], hidden[1, 0]]))
    assert torch.equal(rows_at(hidden, None), hidden[:, -1])
    assert torch.equal(rows_at(hidden, None, 0), hidden[:, 0])


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_tensor_is_described_by_shape_dtype_and_range() -> None:
    assert facts(IDS) == Facts((2, 3), torch.int64, "index", (1, 6))
    assert facts(IDS.int()) == Facts((2, 3), torch.int32, "index", (1, 6))
    assert facts(IDS, with_bounds=False).bounds is None
    assert facts(IDS.short()) == Facts((2, 3), torch.int16, "other")
    assert facts(IDS.bool()).kind == "other"
    assert facts(IDS.half()) == Facts((2, 3), torch.float16, "floating")


@pytest.mark.parametrize("tensor", [IDS[:0], IDS.to("meta")], ids=["empty", "meta"])
def test_values_that_cannot_be_read_are_left_out(tensor: "torch.Tensor") -> None:
    assert facts(tensor) == Facts(tuple(tensor.shape), torch.int64, "index")
    check_ids(tensor, 2, "input_ids")


def tokens(ids: "torch.Tensor | None", vectors: "torch.Tensor | None", **more: Any) -> tuple[int, int]:
    return check_tokens(ids, vectors, **{"vocab_size": 7, "width": 8, "limit": 4, **more})


def test_rows_and_length_are_those_of_ids_or_embeddings() -> None:
    assert tokens(IDS, None) == (2, 3)
    assert tokens(None, torch.zeros(4, 1, 8)) == (4, 1)


def test_errors_use_the_callers_argument_names() -> None:
    embeds = torch.zeros(2, 3, 8)
    for ids, vectors, message in (
        (IDS, embeds, "both decoder_input_ids and decoder_inputs_embeds were passed"),
        (None, None, "neither decoder_input_ids nor decoder_inputs_embeds was passed"),
        (IDS, None, "^decoder_input_ids ranges from 1 to 6; expected 0 to 4"),
        (None, embeds, "^decoder_inputs_embeds is torch.float32 of shape"),
    ):
        with pytest.raises(InputError, match=message):
            tokens(ids, vectors, vocab_size=5, width=9, prefix="decoder_")


def test_positions_are_checked_with_the_tokens() -> None:
    for rows in (1, 2):
        tokens(IDS, None, position_ids=torch.full((rows, 3), 3))
    with pytest.raises(InputError, match=r"position_ids has shape \(3, 3\); expected \(2, 3\)"):
        tokens(IDS, None, position_ids=torch.zeros(3, 3).long())
    with pytest.raises(InputError, match="position_ids ranges from 4 to 4; expected 0 to 3"):
        tokens(IDS, None, position_ids=torch.full((2, 3), 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.uint8, torch.int16])
def test_ids_of_another_dtype_are_refused(dtype: "torch.dtype") -> None:
    check_ids(IDS.int(), 7, "input_ids", (2, 3))
    with pytest.raises(InputError) as caught:
        check_ids(IDS.to(dtype), 10, "input_ids")
    assert str(caught.value) == f"input_ids is {dtype}; expected int64 or int32"


def test_embeddings_of_another_width_or_batch_are_refused() -> None:
    check_embeds(torch.zeros(2, 3, 8), 8, "inputs_embeds")
    with pytest.raises(InputError) as caught:
        check_embeds(torch.zeros(2, 3, 8).long(), 8, "inputs_embeds", rows=4)
    assert str(caught.value) == (
        "inputs_embeds is torch.int64 of shape (2, 3, 8); expected floating point of shape (4, positions, 8)"
    )
