"""Settings: what is accepted, and what is refused in one line."""

from typing import Any

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
    "top_k": ({"top_k": 0, "do_sample": True}, "top_k is 0; expected a positive integer"),
    "top_p": ({"top_p": 1.5, "do_sample": True}, "top_p is 1.5; expected a number above 0 and at most 1"),
    "min_p": ({"min_p": 0.0, "do_sample": True}, "min_p is 0.0; expected a number above 0 and at most 1"),
    "cold": ({"temperature": 0.0, "do_sample": True}, "temperature is 0.0; expected a number above 0"),
    "text": ({"temperature": "0.5", "do_sample": True}, "temperature is '0.5'; expected a number above 0"),
    "infinite": ({"temperature": float("inf"), "do_sample": True}, "temperature is inf; expected a number above 0"),
    "not a number": ({"temperature": float("nan"), "do_sample": True}, "temperature is nan; expected a number above 0"),
    "penalty": ({"repetition_penalty": -1.0}, "repetition_penalty is -1.0; expected a number above 0"),
    "length": ({"length_penalty": "long"}, "length_penalty is 'long'; expected a number"),
    "stopping": ({"early_stopping": "always"}, "early_stopping is 'always'; expected True, False or \"never\""),
    **{
        f"{name} without sampling": ({name: value}, f"{name} only affects sampling; pass do_sample=True")
        for name, value in (("temperature", 0.5), ("top_k", 5), ("top_p", 0.5), ("min_p", 0.5))
    },
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
