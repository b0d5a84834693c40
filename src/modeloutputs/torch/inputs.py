"""Checks of what models are called with, and positions derived from the mask."""

import torch
from torch import Tensor

from ..architectures import checks
from ..architectures.checks import Facts
from .attention import is_unmasked
from .values import require_tensor, values_on_cpu

__all__ = [
    "check_embeds",
    "check_ids",
    "check_length",
    "check_tokens",
    "facts",
    "first_position",
    "last_position",
    "positions_from_mask",
    "rows_at",
]

check_length = checks.check_length


def facts(tensor: Tensor, *, with_bounds: bool = True) -> Facts:
    """Describe a tensor to the checks; bounds are read on the CPU only, as an accelerator would stall."""
    floating = tensor.is_floating_point()
    kind = "floating" if floating else "index" if tensor.dtype in (torch.int64, torch.int32) else "other"
    bounds = None
    if with_bounds and kind == "index" and values_on_cpu(tensor):
        low, high = tensor.aminmax()
        bounds = (low.item(), high.item())
    return Facts(tuple(tensor.shape), tensor.dtype, kind, bounds)


def check_ids(ids: Tensor, count: int, what: str, shape: tuple[int, ...] | None = None) -> None:
    """Refuse invalid indices into a table of `count` rows; see `modeloutputs.architectures.checks.check_ids`."""
    require_tensor(ids, what)
    checks.check_ids(facts(ids), count, what, shape)


def check_embeds(embeds: Tensor, width: int, what: str, rows: int | None = None) -> None:
    """Refuse invalid vectors; see `modeloutputs.architectures.checks.check_embeds`."""
    require_tensor(embeds, what)
    checks.check_embeds(facts(embeds), width, what, rows)


def check_tokens(
    input_ids: Tensor | None,
    inputs_embeds: Tensor | None,
    *,
    vocab_size: int,
    width: int,
    limit: int,
    position_ids: Tensor | None = None,
    prefix: str = "",
) -> tuple[int, int]:
    """Refuse invalid tokens and positions, and return the number of rows and their length.

    Args:
        input_ids: (batch, seq) in [0, vocab_size), or None.
        inputs_embeds: (batch, seq, width) in their place, or None.
        vocab_size: entries of the vocabulary.
        width: of the embeddings.
        limit: positions that the model can hold.
        position_ids: (batch or 1, seq) in [0, limit), or None.
        prefix: of the arguments' names.

    Raises:
        InputError: naming the argument, what was found and what was expected.
    """
    checks.check_one_given(input_ids is not None, inputs_embeds is not None, prefix)
    if input_ids is not None:
        check_ids(input_ids, vocab_size, f"{prefix}input_ids")
        rows, length = input_ids.shape
    else:
        assert inputs_embeds is not None  # else refused above
        check_embeds(inputs_embeds, width, f"{prefix}inputs_embeds")
        rows, length = inputs_embeds.shape[:2]
    if position_ids is not None:
        require_tensor(position_ids, f"{prefix}position_ids")
        checks.check_position_ids(facts(position_ids), limit, rows, length)
    return rows, length


def positions_from_mask(mask: Tensor | None, length: int) -> Tensor | None:
    """Return the position of each of the last `length` tokens, counting only unmasked tokens.

    Masked tokens count as absent, so a row has the same positions alone and padded on either side. Padding after the
    last token goes on counting, as if there were no mask: with padding on the right only, positions are 0, 1, 2, ...

    Args:
        mask: (batch, past + length) or None; other masks say nothing about positions.
        length: positions of this call.

    Returns:
        (batch, length) int64, 0 before the first token; None where it is 0, 1, 2, ... for all rows.
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
    """Return the index (batch,) of each row's first token that is not padding; None if it is 0 in all.

    Args:
        mask: (batch, seq) or None.
    """
    if mask is None or mask.dim() != 2 or is_unmasked(mask[:, 0]):
        return None
    return (mask != 0).int().argmax(-1)


def last_position(input_ids: Tensor | None, mask: Tensor | None, pad_token_id: int | None) -> Tensor | None:
    """Return the index (batch,) of each row's last token that is not padding; None if it is the last in all.

    Args:
        input_ids: (batch, seq), used where there is no mask.
        mask: (batch, seq) or None.
        pad_token_id: the token that is padding, or None.
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
