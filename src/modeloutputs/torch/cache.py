"""`past_key_values`: the keys and values of positions already computed, so that each is computed once.

A cache is the plain tuple of tensors per layer, and immutable: operations return a new one. Yet growing it copies
nothing. Its tensors are views of buffers with spare capacity behind them, and the first call that extends a cache
writes into that capacity, which no older view shows; the second call that extends the same cache finds the capacity
taken and copies. Where autograd records or a compiler traces, caches grow by concatenation.
"""

import threading
from collections.abc import Iterable
from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..display.text import summary
from ..errors import InputError
from .values import values_on_cpu

__all__ = ["Cache", "CacheUpdate", "PastKeyValues", "check_cache", "cross_length", "past_length"]

KeyValue = tuple[Tensor, Tensor]

PastKeyValues = tuple[tuple[Tensor, ...], ...]
"""Per layer key and value (batch, kv_heads, past, head_dim) and, cross-attending, the encoder's (batch, kv_heads,
enc_seq, head_dim)."""

MIN_CAPACITY = 16


class _Buffers:
    """Buffers (batch, kv_heads, capacity, head_dim) for the keys and values of all layers, filled from the front."""

    def __init__(self, layers: Iterable[tuple[Tensor, ...]], capacity: int, runner: object | None = None) -> None:
        self.capacity = capacity
        self.runner = runner
        self.buffers = [tuple(_with_capacity(tensor, capacity) for tensor in layer[:2]) for layer in layers]
        # Aliases with version counters of their own: writing behind a view does not invalidate what autograd saved.
        self._shown = [tuple(buffer.data for buffer in layer) for layer in self.buffers]
        self.filled = 0
        self.inference = torch.is_inference_mode_enabled()
        self._lock = threading.Lock()

    def reserve(self, start: int, stop: int) -> bool:
        """Take positions [start, stop) for one caller; return False where another took them or there are too few."""
        if self.inference and not torch.is_inference_mode_enabled():
            return False  # PyTorch refuses to write to inference tensors
        with self._lock:
            free = self.filled == start and stop <= self.capacity
            self.filled = stop if free else self.filled
            return free

    def write(self, layer: int, start: int, tensors: Iterable[Tensor]) -> None:
        """Fill positions from `start` on."""
        for buffer, tensor in zip(self.buffers[layer], tensors, strict=True):
            buffer.narrow(2, start, tensor.shape[2]).copy_(tensor)

    def view(self, layer: int, stop: int) -> KeyValue:
        """Return the first `stop` positions."""
        key, value = self._shown[layer]
        return key.narrow(2, 0, stop), value.narrow(2, 0, stop)


def _with_capacity(tensor: Tensor, capacity: int) -> Tensor:
    rows, heads, _, width = tensor.shape
    return tensor.new_empty(rows, heads, capacity, width)


class Cache(tuple[tuple[Tensor, ...], ...]):
    """The keys and values of positions already computed: for each layer a tuple of tensors (see `PastKeyValues`).

    `Cache(layers)` takes any such tuples, `to_tuples` gives them back; nothing is copied by either.

    Examples:
        >>> layer = (torch.zeros(2, 4, 5, 8), torch.zeros(2, 4, 5, 8))  # (batch, kv_heads, past, head_dim)
        >>> cache = Cache([layer, layer])
        >>> cache.length, cache.nbytes
        (5, 5120)
        >>> cache.crop(3)
        Cache(2 x (2 x f32[2,4,3,8]))
        >>> cache.reorder(torch.tensor([1, 1, 0]))[0][0].shape
        torch.Size([3, 4, 5, 8])
    """

    _buffers: _Buffers | None

    def __new__(cls, layers: Iterable[tuple[Tensor, ...]] = (), buffers: _Buffers | None = None) -> Self:
        """Return the cache of these layers; `buffers` are those that their tensors are views of, if known."""
        made = super().__new__(cls, layers)
        made._buffers = buffers
        return made

    @classmethod
    def with_room(
        cls,
        *,
        layers: int,
        batch: int,
        kv_heads: int,
        head_dim: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        runner: object | None = None,
    ) -> Self:
        """Return an empty cache with room for `capacity` positions, for a caller who knows its final length.

        Args:
            layers: number of layers.
            batch: rows of the batch.
            kv_heads: heads of keys and values.
            head_dim: width of a head.
            capacity: positions that fit before a buffer is allocated.
            dtype: of keys and values.
            device: of keys and values.
            runner: kept with the buffers for the stack that extends the cache; see `modeloutputs.torch.stack_runner`.
        """
        empty = torch.empty(batch, kv_heads, 0, head_dim, dtype=dtype, device=device)
        buffers = _Buffers([(empty, empty)] * layers, capacity, runner)
        return cls((buffers.view(i, 0) for i in range(layers)), buffers)

    @property
    def length(self) -> int:
        """Number of positions held."""
        return past_length(self)

    @property
    def capacity(self) -> int:
        """Number of positions that fit before a buffer is allocated."""
        buffers = self._buffers
        return self.length if buffers is None or buffers.filled != self.length else buffers.capacity

    @property
    def runner(self) -> object | None:
        """The runner that `with_room` was given, for the stack that extends the cache."""
        return None if self._buffers is None else self._buffers.runner

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values held.

        Buffers may be larger; those of a model's first call also hold the queries of that call.
        """
        return sum(tensor.nbytes for layer in self for tensor in layer)

    def fork(self) -> Self:
        """Return a cache that shares this one's memory and leaves the spare capacity to it."""
        return type(self)(self)

    def crop(self, length: int) -> Self:
        """Return the cache of the first `length` positions; the encoder's keys and values stay as they are.

        Raises:
            InputError: there are fewer positions, or `length` is negative.
        """
        if not 0 <= length <= self.length:
            raise InputError(f"crop({length}) of a cache of {self.length} positions; expected 0 to {self.length}")
        cropped = [(*(tensor[:, :, :length] for tensor in layer[:2]), *layer[2:]) for layer in self]
        return type(self)(cropped, self._buffers)

    def reorder(self, rows: Tensor, *, same_encoder: bool = False) -> Self:
        """Return the cache of these rows of the batch, in this order, with the same capacity.

        Args:
            rows: (new batch,) integer indices; a row may occur several times or never.
            same_encoder: each row attends to the same encoder's row as the one whose place it takes, as the beams of
                one row do: the encoder's keys and values stay as they are.

        Raises:
            InputError: not one axis of integers, or a row out of range.
        """
        batch = self[0][0].shape[0] if self else 0
        _check_rows(rows, batch)
        if self._buffers is None or torch.compiler.is_compiling() or _needs_grad(self):
            return type(self)([tuple(tensor.index_select(0, rows) for tensor in layer) for layer in self])
        few = [tuple(tensor[:1].expand(len(rows), -1, -1, -1) for tensor in layer[:2]) for layer in self]
        buffers = _Buffers(few, self._buffers.capacity, self._buffers.runner)
        buffers.filled = self.length
        layers: list[tuple[Tensor, ...]] = []
        for i, layer in enumerate(self):
            own = buffers.view(i, self.length)
            for tensor, view in zip(layer, own, strict=False):
                torch.index_select(tensor, 0, rows, out=view)
            cross = layer[2:] if same_encoder else tuple(tensor.index_select(0, rows) for tensor in layer[2:])
            layers.append((*own, *cross))
        return type(self)(layers, buffers)

    def to_tuples(self) -> PastKeyValues:
        """Return plain tuples of the same tensors."""
        return tuple(tuple(layer) for layer in self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({summary(self.to_tuples())})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Values only: PyTorch refuses to copy tensors that are part of a graph.
        return type(self)(tuple(tensor.detach().clone() for tensor in layer) for layer in self)

    def __reduce__(self) -> tuple[Any, ...]:
        # Cloned out of their buffers, which would otherwise be written whole.
        return type(self), (tuple(tuple(tensor.clone() for tensor in layer) for layer in self),)


def _needs_grad(cache: Cache) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for layer in cache for tensor in layer[:2])


def _check_rows(rows: Tensor, batch: int) -> None:
    if rows.dim() != 1 or rows.dtype not in (torch.int64, torch.int32):
        raise InputError(f"rows are {rows.dtype} of shape {tuple(rows.shape)}; expected (new batch,) integer indices")
    if not values_on_cpu(rows):
        return
    low, high = rows.aminmax()
    if low < 0 or high >= batch:
        raise InputError(f"rows range from {int(low)} to {int(high)}; the cache's are 0 to {batch - 1}")


def _flatten(cache: Cache) -> tuple[list[Any], None]:
    return list(cache), None


def _flatten_with_keys(cache: Cache) -> tuple[list[tuple[Any, Any]], Any]:
    return [(pytree.SequenceKey(i), layer) for i, layer in enumerate(cache)], None


def _unflatten(layers: Iterable[Any], _: Any) -> Cache:
    return Cache(layers)


pytree.register_pytree_node(
    Cache,
    _flatten,
    _unflatten,
    serialized_type_name="modeloutputs.torch.cache.Cache",
    flatten_with_keys_fn=_flatten_with_keys,
)

# Loading one with `torch.load` runs no code, as with the plain tuple.
torch.serialization.add_safe_globals([Cache])  # pyright: ignore[reportUnknownMemberType]


# -- growing ----------------------------------------------------------------------------------------------------------


class CacheUpdate:
    """One call's extension of a cache by `length` positions, layer by layer.

    Args:
        past: the cache that the call was given; None for none.
        length: positions of the call.
        limit: positions that the model can hold: no buffer gets longer.
        kept: whether the call returns the cache; if not, the spare capacity is left to calls that do.
    """

    def __init__(self, past: PastKeyValues | None, length: int, limit: int, *, kept: bool) -> None:
        self.past = past
        self._start = past_length(past)
        self._stop = self._start + length
        self._buffers: _Buffers | None = None
        if past is not None and kept and not (torch.is_grad_enabled() or torch.compiler.is_compiling()):
            self._buffers = self._reserve(past, limit)

    def _reserve(self, past: PastKeyValues, limit: int) -> _Buffers:
        buffers = past._buffers if isinstance(past, Cache) else None  # pyright: ignore[reportPrivateUsage]
        if buffers is not None and buffers.reserve(self._start, self._stop):
            return buffers
        # The next power of two: over a cache's life, no more is copied than it holds in the end.
        doubled = max(MIN_CAPACITY, 1 << (self._stop - 1).bit_length())
        runner = None if buffers is None else buffers.runner
        buffers = _Buffers(past, max(self._stop, min(doubled, limit)), runner)
        for i, layer in enumerate(past):
            buffers.write(i, 0, layer[:2])
        buffers.filled = self._stop
        return buffers

    def append(self, layer: int, key: Tensor, value: Tensor) -> KeyValue:
        """Append key and value (batch, kv_heads, length, head_dim) and return those of all positions."""
        if self._buffers is not None:
            self._buffers.write(layer, self._start, (key, value))
            return self._buffers.view(layer, self._stop)
        if self.past is None or not self._start:
            return key, value
        past_key, past_value = self.past[layer][:2]
        return torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)

    def cross(self, layer: int) -> KeyValue | None:
        """Return the encoder's key and value, or None where the cache has none."""
        held = () if self.past is None else self.past[layer][2:]
        return cast("KeyValue", held) if held else None

    def finish(self, layers: Iterable[tuple[Tensor, ...]]) -> PastKeyValues:
        """Return the cache of what `append` returned for each layer, the encoder's key and value added."""
        return tuple(layers) if torch.compiler.is_compiling() else Cache(layers, self._buffers)


# -- what a model is given ---------------------------------------------------------------------------------------------


def past_length(past_key_values: PastKeyValues | None) -> int:
    """Return the number of positions in a cache."""
    return past_key_values[0][0].shape[2] if past_key_values else 0


def cross_length(past_key_values: PastKeyValues | None) -> int | None:
    """Return the number of an encoder's positions in a cache; None for a cache without an encoder's keys."""
    return past_key_values[0][2].shape[2] if past_key_values and len(past_key_values[0]) == 4 else None


def check_cache(
    past: PastKeyValues | None,
    layers: int,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device | None,
) -> None:
    """Refuse a cache of another model or batch.

    Args:
        past: the cache, or None.
        layers: how many the model has.
        shape: (rows, kv_heads, head_dim).
        dtype: of the keys that this call computes.
        device: of those keys; None where it is not known.

    Raises:
        InputError: naming the layer, what was found and what was expected.
    """
    if past is None:
        return
    if not isinstance(past, (tuple, list)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"past_key_values is a {type(past).__name__}; expected what a call returned, a tuple of tensors per layer"
        )
    if len(past) != layers:
        raise InputError(f"past_key_values has {len(past)} layers; this model has {layers}")
    lengths: dict[bool, int] = {}
    # The layers of a cache that this module grew agree.
    grown = isinstance(past, Cache) and past._buffers is not None  # pyright: ignore[reportPrivateUsage]
    for i, layer in enumerate(past[:1] if grown else past):
        if not isinstance(layer, (tuple, list)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"past_key_values[{i}] is a {type(layer).__name__}; expected a tuple of tensors")
        if len(layer) not in (2, 4) or len(layer) != len(past[0]):
            raise InputError(
                f"past_key_values[{i}] has {len(layer)} tensors; expected 2, or 4 with cross-attention, in all layers"
            )
        for j, tensor in enumerate(layer):
            if not isinstance(tensor, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InputError(f"past_key_values[{i}][{j}] is a {type(tensor).__name__}; expected a tensor")
            _check_shape(tensor, f"past_key_values[{i}][{j}]", shape, lengths, cross=j > 1)
            if tensor.dtype != dtype or tensor.device != (device or tensor.device):
                raise InputError(
                    f"past_key_values[{i}][{j}] is {tensor.dtype} on {tensor.device}; "
                    f"this model's keys are {dtype} on {device}"
                )


def _check_shape(
    tensor: Tensor, what: str, shape: tuple[int, int, int], lengths: dict[bool, int], *, cross: bool
) -> None:
    rows, heads, width = shape
    positions = lengths.setdefault(cross, tensor.shape[2]) if tensor.dim() == 4 else lengths.get(cross, "positions")
    expected = (rows, heads, positions, width)
    if tuple(tensor.shape) != expected:
        raise InputError(f"{what} has shape {tuple(tensor.shape)}; expected {expected}")
