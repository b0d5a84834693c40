"""select and split: rows taken apart, put together and reordered; indices of every kind."""

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

from ..support.batches import (
    DISTINCT,
    SMALL,
    Case,
    axes_by_size,
    cases,
    check_where_possible,
    every_class,
    make,
    of_rows,
    refused,
    row_axis,
    scored,
    tokens,
)
from ..support.compare import assert_same, leaves
from ..support.needs import needs_torch


@every_class
def test_split_and_concat_undo_each_other(case: Case):
    output = make(case, batch=5, **SMALL)
    parts = split(output, [2, 0, 3])
    assert [type(part) for part in parts] == [type(output)] * 3
    check_where_possible(case, *parts)
    for sizes, count in (([2, 0, 3], 3), (2, 3), (1, 5), (7, 1)):
        parts = split(output, sizes)
        assert len(parts) == count
        assert_same(concat(parts), of_rows(output))


@every_class
def test_reordered_rows_are_restored_by_the_inverse_order(case: Case):
    output = make(case, batch=4, **SMALL)
    order = np.array([2, 0, 3, 1])
    shuffled = select(output, order)
    check_where_possible(case, shuffled)
    assert_same(select(shuffled, np.argsort(order)), of_rows(output))
    assert_same(shuffled, concat([select(output, [row]) for row in order]))


@every_class
def test_rows_are_selected_in_every_array(case: Case):
    output = make(case, layers=1, **DISTINCT)
    found = leaves(select(output, [2, 0, 2]))
    assert list(found) == list(leaves(of_rows(output)))
    for place, array in leaves(of_rows(output)).items():
        axis = row_axis(axes_by_size(array, DISTINCT))
        assert axis is not None
        several = array.shape[axis] // DISTINCT["batch"]
        entries = [row * several + i for row in (2, 0, 2) for i in range(several)]
        assert np.array_equal(found[place], np.take(array, entries, axis)), place


@pytest.mark.parametrize("case", [case for case in cases() if "MultipleChoice" in case.id])
def test_all_choices_stay_with_their_row(case: Case):
    output = make(case, layers=1, **{**SMALL, "choices": 3}, batch=2, seq=4)
    states = np.asarray(output.hidden_states[0])
    assert np.array_equal(select(output, [1]).hidden_states[0], states[3:])
    assert np.array_equal(select(output, [1, 0]).hidden_states[0], states[[3, 4, 5, 0, 1, 2]])
    assert np.array_equal(split(output, 1)[0].hidden_states[0], states[:3])
    mask = np.zeros((2, 3, 4), int)
    mask[0, 0, 1] = mask[0, 2, 2] = mask[1, :, 0] = 1
    first, second = unpad(output, mask)
    assert np.array_equal(first.hidden_states[0], states[:3, 1:3])
    assert np.array_equal(second.attentions[0], np.asarray(output.attentions[0])[3:, :, :1, :1])
    assert np.array_equal(first.logits, np.asarray(output.logits)[:1])
    assert select(output, []).hidden_states[0].shape == (0, 4, 4)


def test_losses_are_dropped_when_rows_are_selected():
    output = scored(2, 3, loss=np.float32(1))
    several = (select(output, [0, 1]), select(output, slice(None)), *split(output, 1), *unpad(output, np.ones((2, 3))))
    assert all("loss" not in rows for rows in several)
    assert pad(output, seq=4).loss == 1


@needs_torch
def test_parts_share_memory_with_the_whole():
    output = tokens(4, 3, "torch")
    several = (*split(output, 2), select(output, slice(1, 3)), *unpad(output, [[0, 1, 1]] * 4))
    for part in several:
        assert part.logits.untyped_storage().data_ptr() == output.logits.untyped_storage().data_ptr()
    output.logits[0] = 7
    assert split(output, 1)[0].logits.unique().tolist() == [7]
    assert select(output, [0]).logits.data_ptr() != output.logits.data_ptr()
    assert np.shares_memory(split(output.numpy(), 2)[1].logits, output.numpy().logits)


# -- sizes ------------------------------------------------------------------------------------------------------------

SPLITS: dict[str, tuple[Any, str]] = {
    "0": (0, "sizes is 0; expected a number of rows, 1 or more, or one for each part"),
    "negative": (-1, "sizes is -1; expected a number of rows, 1 or more, or one for each part"),
    "float": (1.5, "sizes is 1.5; expected a number of rows, 1 or more, or one for each part"),
    "None": (None, "sizes is None; expected a number of rows, 1 or more, or one for each part"),
    "floats": (
        [1.0, 2.0],
        "sizes is (1.0, 2.0); expected a number of rows, 1 or more, or one for each part",
    ),
    "text": ("3", "sizes is '3'; expected a number of rows, 1 or more, or one for each part"),
    "too many": ([2, 2], "sizes [2, 2] add up to 4; the output has 3 rows"),
    "too few": ([], "sizes [] add up to 0; the output has 3 rows"),
    "below 0": ([-1, 4], "sizes [-1, 4] add up to 3; the output has 3 rows"),
}


@pytest.mark.parametrize("case", SPLITS)
def test_invalid_sizes_are_refused(case: str):
    sizes, message = SPLITS[case]
    refused(InputError, f"^{re.escape(message)}$", lambda: split(scored(3, 2), sizes))


@pytest.mark.parametrize(
    "sizes", [np.int64(2), np.array(2), [2, 1], (2, 1), np.array([2, 1]), iter([2, 1]), (n for n in [np.int32(2), 1])]
)
def test_sizes_are_any_integers(sizes: Any):
    assert [len(part.logits) for part in split(scored(3, 2), sizes)] == [2, 1]


# -- indices ----------------------------------------------------------------------------------------------------------

ROWS_ARE = "; expected a slice, 1-D indices or one boolean for each row"

SELECTIONS: dict[str, tuple[Any, str]] = {
    "an integer": (1, f"rows is 1{ROWS_ARE}"),
    "0-d": (np.array(1), f"rows is i64[]{ROWS_ARE}"),
    "None": (None, f"rows is None{ROWS_ARE}"),
    "text": ("ab", f"rows is 'ab'{ROWS_ARE}"),
    "floats": ([0.0], f"rows is (0.0,){ROWS_ARE}"),
    "a float array": (np.ones(2), f"rows is f64[2]{ROWS_ARE}"),
    "2-D": ([[0]], f"rows is ((0,),){ROWS_ARE}"),
    "a 2-D mask": (np.ones((3, 1), bool), f"rows is bool[3,1]{ROWS_ARE}"),
    "ragged": ([[0], [1, 2]], "rows is ("),
    "too large": ([0, 3], "rows range from 0 to 3; the output has 3 rows"),
    "too small": ([-4], "rows range from -4 to -4; the output has 3 rows"),
    "few booleans": ([True, False], "rows has 2 booleans; the output has 3 rows"),
    "no booleans": (np.zeros(0, bool), "rows has 0 booleans; the output has 3 rows"),
    "a slice of text": (slice("a"), "rows is slice(None, 'a', None); slice indices must be integers"),
    "a slice of step 0": (slice(None, None, 0), "rows is slice(None, None, 0); slice step cannot be zero"),
    "huge": ([2**70], f"rows is (1180591620717411303424,){ROWS_ARE}"),
}


@pytest.mark.parametrize("case", SELECTIONS)
def test_invalid_rows_are_refused(case: str):
    rows, message = SELECTIONS[case]
    refused(InputError, f"^{re.escape(message)}", lambda: select(scored(3, 2), rows))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([0, 2], [0, 2]),
        ((2, 2, 0), [2, 2, 0]),
        ([-1, -3], [2, 0]),
        (range(1, 3), [1, 2]),
        (iter([1]), [1]),
        (np.array([2, 0], np.uint8), [2, 0]),
        (np.array([-1], np.int8), [2]),
        ([True, False, True], [0, 2]),
        (np.array([False, True, False]), [1]),
        ([False] * 3, []),
        ([], []),
        (np.zeros(0), []),
        (slice(None), [0, 1, 2]),
        (slice(1, None), [1, 2]),
        (slice(-1, None), [2]),
        (slice(2, 1), []),
        (slice(5, 9), []),
        (slice(None, None, -1), [2, 1, 0]),
        (slice(None, None, 2), [0, 2]),
    ],
)
def test_rows_are_given_in_many_ways(rows: Any, expected: list[int]):
    output = scored(3, 2)
    found = select(output, rows)
    assert np.array_equal(found.ids, output.ids[expected])
    assert found.logits.shape == (len(expected), 2, 2)
