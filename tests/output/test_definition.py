import copy
import dataclasses
import pickle
import re
from typing import Any, ClassVar

import numpy as np
import pytest

from modeloutputs import (
    ALWAYS,
    DefinitionError,
    ModelOutput,
    UsageError,
)

from .examples import (
    Decorated,
    Defaulted,
    Masked,
    full,
    views,
)

# -- dataclass --------------------------------------------------------------------------------------------------------


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


def test_replace_refuses_unknown_fields():
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


# -- defaults ---------------------------------------------------------------------------------------------------------


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


def test_a_field_set_again_over_its_default_is_pickled_at_its_place():
    output = Defaulted([("loss", 1.0)])
    del output.mode, output.notes
    output.notes = ["new"]
    output.mode = "sum"
    again = pickle.loads(pickle.dumps(output))
    assert views(again)[:2] == (["mode", "notes", "loss"], ("sum", ["new"], 1.0))


def test_removing_a_defaulted_field_leaves_none_not_the_default():
    output = Defaulted()
    del output.mode
    output.notes = None
    assert views(output) == ([], (), {"mode": None, "notes": None, "loss": None})


# -- malformed classes ------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["a b", "1a", "class", "x=1): pass #"])
def test_a_field_name_that_is_not_an_identifier_is_refused(name: str):
    with pytest.raises(DefinitionError, match="is not an identifier, so it cannot name a field"):
        type("Made", (ModelOutput,), {"__annotations__": {name: int}})


@pytest.mark.parametrize("name", ["map", "to", "cpu", "detach", "numpy", "to_flat_dict", "check", "unflatten"])
def test_fields_cannot_have_the_names_of_methods(name: str):
    message = f"^Bad.{name} clashes with ModelOutput.{name}, which every output has; rename the field$"
    with pytest.raises(DefinitionError, match=message):
        type("Bad", (ModelOutput,), {"__annotations__": {name: int}})


def test_the_readmes_class_takes_part_in_batches():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from jaxtyping import Float

    from modeloutputs import concat, split

    class RewardOutput(ModelOutput):
        loss: Float[torch.Tensor, ""] | None = None
        reward: Float[torch.Tensor, "batch"] = ALWAYS

    both = concat([RewardOutput(torch.tensor(1.0), torch.ones(2)), RewardOutput(torch.tensor(3.0), torch.zeros(1))])
    assert (both.loss.tolist(), both.reward.tolist()) == ([1, 3], [1, 1, 0])
    assert [part.reward.tolist() for part in split(both, [2, 1])] == [[1, 1], [0]]
