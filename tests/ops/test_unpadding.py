"""unpad: padding of every kind removed, and masks of every kind."""

import re
from typing import Any

import numpy as np
import pytest

from modeloutputs import (
    InputError,
    concat,
    pad,
    select,
    split,
    unpad,
)
from modeloutputs.frameworks import FRAMEWORKS

from ..support.batches import (
    SMALL,
    Case,
    check_where_possible,
    each_side,
    every_class_on_each_side,
    like,
    make,
    of_rows,
    prompt_masks,
    prompts,
    refused,
    scored,
)
from ..support.compare import assert_same, leaves
from ..support.needs import needs, needs_jax, needs_torch
from ..support.random_outputs import class_named, full


@every_class_on_each_side
def test_unpadded_rows_are_the_parts_and_join_to_the_same(case: Case, side: str):
    parts = prompts(case)
    joined = concat(parts, side=side)
    rows = unpad(joined, *prompt_masks(case, side))
    for row, part in zip(rows, parts, strict=True):
        assert_same(row, part)
    assert_same(concat(rows, side=side), joined)


@every_class_on_each_side
def test_unpad_undoes_pad(case: Case, side: str):
    output = prompts(case)[1]
    has_encoder = any(name.startswith(("encoder_", "cross_")) for name in output)
    wanted = {"seq": 9, "enc_seq": 7} if has_encoder else {"seq": 9}
    longer = pad(output, side=side, **wanted)
    check_where_possible(case, longer)
    present = np.array([[1] * 5 + [0] * 4]), np.array([[1] * 4 + [0] * 3])
    step = 1 if side == "right" else -1
    [row] = unpad(longer, *(mask[:, ::step] for mask in present))
    assert_same(row, output)
    no_rows = of_rows(make(case, layers=1, batch=0, seq=9, past=9, max_length=5, enc_seq=7, **SMALL))
    assert_same(concat([no_rows, output], side=side), longer)


# -- caches -----------------------------------------------------------------------------------------------------------


def cross_cache(kind: str, rows: int, past: int, enc_seq: int, seed: int) -> Any:
    """Return a cache of one layer that holds an encoder's keys and values too."""
    rng = np.random.default_rng(seed)
    stacks = [rng.standard_normal((2, rows, 2, length, 3), dtype=np.float32) for length in (past, enc_seq)]
    if kind == "tensorflow":
        return [tuple(like(stack, kind) for stack in stacks)]
    return (tuple(like(part, kind) for stack in stacks for part in stack),)


@each_side
@pytest.mark.parametrize(
    "case",
    [
        pytest.param((framework.prefix + "BaseModelOutputWithPastAndCrossAttentions", name), id=name, marks=needs(name))
        for name, framework in FRAMEWORKS.items()
    ],
)
def test_caches_with_encoder_keys_are_padded_by_both_lengths(case: Case, side: str):
    parts: list[Any] = []
    for i, (rows, past, enc_seq) in enumerate([(2, 3, 5), (1, 4, 2)]):
        output = make(case, layers=1, batch=rows, seq=past, past=past, enc_seq=enc_seq, seed=i, **SMALL)
        parts.append(output.replace(past_key_values=cross_cache(case[1], rows, past, enc_seq, i)).check())
    joined = concat(parts, side=side).check()
    assert {array.shape[-2] for place, array in leaves(joined).items() if ".past_key_values" in place} == {4, 5}
    mask = np.array([[1, 1, 1, 0]] * 2 + [[1] * 4])
    encoder_mask = np.array([[1] * 5] * 2 + [[1, 1, 0, 0, 0]])
    step = 1 if side == "right" else -1
    rows = unpad(joined, mask[:, ::step], encoder_mask[:, ::step])
    for row, expected in zip(rows, [*split(parts[0], 1), parts[1]], strict=True):
        assert_same(row, expected)
    assert_same(select(select(joined, [2, 0, 1]), [1, 2, 0]), joined)
    [first, *_] = unpad(joined, mask[:, ::step])
    assert first.cross_attentions[0].shape[2:] == (3, 5)


def static(rows: int, length: int, room: int, *, seed: int = 0, seq: int | None = None, **more: Any) -> Any:
    """Return a Flax output whose cache has room behind the positions that it holds."""
    sizes = {"batch": rows, "seq": length if seq is None else seq, "past": length, "max_length": room, **SMALL}
    return full(class_named("FlaxBaseModelOutputWithPast"), "numpy", layers=1, seed=seed, **sizes, **more)


KEY = "layers.0.cached_key"


@needs_jax
def test_static_caches_are_filled_from_the_front_on_either_side():
    a, b = static(1, 2, 4), static(1, 5, 7, seed=1)
    for side in ("left", "right"):
        cache = concat([a, b], side=side).past_key_values
        assert cache["cache_index"].tolist() == [2, 5]
        assert cache[KEY].shape == (2, 7, 2, 3)
        assert np.array_equal(cache[KEY][0, :4], a.past_key_values[KEY][0])
        assert not cache[KEY][0, 4:].any()
        assert np.array_equal(cache[KEY][1], b.past_key_values[KEY][0])
    longer = pad(a, max_length=6, side="left").past_key_values
    assert np.array_equal(longer[KEY][:, :4], a.past_key_values[KEY])


@needs_jax
@pytest.mark.parametrize(
    ("side", "masks"), [("left", [[0, 0, 0, 1, 1], [1] * 5]), ("right", [[1, 1, 0, 0, 0], [1] * 5])]
)
def test_static_caches_are_cut_to_the_positions_of_a_row(side: str, masks: list[list[int]]):
    parts = [static(1, 2, 4), static(1, 5, 7, seed=1)]
    for row, part, length in zip(unpad(concat(parts, side=side), masks), parts, (2, 5), strict=True):
        cache = row.past_key_values
        assert cache["cache_index"].tolist() == [length]
        assert cache["cache_index"].dtype == np.int32
        assert np.array_equal(cache[KEY], part.past_key_values[KEY][:, :length])
        assert np.array_equal(row.last_hidden_state, part.last_hidden_state)
        assert np.array_equal(row.attentions[0], part.attentions[0])


@needs_jax
def test_static_caches_of_padded_prompts_are_cut_by_the_mask():
    output = static(2, 4, 6)
    [first, second] = unpad(output, [[0, 0, 1, 1], [1, 0, 1, 1]])
    whole = output.past_key_values[KEY]
    assert np.array_equal(first.past_key_values[KEY], whole[:1, 2:4])
    assert np.array_equal(second.past_key_values[KEY], whole[1:, [0, 2, 3]])


@needs_jax
def test_static_caches_of_later_steps_are_cut_by_a_mask_of_all_positions():
    output = static(2, 4, 6, seq=1, absent=["attentions"])
    first, second = unpad(output, [[0, 1, 1, 1], [1, 1, 1, 1]])
    assert np.array_equal(first.past_key_values[KEY], output.past_key_values[KEY][:1, 1:4])
    assert np.array_equal(second.past_key_values[KEY], output.past_key_values[KEY][1:, :4])
    assert np.array_equal(first.last_hidden_state, output.last_hidden_state[:1])


@needs_jax
def test_a_mask_with_more_tokens_than_the_cache_holds_is_refused():
    with pytest.raises(InputError, match=r"^attention_mask has 5 tokens in row 0, but its cache has 4 positions$"):
        unpad(static(1, 4, 6, seq=1, absent=["attentions"]), [[1] * 5])


# -- steps after the first --------------------------------------------------------------------------------------------


def step(rows: int, seq: int, past: int, seed: int = 0) -> Any:
    sizes = {"batch": rows, "seq": seq, "past": past, **SMALL}
    return full(class_named("BaseModelOutputWithPast"), "numpy", layers=1, seed=seed, **sizes)


@needs_torch
def test_later_steps_are_joined_on_the_left():
    parts = [step(1, 1, 4), step(2, 1, 6, seed=1)]
    rows = unpad(concat(parts, side="left"), [[0, 0, 1, 1, 1, 1], [1] * 6, [1] * 6])
    for row, expected in zip(rows, [parts[0], *split(parts[1], 1)], strict=True):
        assert_same(row, expected)


@needs_torch
def test_the_positions_of_a_call_are_the_last_of_its_keys():
    output = step(2, 2, 5)
    first, second = unpad(output, [[0, 1, 1, 1, 1], [1, 1, 0, 1, 0]])
    assert np.array_equal(first.attentions[0], output.attentions[0][:1, :, :, 1:])
    assert np.array_equal(second.attentions[0], output.attentions[0][1:, :, :1][..., [0, 1, 3]])
    assert np.array_equal(second.last_hidden_state, output.last_hidden_state[1:, :1])
    assert np.array_equal(second.past_key_values[0][0], output.past_key_values[0][0][1:, :, [0, 1, 3]])


@needs_torch
def test_logits_of_the_last_positions_only_stay_the_last():
    output = make(("CausalLMOutputWithPast", "numpy"), batch=2, seq=4, past=4, absent=["loss"])
    output = output.replace(logits=output.logits[:, -2:])
    first, second = unpad(output, [[0, 1, 1, 1], [1, 1, 1, 0]])
    assert np.array_equal(first.logits, output.logits[:1])
    assert np.array_equal(second.logits, output.logits[1:, :1])
    assert second.hidden_states[0].shape[1] == 3
    longer = pad(output, seq=7)
    assert longer.logits.shape[1] == 5
    assert longer.hidden_states[0].shape[1] == 7
    assert [row.logits.shape[1] for row in unpad(longer, [[0, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0]])] == [2, 1]


# -- masks ------------------------------------------------------------------------------------------------------------

MASKS: dict[str, tuple[Any, str]] = {
    "of other rows": (np.ones((2, 2)), "attention_mask is f64[2,2]; expected zeros and ones of shape (3, keys)"),
    "1-D": (np.ones(3), "attention_mask is f64[3]; expected zeros and ones of shape (3, keys)"),
    "4-D": (np.ones((3, 1, 1, 2)), "attention_mask is f64[3,1,1,2]; expected zeros and ones of shape (3, keys)"),
    "a number": (1, "attention_mask is 1; expected zeros and ones of shape (3, keys)"),
    "text": ("ab", "attention_mask is 'ab'; expected zeros and ones of shape (3, keys)"),
    "twos": (np.full((3, 2), 2), "attention_mask is i64[3,2]; expected zeros and ones of shape (3, keys)"),
    "NaN": (np.full((3, 2), np.nan), "attention_mask is f64[3,2]; expected zeros and ones of shape (3, keys)"),
    "NaN, 3-D": (
        np.full((3, 1, 2), np.nan),
        "attention_mask is f64[3,1,2]; expected zeros and ones of shape (3, keys)",
    ),
    "added to scores": (np.array([[0, -np.inf]] * 3), "attention_mask is f64[3,2]; expected zeros and ones"),
    "ragged": (
        [[1, 1], [1, 1], [1]],
        "attention_mask is (2 x (2 x 1), (1,)); expected zeros and ones of shape (3, keys)",
    ),
    "too long": (np.ones((3, 4)), "attention_mask has 4 columns; the output's seq is 2 long"),
    "too short": (np.ones((3, 1)), "attention_mask has 1 columns; the output's seq is 2 long"),
    "empty": (np.ones((3, 0)), "attention_mask has 0 columns; the output's seq is 2 long"),
}


@pytest.mark.parametrize("case", MASKS)
def test_invalid_masks_are_refused(case: str):
    mask, message = MASKS[case]
    refused(InputError, f"^{re.escape(message)}", lambda: unpad(scored(3, 2), mask))


@needs_torch
def test_masks_of_other_lengths_are_refused_by_name():
    refused(InputError, "^unpad needs attention_mask, encoder_attention_mask or both$", lambda: unpad(scored(3, 2)))
    output = make(("Seq2SeqModelOutput", "numpy"))
    ones = np.ones
    for calls, message in (
        ((ones((2, 3)),), "^attention_mask has 3 columns; the output's past is 5 long$"),
        ((None, ones((2, 3))), "^encoder_attention_mask has 3 columns; the output's enc_seq is 4 long$"),
        ((None, ones((3, 4))), r"^encoder_attention_mask is f64\[3,4\]; expected zeros and ones of shape \(2, keys\)$"),
    ):
        refused(InputError, message, lambda calls=calls: unpad(output, *calls))


@pytest.mark.parametrize(
    "mask",
    [
        [[1, 0], [1, 1], [0, 1]],
        [[True, False], [True, True], [False, True]],
        np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], np.float16),
        ((1, 0), (1, 1), (0, 1)),
    ],
)
def test_masks_may_be_of_any_type(mask: Any):
    output = scored(3, 2)
    assert [row.ids.tolist() for row in unpad(output, mask)] == [
        [[output.ids[0, 0]]],
        [output.ids[1].tolist()],
        [[output.ids[2, 1]]],
    ]
