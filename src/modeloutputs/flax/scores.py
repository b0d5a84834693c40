"""How the scores of a step change before a token is chosen, in compiled loops.

R rows, L positions that the loop has room for. What a setting does is said where `modeloutputs.generation.processors`
and `modeloutputs.torch.sampling` do it for loops in Python. Here the tokens so far are an array of fixed size, and how
many of them there are is traced.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from ..generation.processors import PADDING
from .libraries import jax, jnp
from .plan import DecodingPlan
from .sampling import EXCLUDED, FILTERS

__all__ = ["Limits", "SoFar", "changed_scores"]


class Limits(NamedTuple):
    """Numbers of positions, which one compiled loop takes as they come: ints, or int32 arrays."""

    total: Any
    """Of prompts and new tokens, at most."""
    least: Any
    """Before a row may end."""


class SoFar(NamedTuple):
    """The tokens of rows that are being decoded."""

    tokens: Array
    """(R, L)."""
    mask: Array
    """(R, L), False at padding before the prompts."""
    length: Any
    """Positions that are filled."""
    source: Array | None
    """(R, E) the tokens of the input, `PADDING` at padding, where a setting looks at them."""

    def marked(self) -> Array:
        """Return the tokens, `PADDING` where there are none."""
        here = self.mask & (jnp.arange(self.tokens.shape[1]) < self.length)
        return jnp.where(here, self.tokens, PADDING)


def changed_scores(
    plan: DecodingPlan, limits: Limits, scores: Array, so_far: SoFar, allowed: Array | None = None
) -> Array:
    """Return scores (R, vocab) after all changes that were asked for, in the order in which the PyTorch wing has them.

    Args:
        plan: says which.
        limits: of positions.
        scores: (R, vocab).
        so_far: the tokens that they follow.
        allowed: (R, vocab), True at the only tokens that may come; None for all.
    """
    if plan.repetition_penalty != 1.0:
        scores = _penalise(scores, so_far, plan.repetition_penalty)
    excluded = _excluded(plan, limits, scores, so_far)
    if excluded is not None:
        scores = jnp.where(excluded, EXCLUDED, scores)
    if allowed is not None:
        scores = jnp.where(allowed, scores, EXCLUDED)
    if plan.forced_first:
        scores = jnp.where(so_far.length == plan.start, _only(plan.forced_first, scores), scores)
    if plan.forced_last:
        scores = jnp.where(so_far.length == limits.total - 1, _only(plan.forced_last, scores), scores)
    for function in plan.processors:
        scores = function(so_far.tokens, scores, so_far.length)
    for name, value in plan.filters:
        scores = FILTERS[name](scores, value, plan.kept)
    return scores


def _penalise(scores: Array, so_far: SoFar, penalty: float) -> Array:
    seen = _tokens_of_rows(so_far.marked(), so_far.marked() != PADDING, scores)
    return jnp.where(seen, jnp.where(scores < 0, scores * penalty, scores / penalty), scores)


def _only(tokens: Sequence[int], scores: Array) -> Array:
    allowed = np.zeros(scores.shape[1], dtype=np.bool_)
    allowed[list(tokens)] = True
    return jnp.where(allowed, jnp.zeros((), scores.dtype), EXCLUDED)


def _excluded(plan: DecodingPlan, limits: Limits, scores: Array, so_far: SoFar) -> Array | None:
    """Return which tokens (R or 1, vocab) must not come; None if all may."""
    found: list[Array] = []
    if plan.no_repeat_ngram_size:
        found.append(_ngram_ends(so_far.marked(), so_far, plan.no_repeat_ngram_size, scores))
    if plan.encoder_no_repeat_ngram_size and so_far.source is not None:
        found.append(_ngram_ends(so_far.source, so_far, plan.encoder_no_repeat_ngram_size, scores))
    found.extend(_ends_of_words(words, so_far, scores) for words in plan.bad_words)
    if plan.eos_ids and plan.has_least:
        found.append(_set(plan.eos_ids, scores) & (so_far.length < limits.least))
    if plan.suppressed:
        found.append(_set(plan.suppressed, scores))
    if plan.suppressed_first:
        found.append(_set(plan.suppressed_first, scores) & (so_far.length == plan.first_choice))
    if not found:
        return None
    excluded = found[0]
    for more in found[1:]:
        excluded = excluded | more
    return excluded


def _set(tokens: Sequence[int], scores: Array) -> Array:
    members = np.zeros((1, scores.shape[1]), dtype=np.bool_)
    members[0, list(tokens)] = True
    return jnp.asarray(members)


def _ngram_ends(source: Array, so_far: SoFar, size: int, scores: Array) -> Array:
    """Return which tokens would complete a sequence of `size` tokens that the source (R, E) holds."""
    count = source.shape[1] - size + 1
    if count < 1:
        return jnp.zeros((1, scores.shape[1]), dtype=bool)
    windows = jnp.stack([source[:, i : i + count] for i in range(size)], -1)
    matches = (windows[:, :, :-1] == _last_tokens(so_far, size - 1)[:, None]).all(-1)
    matches = matches & (windows != PADDING).all(-1) & (so_far.length >= size - 1)
    return _tokens_of_rows(windows[:, :, -1], matches, scores)


def _ends_of_words(words: Sequence[Sequence[int]], so_far: SoFar, scores: Array) -> Array:
    """Return which tokens would complete one of the words, all of one length."""
    same = np.array(words)
    if same.shape[1] == 1:
        return _set(same[:, 0].tolist(), scores)
    count = same.shape[1] - 1
    matches = (_last_tokens(so_far, count)[:, None] == same[:, :-1]).all(-1) & (so_far.length >= count)
    return _tokens_of_rows(jnp.broadcast_to(same[:, -1], matches.shape), matches, scores)


def _last_tokens(so_far: SoFar, count: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(so_far.marked(), so_far.length - count, count, 1)


def _tokens_of_rows(tokens: Array, chosen: Array, scores: Array) -> Array:
    """Return a mask (R, vocab) of the tokens (R, N) that are chosen (R, N)."""
    rows = np.arange(len(tokens))[:, None]
    return jnp.zeros(scores.shape, dtype=bool).at[rows, jnp.where(chosen, tokens, 0)].max(chosen)
