"""How to generate: what a caller may ask for, checked before anything is computed."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import InputError, nearest
from ..tokenizers import PreTrainedTokenizer
from .beams import EarlyStopping
from .layers import LayerSelection

__all__ = ["DEFAULT_NEW_TOKENS", "GenerationSettings"]

DEFAULT_NEW_TOKENS = 128


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How to generate.

    Raises:
        InputError: a value out of range, or settings that contradict each other.
    """

    max_new_tokens: int | None = None
    """As many at most; by default 128, or what the model has positions for."""
    num_beams: int = 1
    num_return_sequences: int = 1
    """Sequences for each prompt: drawn, or the best of the beams."""
    do_sample: bool = False
    """Draw each token with the probability that the model gives it."""
    temperature: float = 1.0
    """What scores are divided by before drawing."""
    top_k: int | None = None
    """Draw from so many tokens at most."""
    top_p: float | None = None
    """Draw from the fewest tokens that have this probability together."""
    min_p: float | None = None
    """Draw from tokens at least so many times as probable as the most probable."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that were there before are less likely to come again."""
    length_penalty: float = 1.0
    """Above 0, beam search favours longer sequences, below 0 shorter ones."""
    early_stopping: EarlyStopping = False
    """When beam search stops; see `Beams`."""
    eos_token_id: int | Sequence[int] | None = None
    """Tokens that end a row; the checkpoint's where not passed, none for ()."""
    pad_token_id: int | None = None
    """What follows the end of a row; the checkpoint's where not passed, else the end token."""
    stop_strings: str | Sequence[str] = ()
    """Texts that end a row once it has come to hold one of them; the tokens that completed it stay."""
    tokenizer: "PreTrainedTokenizer | None" = None
    """Reads what `stop_strings` are looked for in."""
    generator: torch.Generator | None = None
    """Source of chance; the framework's global one where not passed."""
    output_scores: bool = False
    output_hidden_states: LayerSelection = False
    output_attentions: LayerSelection = False

    def __post_init__(self) -> None:
        for name in ("num_beams", "num_return_sequences", "max_new_tokens", "top_k"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InputError(f"{name} is {value!r}; expected a positive integer")
        for name, most in (("top_p", 1.0), ("min_p", 1.0), ("temperature", None), ("repetition_penalty", None)):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0 and (most is None or value <= most)):
                raise InputError(f"{name} is {value!r}; expected a number above 0{'' if most is None else ' to 1'}")
        if not _is_number(self.length_penalty):
            raise InputError(f"length_penalty is {self.length_penalty!r}; expected a number")
        self._check_agreement()

    def _check_agreement(self) -> None:
        if self.early_stopping not in (True, False, "never"):
            raise InputError(f'early_stopping is {self.early_stopping!r}; expected True, False or "never"')
        drawn = [name for name in ("top_k", "top_p", "min_p") if getattr(self, name) is not None]
        drawn += ["temperature"] if self.temperature != 1.0 else []
        if drawn and not self.do_sample:
            raise InputError(f"{drawn[0]} changes what is drawn, and nothing is: pass do_sample=True")
        if self.num_return_sequences > 1 and not self.do_sample and self.num_return_sequences > self.num_beams:
            raise InputError(
                f"num_return_sequences is {self.num_return_sequences} with num_beams={self.num_beams}: the likeliest "
                "token gives one sequence; pass do_sample=True, or as many beams"
            )
        if self.num_return_sequences > self.num_beams > 1:
            raise InputError(
                f"num_return_sequences is {self.num_return_sequences}, more than num_beams={self.num_beams}"
            )
        if self.stop_strings and self.tokenizer is None:
            raise InputError("stop_strings was passed without tokenizer, which reads what was generated; pass both")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "GenerationSettings":
        """Return the settings that options name.

        Raises:
            InputError: an option that there is not, with the nearest that there is.
        """
        known = [entry.name for entry in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise InputError(f"generate has no option {name!r}{nearest(name, known)}")
        return cls(**options)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
