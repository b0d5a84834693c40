"""Stopping: a row ends with an end token, with the token that completes a stop string, or when a caller says so."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..tokenizers import PreTrainedTokenizer
from .prompt import Prompt
from .settings import GenerationSettings

__all__ = ["StoppingCriteria", "rows_met"]

SILENT_TOKENS = 8
"""Tokens without text, like special tokens, that may stand among those of a stop string."""


class StoppingCriteria:
    """Decides which rows end with their last token.

    Args:
        prompt: says which tokens end a row, and where the new text begins.
        settings: the stop strings, the tokenizer to search them with, and whether there are `stopping_criteria`, which
            the loops ask, as they take the framework's arrays.

    Examples:
        >>> prompt = Prompt(np.array([[4], [5]]), None, max_new_tokens=3, eos_ids=[7])
        >>> stopping = StoppingCriteria(prompt, GenerationSettings())
        >>> stopping.ended(np.array([[7], [8]]), length=2).tolist()
        [True, False]
    """

    def __init__(self, prompt: Prompt, settings: GenerationSettings) -> None:
        self._eos_ids = np.array(prompt.eos_ids, dtype=np.int64)
        self._strings: _StopStrings | None = None
        self.asks_caller = settings.stopping_criteria is not None
        if settings.stop_strings and settings.tokenizer is not None:
            given = settings.stop_strings
            strings = [given] if isinstance(given, str) else list(given)
            self._strings = _StopStrings(strings, settings.tokenizer, prompt.length)

    @property
    def can_stop(self) -> bool:
        """Whether any row can end before the maximum length."""
        return bool(len(self._eos_ids)) or self._strings is not None or self.asks_caller

    @property
    def window(self) -> int:
        """Number of last tokens that `ended` needs to see."""
        return 1 if self._strings is None else self._strings.window

    def ended(self, tail: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
        """Return whether each row ends with its last token (rows,).

        Args:
            tail: (rows, n) the last tokens of each row: `window` of them, or all `length`.
            length: positions of the rows, prompts included.
        """
        ended = (tail[:, -1:] == self._eos_ids).any(1)
        return ended if self._strings is None else ended | self._strings.found(tail, length)


def rows_met(found: Any, rows: int) -> NDArray[np.bool_]:
    """Return which rows (rows,) a caller's criterion ends, by what it returned: a bool, or one for each row.

    Raises:
        InputError: it is neither.
    """
    values = np.asarray(found)
    if values.shape not in ((), (1,), (rows,)) or values.dtype.kind not in "biu":
        raise InputError(f"a stopping criterion returned {found!r}; expected True, False or one of them per row")
    return np.broadcast_to(values.astype(np.bool_), (rows,))


class _StopStrings:
    """Searches the new text of each row for strings that the last token may have completed."""

    def __init__(self, strings: list[str], tokenizer: PreTrainedTokenizer, start: int) -> None:
        self.strings = strings
        self.tokenizer = tokenizer
        self.start = start
        # Every token with a text stands for one byte at least.
        self.window = max((len(string.encode()) for string in strings), default=0) + SILENT_TOKENS

    def found(self, tail: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
        # The last prompt token is decoded too: at the start of a text, some tokenizers drop a leading space.
        first = max(self.start - 1, length - self.window)
        tail = tail[:, tail.shape[1] - (length - first) :]
        skipped = [len(text) for text in self._texts(tail[:, : max(self.start - first, 0)])]
        texts = self._texts(tail)
        return np.array(
            [any(string in text[n:] for string in self.strings) for text, n in zip(texts, skipped, strict=True)]
        )

    def _texts(self, tokens: NDArray[np.int64]) -> list[str]:
        if not tokens.shape[1]:
            return [""] * len(tokens)
        return self.tokenizer.batch_decode(cast("list[list[int]]", tokens.tolist()))
