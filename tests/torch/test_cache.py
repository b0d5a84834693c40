"""The cache that decoders take: how long it is, and which are refused."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs import InputError
from modeloutputs.torch.cache import check_cache, past_length

LAYERS, ROWS, HEADS, WIDTH = 2, 3, 4, 8


def held(length: int = 5, rows: int = ROWS, heads: int = HEADS, width: int = WIDTH) -> "torch.Tensor":
    return torch.zeros(rows, heads, length, width)


OWN = (held(), held())
CROSSED = (*OWN, held(7), held(7))


def refusal(past: Any) -> str:
    with pytest.raises(InputError) as caught:
        check_cache(past, LAYERS, ROWS, HEADS, WIDTH)
    return str(caught.value)


def test_length_is_that_of_the_keys() -> None:
    assert past_length(None) == 0
    assert past_length((OWN, OWN)) == 5
    assert past_length((CROSSED, CROSSED)) == 5


@pytest.mark.parametrize("past", [None, (OWN, OWN), (CROSSED, CROSSED), [list(OWN), list(OWN)]])
def test_a_cache_of_this_model_and_batch_is_taken(past: Any) -> None:
    check_cache(past, LAYERS, ROWS, HEADS, WIDTH)


def test_a_cache_of_other_layers_is_refused() -> None:
    assert refusal((OWN,)) == "past_key_values has 1 layers; this model has 2"
    assert refusal(()) == "past_key_values has 0 layers; this model has 2"


def test_layers_with_and_without_an_encoder_in_one_cache_are_refused() -> None:
    assert refusal((OWN, CROSSED)).startswith("past_key_values[1] has 4 tensors; expected 2, or 4 with cross-attention")


@pytest.mark.parametrize("layer", [(), OWN[:1], CROSSED[:3]])
def test_a_layer_with_neither_two_nor_four_tensors_is_refused(layer: Any) -> None:
    message = f"has {len(layer)} tensors; expected 2, or 4 with cross-attention, in all layers"
    assert refusal((OWN, layer)) == f"past_key_values[1] {message}"
    assert refusal((layer, OWN)) == f"past_key_values[0] {message}"


@pytest.mark.parametrize(
    "wrong", [held(4), held(rows=2), held(heads=5), held(width=9), torch.zeros(3), torch.zeros(ROWS, HEADS, 5)]
)
def test_a_tensor_of_another_shape_is_refused_by_its_place(wrong: "torch.Tensor") -> None:
    expected = f"past_key_values[1][0] has shape {tuple(wrong.shape)}; expected (3, 4, 5, 8)"
    assert refusal((OWN, (wrong, held()))) == expected


def test_encoder_keys_have_a_length_of_their_own_and_else_the_same_shape() -> None:
    wrong = (*OWN, held(7, rows=2), held(7))
    assert refusal((wrong, CROSSED)) == "past_key_values[0][2] has shape (2, 4, 7, 8); expected (3, 4, 7, 8)"


def test_a_first_tensor_without_positions_is_refused() -> None:
    assert refusal(((torch.zeros(3), held()), OWN)).startswith("past_key_values[0][0] has shape (3,); expected (3, 4,")
