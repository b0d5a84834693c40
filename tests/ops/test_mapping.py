"""Flattened outputs: their leaves, and the outputs built from what a function returns for these."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
from jaxtyping import Float

from modeloutputs import ALWAYS, ContractError, ModelOutput, UsageError
from modeloutputs.ops.mapping import FlatOutputs, Leaf, fields_within
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
    """Return the leaves without their arrays, which have no equality."""
    return [dataclasses.replace(leaf, arrays=()) for leaf in FlatOutputs(outputs).leaves]


# -- leaves ---------------------------------------------------------------------------------------------------------


def test_every_array_is_a_leaf_with_its_path_axes_and_padding():
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
def test_the_row_axis_is_named_batch(axes: tuple[str, ...], row_axis: int | None):
    assert Leaf("x", axes, "x", 0).row_axis == row_axis


def test_a_leaf_has_the_arrays_of_its_place_and_their_operations():
    first, second = deep(), deep()
    leaf = FlatOutputs([first, second]).leaves[1]
    assert [array is output.states[1] for array, output in zip(leaf.arrays, (first, second), strict=True)] == [True] * 2
    assert leaf.array is first.states[1]
    assert leaf.backend.name == "numpy"


def test_fields_of_outputs_within_are_listed():
    assert [name for name, _ in fields_within(deep())] == [*Deep.__output_fields__, "points", "points"]
    assert dict(fields_within(Deep(mode="sum"))) == dict.fromkeys(Deep.__output_fields__) | {"mode": "sum"}


# -- what is built --------------------------------------------------------------------------------------------------


def test_a_built_output_has_the_structure_of_the_first():
    given = deep()
    output = FlatOutputs([given]).map(lambda leaf: leaf.array + 1)
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
    output = FlatOutputs([first, second, first]).map(lambda leaf: np.stack(leaf.arrays))
    assert output.states[1].shape == (3, 2, 3, 4)
    assert output.inner.points.shape == (3, 2, 3)


def test_several_outputs_are_built_at_once():
    given = deep()
    flat = FlatOutputs([given])
    first, second = flat.map_several(lambda leaf: [leaf.array, leaf.array + 1], 2)
    assert first == given
    assert second == flat.map(lambda leaf: leaf.array + 1)
    assert first.states is not given.states
    assert flat.map_several(lambda leaf: [], 0) == []


def test_outputs_without_arrays_are_built_too():
    assert (
        FlatOutputs([Deep(states=(None, None), mode="sum")]).map_several(lambda leaf: [], 2)
        == [Deep(states=(None, None), mode="sum")] * 2
    )
    assert FlatOutputs([Deep(mode=None, states=())]).map(lambda leaf: leaf.array) == Deep(mode=None, states=())


def test_a_field_whose_result_is_none_is_absent():
    output = FlatOutputs([deep()]).map(lambda leaf: None if leaf.row_axis is None else leaf.array)
    assert "loss" not in output
    assert output.loss is None
    assert next(iter(output)) == "states"


def test_named_tuples_and_tuple_subclasses_keep_their_class():
    class Pair(NamedTuple):
        key: Any
        value: Any

    class Kept(tuple[Any, ...]):
        __slots__ = ()

    class Own(ModelOutput):
        pair: tuple[Float[Array, "batch"], Float[Array, "batch"]] | None = None
        kept: tuple[Float[Array, "batch"], ...] | None = None

    given = Own(pair=Pair(np.ones(1), np.zeros(1)), kept=Kept([np.ones(1)]))
    output = FlatOutputs([given, given.replace(kept=(np.zeros(1),))]).map(lambda leaf: leaf.arrays[-1])
    assert type(output.pair) is Pair
    assert output.pair.value == 0
    assert type(output.kept) is Kept
    assert output.kept[0] == 0


def test_one_array_in_two_places_is_one_leaf():
    class Own(ModelOutput):
        last: Float[Array, "batch hidden"] = ALWAYS
        states: tuple[Float[Array, "batch hidden"], ...] = ALWAYS
        vectors: Float[Array, "batch width"] | None = None

    array, calls = np.ones((2, 3)), list[str]()

    def function(leaf: Leaf) -> Any:
        calls.append(leaf.path)
        return leaf.array * 2

    output = FlatOutputs([Own(last=array, states=(array, array.copy()), vectors=array)]).map(function)
    assert output.last is output.states[0]
    assert output.states[1] is not output.last
    assert output.vectors is not output.last  # the same array, but with other axes
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


def test_arrays_made_anew_each_time_are_told_apart():
    class Own(ModelOutput):
        made: Mapping[str, Float[Array, "batch"]] | None = None

    given = Own(made=Made({str(i): i for i in range(50)}))
    output = FlatOutputs([given]).map(lambda leaf: leaf.array + 1)
    assert type(output.made) is Made
    assert list(output.made.numbers.values()) == list(range(1, 51))
    assert list(given.map(lambda array: array + 1).made.numbers.values()) == list(range(1, 51))


# -- refused --------------------------------------------------------------------------------------------------------


def test_the_path_of_a_difference_is_named():
    other = deep()
    other.several = [Inner()]
    with pytest.raises(UsageError, match=r"^outputs\[0\] has points but outputs\[1\] does not; drop it"):
        seen(deep(), other)
    with pytest.raises(UsageError, match=r"^cache\.a is \(.*\) in outputs\[0\] and \(f64\[2\],\) in outputs\[2\]"):
        seen(deep(), deep(), deep().replace(cache={"a": (np.zeros(2),)}))


def test_string_annotations_are_resolved_as_soon_as_possible():
    late = type("Late", (ModelOutput,), {"__annotations__": {"x": "Float[Array, 'batch']"}, "__module__": "json"})
    with pytest.raises(ContractError, match=r"^Late: an annotation cannot be resolved"):
        seen(late(x=np.ones(2)))
    late.__module__ = __name__
    assert [leaf.axes for leaf in seen(late(x=np.ones(2)))] == [("batch",)]


def test_a_wrong_number_of_axes_is_reported():
    message = "states.0 is f64[2,3] of ndarray, whose axes do not match its annotation; run check() for details"
    with pytest.raises(ContractError, match=f"^{re.escape(message)}"):
        seen(Deep(states=(np.ones((2, 3)),)))
