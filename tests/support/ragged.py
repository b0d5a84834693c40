"""Arrays that differ in some axes, and the result of padding and joining them, worked out by NumPy."""

from typing import Any

import numpy as np

__all__ = ["LEFTS", "ragged_parts"]

LEFTS = [{1: False}, {1: True}, {2: True}, {1: True, 2: False}, {1: False, 3: True}, {0: True, 2: False}]
"""Axes that differ, and whether they are padded on the left."""


def ragged_parts(lefts: dict[int, bool], value: float) -> tuple[list[Any], int, Any]:
    """Return arrays that differ in the axes of `lefts`, the axis to join them along, and the joined array."""
    axis = 1 if 0 in lefts else 0
    rng = np.random.default_rng(0)
    parts: list[Any] = []
    for rows, length in ((1, 3), (3, 1), (2, 4), (0, 2), (1, 0), (1, 4)):
        shape = [length if i in lefts else 2 for i in range(4)]
        shape[axis] = rows
        parts.append(rng.standard_normal(shape, dtype=np.float32))
    padded = [np.pad(part, _widths(part.shape, lefts), constant_values=value) for part in parts]
    return parts, axis, np.concatenate(padded, axis)


def _widths(shape: tuple[int, ...], lefts: dict[int, bool]) -> list[tuple[int, int]]:
    missing = [4 - size if i in lefts else 0 for i, size in enumerate(shape)]
    return [(count, 0) if lefts.get(i) else (0, count) for i, count in enumerate(missing)]
