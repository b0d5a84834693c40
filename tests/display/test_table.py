"""What an output holds, in the words that every table of it uses."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float

from modeloutputs import ALWAYS, ModelOutput
from modeloutputs.display.table import SHOWN_AT_EACH_END, FieldRows, MissingField, Row, Size, Text, table_model

from ..support.needs import needs

Array = np.ndarray[Any, Any]
States = Float[Array, "batch kv_heads past head_dim"]
EncoderStates = Float[Array, "batch kv_heads enc_seq head_dim"]


class Shown(ModelOutput):
    loss: Float[Array, ""] | Float[Array, "parts"] | None = None
    logits: Float[Array, "batch 2"] = ALWAYS
    hidden_states: tuple[Float[Array, "batch seq hidden"] | None, ...] | None = None
    attentions: tuple[Float[Array, "batch*choices heads seq seq"] | None, ...] | None = None
    past_key_values: tuple[tuple[States, States] | tuple[States, States, EncoderStates, EncoderStates], ...] | None = (
        None
    )
    cache: dict[str, Float[Array, "batch max_length"] | Float[Array, "batch"]] | None = None
    stacked: list[Float[Array, "2 batch"] | tuple[Float[Array, "2 batch"], Float[Array, "2 enc_seq"]]] | None = None
    several: Float[Array, "*rest seq _"] | None = None
    marked: Float[Array, "#batch rows=4"] | None = None
    anything: Any = None


class Inner(ModelOutput):
    inner: Shown | None = None


class Unresolved(ModelOutput):
    loss: "NoSuchName | None" = None
    logits: Any = None


def f32(*shape: int) -> Any:
    return np.zeros(shape, "f4")


def text(pieces: Text) -> str:
    return "".join(piece.text for piece in pieces).replace("\N{NO-BREAK SPACE}", " ")


def field(output: ModelOutput, name: str) -> FieldRows:
    return next(field for field in table_model(output).fields if field.row.label == name)


def shape(value: Any, name: str = "anything") -> str:
    return text(field(Shown(**{name: value}), name).row.shape)


# -- shapes -----------------------------------------------------------------------------------------------------------

KEY, CROSS = f32(2, 4, 8, 16), f32(2, 4, 5, 16)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("loss", f32(), "scalar"),
        ("loss", f32(3), "parts 3"),
        ("logits", f32(5, 2), "batch 5 × 2"),
        ("hidden_states", (f32(2, 8, 384),), "batch 2 × seq 8 × hidden 384"),
        ("hidden_states", (f32(2, 8, 384),) * 13, "13 × (batch 2 × seq 8 × hidden 384)"),
        ("hidden_states", (None, f32(2, 8, 4), None), "1 of 3 × (batch 2 × seq 8 × hidden 4)"),
        ("hidden_states", (None, None), "0 of 2 asked for"),
        (
            "hidden_states",
            (None, f32(1, 2, 3), f32(1, 2, 4)),
            "2 of 3: batch 1 × seq 2 × hidden 3, batch 1 × seq 2 × hidden 4",
        ),
        ("hidden_states", (), "empty"),
        ("attentions", (f32(6, 12, 8, 8),) * 2, "2 × (batch*choices 6 × heads 12 × seq 8 × seq 8)"),
        ("past_key_values", ((KEY, KEY),) * 6, "6 × (2 × (batch 2 × kv_heads 4 × past 8 × head_dim 16))"),
        (
            "past_key_values",
            ((KEY, KEY, CROSS, CROSS),) * 6,
            "6 × (2 × (batch 2 × kv_heads 4 × past 8 × head_dim 16), "
            "2 × (batch 2 × kv_heads 4 × enc_seq 5 × head_dim 16))",
        ),
        ("cache", {"key": f32(2, 6), "value": f32(2, 6), "index": f32(2)}, "2 × (batch 2 × max_length 6), batch 2"),
        ("stacked", [f32(2, 3)] * 4, "4 × (2 × batch 3)"),
        ("stacked", [(f32(2, 3), f32(2, 5))] * 2, "2 × (2 × batch 3, 2 × enc_seq 5)"),
        ("several", f32(1, 2, 3, 4), "1 × 2 × seq 3 × 4"),
        ("marked", f32(1, 4), "batch 1 × rows 4"),
    ],
)
def test_axes_are_named_as_the_class_names_them(name: str, value: Any, expected: str):
    assert shape(value, name) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("anything", f32(2, 3), "2 × 3"),
        ("anything", f32(4), "4"),
        ("anything", f32(), "scalar"),
        ("anything", (f32(2, 3),) * 2, "2 × (2 × 3)"),
        ("anything", (f32(2),) * 2, "2 × 2"),
        ("anything", ((f32(2), f32(3)), f32(4)), "(2, 3), 4"),
        ("logits", f32(5, 2, 9), "5 × 2 × 9"),
        ("hidden_states", (f32(2, 8),), "2 × 8"),
        ("hidden_states", f32(2, 8, 4), "2 × 8 × 4"),
        ("past_key_values", ((KEY, KEY, KEY),), "(3 × (2 × 4 × 8 × 16))"),
    ],
)
def test_axes_without_fitting_names_are_plain(name: str, value: Any, expected: str):
    assert shape(value, name) == expected


@pytest.mark.parametrize(
    ("value", "expected", "kind"),
    [
        ("text", "'text'", "str"),
        (3, "3", "int"),
        ([1, 1, 2], "2 × 1, 2", "list"),
        ({"a": "b"}, "'b'", "dict"),
        ("x" * 99, f"'{'x' * 56}...", "str"),
        ("line\nline\x1b[31m", r"'line\nline\x1b[31m'", "str"),
    ],
)
def test_values_that_are_not_arrays_are_described_by_their_type(value: Any, expected: str, kind: str):
    row = field(Shown(anything=value), "anything").row
    assert (text(row.shape), row.dtype, row.device, row.size) == (expected, kind, "", None)


def test_axis_names_and_placeholders_are_read_second():
    pieces = field(Shown(logits=f32(5, 2), hidden_states=(f32(1, 2, 3), None)), "logits").row.shape
    assert [piece.text for piece in pieces if piece.is_dim] == ["batch"]
    (entry,) = field(Shown(hidden_states=(f32(1, 2, 3), None)), "hidden_states").first[1:]
    assert [(piece.text, piece.is_dim) for piece in entry.shape] == [("not asked for", True)]


# -- entries ----------------------------------------------------------------------------------------------------------


def test_every_layer_is_a_line():
    states = (f32(2, 3, 4), None, f32(2, 3, 4))
    found = field(Shown(hidden_states=states), "hidden_states")
    assert [(row.label, text(row.shape), row.dtype, str(row.size)) for row in found.first] == [
        ("0", "batch 2 × seq 3 × hidden 4", "f32", "96 B"),
        ("1", "not asked for", "", "None"),
        ("2", "batch 2 × seq 3 × hidden 4", "f32", "96 B"),
    ]
    assert (found.left_out, found.last) == (0, ())


@pytest.mark.parametrize(
    ("layers", "first", "left_out", "last"),
    [(0, [], 0, []), (24, range(24), 0, []), (25, range(12), 1, range(13, 25)), (100, range(12), 76, range(88, 100))],
)
def test_of_many_layers_the_first_and_the_last_are_lines(layers: int, first: range, left_out: int, last: range):
    assert SHOWN_AT_EACH_END == 12
    found = field(Shown(hidden_states=(f32(1, 1, 1),) * layers), "hidden_states")
    assert [row.label for row in found.first] == list(map(str, first))
    assert found.left_out == left_out
    assert [row.label for row in found.last] == list(map(str, last))


def test_entries_of_a_dict_and_of_an_inner_output_have_names():
    output = Inner(inner=Shown(logits=f32(3, 2), hidden_states=(f32(1, 2, 3),)))
    assert [(row.label, text(row.shape)) for row in field(output, "inner").first] == [
        ("logits", "batch 3 × 2"),
        ("hidden_states", "batch 1 × seq 2 × hidden 3"),
    ]
    assert text(field(output, "inner").row.shape) == "batch 3 × 2, (batch 1 × seq 2 × hidden 3)"
    cache = field(Shown(cache={"layers.0.cached_key": f32(2, 6), "cache_index": f32(2)}), "cache")
    assert [(row.label, text(row.shape)) for row in cache.first] == [
        ("layers.0.cached_key", "batch 2 × max_length 6"),
        ("cache_index", "batch 2"),
    ]


def test_dtypes_and_devices_of_a_field_are_listed_once_each():
    found = field(Shown(anything=(f32(2), np.zeros(2, "i8"), f32(3))), "anything")
    assert (found.row.dtype, found.row.device) == ("f32, i64", "cpu")
    assert [row.dtype for row in found.first] == ["f32", "i64", "f32"]


# -- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (4, "4 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (98304, "96.0 KiB"),
        (589824, "576 KiB"),
        (3907000, "3.73 MiB"),
        (5 * 1024**3, "5.00 GiB"),
        (3 * 1024**6, "3072 PiB"),
    ],
)
def test_sizes_are_in_units_that_people_read(count: int, expected: str):
    assert str(Size(count, is_exact=True)) == expected


def test_an_array_in_two_places_is_counted_once():
    last = f32(2, 3, 4)
    output = Shown(hidden_states=(f32(2, 3, 4), last, last), anything=last)
    assert str(field(output, "hidden_states").row.size) == "192 B"
    assert str(field(output, "anything").row.size) == "96 B"
    assert str(table_model(output).size) == "192 B"


def test_views_are_counted_by_their_own_size():
    room = f32(2, 4, 1024, 16)
    keys, values = room[:, :, :8], room[:, :, :8]
    assert str(table_model(Shown(past_key_values=((keys, values),))).size) == "8.00 KiB"


def test_an_output_of_nothing_holds_nothing():
    model = table_model(Shown())
    assert (model.fields, str(model.size)) == ((), "0 B")
    assert len(model.missing) == 10


def test_what_is_absent_says_what_fills_it():
    assert table_model(Shown(anything=1)).missing == (
        MissingField("loss", "labels are passed"),
        MissingField("logits", "always"),
        MissingField("hidden_states", "output_hidden_states=True"),
        MissingField("attentions", "output_attentions=True"),
        MissingField("past_key_values", "use_cache=True"),
        MissingField("cache", "the model has it"),
        MissingField("stacked", "the model has it"),
        MissingField("several", "the model has it"),
        MissingField("marked", "the model has it"),
    )


# -- whatever it holds ------------------------------------------------------------------------------------------------


def test_an_annotation_that_cannot_be_resolved_leaves_axes_unnamed():
    model = table_model(Unresolved(logits=f32(2, 3)))
    assert text(model.fields[0].row.shape) == "2 × 3"
    assert model.missing == (MissingField("loss", "labels are passed"),)


class Hostile:
    shape = (2, 3)

    @property
    def dtype(self) -> str:
        raise RuntimeError("no dtype here")


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no repr either")


def test_a_value_that_cannot_be_asked_takes_only_its_own_line():
    output = Shown(loss=Hostile(), logits=f32(5, 2), anything=Unprintable())
    lines = [(row.label, text(row.shape), row.dtype) for row in (f.row for f in table_model(output).fields)]
    assert lines == [
        ("loss", "cannot be shown", "Hostile"),
        ("logits", "batch 5 × 2", "f32"),
        ("anything", "cannot be shown", "Unprintable"),
    ]
    assert str(table_model(Shown(logits=f32(5, 2), anything=Unprintable())).size) == "40 B"


def test_a_value_that_holds_itself_is_said_to_be_so():
    loop: list[Any] = []
    loop.append(loop)
    model = table_model(Shown(logits=f32(5, 2), anything=loop))
    assert [text(field.row.shape) for field in model.fields] == ["batch 5 × 2", "cannot be shown"]
    assert str(model.size) == "unknown"


@dataclass
class Settings:
    text: str


def test_long_values_are_cut():
    for value in (Settings("x" * 10_000), {str(i): str(i) for i in range(10_000)}, [f32(i) for i in range(300)]):
        assert len(shape(value)) <= 250
        assert shape(value).endswith(" …")
    many = field(Shown(anything=[np.zeros(1, f"S{i}") for i in range(1, 99)]), "anything").row
    assert len(many.dtype) <= 70
    (entry,) = field(Shown(anything={"k" * 10_000: 1}), "anything").first
    assert entry.label == f"{'k' * 240} …"


def test_names_are_one_line_and_leave_the_direction_of_writing_alone():
    cls = type("Evil\u202e\nName", (ModelOutput,), {"__annotations__": {"a": Any}})
    model = table_model(cls(a={"k\n\u202e": 1}))
    assert model.title == r"Evil\u202e\nName"
    assert model.fields[0].first[0].label == r"k\n\u202e"


# -- frameworks -------------------------------------------------------------------------------------------------------


def only_row(value: Any) -> Row:
    return field(Shown(anything=value), "anything").row


def words(value: Any) -> tuple[str, str, str, str]:
    row = only_row(value)
    return text(row.shape), row.dtype, row.device, str(row.size)


@needs("torch")
def test_tensors_of_pytorch():
    import torch

    assert words(torch.zeros(2, 3, dtype=torch.bfloat16)) == ("2 × 3", "bf16", "cpu", "12 B")
    assert words(torch.zeros(2, 3, device="meta")) == ("2 × 3", "f32", "meta", "24 B")
    assert words(torch.zeros(4, dtype=torch.float8_e5m2))[3] == "4 B"
    assert words(torch.zeros(2, 8, 4)[:, :3])[::3] == ("2 × 3 × 4", "96 B")


@needs("torch")
def test_symbolic_sizes_of_pytorch():
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    seen: list[Any] = []
    make_fx(lambda x: seen.append(words(x)) or x * 2, tracing_mode="symbolic")(torch.zeros(5, 3))
    (shown, dtype, device, size) = seen[0]
    assert re.fullmatch(r"s\d+ × s\d+", shown)
    assert (dtype, device, size) == ("f32", "cpu", "unknown")


@needs("torch")
def test_what_generate_returns():
    import torch

    from modeloutputs.torch import GenerateOutput

    output = GenerateOutput(
        sequences=torch.zeros(2, 9, dtype=torch.long),
        scores=torch.zeros(2, 4, 10),
        hidden_states=(torch.zeros(2, 9, 8),) * 3,
    )
    model = table_model(output)
    assert {field.row.label: text(field.row.shape) for field in model.fields} == {
        "sequences": "batch 2 × total 9",
        "scores": "batch 2 × new 4 × vocab 10",
        "hidden_states": "3 × (batch 2 × total 9 × hidden 8)",
    }
    assert MissingField("sequences_scores", "num_beams > 1") in model.missing


@needs("jax")
def test_arrays_of_jax_and_its_tracers():
    import jax
    import jax.numpy as jnp

    assert words(jnp.zeros((2, 3))) == ("2 × 3", "f32", "cpu:0", "24 B")
    seen: list[Any] = []
    jax.jit(lambda x: seen.append(words(x)) or x)(jnp.zeros((2, 3)))
    jax.vmap(lambda x: seen.append(words(x)) or x)(jnp.zeros((2, 3)))
    jax.eval_shape(lambda x: seen.append(words(x)) or x, jnp.zeros((4,), jnp.bfloat16))
    assert seen == [("2 × 3", "f32", "", "24 B"), ("3", "f32", "", "12 B"), ("4", "bf16", "", "8 B")]
    assert words(jax.ShapeDtypeStruct((2, 3), jnp.int8)) == ("2 × 3", "i8", "", "6 B")
    symbolic = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 3"), jnp.float32)
    assert words(symbolic) == ("b × 3", "f32", "", "unknown")


@needs("jax")
def test_the_cache_of_flax():
    from modeloutputs.flax import FlaxBaseModelOutputWithPast

    from ..support.random_outputs import full

    found = field(full(FlaxBaseModelOutputWithPast), "past_key_values")
    assert text(found.row.shape) == "4 × (batch 2 × max_length 6 × kv_heads 2 × head_dim 8), batch 2"
    assert (found.row.dtype, found.first[-1].label, text(found.first[-1].shape)) == (
        "f32, i32",
        "cache_index",
        "batch 2",
    )


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow", reason="TensorFlow is not installed")


def test_tensors_of_tensorflow(tf: Any):
    assert words(tf.zeros((2, 3))) == ("2 × 3", "f32", "cpu:0", "24 B")
    assert words(tf.Variable(tf.zeros((2, 3)))) == ("2 × 3", "f32", "cpu:0", "24 B")
    assert words(tf.constant(["a"])) == ("1", "string", "cpu:0", "unknown")


def test_symbolic_tensors_of_tensorflow_and_keras(tf: Any):
    seen: list[Any] = []
    for spec in (tf.TensorSpec(None, tf.float32), tf.TensorSpec([None, 3], tf.bfloat16)):
        traced = tf.function(lambda x: seen.append(words(x)) or x, input_signature=[spec], autograph=False)
        traced.get_concrete_function()
    assert seen == [("of unknown rank", "f32", "", "unknown"), ("? × 3", "bf16", "", "unknown")]
    assert words(tf.keras.Input((3,))) == ("? × 3", "f32", "", "unknown")


def test_a_size_that_is_partly_known_says_at_least(tf: Any):
    model = table_model(Shown(logits=tf.zeros((3, 2)), anything=tf.constant(["a"])))
    assert str(model.size) == "at least 24 B"
