"""Prompts: checked, padded on the left, with the tokens and lengths that a generation needs.

B rows of the batch, P positions of the prompts.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..architectures import Config
from ..errors import InputError
from .settings import DEFAULT_NEW_TOKENS, GenerationSettings
from .special_tokens import as_list, special_tokens_of

__all__ = ["ModelLimits", "Prompt", "chosen_tokens", "left_order", "mask_of_pads", "pad_left"]


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
    trained_positions: int | None = None
    """Where not all positions, the first of them that the model was made for: without a word, it stays within them."""

    @classmethod
    def of(cls, config: Config, overrides: Mapping[str, Any]) -> "ModelLimits":
        """Return the limits of a model with this configuration; `overrides` as in `special_tokens_of`."""
        sizes = cast("Any", config)
        trained = sizes.max_position_embeddings
        limit = getattr(config, "position_limit", trained)
        return cls(sizes.vocab_size, limit, special_tokens_of(config, overrides), trained)

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
        asked = settings.max_new_tokens
        if asked is None and settings.max_length is not None:
            asked = settings.max_length - prompt_length
            if asked < 1:
                raise InputError(
                    f"max_length is {settings.max_length}, and the prompt has {prompt_length} positions already; pass "
                    "more, or max_new_tokens, which counts new tokens alone"
                )
        if available < 1 or available < (asked or 0):
            raise InputError(
                f"a prompt of {prompt_length} and {asked or 1} new tokens exceed the model's "
                f"max_position_embeddings of {self.max_positions}; shorten the prompt, or pass "
                f"max_new_tokens={max(available, 0)} or less"
            )
        if asked is None and self.trained_positions is not None and self.trained_positions > prompt_length:
            available = min(available, self.trained_positions - prompt_length + unread)
        return min(asked or DEFAULT_NEW_TOKENS, available)


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
    min_length: int = 0
    """Positions, those of the prompts included, before a row may end."""
    unseen: int = 0
    """Positions at the front that were passed as embeddings, so that their tokens are not known."""
    source: NDArray[np.int64] | None = None
    """(B, E), the tokens whose sequences do not come again; -1 at padding."""

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
        *,
        unseen: int = 0,
        source: NDArray[np.int64] | None = None,
    ) -> "Prompt":
        """Check prompts against settings and model, and pad them on the left.

        Args:
            tokens: (B, P) token ids.
            mask: (B, P), False at padding on either side; None without padding, see `mask_of_pads`.
            settings: of the generation.
            limits: of the model.
            unseen: positions at the front that were passed as embeddings.
            source: (B, E) the encoder's tokens, -1 at padding, E = 0 where they are not known; by default the prompts.

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
        _check_token_lists(settings, limits)
        tokens, mask = pad_left(tokens, mask)
        length: int = tokens.shape[1]
        eos, pad = (chosen_tokens(name, settings, limits) for name in ("eos_token_id", "pad_token_id"))
        if settings.stop_strings and not eos and not pad and len(tokens) * settings.num_return_sequences > 1:
            raise InputError("stop_strings may end some rows before others, which then need padding; pass pad_token_id")
        if source is None and not unseen:
            source = tokens if mask is None else np.where(mask, tokens, -1)
        new = settings.min_new_tokens
        prompt = cls(
            tokens,
            mask,
            limits.max_new_tokens(settings, length),
            eos,
            (pad or [None])[0],
            chosen_tokens("forced_bos_token_id", settings, limits),
            chosen_tokens("forced_eos_token_id", settings, limits),
            min_length=settings.min_length if new is None else length + new,
            unseen=unseen,
            source=source,
        )
        _check_lengths(prompt, settings)
        return prompt


def chosen_tokens(name: str, settings: GenerationSettings, limits: ModelLimits) -> list[int]:
    """Return the ids of a special token: those of the settings, else the checkpoint's; empty if there are none.

    Raises:
        InputError: an id of the settings is outside the vocabulary; as an end token, -1 stands for none.

    Examples:
        >>> limits = ModelLimits(100, 40, {"eos_token_id": [7]})
        >>> [chosen_tokens("eos_token_id", GenerationSettings(eos_token_id=each), limits) for each in (None, -1, 5)]
        [[7], [], [5]]
    """
    value = getattr(settings, name)
    if value is None:
        return limits.token_ids(name)
    tokens = as_list(value)
    if name == "eos_token_id":
        tokens = [token for token in tokens if token != -1]
    _check_in_vocabulary(name, tokens, limits)
    return tokens


def _check_token_lists(settings: GenerationSettings, limits: ModelLimits) -> None:
    for name in ("suppress_tokens", "begin_suppress_tokens"):
        _check_in_vocabulary(name, getattr(settings, name) or [], limits)
    for word in settings.bad_words_ids or []:
        _check_in_vocabulary("bad_words_ids", word, limits)
    if len(set(settings.suppress_tokens or [])) == limits.vocab_size:
        raise InputError("suppress_tokens holds the whole vocabulary; leave tokens to choose from")


def _check_lengths(prompt: Prompt, settings: GenerationSettings) -> None:
    if settings.encoder_no_repeat_ngram_size and (prompt.source is None or not prompt.source.size):
        raise InputError("encoder_no_repeat_ngram_size was passed without input_ids, which it is about; pass both")
    if prompt.min_length > prompt.total_length:
        warnings.warn(
            f"at least {prompt.min_length} positions were asked for and at most {prompt.total_length} come; "
            "raise max_new_tokens, or lower min_length or min_new_tokens",
            UserWarning,
            stacklevel=7,
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


def _check_in_vocabulary(name: str, tokens: Sequence[int], limits: ModelLimits) -> None:
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
    order = left_order(mask)
    return np.take_along_axis(tokens, order, 1), np.take_along_axis(mask, order, 1)


def left_order(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each position (B, P) the one whose content `pad_left` moves there.

    Examples:
        >>> left_order(np.array([[True, True, False]])).tolist()
        [[2, 0, 1]]
    """
    length: int = mask.shape[1]
    trailing = mask[:, ::-1].argmax(1)[:, None]
    return (np.arange(length) - trailing) % length


def mask_of_pads(
    tokens: NDArray[np.int64], settings: GenerationSettings, limits: ModelLimits, start: int | None = None
) -> NDArray[np.bool_] | None:
    """Return the mask (B, P) of prompts that were passed without one, False at padding tokens; None without any.

    Where the padding token is an end token too, or is not known, all of a prompt is text. One of padding alone keeps
    its last token.

    Args:
        tokens: (B, P).
        settings: of the generation.
        limits: of the model.
        start: the token that prompts start from; if it is the padding token, the last one before a text is no padding.

    Examples:
        >>> limits = ModelLimits(100, 40, {"eos_token_id": [7], "pad_token_id": [3]})
        >>> mask_of_pads(np.array([[3, 5], [4, 6]]), GenerationSettings(), limits).tolist()
        [[False, True], [True, True]]
    """
    pad = (chosen_tokens("pad_token_id", settings, limits) or [None])[0]
    if pad is None or pad in chosen_tokens("eos_token_id", settings, limits):
        return None
    mask: NDArray[np.bool_] = tokens != pad
    if mask.all():
        return None
    empty = np.logical_not(mask.any(1))
    leading = np.asarray(mask.argmax(1), dtype=np.int64) + empty * mask.shape[1]
    kept = np.flatnonzero(leading) if start == pad else np.flatnonzero(empty)
    mask[kept, leading[kept] - 1] = True
    return mask
