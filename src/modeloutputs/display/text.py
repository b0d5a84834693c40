"""Outputs and nested values as text: one line per field with dtype and shape, values only on request."""

import dataclasses
from collections.abc import Mapping
from itertools import groupby
from typing import Any, cast

from ..arrays.base import array_summary
from ..output.nested import is_array

__all__ = ["pformat", "summary"]


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
    if is_array(value):
        return array_summary(value)
    if isinstance(value, (list, tuple)):
        return _sequence(cast("list[Any]", value))
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return "{" + ", ".join(f"{name}: {summary(item)}" for name, item in mapping.items()) + "}"
    text = repr(value) if dataclasses.is_dataclass(value) or len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
    return text.replace("\n", " ")


def _sequence(values: "list[Any] | tuple[Any, ...]") -> str:
    """Count runs of equal elements: 13 hidden states take as much room as one."""
    runs = [(text, len(list(run))) for text, run in groupby(map(_item, values))]
    parts = [text if count == 1 else f"{count} x {text}" for text, count in runs]
    if len(parts) == 1 and len(values) > 1:
        return parts[0]
    return f"({', '.join(parts)}{',' if len(values) == 1 else ''})"


def _item(value: Any) -> str:
    text = summary(value)
    counted = isinstance(value, (list, tuple)) and not text.startswith("(")
    return f"({text})" if counted else text
