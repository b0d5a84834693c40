"""Finds the operations for an array, or for a framework by its name; imports a framework only then."""

import functools
import importlib
from collections.abc import Sequence
from typing import Any, cast

from ..errors import InputError, MissingDependencyError, first_line
from ..frameworks import FRAMEWORKS
from . import tracing
from .base import Backend
from .dtypes import is_floating

__all__ = ["backend_named", "get_backend", "shapes_of", "to_device", "to_numpy"]

_NAMES = ("torch", "jax", "tensorflow", "numpy")

_ROOTS = {name: name for name in _NAMES} | {"jaxlib": "jax"}
"""The framework that defines array types in a package."""


def get_backend(array: Any) -> Backend:
    """Return the operations for an array.

    Raises:
        InputError: it is not an array of PyTorch, JAX, TensorFlow or NumPy.

    Examples:
        >>> import numpy as np
        >>> get_backend(np.ones(2)).name
        'numpy'
    """
    kind = cast("type[Any]", type(array))
    if kind in _backend_of_type:
        return _backend_of_type[kind]
    found = backend_named(_framework_of(kind))
    if not tracing.in_compiler_trace():
        _backend_of_type[kind] = found
    return found


# A dictionary, because compilers trace into `functools.cache`.
_backend_of_type: dict[type[Any], Backend] = {}


def shapes_of(arrays: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the shape of each of several arrays, as its framework tells them fastest.

    Examples:
        >>> import numpy as np
        >>> shapes_of([np.ones(2), np.ones((3, 1))])
        [(2,), (3, 1)]
    """
    kinds = set(map(type, arrays))
    backend = _backend_of_type.get(kinds.pop()) if len(kinds) == 1 else None
    return [tuple(array.shape) for array in arrays] if backend is None else backend.shapes(arrays)


def _framework_of(kind: type[Any]) -> str:
    for cls in kind.__mro__:  # the class of a user's tensor subclass is the user's, not the framework's
        root = cls.__module__.partition(".")[0]
        if root in _ROOTS and cls is not object:
            return _ROOTS[root]
    raise InputError(f"a {kind.__module__}.{kind.__qualname__} is not an array of PyTorch, JAX, TensorFlow or NumPy")


@functools.cache
def backend_named(name: str) -> Backend:
    """Return the operations for the arrays of "torch", "jax", "tensorflow" or "numpy".

    Raises:
        InputError: the name is none of these.
        MissingDependencyError: the framework is not installed.

    Examples:
        >>> backend_named("numpy").concat([[1, 2], [3]], axis=0).tolist()
        [1, 2, 3]
    """
    if name not in _NAMES:
        raise InputError(f"framework is {name!r}; expected one of {', '.join(map(repr, _NAMES))}")
    if name in FRAMEWORKS and not FRAMEWORKS[name].is_installed:
        framework = FRAMEWORKS[name]
        raise MissingDependencyError(f"framework {name!r} is not installed; install modeloutputs[{framework.folder}]")
    return importlib.import_module(f".{name}", __package__).BACKEND


def to_numpy(array: Any) -> Any:
    """Return an array's values as a NumPy array, bit for bit, sharing memory where possible.

    Raises:
        InputError: it has no values, or NumPy cannot represent them.

    Examples:
        >>> import numpy as np
        >>> to_numpy(np.arange(3)).tolist()
        [0, 1, 2]
    """
    backend = get_backend(array)
    try:
        return backend.numpy(array)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # each framework has its own error for an array without values
        raise InputError(
            f"{backend.describe(array)} has no values that NumPy can represent: {first_line(error)}"
        ) from None


def to_device(array: Any, device: Any, dtype: Any = None, *, non_blocking: bool = False) -> Any:
    """Return an array on a device and, where it is of floating point, in a dtype; None keeps either.

    Raises:
        InputError: there is no such device or dtype, or the dtype is not of floating point.

    Examples:
        >>> import numpy as np
        >>> to_device(np.ones(2), None, "float16").dtype
        dtype('float16')
    """
    backend = get_backend(array)
    if dtype is not None and not is_floating(dtype):
        raise InputError(f"dtype is {dtype!r}; to() casts between floating point types only")
    try:
        return backend.to_device(array, device, dtype, non_blocking=non_blocking)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # each framework has its own error for a missing device
        wanted = f"device={device!r}" + ("" if dtype is None else f", dtype={dtype!r}")
        raise InputError(f"{backend.describe(array)} cannot be moved to {wanted}: {first_line(error)}") from None
