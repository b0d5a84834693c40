import collections
import collections.abc
import copy
import dataclasses
import functools
import inspect
import re
import types
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from modeloutputs import (
    ModelOutput,
    UsageError,
)
from modeloutputs.output import field_names

from .examples import (
    Decorated,
    Masked,
    full,
    views,
)

# -- building ---------------------------------------------------------------------------------------------------------


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
    "value", [{"a": 1}, {0: "loss"}, [("loss",)], [(0, 1)], [["loss", 1]], [("zz", 1), 2], [], (), ("loss", 1), "ab"]
)
def test_any_other_lone_value_fills_the_first_field(value: Any):
    assert views(Masked(value))[1] == (value,)


@pytest.mark.parametrize("nothing", [{}, {}.items(), iter(())])
def test_a_lone_empty_mapping_or_iterable_fills_no_field(nothing: Any):
    assert views(Masked(nothing))[1] == ()


def test_a_mapping_beside_a_second_value_fills_the_first_field():
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
        (lambda: Masked([("loss", 1), 2]), "Masked takes (name, value) pairs, got int"),
        (lambda: Masked((("loss", 1), None)), "Masked takes (name, value) pairs, got NoneType"),
        (lambda: Masked([("loss", 1), ("logits", "l", 3)]), "Masked takes (name, value) pairs, got tuple"),
        (lambda: Masked([("loss", 1), (2, 3)]), "Masked takes field names as keys, got 2 of int"),
        (lambda: Masked([("zz", 1), ("loss", 2)]), "Masked has no field 'zz'"),
        (lambda: Masked([(10, 10), ("loss", 2)]), "Masked takes field names as keys, got 10 of int"),
        (lambda: Masked([3, ("loss", 2)]), "Masked takes (name, value) pairs, got int"),
        (lambda: Masked(1, 2, 3, 4, 5), "takes at most 4 values (loss, logits, hidden_states, attentions), got 5"),
        (lambda: Masked(self=1), "Masked has no field 'self'"),
        (lambda: ModelOutput(loss=1), "ModelOutput has no field 'loss'; there are none"),
    ],
)
def test_invalid_arguments_are_refused_by_name(build: Any, message: str):
    with pytest.raises(UsageError, match=re.escape(message)):
        build()


def test_the_signature_names_the_fields():
    assert list(inspect.signature(Masked).parameters)[1:5] == ["loss", "logits", "hidden_states", "attentions"]


# -- third-party idioms that rebuild outputs --------------------------------------------------------------------------


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


# -- constructors of one's own, inheritance ---------------------------------------------------------------------------


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


def test_constants_are_not_fields():
    class Versioned(ModelOutput):
        version: ClassVar[int] = 3
        loss: float | None = None

    assert field_names(Versioned) == ("loss",)
    assert views(Versioned(loss=1))[:2] == (["loss"], (1,))
    assert Versioned(1).version == 3
    with pytest.raises(UsageError, match=r"no field 'version'"):
        Versioned(version=4)


def test_methods_and_properties_are_not_fields():
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
def test_unusual_field_names_do_not_disturb_the_constructor(name: str):
    cls = type("Odd", (ModelOutput,), {"__annotations__": {"first": int, name: int}})
    assert views(cls(first=1, **{name: 2}))[:2] == (["first", name], (1, 2))
    assert views(cls([(name, 2)]))[:2] == ([name], (2,))
