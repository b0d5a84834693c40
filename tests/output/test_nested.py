import collections
import types
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from modeloutputs import ModelOutput, UsageError
from modeloutputs.output.nested import (
    ArrayMemo,
    children,
    distinct_arrays,
    flat_arrays,
    fold,
    is_array,
    is_nested,
    map_arrays,
    map_leaves,
    memory_identity,
    rebuild,
    walk,
)

from .examples import Moved, complete, every_framework


class Pair(NamedTuple):
    first: Any
    second: Any


class Held(ModelOutput):
    value: Any = None
    other: Any = None


class Shaped(ModelOutput):
    shape: Any = None
    dtype: Any = None


def test_an_output_with_fields_named_shape_and_dtype_is_not_an_array():
    output = Shaped(shape=np.ones(2), dtype="f4")
    assert not is_array(output)
    assert is_nested(output)
    assert output == Shaped(shape=np.ones(2), dtype="f4")
    assert repr(output) == "Shaped(\n  shape=f64[2],\n  dtype='f4',\n)"
    assert list(Held(value=output).to_flat_dict()) == ["value.shape"]


@pytest.mark.parametrize("value", [np.float32, 1.0, None, "text", [1.0], {"shape": 1, "dtype": 2}])
def test_classes_numbers_and_containers_are_not_arrays(value: Any):
    assert not is_array(value)


def test_children_have_keys_or_indices():
    assert children({"a": 1, 2: (3,)}) == [("a", 1), (2, (3,))]
    assert children(Pair(1, [2])) == [(0, 1), (1, [2])]
    assert children(Held(other=1)) == [("other", 1)]
    assert children("text") == children(np.ones(2)) == children(None) == []


@pytest.mark.parametrize(
    ("like", "items", "rebuilt"),
    [
        ((1, 2), [3], (3,)),
        ([1], [3, 4], [3, 4]),
        (Pair(1, 2), [3, 4], Pair(3, 4)),
        ({"a": 1}, [2], {"a": 2}),
        (collections.OrderedDict(a=1), [2], collections.OrderedDict(a=2)),
        (Held(value=1, other=2), [3, 4], Held(value=3, other=4)),
        (Held(other=2), [4], Held(other=4)),
    ],
)
def test_a_rebuilt_value_takes_the_class_and_keys_of_another(like: Any, items: list[Any], rebuilt: Any):
    made = rebuild(like, items)
    assert type(made) is type(like)
    assert made == rebuilt


def test_containers_keep_their_class_and_leaves_that_are_not_arrays_their_value():
    default = collections.defaultdict(list, a=np.ones(1))
    values: list[Any] = [
        (np.ones(1), None),
        [np.ones(1)],
        Pair(np.ones(1), "x"),
        {"a": np.ones(1)},
        collections.OrderedDict(a=np.ones(1)),
        default,
        Held(value=np.ones(1)),
        types.SimpleNamespace(a=1),
        "text",
        None,
    ]
    mapped = map_arrays(lambda a: a + 1, values)
    assert [type(value) for value in mapped] == [type(value) for value in values]
    assert mapped[0] == (2, None)
    assert mapped[2].second == "x"
    assert mapped[5]["a"] == 2
    assert mapped[5]["new"] == []
    assert default["a"] == 1
    assert mapped[6].value == 2
    assert mapped[7] is values[7]


def test_a_class_of_arrays_is_a_value_like_others():
    output = Held(value=(np.float32, np.ones(1)), other=np.float32)
    assert output.map(lambda a: a + 1).value == (np.float32, 2)
    assert list(output.to_flat_dict()) == ["value.1"]
    assert "other=<class 'numpy.float32'>" in repr(output)


def test_leaves_are_mapped_where_they_stand():
    assert map_leaves(str, {"a": (1, None), "b": [[2]]}) == {"a": ("1", "None"), "b": [["2"]]}


def test_nested_values_can_be_mapped_whole():
    value = {"a": (1, 2), "b": [(3, 4)]}
    assert map_leaves(lambda item: sum(item), value, lambda item: isinstance(item, tuple)) == {"a": 3, "b": [7]}


def test_an_array_in_two_places_is_passed_once():
    array, passed = np.ones(2), list[Any]()
    mapped = map_arrays(lambda a: passed.append(a) or a + 1, {"a": array, "b": (array, np.ones(2))})
    assert len(passed) == 2
    assert mapped["a"] is mapped["b"][0]
    assert mapped["b"][1] is not mapped["a"]


def test_the_memo_computes_anew_under_another_condition():
    memo, array = ArrayMemo(), np.ones(2)
    first = memo.get([array], lambda: object(), "a")
    assert memo.get([array], lambda: object(), "a") is first
    assert memo.get([array], lambda: object(), "b") is not first
    assert memo.get([array, array], lambda: object(), "a") is not first


def test_the_memo_keeps_its_arrays_alive():
    memo = ArrayMemo()
    assert [memo.get([np.full(1, i)], lambda i=i: i) for i in range(50)] == list(range(50))


def test_a_fold_sees_leaves_first():
    value = {"a": (1, 2), "b": Held(value=[3])}
    assert fold(value, lambda leaf: leaf, lambda like, results: (type(like).__name__, *results)) == (
        "dict",
        ("tuple", 1, 2),
        ("Held", ("list", 3)),
    )


def test_a_walk_sees_outer_values_first():
    inner = Held(other=(1,))
    assert list(walk([inner, 2])) == [
        ((), [inner, 2]),
        ((0,), inner),
        ((0, "other"), (1,)),
        ((0, "other", 0), 1),
        ((1,), 2),
    ]


def test_flat_names_join_keys_with_dots():
    a, b = np.zeros(1), np.ones(1)
    assert flat_arrays({"x": (a, None, {3: b}), "y": "text"}) == {"x.0": a, "x.2.3": b}
    assert flat_arrays([a], "states") == {"states.0": a}
    assert flat_arrays(a, "loss") == {"loss": a}


def test_two_arrays_of_one_flat_name_are_refused():
    with pytest.raises(UsageError, match=r"^two arrays are named 'a.b': a key that contains dots looks nested; rename"):
        flat_arrays({"a": {"b": np.ones(1)}, "a.b": np.ones(1)})


def test_distinct_arrays_are_in_order():
    a, b = np.zeros(1), np.ones(1)
    assert [array is wanted for array, wanted in zip(distinct_arrays([b, (a, b), None]), [b, a], strict=True)] == [
        True,
        True,
    ]


def test_arrays_of_numpy_are_identical_to_themselves_alone():
    array = np.ones(2)
    assert memory_identity(array) == memory_identity(array)
    assert memory_identity(array) != memory_identity(array[:])


def test_tensors_that_read_one_memory_alike_are_identical():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    tensor = torch.ones(2, 2, dtype=torch.complex64)
    assert memory_identity(tensor) == memory_identity(tensor[:])
    others = [tensor.clone(), tensor.T, tensor[:1], tensor.conj(), tensor.view(torch.float32), tensor.reshape(4)]
    assert memory_identity(tensor) not in list(map(memory_identity, others))
    empty = torch.ones(0)
    assert memory_identity(empty) != memory_identity(torch.ones(0))
    assert memory_identity(torch.eye(2).to_sparse()) != memory_identity(torch.eye(2).to_sparse())


# -- the flat names of outputs ----------------------------------------------------------------------------------------


def test_flat_names_are_places():
    output = Moved(loss=np.zeros(()), table=({"a": np.ones(1)}, None, "text", [np.ones(2)]))
    assert list(output.to_flat_dict()) == ["loss", "table.0.a", "table.3.0"]
    assert output.to_flat_dict()["table.3.0"] is output.table[3][0]


def test_flat_names_that_clash_are_refused():
    with pytest.raises(UsageError, match=r"^two arrays are named 'table\.a\.b': a key that contains dots"):
        Moved(table={"a.b": np.ones(1), "a": {"b": np.zeros(1)}}).to_flat_dict()


@every_framework
def test_flat_names_are_those_of_saved_tensors(class_name: str, kind: str, tmp_path: Path):
    safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed")
    from modeloutputs import save

    output = complete(class_name, kind)
    save(output, tmp_path / "out.safetensors")
    with safetensors.safe_open(tmp_path / "out.safetensors", "numpy") as file:
        saved = set(file.keys())
    flat = output.to_flat_dict()
    first = {id(array): name for name, array in reversed(flat.items())}  # what stands in two places is saved once
    assert saved == set(first.values())
    assert "hidden_states.0" not in flat


def test_flat_names_follow_fields_layers_and_what_a_layer_has():
    output = complete("CausalLMOutputWithPast", "torch")
    states = [f"past_key_values.{i}.{j}" for i in range(2) for j in range(2)]
    assert list(output.to_flat_dict()) == [
        *("loss", "logits", *states),
        *("hidden_states.1", "hidden_states.2", "attentions.0", "attentions.1"),
    ]
    assert output.to_flat_dict()["past_key_values.1.0"] is output.past_key_values[1][0]
    assert type(output.to_flat_dict()) is dict
    cache = complete("FlaxBaseModelOutputWithPast", "jax").to_flat_dict()
    assert [name for name in cache if "past" in name] == [
        *(f"past_key_values.layers.{i}.cached_{what}" for i in range(2) for what in ("key", "value")),
        "past_key_values.cache_index",
    ]
    assert list(Moved(table=Moved(loss=np.ones(1)), loss=None).to_flat_dict()) == ["table.loss"]
    assert Moved().to_flat_dict() == {}
