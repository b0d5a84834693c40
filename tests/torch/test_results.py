"""Results of modules as named tuples, and as the plain tuples that hooks see."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs import InputError
from modeloutputs.torch.results import Made, as_result, finished, result_of, trimmed


class Pair(NamedTuple):
    first: Any
    second: Any = None


@pytest.mark.parametrize(
    ("parts", "expected"),
    [((1, None, None), (1,)), ((1, None, 3, None), (1, None, 3)), ((1, 2), (1, 2)), ((0, False), (0, False))],
)
def test_parts_that_are_absent_at_the_end_are_left_out(parts: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    assert trimmed(*parts) == expected


@pytest.mark.parametrize("value", [Pair(1), (1,), (1, None)])
def test_plain_tuples_are_named_and_completed(value: tuple[Any, ...]) -> None:
    found = as_result(Pair, value)
    assert type(found) is Pair
    assert found == (1, None)


@pytest.mark.parametrize("value", [None, (), (1, 2, 3), [1, 2]])
def test_anything_else_is_refused_in_one_line(value: Any) -> None:
    with pytest.raises(InputError, match=r"returned a \w+; expected the states, or a tuple \(first, second\)"):
        as_result(Pair, value)


STATES, STEERED = torch.zeros(2), torch.ones(2)


class Triple(NamedTuple):
    first: Any
    second: Any = None
    third: Any = None


@pytest.mark.parametrize(
    ("put", "expected"),
    [
        (lambda result: result, (STATES, "weights", "present")),
        (lambda result: STEERED, (STEERED, "weights", "present")),
        (lambda result: (STEERED,), (STEERED, "weights", "present")),
        (lambda result: (STEERED, "other"), (STEERED, "other", "present")),
        (lambda result: (STEERED, None, "other"), (STEERED, "weights", "other")),
        (lambda result: result[1:], ("weights", "weights", "present")),
    ],
)
def test_what_a_hook_leaves_out_is_what_the_module_made(put: Any, expected: tuple[Any, ...]) -> None:
    made = Made()
    made.parts.append(("of another module",))
    found = result_of(Triple, made, lambda: put(finished(made, STATES, "weights", beside=("present",))))
    assert type(found) is Triple
    assert found[0] is expected[0]
    assert found[1:] == expected[1:]
    assert made.parts == [("of another module",)]


def test_states_alone_are_not_noted() -> None:
    made = Made()
    assert result_of(Triple, made, lambda: finished(made, "states", None, beside=(None,))) == ("states", None, None)
    assert made.parts == []


def test_the_record_is_not_copied_with_a_modules_arguments() -> None:
    made = Made()
    copied = torch.utils._pytree.tree_map(lambda leaf: leaf, {"context": (made, [1])})  # as FSDP casts arguments
    assert copied["context"][0] is made
