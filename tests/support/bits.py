"""Arrays by their bits."""

from typing import Any

import ml_dtypes
import numpy as np

__all__ = ["every_value", "raw"]


def every_value(name: str) -> Any:
    """Return every value of a small float type, NaNs with all their payloads included."""
    unsigned = np.arange(1 << 16, dtype=np.uint16) if name == "bfloat16" else np.arange(1 << 8, dtype=np.uint8)
    return unsigned.view(getattr(ml_dtypes, name))


def raw(values: Any) -> list[int]:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").ravel().tolist()
