"""A decoder without a framework, for tests of the decoding loops: its model is a function of the tokens so far."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeloutputs.generation.beams import Candidates
from modeloutputs.generation.prompt import Prompt
from modeloutputs.generation.settings import GenerationSettings

Tokens = NDArray[np.int64]
Scores = NDArray[np.floating[Any]]


class NumpyDecoder:
    """Implements `DecoderProtocol` for `model`, which maps tokens (rows, length) to logits (rows, vocab).

    `seen` keeps the tokens of each call.
    """

    def __init__(self, model: Callable[[Tokens], Scores], prompt: Prompt, settings: GenerationSettings) -> None:
        self.model = model
        self.beams = settings.num_beams
        self.fill_id = prompt.fill_id
        self.criteria: Any = settings.stopping_criteria
        self.generator: np.random.Generator | None = settings.generator
        self.tokens = prompt.tokens.repeat(self.beams if self.beams > 1 else settings.num_return_sequences, 0)
        self.seen: list[Tokens] = []

    def scores(self) -> Scores:
        self.seen.append(self.tokens)
        logits = self.model(self.tokens)
        return logits if self.beams == 1 else logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def pick(self, scores: Scores, finished: NDArray[np.bool_] | None) -> Tokens:
        chosen = scores if self.generator is None else scores + self.generator.gumbel(size=scores.shape)
        return np.where(False if finished is None else finished, self.fill_id, chosen.argmax(1))

    def top_candidates(self, scores: Scores, running: Scores, count: int) -> Candidates:
        sums = (scores.reshape(*running.shape, -1) + running[:, :, None]).reshape(len(running), -1)
        order = np.argsort(-sums, axis=1)[:, :count]
        parents, tokens = np.divmod(order, scores.shape[1])
        return Candidates(np.take_along_axis(sums, order, 1), parents, tokens)

    def append(self, tokens: Tokens) -> None:
        self.tokens = np.concatenate([self.tokens, tokens[:, None]], 1)

    def reorder(self, rows: Tokens) -> None:
        self.tokens = self.tokens[rows]

    def criteria_met(self, sequences: Tokens | None, scores: Scores) -> NDArray[np.bool_]:
        tokens = self.tokens if sequences is None else sequences
        met = [criterion(tokens, scores) for criterion in self.criteria]
        return np.broadcast_to(np.logical_or.reduce(met), (len(tokens),))

    def recent(self, count: int) -> Tokens:
        return self.tokens[:, -count:]


def scripted(*scripts: list[int], start: int, vocab: int) -> Callable[[Tokens], Scores]:
    """Return a model that gives each row its own tokens after `start` positions, the last of them for ever."""

    def model(tokens: Tokens) -> Scores:
        step = tokens.shape[1] - start
        said = [script[min(step, len(script) - 1)] for script in scripts]
        return np.eye(vocab)[said] * 9.0

    return model


def hashed(vocab: int) -> Callable[[Tokens], Scores]:
    """Return a model whose logits are random, but decided by a row's tokens."""

    def model(tokens: Tokens) -> Scores:
        return np.stack([np.random.default_rng(row.tolist()).normal(size=vocab) for row in tokens]) * 2

    return model
