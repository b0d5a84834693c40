"""The Flax models against the numbers that transformers 4.53.3 computes of the same parameters.

`record_original` has the calls, which both libraries make, and says how the numbers are recorded. Here are those that
cost little; `python -m tests.flax.parity` compares all.
"""

import json
from collections.abc import Iterator, Mapping
from copy import copy
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import numpy as np

import modeloutputs.flax as flax_wing

from . import record_original as original
from .record_original import BART, BY_NAME, GENERATIONS, LLAMA, Recorded

FILE = Path(__file__).parents[1] / "data" / "flax_original" / "numbers.json"
NUMBERS: dict[str, Any] = json.loads(FILE.read_text())
NEAR = 1e-5
OTHER_CLASSES = {
    # The documentation's class for it; the original's has room for cross-attentions, which this model never has.
    "FlaxBertModel": "FlaxBaseModelOutputWithPooling",
    # The original's have no field for the cache, which is put in nevertheless.
    "FlaxLlamaModel": "FlaxBaseModelOutputWithPast",
    "FlaxLlamaForCausalLM": "FlaxCausalLMOutputWithCrossAttentions",
}
OTHER_BEAMS = {"GPT-2, beams", "Llama, beams, long ones"}
"""Searches that differ, and why: they run out of positions. Here, as in PyTorch, what is unfinished then counts beside
what has ended, and a sequence ends only if it is among the best `num_beams` of a step; the original drops the former
and takes more of the latter."""
CALLED = {
    "FlaxBertForCausalLM, add_cross_attention": 4,
    "FlaxGPT2LMHeadModel, add_cross_attention": 6,
    LLAMA: 6,
    BART: 4,
}
"""A model of each architecture, and how many of its calls are made: the first ones, without those in steps for two."""
GENERATED = ("GPT-2, least length", "BART, forced start, least length", "Llama, beams, early stopping")


@cache
def model_of(name: str) -> Any:
    """Return a model with the recorded parameters, whose calls are not compiled: there are few of each kind."""
    case = BY_NAME[name]
    model = getattr(flax_wing, case.class_name)(case.config(flax_wing), _do_init=False)
    model.params = original.parameters(model.params_shape_tree)
    model.jit_calls = False
    return model


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """Return the largest difference of numbers by name; relative where they are above 1."""
    assert found.keys() == expected.keys()
    pairs = [(np.array(found[name]), np.array(expected[name])) for name in expected]
    return max(float((np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))).max()) for ours, theirs in pairs)


def call_differences(case: Recorded) -> Iterator[tuple[str, float]]:
    """Yield the name of each recorded call and the largest difference; the classes are held against each other."""
    recorded = dict(NUMBERS["calls"][case.name])
    for call in original.calls(model_of(case.name), case):
        ours, theirs = original.summary(call), dict(recorded.pop(call.name))
        assert ours.pop("class") == OTHER_CLASSES.get(case.class_name, theirs["class"])
        del theirs["class"]
        yield call.name, difference(ours, theirs)
    assert not recorded


def gradient_difference(case: Recorded) -> float:
    return difference(original.gradients(model_of(case.name), case), NUMBERS["gradients"][case.name])


def generation_difference(name: str) -> float:
    """Return the largest difference of beam scores, 0 without beams; the sequences are held against each other."""
    generation = GENERATIONS[name]
    options = dict(generation.options)
    if "min_length" in options:
        options["min_length"] += 1  # the original's is of the positions before the end token, this library's with it
    model = copy(model_of(generation.case))
    model.jit_calls = True  # as one compiled loop, which takes less than to compile what it is made of
    found = model.generate(**original.prompts(generation), **options)
    ours, recorded = np.asarray(found.sequences).tolist(), NUMBERS["sequences"][name]
    if name not in OTHER_BEAMS:
        assert ours == recorded["sequences"]
    if "scores" not in recorded:
        return 0.0
    start = 1 if generation.case == BART else original.prompts(generation)["input_ids"].shape[1]
    power, end, each = options.get("length_penalty", 1.0), options["eos_token_id"], len(ours) // original.ROWS
    theirs = {
        # Scores of what has not ended are sums in the original, whatever the length penalty.
        (i // each, *sequence): score if end in sequence[start:] else score / (len(sequence) - start) ** power
        for i, (sequence, score) in enumerate(zip(recorded["sequences"], recorded["scores"], strict=True))
    }
    found_scores = {(i // each, *sequence): float(found.sequences_scores[i]) for i, sequence in enumerate(ours)}
    shared = found_scores.keys() & theirs.keys()
    assert shared
    return max(abs(found_scores[key] - theirs[key]) for key in shared)


def test_the_numbers_are_those_of_the_version_that_is_named():
    assert NUMBERS["with"]["transformers"] == "4.53.3"
    assert NUMBERS["calls"].keys() == NUMBERS["gradients"].keys() == BY_NAME.keys()
    assert NUMBERS["sequences"].keys() == GENERATIONS.keys()


@pytest.mark.parametrize("name", CALLED)
def test_calls_give_the_originals_numbers(name: str):
    for call, found in islice(call_differences(BY_NAME[name]), CALLED[name]):
        assert found < NEAR, call


def test_gradients_are_the_originals():
    """The bias of the scores has none."""
    assert gradient_difference(BY_NAME[BART]) < NEAR


@pytest.mark.parametrize("name", GENERATED)
def test_sequences_are_the_originals(name: str):
    assert generation_difference(name) < NEAR
