"""JAX's arrays: those with values on the CPU are handled by NumPy, because JAX would compile each shape anew.

For the same reason NumPy's arrays become JAX's by `device_put`: `jnp.asarray` compiles a copy for each shape.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax

from ..errors import InputError
from .backends import get_backend
from .base import Backend
from .dtypes import DTYPES, dtype_name, is_floating, numpy_dtype
from .numpy import FOR_SHARING as NUMPY
from .numpy import in_native_byte_order

__all__ = ["BACKEND", "JaxBackend"]

_jax = cast("Any", jax)


def _on_host(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Let NumPy perform an operation on arrays with values on the CPU; tracers and other devices are JAX's."""

    @functools.wraps(operation)
    def guarded(self: Backend, given: Any, *arguments: Any) -> Any:
        arrays = cast("list[Any]", given) if isinstance(given, (list, tuple)) else [given]
        if not _are_on_host(arrays) or any(isinstance(value, _jax.core.Tracer) for value in arguments):
            return operation(self, given, *arguments)
        views = [NUMPY.xp.asarray(array) for array in arrays]
        result: Any = getattr(NUMPY, operation.__name__)(views[0] if arrays[0] is given else views, *arguments)
        return _from_host(result, arrays)

    return guarded


def _are_on_host(arrays: Sequence[Any]) -> bool:
    """Return whether all have values on the CPU. They have one dtype."""
    examples: dict[Any, Any] = {type(array): array for array in arrays}
    if not all(
        isinstance(array, _jax.Array) and not isinstance(array, _jax.core.Tracer) for array in examples.values()
    ):
        return False
    shardings = {array.sharding for array in arrays}
    return (
        all(len(own.device_set) == 1 and next(iter(own.device_set)).platform == "cpu" for own in shardings)
        and not _jax.dtypes.issubdtype(arrays[0].dtype, _jax.dtypes.extended)  # random keys, which NumPy lacks
    )


def _from_host(result: Any, arrays: Sequence[Any]) -> Any:
    device = next(iter(arrays[0].devices()))
    if any(array.committed for array in arrays):
        return _jax.device_put(result, device)
    with _jax.default_device(device):  # an uncommitted array stays so, and JAX may move it
        return _jax.device_put(result)


class JaxBackend(Backend):
    """The operations on JAX's arrays."""

    name = "jax"
    xp = _jax.numpy

    take = _on_host(Backend.take)
    concat = _on_host(Backend.concat)
    pad = _on_host(Backend.pad)
    pad_and_concat = _on_host(Backend.pad_and_concat)

    @_on_host
    def slice_axes(self, array: Any, slices: tuple[slice, ...]) -> Any:
        """Return the part within slices along the first axes, whose bounds are static."""
        for axis, part in enumerate(slices):
            if part.stop is not None:
                array = _jax.lax.slice_in_dim(array, part.start, part.stop, axis=axis)
        return array

    def slice_each(self, array: Any, several: Sequence[tuple[slice, ...]]) -> list[Any]:
        """Return several parts of an array, each as `slice_axes` does."""
        return [self.slice_axes(array, slices) for slices in several]

    def to_device(self, array: Any, device: Any, dtype: Any, *, non_blocking: bool) -> Any:
        """Return the array on a device and, where it is of floating point, in a dtype; None keeps either."""
        if dtype is not None and self.xp.issubdtype(array.dtype, self.xp.floating):
            array = array.astype(numpy_dtype(dtype))
        return array if device is None else _jax.device_put(array, _device_named(device))

    def device(self, array: Any) -> str:
        """Return the names of the devices that hold the array."""
        return ", ".join(sorted(map(str, array.devices())))

    def detach(self, array: Any) -> Any:
        """Return the array with gradients stopped."""
        return _jax.lax.stop_gradient(array)

    def numpy(self, array: Any) -> Any:
        """Return the values as a NumPy array."""
        return NUMPY.xp.asarray(array)

    def from_numpy(self, array: Any) -> Any:
        """Return a NumPy array's values, copied.

        Raises:
            InputError: JAX would give them half the bits.
        """
        array = in_native_byte_order(array)
        _check_precision(array)
        return _jax.device_put(array.copy())  # JAX may hold on to the memory that it is given

    def exports_dlpack(self, array: Any) -> bool:
        """Return True: JAX itself refuses what it cannot export."""
        return True

    def from_dlpack(self, array: Any) -> Any:
        """Return the array of another framework, sharing its memory where possible.

        Raises:
            InputError: JAX would give its values half the bits.
        """
        dtype = DTYPES.get(dtype_name(array.dtype))
        if dtype is not None and dtype.bits >= 64:
            _check_precision(get_backend(array).numpy(array))
        return _jax.dlpack.from_dlpack(array)


def _device_named(device: Any) -> Any:
    if not isinstance(device, str):
        return device
    platform, _, index = device.partition(":")
    devices = _jax.devices(platform)
    if not (index or "0").isdigit() or int(index or 0) >= len(devices):
        raise InputError(f"device is {device!r}; JAX has {', '.join(f'{platform}:{d.id}' for d in devices)}")
    return devices[int(index or 0)]


def _check_precision(values: Any) -> None:
    """Refuse values that JAX would give half the bits, except integers that fit."""
    kept = _jax.dtypes.canonicalize_dtype(values.dtype)
    if kept == values.dtype or (kept.kind in "iu" and (values.astype(kept) == values).all()):
        return
    advice = ', or cast first with .to(dtype="float32")' if is_floating(values.dtype) else ""
    raise InputError(
        f'JAX would turn {values.dtype.name} into {kept.name}; set jax.config.update("jax_enable_x64", True){advice}'
    )


BACKEND = JaxBackend()
