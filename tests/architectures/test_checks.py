"""Errors about a model's arguments, from descriptions of tensors alone."""

from typing import Any

import pytest

from modeloutputs import InputError
from modeloutputs.architectures.checks import (
    Facts,
    check_embeds,
    check_ids,
    check_length,
    check_one_given,
    check_position_ids,
)


def ids(*shape: int, bounds: tuple[float, float] | None = (1, 6)) -> Facts:
    return Facts(shape, "int64", "index", bounds)


def embeds(*shape: int, dtype: str = "float32", kind: Any = "floating") -> Facts:
    return Facts(shape, dtype, kind)


def refusal(check: Any, *arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        check(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_exactly_one_of_ids_and_embeddings_is_taken() -> None:
    check_one_given(True, False)
    check_one_given(False, True)
    both, neither = refusal(check_one_given, True, True), refusal(check_one_given, False, False)
    assert both == "both input_ids and inputs_embeds were passed; pass one of them"
    assert neither == "neither input_ids nor inputs_embeds was passed; pass one of them"
    found = refusal(check_one_given, True, True, "decoder_")
    assert found == "both decoder_input_ids and decoder_inputs_embeds were passed; pass one of them"


def test_ids_that_fit_are_taken() -> None:
    check_ids(ids(2, 3), 7, "input_ids")
    check_ids(ids(2, 3), 7, "input_ids", (2, 3))
    check_ids(ids(0, 3, bounds=None), 7, "input_ids")


def test_ids_outside_the_table_are_refused_with_their_range() -> None:
    assert refusal(check_ids, ids(2, 3), 6, "input_ids") == "input_ids ranges from 1 to 6; expected 0 to 5"
    found = refusal(check_ids, ids(2, 3, bounds=(-6, -1)), 10, "input_ids")
    assert found == "input_ids ranges from -6 to -1; expected 0 to 9"


def test_ids_of_another_dtype_or_shape_are_refused() -> None:
    for dtype, kind in (("float32", "floating"), ("bool", "other")):
        found = refusal(check_ids, embeds(2, 3, dtype=dtype, kind=kind), 10, "input_ids")
        assert found == f"input_ids is {dtype}; expected int64 or int32"
    found = refusal(check_ids, ids(3), 10, "input_ids")
    assert found == "input_ids has shape (3,); expected (batch, seq); pass input_ids[None] for one row"
    found = refusal(check_ids, ids(2, 3, 4), 10, "input_ids")
    assert found == "input_ids has shape (2, 3, 4); expected (batch, seq)"
    assert refusal(check_ids, ids(2, 3), 10, "a", (2, 4)) == "a has shape (2, 3); expected (2, 4)"


def test_position_ids_are_of_each_row_or_of_one() -> None:
    check_position_ids(None, 4, 2, 3)
    check_position_ids(ids(2, 3, bounds=(0, 3)), 4, 2, 3)
    check_position_ids(ids(1, 3, bounds=(0, 3)), 4, 2, 3)
    found = refusal(check_position_ids, ids(3, 3, bounds=(0, 0)), 4, 2, 3)
    assert found == "position_ids has shape (3, 3); expected (2, 3)"
    found = refusal(check_position_ids, ids(2, 3, bounds=(4, 4)), 4, 2, 3)
    assert found == "position_ids ranges from 4 to 4; expected 0 to 3"


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (embeds(2, 3, 7), "float32 of shape (2, 3, 7)"),
        (embeds(3, 8), "float32 of shape (3, 8)"),
        (embeds(2, 3, 8, dtype="int64", kind="index"), "int64 of shape (2, 3, 8)"),
    ],
)
def test_embeddings_of_another_shape_or_dtype_are_refused(found: Facts, what: str) -> None:
    check_embeds(embeds(2, 3, 8), 8, "inputs_embeds")
    expected = f"inputs_embeds is {what}; expected floating point of shape (batch, positions, 8)"
    assert refusal(check_embeds, found, 8, "inputs_embeds") == expected


def test_encoder_states_of_another_batch_are_refused() -> None:
    check_embeds(embeds(2, 3, 8), 8, "encoder_hidden_states", 2)
    found = refusal(check_embeds, embeds(2, 3, 8), 8, "encoder_hidden_states", 4)
    assert found.endswith("expected floating point of shape (4, positions, 8)")


def test_positions_beyond_the_table_are_refused() -> None:
    check_length(10, 0, 10)
    check_length(1, 9, 10)
    found = refusal(check_length, 11, 0, 10)
    assert found == "11 positions exceed the model's max_position_embeddings of 10; truncate the input"
    assert refusal(check_length, 2, 9, 10).startswith("2 positions after 9 cached ones exceed")
