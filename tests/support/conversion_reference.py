"""What an output should be in another framework: worked out in NumPy, from the page's words about each layout.

Independent of `modeloutputs.ops.convert`, which the tests hold against it.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

from modeloutputs import ModelOutput
from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.output import field_names

from .compare import values
from .needs import needs
from .random_outputs import framework_of
from .spec_checks import PAGE

CLASS_PARAMS = [pytest.param(name, marks=needs(framework)) for framework in PAGE for name in PAGE[framework]]

EQUAL_LENGTHS = {"past": 3, "max_length": 3}
"""Sizes with which every layout of a cache holds the same values: no room behind what is filled."""

WITH_A_LOSS_OF_THE_BATCH = {"Seq2SeqSequenceClassifierOutput", "Seq2SeqQuestionAnsweringModelOutput"}
"""Of these alone the loss is one number in PyTorch and TensorFlow; the other losses of TensorFlow are not reduced."""

STAND_INS = {
    ("BaseModelOutputWithCrossAttentions", "tensorflow"): "TFBaseModelOutputWithPastAndCrossAttentions",
    ("BaseModelOutputWithCrossAttentions", "jax"): "FlaxBaseModelOutputWithPastAndCrossAttentions",
    ("BaseModelOutputWithPoolingAndCrossAttentions", "jax"): "FlaxBaseModelOutputWithPooling",
    ("CausalLMOutput", "jax"): "FlaxCausalLMOutputWithCrossAttentions",
    ("CausalLMOutputWithPast", "jax"): "FlaxCausalLMOutputWithCrossAttentions",
    ("TFBaseModelOutputWithPoolingAndCrossAttentions", "jax"): "FlaxBaseModelOutputWithPooling",
    ("TFCausalLMOutput", "jax"): "FlaxCausalLMOutputWithCrossAttentions",
    ("TFCausalLMOutputWithPast", "jax"): "FlaxCausalLMOutputWithCrossAttentions",
}
"""The class that a class becomes in another framework, where that has none of the same name."""


def base_name(name: str) -> str:
    """Return a class's name without its framework's prefix."""
    return name.removeprefix(framework_of(name).prefix)


def counterpart_name(name: str, framework: str) -> str:
    """Return what a class is called in another framework."""
    return STAND_INS.get((name, framework)) or FRAMEWORKS[framework].prefix + base_name(name)


def lost(cls: type[ModelOutput], target: type[ModelOutput]) -> tuple[str, ...]:
    """Return the fields of a class that another cannot take, so that they must be dropped."""
    names = [name for name in field_names(cls) if name not in field_names(target)]
    same = framework_of(cls.__name__) is framework_of(target.__name__)
    in_both = "loss" in field_names(target) and "loss" in field_names(cls)
    if in_both and not same and base_name(cls.__name__) not in WITH_A_LOSS_OF_THE_BATCH:
        names.append("loss")
    return tuple(names)


def expected(output: ModelOutput, target: type[ModelOutput], drop: Collection[str] = ()) -> dict[str, Any]:
    """Return the values that an output has as another class: losses and caches laid out as that one's."""
    fields = {name: value for name, value in values(output).items() if name not in drop}
    name, framework = target.__name__, framework_of(target.__name__).name
    fields = {name: fields[name] for name in field_names(target) if name in fields}
    if framework_of(type(output).__name__).name == framework:
        return fields
    if "loss" in fields:
        fields["loss"] = fields["loss"].reshape((1,) if framework == "tensorflow" else ())
    if "past_key_values" in fields:
        layers = layers_of(fields["past_key_values"])
        fields["past_key_values"] = (
            stacked(layers)
            if framework == "tensorflow"
            else static(layers)
            if name == "FlaxBaseModelOutputWithPast"
            else tuple(layers)
        )
    return fields


def layers_of(cache: Any) -> list[tuple[np.ndarray, ...]]:
    """Return the keys and values of each layer, from any of the three layouts."""
    if isinstance(cache, dict):
        filled = int(cache["cache_index"].max())
        count = len(cache) // 2
        pairs = [(cache[f"layers.{i}.cached_key"], cache[f"layers.{i}.cached_value"]) for i in range(count)]
        return [tuple(array.transpose(0, 2, 1, 3)[:, :, :filled] for array in pair) for pair in pairs]
    if isinstance(cache, list):
        stacks = [layer if isinstance(layer, tuple) else (layer,) for layer in cache]
        return [tuple(part for stack in layer for part in stack) for layer in stacks]
    return list(cache)


def stacked(layers: list[tuple[np.ndarray, ...]]) -> list[Any]:
    """Lay a cache out as TensorFlow's classes have it."""
    pairs = [tuple(np.stack(layer[i : i + 2]) for i in range(0, len(layer), 2)) for layer in layers]
    return [pair if len(pair) == 2 else pair[0] for pair in pairs]


def static(layers: list[tuple[np.ndarray, ...]]) -> dict[str, np.ndarray]:
    """Lay a cache out as FlaxBaseModelOutputWithPast has it, with no room behind."""
    cache: dict[str, np.ndarray] = {}
    for i, (key, value) in enumerate(layers):
        cache[f"layers.{i}.cached_key"] = key.transpose(0, 2, 1, 3)
        cache[f"layers.{i}.cached_value"] = value.transpose(0, 2, 1, 3)
    rows, _, filled, _ = layers[0][0].shape
    return {**cache, "cache_index": np.full(rows, filled, np.int32)}
