"""Walk: what it hands to its function, and what it builds from what that returns."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
from jaxtyping import Float

from modeloutputs import ALWAYS, ContractError, ModelOutput, UsageError
from modeloutputs.ops.mapping import Leaf, Walk
from modeloutputs.output.contract import PAD_WITH_NEG_INF

Array = np.ndarray[Any, Any]


class Inner(ModelOutput):
    points: Float[Array, "batch seq"] | None = dataclasses.field(default=None, metadata=PAD_WITH_NEG_INF)


class Deep(ModelOutput):
    loss: Float[Array, ""] | None = None
    states: tuple[Float[Array, "batch seq hidden"] | None, ...] | None = None
    cache: dict[str, tuple[Float[Array, "2 batch"], Float[Array, "batch*choices"]]] | None = None
    inner: Inner | None = None
    several: list[Inner] | None = None
    mode: Any = "mean"


def deep() -> Deep:
    return Deep(
        loss=np.zeros(()),
        states=(None, np.zeros((2, 3, 4))),
        cache={"a": (np.zeros((2, 2)), np.zeros(6))},
        inner=Inner(points=np.zeros((2, 3))),
        several=[Inner(points=np.ones((2, 3)))],
    )


def seen(*outputs: Any) -> list[Leaf]:
    leaves: list[Leaf] = []
    Walk(lambda leaf, arrays: leaves.append(leaf)).outputs(outputs)
    return leaves


# -- leaves ---------------------------------------------------------------------------------------------------------


def test_every_array_is_handed_on_with_its_place_axes_and_padding():
    assert seen(deep()) == [
        Leaf("loss", (), "loss", 0),
        Leaf("states.1", ("batch", "seq", "hidden"), "states", 0),
        Leaf("cache.a.0", ("2", "batch"), "cache", 0),
        Leaf("cache.a.1", ("batch*choices",), "cache", 0),
        Leaf("inner.points", ("batch", "seq"), "points", float("-inf")),
        Leaf("several.0.points", ("batch", "seq"), "points", float("-inf")),
    ]


@pytest.mark.parametrize(
    ("axes", "row_axis"),
    [
        (("batch", "seq"), 0),
        (("2", "batch", "seq"), 1),
        (("batch*choices", "seq"), 0),
        (("seq", "2*batch"), 1),
        (("batches", "seq"), None),
        ((), None),
    ],
)
def test_the_rows_stand_where_an_axis_is_named_batch(axes: tuple[str, ...], row_axis: int | None):
    assert Leaf("x", axes, "x", 0).row_axis == row_axis


def test_padding_is_the_callers_word_or_the_classs():
    leaf = Leaf("several.0.points", ("batch",), "points", 7)
    assert leaf.padding(None) == 7
    assert leaf.padding(0) == 0
    assert leaf.padding({"points": 3}) == 3
    assert leaf.padding({"logits": 3}) == 7


# -- what is built --------------------------------------------------------------------------------------------------


def test_what_is_built_has_the_structure_of_the_first():
    given = deep()
    output = Walk(lambda leaf, arrays: arrays[0] + 1).outputs([given])
    assert type(output) is Deep
    assert list(output) == list(given)
    assert output.loss == 1
    assert type(output.states) is tuple
    assert output.states[0] is None
    assert output.states[1].tolist() == np.ones((2, 3, 4)).tolist()
    assert type(output.cache["a"]) is tuple
    assert type(output.inner) is Inner
    assert [type(item) for item in output.several] == [Inner]
    assert output.several[0].points.tolist() == [[2] * 3] * 2
    assert output.mode == "mean"
    assert given.loss == 0


def test_arrays_of_one_place_come_together():
    first, second = deep(), deep()
    output = Walk(lambda leaf, arrays: np.stack(arrays)).outputs([first, second, first])
    assert output.states[1].shape == (3, 2, 3, 4)
    assert output.inner.points.shape == (3, 2, 3)


def test_a_field_whose_array_is_dropped_goes():
    output = Walk(lambda leaf, arrays: None if leaf.row_axis is None else arrays[0]).outputs([deep()])
    assert "loss" not in output
    assert output.loss is None
    assert next(iter(output)) == "states"


def test_named_tuples_and_tuples_of_a_class_of_their_own_stay_what_they_are():
    class Pair(NamedTuple):
        key: Any
        value: Any

    class Kept(tuple[Any, ...]):
        __slots__ = ()

    class Own(ModelOutput):
        pair: tuple[Float[Array, "batch"], Float[Array, "batch"]] | None = None
        kept: tuple[Float[Array, "batch"], ...] | None = None

    given = Own(pair=Pair(np.ones(1), np.zeros(1)), kept=Kept([np.ones(1)]))
    output = Walk(lambda leaf, arrays: arrays[-1]).outputs([given, given.replace(kept=(np.zeros(1),))])
    assert type(output.pair) is Pair
    assert output.pair.value == 0
    assert type(output.kept) is Kept
    assert output.kept[0] == 0


def test_one_array_in_two_places_is_handed_on_once():
    class Own(ModelOutput):
        last: Float[Array, "batch hidden"] = ALWAYS
        states: tuple[Float[Array, "batch hidden"], ...] = ALWAYS
        vectors: Float[Array, "batch width"] | None = None

    array, calls = np.ones((2, 3)), list[str]()

    def function(leaf: Leaf, arrays: list[Any]) -> Any:
        calls.append(leaf.place)
        return arrays[0] * 2

    output = Walk(function).outputs([Own(last=array, states=(array, array.copy()), vectors=array)])
    assert output.last is output.states[0]
    assert output.states[1] is not output.last
    assert output.vectors is not output.last  # the same, and yet of other axes
    assert calls == ["last", "states.1", "vectors"]


class Made(Mapping[str, Any]):
    """Makes its arrays whenever they are asked for."""

    def __init__(self, items: Mapping[str, float]) -> None:
        self.numbers = {key: float(np.asarray(item).flat[0]) for key, item in items.items()}

    def __getitem__(self, key: str) -> Any:
        return np.full(2, self.numbers[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


def test_arrays_that_are_made_anew_each_time_are_not_taken_for_one_another():
    class Own(ModelOutput):
        made: Mapping[str, Float[Array, "batch"]] | None = None

    given = Own(made=Made({str(i): i for i in range(50)}))
    output = Walk(lambda leaf, arrays: arrays[0] + 1).outputs([given])
    assert type(output.made) is Made
    assert list(output.made.numbers.values()) == list(range(1, 51))
    assert list(given.map(lambda array: array + 1).made.numbers.values()) == list(range(1, 51))


# -- refused --------------------------------------------------------------------------------------------------------


def test_the_place_of_what_differs_is_named():
    other = deep()
    other.several = [Inner()]
    with pytest.raises(UsageError, match=r"^outputs\[0\] has points and outputs\[1\] has not; drop it"):
        seen(deep(), other)
    with pytest.raises(UsageError, match=r"^cache\.a is \(.*\) in outputs\[0\] and \(f64\[2\],\) in outputs\[2\]"):
        seen(deep(), deep(), deep().replace(cache={"a": (np.zeros(2),)}))


def test_annotations_that_are_strings_are_resolved_once_they_can_be():
    late = type("Late", (ModelOutput,), {"__annotations__": {"x": "Float[Array, 'batch']"}, "__module__": "json"})
    with pytest.raises(ContractError, match=r"^Late: an annotation cannot be resolved"):
        seen(late(x=np.ones(2)))
    late.__module__ = __name__
    assert [leaf.axes for leaf in seen(late(x=np.ones(2)))] == [("batch",)]


def test_axes_of_another_number_are_told_by_what_was_found():
    message = "states.0 is f64[2,3] of ndarray, which has not the axes that its class names; hold it against them with"
    with pytest.raises(ContractError, match=f"^{re.escape(message)}"):
        seen(Deep(states=(np.ones((2, 3)),)))
