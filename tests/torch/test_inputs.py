"""What models are given: which positions a mask leaves, and what is refused before anything is computed."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st

from modeloutputs import InputError
from modeloutputs.torch.inputs import (
    check_embeds,
    check_ids,
    check_one_given,
    check_position_ids,
    check_positions,
    check_tokens,
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


def test_exactly_one_of_ids_and_embeddings_is_taken() -> None:
    embeds = torch.zeros(2, 3, 8)
    assert check_one_given(IDS, None) is IDS
    assert check_one_given(None, embeds) is embeds
    with pytest.raises(InputError, match="both input_ids and inputs_embeds were passed; pass one of them"):
        check_one_given(IDS, embeds)
    with pytest.raises(InputError, match="neither input_ids nor inputs_embeds was passed; pass one of them"):
        check_one_given(None, None)


def test_arguments_are_called_what_the_caller_calls_them() -> None:
    embeds = torch.zeros(2, 3, 8)
    for ids, vectors, message in (
        (IDS, embeds, "both decoder_input_ids and decoder_inputs_embeds were passed"),
        (None, None, "neither decoder_input_ids nor decoder_inputs_embeds was passed"),
        (IDS, None, "^decoder_input_ids ranges from 1 to 6; expected 0 to 4"),
        (None, embeds, "^decoder_inputs_embeds is torch.float32 of shape"),
    ):
        with pytest.raises(InputError, match=message):
            check_tokens(ids, vectors, 5, 9, "decoder_")


def test_position_ids_are_of_each_row_or_of_one() -> None:
    check_position_ids(None, 4, 2, 3)
    check_position_ids(torch.zeros(2, 3).long(), 4, 2, 3)
    check_position_ids(torch.zeros(1, 3).long(), 4, 2, 3)
    with pytest.raises(InputError, match=r"position_ids has shape \(3, 3\); expected \(2, 3\)"):
        check_position_ids(torch.zeros(3, 3).long(), 4, 2, 3)
    with pytest.raises(InputError, match="position_ids ranges from 4 to 4; expected 0 to 3"):
        check_position_ids(torch.full((2, 3), 4), 4, 2, 3)


def refusal_of_ids(ids: "torch.Tensor", count: int = 10, shape: tuple[int, ...] | None = None) -> str:
    with pytest.raises(InputError) as caught:
        check_ids(ids, count, "input_ids", shape)
    return str(caught.value)


def test_ids_that_fit_are_taken() -> None:
    check_ids(IDS, 7, "input_ids")
    check_ids(IDS.int(), 7, "input_ids", (2, 3))
    check_ids(torch.empty(0, 3, dtype=torch.long), 7, "input_ids")


def test_ids_outside_the_table_are_refused_with_their_range() -> None:
    assert refusal_of_ids(IDS, 6) == "input_ids ranges from 1 to 6; expected 0 to 5"
    assert refusal_of_ids(-IDS) == "input_ids ranges from -6 to -1; expected 0 to 9"


def test_ids_of_another_type_or_shape_are_refused() -> None:
    for dtype in (torch.float32, torch.bool, torch.uint8, torch.int16):
        assert refusal_of_ids(IDS.to(dtype)) == f"input_ids is {dtype}; expected int64 or int32"
    assert refusal_of_ids(IDS[0]) == "input_ids has shape (3,); expected (batch, seq)"
    assert refusal_of_ids(IDS, shape=(2, 4)) == "input_ids has shape (2, 3); expected (2, 4)"


@pytest.mark.parametrize(
    ("embeds", "found"),
    [
        (torch.zeros(2, 3, 7), "torch.float32 of shape (2, 3, 7)"),
        (torch.zeros(3, 8), "torch.float32 of shape (3, 8)"),
        (torch.zeros(2, 3, 8).long(), "torch.int64 of shape (2, 3, 8)"),
    ],
)
def test_embeddings_of_another_shape_or_type_are_refused(embeds: "torch.Tensor", found: str) -> None:
    check_embeds(torch.zeros(2, 3, 8), 8, "inputs_embeds")
    with pytest.raises(InputError) as caught:
        check_embeds(embeds, 8, "inputs_embeds")
    assert str(caught.value) == (f"inputs_embeds is {found}; expected floating point of shape (batch, positions, 8)")


def test_encoder_states_of_another_batch_are_refused() -> None:
    check_embeds(torch.zeros(2, 3, 8), 8, "encoder_hidden_states", rows=2)
    with pytest.raises(InputError, match=r"expected floating point of shape \(4, positions, 8\)"):
        check_embeds(torch.zeros(2, 3, 8), 8, "encoder_hidden_states", rows=4)


def test_positions_beyond_the_table_are_refused() -> None:
    check_positions(10, 0, 10)
    check_positions(1, 9, 10)
    with pytest.raises(InputError) as caught:
        check_positions(11, 0, 10)
    assert str(caught.value) == ("11 positions exceed the model's max_position_embeddings of 10; truncate the input")
    with pytest.raises(InputError, match="2 positions after 9 cached ones exceed"):
        check_positions(2, 9, 10)
