"""concat: every array joined as by hand, losses, and outputs that cannot be joined."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float

from modeloutputs import (
    ALWAYS,
    ContractError,
    ModelOutput,
    UsageError,
    concat,
    select,
)

from ..support.batches import (
    DISTINCT,
    OTHER,
    Array,
    Case,
    Scored,
    axes_by_size,
    check_where_possible,
    every_class,
    like,
    make,
    refused,
    row_axis,
    scored,
    users_output,
)
from ..support.compare import assert_same, leaves
from ..support.needs import needs, needs_torch

SIDES: dict[str, Any] = {"right": "right", "left": "left", "both": {"past": "left", "enc_seq": "left"}}


def joined_by_hand(place: str, parts: Sequence[Array], names: Sequence[str], side: Any) -> Array:
    """Join arrays after putting each into one of the longest shape."""
    if not names:
        return np.array([array.item() for array in parts], parts[0].dtype)
    rows = row_axis(names) or 0  # a list of losses has no other axis
    longest = [max(array.shape[axis] for array in parts) for axis in range(len(names))]
    pieces: list[Array] = []
    for array in parts:
        shape = [array.shape[axis] if axis == rows else size for axis, size in enumerate(longest)]
        piece = np.full(shape, -math.inf if place in (".start_logits", ".end_logits") else 0, array.dtype)
        inside: list[slice] = []
        for name, length, size in zip(names, array.shape, shape, strict=True):
            on_left = name != "max_length" and (side if isinstance(side, str) else side.get(name)) == "left"
            inside.append(slice(size - length, size) if on_left else slice(0, length))
        piece[tuple(inside)] = array
        pieces.append(piece)
    return np.concatenate(pieces, rows)


@every_class
@pytest.mark.parametrize("side", SIDES)
def test_ragged_parts_are_joined_as_by_hand(case: Case, side: str):
    parts = [make(case, layers=1, **DISTINCT), make(case, layers=1, seed=1, **OTHER)]
    joined = concat(iter(parts), side=SIDES[side])
    check_where_possible(case, joined)
    assert type(joined) is type(parts[0])
    padded = [leaves(part) for part in parts]
    found = leaves(joined)
    assert list(found) == list(padded[0])
    for place, array in found.items():
        of_parts = [part[place] for part in padded]
        names = axes_by_size(of_parts[0], DISTINCT)
        assert names == axes_by_size(of_parts[1], OTHER)
        expected = joined_by_hand(place, of_parts, names, SIDES[side])
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected), place


# -- losses -----------------------------------------------------------------------------------------------------------


def test_losses_are_listed_however_often_outputs_are_joined():
    a, b, c = (scored(1, 2, loss=np.float32(i)) for i in range(3))
    for joined in (
        concat([a, b, c]),
        concat([concat([a, b]), c]),
        concat([a, concat([b, c])]),
        concat([concat([a]), concat([b, c])]),
    ):
        assert joined.loss.tolist() == [0, 1, 2]
        assert joined.loss.dtype == np.float32
        assert joined.check() is joined
    assert concat([a]).loss.shape == (1,)


LOSSES = {
    ("CausalLMOutput", "torch"): ((), (), [0, 1]),
    ("TFCausalLMOutput", "tensorflow"): ((2,), (3,), [0, 0, 1, 1, 1]),
    ("TFSequenceClassifierOutput", "tensorflow"): ((2,), (1,), [0, 0, 1]),
    ("TFSeq2SeqSequenceClassifierOutput", "tensorflow"): ((1,), (1,), [0, 1]),
}


@pytest.mark.parametrize("case", [pytest.param(case, marks=needs(case[1]), id=case[0]) for case in LOSSES])
def test_losses_of_every_shape_are_joined(case: Case):
    first, second, expected = LOSSES[case]
    rows = (2, 1)
    parts = [
        make(case, batch=count).replace(loss=like(np.full(shape, i, np.float32), case[1]))
        for i, (shape, count) in enumerate(zip((first, second), rows, strict=True))
    ]
    for joined in (concat(parts), concat([concat(parts[:1]), parts[1]])):
        assert np.asarray(joined.loss).tolist() == expected
        assert joined.check() is joined


def test_a_scalar_loss_becomes_a_list_without_being_declared_as_one():
    class Own(ModelOutput):
        loss: Float[Array, ""] | None = None
        logits: Float[Array, "batch"] = ALWAYS

    a, b = Own(loss=np.float32(1), logits=np.ones(2)), Own(loss=np.float32(2), logits=np.zeros(1))
    assert concat([concat([a, b]), a]).loss.tolist() == [1, 2, 1]
    assert "loss" not in select(concat([a, b]), [0])


def test_fields_without_a_row_axis_cannot_be_joined():
    class Own(ModelOutput):
        logits: Float[Array, "batch"] = ALWAYS
        table: Float[Array, "vocab hidden"] | None = None

    output = Own(logits=np.ones(2), table=np.ones((3, 4)))
    with pytest.raises(
        ContractError, match=re.escape("table (vocab hidden) has no axis 'batch', so it cannot be joined; drop it")
    ):
        concat([output, output])
    assert list(select(output, [0])) == ["logits"]


# -- outputs that differ ----------------------------------------------------------------------------------------------


@needs_torch
def test_outputs_with_different_numbers_of_choices_are_not_joined():
    parts = [make(("MultipleChoiceModelOutput", "numpy"), choices=n, absent=["loss"]) for n in (2, 3)]
    with pytest.raises(
        ContractError, match=r"^logits: choices is 2 in outputs\[0\] and 3 in outputs\[1\]; only enc_seq"
    ):
        concat(parts)


def test_settings_must_agree():
    with pytest.raises(
        UsageError, match=r"^mode is 'mean' in outputs\[0\] and 'sum' in outputs\[1\]; outputs can be joined only"
    ):
        concat([users_output(1, 2), users_output(1, 2, mode="sum")])
    with pytest.raises(UsageError, match=r"^settings\.top is 3 in outputs\[0\] and 4 in outputs\[1\]"):
        concat([users_output(1, 2), users_output(1, 2).replace(settings={"top": 4, "names": ("x", None)})])
    missing = float("nan")
    assert concat([users_output(1, 2).replace(settings={"top": missing})] * 2).settings["top"] is missing


def test_keys_of_a_mapping_may_come_in_any_order():
    other = users_output(1, 2, seed=1)
    joined = concat([users_output(1, 2), other.replace(named=dict(reversed(other.named.items())))])
    assert_same(joined, concat([users_output(1, 2), other]))


def test_entries_per_row_must_agree():
    parts = [users_output(2, 1), users_output(1, 1)]
    parts[1].pairs = np.ones((1, 3))
    message = (
        r"^pairs: batch\*2 has 2 for each row in outputs\[0\] and 1 in outputs\[1\]; only enc_seq, .* can be padded$"
    )
    with pytest.raises(ContractError, match=message):
        concat(parts)
    parts[0].pairs = np.ones((3, 3))
    with pytest.raises(ContractError, match=r"^pairs has 3 entries for 2 rows; expected a multiple$"):
        select(parts[0], [0])


TWO = "; outputs can be joined only with the same layers in each$"

JOINED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "none": (list, UsageError, "^outputs is empty; pass at least one output$"),
    "one output": (lambda: scored(1, 2), UsageError, "^concat was given one Scored; pass a list of outputs$"),
    "not an output": (
        lambda: [scored(1, 2), None],
        UsageError,
        r"^outputs\[1\] is a NoneType; expected outputs of one",
    ),
    "of dicts": (lambda: [{}], UsageError, r"^outputs\[0\] is a dict; expected outputs of one class$"),
    "classes": (
        lambda: [scored(1, 2), users_output(1, 2)],
        UsageError,
        r"^outputs\[1\] is a UsersOutput and outputs\[0\] a Scored$",
    ),
    "subclass": (
        lambda: [scored(1, 2), type("Sub", (Scored,), {})(**scored(1, 2))],
        UsageError,
        r"^outputs\[1\] is a Sub and outputs\[0\] a Scored$",
    ),
    "fields": (
        lambda: [scored(1, 2).replace(ids=None, kept=None), scored(1, 2)],
        UsageError,
        r"^outputs\[1\] has ids but outputs\[0\] does not; drop it, or return it from every call$",
    ),
    "fields of the third": (
        lambda: [scored(1, 2), scored(1, 2), scored(1, 2).replace(kept=None)],
        UsageError,
        r"^outputs\[0\] has kept but outputs\[2\] does not; drop it, or return it from every call$",
    ),
    "dtypes": (
        lambda: [scored(1, 2), scored(1, 2).to("float16")],
        UsageError,
        r"^logits is f32\[1,2,2\] of numpy in outputs\[0\] and f16\[1,2,2\] of numpy in outputs\[1\]; "
        r"bring them together with .to\(\) or convert\(\)$",
    ),
    "labels": (
        lambda: [scored(1, 2), scored(1, 2).replace(logits=np.ones((1, 2, 9), np.float32))],
        ContractError,
        r"^logits: labels is 2 in outputs\[0\] and 9 in outputs\[1\]; only enc_seq, max_length, new, past, seq, total ",
    ),
    "layers": (
        lambda: [users_output(1, 2), users_output(1, 2).replace(frames=[np.ones((1, 2))])],
        UsageError,
        r"^frames is 2 x f64\[1,2\] in outputs\[0\] and \(f64\[1,2\],\) in outputs\[1\]" + TWO,
    ),
    "list and tuple": (
        lambda: [users_output(1, 2), users_output(1, 2).replace(frames=(np.ones((1, 2)),) * 2)],
        UsageError,
        r"^frames is 2 x f64\[1,2\] in outputs\[0\] and 2 x f64\[1,2\] in outputs\[1\]" + TWO,
    ),
    "keys": (
        lambda: [users_output(1, 2), users_output(1, 2).replace(named={"a": np.ones((2, 1)), "c": np.ones((2, 1))})],
        UsageError,
        r"^named is \{a: f64\[2,1\], b: f64\[2,1\]\} in outputs\[0\] and \{a: .*, c: .*\} in outputs\[1\]" + TWO,
    ),
    "inner outputs": (
        lambda: [users_output(1, 2), users_output(1, 2).replace(inner=scored(1, 2))],
        UsageError,
        r"^outputs\[1\] is a Scored and outputs\[0\] a Inner$",
    ),
    "ranks": (
        lambda: [users_output(1, 2), users_output(1, 2).replace(both=np.ones((1, 2)))],
        UsageError,
        r"^both is f64\[1\] in outputs\[0\] and f64\[1,2\] in outputs\[1\]" + TWO,
    ),
    "an array and none": (
        lambda: [users_output(1, 2).replace(pairs=None), users_output(1, 2).replace(pairs=None, both="x")],
        UsageError,
        r"^both is f64\[1\] in outputs\[0\] and 'x' in outputs\[1\]" + TWO,
    ),
}


@pytest.mark.parametrize("case", JOINED)
def test_outputs_that_cannot_be_joined_are_refused(case: str):
    outputs, error, message = JOINED[case]
    refused(error, message, lambda: concat(outputs()))


@needs_torch
def test_different_frameworks_and_devices_are_not_joined():
    output = make(("BaseModelOutput", "torch"))
    refused(
        UsageError,
        r"^last_hidden_state is f32\[2,3,48\] of torch on cpu in outputs\[0\] and f32\[2,3,48\] of numpy in outputs",
        lambda: concat([output, output.numpy()]),
    )
    refused(
        UsageError,
        r"^last_hidden_state is .* of torch on cpu in outputs\[0\] and .* of torch on meta in outputs\[1\]; bring them",
        lambda: concat([output, output.to("meta")]),
    )
    gap = output.replace(hidden_states=(None, output.hidden_states[1]))
    refused(
        UsageError,
        r"^hidden_states\.0 is f32\[2,3,48\] in outputs\[0\] and None in outputs\[1\]" + TWO,
        lambda: concat([output, gap]),
    )
    refused(
        UsageError,
        r"^hidden_states\.0 is None in outputs\[0\] and f32\[2,3,48\] in outputs\[1\]; outputs can be joined only",
        lambda: concat([gap, output]),
    )
