"""Outputs and nested values as text: one line per field with dtype and shape, values only on request."""

import dataclasses
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from ..arrays.base import array_summary
from ..output.nested import children, fold, is_array

__all__ = ["pformat", "printable", "summary"]


def pformat(output: Any, *, values: bool = False, indent: int = 2, width: int = 120) -> str:
    """Return an output as one short block: `Class(` and per field its name, dtype and shape.

    Args:
        output: the output.
        values: print arrays with their elements, as their own framework does.
        indent: spaces before each field.
        width: characters per line that values are wrapped at.

    Examples:
        >>> import numpy as np
        >>> from modeloutputs import ModelOutput
        >>> class Scores(ModelOutput):
        ...     logits: np.ndarray | None = None
        >>> print(pformat(Scores(logits=np.ones((2, 3)))))
        Scores(
          logits=f64[2,3],
        )
    """
    pad = " " * indent
    lines = [f"{pad}{name}={_field(value, values, width - indent)}," for name, value in output.items()]
    if not lines:
        return f"{type(output).__name__}()"
    body = "\n".join(line.replace("\n", "\n" + pad) for line in lines)
    return f"{type(output).__name__}(\n{body}\n)"


def _field(value: Any, values: bool, width: int) -> str:
    if not values:
        return summary(value)
    import wadler_lindig

    return wadler_lindig.pformat(value, width=width, short_arrays=False)  # pyright: ignore[reportUnknownMemberType]


def summary(value: Any) -> str:
    """Describe a nested value in one line: `f32[2,8,384]`, `13 x f32[2,8,384]`, `6 x (4 x f32[2,12,8,32])`.

    Examples:
        >>> import numpy as np
        >>> summary((np.ones(2), np.ones(2), None))
        '(2 x f64[2], None)'
    """
    try:
        return fold(value, _leaf, _nested)
    except RecursionError:
        return f"a {type(value).__name__} that holds itself, or is nested too deep"


def _leaf(value: Any) -> str:
    if is_array(value):
        return array_summary(value)
    text = repr(value)
    shown = text if dataclasses.is_dataclass(value) or len(text) <= 60 else f"{text[:57]}..."
    return shown.replace("\n", " ")


def _nested(value: Any, texts: list[str]) -> str:
    if isinstance(value, Mapping):
        keys = [printable(str(key)) for key, _ in children(value)]
        return "{" + ", ".join(f"{key}: {text}" for key, text in zip(keys, texts, strict=True)) + "}"
    items = [_item(item, text) for (_, item), text in zip(children(value), texts, strict=True)]
    # Runs of equal items are counted, so 13 hidden states take as much room as one.
    runs = [(text, len(list(run))) for text, run in groupby(items)]
    parts = [text if count == 1 else f"{count} x {text}" for text, count in runs]
    if len(parts) == 1 and len(items) > 1:
        return parts[0]
    return f"({', '.join(parts)}{',' if len(items) == 1 else ''})"


def _item(item: Any, text: str) -> str:
    is_counted = isinstance(item, (list, tuple)) and not text.startswith("(")
    return f"({text})" if is_counted else text


def printable(text: str) -> str:
    r"""Return a text on one line; characters that move the cursor or reverse the writing direction are escaped.

    Examples:
        >>> print(printable("caf\xe9\x1b[2J"))
        café\x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
