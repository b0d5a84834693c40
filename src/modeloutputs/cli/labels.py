"""Reads the labels of `modeloutputs run`: names or indices of classes, or numbers for regression."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from ..architectures import BertConfig
from ..errors import InputError

__all__ = ["read_labels"]


def read_labels(task: str, labels: Sequence[str], config: BertConfig, texts: int) -> Any:
    """Return the labels of all texts, NumPy's (texts,), int64 or, for regression, float32; None if there are none.

    A class is given by its name in the checkpoint, as predictions print it, or by its index.

    Raises:
        InputError: the task has no labels, a label is none of the classes, or there is not one for each text.
    """
    if not labels:
        return None
    if task not in _READERS:
        raise InputError(f"--label has no meaning for {task}; there it is {', '.join(_READERS)}")
    if len(labels) != texts:
        raise InputError(f"--label was given {len(labels)} times for {texts} texts; pass one for each")
    read = [_READERS[task](label, config) for label in labels]
    return np.array(read, np.float32 if any(isinstance(label, float) for label in read) else np.int64)


def _class_or_number(label: str, config: BertConfig) -> float:
    """Return an index, or a number for regression: of a checkpoint with one label, or with a decimal point."""
    named = _class_named(label, config)
    if named is not None:
        return named
    is_number = config.num_labels == 1 or "." in label
    expected = "class names or indices, or numbers like 2.5"
    return _parsed(float if is_number else int, label, f"{expected}; the classes are {_classes(config)}")


def _class_named(label: str, config: BertConfig) -> int | None:
    names = cast("dict[int, str]", config.id2label)
    return next((i for i, name in names.items() if name == label), None)


def _index(label: str, _: BertConfig) -> int:
    return int(_parsed(int, label, "indices"))


def _parsed(kind: Callable[[str], Any], label: str, expected: str) -> Any:
    try:
        return kind(label)
    except ValueError:
        raise InputError(f"--label is {label!r}; expected {expected}") from None


def _classes(config: BertConfig, most: int = 8) -> str:
    names = list(cast("dict[int, str]", config.id2label).values())
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


_READERS: dict[str, Callable[[str, BertConfig], float]] = {
    "sequence-classification": _class_or_number,
    "next-sentence": _index,
    "multiple-choice": _index,
}
