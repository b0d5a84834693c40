"""Equality of nested values that never raises and never returns an array."""

from collections.abc import Mapping
from typing import Any, cast

from .nested import is_array

__all__ = ["equal"]


def equal(left: Any, right: Any) -> bool:
    """Return whether two nested values have the same structure, and equal shapes, dtypes and values in every array.

    Arrays on different devices are compared; arrays without values (meta tensors, tracers) equal only themselves. NaN
    differs from NaN, as everywhere.

    Examples:
        >>> import numpy as np
        >>> equal({"a": (np.ones(2), None)}, {"a": (np.ones(2), None)})
        True
        >>> equal(np.ones(2, np.float32), np.ones(2, np.float64))
        False
    """
    if left is right:
        return True
    if is_array(left) or is_array(right):
        return type(left) is type(right) and _equal_arrays(left, right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return _equal_mappings(cast("Mapping[Any, Any]", left), cast("Mapping[Any, Any]", right))
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return _equal_sequences(cast("list[Any]", left), cast("list[Any]", right))
    return _equal_leaves(left, right)


def _equal_mappings(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> bool:
    return type(left) is type(right) and left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)


def _equal_sequences(left: list[Any], right: list[Any]) -> bool:
    # Classes of tuples, such as caches, equal plain ones, which they are after saving and loading.
    same_kind = isinstance(left, tuple) == isinstance(right, tuple)
    return same_kind and len(left) == len(right) and all(map(equal, left, right))


def _equal_arrays(left: Any, right: Any) -> bool:
    try:
        same_form = tuple(left.shape) == tuple(right.shape) and left.dtype == right.dtype
        return same_form and _is_true(left == _to_device_of(left, right))
    except Exception:  # noqa: BLE001  # tracers, meta tensors, unknown ranks: each framework has errors of its own
        return False


def _to_device_of(left: Any, right: Any) -> Any:
    differs = hasattr(right, "to") and getattr(left, "device", None) != getattr(right, "device", None)
    return right.to(left.device) if differs else right


def _equal_leaves(left: Any, right: Any) -> bool:
    try:
        return _is_true(left == right)
    except Exception:  # noqa: BLE001  # a value whose `==` raises equals only itself
        return False


def _is_true(same: Any) -> bool:
    """Return the truth of what `==` returned: a boolean, or an array of them."""
    if type(same).__module__.startswith("tensorflow"):
        same = same.numpy()
    return bool(same.all() if hasattr(same, "all") else same)
