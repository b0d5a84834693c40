"""The decoder of Flax models for loops in Python: for stop strings, callers' functions, and tokens as they come.

Its steps are compiled, each for itself; `modeloutputs.flax.decoding` has what they compute.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from jax import Array
from numpy.typing import NDArray

from ..generation.beams import Candidates
from ..generation.loops import GenerationResult, beam_search, sample
from ..generation.processors import allowed_tokens
from ..generation.prompt import Prompt
from ..generation.settings import GenerationSettings
from ..generation.stopping import rows_met
from .decoding import Decoding, DecodingState, Generated
from .libraries import jax, jnp
from .prompts import FlaxPrompt
from .scores import Limits

__all__ = ["FlaxDecoder", "generate_stepwise"]

Compiled = Callable[[str, Callable[..., Any]], Callable[..., Any]]
"""Of a step's name and its function: the same function, compiled once where calls are."""


class FlaxDecoder:
    """Implements `modeloutputs.generation.loops.DecoderProtocol`.

    Args:
        decoding: the model and the plan.
        settings: of the generation.
        given: the prompt.
        params: the model's.
        key: of sampling.
        compiled: compiles a step.
    """

    def __init__(
        self,
        decoding: Decoding,
        settings: GenerationSettings,
        given: FlaxPrompt,
        params: Any,
        key: Any,
        compiled: Compiled,
    ) -> None:
        self._decoding, self._settings, self._params = decoding, settings, params
        self._given, self._key, self._compiled = given, key, compiled
        prompt, start = given.prompt, decoding.plan.start
        self._limits = Limits(start + prompt.max_new_tokens, given.added + prompt.min_length)
        self._state: DecodingState | None = None
        self._length = start

    @property
    def state(self) -> DecodingState:
        """The rows as they are."""
        assert self._state is not None  # since `scores` comes first
        return self._state

    def scores(self) -> Array:
        """Return the scores (rows, vocab) that the next token is chosen by, on the host's call of a compiled step."""
        decoding = self._decoding
        if self._state is None:
            self._state = self._compiled("begin", decoding.begin)(self._params, self._given.arrays)
        else:
            self._state = self._compiled("step", decoding.step)(self._params, self._state)
        allowed = None
        if (function := self._settings.prefix_allowed_tokens_fn) is not None:
            shape = cast("tuple[int, int]", self.state.logits.shape)
            allowed = allowed_tokens(function, self._tokens(), shape, len(self._given.prompt.tokens))
        return self._compiled("scores", decoding.scores)(self._limits, self._state, allowed)

    def pick(self, scores: Array, finished: NDArray[np.bool_] | None) -> Array:
        """Return the best or a sampled token of each row (rows,), the fill token where `finished`."""
        finished = np.zeros(len(scores), dtype=np.bool_) if finished is None else finished
        return self._decoding.pick(self._next_key(), scores, jnp.asarray(finished))

    def top_candidates(self, scores: Array, running: NDArray[np.floating[Any]], count: int) -> Candidates:
        """Return the best, or sampled, continuations of the beams."""
        found = self._decoding.candidates(self._next_key(), scores, jnp.asarray(running))
        wide = (np.asarray(found.scores), np.asarray(found.parents, np.int64), np.asarray(found.tokens, np.int64))
        return Candidates(*wide)

    def append(self, tokens: Array | NDArray[np.int64]) -> None:
        """Append a token (rows,) to each row."""
        chosen = jnp.asarray(tokens, jnp.int32)
        self._state = self._decoding.append(self.state, chosen, jnp.ones(len(chosen), bool))
        self._length += 1

    def reorder(self, rows: NDArray[np.int64]) -> None:
        """Continue from these rows, each of the same prompt as the row that it replaces."""
        if not np.array_equal(rows, np.arange(len(rows))):
            self._state = self._decoding.reorder(self.state, jnp.asarray(rows))

    def criteria_met(self, sequences: NDArray[np.int64] | None, scores: Array) -> NDArray[np.bool_]:
        """Return whether the caller's criteria end each sequence, by default each row as it is."""
        tokens = self._tokens() if sequences is None else jnp.asarray(sequences)
        given = self._settings.stopping_criteria
        criteria = cast("Sequence[Callable[..., Any]]", given if isinstance(given, Sequence) else [given])
        met = np.zeros(len(tokens), dtype=np.bool_)
        for criterion in criteria:
            met |= rows_met(criterion(tokens, scores), len(tokens))
        return met

    def recent(self, count: int) -> NDArray[np.int64]:
        """Return the last `count` tokens of each row, or all if there are fewer."""
        tokens = self.state.tokens[:, max(self._given.added, self._length - count) : self._length]
        return np.asarray(tokens, np.int64)

    def _tokens(self) -> Array:
        return self.state.tokens[:, self._given.added : self._length]

    def _next_key(self) -> Any:
        self._key, now = jax.random.split(self._key)
        return now


def generate_stepwise(
    decoder: FlaxDecoder, prompt: Prompt, settings: GenerationSettings, on_tokens: Callable[[Array], object] | None
) -> Generated:
    """Generate with a loop in Python; the result has the prompt's positions and as many new ones as were asked for."""
    if settings.num_beams > 1:
        result: GenerationResult[Array] = beam_search(decoder, prompt, settings)
    else:
        result = sample(decoder, prompt, settings, on_tokens)
    missing = ((0, 0), (0, prompt.total_length - result.sequences.shape[1]))
    sequences = np.pad(result.sequences, missing, constant_values=prompt.fill_id)
    scores = None
    if result.step_scores:
        kept = jnp.stack(result.step_scores, 1)
        if result.score_rows is not None:
            kept = kept[result.score_rows, np.arange(kept.shape[1])]
        scores = jnp.pad(kept, ((0, 0), (0, prompt.max_new_tokens - kept.shape[1]), (0, 0)))
    beam_scores = None if result.sequences_scores is None else jnp.asarray(result.sequences_scores)
    attended = jnp.asarray(np.pad(result.attended, missing))
    return Generated(jnp.asarray(sequences, jnp.int32), attended, scores, beam_scores)
