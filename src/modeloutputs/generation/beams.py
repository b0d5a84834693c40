"""Beam search (Sutskever et al., 2014, section 3.2): the most probable sequences reached by extending K at a time.

B rows of the batch, K beams, C candidates of a step, L positions in all. The framework adds up log probabilities and
picks the best candidates; what remains are a few numbers per row. Its rules are functions of arrays that NumPy and
`jax.numpy` both have, so that a compiled loop goes by the same ones. A finished sequence's score is its log probability
divided by its number of new tokens to the power of the length penalty (Murray & Chiang, 2018, section 3, generalised).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .settings import EarlyStopping

__all__ = ["NEG_INF_SCORE", "BeamRules", "BeamState", "Beams", "Candidates", "Hypotheses", "candidates_per_beam"]

NEG_INF_SCORE = -1.0e9
"""Added to scores that must not be chosen: below any log probability, yet finite."""


def candidates_per_beam(eos_count: int) -> int:
    """Return how many continuations of each beam are needed so that one can go on whichever of them end.

    Examples:
        >>> candidates_per_beam(1), candidates_per_beam(3)
        (2, 4)
    """
    return max(2, 1 + eos_count)


class Candidates(NamedTuple):
    """Continuations of a row's beams by one token, best first; arrays of NumPy or of JAX."""

    scores: Any
    """(B, C) log probabilities of the sequences."""
    parents: Any
    """(B, C) the beams, 0 to K - 1, that they continue."""
    tokens: Any
    """(B, C)."""


class Hypotheses(NamedTuple):
    """Sequences of each row with their scores; arrays of NumPy or of JAX."""

    scores: Any
    """(B, N)."""
    sequences: Any
    """(B, N, L)."""
    origins: Any
    """(B, N, new), for each step the row (of B x K) of the step's scores that the token was chosen from; -1 after the
    end."""
    ended: Any
    """(B, N) of bool."""

    def at(self, indices: Any) -> Self:
        """Return those at indices (B, n) of each row."""
        rows = np.arange(len(indices))[:, None]
        return self._make(array[rows, indices] for array in self)


class BeamState(NamedTuple):
    """Where a search stands after `step` steps."""

    running: Hypotheses
    """The K beams that go on."""
    best: Hypotheses
    """The best K sequences that have ended, the others' scores `NEG_INF_SCORE`."""
    open: Any
    """(B, 1) whether a row could still do better."""
    all_ended: Any
    """Whether all candidates of the last step ended."""
    step: Any
    """An int, or an int32 array."""


@dataclass(frozen=True)
class BeamRules:
    """The rules of a search, without its state.

    Attributes:
        library: `numpy` or `jax.numpy`.
        start: positions of the prompts.
        max_new_tokens: positions after them; in a trace it may be traced.
        num_beams: K.
        length_penalty: above 0 favours longer sequences, below 0 shorter ones.
        early_stopping: True stops a row when K of its sequences have ended; False when the running beams could not
            improve on them if they ended now; "never" when they could not at any length.
    """

    library: Any
    start: int
    max_new_tokens: Any
    num_beams: int
    length_penalty: float
    early_stopping: EarlyStopping

    def begin(self, prompts: Any, fill_id: int, room: int) -> BeamState:
        """Return the state before the first step.

        Args:
            prompts: (B, P) tokens to continue.
            fill_id: token at positions after the end.
            room: new positions that the arrays hold.
        """
        xp, rows, beams = self.library, len(prompts), self.num_beams
        added = xp.full((rows, beams, room), fill_id, dtype=prompts.dtype)
        prompts = xp.broadcast_to(prompts[:, None], (rows, beams, self.start))
        sequences = xp.concatenate([prompts, added], -1)
        origins = xp.full((rows, beams, room), -1, dtype=prompts.dtype)
        # The beams of a row are equal at first: only one of them may be continued.
        barred = np.where(np.arange(beams) > 0, np.float32(NEG_INF_SCORE), np.float32(0))
        scores = xp.zeros((rows, beams), dtype=np.float32) + barred
        ended = xp.zeros((rows, beams), dtype=bool)
        return BeamState(
            Hypotheses(scores, sequences, origins, ended),
            Hypotheses(xp.full_like(scores, NEG_INF_SCORE), sequences, origins, ended),
            xp.ones((rows, 1), dtype=bool),
            xp.zeros((), dtype=bool),
            0,
        )

    def extended(self, state: BeamState, candidates: Candidates) -> Hypotheses:
        """Return the candidates as sequences; `ended` is not yet that of their last tokens."""
        xp = self.library
        parents = state.running.at(candidates.parents)
        first = np.arange(len(candidates.parents), dtype=state.running.origins.dtype)[:, None] * self.num_beams
        here = xp.arange(parents.sequences.shape[-1]) == self.start + state.step
        now = xp.arange(parents.origins.shape[-1]) == state.step
        sequences = xp.where(here, candidates.tokens[..., None], parents.sequences)
        origins = xp.where(now, (candidates.parents + first)[..., None], parents.origins)
        return Hypotheses(candidates.scores, sequences, origins, parents.ended)

    def advance(self, state: BeamState, extended: Hypotheses, ended: Any) -> BeamState:
        """Return the state after a step.

        Args:
            state: before it.
            extended: the candidates, at least K that do not end for each row.
            ended: (B, C) whether each ends with its last token.
        """
        step = state.step + 1
        extended = extended._replace(ended=ended)
        state = BeamState(self._running(extended), self._best(state, extended, step), state.open, ended.all(), step)
        return state._replace(open=self._can_improve(state))

    def unfinished(self, state: BeamState) -> Any:
        """Return whether another step could improve any row: a bool, or an array of one."""
        xp = self.library
        going = xp.any(state.open) & xp.logical_not(state.all_ended)
        if self.early_stopping is True:
            going = going & xp.logical_not(xp.all(state.best.ended))
        return going | (state.step == 0)

    def _running(self, extended: Hypotheses) -> Hypotheses:
        """Continue the best K that have not ended."""
        xp = self.library
        barred = extended._replace(scores=extended.scores + xp.where(extended.ended, np.float32(NEG_INF_SCORE), 0))
        return barred.at(xp.lexsort((-barred.scores,), axis=1)[:, : self.num_beams])

    def _best(self, state: BeamState, extended: Hypotheses, step: Any) -> Hypotheses:
        """Keep the best K of those that ended before and now; of the candidates, only the first K count."""
        xp = self.library
        ended = extended.ended & state.open & (xp.arange(extended.ended.shape[1]) < self.num_beams)
        if self.early_stopping is True:
            ended = ended & ~state.best.ended.all(1, keepdims=True)
        scores = xp.where(ended, self._per_length(extended.scores, step), np.float32(NEG_INF_SCORE))
        pairs = zip(state.best, extended._replace(scores=scores, ended=ended), strict=True)
        merged = Hypotheses(*(xp.concatenate(pair, 1) for pair in pairs))
        return merged.at(xp.lexsort((-merged.scores, ~merged.ended), axis=1)[:, : self.num_beams])

    def _can_improve(self, state: BeamState) -> Any:
        """Return whether the best running beam could still beat the worst finished one (B, 1)."""
        favours_long = self.early_stopping == "never" and self.length_penalty > 0
        length = self.max_new_tokens if favours_long else state.step
        possible = self._per_length(state.running.scores[:, :1], length)
        worst = state.best.scores.min(1, keepdims=True)
        return state.open & (~state.best.ended.all(1, keepdims=True) | (possible > worst))

    def _per_length(self, scores: Any, length: Any) -> Any:
        with np.errstate(divide="ignore", over="ignore"):  # an extreme penalty makes scores -inf or 0
            return (scores / length**self.length_penalty).astype(scores.dtype)


class Beams:
    """The running beams of a batch, and the best sequences that have ended, in NumPy.

    Args:
        prompts: (B, P) tokens to continue.
        max_new_tokens: positions after them.
        num_beams: K.
        fill_id: token at positions after the end.
        length_penalty: see `BeamRules`.
        early_stopping: see `BeamRules`.

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
        start = prompts.shape[1]
        self._rules = BeamRules(np, start, max_new_tokens, num_beams, length_penalty, early_stopping)
        self._state = self._rules.begin(prompts, fill_id, max_new_tokens)
        self.num_beams = num_beams

    @property
    def running(self) -> Hypotheses:
        """The beams that go on."""
        return self._state.running

    @property
    def best(self) -> Hypotheses:
        """The best sequences that have ended."""
        return self._state.best

    @property
    def step(self) -> int:
        """New positions so far."""
        return self._state.step

    @property
    def length(self) -> int:
        """Positions so far."""
        return self._rules.start + self.step

    @property
    def last_tokens(self) -> NDArray[np.int64]:
        """The running beams' last tokens (B x K,)."""
        return self.running.sequences[:, :, self.length - 1].reshape(-1)

    @property
    def unfinished(self) -> bool:
        """Whether another step could improve any row."""
        return bool(self._rules.unfinished(self._state))

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
        extended = self._rules.extended(self._state, candidates)
        length = self.length + 1
        ended = has_ended(extended.sequences[:, :, :length].reshape(-1, length))
        self._state = self._rules.advance(self._state, extended, ended.reshape(extended.scores.shape))
        return self.running.origins[:, :, self.step - 1].reshape(-1)
