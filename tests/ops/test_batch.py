"""concat, select, split, pad and unpad: of all 52 classes, in every framework, held against arrays padded by hand."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from jaxtyping import Bool, Float, Int

from modeloutputs import (
    ALWAYS,
    ContractError,
    InputError,
    ModelOutput,
    UsageError,
    concat,
    pad,
    select,
    split,
    unpad,
)
from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.output.contract import field_contracts

from ..support.compare import assert_same, leaves
from ..support.needs import needs, needs_jax, needs_tensorflow, needs_torch
from ..support.random_outputs import class_named, framework_of, full
from ..support.spec_checks import PAGE

Array = np.ndarray[Any, Any]
Case = tuple[str, str]
"""The name of a class, and whose arrays it holds."""


def cases() -> Iterator[Any]:
    """Give every class with its own framework's arrays and with NumPy's."""
    for framework, classes in PAGE.items():
        for name in classes:
            for kind in (framework, "numpy"):
                yield pytest.param((name, kind), id=f"{name}-{kind}", marks=needs(framework))


every_class = pytest.mark.parametrize("case", list(cases()))
each_side = pytest.mark.parametrize("side", ["left", "right"])

SMALL = {"heads": 2, "enc_heads": 3, "kv_heads": 2, "head_dim": 3, "hidden": 4, "vocab": 5, "labels": 3, "choices": 2}


def make(case: Case, **settings: Any) -> Any:
    return full(class_named(case[0]), case[1], **settings)


def of_rows(output: Any) -> Any:
    """Return the output without what its rows do not make up: a loss stays where there is one for each row."""
    axes = {contract.name: contract.axes for contract in field_contracts(type(output))}
    return output.copy() if axes.get("loss", "(batch)") == "(batch)" else output.replace(loss=None)


def check_where_possible(case: Case, *outputs: Any) -> None:
    """Hold outputs against their class, which is of its own framework's arrays."""
    if case[1] == framework_of(case[0]).name:
        for output in outputs:
            output.check()


# -- one batch, taken apart and put together ------------------------------------------------------------------------


@every_class
def test_what_is_split_and_joined_is_what_it_was(case: Case):
    output = make(case, batch=5, **SMALL)
    parts = split(output, [2, 0, 3])
    assert [type(part) for part in parts] == [type(output)] * 3
    check_where_possible(case, *parts)
    for sizes, count in (([2, 0, 3], 3), (2, 3), (1, 5), (7, 1)):
        parts = split(output, sizes)
        assert len(parts) == count
        assert_same(concat(parts), of_rows(output))


@every_class
def test_rows_that_are_reordered_come_back(case: Case):
    output = make(case, batch=4, **SMALL)
    order = np.array([2, 0, 3, 1])
    shuffled = select(output, order)
    check_where_possible(case, shuffled)
    assert_same(select(shuffled, np.argsort(order)), of_rows(output))
    assert_same(shuffled, concat([select(output, [row]) for row in order]))


# -- every array padded by hand -------------------------------------------------------------------------------------

# No two axes are of one length, so that an array's shape says which it has. 1 and 2 stand in annotations themselves.
DISTINCT = {
    "heads": 4,
    "enc_heads": 6,
    "kv_heads": 8,
    "head_dim": 9,
    "hidden": 10,
    "vocab": 12,
    "labels": 13,
    "choices": 14,
    "batch": 3,
    "seq": 5,
    "past": 7,
    "enc_seq": 11,
    "max_length": 15,
    "n": 16,
}
OTHER = {**DISTINCT, "batch": 5, "seq": 3, "past": 17, "enc_seq": 7, "max_length": 19, "n": 18}
SIDES: dict[str, Any] = {"right": "right", "left": "left", "both": {"past": "left", "enc_seq": "left"}}


def axes_by_size(array: Array, sizes: Mapping[str, int]) -> list[str]:
    """Tell an array's axes from its shape alone."""
    names = {size: name for name, size in sizes.items()}
    names |= {sizes["batch"] * sizes["choices"]: "batch*choices", 1: "1", 2: "2"}
    return [names[size] for size in array.shape]


def row_axis(names: Sequence[str]) -> int | None:
    return next((axis for axis, name in enumerate(names) if name.startswith("batch")), None)


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
        for name, own, size in zip(names, array.shape, shape, strict=True):
            on_left = name != "max_length" and (side if isinstance(side, str) else side.get(name)) == "left"
            inside.append(slice(size - own, size) if on_left else slice(0, own))
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


@every_class
def test_rows_are_chosen_from_each_array(case: Case):
    output = make(case, layers=1, **DISTINCT)
    found = leaves(select(output, [2, 0, 2]))
    assert list(found) == list(leaves(of_rows(output)))
    for place, array in leaves(of_rows(output)).items():
        axis = row_axis(axes_by_size(array, DISTINCT))
        assert axis is not None
        several = array.shape[axis] // DISTINCT["batch"]
        entries = [row * several + i for row in (2, 0, 2) for i in range(several)]
        assert np.array_equal(found[place], np.take(array, entries, axis)), place


# -- padding put in and taken out -----------------------------------------------------------------------------------

LENGTHS = [(3, 2), (5, 4), (1, 3), (5, 1)]
"""Of the sequence and of the encoder's, of each part."""


def prompts(case: Case) -> list[Any]:
    """Return outputs of first calls, each of one row: every position is computed in it, and a cache has no more."""
    return [
        of_rows(make(case, layers=1, batch=1, seq=n, past=n, max_length=n, enc_seq=m, seed=i, **SMALL))
        for i, (n, m) in enumerate(LENGTHS)
    ]


def masks(case: Case, side: str) -> tuple[Any, Any]:
    """Return the masks of the positions and of the encoder's."""
    found: list[Any] = []
    for lengths in zip(*LENGTHS, strict=True):
        place = np.arange(max(lengths))
        rows = [place < n if side == "right" else place >= max(lengths) - n for n in lengths]
        found.append(np.array(rows, np.int64))
    if "MultipleChoice" in case[0]:
        found[0] = np.stack([found[0]] * SMALL["choices"], 1)
        found[0][1, 0, 2] = 0  # one choice of a row is shorter than the other
    return found[0], found[1]


@every_class
@each_side
def test_rows_freed_of_padding_are_the_parts_and_join_to_the_same(case: Case, side: str):
    parts = prompts(case)
    joined = concat(parts, side=side)
    rows = unpad(joined, *masks(case, side))
    for row, part in zip(rows, parts, strict=True):
        assert_same(row, part)
    assert_same(concat(rows, side=side), joined)


@every_class
@each_side
def test_what_is_padded_and_freed_is_what_it_was(case: Case, side: str):
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


def with_gaps(value: Any) -> Any:
    """Put a placeholder in front of what a field holds for its layers."""
    return (None, *value) if isinstance(value, tuple) and not isinstance(value[0], tuple) else value


@every_class
def test_placeholders_stay_where_they_are(case: Case):
    parts = [part.replace(**{name: with_gaps(value) for name, value in part.items()}) for part in prompts(case)]
    gaps = [place for place, array in leaves(parts[0]).items() if array is None]
    assert gaps
    joined = concat(parts, side="left")
    rows = unpad(joined, *masks(case, "left"))
    several = (joined, *rows, *split(joined, 3), select(joined, [1]), pad(joined, seq=8))
    for output in several:
        assert [place for place, array in leaves(output).items() if array is None] == gaps
    for row, part in zip(rows, parts, strict=True):
        assert_same(row, part)


# -- losses and what else is of the batch ---------------------------------------------------------------------------


class Scored(ModelOutput):
    loss: Float[Array, ""] | Float[Array, "parts"] | None = None
    logits: Float[Array, "batch seq labels"] = ALWAYS
    ids: Int[Array, "batch seq"] | None = None
    kept: Bool[Array, "batch seq"] | None = None
    mode: str | None = None


def scored(*shape: int, seed: int = 0, **fields: Any) -> Scored:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((*shape, 2), dtype=np.float32)
    return Scored(logits=logits, ids=rng.integers(1, 9, shape), kept=np.ones(shape, bool), **fields)


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


def test_losses_are_gone_where_rows_are_chosen():
    output = scored(2, 3, loss=np.float32(1))
    several = (select(output, [0, 1]), select(output, slice(None)), *split(output, 1), *unpad(output, np.ones((2, 3))))
    assert all("loss" not in rows for rows in several)
    assert pad(output, seq=4).loss == 1


LOSSES = {
    ("CausalLMOutput", "torch"): ((), (), [0, 1]),
    ("TFCausalLMOutput", "tensorflow"): ((2,), (3,), [0, 0, 1, 1, 1]),
    ("TFSequenceClassifierOutput", "tensorflow"): ((2,), (1,), [0, 0, 1]),
    ("TFSeq2SeqSequenceClassifierOutput", "tensorflow"): ((1,), (1,), [0, 1]),
}


@pytest.mark.parametrize("case", [pytest.param(case, marks=needs(case[1]), id=case[0]) for case in LOSSES])
def test_losses_of_each_form_are_joined(case: Case):
    first, second, expected = LOSSES[case]
    rows = (2, 1)
    parts = [
        make(case, batch=count).replace(loss=like(np.full(shape, i, np.float32), case[1]))
        for i, (shape, count) in enumerate(zip((first, second), rows, strict=True))
    ]
    for joined in (concat(parts), concat([concat(parts[:1]), parts[1]])):
        assert np.asarray(joined.loss).tolist() == expected
        assert joined.check() is joined


def like(values: Any, kind: str) -> Any:
    from ..support.random_outputs import array

    return array(np.asarray(values), kind)


def test_a_class_that_has_one_number_alone_is_joined_all_the_same():
    class Own(ModelOutput):
        loss: Float[Array, ""] | None = None
        logits: Float[Array, "batch"] = ALWAYS

    a, b = Own(loss=np.float32(1), logits=np.ones(2)), Own(loss=np.float32(2), logits=np.zeros(1))
    assert concat([concat([a, b]), a]).loss.tolist() == [1, 2, 1]
    assert "loss" not in select(concat([a, b]), [0])


def test_what_has_several_axes_and_no_rows_cannot_be_joined():
    class Own(ModelOutput):
        logits: Float[Array, "batch"] = ALWAYS
        table: Float[Array, "vocab hidden"] | None = None

    output = Own(logits=np.ones(2), table=np.ones((3, 4)))
    with pytest.raises(
        ContractError, match=re.escape("table (vocab hidden) has no axis 'batch', so it cannot be joined; drop it")
    ):
        concat([output, output])
    assert list(select(output, [0])) == ["logits"]


# -- what padding holds ---------------------------------------------------------------------------------------------


def test_padding_is_zero_false_or_what_is_said():
    parts = [scored(1, 1), scored(1, 2)]
    joined = concat(parts)
    assert joined.logits[0, 1].tolist() == [0, 0]
    assert joined.ids[0, 1] == 0
    assert joined.kept.tolist() == [[True, False], [True, True]]
    said = concat(parts, padding={"ids": -100, "logits": -math.inf}, side="left")
    assert said.ids[0].tolist() == [-100, parts[0].ids[0, 0]]
    assert said.logits[0, 0].tolist() == [-math.inf] * 2
    assert said.kept[0].tolist() == [False, True]
    assert pad(parts[0].replace(kept=None), seq=3, padding=7).ids[0, 1:].tolist() == [7, 7]


@pytest.mark.parametrize("case", [case for case in cases() if "QuestionAnswering" in case.id])
def test_no_answer_begins_or_ends_in_padding(case: Case):
    parts = [make(case, batch=1, seq=n, seed=n) for n in (2, 5)]
    for joined in (concat(parts), pad(parts[0], seq=5)):
        for name in ("start_logits", "end_logits"):
            logits = np.asarray(joined[name])[0]
            assert logits[2:].tolist() == [-math.inf] * 3
            assert np.array_equal(logits[:2], np.asarray(parts[0][name])[0])
    assert np.asarray(concat(parts, padding=0).start_logits)[0, 2:].tolist() == [0, 0, 0]
    by_field = concat(parts, padding={"end_logits": 1})
    assert np.asarray(by_field.end_logits)[0, 2:].tolist() == [1, 1, 1]
    assert np.asarray(by_field.start_logits)[0, 2:].tolist() == [-math.inf] * 3


@pytest.mark.parametrize(
    ("field", "padding"), [("ids", -math.inf), ("ids", math.nan), ("ids", 0.5), ("ids", 2**64), ("kept", -100)]
)
def test_padding_that_an_array_cannot_hold_is_refused(field: str, padding: float):
    message = f"{field} is .*, which cannot hold a padding of {padding}; pass padding={{'{field}': ...}}$"
    with pytest.raises(InputError, match=message):
        pad(scored(1, 2), seq=3, padding={field: padding})
    with pytest.raises(InputError, match=message):
        concat([scored(1, 2), scored(1, 3)], padding={field: padding})
    assert concat([scored(1, 2)] * 2, padding={field: padding}).ids.shape == (2, 2)  # nothing is padded


# -- aliases --------------------------------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "concat": lambda output: concat([output, output]),
    "ragged": lambda output: concat([output, pad(output, seq=9)]),
    "select": lambda output: select(output, [1]),
    "slice": lambda output: select(output, slice(1)),
    "split": lambda output: split(output, 1)[1],
    "pad": lambda output: pad(output, seq=9),
    "unpad": lambda output: unpad(output, [[0, 1, 1], [1, 0, 1]])[1],
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "case",
    [
        pytest.param((name, kind), id=kind, marks=needs(kind if kind != "numpy" else "torch"))
        for name, kind in (
            ("BaseModelOutput", "torch"),
            ("BaseModelOutput", "numpy"),
            ("TFBaseModelOutput", "tensorflow"),
            ("FlaxBaseModelOutput", "jax"),
        )
    ],
)
def test_the_last_hidden_state_stays_the_last_of_the_hidden_states(case: Case, operation: str):
    output = make(case)
    output.last_hidden_state = output.hidden_states[-1]
    found = OPERATIONS[operation](output)
    assert found.last_hidden_state is found.hidden_states[-1]
    assert found.hidden_states[0] is not found.hidden_states[1]


def test_one_array_under_axes_of_two_names_is_treated_as_each():
    class Both(ModelOutput):
        states: Float[Array, "batch seq"] = ALWAYS
        encoder_states: Float[Array, "batch enc_seq"] = ALWAYS

    same = np.arange(6.0).reshape(2, 3)
    output = Both(states=same, encoder_states=same)
    longer = pad(output, seq=4)
    assert longer.states.shape == (2, 4)
    assert longer.encoder_states is same
    [first, _] = unpad(output, [[1, 0, 0], [1, 1, 1]], [[0, 1, 1], [1, 1, 1]])
    assert first.states.tolist() == [[0]]
    assert first.encoder_states.tolist() == [[1, 2]]


# -- caches ---------------------------------------------------------------------------------------------------------


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
def test_caches_that_hold_an_encoder_are_padded_by_both_lengths(case: Case, side: str):
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
def test_static_caches_keep_their_positions_in_front_whatever_the_side():
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
def test_static_caches_are_cut_to_a_rows_positions_and_say_how_many(side: str, masks: list[list[int]]):
    parts = [static(1, 2, 4), static(1, 5, 7, seed=1)]
    for row, part, length in zip(unpad(concat(parts, side=side), masks), parts, (2, 5), strict=True):
        cache = row.past_key_values
        assert cache["cache_index"].tolist() == [length]
        assert cache["cache_index"].dtype == np.int32
        assert np.array_equal(cache[KEY], part.past_key_values[KEY][:, :length])
        assert np.array_equal(row.last_hidden_state, part.last_hidden_state)
        assert np.array_equal(row.attentions[0], part.attentions[0])


@needs_jax
def test_static_caches_of_padded_prompts_are_cut_where_the_mask_says():
    output = static(2, 4, 6)
    [first, second] = unpad(output, [[0, 0, 1, 1], [1, 0, 1, 1]])
    whole = output.past_key_values[KEY]
    assert np.array_equal(first.past_key_values[KEY], whole[:1, 2:4])
    assert np.array_equal(second.past_key_values[KEY], whole[1:, [0, 2, 3]])


@needs_jax
def test_static_caches_of_later_steps_are_cut_by_a_mask_of_all_positions():
    output = static(2, 4, 6, seq=1, absent=["attentions"])
    for masks in ([[0, 1, 1, 1], [1, 1, 1, 1]],):
        first, second = unpad(output, masks)
        assert np.array_equal(first.past_key_values[KEY], output.past_key_values[KEY][:1, 1:4])
        assert np.array_equal(second.past_key_values[KEY], output.past_key_values[KEY][1:, :4])
        assert np.array_equal(first.last_hidden_state, output.last_hidden_state[:1])


@needs_jax
def test_a_mask_with_more_tokens_than_the_cache_holds_is_refused():
    with pytest.raises(InputError, match=r"^attention_mask has 5 tokens in row 0, but its cache has 4 positions$"):
        unpad(static(1, 4, 6, seq=1, absent=["attentions"]), [[1] * 5])


# -- multiple choice ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in cases() if "MultipleChoice" in case.id])
def test_all_choices_of_a_row_go_with_it(case: Case):
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


@needs_torch
def test_outputs_of_other_choices_are_not_joined():
    parts = [make(("MultipleChoiceModelOutput", "numpy"), choices=n, absent=["loss"]) for n in (2, 3)]
    with pytest.raises(
        ContractError, match=r"^logits: choices is 2 in outputs\[0\] and 3 in outputs\[1\]; only enc_seq"
    ):
        concat(parts)


# -- steps after the first ------------------------------------------------------------------------------------------


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
def test_logits_of_the_last_positions_alone_stay_the_last():
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


# -- classes of users -----------------------------------------------------------------------------------------------


class Inner(ModelOutput):
    points: Float[Array, "batch seq"] = ALWAYS


class Own(ModelOutput):
    boxes: Float[Array, "batch boxes 4"] = ALWAYS
    frames: list[Float[Array, "batch seq"]] | None = None
    named: dict[str, Float[Array, "seq batch"]] | None = None
    inner: Inner | None = None
    rest: Float[Array, "batch seq ..."] | None = None
    any_rank: Float[Array, "batch *sizes"] | None = None
    pairs: Float[Array, "batch*2 hidden"] | None = None
    both: Float[Array, "batch seq"] | Float[Array, "batch"] | None = None
    mode: str = "mean"
    settings: dict[str, Any] | None = None


def own(rows: int, seq: int, seed: int = 0, **changes: Any) -> Own:
    rng = np.random.default_rng(seed)
    return Own(
        boxes=rng.random((rows, 5, 4)),
        frames=[rng.random((rows, seq)), rng.random((rows, seq))],
        named={"a": rng.random((seq, rows)), "b": rng.random((seq, rows))},
        inner=Inner(points=rng.random((rows, seq))),
        rest=rng.random((rows, seq, 2, 3)),
        any_rank=rng.random((rows, 2, 2)),
        pairs=rng.random((rows * 2, 3)),
        both=rng.random(rows),
        settings={"top": 3, "names": ("x", None)},
        **changes,
    )


def test_a_users_class_is_treated_by_its_own_axes():
    parts = [own(1, 2), own(2, 3, seed=1)]
    joined = concat(parts).check()
    assert joined.named["a"].shape == (3, 3)
    assert np.array_equal(joined.named["a"][:2, :1], parts[0].named["a"])
    assert joined.named["a"][2, 0] == 0
    assert joined.rest.shape == (3, 3, 2, 3)
    assert type(joined.frames) is list
    assert type(joined.inner) is Inner
    assert np.array_equal(joined.pairs, np.concatenate([part.pairs for part in parts]))
    assert np.array_equal(joined.both, np.concatenate([part.both for part in parts]))
    assert joined.settings == {"top": 3, "names": ("x", None)}
    assert joined.mode == "mean"
    rows = unpad(joined, [[1, 1, 0], [1, 1, 1], [1, 1, 1]])
    for row, part in zip(rows, [parts[0], *split(parts[1], 1)], strict=True):
        assert_same(row, part)
    assert_same(select(select(joined, [1, 2, 0]), [2, 0, 1]), joined)
    assert np.array_equal(select(joined, [2]).pairs, joined.pairs[4:])
    assert pad(joined, seq=5, side="left").inner.points.shape == (3, 5)


def test_settings_are_one_for_all():
    with pytest.raises(
        UsageError, match=r"^mode is 'mean' in outputs\[0\] and 'sum' in outputs\[1\]; outputs can be joined only"
    ):
        concat([own(1, 2), own(1, 2, mode="sum")])
    with pytest.raises(UsageError, match=r"^settings\.top is 3 in outputs\[0\] and 4 in outputs\[1\]"):
        concat([own(1, 2), own(1, 2).replace(settings={"top": 4, "names": ("x", None)})])
    missing = float("nan")
    assert concat([own(1, 2).replace(settings={"top": missing})] * 2).settings["top"] is missing


def test_the_keys_of_a_mapping_may_come_in_any_order():
    other = own(1, 2, seed=1)
    joined = concat([own(1, 2), other.replace(named=dict(reversed(other.named.items())))])
    assert_same(joined, concat([own(1, 2), other]))


def test_what_each_row_has_of_must_agree():
    parts = [own(2, 1), own(1, 1)]
    parts[1].pairs = np.ones((1, 3))
    message = (
        r"^pairs: batch\*2 has 2 for each row in outputs\[0\] and 1 in outputs\[1\]; only enc_seq, .* can be padded$"
    )
    with pytest.raises(ContractError, match=message):
        concat(parts)
    parts[0].pairs = np.ones((3, 3))
    with pytest.raises(ContractError, match=r"^pairs has 3 entries for 2 rows; expected a multiple$"):
        select(parts[0], [0])


class Plain(ModelOutput):
    logits: Any = None


@pytest.mark.parametrize("operation", [lambda x: select(x, [0]), lambda x: concat([x, x]), lambda x: split(x, 1)])
def test_a_field_without_axes_is_refused_with_what_to_write(operation: Callable[[Any], Any]):
    message = "logits is f64[2], but its class does not name the axes; annotate the field, as in Float[Tensor, "
    with pytest.raises(ContractError, match=f"^{re.escape(message)}'batch seq hidden'\\]$"):
        operation(Plain(logits=np.ones(2)))


class Opaque:
    """Holds arrays that nobody sees."""


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("boxes", Opaque(), "boxes is <.*Opaque object at .*> of Opaque"),
        ("boxes", 0.5, "boxes is 0.5 of float"),
        ("boxes", [1.0], r"boxes is \(1.0,\) of list"),
        ("boxes", np.ones(2), r"boxes is f64\[2\] of ndarray"),
        ("frames", {"a": np.ones((1, 2))}, r"frames is \{a: f64\[1,2\]\} of dict"),
        ("named", (np.ones((2, 1)),), r"named is \(f64\[2,1\],\) of tuple"),
    ],
)
def test_what_has_not_the_axes_of_its_field_is_refused(field: str, value: Any, what: str):
    wrong = own(1, 2).replace(**{field: value})
    message = f"^{what}, whose axes do not match its annotation; run check\\(\\) for details, or drop the field"
    for operation in (lambda: select(wrong, [0]), lambda: concat([wrong, wrong]), lambda: pad(wrong, seq=3)):
        with pytest.raises(ContractError, match=message):
            operation()


def test_a_class_without_rows_is_refused():
    class Rowless(ModelOutput):
        table: Float[Array, "vocab hidden"] | None = None

    for output in (Rowless(table=np.ones((2, 3))), Rowless()):
        with pytest.raises(ContractError, match=r"^Rowless has no field with an axis 'batch', so it has no rows"):
            select(output, [0])


# -- refused --------------------------------------------------------------------------------------------------------


def refused(error: type[Exception], message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


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
    "classes": (lambda: [scored(1, 2), own(1, 2)], UsageError, r"^outputs\[1\] is a Own and outputs\[0\] a Scored$"),
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
        lambda: [own(1, 2), own(1, 2).replace(frames=[np.ones((1, 2))])],
        UsageError,
        r"^frames is 2 x f64\[1,2\] in outputs\[0\] and \(f64\[1,2\],\) in outputs\[1\]" + TWO,
    ),
    "list and tuple": (
        lambda: [own(1, 2), own(1, 2).replace(frames=(np.ones((1, 2)),) * 2)],
        UsageError,
        r"^frames is 2 x f64\[1,2\] in outputs\[0\] and 2 x f64\[1,2\] in outputs\[1\]" + TWO,
    ),
    "keys": (
        lambda: [own(1, 2), own(1, 2).replace(named={"a": np.ones((2, 1)), "c": np.ones((2, 1))})],
        UsageError,
        r"^named is \{a: f64\[2,1\], b: f64\[2,1\]\} in outputs\[0\] and \{a: .*, c: .*\} in outputs\[1\]" + TWO,
    ),
    "inner outputs": (
        lambda: [own(1, 2), own(1, 2).replace(inner=scored(1, 2))],
        UsageError,
        r"^outputs\[1\] is a Scored and outputs\[0\] a Inner$",
    ),
    "ranks": (
        lambda: [own(1, 2), own(1, 2).replace(both=np.ones((1, 2)))],
        UsageError,
        r"^both is f64\[1\] in outputs\[0\] and f64\[1,2\] in outputs\[1\]" + TWO,
    ),
    "an array and none": (
        lambda: [own(1, 2).replace(pairs=None), own(1, 2).replace(pairs=None, both="x")],
        UsageError,
        r"^both is f64\[1\] in outputs\[0\] and 'x' in outputs\[1\]" + TWO,
    ),
}


@pytest.mark.parametrize("case", JOINED)
def test_what_cannot_be_joined_is_refused(case: str):
    outputs, error, message = JOINED[case]
    refused(error, message, lambda: concat(outputs()))


@needs_torch
def test_other_frameworks_and_devices_are_not_joined():
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


@pytest.mark.parametrize("side", ["up", None, 1, {"past": "up"}, {"past": ["left"]}, ["left"]])
def test_a_side_that_is_none_is_refused(side: Any):
    message = f"^side is {re.escape(repr(side))}; expected 'left' or 'right', or one of them by axis name$"
    refused(InputError, message, lambda: concat([scored(1, 2)], side=side))
    refused(InputError, message, lambda: pad(scored(1, 2), side=side, seq=3))


@pytest.mark.parametrize(
    ("name", "hint"), [("pats", "; did you mean 'past'[?]"), ("hidden", "; there are enc_seq, past, seq, total")]
)
def test_an_axis_that_has_no_side_is_refused(name: str, hint: str):
    refused(
        InputError,
        f"^side names '{name}', which is not an axis with a choice of side{hint}$",
        lambda: concat([scored(1, 2)], side={name: "left"}),
    )


def test_padding_of_no_field_or_no_number_is_refused():
    for call in (lambda **k: concat([scored(1, 2)], **k), lambda **k: pad(scored(1, 2), seq=3, **k)):
        refused(
            InputError,
            "^padding names 'logit', which is not a field; did you mean 'logits'[?]$",
            lambda call=call: call(padding={"logit": 1}),
        )
        for padding in ("a", [1], {"ids": None}, np.ones(2)):
            refused(
                InputError,
                "^padding is .*; expected a number, or one by field$",
                lambda call=call, padding=padding: call(padding=padding),
            )
    inner = concat([own(1, 2), own(1, 3)], padding={"points": 7.0})
    assert inner.inner.points[0, 2] == 7


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
def test_sizes_that_cannot_be_are_refused(case: str):
    sizes, message = SPLITS[case]
    refused(InputError, f"^{re.escape(message)}$", lambda: split(scored(3, 2), sizes))


@pytest.mark.parametrize(
    "sizes", [np.int64(2), np.array(2), [2, 1], (2, 1), np.array([2, 1]), iter([2, 1]), (n for n in [np.int32(2), 1])]
)
def test_sizes_are_any_integers(sizes: Any):
    assert [len(part.logits) for part in split(scored(3, 2), sizes)] == [2, 1]


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
def test_rows_that_cannot_be_are_refused(case: str):
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
def test_rows_may_be_said_in_many_ways(rows: Any, expected: list[int]):
    output = scored(3, 2)
    found = select(output, rows)
    assert np.array_equal(found.ids, output.ids[expected])
    assert found.logits.shape == (len(expected), 2, 2)


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
def test_masks_that_cannot_be_are_refused(case: str):
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


PADS: dict[str, tuple[dict[str, Any], str]] = {
    "shorter": ({"seq": 1}, "seq is 2 long, and cannot be padded to 1"),
    "misspelt": ({"sec": 5}, "Scored has no axis 'sec' that can be padded; did you mean 'seq'?"),
    "rows": ({"batch": 5}, "Scored has no axis 'batch' that can be padded; there are seq"),
    "labels": ({"labels": 5}, "Scored has no axis 'labels' that can be padded; there are seq"),
    "absent": ({"enc_seq": 5}, "Scored has no axis 'enc_seq' that can be padded; did you mean 'seq'?"),
    "float": ({"seq": 4.0}, "seq is 4.0; expected the length to pad to"),
    "None": ({"seq": None}, "seq is None; expected the length to pad to"),
}


@pytest.mark.parametrize("case", PADS)
def test_lengths_that_cannot_be_are_refused(case: str):
    lengths, message = PADS[case]
    refused(InputError, f"^{re.escape(message)}", lambda: pad(scored(3, 2), **lengths))


def test_fields_of_other_rows_or_lengths_are_refused():
    output = scored(3, 2)
    fewer = output.replace(ids=output.ids[:2])
    for call in (lambda: split(fewer, 1), lambda: select(fewer, [0]), lambda: unpad(fewer, np.ones((3, 2)))):
        refused(ContractError, "^Scored.ids: batch is 2, but 3 in the fields before it$", call)

    class Keyed(ModelOutput):
        one: Float[Array, "batch past"] = ALWAYS
        two: Float[Array, "batch past"] = ALWAYS

    for call in (lambda x: unpad(x, np.ones((1, 2))), lambda x: pad(x, past=5)):
        refused(
            ContractError,
            "^Keyed.two: past is 3, but 2 in the fields before it$",
            lambda call=call: call(Keyed(one=np.ones((1, 2)), two=np.ones((1, 3)))),
        )


# -- nothing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in cases() if re.match("(TF|Flax)?(BaseModelOutput|Mult)", case.id)])
def test_batches_of_no_rows_and_sequences_of_no_positions(case: Case):
    output = of_rows(make(case, batch=2, seq=3, past=3, max_length=3, **SMALL))
    none = select(output, [])
    for empty in (none, select(output, slice(2, 2)), select(none, []), split(none, 3)[0], concat([none, none])):
        assert_same(empty, none)
    check_where_possible(case, none)
    assert_same(concat([none, output, none]), output)
    assert unpad(none, np.ones((0, 3))) == []
    longer = of_rows(make(case, batch=1, seq=5, past=5, max_length=5, **SMALL))
    assert_same(concat([none, longer]), longer)
    first, second = unpad(output, [[0, 0, 0], [1, 1, 1]])
    assert first.hidden_states[0].shape[1] == 0
    check_where_possible(case, first)
    assert_same(concat([first, second]), concat([pad(first, seq=3), second]))
    assert_same(select(first, [0, 0]), concat([first, first]))


# -- decoding goes on -----------------------------------------------------------------------------------------------

PROMPTS, SOURCES = (5, 3), (4, 2)
"""Tokens of two prompts, and of the encoder's texts that go with them."""


class Decoding:
    """Two prompts decoded apart by a tiny model, and the calls that go on from them."""

    def __init__(self, name: str) -> None:
        from ..torch.tiny import BY_NAME, padded_mask, source_ids, states, token_ids

        self.head = BY_NAME[name]
        self.model = self.head.model()
        self.ids = [token_ids(1, length, seed=length) for length in PROMPTS]
        self.sources = [source_ids((length,)) for length in SOURCES]
        self.states = [states(1, length, seed=length) for length in SOURCES]
        self.next, self.later = token_ids(2, 1, seed=5), token_ids(2, 1, seed=6)
        self.masks = padded_mask(PROMPTS, "left", 5), padded_mask(SOURCES, "left", 4)

    def prompt(self, row: int) -> Any:
        if self.head.is_seq2seq:
            return self.call(self.ids[row], input_ids=self.sources[row])
        return self.call(self.ids[row], encoder_hidden_states=self.states[row] if self.crosses else None)

    @property
    def crosses(self) -> bool:
        return self.head.crosses

    def call(self, ids: Any, mask: Any = None, encoder_mask: Any = None, past: Any = None, **more: Any) -> Any:
        import torch

        if self.head.is_seq2seq:
            more |= {"decoder_input_ids": ids, "decoder_attention_mask": mask, "attention_mask": encoder_mask}
        else:
            more |= {"input_ids": ids, "attention_mask": mask}
            more |= {"encoder_attention_mask": encoder_mask} if self.crosses else {}
        given = {name: value for name, value in {**more, "past_key_values": past}.items() if value is not None}
        with torch.no_grad():
            return self.model(**given, use_cache=True)

    def mask(self, steps: int) -> Any:
        import torch

        return torch.cat([self.masks[0], torch.ones(2, steps, dtype=torch.int64)], 1)


def assert_close(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < 1e-5


DECODERS = ["GPT2LMHeadModel", "LlamaForCausalLM", "BertLMHeadModel", "BartForCausalLM", "BartForConditionalGeneration"]


@needs_torch
@pytest.mark.parametrize("name", DECODERS)
def test_prompts_decoded_apart_go_on_together_and_apart_again(name: str):
    import torch

    from modeloutputs.torch import Cache

    decoding = Decoding(name)
    parts = [decoding.prompt(row) for row in (0, 1)]
    own = [decoding.call(decoding.next[row : row + 1], past=parts[row].past_key_values) for row in (0, 1)]
    own_later = [decoding.call(decoding.later[row : row + 1], past=own[row].past_key_values) for row in (0, 1)]

    joined = concat(parts, side="left")
    assert type(joined.past_key_values) is Cache
    assert joined.past_key_values.length == 5
    both = decoding.call(decoding.next, decoding.mask(1), decoding.masks[1], past=joined.past_key_values)
    assert_close(both.logits, torch.cat([output.logits for output in own]))
    assert joined.past_key_values.length == 5

    rows = torch.tensor([1, 0, 1])
    chosen = select(both, rows)
    assert type(chosen.past_key_values) is Cache
    for layer, expected in zip(chosen.past_key_values, both.past_key_values.reorder(rows), strict=True):
        assert [torch.equal(a, b) for a, b in zip(layer, expected, strict=True)] == [True] * len(expected)
    again = decoding.call(
        decoding.later[rows], decoding.mask(2)[rows], decoding.masks[1][rows], past=chosen.past_key_values
    )
    assert_close(again.logits, torch.cat([own_later[row].logits for row in (1, 0, 1)]))

    freed = unpad(both, decoding.mask(1), decoding.masks[1] if len(both.past_key_values[0]) == 4 else None)
    apart = [
        *zip(split(both, 1), decoding.mask(2), decoding.masks[1], strict=True),
        *((one, None, None) for one in freed),
    ]
    for row, (part, mask, encoder_mask) in enumerate(apart):
        assert type(part.past_key_values) is Cache
        one = slice(row % 2, row % 2 + 1)
        given = () if mask is None else (mask[None], encoder_mask[None])
        last = decoding.call(decoding.later[one], *given, past=part.past_key_values)
        assert_close(last.logits, own_later[row % 2].logits)


@needs_torch
def test_a_cache_that_was_split_or_joined_is_not_changed_by_what_goes_on_from_it():
    import torch

    decoding = Decoding("LlamaForCausalLM")
    joined = concat([decoding.prompt(row) for row in (0, 1)], side="left")
    first = decoding.call(decoding.next, decoding.mask(1), past=joined.past_key_values)
    parts = split(first, 1)
    before = [tensor.clone() for layer in parts[0].past_key_values for tensor in layer]
    decoding.call(decoding.later, decoding.mask(2), past=first.past_key_values)
    decoding.call(decoding.next[:1], decoding.mask(2)[:1], past=parts[0].past_key_values)
    after = [tensor for layer in parts[0].past_key_values for tensor in layer]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@needs_torch
@each_side
def test_what_generate_returns_is_joined_and_taken_apart_by_its_own_mask(side: str):
    import torch

    from modeloutputs.torch import Cache, GenerateOutput

    from ..torch.tiny import BY_NAME, padded_mask, token_ids

    assert Cache
    model = BY_NAME["LlamaForCausalLM"].model()
    ids, mask = token_ids(2, 6), padded_mask((6, 3), "left", 6)
    flags = {"output_scores": True, "output_hidden_states": True, "output_attentions": True, "pad_token_id": 0}
    tokens = model.generate(ids, mask, max_new_tokens=4).new_tokens()
    end = next(int(token) for token in tokens[0] if token not in tokens[1])  # ends the first row before the second
    some = model.generate(ids, mask, max_new_tokens=4, eos_token_id=[end], **flags)
    more = model.generate(token_ids(1, 3, seed=7), max_new_tokens=7, eos_token_id=[98], **flags)
    assert some.attention_mask.sum(1).tolist() != [10, 7]
    assert some.scores.shape[1] != more.scores.shape[1]
    joined = concat([some, more], side=side).check()
    assert type(joined) is GenerateOutput
    expected = [*some.new_tokens(), *more.new_tokens()]
    assert all(torch.equal(a, b) for a, b in zip(joined.new_tokens(), expected, strict=True))
    alone = [*unpad(some, some.attention_mask), *unpad(more, more.attention_mask)]
    for row, other, new in zip(unpad(joined, joined.attention_mask), alone, expected, strict=True):
        assert_same(row, other)
        assert row.attention_mask.all()
        assert row.scores.shape[:2] == (1, len(new))
        assert torch.equal(row.sequences[row.generated], new)
        assert row.hidden_states[0].shape[1] == row.sequences.shape[1]
    longer = pad(some, total=15, side=side)
    for row, other in zip(unpad(longer, longer.attention_mask), alone, strict=False):
        assert_same(row, other)


# -- PyTorch --------------------------------------------------------------------------------------------------------


def tokens(rows: int, seq: int, kind: str, seed: int = 0, **settings: Any) -> Any:
    prefix = {"torch": "", "jax": "Flax", "tensorflow": "TF"}[kind]
    return of_rows(make((f"{prefix}TokenClassifierOutput", kind), batch=rows, seq=seq, seed=seed, **SMALL, **settings))


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


@needs_torch
@each_side
@pytest.mark.parametrize("first_axis", [True, False])
def test_gradients_reach_every_part(side: str, first_axis: bool):
    import torch

    class Mixed(ModelOutput):
        logits: Float[torch.Tensor, "batch seq labels"] | None = None
        weights: Float[torch.Tensor, "heads batch seq past"] | None = None

    def joined(a: Any, b: Any) -> Any:
        parts = [Mixed(**{"logits" if first_axis else "weights": value}) for value in (a, b)]
        output = select(concat(parts, side=side, padding=3), [2, 0, 1, 1])
        return pad(output, seq=5)[0]

    shapes = ((1, 2, 3), (2, 4, 3)) if first_axis else ((2, 1, 2, 3), (2, 2, 4, 2))
    given = [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(joined, given)
    assert torch.autograd.gradgradcheck(joined, given)
    with torch.no_grad():
        alone = joined(*given)
    assert torch.equal(joined(*given), alone)
    torch.func.grad(lambda a: joined(a, given[1].detach()).sum())(given[0].detach())
    joined(*given).sum().backward()
    rows = 0 if first_axis else 1
    assert given[0].grad.unique().tolist() == [1]
    assert given[1].grad.narrow(rows, 0, 1).unique().tolist() == [2]
    assert given[1].grad.narrow(rows, 1, 1).unique().tolist() == [1]


@needs_torch
def test_operations_are_mapped_over_by_vmap():
    import torch

    cls = class_named("TokenClassifierOutput")
    a, b = torch.randn(7, 1, 2, 3), torch.randn(7, 2, 4, 3)

    def every(a: Any, b: Any, rows: Any) -> Any:
        joined = concat([cls(logits=a), cls(logits=b)], side="left")
        return (
            joined.logits,
            select(joined, rows).logits,
            select(joined, [1, 0]).logits,
            split(joined, 2)[1].logits,
            pad(joined, seq=6).logits,
            unpad(joined, [[0, 0, 1, 1], [1] * 4, [1, 0, 1, 1]])[2].logits,
        )

    rows = torch.tensor([[i % 3, -1] for i in range(7)])
    mapped = torch.func.vmap(every)(a, b, rows)
    for i in range(7):
        for found, expected in zip(mapped, every(a[i], b[i], rows[i]), strict=True):
            assert torch.equal(found[i], expected)


@needs_torch
@pytest.mark.parametrize(
    "operation",
    [
        lambda a, b, rows: concat([a, b]),
        lambda a, b, rows: concat([a, b], side="left", padding={"logits": 2}),
        lambda a, b, rows: select(a, rows),
        lambda a, b, rows: select(a, rows - 2),
        lambda a, b, rows: select(a, [1, -2]),
        lambda a, b, rows: select(a, [True, False]),
        lambda a, b, rows: select(b, slice(1, None)),
        lambda a, b, rows: split(b, 2),
        lambda a, b, rows: pad(a, seq=9),
    ],
)
def test_operations_are_compiled_into_one_graph(operation: Callable[..., Any]):
    import torch

    a, b, rows = tokens(2, 3, "torch", layers=1), tokens(3, 5, "torch", seed=1, layers=1), torch.tensor([1, 0])
    expected = operation(a, b, rows)  # before the compiler comes: the annotations of a class are resolved by then
    torch.compiler.reset()
    assert torch.compile(operation, fullgraph=True, backend="eager")(a, b, rows) == expected


@needs_torch
def test_rows_are_freed_of_padding_in_a_compiled_function():
    import torch

    output = tokens(2, 3, "torch", absent=["hidden_states", "attentions"])
    masks = torch.tensor([[1, 1, 0], [0, 1, 1]])
    torch.compiler.reset()
    assert torch.compile(unpad, backend="eager")(output, masks) == unpad(output, masks)


@needs_torch
def test_tensors_without_values_are_joined_and_chosen_from():
    import torch

    a, b = tokens(2, 3, "torch").to("meta"), tokens(1, 5, "torch").to("meta")
    assert concat([a, b]).logits.shape == (3, 5, 3)
    assert select(a, [1]).logits.device.type == "meta"
    assert select(a, torch.tensor([1, -1, 0], device="meta")).logits.shape == (3, 3, 3)
    for rows in (torch.ones(2, device="meta"), torch.ones(2, 1, device="meta", dtype=torch.int64)):
        refused(InputError, r"^rows is .*; expected a slice, 1-D indices or one", lambda rows=rows: select(a, rows))
    refused(
        InputError,
        "^rows has 3 booleans; the output has 2 rows$",
        lambda: select(a, torch.ones(3, device="meta", dtype=torch.bool)),
    )


# -- JAX ------------------------------------------------------------------------------------------------------------


@needs_jax
def test_operations_are_compiled_by_jit():
    import jax
    import jax.numpy as jnp

    a, b = tokens(2, 3, "jax", layers=1), tokens(1, 5, "jax", seed=1, layers=1)
    operations: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (select, (a, jnp.array([1, 0, 1]))),
        (select, (a, jnp.array([-1, -2]))),
        (lambda rows: select(a, rows), (jnp.array([1]),)),
        (lambda output: select(output, [1]), (a,)),
        (lambda *parts: concat(parts, side="left"), (a, b)),
        (lambda output: concat([output, b]), (a,)),
        (lambda output: split(output, 1), (a,)),
        (lambda output: pad(output, seq=7, padding=2), (a,)),
        (lambda output: unpad(output, np.array([[1, 0, 1], [0, 1, 1]])), (a,)),
    ]
    for operation, given in operations:
        for found, expected in zip(
            jax.tree.leaves(jax.jit(operation)(*given)), jax.tree.leaves(operation(*given)), strict=True
        ):
            assert np.array_equal(found, expected)
    assert type(jax.jit(select)(a, jnp.array([1]))) is type(a)


@needs_jax
def test_choices_and_caches_are_chosen_from_under_jit():
    import jax
    import jax.numpy as jnp

    for name in ("FlaxMultipleChoiceModelOutput", "FlaxBaseModelOutputWithPast"):
        output = make((name, "jax"), layers=1, batch=3, **SMALL)
        assert_same(jax.jit(select)(output, jnp.array([2, 0])), select(output, [2, 0]))


@needs_jax
@pytest.mark.parametrize("rows", [[True, False], [0.0], [[1]]])
def test_rows_that_no_compiled_function_can_choose_are_refused(rows: Any):
    import jax
    import jax.numpy as jnp

    message = (
        "^rows are booleans without values, so their number"
        if rows[0] is True
        else "^rows is .*; expected a slice, 1-D ind"
    )
    refused(InputError, message, lambda: jax.jit(select)(tokens(2, 3, "jax", layers=1), jnp.array(rows)))


@needs_jax
def test_jax_differentiates_through_joined_and_chosen_rows():
    import jax
    import jax.numpy as jnp

    a, b = tokens(2, 3, "jax", layers=1), tokens(1, 5, "jax", seed=1, layers=1)

    def total(a: Any, b: Any) -> Any:
        return (select(concat([a, b], side="left"), [2, 0, 0]).logits ** 2).sum()

    for gradient in (jax.grad(total, argnums=(0, 1)), jax.jit(jax.grad(total, argnums=(0, 1)))):
        for_a, for_b = gradient(a, b)
        assert type(for_a) is type(a)
        assert np.allclose(for_a.logits, 2 * a.logits * jnp.array([2.0, 0.0])[:, None, None])
        assert np.allclose(for_b.logits, 2 * b.logits)
        assert not for_a.hidden_states[0].any()


@needs_jax
def test_scan_carries_an_output_whose_rows_are_reordered():
    import jax
    import jax.numpy as jnp

    output = tokens(2, 3, "jax", layers=1)
    orders = jnp.array([[1, 0], [1, 1]])
    last, _ = jax.lax.scan(lambda carry, rows: (select(carry, rows), None), output, orders)
    assert_same(last, select(output, [0, 0]))


@needs_jax
def test_jax_knows_the_shapes_before_values():
    import jax

    shapes = jax.eval_shape(lambda a, b: concat([a, b]), tokens(2, 3, "jax"), tokens(1, 5, "jax"))
    assert shapes.logits.shape == (3, 5, 3)


# -- TensorFlow -----------------------------------------------------------------------------------------------------


@needs_tensorflow
def test_operations_are_traced_by_tf_function():
    import tensorflow as tf

    few: dict[str, Any] = {"layers": 1, "absent": ["attentions"]}
    a, b = tokens(2, 3, "tensorflow", **few), tokens(1, 5, "tensorflow", seed=1, **few)
    rows, mask = tf.constant([1, 0, -1]), np.array([[1, 0, 1], [0, 1, 1]])

    def every(a: Any, b: Any, rows: Any) -> list[Any]:
        joined = concat([a, b], side="left")
        longer = pad(a, seq=7, padding=2)
        return [select(a, rows), select(a, [1]), joined, longer, *split(a, 1), *unpad(a, mask)]

    expected = [select(a, [1, 0, 1]), *every(a, b, [0])[1:]]
    for compiled in (True, False):
        for found, wanted in zip(tf.function(every, jit_compile=compiled)(a, b, rows), expected, strict=True):
            assert_same(found, wanted)


@needs_tensorflow
def test_a_graph_joins_and_chooses_what_it_does_not_know_the_sizes_of():
    import tensorflow as tf

    cls = class_named("TFQuestionAnsweringModelOutput")
    spec = tf.TensorSpec([None, None], tf.float32)

    @tf.function(input_signature=[spec, spec])
    def joined(a: Any, b: Any) -> Any:
        output = concat([cls(start_logits=a), cls(start_logits=b)], side="left")
        assert output.start_logits.shape.as_list() == [None, None]
        return output

    @tf.function(input_signature=[spec, tf.TensorSpec([None], tf.int32)])
    def chosen(a: Any, rows: Any) -> Any:
        return select(cls(start_logits=a), rows), select(cls(start_logits=a), [-1])

    for lengths in ((2, 4), (5, 1), (3, 3)):
        a, b = (tf.random.normal([i + 1, n]) for i, n in enumerate(lengths))
        assert_same(joined(a, b), concat([cls(start_logits=a), cls(start_logits=b)], side="left"))
        some, last = chosen(b, tf.constant([-1, 0]))
        assert np.array_equal(some.start_logits, b.numpy()[[1, 0]])
        assert np.array_equal(last.start_logits, b.numpy()[1:])


@needs_tensorflow
@pytest.mark.parametrize("rows", [[True, False], [0.0], [[1]]])
def test_rows_that_no_graph_can_choose_are_refused(rows: Any):
    import tensorflow as tf

    message = (
        "^rows are booleans without values, so their number"
        if rows[0] is True
        else "^rows is .*; expected a slice, 1-D ind"
    )
    # The error is ours, and no copy of TensorFlow's: AutoGraph leaves these functions as they are.
    refused(InputError, message, lambda: tf.function(select)(tokens(2, 3, "tensorflow", layers=1), tf.constant(rows)))


@needs_tensorflow
@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x: split(x, 1), "the batch size of TFTokenClassifierOutput is unknown while tracing"),
        (lambda x: select(x, slice(1)), "the batch size of TFTokenClassifierOutput is unknown while tracing"),
        (lambda x: unpad(x, [[1]]), "the batch size of TFTokenClassifierOutput is unknown while tracing"),
        (lambda x: pad(x, seq=9), "the length of seq is unknown while tracing; trace with a fixed length"),
    ],
)
def test_what_needs_sizes_before_the_graph_runs_says_so(operation: Callable[[Any], Any], message: str):
    import tensorflow as tf

    cls = class_named("TFTokenClassifierOutput")
    traced = tf.function(
        lambda logits: operation(cls(logits=logits)), input_signature=[tf.TensorSpec([None, None, 3], tf.float32)]
    )
    with pytest.raises(Exception, match=message):  # TensorFlow wraps errors of functions that it traces
        traced(tf.zeros([2, 3, 3]))


@needs_tensorflow
def test_choices_of_unknown_rows_are_not_mixed_up():
    import tensorflow as tf

    cls = class_named("TFMultipleChoiceModelOutput")
    specs = [tf.TensorSpec([None, 2]), tf.TensorSpec([None, None, 4]), tf.TensorSpec([None], tf.int32)]

    @tf.function(input_signature=specs)
    def chosen(logits: Any, states: Any, rows: Any) -> Any:
        return select(cls(logits=logits, hidden_states=(states,)), rows)

    with pytest.raises(
        Exception, match=r"the number of entries of batch\*choices per row in hidden_states.0 is unknown while tracing"
    ):
        chosen(tf.zeros([2, 2]), tf.zeros([4, 3, 4]), tf.constant([1]))


@needs_tensorflow
def test_tensorflow_differentiates_through_joined_and_chosen_rows():
    import tensorflow as tf

    cls = class_named("TFTokenClassifierOutput")
    a, b = tf.random.normal([2, 3, 7]), tf.random.normal([1, 5, 7])
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        chosen = select(concat([cls(logits=a), cls(logits=b)], side="left"), [2, 0, 0])
        total = tf.reduce_sum(chosen.logits**2)
    for_a, for_b = tape.gradient(total, [a, b])
    assert np.allclose(for_a, 2 * a * np.array([2.0, 0.0])[:, None, None])
    assert np.allclose(for_b, 2 * b)


# -- element types --------------------------------------------------------------------------------------------------

TYPES = ["float16", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs(kind)) for kind in ("torch", "jax", "tensorflow")])
def test_every_element_type_is_joined_chosen_and_padded(kind: str, dtype: str):
    if (kind, dtype) == ("jax", "float64"):
        pytest.skip("JAX has 64 bits only where it is told so before anything else")
    a, b = (tokens(rows, n, kind, layers=1, absent=["attentions"]).to(dtype) for rows, n in ((2, 3), (1, 5)))
    for side in ("left", "right"):
        joined = concat([a, b], side=side)
        assert_same(joined.numpy(), concat([a.numpy(), b.numpy()], side=side))
        rows = unpad(joined, [[0, 0, 1, 1, 1][:: 1 if side == "left" else -1]] * 2 + [[1] * 5])
        assert_same(concat(rows[:2]).numpy(), a.numpy())
        assert_same(select(joined, [2, 0]).numpy(), select(joined.numpy(), [2, 0]))
        assert_same(pad(a, seq=6, side=side).numpy(), pad(a.numpy(), seq=6, side=side))


@needs_torch
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e4m3fnuz"])
def test_types_without_infinity_want_to_be_told_what_padding_holds(dtype: str):
    output = of_rows(make(("QuestionAnsweringModelOutput", "torch"))).to(dtype)
    for each in (output, output.numpy()):
        refused(
            InputError,
            r"^start_logits is f8_\w+\[2,3\], which cannot hold a padding of -inf; pass padding=\{'start_logits': ...",
            lambda each=each: pad(each, seq=5),
        )
        assert pad(each, seq=5, padding=-8).start_logits.shape == (2, 5)
