"""Equality of nested values that never raises and never returns an array."""

from collections.abc import Mapping
from typing import Any, cast

from .nested import is_array

__all__ = ["equal"]


def equal(left: Any, right: Any) -> bool:
    """Whether two nested values have the same structure, and equal shapes, dtypes and values in every array.

    Arrays on different devices are compared; arrays whose values cannot be known (meta tensors, tracers) are equal
    only to themselves. NaN differs from NaN, as everywhere.
    """
    if left is right:
        return True
    if is_array(left) or is_array(right):
        return type(left) is type(right) and _equal_arrays(left, right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return _equal_mappings(cast("Mapping[Any, Any]", left), cast("Mapping[Any, Any]", right))
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return _equal_sequences(cast("list[Any]", left), cast("list[Any]", right))
    return _truth_of_equality(left, right)


def _equal_mappings(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> bool:
    return type(left) is type(right) and left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)


def _equal_sequences(left: list[Any], right: list[Any]) -> bool:
    # A tuple of a class of its own, as caches are, is still that tuple: it is read back from files as a plain one.
    same_kind = isinstance(left, tuple) == isinstance(right, tuple)
    return same_kind and len(left) == len(right) and all(map(equal, left, right))


def _equal_arrays(left: Any, right: Any) -> bool:
    same_form = tuple(left.shape) == tuple(right.shape) and left.dtype == right.dtype
    return same_form and _truth_of_equality(left, right)


def _brought_to(left: Any, right: Any) -> Any:
    elsewhere = hasattr(right, "to") and getattr(left, "device", None) != getattr(right, "device", None)
    return right.to(left.device) if elsewhere else right


def _truth_of_equality(left: Any, right: Any) -> bool:
    try:
        same = left == _brought_to(left, right)
        if type(same).__module__.startswith("tensorflow"):
            same = same.numpy()
        return bool(same.all() if hasattr(same, "all") else same)
    except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError):
        # What has no values to compare (tracers, meta tensors) or no meaning of equality is equal only to itself.
        return False
