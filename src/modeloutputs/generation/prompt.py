"""Prompts: checked, padded on the left, with the tokens and lengths that a generation needs.

B rows of the batch, P positions of the prompts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..architectures import Config
from ..errors import InputError
from .settings import DEFAULT_NEW_TOKENS, GenerationSettings
from .special_tokens import as_list, special_tokens_of

__all__ = ["ModelLimits", "Prompt", "pad_left"]


@dataclass(frozen=True)
class ModelLimits:
    """The facts about a model that limit its generation.

    Examples:
        >>> limits = ModelLimits(vocab_size=100, max_positions=40, special_tokens={})
        >>> limits.max_new_tokens(GenerationSettings(), prompt_length=30)
        11
    """

    vocab_size: int
    max_positions: int
    special_tokens: Mapping[str, list[int]]
    """Token ids by name, as `special_tokens_of` returns them."""

    @classmethod
    def of(cls, config: Config, overrides: Mapping[str, Any]) -> "ModelLimits":
        """Return the limits of a model with this configuration; `overrides` as in `special_tokens_of`."""
        sizes = cast("Any", config)
        return cls(sizes.vocab_size, sizes.max_position_embeddings, special_tokens_of(config, overrides))

    def token_ids(self, name: str) -> list[int]:
        """Return the ids of a special token; empty if it is not configured."""
        return self.special_tokens.get(name, [])

    def max_new_tokens(self, settings: GenerationSettings, prompt_length: int) -> int:
        """Return the maximum number of new tokens after a prompt of this length.

        Raises:
            InputError: the model has too few positions for the prompt, or for what was asked.
        """
        # The last token is only fed back to the model if its states are asked for; otherwise it needs no position.
        unread = 0 if settings.output_hidden_states or settings.output_attentions else 1
        available = self.max_positions - prompt_length + unread
        if available < 1 or available < (settings.max_new_tokens or 0):
            raise InputError(
                f"a prompt of {prompt_length} and {settings.max_new_tokens or 1} new tokens exceed the model's "
                f"max_position_embeddings of {self.max_positions}; shorten the prompt, or pass "
                f"max_new_tokens={max(available, 0)} or less"
            )
        return min(settings.max_new_tokens or DEFAULT_NEW_TOKENS, available)


@dataclass(frozen=True)
class Prompt:
    """Prompts of a batch, padded on the left, and the tokens and length of their continuation."""

    tokens: NDArray[np.int64]
    """(B, P)."""
    mask: NDArray[np.bool_] | None
    """(B, P), False at padding; None without padding."""
    max_new_tokens: int
    eos_ids: list[int]
    """Tokens that end a row."""
    pad_id: int | None = None
    forced_bos_ids: list[int] | None = None
    """The only tokens allowed after a prompt of one token (Bart's start token), if any."""
    forced_eos_ids: list[int] | None = None
    """The only tokens allowed at the last position, if any."""

    @property
    def length(self) -> int:
        """P."""
        return self.tokens.shape[1]

    @property
    def total_length(self) -> int:
        """Positions of prompt and continuation at most."""
        return self.length + self.max_new_tokens

    @property
    def fill_id(self) -> int:
        """Token at positions for which no token was chosen."""
        return self.pad_id if self.pad_id is not None else (self.eos_ids or [0])[0]

    @property
    def attended(self) -> NDArray[np.bool_]:
        """(B, P), True at tokens."""
        return np.ones(self.tokens.shape, dtype=np.bool_) if self.mask is None else self.mask

    def forced_at(self, position: int) -> list[int]:
        """Return the only tokens allowed at a position of the sequence; empty if any is."""
        if position == self.total_length - 1 and self.forced_eos_ids:
            return self.forced_eos_ids
        return (self.forced_bos_ids or []) if position == 1 else []

    @classmethod
    def of(
        cls,
        tokens: NDArray[np.int64],
        mask: NDArray[np.bool_] | None,
        settings: GenerationSettings,
        limits: ModelLimits,
    ) -> "Prompt":
        """Check prompts against settings and model, and pad them on the left.

        Args:
            tokens: (B, P) token ids.
            mask: (B, P), False at padding on either side; None without padding.
            settings: of the generation.
            limits: of the model.

        Raises:
            InputError: empty prompts, a mask of another shape or that masks a whole row, a token outside the
                vocabulary, more beams than tokens, or too many positions.

        Examples:
            >>> limits = ModelLimits(100, 40, {"eos_token_id": [7]})
            >>> mask = np.array([[True, True, True], [True, False, False]])
            >>> prompt = Prompt.of(np.array([[1, 2, 3], [4, 0, 0]]), mask, GenerationSettings(), limits)
            >>> prompt.tokens.tolist(), prompt.fill_id
            ([[1, 2, 3], [0, 0, 4]], 7)
        """
        _check_prompts(tokens, mask, settings, limits)
        tokens, mask = pad_left(tokens, mask)
        eos, pad = limits.token_ids("eos_token_id"), limits.token_ids("pad_token_id")
        eos = eos if settings.eos_token_id is None else as_list(settings.eos_token_id)
        pad = pad if settings.pad_token_id is None else [settings.pad_token_id]
        _check_in_vocabulary("eos_token_id", eos, limits)
        _check_in_vocabulary("pad_token_id", pad, limits)
        if settings.stop_strings and not eos and not pad and len(tokens) * settings.num_return_sequences > 1:
            raise InputError("stop_strings may end some rows before others, which then need padding; pass pad_token_id")
        return cls(
            tokens,
            mask,
            limits.max_new_tokens(settings, tokens.shape[1]),
            eos,
            (pad or [None])[0],
            limits.token_ids("forced_bos_token_id"),
            limits.token_ids("forced_eos_token_id"),
        )


def _check_prompts(
    tokens: NDArray[np.int64], mask: NDArray[np.bool_] | None, settings: GenerationSettings, limits: ModelLimits
) -> None:
    if settings.num_beams > limits.vocab_size:
        raise InputError(
            f"num_beams is {settings.num_beams}; the first step has only the {limits.vocab_size} tokens of the "
            "vocabulary to choose from"
        )
    if not tokens.size:
        raise InputError(f"the prompt has shape {tokens.shape}; expected at least one row and one token")
    if mask is not None and mask.shape != tokens.shape:
        raise InputError(f"attention_mask has shape {mask.shape}; expected {tokens.shape}, the prompt's")


def _check_in_vocabulary(name: str, tokens: list[int], limits: ModelLimits) -> None:
    for token in tokens:
        if not 0 <= token < limits.vocab_size:
            raise InputError(f"{name} is {token}; expected 0 to {limits.vocab_size - 1}")


def pad_left(
    tokens: NDArray[np.int64], mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
    """Move padding from behind prompts to before them, where it does not separate a prompt from its continuation.

    Args:
        tokens: (B, P).
        mask: (B, P), False at padding; None without padding.

    Returns:
        tokens (B, P), and the mask (B, P), None where nothing is masked.

    Raises:
        InputError: a row is masked as a whole.
    """
    if mask is None or mask.all():
        return tokens, None
    if not mask.any(1).all():
        raise InputError("attention_mask masks a whole prompt; expected at least one token in each row")
    length: int = tokens.shape[1]
    trailing = mask[:, ::-1].argmax(1)[:, None]
    sources = (np.arange(length) - trailing) % length
    return np.take_along_axis(tokens, sources, 1), np.take_along_axis(mask, sources, 1)
