"""Nested values compared: one walk through containers, arrays of any framework compared bit by bit."""

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

__all__ = ["assert_same", "assert_values", "leaves", "values"]


def values(value: Any) -> Any:
    """Return a nested value with NumPy arrays of the same bits, in plain tuples, lists and dicts."""
    if isinstance(value, Mapping):
        return {name: values(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return (tuple if isinstance(value, tuple) else list)(map(values, value))
    if hasattr(value, "resolve_neg"):
        return _values_of_tensor(value.detach().resolve_conj().resolve_neg())
    if hasattr(value, "numpy"):  # of TensorFlow, which gives a single number as one
        return np.asarray(value.numpy())
    return np.asarray(value) if hasattr(value, "dtype") else value


def _values_of_tensor(tensor: Any) -> np.ndarray:
    import torch

    name = str(tensor.dtype).removeprefix("torch.")
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().view(dtype).reshape(tuple(tensor.shape))


def leaves(value: Any) -> dict[str, Any]:
    """Return what a nested value holds, by place: arrays as NumPy's, and None for placeholders."""
    return {place: values(leaf) for place, leaf in _walk(value, "")}


def _walk(value: Any, place: str) -> list[tuple[str, Any]]:
    children = _children(value)
    if children is None:
        return [(place, value)]
    return [found for key, item in children.items() for found in _walk(item, f"{place}.{key}")]


def _children(value: Any) -> dict[Any, Any] | None:
    if isinstance(value, Mapping):
        return dict(value)
    return dict(enumerate(value)) if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else None


def assert_same(found: Any, expected: Any, *, tolerance: float = 0, place: str = "") -> None:
    """Assert that classes at all levels, fields that are present, dtypes, shapes and values are the same.

    Args:
        found: an output, or any nested value.
        expected: another.
        tolerance: absolute; 0 compares every bit.
        place: where in a larger value both are, for messages.
    """
    assert _class(found) is _class(expected), place
    children, others = _children(found), _children(expected)
    if others is not None:
        assert children.keys() == others.keys(), place
        assert type(expected) is dict or list(children) == list(others), place
        for key, item in others.items():
            assert_same(children[key], item, tolerance=tolerance, place=f"{place}.{key}")
    elif hasattr(expected, "dtype"):
        _assert_same_array(found, expected, tolerance, place)
    else:
        assert found == expected, place


def assert_values(found: Any, expected: Any, place: str = "") -> None:
    """Assert that a nested value of any framework has these dtypes, shapes and bits, in these plain containers."""
    found = values(found)
    assert list(leaves(found)) == list(leaves(expected)), place
    assert_same(found, expected, place=place)


def _class(value: Any) -> type:
    return type(value.detach() if hasattr(value, "detach") else value)  # a parameter is as good as a tensor


def _assert_same_array(found: Any, expected: Any, tolerance: float, place: str) -> None:
    assert (str(found.dtype), found.shape) == (str(expected.dtype), expected.shape), place
    array, wanted = values(found), values(expected)
    if tolerance:
        np.testing.assert_allclose(array, wanted, rtol=0, atol=tolerance, err_msg=place)
    else:
        assert array.tobytes() == wanted.tobytes(), place
