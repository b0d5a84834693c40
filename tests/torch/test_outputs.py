"""The 19 PyTorch classes against the facts of the documentation page, which are in tests/data/classes.json."""

import dataclasses
import json
import typing
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs import ContractError, ModelOutput  # noqa: E402
from modeloutputs.contract import field_contracts, returned_when  # noqa: E402
from modeloutputs.torch import outputs  # noqa: E402

DATA = Path(__file__).parents[1] / "data" / "classes.json"
PAGE = {entry["class"]: entry["fields"] for entry in json.loads(DATA.read_text()) if entry["framework"] == "torch"}
FIELDS = [(name, field) for name, fields in PAGE.items() for field in fields]
every_class = pytest.mark.parametrize("name", PAGE)
every_field = pytest.mark.parametrize(("name", "field"), FIELDS, ids=[f"{name}.{f['name']}" for name, f in FIELDS])

# The page's shapes in our axis names. `past` is as long as the sequence where nothing was cached before the call.
STATES = "(batch_size, sequence_length, hidden_size)"
WEIGHTS = "(batch_size, num_heads, sequence_length, sequence_length)"
KEYS = "(batch_size, num_heads, sequence_length, embed_size_per_head)"
ENCODER_KEYS = "(batch_size, num_heads, encoder_sequence_length, embed_size_per_head)"
AXES = {
    "(1,)": "()",  # 0-d: what every loss function of PyTorch returns
    "(batch_size, 2)": "(batch 2)",
    "(batch_size, config.num_labels)": "(batch labels)",
    "(batch_size, hidden_size)": "(batch hidden)",
    "(batch_size, num_choices)": "(batch choices)",
    "(batch_size, sequence_length)": "(batch seq)",
    "(batch_size, sequence_length, config.num_labels)": "(batch seq labels)",
    "(batch_size, sequence_length, config.vocab_size)": "(batch seq vocab)",
    "(batch_size, 1, hidden_size)": "(batch seq hidden)",  # one position computed, the others being cached
    STATES: "(batch seq hidden)",
    WEIGHTS: "(batch heads seq seq)",
    KEYS: "(batch kv_heads past head_dim)",  # the page has no grouped keys
    ENCODER_KEYS: "(batch kv_heads enc_seq head_dim)",
}

# Where one of the page's shapes means more than one thing, the field, and with a cache the class, tells which.
FIELD_AXES = {
    "encoder_last_hidden_state": "(batch enc_seq hidden)",
    "encoder_hidden_states": "tuple of (batch enc_seq hidden)",
    "encoder_attentions": "tuple of (batch enc_heads enc_seq enc_seq)",
    "cross_attentions": "tuple of (batch heads seq enc_seq)",
}
CACHE = f"tuple of 2 x {AXES[KEYS]}"
CACHE_WITH_CROSS = f"{CACHE} [+ 2 x {AXES[ENCODER_KEYS]}]"
CLASS_AXES = {
    # The page gives no shape for the first of these; the cache is the same as in the other decoders.
    ("CausalLMOutputWithCrossAttentions", "past_key_values"): CACHE_WITH_CROSS,
    # Each choice is a sequence of its own.
    ("MultipleChoiceModelOutput", "hidden_states"): "tuple of (batch*choices seq hidden)",
    ("MultipleChoiceModelOutput", "attentions"): "tuple of (batch*choices heads seq seq)",
}

# What fills a field where the page's words for it differ from ours, or where it has none.
FLAGS = ("output_hidden_states=True", "output_attentions=True", "use_cache=True", "next_sentence_label", "label")
PAGE_SAYS_LABELS = {
    ("QuestionAnsweringModelOutput", "loss"): "start_positions and end_positions are passed",
    ("Seq2SeqQuestionAnsweringModelOutput", "loss"): "start_positions and end_positions are passed",
}


def expected_axes(class_name: str, field: dict[str, typing.Any]) -> str:
    name, shapes = field["name"], field["shapes"]
    if (class_name, name) in CLASS_AXES:
        return CLASS_AXES[class_name, name]
    if name in FIELD_AXES:
        return FIELD_AXES[name]
    if name == "past_key_values":
        return CACHE_WITH_CROSS if ENCODER_KEYS in shapes else CACHE
    axes = " or ".join(dict.fromkeys(AXES[shape] for shape in shapes))
    if shapes == [WEIGHTS] and "past_key_values" in [other["name"] for other in PAGE[class_name]]:
        axes = "(batch heads seq past)"
    return f"tuple of {axes}" if "Tuple" in field["type"] else axes


def annotation(name: str, field: str) -> object:
    return typing.get_type_hints(getattr(outputs, name))[field]


SIZES = {
    "batch": 2,
    "seq": 3,
    "past": 5,
    "enc_seq": 4,
    "heads": 6,
    "enc_heads": 5,
    "kv_heads": 2,
    "head_dim": 8,
    "hidden": 48,
}
SIZES |= {"vocab": 10, "labels": 7, "choices": 9, "batch*choices": 18, "2": 2}


def example(annotated: object) -> object:
    """Make a value that fits an annotation: two layers of each tuple, axes as long as SIZES says."""
    options = [option for option in typing.get_args(annotated) if option is not type(None)]
    if typing.get_origin(annotated) is tuple:
        return tuple(example(item) for item in (options[:1] * 2 if Ellipsis in options else options))
    if options:
        return example(options[0])
    return torch.zeros([SIZES[axis] for axis in annotated.dim_str.split()])


def full(name: str) -> ModelOutput:
    cls = getattr(outputs, name)
    return cls(**{field.name: example(annotation(name, field.name)) for field in dataclasses.fields(cls)})


def test_the_page_has_19_classes_of_pytorch():
    assert sorted(PAGE) == sorted(outputs.__all__)
    assert len(PAGE) == 19


@every_class
def test_fields_and_their_order_are_the_pages(name: str):
    names = [field.name for field in dataclasses.fields(getattr(outputs, name))]
    assert names == [field["name"] for field in PAGE[name]]


@every_field
def test_a_field_may_be_none_where_the_page_says_optional(name: str, field: dict[str, typing.Any]):
    assert (type(None) in typing.get_args(annotation(name, field["name"]))) == field["optional"]


@every_field
def test_axes_are_the_pages_shapes(name: str, field: dict[str, typing.Any]):
    contract = {item.name: item for item in field_contracts(getattr(outputs, name))}[field["name"]]
    assert contract.axes == expected_axes(name, field)


@every_field
def test_returned_when_names_the_pages_flag(name: str, field: dict[str, typing.Any]):
    ours = returned_when(getattr(outputs, name), field["name"])
    if (name, field["name"]) in PAGE_SAYS_LABELS:
        assert ours == PAGE_SAYS_LABELS[name, field["name"]]
    elif field["returned_when"] is None:
        assert ours == ("the encoder's states are known" if field["optional"] else "always")
    else:
        assert next(flag for flag in FLAGS if flag in field["returned_when"]) in ours


@every_class
def test_right_shapes_pass_the_check(name: str):
    output = full(name)
    assert output.check() is output
    assert list(output.keys()) == [field["name"] for field in PAGE[name]]


@every_field
def test_a_wrong_rank_fails_the_check(name: str, field: dict[str, typing.Any]):
    output = full(name)
    output[field["name"]] = wrong_rank(output[field["name"]])
    with pytest.raises(ContractError, match=rf"^{name}\.{field['name']}(\[0\])*: expected .*found f32\["):
        output.check()


@every_class
def test_no_batch_may_differ_from_the_others(name: str):
    output = full(name)
    last = list(output.keys())[-1]
    output[last] = (output[last][0][:1],)
    with pytest.raises(ContractError, match=rf"^{name}\.{last}\[0\]: expected Float"):
        output.check()


@every_class
def test_field_that_is_always_there_needs_no_none_and_defaults_to_it(name: str):
    output = getattr(outputs, name)()
    assert [getattr(output, field["name"]) for field in PAGE[name]] == [None] * len(PAGE[name])
    assert len(output) == 0


def wrong_rank(value: typing.Any) -> typing.Any:
    if isinstance(value, tuple):
        return (wrong_rank(value[0]), *value[1:])
    return value[None]
