"""The three settings that say which classes a model tells apart: `num_labels`, `id2label`, `label2id`."""

from typing import Any, NamedTuple

from ..errors import InputError
from .setting_checks import shown

__all__ = ["LABEL_SETTINGS", "Labels", "settle_labels"]

LABEL_SETTINGS = ("num_labels", "id2label", "label2id")

_MOST = 1_000_000
"""Labels for which names are made up."""


class Labels(NamedTuple):
    """Labels by number and numbers by label, which agree."""

    id2label: dict[int, str]
    label2id: dict[str, int]


def settle_labels(num_labels: int, id2label: Any, label2id: Any) -> Labels:
    """Return the labels that the most explicit of the three settings describes.

    Args:
        num_labels: how many to name LABEL_0 and so on where there is no mapping.
        id2label: mapping from number, or the text of one, to label; or None or empty.
        label2id: the reverse, read where `id2label` is None or empty.

    Raises:
        InputError: something that is no such mapping, or too many labels.

    Examples:
        >>> settle_labels(2, None, None).id2label
        {0: 'LABEL_0', 1: 'LABEL_1'}
    """
    if not id2label and not label2id:
        id2label = _numbered(num_labels)
    try:
        pairs = id2label.items() if id2label else ((i, label) for label, i in label2id.items())
        labels = {int(i): label for i, label in pairs}
        return Labels(labels, {label: i for i, label in labels.items()})
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"id2label is {shown(id2label)} and label2id {shown(label2id)}; expected mappings of number and label"
        ) from None


def _numbered(count: int) -> dict[int, str]:
    if count > _MOST:
        raise InputError(f"num_labels is {count}; names are made for at most {_MOST}, pass id2label for more")
    return {i: f"LABEL_{i}" for i in range(count)}
