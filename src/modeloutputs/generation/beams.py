"""Beam search (Sutskever et al., 2014, section 3.2): the most probable sequences reached by extending K at a time.

B rows of the batch, K beams, C candidates of a step, L positions in all. The framework adds up log probabilities and
picks the best candidates; what remains are a few numbers per row, handled here in NumPy. A finished sequence's score is
its log probability divided by its number of new tokens to the power of the length penalty (Murray & Chiang, 2018,
section 3, generalised).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .settings import EarlyStopping

__all__ = ["NEG_INF_SCORE", "Beams", "Candidates", "Hypotheses", "candidates_per_beam"]

NEG_INF_SCORE = -1.0e9
"""Added to scores that must not be chosen: below any log probability, yet finite."""

Item = TypeVar("Item", bound=np.generic)


def candidates_per_beam(eos_count: int) -> int:
    """Return how many continuations of each beam are needed so that one can go on whichever of them end.

    Examples:
        >>> candidates_per_beam(1), candidates_per_beam(3)
        (2, 4)
    """
    return max(2, 1 + eos_count)


@dataclass(frozen=True)
class Candidates:
    """Continuations of a row's beams by one token, best first."""

    scores: NDArray[np.floating[Any]]
    """(B, C) log probabilities of the sequences."""
    parents: NDArray[np.int64]
    """(B, C) the beams, 0 to K - 1, that they continue."""
    tokens: NDArray[np.int64]
    """(B, C)."""


@dataclass(frozen=True)
class Hypotheses:
    """Sequences of each row with their scores."""

    scores: NDArray[np.floating[Any]]
    """(B, N)."""
    sequences: NDArray[np.int64]
    """(B, N, L)."""
    origins: NDArray[np.int64]
    """(B, N, new), for each step the row (of B x K) of the step's scores that the token was chosen from; -1 after the
    end."""
    ended: NDArray[np.bool_]
    """(B, N)."""

    def at(self, indices: NDArray[np.int64]) -> "Hypotheses":
        """Return those at indices (B, n) of each row."""
        return Hypotheses(*(_take(array, indices) for array in vars(self).values()))

    def joined(self, other: "Hypotheses") -> "Hypotheses":
        """Return these and those of another, row by row."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Hypotheses(*(np.concatenate(pair, 1) for pair in pairs))


class Beams:
    """The running beams of a batch, and the best sequences that have ended.

    Args:
        prompts: (B, P) tokens to continue.
        max_new_tokens: positions after them.
        num_beams: K.
        fill_id: token at positions after the end.
        length_penalty: above 0 favours longer sequences, below 0 shorter ones.
        early_stopping: True stops a row when K of its sequences have ended; False when the running beams could not
            improve on them if they ended now; "never" when they could not at any length.

    Examples:
        >>> beams = Beams(np.array([[5]]), 1, num_beams=2, fill_id=0, length_penalty=1.0, early_stopping=False)
        >>> scores = np.log(np.array([[0.6, 0.4]], dtype=np.float32))
        >>> best = Candidates(scores, np.array([[0, 0]]), np.array([[8, 9]]))
        >>> beams.advance(best, lambda sequences: np.array([True, True])).tolist()
        [0, 0]
        >>> beams.best.sequences.tolist()
        [[[5, 8], [5, 9]]]
    """

    def __init__(
        self,
        prompts: NDArray[np.int64],
        max_new_tokens: int,
        *,
        num_beams: int,
        fill_id: int,
        length_penalty: float,
        early_stopping: EarlyStopping,
    ) -> None:
        rows, self._start = prompts.shape
        self._max_new_tokens = max_new_tokens
        self._length_penalty = length_penalty
        self._early_stopping: EarlyStopping = early_stopping
        self._all_ended = False
        self.num_beams = num_beams
        self.step = 0
        sequences = np.full((rows, num_beams, self._start + max_new_tokens), fill_id, dtype=np.int64)
        sequences[:, :, : self._start] = prompts[:, None]
        origins = np.full((rows, num_beams, max_new_tokens), -1, dtype=np.int64)
        # The beams of a row are equal at first: only one of them may be continued.
        scores = np.zeros((rows, num_beams), dtype=np.float32)
        scores[:, 1:] = NEG_INF_SCORE
        ended = np.zeros((rows, num_beams), dtype=np.bool_)
        self.running = Hypotheses(scores, sequences, origins, ended)
        self.best = Hypotheses(np.full_like(scores, NEG_INF_SCORE), sequences, origins, ended)
        self._open = np.ones((rows, 1), dtype=np.bool_)

    @property
    def length(self) -> int:
        """Positions so far."""
        return self._start + self.step

    @property
    def last_tokens(self) -> NDArray[np.int64]:
        """The running beams' last tokens (B x K,)."""
        return self.running.sequences[:, :, self.length - 1].reshape(-1)

    @property
    def unfinished(self) -> bool:
        """Whether another step could improve any row."""
        if self.step == 0:
            return True
        full = self._early_stopping is True and bool(self.best.ended.all())
        return bool(self._open.any()) and not full and not self._all_ended

    def advance(
        self, candidates: Candidates, has_ended: Callable[[NDArray[np.int64]], NDArray[np.bool_]]
    ) -> NDArray[np.int64]:
        """Extend the beams by one token.

        Args:
            candidates: the best continuations, at least K that do not end for each row.
            has_ended: maps sequences (rows, length) to whether each ends with its last token (rows,).

        Returns:
            for each beam (B x K,) the row, of B x K, that it continues.
        """
        extended = self._extend(candidates)
        self.step += 1
        ended = has_ended(extended.sequences[:, :, : self.length].reshape(-1, self.length))
        extended = Hypotheses(extended.scores, extended.sequences, extended.origins, ended.reshape(self._rows, -1))
        self._keep_running(extended)
        self._keep_best(extended)
        self._open = self._can_improve()
        self._all_ended = bool(ended.all())
        return self.running.origins[:, :, self.step - 1].reshape(-1)

    @property
    def _rows(self) -> int:
        return len(self._open)

    def _extend(self, candidates: Candidates) -> Hypotheses:
        parents = self.running.at(candidates.parents)
        parents.sequences[:, :, self.length] = candidates.tokens
        first = np.arange(self._rows)[:, None] * self.num_beams
        parents.origins[:, :, self.step] = candidates.parents + first
        return Hypotheses(candidates.scores, parents.sequences, parents.origins, parents.ended)

    def _keep_running(self, extended: Hypotheses) -> None:
        """Continue the best K that have not ended."""
        scores = extended.scores.copy()
        scores[extended.ended] += NEG_INF_SCORE
        order = np.argsort(-scores, axis=1, kind="stable")
        barred = Hypotheses(scores, extended.sequences, extended.origins, extended.ended)
        self.running = barred.at(order[:, : self.num_beams])

    def _keep_best(self, extended: Hypotheses) -> None:
        """Keep the best K of those that ended before and now; of the candidates, only the first K count."""
        ended = extended.ended & self._open
        ended[:, self.num_beams :] = False
        if self._early_stopping is True:
            ended &= ~self.best.ended.all(1, keepdims=True)
        scores = self._per_length(extended.scores, self.step)
        scores[~ended] = NEG_INF_SCORE
        merged = self.best.joined(Hypotheses(scores, extended.sequences, extended.origins, ended))
        order = np.lexsort((-merged.scores, ~merged.ended), axis=1)
        self.best = merged.at(order[:, : self.num_beams])

    def _can_improve(self) -> NDArray[np.bool_]:
        """Return whether the best running beam could still beat the worst finished one (B, 1)."""
        favours_long = self._early_stopping == "never" and self._length_penalty > 0
        length = self._max_new_tokens if favours_long else self.step
        possible = self._per_length(self.running.scores[:, :1], length)
        worst = self.best.scores.min(1, keepdims=True)
        return self._open & (~self.best.ended.all(1, keepdims=True) | (possible > worst))

    def _per_length(self, scores: NDArray[np.floating[Any]], length: int) -> NDArray[np.floating[Any]]:
        with np.errstate(divide="ignore", over="ignore"):  # an extreme penalty makes scores -inf or 0
            return scores / length**self._length_penalty


def _take(array: NDArray[Item], indices: NDArray[np.int64]) -> NDArray[Item]:
    """Return a new array (B, n, ...) of the entries of (B, N, ...) at indices (B, n)."""
    return array[np.arange(len(indices))[:, None], indices]
