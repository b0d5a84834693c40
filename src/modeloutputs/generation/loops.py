"""The decoding loops: greedy decoding, sampling, beam search and streaming, over a framework's decoder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..tokenizers import PreTrainedTokenizer, TextStream
from .beams import Beams, Candidates, candidates_per_beam
from .prompt import Prompt
from .settings import GenerationSettings
from .stopping import StoppingCriteria

__all__ = ["DecoderProtocol", "GenerationResult", "Step", "beam_search", "decode_steps", "sample", "stream_text"]

Array = TypeVar("Array")
"""The framework's own array, which the loops only pass on."""


class DecoderProtocol(Protocol[Array]):
    """Rows that are being decoded: their tokens so far, and the cache of the model that extends them.

    Each row of the prompt stands for `num_return_sequences` rows or, in beam search, for `num_beams`.
    """

    def scores(self) -> Array:
        """Return the scores (rows, vocab) that the next token is chosen by, after all settings that change them.

        They are logits or, in beam search, log probabilities.
        """
        ...

    def pick(self, scores: Array, finished: NDArray[np.bool_] | None) -> Array:
        """Return the best or a sampled token of each row (rows,), the fill token where `finished` (rows,)."""
        ...

    def top_candidates(self, scores: Array, running: NDArray[np.floating[Any]], count: int) -> Candidates:
        """Return the best, or sampled, continuations of beams by the sum of log probabilities.

        Args:
            scores: (B x K, vocab) log probabilities of the next token.
            running: (B, K) those of the beams so far.
            count: how many for each row of the batch; fewer if there are not as many.
        """
        ...

    def append(self, tokens: Array | NDArray[np.int64]) -> None:
        """Append a token (rows,) to each row."""
        ...

    def reorder(self, rows: NDArray[np.int64]) -> None:
        """Continue from these rows (rows,), each of the same prompt as the row that it replaces."""
        ...

    def criteria_met(self, sequences: NDArray[np.int64] | None, scores: Array) -> NDArray[np.bool_]:
        """Return whether the settings' `stopping_criteria` end each sequence; called only where there are any.

        Args:
            sequences: (N, length); None for the rows as they are, the last token appended.
            scores: (rows, vocab) of the step.

        Returns:
            (N,).
        """
        ...

    def recent(self, count: int) -> NDArray[np.int64]:
        """Return the last `count` tokens of each row, or all if there are fewer."""
        ...


@dataclass(frozen=True)
class Step(Generic[Array]):
    """One step of greedy decoding or sampling."""

    tokens: Array
    """(rows,)."""
    scores: Array
    """(rows, vocab) that they were chosen by."""
    unfinished: NDArray[np.bool_]
    """(rows,), False in rows that had ended before."""


@dataclass(frozen=True)
class GenerationResult(Generic[Array]):
    """Generated sequences: N rows, T positions of prompts and new tokens."""

    sequences: NDArray[np.int64]
    """(N, T)."""
    attended: NDArray[np.bool_]
    """(N, T), False at padding before a prompt and after an end."""
    step_scores: list[Array]
    """For each new token the scores (rows, vocab) of its step; empty if they were not asked for."""
    score_rows: NDArray[np.int64] | None = None
    """(N, new) the row of each step's scores that the token was chosen from; None where it is the sequence's own."""
    sequences_scores: NDArray[np.floating[Any]] | None = None
    """(N,) from beam search."""


def decode_steps(
    decoder: DecoderProtocol[Array], prompt: Prompt, settings: GenerationSettings
) -> Iterator[Step[Array]]:
    """Yield tokens until all rows have ended; rows that have ended are filled up."""
    stopping = StoppingCriteria(prompt, settings)
    unfinished = np.ones(len(prompt.tokens) * settings.num_return_sequences, dtype=np.bool_)
    finished: NDArray[np.bool_] | None = None
    for length in range(prompt.length + 1, prompt.total_length + 1):
        scores = decoder.scores()
        tokens = decoder.pick(scores, finished)
        decoder.append(tokens)
        yield Step(tokens, scores, unfinished)
        if stopping.can_stop:  # else tokens are not read, and an accelerator runs ahead
            ended = stopping.ended(decoder.recent(stopping.window), length)
            if stopping.asks_caller:
                ended = ended | decoder.criteria_met(None, scores)
            unfinished = unfinished & ~ended
            finished = None if unfinished.all() else ~unfinished
            if not unfinished.any():
                return


def sample(
    decoder: DecoderProtocol[Array],
    prompt: Prompt,
    settings: GenerationSettings,
    on_tokens: Callable[[Array], object] | None = None,
) -> GenerationResult[Array]:
    """Choose each token by its own score: the best, or a sampled one.

    Args:
        decoder: continues the prompt.
        prompt: what it continues.
        settings: of the generation.
        on_tokens: called with each step's tokens (rows,).
    """
    unfinished: list[NDArray[np.bool_]] = []
    scores: list[Array] = []
    for step in decode_steps(decoder, prompt, settings):
        unfinished.append(step.unfinished)
        scores.extend([step.scores] if settings.output_scores else [])
        if on_tokens is not None:
            on_tokens(step.tokens)
    attended = _attended(prompt, settings, np.stack(unfinished, 1))
    return GenerationResult(decoder.recent(attended.shape[1]), attended, scores)


def stream_text(
    decoder: DecoderProtocol[Array], prompt: Prompt, settings: GenerationSettings, tokenizer: PreTrainedTokenizer
) -> Iterator[str]:
    """Yield the text that continues a single prompt, in whole characters, as it is generated."""
    text = TextStream(tokenizer, skip_special_tokens=True)
    known = prompt.attended[0] & (np.arange(prompt.length) >= prompt.unseen)
    text.push(map(int, prompt.tokens[0][known]))  # a token's text may depend on what precedes it
    for _ in decode_steps(decoder, prompt, settings):
        if piece := text.push(int(decoder.recent(1)[0, 0])):
            yield piece
    if piece := text.finish():
        yield piece


def beam_search(
    decoder: DecoderProtocol[Array], prompt: Prompt, settings: GenerationSettings
) -> GenerationResult[Array]:
    """Search for the most probable sequences; see `modeloutputs.generation.beams`."""
    beams = Beams(
        prompt.tokens,
        prompt.max_new_tokens,
        num_beams=settings.num_beams,
        fill_id=prompt.fill_id,
        length_penalty=settings.length_penalty,
        early_stopping=settings.early_stopping,
    )
    count = settings.num_beams * candidates_per_beam(len(prompt.eos_ids))
    stopping = StoppingCriteria(prompt, settings)
    step_scores: list[Array] = []
    while True:
        scores = decoder.scores()
        step_scores.extend([scores] if settings.output_scores else [])
        has_ended = partial(_has_ended, decoder, stopping, scores, prompt.total_length)
        rows = beams.advance(decoder.top_candidates(scores, beams.running.scores, count), has_ended)
        if not beams.unfinished:
            return _best_sequences(prompt, settings, beams, step_scores)
        decoder.reorder(rows)
        decoder.append(beams.last_tokens)


def _has_ended(
    decoder: DecoderProtocol[Array],
    stopping: StoppingCriteria,
    scores: Array,
    total_length: int,
    sequences: NDArray[np.int64],
) -> NDArray[np.bool_]:
    length = sequences.shape[1]
    if length == total_length:
        return np.ones(len(sequences), dtype=np.bool_)
    ended = stopping.ended(sequences[:, -stopping.window :], length)
    return ended | decoder.criteria_met(sequences, scores) if stopping.asks_caller else ended


def _best_sequences(
    prompt: Prompt, settings: GenerationSettings, beams: Beams, step_scores: list[Array]
) -> GenerationResult[Array]:
    best = settings.num_return_sequences
    origins = beams.best.origins[:, :best].reshape(-1, prompt.max_new_tokens)
    chosen = origins >= 0
    new = int(chosen.sum(1).max())
    sequences = beams.best.sequences[:, :best].reshape(-1, prompt.total_length)
    return GenerationResult(
        sequences[:, : prompt.length + new],
        _attended(prompt, settings, chosen[:, :new]),
        step_scores[:new],
        origins[:, :new].clip(min=0),
        beams.best.scores[:, :best].reshape(-1),
    )


def _attended(prompt: Prompt, settings: GenerationSettings, new: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the prompts' mask, once for each returned sequence, joined with that of the new tokens."""
    return np.concatenate([prompt.attended.repeat(settings.num_return_sequences, 0), new], 1)
