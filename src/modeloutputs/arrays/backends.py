"""What this library does with arrays, in the words of each framework: PyTorch, JAX, TensorFlow and NumPy.

Nothing here imports a framework until one of its arrays, or its name, turns up.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from ..errors import InputError, MissingDependencyError, first_line
from ..frameworks import FRAMEWORKS
from . import tracing

__all__ = [
    "Arrays",
    "arrays_named",
    "arrays_of",
    "dtype_name",
    "holds",
    "is_dtype",
    "moved",
    "to_numpy",
]

_FRESH_MEMORY = 1 << 25
"""Bytes of a result from which first touching its memory takes most of the time, for which PyTorch has threads."""

_EXTENDED = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
"""Element types that NumPy takes from ml_dtypes."""

_DTYPE_NAME = re.compile(r"(bfloat|float|int|uint|complex)\d|bool$")


def is_dtype(value: Any) -> bool:
    """Whether a value names an element type, of whichever framework."""
    if isinstance(value, str):
        return _DTYPE_NAME.match(value) is not None
    # torch.dtype, tensorflow.DType, NumPy's Float32DType and dtype[bfloat16]; or numpy.float32, jax.numpy.float32
    return "dtype" in type(value).__name__.lower() or isinstance(value, type)


def dtype_name(dtype: Any) -> str:
    """Return what an element type is called, of whichever framework: "float32", "bfloat16"."""
    if isinstance(dtype, str):
        return dtype
    if isinstance(dtype, type):
        import numpy as np

        dtype = np.dtype(dtype)
    return getattr(dtype, "name", None) or str(dtype).removeprefix("torch.")


def holds(array: Any, value: float) -> bool:
    """Whether an array's element type has a value, or one that it rounds to."""
    return _holds(dtype_name(array.dtype), value)


@functools.lru_cache(maxsize=256)
def _holds(name: str, value: float) -> bool:
    import numpy as np

    try:
        dtype = _numpy_dtype(name)
    except InputError:
        return True  # a framework's own, of which only it knows
    try:
        with np.errstate(all="ignore"):
            held: Any = np.asarray(value).astype(dtype)
    except OverflowError:
        return False
    if dtype.kind in "iub":
        return bool(held == value)
    got = float(held.real)
    return (got == 0) == (value == 0) and math.isinf(got) == math.isinf(value) and math.isnan(got) == math.isnan(value)


def _numpy_dtype(dtype: Any) -> Any:
    """Return NumPy's element type of a name or another framework's element type."""
    import numpy as np

    name = dtype_name(dtype)
    try:
        return np.dtype(_extended(name) if name in _EXTENDED else name)
    except TypeError:
        raise _no_dtype(dtype) from None


def _no_dtype(dtype: object) -> InputError:
    return InputError(f"dtype is {dtype!r}; expected an element type, as 'float32' or 'bfloat16'")


def to_numpy(array: Any) -> Any:
    """Return an array's values as NumPy's, bit for bit, sharing memory where possible.

    Raises:
        InputError: it has none that NumPy could hold.
    """
    own = arrays_of(array)
    try:
        return own.numpy(array)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # each framework has its own error for what has no values
        raise InputError(f"{_described(array, own)} has no values that NumPy could hold: {first_line(error)}") from None


def moved(array: Any, device: Any, dtype: Any, *, non_blocking: bool = False) -> Any:
    """Return an array on a device and, where it holds floating point numbers, in a dtype; None leaves either.

    Raises:
        InputError: there is no such device or dtype, or the dtype has no floating point.
    """
    own = arrays_of(array)
    if dtype is not None and "float" not in dtype_name(dtype):
        raise InputError(f"dtype is {dtype!r}; to() casts floating point numbers, to others of that kind")
    try:
        return own.move(array, device, dtype, non_blocking=non_blocking)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # each framework has its own error for a device that there is not
        what = f"device={device!r}" + ("" if dtype is None else f", dtype={dtype!r}")
        raise InputError(f"{_described(array, own)} cannot be moved to {what}: {first_line(error)}") from None


def _described(array: Any, own: "Arrays") -> str:
    return f"an array of {own.name}, {dtype_name(array.dtype)} of shape {tuple(array.shape)},"


class Arrays(Protocol):
    """The operations on arrays of one framework. Axes are counted from 0."""

    name: str

    def take(self, array: Any, rows: Any, axis: int) -> Any:
        """Return the entries of these indices along an axis."""
        ...

    def narrow(self, array: Any, axis: int, start: int, stop: int) -> Any:
        """Return entries [start, stop) along an axis; a view where the framework has views."""
        ...

    def reshape(self, array: Any, shape: Sequence[int]) -> Any:
        """Return the array in another shape."""
        ...

    def swap(self, array: Any, first: int, second: int) -> Any:
        """Return the array with two axes exchanged."""
        ...

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        """Join arrays along an axis; the other axes agree."""
        ...

    def stack(self, arrays: Sequence[Any]) -> Any:
        """Join arrays of one shape along a new first axis."""
        ...

    def pad(self, array: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
        """Add, along each axis, so many entries before and after."""
        ...

    def pad_and_concat(self, arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], value: float) -> Any:
        """Pad arrays to their largest size along the axes in `lefts` (True: before), then join them along `axis`."""
        ...

    def move(self, array: Any, device: Any, dtype: Any, *, non_blocking: bool) -> Any:
        """Return the array on a device and, where it holds floats, in a dtype; None leaves either."""
        ...

    def detach(self, array: Any) -> Any:
        """Return the array without what gradients are computed from."""
        ...

    def numpy(self, array: Any) -> Any:
        """Return the values as a NumPy array, bit for bit, sharing memory where possible."""
        ...

    def from_numpy(self, array: Any) -> Any:
        """Return a NumPy array's values, bit for bit, sharing memory where the framework does so safely."""
        ...

    def from_dlpack(self, array: Any) -> Any:
        """Return the array of another framework, sharing its memory where both allow it, else copied.

        Raises:
            TypeError, ValueError, RuntimeError, BufferError: the frameworks have no such element type in common.
        """
        ...

    def device(self, array: Any) -> str:
        """Say where the array is."""
        ...


def arrays_of(array: Any) -> Arrays:
    """Return the operations for an array.

    Raises:
        InputError: it is of none of the frameworks.
    """
    kind = cast("type[Any]", type(array))
    if kind in _arrays_of_type:
        return _arrays_of_type[kind]
    found = arrays_named(_framework_of(kind))
    if not tracing.in_compiler_trace():
        _arrays_of_type[kind] = found
    return found


# A dictionary, for compilers trace into `functools.cache`.
_arrays_of_type: dict[type[Any], Arrays] = {}


def _framework_of(kind: type[Any]) -> str:
    roots = {"torch": "torch", "jax": "jax", "jaxlib": "jax", "tensorflow": "tensorflow", "numpy": "numpy"}
    for cls in kind.__mro__:  # the class of a user's tensor subclass is the user's, not the framework's
        root = cls.__module__.partition(".")[0]
        if root in roots and cls is not object:
            return roots[root]
    raise InputError(f"a {kind.__module__}.{kind.__qualname__} is no array of PyTorch, JAX, TensorFlow or NumPy")


@functools.cache
def arrays_named(name: str) -> Arrays:
    """Return the operations for the arrays of "torch", "jax", "tensorflow" or "numpy".

    Raises:
        InputError: it is none of these.
        MissingDependencyError: it is not installed.
    """
    if name not in _KINDS:
        raise InputError(f"framework is {name!r}; expected one of {', '.join(map(repr, _KINDS))}")
    if name in FRAMEWORKS and not FRAMEWORKS[name].is_installed:
        framework = FRAMEWORKS[name]
        raise MissingDependencyError(f"framework {name!r} is not installed; install modeloutputs[{framework.folder}]")
    return _KINDS[name]()


# -- NumPy ----------------------------------------------------------------------------------------------------------


class _NumpyArrays:
    name = "numpy"

    def __init__(self) -> None:
        import numpy

        self._np = cast("Any", numpy)

    def take(self, array: Any, rows: Any, axis: int) -> Any:
        return self._np.take(array, self._np.asarray(rows), axis=axis)

    def narrow(self, array: Any, axis: int, start: int, stop: int) -> Any:
        return array[(slice(None),) * axis + (slice(start, stop),)]

    def reshape(self, array: Any, shape: Sequence[int]) -> Any:
        return array.reshape(tuple(shape))

    def swap(self, array: Any, first: int, second: int) -> Any:
        return array.swapaxes(first, second)

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        return self._np.concatenate(arrays, axis=axis)

    def stack(self, arrays: Sequence[Any]) -> Any:
        return self._np.stack(arrays)

    def pad(self, array: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
        return self._np.pad(array, tuple(widths), constant_values=value)

    def pad_and_concat(self, arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], value: float) -> Any:
        result = self._np.full(_joined_shape(arrays, axis, lefts), value, arrays[0].dtype)
        for array, place in zip(arrays, _places(arrays, axis, lefts, result.shape), strict=True):
            result[place] = array
        return result

    def move(self, array: Any, device: Any, dtype: Any, *, non_blocking: bool) -> Any:
        if device is not None and str(device) != "cpu":
            raise InputError(f"device is {device!r}; NumPy arrays are on the cpu only")
        return array if dtype is None or not _is_float(array) else array.astype(_numpy_dtype(dtype), copy=False)

    def detach(self, array: Any) -> Any:
        return array

    def numpy(self, array: Any) -> Any:
        return array

    def from_numpy(self, array: Any) -> Any:
        return array

    def from_dlpack(self, array: Any) -> Any:
        return arrays_of(array).numpy(array)

    def device(self, array: Any) -> str:
        return "cpu"


def _joined_shape(arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool]) -> tuple[int, ...]:
    shape = list(arrays[0].shape)
    for padded in lefts:
        shape[padded] = max(array.shape[padded] for array in arrays)
    shape[axis] = sum(array.shape[axis] for array in arrays)
    return tuple(shape)


def _places(
    arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], shape: tuple[int, ...]
) -> list[tuple[slice, ...]]:
    """Return where in an array of that shape each of the arrays goes."""
    row, places = 0, list[tuple[slice, ...]]()
    for array in arrays:
        place = [slice(None)] * len(shape)
        for padded, left in lefts.items():
            size = array.shape[padded]
            place[padded] = slice(shape[padded] - size, None) if left else slice(0, size)
        place[axis] = slice(row, row + array.shape[axis])
        row += array.shape[axis]
        places.append(tuple(place))
    return places


def _is_float(array: Any) -> bool:
    return array.dtype.kind == "f" or array.dtype.name in _EXTENDED


# -- PyTorch --------------------------------------------------------------------------------------------------------


class _TorchArrays:
    name = "torch"

    def __init__(self) -> None:
        import torch

        self._torch = cast("Any", torch)

    def take(self, array: Any, rows: Any, axis: int) -> Any:
        torch = self._torch
        if isinstance(rows, torch.Tensor):  # values unseen: of an accelerator, or mapped over
            rows = rows.to(array.device, torch.int64)
            rows = rows + (rows < 0) * array.shape[axis]
        else:
            rows = torch.as_tensor(rows, dtype=torch.int64).to(array.device)
        return array.index_select(axis, rows)

    def narrow(self, array: Any, axis: int, start: int, stop: int) -> Any:
        return array.narrow(axis, start, stop - start)

    def reshape(self, array: Any, shape: Sequence[int]) -> Any:
        return array.reshape(tuple(shape))

    def swap(self, array: Any, first: int, second: int) -> Any:
        return array.transpose(first, second)

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        return self._torch.cat(list(arrays), axis)

    def stack(self, arrays: Sequence[Any]) -> Any:
        return self._torch.stack(list(arrays))

    def pad(self, array: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
        flat = [width for pair in reversed(widths) for width in pair]
        return self._torch.nn.functional.pad(array, flat, value=value)

    def pad_and_concat(self, arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], value: float) -> Any:
        torch = self._torch
        shape = _joined_shape(arrays, axis, lefts)
        # Each write into one tensor would be a node of the graph, with a copy of the whole gradient.
        graph = torch.compiler.is_compiling() or (torch.is_grad_enabled() and any(a.requires_grad for a in arrays))
        if axis == 0 and list(lefts) == [1] and shape[0]:  # rows with their length in front
            if graph or math.prod(shape) * arrays[0].element_size() < _FRESH_MEMORY:
                return self._rows_and_gaps(arrays, shape, lefts[1], value)
            rows = [row for array in arrays for row in array.unbind()]
            return torch.nn.utils.rnn.pad_sequence(rows, True, value, "left" if lefts[1] else "right")
        padded = [self.pad(array, _widths(array.shape, shape, lefts), value) for array in arrays]
        return torch.cat(padded, axis)

    def _rows_and_gaps(self, arrays: Sequence[Any], shape: tuple[int, ...], left: bool, value: float) -> Any:
        """Join rows by one concatenation: one after the other, and between them what each lacks to the longest."""
        padding = arrays[0].new_full((1, *shape[1:]), value)
        gaps = {size: padding.narrow(1, 0, shape[1] - size) for size in {array.shape[1] for array in arrays}}
        pieces: list[Any] = []
        for array in arrays:
            gap = gaps[array.shape[1]]
            for row in (array,) if array.shape[0] == 1 else array.split(1)[: array.shape[0]]:  # of none it gives one
                pieces += (gap, row) if left else (row, gap)
        return self._torch.cat(pieces, 1).view(shape)

    def move(self, array: Any, device: Any, dtype: Any, *, non_blocking: bool) -> Any:
        if not isinstance(dtype, (self._torch.dtype, type(None))):
            dtype = self._dtype(dtype)
        wanted = dtype if array.is_floating_point() else None
        return array.to(device=device, dtype=wanted, non_blocking=non_blocking)

    def _dtype(self, dtype: Any) -> Any:
        found = getattr(self._torch, dtype_name(dtype), None)
        if not isinstance(found, self._torch.dtype):
            raise _no_dtype(dtype)
        return found

    def detach(self, array: Any) -> Any:
        return array.detach()

    def numpy(self, array: Any) -> Any:
        host = array.detach().cpu().resolve_conj().resolve_neg()
        name = dtype_name(host.dtype)
        if name not in _EXTENDED:
            return host.numpy()
        bits = self._torch.int16 if name == "bfloat16" else self._torch.uint8
        return host.contiguous().view(bits).numpy().view(_extended(name))

    def from_numpy(self, array: Any) -> Any:
        array = _in_own_byte_order(array)
        if not array.flags.writeable or min(array.strides, default=0) < 0:
            array = array.copy()  # a tensor may be written to, and has no negative strides
        name = array.dtype.name
        if name not in _EXTENDED:
            return self._torch.from_numpy(array)
        bits = array.view("int16" if name == "bfloat16" else "uint8")
        return self._torch.from_numpy(bits).view(getattr(self._torch, name))

    def from_dlpack(self, array: Any) -> Any:
        return self._torch.from_dlpack(array)

    def device(self, array: Any) -> str:
        return str(array.device)


def _in_own_byte_order(values: Any) -> Any:
    import numpy as np

    array = np.asarray(values)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _widths(shape: Sequence[int], wanted: Sequence[int], lefts: Mapping[int, bool]) -> list[tuple[int, int]]:
    """Return how much to add before and after along each axis, that those in `lefts` get their size in `wanted`."""
    return _widths_of({axis: wanted[axis] - shape[axis] for axis in lefts}, len(shape), lefts)


def _widths_of(missing: Mapping[int, Any], rank: int, lefts: Mapping[int, bool]) -> list[tuple[Any, Any]]:
    counts = [missing.get(axis, 0) for axis in range(rank)]
    return [(count, 0) if lefts.get(axis) else (0, count) for axis, count in enumerate(counts)]


def _extended(name: str) -> Any:
    import ml_dtypes

    return getattr(ml_dtypes, name)


# -- JAX ------------------------------------------------------------------------------------------------------------


class _JaxArrays:
    """Arrays with values, on the CPU, are handled by NumPy: JAX would compile each slice and shape anew."""

    name = "jax"

    def __init__(self) -> None:
        import jax

        self._jax = cast("Any", jax)
        self._jnp = cast("Any", jax.numpy)
        self._host = _NumpyArrays()

    def _is_on_host(self, arrays: Sequence[Any]) -> bool:
        jax = self._jax
        return all(
            isinstance(array, jax.Array)
            and not isinstance(array, jax.core.Tracer)
            and len(array.devices()) == 1
            and next(iter(array.devices())).platform == "cpu"
            and not jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended)  # random keys, which NumPy has not
            for array in arrays
        )

    def _on_host(self, arrays: Sequence[Any], function: Callable[[list[Any]], Any]) -> Any:
        result = function([self._host_view(array) for array in arrays])
        device = next(iter(arrays[0].devices()))
        if any(array.committed for array in arrays):
            return self._jax.device_put(result, device)
        with self._jax.default_device(device):  # what JAX may still move elsewhere stays so
            return self._jnp.asarray(result)

    def _host_view(self, array: Any) -> Any:
        import numpy as np

        return np.asarray(array)

    def take(self, array: Any, rows: Any, axis: int) -> Any:
        if self._is_on_host([array]) and not isinstance(rows, self._jax.core.Tracer):
            return self._on_host([array], lambda hosts: self._host.take(hosts[0], rows, axis))
        return self._jnp.take(array, self._jnp.asarray(rows), axis=axis)

    def narrow(self, array: Any, axis: int, start: int, stop: int) -> Any:
        if self._is_on_host([array]):
            return self._on_host([array], lambda hosts: self._host.narrow(hosts[0], axis, start, stop))
        return self._jax.lax.slice_in_dim(array, start, stop, axis=axis)

    def reshape(self, array: Any, shape: Sequence[int]) -> Any:
        return self._jnp.reshape(array, tuple(shape))

    def swap(self, array: Any, first: int, second: int) -> Any:
        return self._jnp.swapaxes(array, first, second)

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        if self._is_on_host(arrays):
            return self._on_host(arrays, lambda hosts: self._host.concat(hosts, axis))
        return self._jnp.concatenate(arrays, axis=axis)

    def stack(self, arrays: Sequence[Any]) -> Any:
        return self._jnp.stack(arrays)

    def pad(self, array: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
        if self._is_on_host([array]):
            return self._on_host([array], lambda hosts: self._host.pad(hosts[0], widths, value))
        return self._jnp.pad(array, tuple(widths), constant_values=value)

    def pad_and_concat(self, arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], value: float) -> Any:
        if self._is_on_host(arrays):
            return self._on_host(arrays, lambda hosts: self._host.pad_and_concat(hosts, axis, lefts, value))
        shape = _joined_shape(arrays, axis, lefts)
        padded = [self.pad(array, _widths(array.shape, shape, lefts), value) for array in arrays]
        return self._jnp.concatenate(padded, axis=axis)

    def move(self, array: Any, device: Any, dtype: Any, *, non_blocking: bool) -> Any:
        if dtype is not None and self._jnp.issubdtype(array.dtype, self._jnp.floating):
            array = array.astype(_numpy_dtype(dtype))
        return array if device is None else self._jax.device_put(array, self._device_named(device))

    def _device_named(self, device: Any) -> Any:
        if not isinstance(device, str):
            return device
        platform, _, index = device.partition(":")
        devices = self._jax.devices(platform)
        if not (index or "0").isdigit() or int(index or 0) >= len(devices):
            raise InputError(f"device is {device!r}; JAX has {', '.join(f'{platform}:{d.id}' for d in devices)}")
        return devices[int(index or 0)]

    def detach(self, array: Any) -> Any:
        return self._jax.lax.stop_gradient(array)

    def numpy(self, array: Any) -> Any:
        return self._host_view(array)

    def from_numpy(self, array: Any) -> Any:
        array = _in_own_byte_order(array)
        self._check_width(array)
        return self._jnp.asarray(array)

    def _check_width(self, values: Any) -> None:
        """Refuse values that JAX would give half the bits, but for integers that fit."""
        kept = self._jax.dtypes.canonicalize_dtype(values.dtype)
        if kept == values.dtype or (kept.kind in "iu" and (values.astype(kept) == values).all()):
            return
        cast = ', or cast first with .to(dtype="float32")' if _is_float(values) else ""
        raise InputError(
            f'JAX would turn {values.dtype.name} into {kept.name}; set jax.config.update("jax_enable_x64", True){cast}'
        )

    def from_dlpack(self, array: Any) -> Any:
        if dtype_name(array.dtype)[-2:] in ("64", "28"):  # of 64 bits, or 128
            self._check_width(arrays_of(array).numpy(array))
        return self._jax.dlpack.from_dlpack(array)

    def device(self, array: Any) -> str:
        return ", ".join(sorted(map(str, array.devices())))


# -- TensorFlow -----------------------------------------------------------------------------------------------------


class _TensorFlowArrays:
    name = "tensorflow"

    def __init__(self) -> None:
        import tensorflow

        self._tf = cast("Any", tensorflow)

    def take(self, array: Any, rows: Any, axis: int) -> Any:
        tf = self._tf
        if isinstance(rows, tf.Tensor) or (rows < 0).any():  # values unseen, or those of `array`: traced
            rows = tf.cast(rows, tf.int64)
            rows = tf.where(rows < 0, rows + tf.shape(array, tf.int64)[axis], rows)
        return tf.gather(array, rows, axis=axis)

    def narrow(self, array: Any, axis: int, start: int, stop: int) -> Any:
        return array[(slice(None),) * axis + (slice(start, stop),)]

    def reshape(self, array: Any, shape: Sequence[int]) -> Any:
        return self._tf.reshape(array, tuple(shape))

    def swap(self, array: Any, first: int, second: int) -> Any:
        order = list(range(len(array.shape)))
        order[first], order[second] = second, first
        return self._tf.transpose(array, order)

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        return self._tf.concat(list(arrays), axis)

    def stack(self, arrays: Sequence[Any]) -> Any:
        return self._tf.stack(list(arrays))

    def pad(self, array: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
        import numpy as np

        dtype = array.dtype.as_numpy_dtype
        if dtype_name(array.dtype) in _EXTENDED[1:]:  # `tf.pad` has no kernel for 8 bits
            for axis, pair in enumerate(widths):
                shapes = [(*array.shape[:axis], width, *array.shape[axis + 1 :]) for width in pair]
                before, after = (self._tf.constant(np.full(shape, value, dtype)) for shape in shapes)
                array = self.concat([before, array, after], axis)
            return array
        return self._tf.pad(array, list(widths), constant_values=self._tf.constant(np.asarray(value, dtype)))

    def pad_and_concat(self, arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], value: float) -> Any:
        if any(array.shape[padded] is None for array in arrays for padded in lefts):
            return self._pad_and_concat_in_graph(arrays, axis, lefts, value)
        shape = _joined_shape(arrays, axis, lefts)
        return self.concat([self.pad(array, _widths(array.shape, shape, lefts), value) for array in arrays], axis)

    def _pad_and_concat_in_graph(
        self, arrays: Sequence[Any], axis: int, lefts: Mapping[int, bool], value: float
    ) -> Any:
        """The same where sizes are not known before the graph runs."""
        tf = self._tf
        sizes = [{padded: tf.shape(array)[padded] for padded in lefts} for array in arrays]
        wanted = {padded: tf.reduce_max([size[padded] for size in sizes]) for padded in lefts}
        joined: list[Any] = []
        for array, size in zip(arrays, sizes, strict=True):
            missing = {padded: wanted[padded] - size[padded] for padded in lefts}
            padded = self.pad(array, _widths_of(missing, len(array.shape), lefts), value)
            joined.append(tf.ensure_shape(padded, [None if i in lefts else n for i, n in enumerate(array.shape)]))
        return tf.concat(joined, axis)

    def move(self, array: Any, device: Any, dtype: Any, *, non_blocking: bool) -> Any:
        if dtype is not None and array.dtype.is_floating:
            array = self._tf.cast(array, self._dtype(dtype))
        if device is None:
            return array
        wanted = str(device).lower().rpartition("device:")[2].lstrip("/")
        there = [found.name.lower().rpartition("device:")[2] for found in self._tf.config.list_logical_devices()]
        # TensorFlow itself would put it somewhere else, and say nothing.
        if (wanted if ":" in wanted else f"{wanted}:0") not in there:
            raise InputError(f"device is {device!r}; TensorFlow has {', '.join(there)}")
        with self._tf.device(device):
            return self._tf.identity(array)

    def _dtype(self, dtype: Any) -> Any:
        try:
            return self._tf.as_dtype(dtype_name(dtype))
        except TypeError:
            raise _no_dtype(dtype) from None

    def detach(self, array: Any) -> Any:
        return self._tf.stop_gradient(array)

    def numpy(self, array: Any) -> Any:
        return array.numpy()

    def from_numpy(self, array: Any) -> Any:
        return self._tf.constant(array)

    def from_dlpack(self, array: Any) -> Any:
        return self._tf.experimental.dlpack.from_dlpack(array.__dlpack__())

    def device(self, array: Any) -> str:
        return array.device


_KINDS: dict[str, Callable[[], Arrays]] = {
    "torch": _TorchArrays,
    "jax": _JaxArrays,
    "tensorflow": _TensorFlowArrays,
    "numpy": _NumpyArrays,
}
