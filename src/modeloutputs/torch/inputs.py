"""What models are given: checked before anything is computed, and positions derived from the mask."""

import torch
from torch import Tensor

from ..errors import InputError
from .attention import is_unmasked
from .values import are_at_hand

__all__ = [
    "check_embeds",
    "check_ids",
    "check_one_given",
    "check_position_ids",
    "check_positions",
    "check_tokens",
    "first_position",
    "last_position",
    "positions_from_mask",
    "rows_at",
]


def check_one_given(input_ids: Tensor | None, inputs_embeds: Tensor | None, prefix: str = "") -> Tensor:
    """Return the one of the two that is given; `prefix` is that of the caller's arguments.

    Raises:
        InputError: neither is, or both are.
    """
    if input_ids is not None and inputs_embeds is not None:
        raise InputError(f"both {prefix}input_ids and {prefix}inputs_embeds were passed; pass one of them")
    if input_ids is not None:
        return input_ids
    if inputs_embeds is not None:
        return inputs_embeds
    raise InputError(f"neither {prefix}input_ids nor {prefix}inputs_embeds was passed; pass one of them")


def check_ids(ids: Tensor, count: int, what: str, shape: tuple[int, ...] | None = None) -> None:
    """Refuse indices into a table of `count` rows that are neither int64 nor int32, of another shape, or outside it.

    Values are looked at on the CPU only: on an accelerator that would stall it at every call.

    Raises:
        InputError: naming the argument, what was found and what was expected.
    """
    if ids.dtype not in (torch.int64, torch.int32):  # the two that an embedding takes
        raise InputError(f"{what} is {ids.dtype}; expected int64 or int32")
    if shape is None and ids.dim() != 2:
        raise InputError(f"{what} has shape {tuple(ids.shape)}; expected (batch, seq)")
    if shape is not None and tuple(ids.shape) != shape:
        raise InputError(f"{what} has shape {tuple(ids.shape)}; expected {shape}")
    if not are_at_hand(ids):
        return
    low, high = ids.aminmax()
    if low < 0 or high >= count:
        raise InputError(f"{what} ranges from {int(low)} to {int(high)}; expected 0 to {count - 1}")


def check_tokens(
    input_ids: Tensor | None, inputs_embeds: Tensor | None, vocab_size: int, width: int, prefix: str = ""
) -> tuple[int, int]:
    """Refuse tokens given twice, not at all, or that a model has no embedding for; return rows and length.

    Args:
        input_ids: (batch, seq) in [0, vocab_size), or None.
        inputs_embeds: (batch, seq, width) in their place, or None.
        vocab_size: entries of the vocabulary.
        width: of the embeddings.
        prefix: of the arguments' names.

    Raises:
        InputError: naming the argument, what was found and what was expected.
    """
    given = check_one_given(input_ids, inputs_embeds, prefix)
    if input_ids is not None:
        check_ids(input_ids, vocab_size, f"{prefix}input_ids")
    else:
        check_embeds(given, width, f"{prefix}inputs_embeds")
    return given.shape[0], given.shape[1]


def check_position_ids(position_ids: Tensor | None, limit: int, rows: int, length: int) -> None:
    """Refuse positions that are not (rows or 1, length) integers below `limit`; see `check_ids`."""
    if position_ids is not None:
        first = 1 if position_ids.shape[:1] == (1,) else rows
        check_ids(position_ids, limit, "position_ids", (first, length))


def check_embeds(embeds: Tensor, width: int, what: str, rows: int | None = None) -> None:
    """Refuse vectors that are not (batch, positions, width) floating point.

    Raises:
        InputError: naming the argument, what was found and what was expected.
    """
    fits = embeds.dim() == 3 and embeds.shape[2] == width and (rows is None or embeds.shape[0] == rows)
    if not fits or not embeds.is_floating_point():
        expected = ("batch" if rows is None else rows, "positions", width)
        raise InputError(
            f"{what} is {embeds.dtype} of shape {tuple(embeds.shape)}; expected floating point of shape "
            f"({', '.join(map(str, expected))})"
        )


def check_positions(length: int, past: int, limit: int) -> None:
    """Refuse a sequence that the position table cannot hold.

    Raises:
        InputError: with the length found and the longest possible.
    """
    if past + length > limit:
        before = f" after {past} cached ones" if past else ""
        raise InputError(
            f"{length} positions{before} exceed the model's max_position_embeddings of {limit}; truncate the input"
        )


def positions_from_mask(mask: Tensor | None, length: int) -> Tensor | None:
    """Return the position of each of the last `length` tokens, counting only what the mask shows.

    What is masked counts as absent, so a row has the same positions alone and padded on either side. Padding after
    the last token goes on counting, as if there were no mask: where all padding is there, positions are 0, 1, 2, ...

    Args:
        mask: (batch, past + length) or None; other masks say nothing about positions.
        length: positions of this call.

    Returns:
        (batch, length) int64, 0 for what precedes the first token; None where it is 0, 1, 2, ... for all rows.
    """
    if mask is None or mask.dim() != 2 or is_unmasked(mask):
        return None
    seen = mask != 0
    trailing = seen.flip(-1).cumsum(-1).flip(-1) == 0
    counted = seen | trailing
    if is_unmasked(counted):
        return None
    return (counted.long().cumsum(-1) - 1).clamp_(min=0)[:, -length:]


def first_position(mask: Tensor | None) -> Tensor | None:
    """Return the index (batch,) of each row's first token that is no padding; None if it is 0 in all.

    Args:
        mask: (batch, seq) or None.
    """
    if mask is None or mask.dim() != 2 or is_unmasked(mask[:, 0]):
        return None
    return (mask != 0).int().argmax(-1)


def last_position(input_ids: Tensor | None, mask: Tensor | None, pad_token_id: int | None) -> Tensor | None:
    """Return the index (batch,) of each row's last token that is no padding; None if it is the last in all.

    Args:
        input_ids: (batch, seq), asked where there is no mask.
        mask: (batch, seq) or None.
        pad_token_id: the token that is padding, or None where none is.
    """
    if mask is not None and mask.dim() == 2:
        seen = mask != 0
    elif input_ids is not None and pad_token_id is not None:
        seen = input_ids != pad_token_id
    else:
        return None
    return None if is_unmasked(seen[:, -1]) else seen.shape[1] - 1 - seen.flip(-1).int().argmax(-1)


def rows_at(hidden: Tensor, indices: Tensor | None, default: int = -1) -> Tensor:
    """Return each row's state at its index (batch,), or at `default`: (batch, seq, hidden) to (batch, hidden)."""
    if indices is None:
        return hidden[:, default]
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), indices]
