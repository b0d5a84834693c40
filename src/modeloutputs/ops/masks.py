"""Attention masks: joins those of batches of different lengths."""

from collections.abc import Iterable
from typing import Any

from ..arrays.backends import get_backend
from ..display.text import summary
from ..errors import InputError, UsageError
from ..output.nested import is_array
from .mapping import skip_autograph

__all__ = ["concat_masks"]


@skip_autograph
def concat_masks(masks: Iterable[Any], *, side: str = "right") -> Any:
    """Join attention masks into one with the rows of all; shorter ones are padded with zeros, as `concat` pads outputs.

    So that what was joined can be taken apart: `unpad(concat(outputs), concat_masks(masks))`.

    Args:
        masks: (batch, keys) or, for multiple choice, (batch, choices, keys) each, of one framework and dtype.
        side: of padding, "right" or "left": the one that `concat` is given.

    Returns:
        the mask, (rows of all, [choices,] longest keys), of their framework and dtype.

    Raises:
        InputError: a mask is no array of two or three axes, or `side` is neither.
        UsageError: there is no mask, or they differ in framework, dtype, device, number of axes or choices.

    Examples:
        >>> import numpy as np
        >>> concat_masks([np.ones((1, 2), int), np.ones((1, 3), int)], side="left").tolist()
        [[0, 1, 1], [1, 1, 1]]
    """
    given: list[Any] = [masks] if is_array(masks) else list(masks)
    if not given or is_array(masks):
        raise UsageError(f"concat_masks was given {'one mask' if given else 'no masks'}; pass a list of them")
    if side not in ("left", "right"):
        raise InputError(f"side is {side!r}; expected 'left' or 'right'")
    for i, mask in enumerate(given):
        if not is_array(mask) or len(mask.shape) not in (2, 3):
            raise InputError(
                f"masks[{i}] is {summary(mask)}; expected an array (batch, keys) or (batch, choices, keys)"
            )
    _check_alike(given)
    keys = len(given[0].shape) - 1
    backend, widths = get_backend(given[0]), {mask.shape[keys] for mask in given}
    if len(widths) == 1 and None not in widths:
        return backend.concat(given, 0)
    return backend.pad_and_concat(given, 0, {keys: side == "left"}, 0)


def _check_alike(masks: list[Any]) -> None:
    first = masks[0]
    key, choices = get_backend(first).joining_key(first), tuple(first.shape[1:-1])
    for i, mask in enumerate(masks):
        if get_backend(mask).joining_key(mask) != key or tuple(mask.shape[1:-1]) != choices:
            raise UsageError(
                f"masks[{i}] is {get_backend(mask).describe(mask)}, and masks[0] {get_backend(first).describe(first)}; "
                "they should differ in rows and keys alone"
            )
