"""Lengths of axes: outputs without rows, and fields that disagree."""

import numpy as np
import pytest
from jaxtyping import Float

from modeloutputs import (
    ALWAYS,
    ContractError,
    ModelOutput,
    pad,
    select,
    split,
    unpad,
)

from ..support.batches import (
    Array,
    refused,
    scored,
)


def test_a_class_without_rows_is_refused():
    class Rowless(ModelOutput):
        table: Float[Array, "vocab hidden"] | None = None

    for output in (Rowless(table=np.ones((2, 3))), Rowless()):
        with pytest.raises(ContractError, match=r"^Rowless has no field with an axis 'batch', so it has no rows"):
            select(output, [0])


def test_fields_that_disagree_in_rows_or_lengths_are_refused():
    output = scored(3, 2)
    fewer = output.replace(ids=output.ids[:2])
    for call in (lambda: split(fewer, 1), lambda: select(fewer, [0]), lambda: unpad(fewer, np.ones((3, 2)))):
        refused(ContractError, "^Scored.ids: batch is 2, but 3 in the fields before it$", call)

    class Keyed(ModelOutput):
        one: Float[Array, "batch past"] = ALWAYS
        two: Float[Array, "batch past"] = ALWAYS

    for call in (lambda x: unpad(x, np.ones((1, 2))), lambda x: pad(x, past=5)):
        refused(
            ContractError,
            "^Keyed.two: past is 3, but 2 in the fields before it$",
            lambda call=call: call(Keyed(one=np.ones((1, 2)), two=np.ones((1, 3)))),
        )
