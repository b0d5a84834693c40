"""Caches that a model cannot take, each refused with its place and what was expected."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor

from modeloutputs import InputError
from modeloutputs.torch.cache import Cache, check_cache

from ..support.torch_caches import CROSSED, HEADS, LAYERS, OWN, ROWS, WIDTH, grown, held, with_room

# -- what is refused --------------------------------------------------------------------------------------------------


def refusal(past: Any) -> str:
    with pytest.raises(InputError) as caught:
        check_cache(past, LAYERS, (ROWS, HEADS, WIDTH), torch.float32, torch.device("cpu"))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "past", [None, (OWN, OWN), (CROSSED, CROSSED), [list(OWN), list(OWN)], Cache((OWN, OWN)), Cache((CROSSED, CROSSED))]
)
def test_a_cache_of_this_model_and_batch_is_taken(past: Any) -> None:
    check_cache(past, LAYERS, (ROWS, HEADS, WIDTH), torch.float32, torch.device("cpu"))


def test_a_cache_of_other_layers_is_refused() -> None:
    assert refusal((OWN,)) == "past_key_values has 1 layers; this model has 2"
    assert refusal(()) == "past_key_values has 0 layers; this model has 2"
    assert refusal(Cache((OWN,) * 3)) == "past_key_values has 3 layers; this model has 2"


@pytest.mark.parametrize("past", ["ab", b"ab", {0: OWN, 1: OWN}, {OWN, CROSSED}, 2, held(), object(), iter((OWN, OWN))])
def test_what_is_no_tuple_is_refused_by_its_kind(past: Any) -> None:
    kind = type(past).__name__
    assert refusal(past) == (
        f"past_key_values is a {kind}; expected what a call returned, a tuple of tensors per layer"
    )


@pytest.mark.parametrize("layer", [None, "ab", {"key": 1, "value": 2}, torch.zeros(2, ROWS, HEADS, 5, WIDTH)])
def test_a_layer_that_is_no_tuple_is_refused(layer: Any) -> None:
    kind = type(layer).__name__
    assert refusal((OWN, layer)) == f"past_key_values[1] is a {kind}; expected a tuple of tensors"
    assert refusal((layer, OWN)) == f"past_key_values[0] is a {kind}; expected a tuple of tensors"


@pytest.mark.parametrize("entry", [None, "a", 1.0, OWN, held().numpy()])
def test_an_entry_that_is_no_tensor_is_refused(entry: Any) -> None:
    kind = type(entry).__name__
    assert refusal(((held(), entry), OWN)) == f"past_key_values[0][1] is a {kind}; expected a tensor"
    assert refusal((CROSSED, (*OWN, entry, entry))) == f"past_key_values[1][2] is a {kind}; expected a tensor"


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
def test_a_tensor_of_another_shape_is_refused_by_its_place(wrong: Tensor) -> None:
    expected = f"past_key_values[1][0] has shape {tuple(wrong.shape)}; expected (3, 4, 5, 8)"
    assert refusal((OWN, (wrong, held()))) == expected
    assert refusal(Cache((OWN, (wrong, held())))) == expected


def test_encoder_keys_have_a_length_of_their_own_and_else_the_same_shape() -> None:
    wrong = (*OWN, held(7, rows=2), held(7))
    assert refusal((wrong, CROSSED)) == "past_key_values[0][2] has shape (2, 4, 7, 8); expected (3, 4, 7, 8)"
    wrong = (*OWN, held(7), held(6))
    assert refusal((CROSSED, wrong)) == "past_key_values[1][3] has shape (3, 4, 6, 8); expected (3, 4, 7, 8)"


def test_a_first_tensor_without_positions_is_refused() -> None:
    assert refusal(((torch.zeros(3), held()), OWN)).startswith("past_key_values[0][0] has shape (3,); expected (3, 4,")


OTHERS: dict[str, tuple[Tensor, str]] = {
    "half precision": (held().half(), "torch.float16 on cpu"),
    "double precision": (held().double(), "torch.float64 on cpu"),
    "integers": (held().long(), "torch.int64 on cpu"),
    "another device": (held().to("meta"), "torch.float32 on meta"),
}


@pytest.mark.parametrize(("wrong", "what"), OTHERS.values(), ids=OTHERS)
def test_a_tensor_of_another_dtype_or_device_is_refused(wrong: Tensor, what: str) -> None:
    expected = f"is {what}; this model's keys are torch.float32 on cpu"
    assert refusal((OWN, (held(), wrong))) == f"past_key_values[1][1] {expected}"
    assert refusal(((held(), wrong), OWN)) == f"past_key_values[0][1] {expected}"


def test_a_grown_cache_of_another_model_or_batch_is_refused() -> None:
    with torch.no_grad():
        cache = grown(Cache((OWN, OWN)), [(held(1), held(1))] * 2)
        check_cache(cache, LAYERS, (ROWS, HEADS, WIDTH), torch.float32, torch.device("cpu"))
    rows = cache.reorder(torch.tensor([0, 1]))
    assert refusal(rows) == "past_key_values[0][0] has shape (2, 4, 6, 8); expected (3, 4, 6, 8)"
    assert refusal(with_room(6)).startswith("past_key_values[0][0] is torch.float64 on cpu; this model's keys are")
    meta = Cache.with_room(layers=2, batch=ROWS, kv_heads=HEADS, head_dim=WIDTH, capacity=4, device="meta")
    assert refusal(meta).startswith("past_key_values[0][0] is torch.float32 on meta; this model's keys are")
    one = Cache.with_room(layers=1, batch=ROWS, kv_heads=HEADS, head_dim=WIDTH, capacity=4)
    assert refusal(one) == "past_key_values has 1 layers; this model has 2"
