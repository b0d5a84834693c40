"""convert: classes and their counterparts, outputs within outputs, and arguments."""

import sys
from typing import Any

import numpy as np
import pytest

from modeloutputs import InputError, MissingDependencyError, ModelOutput, UsageError
from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.ops.convert import convert, counterpart
from modeloutputs.output import field_names

from ..support.batches import REPRESENTATIVES
from ..support.compare import assert_values, values
from ..support.conversion_reference import EQUAL_LENGTHS, STAND_INS, counterpart_name, expected, lost
from ..support.conversions import (
    Custom,
    every_class,
    every_pair,
    is_of,
    layer,
    to_every_framework,
)
from ..support.needs import FRAMEWORK_PARAMS, needs, needs_jax, needs_tensorflow, needs_torch
from ..support.processes import run_code
from ..support.random_outputs import array, class_named, framework_of, full
from ..support.spec_checks import PAGE

every_representative = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs(framework)) for framework in PAGE for name in REPRESENTATIVES[framework]]
)


@to_every_framework
@every_class
def test_every_class_becomes_its_counterpart_and_comes_back(name: str, to: str):
    cls, target = class_named(name), class_named(counterpart_name(name, to))
    original = full(cls, **EQUAL_LENGTHS).check()
    drop = lost(cls, target)
    there = convert(original, to, drop=drop)
    assert type(there) is target
    there.check()
    assert_values(there, expected(original, target, drop))
    back = convert(there, cls)
    assert type(back) is cls
    back.check()
    assert_values(back, {name: value for name, value in values(original).items() if name not in drop})


@every_representative
def test_numpy_keeps_the_class_and_every_field(name: str):
    original = full(class_named(name))
    there = convert(original, "numpy")
    assert type(there) is type(original)
    assert_values(there, values(original))
    assert list(there.keys()) == list(field_names(type(original)))
    back = convert(there, framework_of(name).name)
    assert type(back) is type(original)
    assert back == original


@pytest.mark.parametrize("framework", FRAMEWORK_PARAMS)
def test_every_class_has_one_counterpart_in_every_framework(framework: str):
    found = {
        (name, framework): cls.__name__
        for own in PAGE
        for name in PAGE[own]
        for cls in [counterpart(FRAMEWORKS[own].module, name, framework)]
        if cls is not None
    }
    assert len(found) == 52
    assert found == {(name, framework): counterpart_name(name, framework) for own in PAGE for name in PAGE[own]}
    assert all(name in PAGE[framework] for name in found.values())


def test_stand_ins_hold_the_fields_that_are_always_returned():
    for (name, framework), stand_in in STAND_INS.items():
        base = name.removeprefix(framework_of(name).prefix)
        assert FRAMEWORKS[framework].prefix + base not in PAGE[framework]
        fields = PAGE[framework_of(name).name][name]
        there = {field["name"] for field in PAGE[framework][stand_in]}
        always = {field["name"] for field in fields if not field["optional"] and field["name"] != "loss"}
        assert always <= there


@needs_torch
def test_other_classes_have_no_counterpart():
    assert counterpart(__name__, "Custom", "torch") is None
    assert counterpart("modeloutputs.torch.outputs", "Tensor", "torch") is None


@needs_torch
@needs_tensorflow
def test_a_users_class_keeps_its_class_and_its_layout():
    from modeloutputs.torch import BaseModelOutputWithPast

    class Mine(BaseModelOutputWithPast):
        extra: Any = None

    original = Mine(extra=(array(np.ones(2), "torch"), None, "text"), past_key_values=(layer("torch"),))
    there = convert(original, "tensorflow")
    assert type(there) is Mine
    assert is_of(there.extra[0], "tensorflow")
    assert_values(there, values(original))
    assert convert(there, "torch") == original


@every_pair
def test_placeholders_and_shared_arrays_stay_so(source: str, to: str):
    last = array(np.arange(6, dtype=np.float32).reshape(1, 2, 3), source)
    original = Custom(states=(None, last, None), more={"last": last, "none": None, "nested": [last, ("x", 1.5)]})
    there = convert(original, to)
    assert there.states[0] is None
    assert there.states[2] is None
    assert there.states[1] is there.more["last"] is there.more["nested"][0]
    assert is_of(there.states[1], to)
    assert_values(there, values(original))


@needs_torch
@needs_jax
def test_outputs_within_an_output_are_converted_likewise():
    from modeloutputs.flax import FlaxBaseModelOutputWithPast
    from modeloutputs.torch import BaseModelOutputWithPast, SequenceClassifierOutput

    logits = array(np.ones((1, 2), np.float32), "torch")
    inner = SequenceClassifierOutput(loss=logits[0, 0], logits=logits)
    cached = full(BaseModelOutputWithPast, **EQUAL_LENGTHS)
    original = Custom(states=[inner, {"cached": cached}], more=logits)
    there = convert(original, "jax", drop=["loss"])
    assert [type(there).__name__, type(there.states[0]).__name__] == ["Custom", "FlaxSequenceClassifierOutput"]
    assert there.states[0].logits is there.more
    assert_values(there.states[1]["cached"], expected(cached, FlaxBaseModelOutputWithPast))
    there.states[0].check()
    there.states[1]["cached"].check()
    assert_values(convert(original, "numpy"), values(original))
    with pytest.raises(
        InputError, match=r"^FlaxSequenceClassifierOutput has no field loss; leave these out with drop=\('loss',"
    ):
        convert(original, "jax")


# -- arguments --------------------------------------------------------------------------------------------------------


@needs_torch
def test_invalid_arguments_are_named():
    from modeloutputs.torch import SequenceClassifierOutput

    output = full(SequenceClassifierOutput)
    for arguments, message in (
        ({"drop": ["los"]}, "^SequenceClassifierOutput has no field 'los', named in drop; did you mean 'loss'?"),
        ({"drop": "loss"}, r"^drop is the text 'loss'; pass the names of fields, as in \('loss',\)$"),
        ({"to": "theano"}, "^framework is 'theano'; expected one of 'torch', 'jax', 'tensorflow', 'numpy'$"),
        ({"to": int}, "^int is not one of this library's classes; pass the framework to convert to instead$"),
        ({"to": Custom}, "^Custom is not one of this library's classes"),
        ({"to": ModelOutput}, "^ModelOutput is not one of this library's classes"),
    ):
        with pytest.raises(InputError, match=message):
            convert(output, **({"to": "numpy"} | arguments))


def test_other_values_than_outputs_are_refused():
    for value, name in (({"logits": 1}, "dict"), ([Custom()], "list"), (None, "NoneType")):
        with pytest.raises(UsageError, match=f"^convert takes one output; got a {name}$"):
            convert(value, "numpy")  # pyright: ignore[reportArgumentType]


@needs_torch
def test_to_another_class_of_the_same_framework():
    from modeloutputs.torch import BaseModelOutputWithPast, BaseModelOutputWithPastAndCrossAttentions

    original = full(BaseModelOutputWithPast)
    there = convert(original, BaseModelOutputWithPastAndCrossAttentions)
    assert type(there) is BaseModelOutputWithPastAndCrossAttentions
    assert there.to_dict() == original.to_dict()
    assert there.last_hidden_state is original.last_hidden_state
    with pytest.raises(InputError, match=r"^BaseModelOutputWithPast has no field cross_attentions"):
        convert(full(BaseModelOutputWithPastAndCrossAttentions), BaseModelOutputWithPast)


def test_the_public_name_is_the_function():
    code = "import modeloutputs; modeloutputs.load; print(callable(modeloutputs.convert))"
    assert run_code(code) == "True"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_missing_framework_is_named(framework: str, monkeypatch: pytest.MonkeyPatch):
    from modeloutputs.arrays import backends as arrays

    arrays.backend_named.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, framework, raising=False)
    folder = FRAMEWORKS[framework].folder
    with pytest.raises(
        MissingDependencyError, match=rf"^framework '{framework}' is not .*install modeloutputs\[{folder}\]$"
    ):
        convert(Custom(states=np.ones(2)), framework)
    arrays.backend_named.cache_clear()
