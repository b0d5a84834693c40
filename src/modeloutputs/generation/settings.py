"""Generation settings, checked before anything is computed."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError, nearest
from ..tokenizers import PreTrainedTokenizer

__all__ = ["DEFAULT_NEW_TOKENS", "EarlyStopping", "GenerationSettings"]

DEFAULT_NEW_TOKENS = 128
FILTERS = ("temperature", "top_k", "top_p", "min_p")
"""Settings that change the distribution sampled from, in the order in which they apply."""

EarlyStopping = bool | Literal["never"]
"""When beam search stops a row; see `modeloutputs.generation.beams.Beams`."""


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How to generate: greedy decoding by default, sampling with `do_sample`, beam search with `num_beams`.

    Raises:
        InputError: a value is out of range, or settings contradict each other.

    Examples:
        >>> settings = GenerationSettings(do_sample=True, temperature=0.7, top_p=0.9)
        >>> settings.num_beams
        1
        >>> GenerationSettings(top_p=0.9)
        Traceback (most recent call last):
        modeloutputs.errors.InputError: top_p only affects sampling; pass do_sample=True
    """

    max_new_tokens: int | None = None
    """Maximum number of new tokens; by default 128, or as many as the model has positions for."""
    num_beams: int = 1
    """Beams of beam search; 1 for greedy decoding or plain sampling."""
    num_return_sequences: int = 1
    """Sequences per prompt: independent samples, or the best of the beams."""
    do_sample: bool = False
    """Sample each token from the model's distribution instead of taking the most probable one."""
    temperature: float = 1.0
    """Softmax temperature."""
    top_k: int | None = None
    """Sample from the k most probable tokens only."""
    top_p: float | None = None
    """Sample from the smallest set of tokens whose probabilities add up to this (nucleus sampling)."""
    min_p: float | None = None
    """Sample from tokens at least this many times as probable as the most probable one."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that already occur become less likely; 1 changes nothing."""
    length_penalty: float = 1.0
    """Exponent of the length that beam scores are divided by: above 0 favours longer sequences, below 0 shorter."""
    early_stopping: EarlyStopping = False
    """When beam search stops a row; see `Beams`."""
    eos_token_id: int | Sequence[int] | None = None
    """Tokens that end a row; by default the checkpoint's, () for none."""
    pad_token_id: int | None = None
    """Token that fills a row after its end; by default the checkpoint's, else the end token."""
    stop_strings: str | Sequence[str] = ()
    """Texts that end a row as soon as its new text contains one; the token that completes it is kept."""
    tokenizer: PreTrainedTokenizer | None = None
    """Decodes the new tokens in which `stop_strings` are searched."""
    generator: Any = None
    """Random generator of the framework; by default its global one."""
    output_scores: bool = False
    """Return the scores that each new token was chosen by."""
    output_hidden_states: bool | Sequence[int] = False
    """Return hidden states of all layers, or of the layers with these indices."""
    output_attentions: bool | Sequence[int] = False
    """Return attention weights of all layers, or of the layers with these indices."""

    def __post_init__(self) -> None:
        for name in ("num_beams", "num_return_sequences", "max_new_tokens", "top_k"):
            _check_positive_integer(name, getattr(self, name))
        for name, maximum in (("top_p", 1.0), ("min_p", 1.0), ("temperature", None), ("repetition_penalty", None)):
            _check_positive_number(name, getattr(self, name), maximum)
        if not _is_number(self.length_penalty):
            raise InputError(f"length_penalty is {self.length_penalty!r}; expected a number")
        if self.early_stopping not in (True, False, "never"):
            raise InputError(f'early_stopping is {self.early_stopping!r}; expected True, False or "never"')
        self._check_sampling()
        self._check_sequences()
        if self.stop_strings and self.tokenizer is None:
            raise InputError("stop_strings was passed without tokenizer, which decodes the new tokens; pass both")

    def _check_sampling(self) -> None:
        if not self.do_sample and (filters := self.filters()):
            raise InputError(f"{filters[0][0]} only affects sampling; pass do_sample=True")

    def _check_sequences(self) -> None:
        sequences, beams = self.num_return_sequences, self.num_beams
        if sequences > 1 and not self.do_sample and sequences > beams:
            raise InputError(
                f"num_return_sequences is {sequences} with num_beams={beams}: greedy decoding returns one sequence; "
                "pass do_sample=True, or as many beams"
            )
        if sequences > beams > 1:
            raise InputError(f"num_return_sequences is {sequences}, more than num_beams={beams}")

    def filters(self) -> list[tuple[str, float]]:
        """Return name and value of each setting that changes the distribution sampled from, in order of application.

        Examples:
            >>> GenerationSettings(do_sample=True, top_p=0.9, temperature=0.7).filters()
            [('temperature', 0.7), ('top_p', 0.9)]
        """
        values = ((name, getattr(self, name)) for name in FILTERS)
        return [(name, value) for name, value in values if value is not None and (name, value) != ("temperature", 1.0)]

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "GenerationSettings":
        """Return the settings with these keyword arguments.

        Raises:
            InputError: an unknown option; the message suggests the nearest one.

        Examples:
            >>> GenerationSettings.of({"num_beam": 3})
            Traceback (most recent call last):
            modeloutputs.errors.InputError: generate has no option 'num_beam'; did you mean 'num_beams'?
        """
        known = [entry.name for entry in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise InputError(f"generate has no option {name!r}{nearest(name, known)}")
        return cls(**options)


def _check_positive_integer(name: str, value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InputError(f"{name} is {value!r}; expected a positive integer")


def _check_positive_number(name: str, value: Any, maximum: float | None) -> None:
    if value is None:
        return
    if not _is_number(value) or value <= 0 or (maximum is not None and value > maximum):
        limit = "" if maximum is None else f" and at most {maximum:g}"
        raise InputError(f"{name} is {value!r}; expected a number above 0{limit}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
