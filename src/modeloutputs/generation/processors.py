"""Tokens that must not come next: repeated n-grams, words to avoid, ends that come too early.

All of this is about token ids, so that it is written once, in NumPy; a framework only excludes the tokens from its
scores. R rows, S tokens of each so far, padding among them `PADDING`, which matches nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .prompt import Prompt
from .settings import GenerationSettings

__all__ = [
    "PADDING",
    "Excluded",
    "allowed_tokens",
    "ends_of_words",
    "exclusions_of",
    "ngram_ends",
    "ngram_ends_of_source",
]

PADDING = -1
Tokens = NDArray[np.int64]


class Excluded(NamedTuple):
    """Pairs of a row and a token that must not follow it."""

    rows: Tokens | None
    """(N,), or None for all rows."""
    tokens: Tokens
    """(N,)."""


Exclusion = Callable[[Tokens, int], Excluded | None]
"""Of the tokens (R, S) so far, and of the length, at least S, that includes a prompt whose tokens nobody knows."""


def ngram_ends(tokens: Tokens, size: int) -> Excluded | None:
    """Return the tokens that would complete a sequence of `size` tokens that a row holds already.

    Paulus et al. (2017), section 2.5, for trigrams.

    Examples:
        >>> ngram_ends(np.array([[5, 6, 7, 5, 6]]), 3)
        Excluded(rows=array([0]), tokens=array([7]))
    """
    return _ends_of_matches(tokens, tokens, size)


def ngram_ends_of_source(tokens: Tokens, source: Tokens, size: int) -> Excluded | None:
    """Return the tokens that would complete a sequence of `size` tokens that a row's source holds.

    Args:
        tokens: (R, S).
        source: (B, E), of as many rows or of fewer, each of which several rows in turn belong to.
        size: n.

    Examples:
        >>> ngram_ends_of_source(np.array([[5], [6]]), np.array([[5, 6, 7]]), 2)
        Excluded(rows=array([0, 1]), tokens=array([6, 7]))
    """
    return _ends_of_matches(tokens, source.repeat(len(tokens) // len(source), 0), size)


def _ends_of_matches(tokens: Tokens, source: Tokens, size: int) -> Excluded | None:
    length = tokens.shape[1]
    if length < size - 1 or source.shape[1] < size:
        return None
    start = tokens[:, length - (size - 1) :]
    windows = np.lib.stride_tricks.sliding_window_view(source, size, axis=1)
    matches = (windows[:, :, :-1] == start[:, None]).all(-1) & (windows != PADDING).all(-1)
    rows, places = np.nonzero(matches)
    return Excluded(rows, windows[rows, places, -1])


def ends_of_words(tokens: Tokens, starts: Tokens, ends: Tokens) -> Excluded | None:
    """Return the tokens that would complete a word.

    Args:
        tokens: (R, S).
        starts: (W, n) all tokens of the words but the last, for words of n + 1 tokens.
        ends: (W,) the last tokens.

    Examples:
        >>> ends_of_words(np.array([[5, 6], [5, 5]]), np.array([[6], [5]]), np.array([8, 9]))
        Excluded(rows=array([0, 1]), tokens=array([8, 9]))
    """
    count = starts.shape[1]
    if tokens.shape[1] < count:
        return None
    rows, words = np.nonzero((tokens[:, None, tokens.shape[1] - count :] == starts).all(-1))
    return Excluded(rows, ends[words])


def allowed_tokens(
    allowed: Callable[..., Sequence[int]], rows: Iterable[Any], shape: tuple[int, int], prompts: int
) -> NDArray[np.bool_]:
    """Return which tokens a caller's `prefix_allowed_tokens_fn` lets come next.

    Args:
        allowed: see `GenerationSettings`.
        rows: the tokens (length,) of each row, as the framework's arrays.
        shape: R and the size of the vocabulary.
        prompts: how many prompts the rows belong to, as many in turn to each.

    Returns:
        (R, vocab).

    Raises:
        InputError: the function returned no tokens, or none of the vocabulary.
    """
    found = np.zeros(shape, dtype=np.bool_)
    for i, row in enumerate(rows):
        tokens = list(allowed(i // (shape[0] // prompts), row))
        if not tokens or not all(0 <= token < shape[1] for token in tokens):
            raise InputError(
                f"prefix_allowed_tokens_fn returned {tokens}; expected at least one token, 0 to {shape[1] - 1}"
            )
        found[i, tokens] = True
    return found


def exclusions_of(settings: GenerationSettings, prompt: Prompt) -> list[Exclusion]:
    """Return what excludes tokens with these settings; nothing without any."""
    found: list[Exclusion] = []
    if size := settings.no_repeat_ngram_size:
        found.append(lambda tokens, _length: ngram_ends(tokens, size))
    if (source_size := settings.encoder_no_repeat_ngram_size) and (source := prompt.source) is not None:
        found.append(lambda tokens, _length: ngram_ends_of_source(tokens, source, source_size))
    found.extend(_word_exclusions(settings.bad_words_ids or (), prompt.eos_ids))
    if prompt.eos_ids and prompt.min_length > prompt.length:
        found.append(_until(prompt.min_length, prompt.eos_ids))
    if settings.suppress_tokens:
        found.append(_always(settings.suppress_tokens))
    if settings.begin_suppress_tokens:
        # A token that is forced first does not count as the first.
        forced = prompt.length == 1 and bool(prompt.forced_bos_ids)
        found.append(_at(prompt.length + forced, settings.begin_suppress_tokens))
    return found


def _word_exclusions(words: Sequence[Sequence[int]], eos_ids: list[int]) -> list[Exclusion]:
    """Return an exclusion for the words of each length; ends of a row are no words."""
    found: list[Exclusion] = []
    for length in sorted({len(word) for word in words}):
        same = np.array([word for word in words if len(word) == length])
        if length == 1:
            found.append(_always([token for token in same[:, 0].tolist() if token not in eos_ids]))
        else:
            found.append(partial(_ends_of_words, same[:, :-1], same[:, -1]))
    return found


def _ends_of_words(starts: Tokens, ends: Tokens, tokens: Tokens, _length: int) -> Excluded | None:
    return ends_of_words(tokens, starts, ends)


def _always(excluded: Sequence[int]) -> Exclusion:
    found = Excluded(None, np.array(excluded, dtype=np.int64))
    return lambda _tokens, _length: found


def _until(position: int, excluded: Sequence[int]) -> Exclusion:
    found = Excluded(None, np.array(excluded))
    return lambda _tokens, length: found if length < position else None


def _at(position: int, excluded: Sequence[int]) -> Exclusion:
    found = Excluded(None, np.array(excluded))
    return lambda _tokens, length: found if length == position else None
