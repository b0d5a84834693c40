"""How the scores of a step change before a token is chosen: the changes that settings ask for, in their order.

They are put together once, before the first step; with no such setting there are none, and a step does nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..generation.beams import candidates_per_beam
from ..generation.processors import PADDING, allowed_tokens, exclusions_of
from ..generation.prompt import Prompt
from ..generation.settings import GenerationSettings
from ..generation.stopping import rows_met
from .sampling import EXCLUDED, FILTERS, exclude, force_tokens, penalise_repetition

__all__ = ["ScoreChange", "TokensSoFar", "criteria_met", "score_changes"]


class TokensSoFar(NamedTuple):
    """The tokens of rows that are being decoded, as far as they are known."""

    tokens: Tensor
    """(rows, seen), padding included."""
    mask: Tensor | None
    """(rows, seen), 0 at padding; None without any."""
    length: int
    """Positions, those of a prompt that was passed as embeddings included."""

    def without_padding(self) -> Tensor:
        """Return the tokens, each row's last one in place of its padding."""
        if self.mask is None:
            return self.tokens
        return torch.where(self.mask == 0, self.tokens[:, -1:], self.tokens)

    def marked(self) -> NDArray[np.int64]:
        """Return the tokens, `PADDING` at padding, for what works on NumPy arrays."""
        tokens = self.tokens if self.mask is None else self.tokens.masked_fill(self.mask == 0, PADDING)
        return tokens.cpu().numpy()


ScoreChange = Callable[[Tensor, TokensSoFar], Tensor]
"""Of scores (rows, vocab) and the tokens so far, to scores."""


def score_changes(settings: GenerationSettings, prompt: Prompt) -> list[ScoreChange]:
    """Return the changes in the order in which they apply.

    The order is the peer's, but for forced tokens: they come last of all that looks at tokens, so that nothing excludes
    what is forced.
    """
    changes: list[ScoreChange] = []
    if settings.repetition_penalty != 1.0:
        changes.append(partial(_penalise, settings.repetition_penalty))
    changes.extend(partial(_exclude, exclusion) for exclusion in exclusions_of(settings, prompt))
    if settings.prefix_allowed_tokens_fn is not None:
        changes.append(partial(_allow, settings.prefix_allowed_tokens_fn, len(prompt.tokens)))
    if prompt.forced_bos_ids or prompt.forced_eos_ids:
        changes.append(partial(_force, prompt))
    functions = cast("Sequence[Any]", settings.logits_processor or ())
    changes.extend(partial(_process, function) for function in functions)
    if settings.do_sample:
        # Beams sample several different continuations each, so as many must remain possible.
        kept = candidates_per_beam(len(prompt.eos_ids)) if settings.num_beams > 1 else 1
        changes.extend(partial(_filter, name, value, kept) for name, value in settings.filters())
    return changes


def _penalise(penalty: float, scores: Tensor, so_far: TokensSoFar) -> Tensor:
    return penalise_repetition(scores, so_far.without_padding(), penalty)


def _exclude(exclusion: Any, scores: Tensor, so_far: TokensSoFar) -> Tensor:
    found = exclusion(so_far.marked(), so_far.length)
    return scores if found is None else exclude(scores, found.rows, found.tokens)


def _allow(allowed: Callable[..., Sequence[int]], prompts: int, scores: Tensor, so_far: TokensSoFar) -> Tensor:
    rows, vocab = scores.shape
    found = allowed_tokens(allowed, so_far.tokens, (rows, vocab), prompts)
    return scores.masked_fill(torch.as_tensor(~found, device=scores.device), EXCLUDED)


def _force(prompt: Prompt, scores: Tensor, so_far: TokensSoFar) -> Tensor:
    forced = prompt.forced_at(so_far.length)
    return force_tokens(scores, forced) if forced else scores


def _process(function: Callable[..., Any], scores: Tensor, so_far: TokensSoFar) -> Tensor:
    changed = function(so_far.tokens, scores)
    if not isinstance(changed, Tensor) or changed.shape != scores.shape:
        found = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise InputError(f"logits_processor returned {found}; expected scores of shape {tuple(scores.shape)}")
    return changed


def _filter(name: str, value: float, min_tokens_to_keep: int, scores: Tensor, _: TokensSoFar) -> Tensor:
    return FILTERS[name](scores, value, min_tokens_to_keep)


def criteria_met(criteria: Any, tokens: Tensor, scores: Tensor) -> NDArray[np.bool_]:
    """Return which rows (rows,) any of the callers' criteria ends.

    Args:
        criteria: functions, see `GenerationSettings.stopping_criteria`.
        tokens: (rows, length).
        scores: of the last step.

    Raises:
        InputError: one returns neither a bool nor one for each row.
    """
    met = np.zeros(len(tokens), dtype=np.bool_)
    for criterion in criteria:
        found = criterion(tokens, scores)
        met |= rows_met(found.cpu() if isinstance(found, Tensor) else found, len(tokens))
    return met
