"""The output classes against the facts of the documentation page: checks written once, for every framework.

The facts are in tests/data/classes.json. A framework's own test file subclasses `ClassesOfThePage`, which runs every
check for each of its classes.
"""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from modeloutputs import ContractError, ModelOutput
from modeloutputs.frameworks import FRAMEWORKS, Framework
from modeloutputs.output.contract import field_contracts, returned_when
from modeloutputs.output.schema import is_optional, schema_of

from .random_outputs import SIZES, array, full

Facts = dict[str, Any]
"""One field as the page has it: name, type, shapes, returned_when, optional."""

_FOLDERS = {framework.folder: framework.name for framework in FRAMEWORKS.values()}
_ENTRIES = json.loads((Path(__file__).parents[1] / "data" / "classes.json").read_text())
PAGE: dict[str, dict[str, list[Facts]]] = {
    name: {entry["class"]: entry["fields"] for entry in _ENTRIES if _FOLDERS[entry["framework"]] == name}
    for name in FRAMEWORKS
}
"""Per framework its classes, and of each its fields."""

# -- the page's shapes in our axis names ----------------------------------------------------------------------------

# `past` is as long as the sequence where nothing was cached before the call.
WEIGHTS = "(batch_size, num_heads, sequence_length, sequence_length)"
KEYS = "(batch_size, num_heads, sequence_length, embed_size_per_head)"
ENCODER_KEYS = "(batch_size, num_heads, encoder_sequence_length, embed_size_per_head)"
AXES = {
    "(n,)": "(n)",
    "(batch_size, )": "(batch)",
    "(batch_size, 2)": "(batch 2)",
    "(batch_size, config.num_labels)": "(batch labels)",
    "(batch_size, hidden_size)": "(batch hidden)",
    "(batch_size, num_choices)": "(batch choices)",
    "(batch_size, sequence_length)": "(batch seq)",
    "(batch_size, sequence_length, config.num_labels)": "(batch seq labels)",
    "(batch_size, sequence_length, config.vocab_size)": "(batch seq vocab)",
    "(batch_size, 1, hidden_size)": "(batch seq hidden)",  # one position computed, the others being cached
    "(batch_size, sequence_length, hidden_size)": "(batch seq hidden)",
    WEIGHTS: "(batch heads seq seq)",
    KEYS: "(batch kv_heads past head_dim)",  # the page has no grouped keys
    ENCODER_KEYS: "(batch kv_heads enc_seq head_dim)",
}

# One loss for the whole batch, which has parts once batches were joined. PyTorch's loss functions return it 0-d.
BATCH_LOSS = {"torch": "() or (parts)", "tensorflow": "(1) or (parts)"}

# Where one of the page's shapes means more than one thing, the field's name tells which.
FIELD_AXES = {
    "encoder_last_hidden_state": "(batch enc_seq hidden)",
    "encoder_hidden_states": "tuple of (batch enc_seq hidden)",
    "encoder_attentions": "tuple of (batch enc_heads enc_seq enc_seq)",
    "cross_attentions": "tuple of (batch heads seq enc_seq)",
}

# Each choice is a sequence of its own.
CHOICE_AXES = {
    "hidden_states": "tuple of (batch*choices seq hidden)",
    "attentions": "tuple of (batch*choices heads seq seq)",
}

# A layer's cache, and what is added to it where the layer attends to an encoder.
CACHES = {
    "torch": ("tuple of 2 x (batch kv_heads past head_dim)", "2 x (batch kv_heads enc_seq head_dim)"),
    "jax": ("tuple of 2 x (batch kv_heads past head_dim)", "2 x (batch kv_heads enc_seq head_dim)"),
    "tensorflow": ("list of (2 batch kv_heads past head_dim)", "(2 batch kv_heads enc_seq head_dim)"),
}
STATIC_CACHE = "dict of (batch max_length kv_heads head_dim) or (batch)"


def expected_axes(framework: str, class_name: str, facts: Facts) -> str:
    """Return the page's shapes of a field, in the words of our contract."""
    name, shapes = facts["name"], facts["shapes"]
    if name == "past_key_values":
        return _expected_cache(framework, class_name, facts)
    if name in FIELD_AXES:
        return FIELD_AXES[name]
    if "MultipleChoice" in class_name and name in CHOICE_AXES:
        return CHOICE_AXES[name]
    if shapes == ["(1,)"]:
        return BATCH_LOSS[framework]
    (axes,) = {AXES[shape] for shape in shapes}
    if shapes == [WEIGHTS] and _has(framework, class_name, "past_key_values"):
        axes = "(batch heads seq past)"
    return f"tuple of {axes}" if "Tuple" in facts["type"] else axes


def attends_to_an_encoder(class_name: str, cache: Facts) -> bool:
    """Whether a class's cache may hold an encoder's keys; not every class on the page says so in its shapes."""
    return ENCODER_KEYS in cache["shapes"] or "CrossAttentions" in class_name or "Seq2Seq" in class_name


def _expected_cache(framework: str, class_name: str, facts: Facts) -> str:
    if "Dict" in facts["type"]:
        return STATIC_CACHE
    own, cross = CACHES[framework]
    return f"{own} [+ {cross}]" if attends_to_an_encoder(class_name, facts) else own


def _has(framework: str, class_name: str, field: str) -> bool:
    return field in [facts["name"] for facts in PAGE[framework][class_name]]


# -- when a field is returned -----------------------------------------------------------------------------------------

FLAGS = (
    "output_hidden_states=True",
    "output_attentions=True",
    "use_cache=True",
    "next_sentence_label",
    "start_positions and end_positions",
    "label",
)


def expected_flag(framework: str, class_name: str, facts: Facts) -> str:
    """Return what our words for when a field is returned must contain."""
    said = facts["returned_when"]
    if facts["name"] == "loss" and _has(framework, class_name, "start_logits"):
        return "start_positions and end_positions"  # the page has "labels" in most of these classes, which take none
    if said is not None:
        return next(flag for flag in FLAGS if flag in said)
    if facts["name"] == "past_key_values":
        return "use_cache=True"  # of Flax's cache of constant shape the page does not say
    return "the encoder's states are known" if facts["optional"] else "always"


def may_be_none(facts: Facts) -> bool:
    """Whether the page lets a field be None: it says "optional", or has a type of a union with None."""
    return facts["optional"] or "NoneType" in facts["type"]


# -- the checks -------------------------------------------------------------------------------------------------------


class ClassesOfThePage:
    """Base of the tests of one framework's classes.

    A module that subclasses it imports `pytest_generate_tests` from here, which runs them for each class.
    """

    framework: ClassVar[Framework]
    count: ClassVar[int]

    def test_the_module_has_the_classes_of_the_page(self) -> None:
        outputs = self.framework.import_outputs()
        assert sorted(PAGE[self.framework.name]) == sorted(outputs.__all__)
        assert len(outputs.__all__) == self.count
        assert all(issubclass(getattr(outputs, name), ModelOutput) for name in outputs.__all__)

    def test_fields_and_their_order_are_the_pages(self, class_name: str) -> None:
        names = [field.name for field in dataclasses.fields(self._class(class_name))]
        assert names == [facts["name"] for facts in self._page(class_name)]

    def test_fields_may_be_none_where_the_page_says_so(self, class_name: str) -> None:
        schemas = schema_of(self._class(class_name))
        assert {name: is_optional(schema) for name, schema in schemas.items()} == {
            facts["name"]: may_be_none(facts) for facts in self._page(class_name)
        }

    def test_axes_are_the_pages_shapes(self, class_name: str) -> None:
        assert {contract.name: contract.axes for contract in field_contracts(self._class(class_name))} == {
            facts["name"]: expected_axes(self.framework.name, class_name, facts) for facts in self._page(class_name)
        }

    def test_returned_when_names_the_pages_flags(self, class_name: str) -> None:
        for facts in self._page(class_name):
            ours = returned_when(self._class(class_name), facts["name"])
            assert expected_flag(self.framework.name, class_name, facts) in ours

    def test_no_field_is_there_unless_it_is_given(self, class_name: str) -> None:
        output = self._class(class_name)()
        assert all(getattr(output, facts["name"]) is None for facts in self._page(class_name))
        assert len(output) == 0

    def test_right_shapes_pass_the_check(self, class_name: str) -> None:
        output = full(self._class(class_name))
        assert output.check() is output
        assert list(output.keys()) == [facts["name"] for facts in self._page(class_name)]

    def test_none_in_place_of_a_layer_passes_the_check(self, class_name: str) -> None:
        output = full(self._class(class_name))
        for name in ("hidden_states", "attentions", "decoder_hidden_states", "encoder_attentions", "cross_attentions"):
            if name in output:
                output[name] = (None, output[name][1])
        assert output.check() is output

    def test_a_wrong_rank_fails_the_check(self, class_name: str) -> None:
        output = full(self._class(class_name))
        for name, value in output.items():
            wrong = output.replace(**{name: _change_first(value, lambda leaf: leaf[None, None])})
            with pytest.raises(ContractError, match=rf"^{class_name}\.{name}(\[[^]]+\])*: expected .*found f32\["):
                wrong.check()

    def test_no_batch_may_differ_from_the_others(self, class_name: str) -> None:
        output, batched = full(self._class(class_name)), self._axes_of_fields_with_rows(class_name)
        for name, axes in batched.items():
            first_row = (slice(None),) * axes.index("batch") + (slice(1),)
            wrong = output.replace(**{name: _change_first(output[name], lambda leaf, row=first_row: leaf[row])})
            # The first tensor's batch binds the axis, so a fault in it is reported for the second tensor.
            is_first = name == next(iter(batched)) and not isinstance(output[name], (tuple, list, dict))
            culprit = list(batched)[1] if is_first else name
            with pytest.raises(ContractError, match=rf"^{class_name}\.{culprit}(\[[^]]+\])*: expected "):
                wrong.check()

    def test_a_cache_has_an_encoders_keys_where_the_class_can_attend_to_one(self, class_name: str) -> None:
        cache = next((facts for facts in self._page(class_name) if facts["name"] == "past_key_values"), None)
        own, _ = CACHES[self.framework.name]
        if cache is None or not expected_axes(self.framework.name, class_name, cache).startswith(own):
            return
        output = full(self._class(class_name))
        output["past_key_values"] = self._with_encoder_keys(output.past_key_values)
        if attends_to_an_encoder(class_name, cache):
            assert output.check() is output
        else:
            with pytest.raises(ContractError, match=rf"^{class_name}\.past_key_values\[0\]: expected "):
                output.check()

    def _axes_of_fields_with_rows(self, class_name: str) -> dict[str, list[str]]:
        """Return the axes of the first tensor in each field that has a batch axis; `batch*choices` counts as batch."""
        axes: dict[str, list[str]] = {}
        for facts in self._page(class_name):
            match = re.search(r"\(([^)]*)\)", expected_axes(self.framework.name, class_name, facts))
            assert match is not None
            axes[facts["name"]] = [axis.partition("*")[0] for axis in match[1].split()]
        return {name: names for name, names in axes.items() if "batch" in names}

    def _class(self, name: str) -> Any:
        return getattr(self.framework.import_outputs(), name)

    def _page(self, class_name: str) -> list[Facts]:
        return PAGE[self.framework.name][class_name]

    def _with_encoder_keys(self, cache: Any) -> Any:
        """Give each layer of a cache an encoder's keys and values beside its own, as its framework holds them."""
        shape = [SIZES[axis] for axis in ("batch", "kv_heads", "enc_seq", "head_dim")]
        if isinstance(cache, list):
            keys = array(np.ones([2, *shape], np.float32), self.framework.name)
            return [(layer, keys) for layer in cache]
        keys = array(np.ones(shape, np.float32), self.framework.name)
        return tuple((*layer[:2], keys, keys) for layer in cache)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each check of `ClassesOfThePage` for each class of the page."""
    if metafunc.cls is not None and "class_name" in metafunc.fixturenames:
        metafunc.parametrize("class_name", PAGE[metafunc.cls.framework.name])


def _change_first(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a nested value whose first tensor is changed."""
    if isinstance(value, tuple):
        return (_change_first(value[0], change), *value[1:])
    if isinstance(value, list):
        return [_change_first(value[0], change), *value[1:]]
    if isinstance(value, dict):
        first = next(iter(value))
        return {**value, first: _change_first(value[first], change)}
    return change(value)
