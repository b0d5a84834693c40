"""The safetensors format: maps the tensors of a file into memory, and writes files. Imports no framework.

A file is 8 bytes of header length, a JSON header with each tensor's dtype, shape and byte range, and the tensors'
bytes. Format: https://github.com/huggingface/safetensors#format. The files are read and written here, not through the
safetensors library: from a mapping each framework makes tensors without a copy, and writing takes the arrays of any
framework one at a time, so that at most one of them is copied to the CPU.
"""

import functools
import json
import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from ..arrays.backends import to_numpy
from ..arrays.dtypes import DTYPES, SAFETENSORS_DTYPES, DType, dtype_name
from ..errors import CheckpointNotFoundError, FileFormatError, InputError, first_line
from .git_lfs import check_not_lfs_pointer

__all__ = ["MappedFile", "MappedTensor", "bytes_of", "map_file", "map_safetensors", "nbytes", "write_safetensors"]

_MAX_HEADER = 100_000_000
"""Bytes; the format's own limit."""

_MAX_AXES = 64
"""NumPy's limit."""

_METADATA = "__metadata__"


# -- reading --------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class MappedTensor:
    """A tensor of a safetensors file that is mapped into memory. Its bytes are read when they are first touched.

    Mappings are private: what is written to an array stays in memory and does not change the file.
    """

    name: str
    dtype: str
    """As the format calls it: "F32", "BF16"."""

    shape: tuple[int, ...]
    path: Path
    start: int
    """First byte in the file; `stop` is the byte after the last."""

    stop: int
    mapping: mmap.mmap

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.stop - self.start

    def buffer(self) -> memoryview:
        """Return the bytes, writable and aligned to the element size: a view of the mapping, or a copy if unaligned.

        A framework that makes a tensor from this buffer gives it a storage of its own, which ends with the tensor.
        """
        view = memoryview(self.mapping)[self.start : self.stop]
        # Other writers may place tensors anywhere; PyTorch and fast NumPy loops need them aligned.
        return memoryview(bytearray(view)) if self.start % _itemsize(SAFETENSORS_DTYPES[self.dtype]) else view

    def release(self) -> None:
        """Let go of the memory that reading took; what reads the tensor again reads it from the file again.

        For one whose values were copied, and that nobody writes to: what was written would be lost.
        """
        start, stop = -(-self.start // mmap.PAGESIZE) * mmap.PAGESIZE, self.stop // mmap.PAGESIZE * mmap.PAGESIZE
        if stop > start and hasattr(mmap, "MADV_DONTNEED"):  # which Windows lacks
            self.mapping.madvise(mmap.MADV_DONTNEED, start, stop - start)

    def numpy(self) -> Any:
        """Return the tensor as a NumPy array on the buffer; bfloat16 and float8 have the dtypes of ml_dtypes.

        Raises:
            FileFormatError: NumPy cannot represent the shape.
        """
        import numpy as np

        dtype = SAFETENSORS_DTYPES[self.dtype].numpy
        try:
            if not self.nbytes:
                return np.empty(self.shape, dtype)
            if self.start % dtype.itemsize:
                return np.frombuffer(self.buffer(), dtype).reshape(self.shape)
            return np.ndarray(self.shape, dtype, self.mapping, self.start)
        except ValueError as error:  # a huge size beside a size of 0, or more axes than this NumPy supports
            raise FileFormatError(
                f"{str(self.path)!r} gives tensor {self.name[:60]!r} an invalid shape {self.shape}: {first_line(error)}"
            ) from None


def _itemsize(dtype: DType) -> int:
    return dtype.bits // 8


class MappedFile(NamedTuple):
    """The tensors of a safetensors file by name, and its metadata."""

    tensors: dict[str, MappedTensor]
    metadata: dict[str, str]


def map_safetensors(path: Path) -> MappedFile:
    """Map a safetensors file into memory. Only its header is read.

    Raises:
        CheckpointNotFoundError: there is no such file.
        FileFormatError: the file is truncated, its header is invalid, or its tensors overlap or leave gaps.
    """
    if not path.is_file():
        raise CheckpointNotFoundError(f"there is no file {str(path)!r}")
    mapping = map_file(path, "a safetensors file")
    header, start = _read_header(path, mapping)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict):
        raise FileFormatError(f"{str(path)!r} has a corrupt safetensors header: {_METADATA} is not a JSON object")
    tensors = {name: _parse_tensor(path, name, entry, start, mapping) for name, entry in header.items()}
    _check_coverage(path, tensors, start, len(mapping))
    return MappedFile(tensors, {str(key): str(value) for key, value in cast("dict[Any, Any]", metadata).items()})


def map_file(path: Path, kind: str) -> mmap.mmap:
    """Map a file into memory, privately.

    Args:
        path: the file.
        kind: what it should be, for the error: "a safetensors file".

    Raises:
        FileFormatError: it is empty.
    """
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except ValueError:
        raise FileFormatError(f"{str(path)!r} is not {kind}: it is empty") from None


def _read_header(path: Path, mapping: mmap.mmap) -> tuple[dict[str, Any], int]:
    """Return the header and the byte at which the tensors start."""
    size = len(mapping)
    length = struct.unpack("<Q", mapping[:8])[0] if size >= 8 else _MAX_HEADER + 1
    if length > min(_MAX_HEADER, size - 8):
        check_not_lfs_pointer(path)
        raise FileFormatError(f"{str(path)!r} is not a safetensors file, or its header is truncated ({size} bytes)")
    try:
        header: Any = json.loads(mapping[8 : 8 + length], object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{str(path)!r} has a corrupt safetensors header: {error}") from None
    if not isinstance(header, dict):
        raise FileFormatError(f"{str(path)!r} has a corrupt safetensors header: not a JSON object")
    return cast("dict[str, Any]", header), 8 + length


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {next(name for name in names if names.count(name) > 1)[:60]!r} twice")
    return found


def _parse_tensor(path: Path, name: str, entry: Any, base: int, mapping: mmap.mmap) -> MappedTensor:
    try:
        dtype, shape, start, stop = _parse_entry(entry)
        expected = math.prod(shape) * _itemsize(SAFETENSORS_DTYPES[dtype])
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{str(path)!r} has an invalid entry for tensor {name!r} ({error!r})") from None
    if stop - start != expected:
        raise FileFormatError(
            f"{str(path)!r} gives tensor {name!r} {stop - start} bytes, and {dtype} of shape {shape} takes {expected}"
        )
    if base + stop > len(mapping):
        raise FileFormatError(
            f"{str(path)!r} is truncated: {name!r} ends at byte {base + stop}, the file at {len(mapping)}"
        )
    return MappedTensor(name, dtype, shape, path, base + start, base + stop, mapping)


def _parse_entry(entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Return dtype, shape and byte range; a bool, a float or an integer beyond 64 bits is not a size."""
    dtype, shape, (start, stop) = entry["dtype"], list(entry["shape"]), entry["data_offsets"]
    numbers = (*shape, start, stop)
    if set(map(type, numbers)) != {int} or min(numbers) < 0 or max(numbers) >= 2**63:
        raise ValueError(f"shape {shape} and data_offsets {[start, stop]} should be integers from 0")
    if len(shape) > _MAX_AXES:
        raise ValueError(f"{len(shape)} axes, more than {_MAX_AXES}")
    return dtype, tuple(shape), start, stop


def _check_coverage(path: Path, tensors: Mapping[str, MappedTensor], start: int, size: int) -> None:
    """Hold the format's rule that the tensors, one after the other, are all that follows the header."""
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if tensor.start != start:
            raise FileFormatError(
                f"{str(path)!r} is corrupt: tensor {name!r} should start at byte {start}, and starts at {tensor.start}"
            )
        start = tensor.stop
    if start != size:
        raise FileFormatError(f"{str(path)!r} is corrupt: its tensors end at byte {start}, the file at {size}")


# -- writing --------------------------------------------------------------------------------------------------------


def nbytes(name: str, array: Any) -> int:
    """Return the size in bytes that an array of any framework has in a file.

    Raises:
        InputError: the format lacks the array's dtype.
    """
    return math.prod(array.shape) * _itemsize(_dtype(name, array))


def _dtype(name: str, array: Any) -> DType:
    dtype = _dtype_in_files(array.dtype)
    if dtype is None:
        known = ", ".join(dtype.name for dtype in SAFETENSORS_DTYPES.values())
        raise InputError(f"{name} is of dtype {dtype_name(array.dtype)}; a safetensors file holds {known}")
    return dtype


@functools.cache  # NumPy takes 20 µs to name a dtype
def _dtype_in_files(dtype: Any) -> DType | None:
    found = DTYPES.get(dtype_name(dtype))
    return found if found is not None and found.code else None


def write_safetensors(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write arrays of any framework to a safetensors file, one at a time; contiguous arrays on the CPU are not copied.

    Args:
        path: the file.
        tensors: the arrays by name.
        metadata: text by name.

    Raises:
        InputError: the format lacks an array's dtype, or the header exceeds the format's limit.
        UnicodeEncodeError: a name holds a lone surrogate.

    Examples:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_safetensors(Path(folder) / "file", {"a": np.ones((2, 3), np.float32)}, {"format": "np"})
        ...     mapped = map_safetensors(Path(folder) / "file")
        >>> mapped.tensors["a"].dtype, mapped.tensors["a"].shape, mapped.metadata
        ('F32', (2, 3), {'format': 'np'})
    """
    # Larger elements come first, so that all are aligned.
    names = sorted(tensors, key=lambda name: (-_itemsize(_dtype(name, tensors[name])), name))
    header = _header({name: tensors[name] for name in names}, metadata)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name in names:
            file.write(bytes_of(tensors[name]))


def _header(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {_METADATA: metadata} if metadata else {}
    start = 0
    for name, array in tensors.items():
        stop = start + nbytes(name, array)
        entries[name] = {"dtype": _dtype(name, array).code, "shape": list(array.shape), "data_offsets": [start, stop]}
        start = stop
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    if len(header) > _MAX_HEADER:
        raise InputError(f"the header would take {len(header)} bytes, and the format allows {_MAX_HEADER}")
    return header + b" " * (-len(header) % 8)


def bytes_of(array: Any) -> memoryview:
    """Return an array's bytes in C order; a copy where it is not contiguous, or on a device."""
    import numpy as np

    values = np.ascontiguousarray(to_numpy(array))
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    return values.reshape(-1).view(np.uint8).data
