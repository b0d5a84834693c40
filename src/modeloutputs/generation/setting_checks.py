"""Checks of single generation settings: each kind of value, and which settings are of it."""

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ..errors import InputError

__all__ = ["check_stop_strings", "check_values"]

MIN_TEMPERATURE = 1.0e-20
"""Scores divided by less may leave the range of float32."""


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may be: above `low`, or from it on, to `high`."""

    low: float
    high: float | None = None
    open_low: bool = True
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and (self.high is None or (value < self.high if self.open_high else value <= self.high))

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.open_low else f"from {self.low:g} on"
        limit = "" if self.high is None else f" and {'below' if self.open_high else 'at most'} {self.high:g}"
        return f"a number {low}{limit}"


SHARE, CUTOFF = Range(0, 1), Range(0, 1, open_low=False, open_high=True)
NUMBERS = {
    "top_p": SHARE,
    "min_p": SHARE,
    "typical_p": SHARE,
    "epsilon_cutoff": CUTOFF,
    "eta_cutoff": CUTOFF,
    "repetition_penalty": Range(0),
}
INTEGERS = {
    **dict.fromkeys(("num_beams", "num_return_sequences", "max_new_tokens", "max_length"), 1),
    **dict.fromkeys(("top_k", "min_length", "min_new_tokens"), 0),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), 0),
}
"""The least value of each."""
TOKENS = (
    *("bos_token_id", "decoder_start_token_id", "pad_token_id", "eos_token_id"),
    *("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens"),
)
SINGLE = ("bos_token_id", "decoder_start_token_id", "pad_token_id")
FLAGS = ("do_sample", "use_cache", "return_dict_in_generate", "output_scores")
FUNCTIONS = ("logits_processor", "stopping_criteria")


def check_values(settings: Any) -> None:
    """Refuse a value of the wrong type or out of range, and give integers and lists of functions their plain types.

    Args:
        settings: `GenerationSettings`, which is changed; values that are None are not looked at.

    Raises:
        InputError: naming the setting, its value and what was expected.
    """
    kinds: list[tuple[Iterable[str], Callable[[str, Any], Any]]] = [
        (INTEGERS, _integer),
        (NUMBERS, _number),
        (TOKENS, _tokens),
        (FLAGS, _flag),
        (FUNCTIONS, _functions),
        (("bad_words_ids",), _words),
        (("length_penalty",), _any_number),
        (("prefix_allowed_tokens_fn",), _function),
    ]
    for names, checked in kinds:
        for name in names:
            if (value := getattr(settings, name)) is not None:
                object.__setattr__(settings, name, checked(name, value))
    _check_temperature(settings.temperature, settings.do_sample)


def check_stop_strings(strings: Any) -> None:
    """Refuse what is no text, and an empty text, which any text contains.

    Raises:
        InputError: naming it.
    """
    texts = [strings] if isinstance(strings, str) else cast("Sequence[Any]", strings)
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"stop_strings is {strings!r}; expected a text, or a list of texts")
    if "" in texts:
        raise InputError(f"stop_strings is {strings!r}; any text contains the empty one: leave it out")


def _check_temperature(value: Any, do_sample: bool) -> None:
    least = MIN_TEMPERATURE if do_sample else 0.0  # 0 for greedy decoding is a habit, and harmless
    if not _is_number(value) or value < least:
        raise InputError(
            f"temperature is {value!r}; expected a number above 0, at least {MIN_TEMPERATURE:g}; for the most probable "
            "tokens pass do_sample=False"
        )


def _integer(name: str, value: Any) -> int:
    least = INTEGERS[name]
    number = _index(value)
    if number is None or number < least:
        raise InputError(f"{name} is {value!r}; expected {'a positive integer' if least else 'an integer from 0 on'}")
    return number


def _index(value: Any) -> int | None:
    """Return an integer of any library as Python's; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _number(name: str, value: Any) -> Any:
    if not _is_number(value) or value not in NUMBERS[name]:
        raise InputError(f"{name} is {value!r}; expected {NUMBERS[name]}")
    return value


def _any_number(name: str, value: Any) -> Any:
    if not _is_number(value):
        raise InputError(f"{name} is {value!r}; expected a number")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; expected True or False")
    return value


def _tokens(name: str, value: Any) -> int | tuple[int, ...]:
    if (token := _index(value)) is not None and not name.endswith("suppress_tokens"):
        return token
    if name not in SINGLE and (found := _indices(value)) is not None:
        return tuple(found)
    expected = "a token id" if name in SINGLE else "token ids"
    raise InputError(f"{name} is {value!r}; expected {expected}")


def _indices(value: Any) -> list[int] | None:
    """Return a list, a tuple or an array of integers as a list; None for anything else."""
    items = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(items, (list, tuple, set, range)):
        return None
    found = [_index(item) for item in cast("Sequence[Any]", items)]
    return None if None in found else cast("list[int]", found)


def _words(name: str, value: Any) -> list[list[int]]:
    given = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else [None]
    words = [_indices(word) for word in given]
    if not all(words):
        raise InputError(f"{name} is {value!r}; expected a list of lists of token ids, none of them empty")
    return cast("list[list[int]]", words)


def _function(name: str, value: Any) -> Any:
    if not callable(value):
        raise InputError(f"{name} is {value!r}; expected a function")
    return value


def _functions(name: str, value: Any) -> list[Any] | None:
    # Lists of functions may be callable themselves, as the peer's are.
    functions = list(cast("Sequence[Any]", value)) if isinstance(value, (list, tuple)) else [value]
    for function in functions:
        if not callable(function):
            raise InputError(f"{name} is {value!r}; expected a function, or a list of functions")
    return functions or None
