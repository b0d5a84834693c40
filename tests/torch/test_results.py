"""Results of modules as named tuples, and as the plain tuples that hooks see."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs import InputError
from modeloutputs.torch.results import as_result, trimmed


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


@pytest.mark.parametrize("value", [torch.zeros(2), None, (), (1, 2, 3), [1, 2]])
def test_anything_else_is_refused_in_one_line(value: Any) -> None:
    with pytest.raises(InputError, match=r"returned a \w+; expected a tuple \(first, second\)"):
        as_result(Pair, value)
