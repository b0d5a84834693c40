"""All batch operations: placeholders, shared arrays, classes of users, empty batches, element types."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float

from modeloutputs import (
    ALWAYS,
    ContractError,
    ModelOutput,
    concat,
    pad,
    select,
    split,
    unpad,
)
from modeloutputs.output.schema import describe, schema_of

from ..support.batches import (
    REPRESENTATIVES,
    SMALL,
    Array,
    Case,
    Inner,
    cases,
    check_where_possible,
    make,
    of_rows,
    prompt_masks,
    prompts,
    tokens,
    users_output,
)
from ..support.compare import assert_same, leaves
from ..support.needs import FRAMEWORK_PARAMS, needs
from ..support.random_outputs import class_named
from ..support.spec_checks import PAGE


@pytest.mark.parametrize("framework", FRAMEWORK_PARAMS)
def test_every_layout_of_a_field_occurs_in_a_representative(framework: str):
    def layouts(names: Iterable[str]) -> set[Any]:
        return {
            (describe(schema), cls.__output_fields__[name].metadata.get("padding"))
            for cls in map(class_named, names)
            for name, schema in schema_of(cls).items()
        }

    assert layouts(REPRESENTATIVES[framework]) == layouts(PAGE[framework])


def with_gaps(value: Any) -> Any:
    """Put a placeholder in front of what a field holds for its layers."""
    return (None, *value) if isinstance(value, tuple) and not isinstance(value[0], tuple) else value


@pytest.mark.parametrize("case", [case for case in cases() if case.id.endswith("numpy")])
def test_placeholders_stay_in_place(case: Case):
    parts = [part.replace(**{name: with_gaps(value) for name, value in part.items()}) for part in prompts(case)]
    gaps = [place for place, array in leaves(parts[0]).items() if array is None]
    assert gaps
    joined = concat(parts, side="left")
    rows = unpad(joined, *prompt_masks(case, "left"))
    several = (joined, *rows, *split(joined, 3), select(joined, [1]), pad(joined, seq=8))
    for output in several:
        assert [place for place, array in leaves(output).items() if array is None] == gaps
    for row, part in zip(rows, parts, strict=True):
        assert_same(row, part)


@pytest.mark.parametrize("case", [case for case in cases() if re.match("(TF|Flax)?(BaseModelOutput|Mult)", case.id)])
def test_batches_without_rows_and_sequences_without_positions(case: Case):
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


# -- shared arrays ----------------------------------------------------------------------------------------------------

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


def test_one_array_in_two_fields_follows_the_axes_of_each():
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


# -- classes of users -------------------------------------------------------------------------------------------------


def test_a_users_class_follows_its_own_axes():
    parts = [users_output(1, 2), users_output(2, 3, seed=1)]
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


class Plain(ModelOutput):
    logits: Any = None


@pytest.mark.parametrize("operation", [lambda x: select(x, [0]), lambda x: concat([x, x]), lambda x: split(x, 1)])
def test_a_field_without_axes_is_refused_with_advice(operation: Callable[[Any], Any]):
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
def test_values_that_do_not_match_their_annotation_are_refused(field: str, value: Any, what: str):
    wrong = users_output(1, 2).replace(**{field: value})
    message = f"^{what}, whose axes do not match its annotation; run check\\(\\) for details, or drop the field"
    for operation in (lambda: select(wrong, [0]), lambda: concat([wrong, wrong]), lambda: pad(wrong, seq=3)):
        with pytest.raises(ContractError, match=message):
            operation()


# -- element types ----------------------------------------------------------------------------------------------------

TYPES = ["float16", "bfloat16", "float8_e4m3fn"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs(kind)) for kind in ("torch", "jax", "tensorflow")])
def test_every_element_type_is_joined_selected_and_padded(kind: str, dtype: str):
    a, b = (tokens(rows, n, kind, layers=1, absent=["attentions"]).to(dtype) for rows, n in ((2, 3), (1, 5)))
    for side in ("left", "right"):
        joined = concat([a, b], side=side)
        assert_same(joined.numpy(), concat([a.numpy(), b.numpy()], side=side))
        rows = unpad(joined, [[0, 0, 1, 1, 1][:: 1 if side == "left" else -1]] * 2 + [[1] * 5])
        assert_same(concat(rows[:2]).numpy(), a.numpy())
        assert_same(select(joined, [2, 0]).numpy(), select(joined.numpy(), [2, 0]))
        assert_same(pad(a, seq=6, side=side).numpy(), pad(a.numpy(), seq=6, side=side))
