import copy
import enum
import functools
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeloutputs import (
    FieldAttributeError,
    FieldIndexError,
    FieldKeyError,
    ModelOutput,
    UsageError,
)

from ..support.processes import run_code
from .examples import (
    Masked,
    full,
    views,
)

# -- reading ----------------------------------------------------------------------------------------------------------


def test_it_is_a_dict():
    assert isinstance(full(), dict)
    assert json.dumps(full()) == '{"loss": 0.5, "logits": "l", "hidden_states": [1, 2]}'


def test_attribute_key_and_index_give_the_same():
    output = full()
    assert output.logits == output["logits"] == output[1] == output[-2] == output.get("logits") == "l"


def test_a_slice_is_a_tuple():
    assert full()[:2] == (0.5, "l")
    assert full()[1:] == ("l", (1, 2))
    assert full()[::-1] == ((1, 2), "l", 0.5)


def test_integers_of_numpy_index():
    assert full()[np.int64(1)] == "l"


def test_a_string_of_an_enum_is_a_key():
    class Name(str, enum.Enum):  # noqa: UP042  # whose str() is not its value
        LOGITS = "logits"

    assert full()[Name.LOGITS] == "l"


def test_none_is_absent_from_tuple_and_dict():
    names, values, attributes = views(Masked(logits="l"))
    assert names == ["logits"]
    assert values == ("l",)
    assert attributes == {"loss": None, "logits": "l", "hidden_states": None, "attentions": None}


@pytest.mark.parametrize("value", [0, 0.0, "", False, (), [], {}])
def test_falsy_values_are_present(value: object):
    assert views(Masked(logits=value))[:2] == (["logits"], (value,))


def test_nothing_given_is_an_empty_output():
    assert views(Masked())[:2] == ([], ())
    assert views(ModelOutput())[:2] == ([], ())


def test_an_absent_field_names_the_flag_that_fills_it():
    with pytest.raises(FieldKeyError, match=r"^Masked holds no 'attentions': it is returned when output_attentions=Tr"):
        full()["attentions"]
    with pytest.raises(KeyError, match=r"^Masked holds no 'loss': it is returned when labels are passed$"):
        Masked()["loss"]


def test_an_absent_field_is_a_key_error_even_where_annotations_cannot_be_resolved():
    class Unresolvable(ModelOutput):
        other: "NotImported | None" = None  # pyright: ignore[reportUndefinedVariable]

    with pytest.raises(FieldKeyError, match=r"^Unresolvable holds no 'other': it is returned when the model has it$"):
        Unresolvable()["other"]


def test_a_misspelt_key_gets_the_nearest_field():
    with pytest.raises(FieldKeyError, match=r"^Masked has no field 'logit'; did you mean 'logits'\?$"):
        full()["logit"]


def test_a_key_like_no_field_gets_the_list():
    with pytest.raises(FieldKeyError, match=r"no field 'x'; there are loss, logits, hidden_states, attentions$"):
        full()["x"]


def test_a_misspelt_attribute_gets_the_nearest_field():
    with pytest.raises(FieldAttributeError, match=r"^Masked has no field 'attentoins'; did you mean 'attentions'\?$"):
        _ = full().attentoins  # pyright: ignore[reportAttributeAccessIssue]


def test_hasattr_and_getattr_see_undeclared_names_as_missing():
    assert not hasattr(full(), "shape")
    assert getattr(full(), "shape", 3) == 3
    assert hasattr(full(), "attentions")


def test_an_index_beyond_the_fields_lists_what_is_there():
    with pytest.raises(FieldIndexError, match=r"^Masked has no field at index 3; present are 0: loss, 1: logits, 2:"):
        full()[3]
    with pytest.raises(IndexError, match=r"^Masked has no field at index -1; present are none$"):
        Masked()[-1]


@pytest.mark.parametrize("key", [1.0, None, (0, 1), b"loss"])
def test_other_keys_are_refused(key: object):
    message = f"Masked takes a field name, an integer or a slice in [], not {key!r} of {type(key).__name__}"
    with pytest.raises(FieldKeyError, match=f"^{re.escape(message)}$"):
        full()[key]  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_get_gives_its_default_for_what_is_absent():
    assert full().get("attentions") is None
    assert full().get("attentions", 3) == 3


def test_to_dict_is_a_plain_dict_of_its_own():
    output = full()
    plain = output.to_dict()
    plain["loss"] = 9
    assert type(plain) is dict
    assert output.loss == 0.5


def test_mapping_and_class_patterns_match():
    match full():
        case {"logits": by_key}:
            assert by_key == "l"
    match full():
        case Masked(loss, by_position):
            assert (loss, by_position) == (0.5, "l")


# -- writing ----------------------------------------------------------------------------------------------------------


def set_attribute(output: Any) -> None:
    output.logits = "l"


def set_item(output: Any) -> None:
    output["logits"] = "l"


@pytest.mark.parametrize(
    "write",
    [
        set_attribute,
        set_item,
        lambda output: setattr(output, "logits", "l"),
        lambda output: output.update(logits="l"),
        lambda output: output.update({"logits": "l"}),
        lambda output: output.update([("logits", "l")]),
        lambda output: output.update(Masked(logits="l")),
        lambda output: output.setdefault("logits", "l"),
    ],
)
def test_a_late_value_takes_its_declared_place(write: Any):
    output = Masked(loss=0.5, attentions=(3,))
    write(output)
    assert views(output)[:2] == (["loss", "logits", "attentions"], (0.5, "l", (3,)))


def del_attribute(output: Any) -> None:
    del output.logits


def del_item(output: Any) -> None:
    del output["logits"]


@pytest.mark.parametrize(
    "remove",
    [
        del_attribute,
        del_item,
        lambda output: setattr(output, "logits", None),
        lambda output: output.__setitem__("logits", None),
        lambda output: output.update(logits=None),
        lambda output: output.pop("logits"),
    ],
)
def test_none_and_deletion_remove_from_every_view(remove: Any):
    output = full()
    remove(output)
    assert views(output) == (
        ["loss", "hidden_states"],
        (0.5, (1, 2)),
        {"loss": 0.5, "logits": None, "hidden_states": (1, 2), "attentions": None},
    )


def test_overwriting_keeps_the_place():
    output = full()
    output.loss = 9.0
    assert views(output)[:2] == (["loss", "logits", "hidden_states"], (9.0, "l", (1, 2)))


def test_pop_gives_the_value_or_the_default():
    output = full()
    assert output.pop("loss") == 0.5
    assert output.pop("loss", 7) == 7
    with pytest.raises(FieldKeyError, match=r"^Masked holds no 'loss': it is returned when labels are passed$"):
        output.pop("loss")


def test_setdefault_gives_what_is_there():
    output = full()
    assert output.setdefault("loss", 7) == 0.5
    assert output.setdefault("attentions") is None
    assert output.setdefault("attentions", (3,)) == (3,)


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (lambda output: setattr(output, "logit", 1), AttributeError),
        (lambda output: output.__setitem__("logit", 1), KeyError),
        (lambda output: output.update(logit=1), KeyError),
        (lambda output: output.update(logits="new", logit=1), KeyError),
        (lambda output: output.setdefault("logit", 1), KeyError),
    ],
)
def test_writing_an_unknown_field_is_refused_and_changes_nothing(write: Any, error: type[Exception]):
    output = full()
    with pytest.raises(error, match=r"^Masked has no field 'logit' to set; did you mean 'logits'\?$"):
        write(output)
    assert views(output)[1] == (0.5, "l", (1, 2))


def test_assigning_by_index_is_refused():
    with pytest.raises(FieldKeyError, match=r"^Masked is assigned by field name, not by 0$"):
        full()[0] = 1  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("remove", "error", "message"),
    [
        (lambda output: output.pop("logit"), KeyError, "Masked has no field 'logit'; did you mean 'logits'?"),
        (lambda output: output.pop("logit", None), KeyError, "Masked has no field 'logit'; did you mean 'logits'?"),
        (lambda output: output.__delitem__("logit"), KeyError, "Masked has no field 'logit'; did you mean 'logits'?"),
        (lambda output: output.__delitem__("attentions"), KeyError, "holds no 'attentions': it is returned when out"),
        (lambda output: delattr(output, "logit"), AttributeError, "Masked has no field 'logit' to delete"),
    ],
)
def test_removing_a_missing_field_is_refused(remove: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=re.escape(message)):
        remove(full())


@pytest.mark.parametrize(
    ("operate", "message"),
    [
        (lambda output: output.popitem(), "Masked does not support popitem(); set the field to None to remove it"),
        (lambda output: output.clear(), "Masked does not support clear(); set fields to None to remove them"),
        (lambda output: output | {}, "does not support |; use out.replace(field=value) for a new output"),
        (lambda output: {} | output, "does not support |; use out.replace(field=value) for a new output"),
        (lambda output: output.__ior__({}), "does not support |=; use out.update(field=value)"),
    ],
)
def test_unsupported_operations_are_refused_with_an_alternative(operate: Any, message: str):
    output = full()
    with pytest.raises(UsageError, match=re.escape(message)):
        operate(output)
    assert views(output)[1] == (0.5, "l", (1, 2))


# -- iterating and unpacking ------------------------------------------------------------------------------------------


def unpack_pair(output: Any) -> Any:
    a, b = output
    return a, b


def unpack_rest(output: Any) -> Any:
    a, *rest = output
    return a, rest


def unpack_nested(output: Any) -> Any:
    (a, b), c = output, 1
    return a, b, c


def unpack_in_a_loop(output: Any) -> Any:
    return [(a, b) for a, b in [output]]


def collect(*values: Any, **named: Any) -> Any:
    return values, named


@pytest.mark.parametrize(
    "unpack",
    [
        unpack_pair,
        unpack_rest,
        unpack_nested,
        unpack_in_a_loop,
        lambda output: collect(*output),
        lambda output: collect(1, *output),
        lambda output: collect(*output, 1),
        lambda output: collect(*output, loss=1),
        lambda output: [*output],
        lambda output: (*output, 1),
        lambda output: {*output},
        lambda output: max(*output),
    ],
)
def test_unpacking_is_refused(unpack: Any):
    with pytest.raises(TypeError, match=r"^Masked iterates over field names, so .* strings; unpack out\.to_tuple"):
        unpack(Masked(loss=1, logits="l"))


def for_loop(output: Any) -> list[str]:
    names: list[str] = []
    for name in output:
        names.append(name)
    return names


def yield_from(output: Any) -> Any:
    yield from output


@pytest.mark.parametrize(
    "iterate",
    [
        for_loop,
        list,
        lambda output: [name for name in output],  # noqa: C416
        lambda output: list(name for name in output),  # noqa: C400
        lambda output: list(yield_from(output)),
        lambda output: list(iter(output)),
        lambda output: [a for a, _ in zip(output, output.values(), strict=True)],
        lambda output: [name for _, name in enumerate(output)],
        lambda output: list(map(str, output)),
        lambda output: list(dict(output)),
        lambda output: list({**output}),
        lambda output: list(collect(**output)[1]),
        lambda output: list(collect(1, **output)[1]),
        lambda output: list(reversed(sorted(output, reverse=True))),  # noqa: C413
        lambda output: list(reversed(list(reversed(output)))),
        lambda output: list(dict.fromkeys(output)),
        lambda output: list(functools.reduce(lambda names, name: [*names, name], output, [])),
        lambda output: ",".join(output).split(","),
    ],
)
def test_iterating_gives_field_names_as_a_dictionary_does(iterate: Any):
    assert iterate(Masked(hidden_states=(1,), logits="l")) in (["logits", "hidden_states"], ["hidden_states", "logits"])


def test_the_tuple_can_be_unpacked():
    loss, logits = Masked(loss=1, logits="l").to_tuple()
    assert (loss, logits) == (1, "l")


# -- copying ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [copy.copy, lambda output: output.copy()])
def test_a_copy_shares_values_and_nothing_else(make: Any):
    output = Masked(attentions=[1], loss=0.5)
    copied = make(output)
    copied.loss = None
    assert type(copied) is Masked
    assert copied.attentions is output.attentions
    assert views(output)[1] == (0.5, [1])


def test_a_deep_copy_shares_nothing():
    output = Masked(loss=0.5, attentions=[1])
    copied = copy.deepcopy(output)
    copied.attentions.append(2)
    assert views(copied)[:2] == (["loss", "attentions"], (0.5, [1, 2]))
    assert output.attentions == [1]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_class_order_and_absence(protocol: int):
    output = Masked(attentions=(3,))
    output.loss = 0.5
    again = pickle.loads(pickle.dumps(output, protocol))
    assert type(again) is Masked
    assert views(again)[:2] == (["loss", "attentions"], (0.5, (3,)))
    again.logits = "l"
    assert list(again.keys()) == ["loss", "logits", "attentions"]


def test_pickling_works_across_processes(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "from modeloutputs import ModelOutput\n"
        "class Mine(ModelOutput):\n"
        "    loss: float | None = None\n"
        "    mode: str | None = 'mean'\n"
        "    last: int | None = None\n"
    )
    write = "import mine, pickle; pickle.dump(mine.Mine(last=1, loss=.5, mode=None), open('out.pkl', 'wb'))"
    read = "import pickle; out = pickle.load(open('out.pkl', 'rb')); print(list(out.items()), out.mode, type(out))"
    run_code(write, cwd=tmp_path)
    assert run_code(read, cwd=tmp_path) == "[('loss', 0.5), ('last', 1)] None <class 'mine.Mine'>"


def test_unflatten_takes_values_as_they_are():
    placeholder = object()
    output = Masked.unflatten(("loss", "logits"), (None, placeholder))
    assert list(output.items()) == [("loss", None), ("logits", placeholder)]
    assert output.logits is placeholder


# -- comparing --------------------------------------------------------------------------------------------------------


def test_equal_is_same_class_same_fields_equal_values():
    assert full() == full()
    assert (full() != full()) is False
    assert full() != full().replace(loss=0.25)
    assert full() != full().replace(attentions=(3,))
    assert full() != full().to_dict()
    assert full().to_dict() != full()
    assert full() != type("Masked", (Masked,), {})(full())
    assert full() != "full"


def test_order_of_writing_does_not_matter():
    output = Masked(attentions=(3,))
    output.loss = 0.5
    assert output == Masked(loss=0.5, attentions=(3,))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (np.ones((2, 3)), np.ones((2, 3)), True),
        (np.ones((2, 3)), np.zeros((2, 3)), False),
        (np.ones((2, 3)), np.ones((3, 2)), False),
        (np.ones(2, "f4"), np.ones(2, "f8"), False),
        (np.ones(2), [1.0, 1.0], False),
        (np.ones(2), 1.0, False),
        ((np.ones(2), None), (np.ones(2), None), True),
        ((np.ones(2), None), (np.ones(2), np.ones(2)), False),
        (np.array([np.nan]), np.array([np.nan]), False),
        (float("nan"), float("inf"), False),
    ],
)
def test_arrays_compare_to_one_truth(left: Any, right: Any, same: bool):
    assert (Masked(logits=left) == Masked(logits=right)) is same
    assert (Masked(logits=left) != Masked(logits=right)) is not same


def test_outputs_are_unhashable():
    with pytest.raises(TypeError, match=r"unhashable type: 'Masked'"):
        hash(full())


def test_an_output_is_true_where_it_holds_something():
    assert full()
    assert not Masked()
