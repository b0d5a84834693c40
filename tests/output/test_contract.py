import dataclasses
import re
import typing

import numpy as np
import pytest
from jaxtyping import Float

import modeloutputs.output.contract as contract_module
from modeloutputs import ALWAYS, ModelOutput
from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.output.contract import (
    BATCH_AXIS,
    PAD_WITH_NEG_INF,
    PADDABLE_AXES,
    FieldContract,
    field_contracts,
    has_rows,
    returned_when,
)

from ..support.needs import FRAMEWORK_PARAMS
from .examples import Array, Checked, Vector


def test_field_contracts_are_in_declared_order():
    assert field_contracts(Checked) == [
        FieldContract("loss", "()", "labels are passed"),
        FieldContract("logits", "(batch labels)", "always"),
        FieldContract("hidden_states", "tuple of (batch seq hidden)", "output_hidden_states=True"),
        FieldContract("ids", "(batch seq)", "the model has it"),
    ]


def test_a_class_may_say_itself_what_returns_a_field():
    class Stated(ModelOutput):
        loss: Vector | None = dataclasses.field(default=None, metadata={"returned_when": "targets are passed"})
        extra: Vector = dataclasses.field(default=ALWAYS, metadata={"returned_when": "extra=True"})

    assert returned_when(Stated, "loss") == "targets are passed"
    assert [contract.returned_when for contract in field_contracts(Stated)] == ["targets are passed", "extra=True"]


@pytest.mark.parametrize(
    ("field", "when"),
    [
        ("loss", "labels are passed"),
        ("past_key_values", "use_cache=True"),
        ("hidden_states", "output_hidden_states=True"),
        ("decoder_hidden_states", "output_hidden_states=True"),
        ("encoder_hidden_states", "output_hidden_states=True"),
        ("attentions", "output_attentions=True"),
        ("decoder_attentions", "output_attentions=True"),
        ("encoder_attentions", "output_attentions=True"),
        ("cross_attentions", "output_attentions=True and the model attends to an encoder"),
        ("encoder_last_hidden_state", "the encoder's states are known"),
        ("other", "the model has it"),
    ],
)
def test_when_a_field_that_may_be_absent_is_returned(field: str, when: str):
    cls = type("One", (ModelOutput,), {"__annotations__": {field: typing.Optional[int]}})  # noqa: UP045
    assert returned_when(cls, field) == when


def test_a_field_whose_annotation_cannot_be_resolved_is_returned_all_the_same():
    cls = type("Lost", (ModelOutput,), {"__annotations__": {"loss": "NotImported"}, "__module__": __name__})
    assert returned_when(cls, "loss") == "labels are passed"


def test_alternatives_are_named():
    class Trained(ModelOutput):
        loss: Float[Array, ""] | Float[Array, "parts"] | None = None

    assert [contract.axes for contract in field_contracts(Trained)] == ["() or (parts)"]


@pytest.mark.parametrize(
    ("axis", "has"), [("batch", True), ("batch*choices", True), ("seq", False), ("batches", False)]
)
def test_rows_are_along_batch_and_its_products(axis: str, has: bool):
    assert has_rows(axis) is has


def test_the_axes_that_operations_know_are_explained():
    table = (contract_module.__doc__ or "").partition("\n===")[2]
    explained = {name for line in table.splitlines() for name in re.findall(r"\w+", line[:11])}
    assert {BATCH_AXIS, *PADDABLE_AXES} <= explained


@pytest.mark.parametrize("framework", FRAMEWORK_PARAMS)
def test_only_logits_over_positions_are_padded_with_minus_infinity(framework: str):
    outputs = FRAMEWORKS[framework].import_outputs()
    found = {
        (name, field.metadata["padding"])
        for cls in map(vars(outputs).get, outputs.__all__)
        for name, field in cls.__output_fields__.items()
        if "padding" in field.metadata
    }
    assert found == {("start_logits", -np.inf), ("end_logits", -np.inf)}
    assert {"padding": -np.inf} == PAD_WITH_NEG_INF
