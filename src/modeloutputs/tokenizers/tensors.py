"""From lists of ids to the arrays of any framework."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from ..errors import InputError, MissingDependencyError
from ..frameworks import FRAMEWORKS, NICKNAMES

__all__ = ["TensorKind", "as_arrays", "kind_of"]

TensorKind = Literal["pt", "np", "jax", "tf"]


def as_arrays(entries: Mapping[str, Any], kind: str, *, rows: bool = True) -> dict[str, Any]:
    """Return each entry as one array: int64 (int32 for JAX unless x64 is enabled), or float32 for fractions.

    Args:
        entries: lists of rows, or single rows.
        kind: "pt", "np", "jax" or "tf".
        rows: whether they are lists of rows.

    Raises:
        InputError: rows differ in length, or `kind` is unknown.
        MissingDependencyError: the framework is not installed.
    """
    if rows:
        _check_even([len(row) for row in entries["input_ids"]])
    return {name: _as_array(name, values, kind) for name, values in entries.items()}


def kind_of(rows: Any) -> str | None:
    """Return which kind of array these rows are, or their first is, None for lists."""
    for value in (rows, *(cast("list[Any]", rows)[:1] if isinstance(rows, list) else ())):
        package = type(value).__module__.partition(".")[0]
        name = {"jaxlib": "jax"}.get(package, package)
        found = next((nickname for nickname, library in NICKNAMES.items() if library == name), None)
        if found is not None and name in sys.modules:
            return found
    return None


def _check_even(lengths: list[int]) -> None:
    if len(set(lengths)) > 1:
        raise InputError(
            f"rows have {min(lengths)} to {max(lengths)} tokens and cannot be one array; "
            "pass padding=True, and truncation=True to enforce max_length"
        )


def _as_array(entry: str, values: Any, kind: str) -> Any:
    if kind not in NICKNAMES:
        raise InputError(f"return_tensors is {kind!r}; expected one of {', '.join(NICKNAMES)}, or None")
    import numpy as np

    name = NICKNAMES[kind]
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"{entry} has rows of different lengths and cannot be one array") from None
    if array.size and array.dtype.kind not in "biuf":
        raise InputError(f"{entry} holds {array.dtype} values and cannot be an array; expected numbers")
    array = array.astype(np.float32 if array.size and array.dtype.kind == "f" else np.int64)
    try:
        return _CONVERTERS[name](array)
    except ImportError:
        raise MissingDependencyError(f"return_tensors={kind!r} needs modeloutputs[{FRAMEWORKS[name].folder}]") from None


def _torch_array(array: Any) -> Any:
    import torch

    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]


def _jax_array(array: Any) -> Any:
    import jax.numpy as jnp

    dtype = float if array.dtype.kind == "f" else int
    return jnp.asarray(array, dtype=dtype)  # pyright: ignore[reportUnknownMemberType]  # 32 bits unless x64 is enabled


def _tensorflow_array(array: Any) -> Any:
    import tensorflow as tf

    return tf.constant(array)


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "torch": _torch_array,
    "numpy": lambda array: array,
    "jax": _jax_array,
    "tensorflow": _tensorflow_array,
}
