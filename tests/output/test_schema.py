import collections
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float, Int

from modeloutputs import ContractError, ModelOutput
from modeloutputs.output.schema import (
    UNKNOWN,
    ArraySchema,
    MappingSchema,
    OtherSchema,
    SequenceSchema,
    TupleSchema,
    UnionSchema,
    axes_of,
    describe,
    is_optional,
    item_schemas,
    matches_structure,
    matching_option,
    names_axes,
    parse,
    schema_of,
    without_none,
)

from .examples import Array, Checked, Matrix, Plain, Vector, f32

NUMBER, PARTS = Float[Array, ""], Float[Array, "parts"]
STATES = Float[Array, "batch seq hidden"]


def test_schemas_are_in_declared_order_and_those_of_parents_come_first():
    class Extended(Checked):
        extra: Vector | None = None

    assert list(schema_of(Extended)) == ["loss", "logits", "hidden_states", "ids", "extra"]
    assert schema_of(Extended)["extra"] == parse(Vector | None)
    assert schema_of(Extended)["logits"] == schema_of(Checked)["logits"]
    assert schema_of(Extended) is schema_of(Extended)


def test_constants_have_no_schema():
    class Named(ModelOutput):
        label: typing.ClassVar[str] = "x"
        loss: Vector | None = None

    assert list(schema_of(Named)) == ["loss"]


@pytest.mark.parametrize(
    ("written", "rank", "axes"),
    [
        ("", 0, ()),
        ("", 1, None),
        ("batch seq", 2, ("batch", "seq")),
        ("batch seq", 1, None),
        ("batch seq", 3, None),
        ("2 batch heads", 3, ("2", "batch", "heads")),
        ("batch*choices seq", 2, ("batch*choices", "seq")),
        ("batch ...", 1, ("batch",)),
        ("batch ...", 3, ("batch", "_", "_")),
        ("... hidden", 2, ("_", "hidden")),
        ("batch *rest hidden", 4, ("batch", "_", "_", "hidden")),
        ("batch *rest hidden", 2, ("batch", "hidden")),
        ("batch *rest hidden", 1, None),
        ("...", 0, ()),
    ],
)
def test_axes_are_as_many_as_the_array_has(written: str, rank: int, axes: tuple[str, ...] | None):
    assert axes_of(parse(Float[Array, written]), rank) == axes


@pytest.mark.parametrize("annotation", [None, int, Any, tuple[STATES, ...], Array])
def test_other_schemas_have_no_axes(annotation: Any):
    assert axes_of(parse(annotation), 2) is None


@pytest.mark.parametrize(
    ("annotation", "value", "items"),
    [
        (tuple[STATES, ...], (1, 2), [STATES, STATES]),
        (tuple[STATES, ...], [1, 2], [STATES, STATES]),
        (tuple[STATES, ...], (), []),
        (tuple[STATES, Vector], (1, 2), [STATES, Vector]),
        (tuple[STATES, Vector], (1,), None),
        (list[Vector], [1, 2, 3], [Vector] * 3),
        (list[Vector], (1,), [Vector]),
        (dict[str, Vector], {"a": 1, "b": 2}, [Vector] * 2),
        (Mapping[str, Vector], {"a": 1}, [Vector]),
        (dict[str, Vector], [1], None),
        (tuple[STATES, ...], {"a": 1}, None),
        (Vector, (1,), None),
        (Any, {}, None),
    ],
)
def test_items_have_the_schemas_of_their_places(annotation: Any, value: Any, items: list[Any] | None):
    assert item_schemas(parse(annotation), value) == (None if items is None else list(map(parse, items)))


PAIR, FOUR = tuple[STATES, STATES], tuple[STATES, STATES, Matrix, Matrix]


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        (NUMBER | PARTS, f32(), NUMBER),
        (NUMBER | PARTS, f32(3), PARTS),
        (NUMBER | PARTS | None, f32(3), PARTS),
        (NUMBER | PARTS, f32(3, 3), NUMBER),  # neither; the first then
        (Vector | Matrix, f32(2, 3), Matrix),
        (PAIR | FOUR, (f32(1, 2, 3),) * 2, PAIR),
        (PAIR | FOUR, (f32(1, 2, 3),) * 2 + (f32(1, 2),) * 2, FOUR),
        (list[STATES] | tuple[STATES, ...] | dict[str, STATES], {"a": f32(1, 2, 3)}, dict[str, STATES]),
        (tuple[STATES | None, ...] | list[Vector], (None, f32(1, 2, 3)), tuple[STATES | None, ...]),
        (typing.Union[Vector, Matrix], f32(2, 3), Matrix),  # noqa: UP007
        (STATES, f32(2), STATES),
        (None, f32(2), None),
    ],
)
def test_the_alternative_that_a_value_has_the_structure_of_is_found(annotation: Any, value: Any, fits: Any):
    assert matching_option(parse(annotation), value) == parse(fits)


@pytest.mark.parametrize(
    ("annotation", "value", "does"),
    [
        (STATES, f32(1, 2, 3), True),
        (STATES, f32(1, 2), False),
        (STATES, 1.0, False),
        (tuple[STATES | None, ...], (None, f32(1, 2, 3)), True),
        (tuple[STATES, ...], (f32(1),), False),
        (tuple[STATES, ...], (), True),
        (tuple[PAIR | FOUR, ...], ((f32(1, 2, 3),) * 2,), True),
        (tuple[PAIR | FOUR, ...], ((f32(1, 2, 3),) * 3,), False),
        (dict[str, STATES | Vector], {"a": f32(1, 2, 3), "index": f32(1)}, True),
        (list[STATES], [f32(1, 2)], False),
        (STATES | Vector, f32(2), True),
    ],
)
def test_whether_a_value_has_the_structure_of_an_annotation(annotation: Any, value: Any, does: bool):
    assert matches_structure(parse(annotation), value) is does


# -- parsing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (Vector, ArraySchema(Vector)),
        (Vector | None, UnionSchema((ArraySchema(Vector),), is_optional=True)),
        (int | str, UnionSchema((OtherSchema(int), OtherSchema(str)), is_optional=False)),
        (tuple[Vector, int], TupleSchema((ArraySchema(Vector), OtherSchema(int)))),
        (tuple[Vector, ...], SequenceSchema(tuple, ArraySchema(Vector))),
        (tuple[()], TupleSchema(())),
        (list[Vector | None], SequenceSchema(list, UnionSchema((ArraySchema(Vector),), is_optional=True))),
        (tuple, SequenceSchema(tuple, UNKNOWN)),
        (list, SequenceSchema(list, UNKNOWN)),
        (typing.Tuple, SequenceSchema(tuple, UNKNOWN)),  # noqa: UP006
        (typing.List, SequenceSchema(list, UNKNOWN)),  # noqa: UP006
        (dict[str, Vector], MappingSchema(dict, ArraySchema(Vector))),
        (Mapping[str, int], MappingSchema(Mapping, OtherSchema(int))),
        (collections.Counter[str], MappingSchema(collections.Counter, UNKNOWN)),
        (dict, OtherSchema(dict)),
        (None, OtherSchema(None)),
        (Any, UNKNOWN),
    ],
)
def test_an_annotation_is_parsed(annotation: Any, schema: Any):
    assert parse(annotation) == schema


def test_an_array_schema_has_what_jaxtyping_was_told():
    schema = parse(Int[Array, " 2 batch*choices  #heads ..."])
    assert isinstance(schema, ArraySchema)
    assert schema.axes == ("2", "batch*choices", "#heads", "...")
    assert (schema.dtype, schema.array_type) == ("Int", np.ndarray)


def test_none_is_told_from_the_rest_of_a_union():
    assert is_optional(parse(Vector | None))
    assert not is_optional(parse(Vector | int))
    assert not is_optional(parse(Vector))
    assert without_none(parse(Vector | None)) == parse(Vector)
    assert without_none(parse(Vector | int | None)) == parse(Vector | int)
    assert without_none(parse(Vector)) == parse(Vector)


@pytest.mark.parametrize(
    ("annotation", "names"),
    [
        (Vector, True),
        (tuple[Vector | None, ...] | None, True),
        (dict[str, tuple[int, Vector]], True),
        (NUMBER, True),
        (int | str, False),
        (tuple[int, ...], False),
        (Any, False),
    ],
)
def test_whether_a_schema_names_axes(annotation: Any, names: bool):
    assert names_axes(parse(annotation)) is names


def test_an_annotation_that_cannot_be_resolved_is_named_each_time():
    cls = type("Lost", (ModelOutput,), {"__annotations__": {"loss": "NotImported"}, "__module__": __name__})
    for _ in range(2):
        with pytest.raises(ContractError, match=r"^Lost: an annotation cannot be resolved \(.+\); import that name$"):
            schema_of(cls)


def test_schemas_as_text():
    assert {name: describe(schema) for name, schema in schema_of(Plain).items()} == {
        "number": "int",
        "named": "dict of (batch hidden)",
        "listed": "list of (batch hidden)",
        "pair": "int + str",
        "either": "str or list of int",
        "mapping": "Mapping",
        "anything": "Any",
        "literal": "Literal",
        "sequence": "Sequence",
        "bare": "tuple",
        "inner": "Checked",
    }
    assert describe(parse(tuple[()])) == "empty tuple"
    assert describe(parse(tuple[int, int, str])) == "2 x int + str"
