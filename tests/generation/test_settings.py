"""Settings: what is accepted, and what is refused in one line."""

from typing import Any

import numpy as np
import pytest

from modeloutputs.errors import InputError
from modeloutputs.generation.settings import GenerationSettings

from ..support.tiny_text import tokenizer

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "zero tokens": ({"max_new_tokens": 0}, "max_new_tokens is 0; expected a positive integer"),
    "half a token": ({"max_new_tokens": 1.5}, "max_new_tokens is 1.5; expected a positive integer"),
    "zero beams": ({"num_beams": 0}, "num_beams is 0; expected a positive integer"),
    "true beams": ({"num_beams": True}, "num_beams is True; expected a positive integer"),
    "zero sequences": ({"num_return_sequences": 0}, "num_return_sequences is 0; expected a positive integer"),
    "top_k": ({"top_k": -1, "do_sample": True}, "top_k is -1; expected an integer from 0 on"),
    "top_p": ({"top_p": 1.5, "do_sample": True}, "top_p is 1.5; expected a number above 0 and at most 1"),
    "min_p": ({"min_p": 0.0, "do_sample": True}, "min_p is 0.0; expected a number above 0 and at most 1"),
    "cold": ({"temperature": 0.0, "do_sample": True}, "temperature is 0.0; expected a number above 0"),
    "text": ({"temperature": "0.5", "do_sample": True}, "temperature is '0.5'; expected a number above 0"),
    "infinite": ({"temperature": float("inf"), "do_sample": True}, "temperature is inf; expected a number above 0"),
    "not a number": ({"temperature": float("nan"), "do_sample": True}, "temperature is nan; expected a number above 0"),
    "penalty": ({"repetition_penalty": -1.0}, "repetition_penalty is -1.0; expected a number above 0"),
    "length": ({"length_penalty": "long"}, "length_penalty is 'long'; expected a number"),
    "stopping": ({"early_stopping": "always"}, "early_stopping is 'always'; expected True, False or \"never\""),
    "colder": ({"temperature": 1e-38, "do_sample": True}, "temperature is 1e-38; expected a number above 0, at least"),
    "negative": ({"temperature": -0.5}, "temperature is -0.5; expected a number above 0"),
    "typical": ({"typical_p": 2}, "typical_p is 2; expected a number above 0 and at most 1"),
    "epsilon": ({"epsilon_cutoff": 1.0}, "epsilon_cutoff is 1.0; expected a number from 0 on and below 1"),
    "n-grams": ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size is -1; expected an integer from 0 on"),
    "lengths": ({"min_length": 1.5}, "min_length is 1.5; expected an integer from 0 on"),
    "words": ({"bad_words_ids": [[]]}, r"bad_words_ids is [[]]; expected a list of lists of token ids, none of them"),
    "flat words": ({"bad_words_ids": [5]}, "bad_words_ids is [5]; expected a list of lists of token ids"),
    "suppressed": ({"suppress_tokens": 5}, "suppress_tokens is 5; expected token ids"),
    "end": ({"eos_token_id": "end"}, "eos_token_id is 'end'; expected token ids"),
    "pad": ({"pad_token_id": [1]}, "pad_token_id is [1]; expected a token id"),
    "flag": ({"do_sample": "yes"}, "do_sample is 'yes'; expected True or False"),
    "processor": ({"logits_processor": [5]}, "logits_processor is [5]; expected a function, or a list of functions"),
    "prefixes": ({"prefix_allowed_tokens_fn": 5}, "prefix_allowed_tokens_fn is 5; expected a function"),
    "empty stop": (
        {"stop_strings": ["a", ""], "tokenizer": tokenizer()},
        "stop_strings is ['a', '']; any text",
    ),
    "stop of another type": ({"stop_strings": [5], "tokenizer": tokenizer()}, "stop_strings is [5]; expected a text"),
    "sequences": (
        {"num_return_sequences": 2},
        "num_return_sequences is 2 with num_beams=1: greedy decoding",
    ),
    "more than beams": ({"num_return_sequences": 4, "num_beams": 3}, "num_return_sequences is 4 with num_beams=3"),
    "more than drawn beams": (
        {"num_return_sequences": 4, "num_beams": 3, "do_sample": True},
        "num_return_sequences is 4, more than num_beams=3",
    ),
    "stops": (
        {"stop_strings": "x"},
        "stop_strings was passed without tokenizer, which decodes the new tokens",
    ),
    "unknown": ({"num_beans": 2}, "generate has no option 'num_beans'; did you mean 'num_beams'?"),
    "far off": ({"xyz": 2}, "generate has no option 'xyz'; there are max_new_tokens, "),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_in_one_line(options: dict[str, Any], message: str):
    with pytest.raises(InputError) as raised:
        GenerationSettings.of(options)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


ACCEPTED: tuple[dict[str, Any], ...] = (
    {},
    {"num_beams": 3, "num_return_sequences": 3, "early_stopping": "never", "length_penalty": -1},
    {"do_sample": True, "temperature": 2, "top_k": 5, "top_p": 1.0, "min_p": 1, "num_return_sequences": 9},
    {"stop_strings": ["a", "b"], "tokenizer": tokenizer(), "eos_token_id": ()},
    {"temperature": 1.0, "repetition_penalty": 0.5, "max_new_tokens": None},
)


@pytest.mark.parametrize("options", ACCEPTED)
def test_accepted_as_passed(options: dict[str, Any]):
    settings = GenerationSettings.of(options)
    assert {name: getattr(settings, name) for name in options} == options


def test_filters_apply_in_one_order_and_only_those_that_change_something():
    settings = GenerationSettings(do_sample=True, min_p=0.1, top_k=3, temperature=0.5)
    assert settings.filters() == [("temperature", 0.5), ("top_k", 3), ("min_p", 0.1)]
    assert GenerationSettings(do_sample=True).filters() == []


def test_none_and_what_is_off_stand_for_the_defaults():
    off = {"temperature": None, "num_beams": None, "repetition_penalty": None, "stop_strings": None, "use_cache": None}
    assert GenerationSettings(**off) == GenerationSettings()
    assert GenerationSettings(do_sample=True, top_k=0, top_p=1.0, typical_p=1.0, epsilon_cutoff=0.0).filters() == []


def test_integers_of_other_libraries_and_lists_of_functions():
    settings = GenerationSettings(max_new_tokens=np.int64(3), eos_token_id=np.array([5, 6]), logits_processor=max)
    assert (settings.max_new_tokens, settings.eos_token_id, settings.logits_processor) == (3, (5, 6), [max])
    assert type(settings.max_new_tokens) is int
    assert GenerationSettings(stopping_criteria=[]).stopping_criteria is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 0.0), ("top_k", 5), ("top_p", 0.5), ("min_p", 0.5), ("typical_p", 0.5), ("eta_cutoff", 0.1)],
)
def test_what_only_sampling_uses_has_no_effect_without_it(name: str, value: float):
    line = f"{name} only affects sampling; pass do_sample=True"
    assert GenerationSettings(**{name: value}).without_effect() == [line]


def test_what_only_beams_use_has_no_effect_without_them():
    settings = GenerationSettings(length_penalty=2.0, early_stopping=True)
    assert [line.split()[0] for line in settings.without_effect()] == ["length_penalty", "early_stopping"]
    assert GenerationSettings(length_penalty=2.0, num_beams=2).without_effect() == []
