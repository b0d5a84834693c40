import collections
import collections.abc
import copy
import dataclasses
import enum
import functools
import importlib
import inspect
import json
import pickle
import re
import types
import typing
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import pytest

from modeloutputs import (
    ALWAYS,
    DefinitionError,
    FieldAttributeError,
    FieldIndexError,
    FieldKeyError,
    InputError,
    ModelOutput,
    UsageError,
)
from modeloutputs.output import field_names

from ..support.processes import run_code


class Masked(ModelOutput):
    loss: float | None = None
    logits: str = ALWAYS
    hidden_states: tuple[Any, ...] | None = None
    attentions: tuple[Any, ...] | None = None


@dataclasses.dataclass
class Decorated(ModelOutput):
    loss: float | None = None
    logits: str = ALWAYS
    mode: str = "mean"
    notes: list[str] = dataclasses.field(default_factory=list)


class Defaulted(ModelOutput):
    mode: str | None = "mean"
    notes: list[str] | None = dataclasses.field(default_factory=list)
    loss: float | None = None


def full() -> Masked:
    return Masked(loss=0.5, logits="l", hidden_states=(1, 2))


def views(output: ModelOutput) -> tuple[list[str], tuple[Any, ...], dict[str, Any]]:
    """Give names, tuple and attributes, after asserting that all views agree."""
    names = list(output.keys())
    assert names == [name for name in field_names(output) if getattr(output, name) is not None]
    assert output.to_tuple() == tuple(output[name] for name in names) == tuple(output.values())
    assert output.to_dict() == dict(output.items()) == dict(output)
    assert [name for name in field_names(output) if name in output] == names
    assert len(output) == len(names)
    assert all(output[i] is output[name] for i, name in enumerate(names))
    return names, output.to_tuple(), {name: getattr(output, name) for name in field_names(output)}


# -- reading --------------------------------------------------------------------------------------------------------


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


# -- building -------------------------------------------------------------------------------------------------------

PAIRS = [("loss", 0.5), ("logits", "l"), ("hidden_states", (1, 2))]


@pytest.mark.parametrize(
    "build",
    [
        lambda: Masked(loss=0.5, logits="l", hidden_states=(1, 2)),
        lambda: Masked(hidden_states=(1, 2), logits="l", loss=0.5),
        lambda: Masked(0.5, "l", (1, 2)),
        lambda: Masked(0.5, "l", (1, 2), None),
        lambda: Masked(0.5, "l", hidden_states=(1, 2)),
        lambda: Masked(dict(PAIRS)),
        lambda: Masked(dict(reversed(PAIRS))),
        lambda: Masked(types.MappingProxyType(dict(PAIRS))),
        lambda: Masked(collections.ChainMap(dict(PAIRS))),
        lambda: Masked(PAIRS),
        lambda: Masked(PAIRS[::-1]),
        lambda: Masked(tuple(PAIRS)),
        lambda: Masked(pair for pair in PAIRS),
        lambda: Masked(zip(["loss", "logits", "hidden_states"], [0.5, "l", (1, 2)], strict=True)),
        lambda: Masked(list(pair) for pair in PAIRS),
        lambda: Masked(dict(PAIRS).items()),
        lambda: Masked(collections.OrderedDict(PAIRS).items()),
        lambda: Masked(collections.ChainMap(dict(PAIRS)).items()),
        lambda: Masked(dict(PAIRS[:2]), hidden_states=(1, 2)),
        lambda: Masked(iter(PAIRS[:2]), hidden_states=(1, 2)),
        lambda: Masked(full()),
        lambda: Masked(**full()),
        lambda: Masked(**dict(PAIRS)),
    ],
)
def test_every_way_to_build_gives_the_same_in_declared_order(build: Any):
    names, values, _ = views(build())
    assert names == ["loss", "logits", "hidden_states"]
    assert values == (0.5, "l", (1, 2))


@pytest.mark.parametrize(
    "value", [{"a": 1}, {0: "loss"}, [("loss",)], [(0, 1)], [["loss", 1]], [], (), ("loss", 1), "ab"]
)
def test_a_lone_value_that_names_no_field_is_the_first_fields(value: Any):
    assert views(Masked(value))[1] == (value,)


def test_a_lone_mapping_of_no_fields_is_no_fields():
    assert views(Masked({}))[1] == ()


def test_a_second_value_makes_the_first_no_mapping():
    assert Masked({"loss": 1}, "l").to_tuple() == ({"loss": 1}, "l")


def test_a_first_field_that_holds_a_mapping_can_be_named():
    assert Masked(loss={"loss": 1}).loss == {"loss": 1}


def test_none_in_pairs_is_absent():
    assert views(Masked([("loss", None), ("logits", "l")]))[0] == ["logits"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Masked(logit=1), "Masked has no field 'logit'; did you mean 'logits'?"),
        (lambda: Masked({"loss": 1, "logit": 2}), "Masked has no field 'logit'; did you mean 'logits'?"),
        (lambda: Masked([("loss", 1), ("logit", 2)]), "Masked has no field 'logit'; did you mean 'logits'?"),
        (lambda: Masked(iter([("zz", 1)])), "no field 'zz'; there are loss, logits, hidden_states, attentions"),
        (lambda: Masked([("loss", 1), ("loss", 2)]), "Masked was given 'loss' twice"),
        (lambda: Masked(1, loss=2), "Masked was given 'loss' twice, by position and by keyword"),
        (lambda: Masked({"loss": 1}, loss=2), "Masked was given 'loss' twice"),
        (lambda: Masked({"loss": 1, 2: 3}), "Masked takes field names as keys, got 2 of int"),
        (lambda: Masked(iter([(2, 3)])), "Masked takes field names as keys, got 2 of int"),
        (lambda: Masked(iter([1, 2])), "Masked takes (name, value) pairs, got int"),
        (lambda: Masked(iter(["ab"])), "Masked takes (name, value) pairs, got str"),
        (lambda: Masked(1, 2, 3, 4, 5), "takes at most 4 values (loss, logits, hidden_states, attentions), got 5"),
        (lambda: Masked(self=1), "Masked has no field 'self'"),
        (lambda: ModelOutput(loss=1), "ModelOutput has no field 'loss'; there are none"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(build: Any, message: str):
    with pytest.raises(UsageError, match=re.escape(message)):
        build()


def test_the_signature_names_the_fields():
    assert list(inspect.signature(Masked).parameters)[1:5] == ["loss", "logits", "hidden_states", "attentions"]


# -- third-party idioms that rebuild outputs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rebuild",
    [
        lambda out, f: type(out)((k, f(v)) for k, v in out.items()),
        lambda out, f: type(out)([(k, f(v)) for k, v in out.items()]),
        lambda out, f: type(out)({k: f(v) for k, v in out.items()}),
        lambda out, f: type(out)(**{k: f(v) for k, v in out.items()}),
        lambda out, f: type(out)((k, f(out[k])) for k in out),
        lambda out, f: type(out)(zip(out.keys(), map(f, out.values()), strict=True)),
        lambda out, f: type(out)(*[f(v) for v in dataclasses.astuple(out)]),
        lambda out, f: dataclasses.replace(out, **{k: f(v) for k, v in out.items()}),
    ],
)
def test_rebuild_idioms_keep_class_and_order(rebuild: Any):
    output = rebuild(full(), lambda value: value and [value])
    assert type(output) is Masked
    assert views(output)[:2] == (["loss", "logits", "hidden_states"], ([0.5], ["l"], [(1, 2)]))


def test_pytorchs_collate_gather_and_move_keep_the_class():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from torch.utils.data import default_collate

    rows = [Masked(loss=torch.tensor(float(i)), hidden_states=(torch.ones(2),)) for i in range(3)]
    collated = default_collate(rows)
    assert type(collated) is Masked
    assert collated.loss.tolist() == [0, 1, 2]
    assert collated.hidden_states[0].shape == (3, 2)


# -- writing --------------------------------------------------------------------------------------------------------


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
def test_writing_what_is_no_field_is_refused_and_changes_nothing(write: Any, error: type[Exception]):
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
def test_removing_what_is_not_there_is_refused(remove: Any, error: type[Exception], message: str):
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
def test_what_makes_no_sense_is_refused_with_what_to_do(operate: Any, message: str):
    output = full()
    with pytest.raises(UsageError, match=re.escape(message)):
        operate(output)
    assert views(output)[1] == (0.5, "l", (1, 2))


# -- iterating and unpacking ----------------------------------------------------------------------------------------


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


def test_what_is_unpacked_instead_works():
    loss, logits = Masked(loss=1, logits="l").to_tuple()
    assert (loss, logits) == (1, "l")


# -- dataclass ------------------------------------------------------------------------------------------------------


def test_fields_are_the_declared_ones_and_default_to_none():
    assert dataclasses.is_dataclass(Masked)
    fields = dataclasses.fields(Masked)
    assert [field.name for field in fields] == ["loss", "logits", "hidden_states", "attentions"]
    assert [field.default for field in fields] == [None] * 4


def test_a_field_without_default_defaults_to_none():
    class Bare(ModelOutput):
        loss: float
        logits: str

    assert views(Bare(logits="l"))[:2] == (["logits"], ("l",))
    assert Bare.loss is None


def test_replace_is_a_new_output_that_shares_the_rest():
    output = full()
    changes: dict[str, Any] = {"loss": None, "attentions": (3,)}
    for changed in (output.replace(**changes), dataclasses.replace(output, **changes)):
        assert views(changed)[:2] == (["logits", "hidden_states", "attentions"], ("l", (1, 2), (3,)))
        assert changed.hidden_states is output.hidden_states
    assert views(output)[1] == (0.5, "l", (1, 2))


def test_replace_refuses_what_is_no_field():
    with pytest.raises(UsageError, match=r"^Masked has no field 'logit'; did you mean 'logits'"):
        full().replace(logit=1)


def test_asdict_and_astuple_have_every_field():
    assert dataclasses.asdict(full()) == {"loss": 0.5, "logits": "l", "hidden_states": (1, 2), "attentions": None}
    assert dataclasses.astuple(full()) == (0.5, "l", (1, 2), None)


def test_asdict_goes_into_outputs_held_by_outputs():
    assert dataclasses.asdict(Masked(logits=Masked(loss=1)))["logits"]["loss"] == 1


def test_the_decorator_on_top_changes_nothing():
    output = Decorated(logits="l")
    assert repr(output) == "Decorated(\n  logits='l',\n  mode='mean',\n  notes=(),\n)"
    assert output == Decorated(logits="l")
    assert Decorated(logits=np.ones(2)) == Decorated(logits=np.ones(2))
    assert views(Decorated([("logits", "l")]))[:2] == (["logits", "mode", "notes"], ("l", "mean", []))
    with pytest.raises(UsageError, match=r"did you mean 'logits'"):
        Decorated(logit=1)
    with pytest.raises(TypeError, match=r"unhashable"):
        hash(output)


def test_the_decorator_on_top_keeps_what_returns_a_field():
    @dataclasses.dataclass
    class Stated(ModelOutput):
        extra: int | None = dataclasses.field(default=None, metadata={"returned_when": "extra=True"})

    with pytest.raises(KeyError, match=r"it is returned when extra=True$"):
        Stated()["extra"]


def test_make_dataclass_makes_outputs():
    made = dataclasses.make_dataclass("Made", [("a", int | None, None), ("b", list, None)], bases=(ModelOutput,))
    assert views(made([("b", [1])]))[:2] == (["b"], ([1],))


# -- defaults -------------------------------------------------------------------------------------------------------


def test_defaults_are_present():
    assert views(Defaulted())[:2] == (["mode", "notes"], ("mean", []))
    assert views(Defaulted([("loss", 1.0)]))[:2] == (["mode", "notes", "loss"], ("mean", [], 1.0))


def test_default_factories_make_a_new_value_each():
    assert Defaulted().notes is not Defaulted().notes
    assert Defaulted({}).notes is not Defaulted({}).notes


@pytest.mark.parametrize(
    "build",
    [
        lambda: Defaulted(mode=None, notes=None, loss=1.0),
        lambda: Defaulted(None, None, 1.0),
        lambda: Defaulted({"mode": None, "notes": None, "loss": 1.0}),
        lambda: Defaulted(iter([("mode", None), ("notes", None)]), loss=1.0),
        lambda: Defaulted(loss=1.0).replace(mode=None, notes=None),
        lambda: dataclasses.replace(Defaulted(loss=1.0), mode=None, notes=None),
    ],
)
@pytest.mark.parametrize(
    "carry",
    [
        lambda output: output,
        copy.copy,
        copy.deepcopy,
        lambda output: output.copy(),
        lambda output: pickle.loads(pickle.dumps(output)),
        lambda output: output.replace(),
        lambda output: dataclasses.replace(output),
    ],
)
def test_none_over_a_default_survives(build: Any, carry: Any):
    output = carry(build())
    assert views(output) == (["loss"], (1.0,), {"mode": None, "notes": None, "loss": 1.0})


def test_removing_a_defaulted_field_leaves_none_not_the_default():
    output = Defaulted()
    del output.mode
    output.notes = None
    assert views(output) == ([], (), {"mode": None, "notes": None, "loss": None})


# -- constructors of one's own, inheritance ----------------------------------------------------------------------------


def test_post_init_runs_however_it_was_built():
    class Scaled(ModelOutput):
        loss: float | None = None
        scaled: float | None = None

        def __post_init__(self) -> None:
            self.scaled = None if self.loss is None else self.loss * 10

    for output in (Scaled(loss=2.0), Scaled(2.0), Scaled({"loss": 2.0}), Scaled(iter([("loss", 2.0)]))):
        assert views(output)[:2] == (["loss", "scaled"], (2.0, 20.0))


def test_a_constructor_of_ones_own_may_call_ours():
    class Named(ModelOutput):
        loss: float | None = None
        mode: str = "mean"

        def __init__(self, value: float) -> None:
            super().__init__(loss=value)

    assert views(Named(2.0))[:2] == (["loss", "mode"], (2.0, "mean"))
    assert copy.deepcopy(Named(2.0)) == Named(2.0)


def test_a_constructor_of_ones_own_may_assign_fields():
    class Assigned(ModelOutput):
        loss: float | None = None
        logits: str | None = None

        def __init__(self) -> None:
            self.logits = "l"
            self["loss"] = 1.0

    assert views(Assigned())[:2] == (["loss", "logits"], (1.0, "l"))


def test_a_subclass_that_calls_its_parents_constructor_gets_its_own_defaults():
    class Extended(Masked):
        mode: str = "mean"

        def __init__(self, value: float) -> None:
            super().__init__(loss=value)

    assert views(Extended(2.0))[:2] == (["loss", "mode"], (2.0, "mean"))


def test_inherited_fields_come_first():
    class Extended(Masked):
        extra: int | None = None
        logits: str = "none"

    assert field_names(Extended) == ("loss", "logits", "hidden_states", "attentions", "extra")
    assert views(Extended(extra=1))[:2] == (["logits", "extra"], ("none", 1))
    assert field_names(Masked) == ("loss", "logits", "hidden_states", "attentions")


def test_fields_of_a_decorated_parent_are_inherited():
    class Extended(Decorated):
        extra: int | None = None

    assert views(Extended(extra=1))[:2] == (["mode", "notes", "extra"], ("mean", [], 1))


def test_mixins_and_generics_are_fine():
    value = TypeVar("value")

    class Doubling:
        def doubled(self) -> int:
            return 2 * len(self)  # pyright: ignore[reportArgumentType]

    class Generic_(Doubling, ModelOutput, Generic[value]):
        loss: value | None = None

    assert Generic_[int](loss=1).doubled() == 2


def test_constants_are_no_fields():
    class Versioned(ModelOutput):
        version: ClassVar[int] = 3
        loss: float | None = None

    assert field_names(Versioned) == ("loss",)
    assert views(Versioned(loss=1))[:2] == (["loss"], (1,))
    assert Versioned(1).version == 3
    with pytest.raises(UsageError, match=r"no field 'version'"):
        Versioned(version=4)


def test_methods_and_properties_are_no_fields():
    class Summed(Masked):
        @property
        def total(self) -> float:
            return (self.loss or 0) + 1

        @functools.cached_property
        def cached(self) -> float:
            return self.total

    assert (Summed(loss=1).total, Summed(loss=1).cached) == (2, 2)
    assert field_names(Summed) == field_names(Masked)


@pytest.mark.parametrize("name", ["self", "dict", "attributes", "unknown", "type", "cls", "name", "_hidden", "__x__"])
def test_no_harmless_field_name_disturbs_the_constructor(name: str):
    cls = type("Odd", (ModelOutput,), {"__annotations__": {"first": int, name: int}})
    assert views(cls(first=1, **{name: 2}))[:2] == (["first", name], (1, 2))
    assert views(cls([(name, 2)]))[:2] == ([name], (2,))


# -- malformed classes ----------------------------------------------------------------------------------------------


def define(annotations: dict[str, Any], bases: tuple[type, ...] = (ModelOutput,), **body: Any) -> type:
    return type("Bad", bases, {"__annotations__": annotations, **body})


@pytest.mark.parametrize(
    ("annotations", "body", "message"),
    [
        ({}, {"loss": 1.0}, "Bad.loss has a value but no annotation, so it would not be a field; write `loss: Type"),
        ({"loss": list}, {"loss": []}, "Bad.loss has the mutable default list, shared by all outputs; use None or da"),
        ({"loss": dict}, {"loss": {}}, "Bad.loss has the mutable default dict"),
        ({"loss": Any}, {"loss": np.ones(2)}, "Bad.loss has the mutable default ndarray"),
        ({"loss": Any}, {"loss": np.float32(1)}, "Bad.loss has the mutable default float32"),
        ({"loss": Any}, {"loss": Masked()}, "Bad.loss has the mutable default Masked"),
        ({"loss": list}, {"loss": dataclasses.field(default=[])}, "Bad.loss"),
        ({"loss": int}, {"loss": dataclasses.field(init=False)}, "Bad.loss: field(init=False) is not supported; every"),
        ({"keys": list}, {}, "Bad.keys clashes with dict.keys, which every output has; rename the field"),
        ({"values": list}, {}, "Bad.values clashes with dict.values"),
        ({"check": bool}, {"check": True}, "Bad.check clashes with ModelOutput.check"),
        ({"loss": float}, {"loss": lambda self: 1}, "Bad.loss is both a field and a method; rename one of them"),
        ({"loss": float}, {"loss": property(lambda self: 1)}, "Bad.loss is both a field and a method"),
    ],
)
def test_a_malformed_class_is_refused_by_class_and_field(annotations: Any, body: Any, message: str):
    with pytest.raises(DefinitionError, match=r"^" + re.escape(message)):
        define(annotations, **body)


@pytest.mark.parametrize("hidden", [lambda self: 1, property(lambda self: 1), staticmethod(len)])
def test_a_method_over_an_inherited_field_is_refused(hidden: Any):
    with pytest.raises(DefinitionError, match=r"^Bad\.loss is both an inherited field and a method; rename one"):
        define({}, (Masked,), loss=hidden)


def test_a_field_over_an_inherited_constant_is_refused():
    class Versioned(ModelOutput):
        version: ClassVar[int] = 3

    with pytest.raises(DefinitionError, match=r"^Bad\.version clashes with Versioned\.version"):
        define({"version": int}, (Versioned,))


# -- copying --------------------------------------------------------------------------------------------------------


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


# -- comparing ------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["a b", "1a", "class", "x=1): pass #"])
def test_a_field_that_is_no_identifier_is_refused(name: str):
    with pytest.raises(DefinitionError, match="is not an identifier, so it cannot name a field"):
        type("Made", (ModelOutput,), {"__annotations__": {name: int}})


# -- moving ---------------------------------------------------------------------------------------------------------


class Moved(ModelOutput):
    loss: Any = None
    table: Any = None


def test_flat_names_are_places():
    output = Moved(loss=np.zeros(()), table=({"a": np.ones(1)}, None, "text", [np.ones(2)]))
    assert list(output.to_flat_dict()) == ["loss", "table.0.a", "table.3.0"]
    assert output.to_flat_dict()["table.3.0"] is output.table[3][0]


def test_flat_names_that_clash_are_refused():
    with pytest.raises(UsageError, match=r"^two arrays are named 'table\.a\.b': a key that contains dots"):
        Moved(table={"a.b": np.ones(1), "a": {"b": np.zeros(1)}}).to_flat_dict()


def test_moving_casts_floating_point_numbers_only():
    output = Moved(loss=np.ones((), np.float32), table=np.ones(2, np.int64))
    moved = output.to("float16")
    assert (moved.loss.dtype, moved.table.dtype) == (np.float16, np.int64)
    assert moved.table is output.table
    assert output.to("cpu", dtype=np.float64).loss.dtype == np.float64


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        (("int32",), {}, r"^dtype is 'int32'; to\(\) casts between floating point types only$"),
        (("cuda",), {}, "^device is 'cuda'; NumPy arrays are on the cpu only$"),
        (("cpu",), {"device": "cpu"}, r"^to\(\) was given 'cpu' and 'cpu'; pass one device and one dtype$"),
        (("float16",), {"dtype": "float32"}, r"^to\(\) was given 'float16' and 'float32'"),
    ],
)
def test_what_cannot_be_moved_so_is_said_in_one_line(arguments: Any, named: Any, message: str):
    with pytest.raises((InputError, UsageError), match=message) as caught:
        Moved(loss=np.ones(())).to(*arguments, **named)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["cuda", "gpu:7", "nowhere"])
@pytest.mark.parametrize("framework", ["torch", "jax", "tensorflow"])
def test_a_device_that_is_not_there_is_refused_in_one_line(framework: str, device: str):
    from ..support.random_outputs import array

    pytest.importorskip(framework, reason=f"{framework} is not installed")
    if device == "cuda" and framework == "torch" and importlib.import_module("torch").cuda.is_available():
        device = "cuda:99"
    with pytest.raises(InputError, match=device) as caught:
        Moved(loss=array(np.ones(2, np.float32), framework)).to(device)
    assert "\n" not in str(caught.value)


def test_values_that_are_not_there_yet_are_refused_in_one_line():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    with pytest.raises(InputError, match=r"^f32\[2\] of jax has no values that NumPy can represent"):
        jax.jit(lambda x: Moved(loss=x).numpy())(jax.numpy.ones(2))


def test_selecting_leaves_jax_free_to_move_arrays():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    from jaxtyping import Float

    from modeloutputs import select

    rows = type("Rows", (ModelOutput,), {"__annotations__": {"x": Float[jax.Array, "batch"]}})
    free, bound = jax.numpy.arange(3.0), jax.device_put(jax.numpy.arange(3.0), jax.devices()[0])
    assert not select(rows(x=free), [2, 0]).x.committed
    assert select(rows(x=bound), [2, 0]).x.committed
    assert select(rows(x=free), [2, 0]).x.tolist() == [2, 0]


def test_the_readmes_class_takes_part_in_batches():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from jaxtyping import Float

    from modeloutputs import ALWAYS, concat, split

    class RewardOutput(ModelOutput):
        loss: Float[torch.Tensor, ""] | None = None
        reward: Float[torch.Tensor, "batch"] = ALWAYS

    both = concat([RewardOutput(torch.tensor(1.0), torch.ones(2)), RewardOutput(torch.tensor(3.0), torch.zeros(1))])
    assert (both.loss.tolist(), both.reward.tolist()) == ([1, 3], [1, 1, 0])
    assert [part.reward.tolist() for part in split(both, [2, 1])] == [[1, 1], [0]]


# -- moving outputs of the frameworks -------------------------------------------------------------------------------

FULL = [("CausalLMOutputWithPast", "torch"), ("FlaxBaseModelOutputWithPast", "jax"), ("TFCausalLMOutput", "tensorflow")]
every_framework = pytest.mark.parametrize(("class_name", "kind"), FULL, ids=[kind for _, kind in FULL])


def complete(class_name: str, kind: str) -> Any:
    """Return an output with every field filled, a hidden state not asked for, and the last one in two places."""
    from ..support.random_outputs import class_named, full

    pytest.importorskip(kind, reason=f"{kind} is not installed")
    output = full(class_named(class_name), kind)
    output.hidden_states = (None, *output.hidden_states)
    if "last_hidden_state" in output:
        output.last_hidden_state = output.hidden_states[-1]
    return output


def form(value: Any, *, dtypes: bool = True) -> Any:
    """Return a nested value with classes in place of containers, and element types and shapes in place of arrays."""
    from modeloutputs.arrays.dtypes import dtype_name

    if isinstance(value, collections.abc.Mapping):
        return type(value), {name: form(item, dtypes=dtypes) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value), [form(item, dtypes=dtypes) for item in value]
    return value if value is None else (dtypes and dtype_name(value.dtype), tuple(value.shape))


MOVES: dict[str, Any] = {
    "map": lambda output: output.map(lambda array: array + 0),
    "to nothing": lambda output: output.to(),
    "to the cpu": lambda output: output.to("cpu"),
    "to the first cpu": lambda output: output.to(device="cpu:0", non_blocking=True),
    "to the same dtype": lambda output: output.to(dtype="float32"),
    "cpu": lambda output: output.cpu(),
    "detach": lambda output: output.detach(),
    "numpy": lambda output: output.numpy(),
}


@every_framework
@pytest.mark.parametrize("move", MOVES)
def test_moving_changes_neither_structure_nor_values(class_name: str, kind: str, move: str):
    from modeloutputs.arrays.backends import get_backend

    output = complete(class_name, kind)
    before = form(output)
    moved = MOVES[move](output)
    assert form(moved) == before == form(output)
    assert moved is not output
    assert all(
        get_backend(array).name == ("numpy" if move == "numpy" else kind) for array in moved.to_flat_dict().values()
    )
    assert moved.numpy() == output.numpy()
    if "last_hidden_state" in output:
        assert moved.last_hidden_state is moved.hidden_states[-1]


@every_framework
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_casting_reaches_every_float_and_nothing_else(class_name: str, kind: str, dtype: str):
    import ml_dtypes

    if (kind, dtype) == ("jax", "float64"):
        pytest.skip("JAX has 64 bits only where it is told so before anything else")
    output = complete(class_name, kind)
    moved = output.to(dtype)
    assert form(moved, dtypes=False) == form(output, dtypes=False)
    for name, array in output.numpy().to_flat_dict().items():
        wanted = array.astype(getattr(ml_dtypes, dtype, dtype)) if array.dtype.kind == "f" else array
        found = moved.numpy().to_flat_dict()[name]
        assert found.dtype == wanted.dtype
        assert found.tobytes() == wanted.tobytes()
    assert output.to(dtype, device="cpu").numpy() == output.to("cpu", dtype=dtype).numpy() == moved.numpy()
    assert moved.to("float32").numpy() == output.numpy().to(dtype).to("float32")


def test_pytorch_moves_by_its_own_devices_and_dtypes():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from modeloutputs.torch import Cache

    output = complete("CausalLMOutputWithPast", "torch")
    output.past_key_values = Cache(output.past_key_values)
    moved = output.to(torch.device("meta"), dtype=torch.float16)
    assert {(array.device.type, array.dtype) for array in moved.to_flat_dict().values()} == {("meta", torch.float16)}
    assert type(moved.past_key_values) is Cache
    assert type(output.numpy().past_key_values) is Cache
    assert output.to(torch.float32).logits is output.logits
    assert output.to(torch.float16, device="meta").logits.device.type == "meta"
    ids = output.replace(logits=torch.arange(3)).to(torch.bfloat16)
    assert (ids.logits.dtype, ids.hidden_states[1].dtype) == (torch.int64, torch.bfloat16)


def test_casting_keeps_gradients_and_detaching_ends_them():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = torch.ones(2, requires_grad=True)
    output = Moved(loss=x * 2)
    output.to("float64").loss.sum().backward()
    assert x.grad.tolist() == [2, 2]
    assert not output.detach().loss.requires_grad
    assert output.detach().loss.data_ptr() == output.loss.data_ptr()
    assert output.numpy().loss.tolist() == [2, 2]
    assert output.loss.requires_grad


def test_detaching_under_jaxs_and_tensorflows_gradients():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

    def product(output: Any) -> Any:
        return (output.loss * output.detach().loss).sum()

    gradient = jax.jit(jax.grad(product))(Moved(loss=jax.numpy.array([2.0, 3.0])))
    assert gradient.loss.tolist() == [2, 3]
    x = tf.constant([2.0, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(x * Moved(loss=x).detach().loss)
    assert tape.gradient(total, x).numpy().tolist() == [2, 3]


def test_compilers_move_outputs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

    def move(output: Any) -> Any:
        return output.to("float16").detach().to("cpu", dtype="float32").map(lambda array: array * 2)

    for compiler, values in (
        (lambda f: torch.compile(f, fullgraph=True, backend="eager"), torch.tensor([1.0, 2.5])),
        (jax.jit, jax.numpy.array([1.0, 2.5])),
        (tf.function, tf.constant([1.0, 2.5])),
    ):
        found = compiler(move)(Moved(loss=values, table=(None, values)))
        assert type(found) is Moved
        assert np.asarray(found.loss).tolist() == np.asarray(found.table[1]).tolist() == [2, 5]
        assert found.table[0] is None


@pytest.mark.parametrize(
    "name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
)
def test_numpy_has_small_floats_bit_for_bit(name: str):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import ml_dtypes

    every = torch.arange(1 << 16 if name == "bfloat16" else 1 << 8)
    every = every.to(torch.uint16 if name == "bfloat16" else torch.uint8)
    values = every.view(getattr(torch, name))
    output = Moved(
        loss=values[7], table=(values, values[:0], values.reshape(16, -1).t(), values.reshape(4, -1)[:, ::3])
    )
    found = output.numpy()
    assert {array.dtype for array in found.to_flat_dict().values()} == {np.dtype(getattr(ml_dtypes, name))}
    expected = output.map(lambda array: array.view(every.dtype)).numpy()
    for place, array in found.to_flat_dict().items():
        bits = expected.to_flat_dict()[place]
        assert array.shape == bits.shape
        assert array.tobytes() == bits.tobytes()


def test_accelerate_sends_outputs_to_devices():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    send_to_device = pytest.importorskip("accelerate.utils", reason="accelerate is not installed").send_to_device

    class Own(Moved):
        pass

    batch = {"out": Own(loss=torch.ones(2), table=(None, torch.zeros(1))), "text": "x"}
    for options in ({}, {"non_blocking": True}, {"skip_keys": ["text"]}):
        sent = send_to_device(batch, torch.device("meta"), **options)
        assert type(sent["out"]) is Own
        assert sent["out"].loss.device.type == sent["out"].table[1].device.type == "meta"
        assert sent["out"].table[0] is None


def test_a_subclass_and_what_else_it_holds_stay():
    class Pair(typing.NamedTuple):
        left: Any
        right: Any

    class Own(Moved):
        mode: str = "mean"
        inner: Any = None

    array = np.ones(2, np.float32)
    given = Own(
        loss=array,
        table={"pair": Pair(array, "text"), "none": None, "list": [array, 3]},
        inner=Moved(loss=array),
        mode=None,
    )
    calls: list[Any] = []

    def half(value: Any) -> Any:
        calls.append(value)
        return value / 2

    output = given.map(half)
    assert len(calls) == 1
    assert calls[0] is array
    assert type(output) is Own
    assert list(output) == list(given)
    assert output.mode is None
    assert type(output.table["pair"]) is Pair
    assert output.table["pair"].right == "text"
    assert output.table["none"] is None
    assert type(output.inner) is Moved
    assert output.loss is output.table["pair"].left is output.table["list"][0] is output.inner.loss
    assert output.loss.tolist() == [0.5, 0.5]
    assert given.loss.tolist() == [1, 1]


@pytest.mark.parametrize("name", ["map", "to", "cpu", "detach", "numpy", "to_flat_dict", "check", "unflatten"])
def test_fields_cannot_be_called_as_the_methods(name: str):
    message = f"^Bad.{name} clashes with ModelOutput.{name}, which every output has; rename the field$"
    with pytest.raises(DefinitionError, match=message):
        type("Bad", (ModelOutput,), {"__annotations__": {name: int}})


# -- flat names -----------------------------------------------------------------------------------------------------


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
