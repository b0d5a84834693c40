"""Reads and writes `flax_model.msgpack`, the weights of Flax models: nested maps of arrays in MessagePack.

An array is an extension of code 1, whose bytes are MessagePack again: shape, name of the dtype, and the numbers in C
order, little endian. One beyond a gibibyte is a map of flat pieces. Only maps and arrays are read: nothing is pickled
in these files, and no code of Flax is run. Files are mapped into memory, and arrays read when they are used.
"""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..arrays.dtypes import DTYPES, SAFETENSORS_DTYPES, dtype_name
from ..errors import CheckpointNotFoundError, FileFormatError, ModelOutputsError, first_line
from .checkpoints import read_index, shard_paths
from .git_lfs import check_not_lfs_pointer
from .messagepack import Bytes, Extension, extension_head, head, pack, unpack
from .replacing import Replacement
from .safetensors import MappedTensor, bytes_of, map_file, nbytes
from .shards import split_weights, stale_weights

__all__ = [
    "MSGPACK",
    "MSGPACK_INDEX",
    "JoinedTensor",
    "map_flax_checkpoint",
    "map_flax_msgpack",
    "stale_flax_weights",
    "write_flax_weights",
]

MSGPACK, MSGPACK_INDEX = "flax_model.msgpack", "flax_model.msgpack.index.json"
_SHARD = re.compile(r"flax_model-\d{5}-of-\d{5}\.msgpack")
_ARRAY, _SCALAR = 1, 3
_CHUNKED = "__msgpack_chunked_array__"
_CHUNK = 2**30
"""Bytes beyond which an array is stored in pieces, as Flax does: a size in MessagePack has 32 bits."""


# -- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JoinedTensor:
    """A tensor that its file holds in flat pieces."""

    shape: tuple[int, ...]
    pieces: Sequence[MappedTensor]

    def numpy(self) -> Any:
        """Return the tensor as a NumPy array."""
        import numpy as np

        whole = np.empty(math.prod(self.shape), SAFETENSORS_DTYPES[self.pieces[0].dtype].numpy)
        start = 0
        for piece in self.pieces:
            stop = start + piece.shape[0]
            whole[start:stop] = piece.numpy()
            piece.release()
            start = stop
        return whole.reshape(self.shape)

    def release(self) -> None:
        """Let go of the memory that reading took; see `MappedTensor.release`."""
        for piece in self.pieces:
            piece.release()


def map_flax_checkpoint(folder: Path) -> dict[str, MappedTensor | JoinedTensor] | None:
    """Map a checkpoint's MessagePack files and return their tensors by name, or None if it has no such file.

    Names are the paths in the tree, with dots between.

    Raises:
        CheckpointError: the index names a shard that is missing or lies outside the folder.
        FileFormatError: a file is truncated or corrupt.
    """
    if (folder / MSGPACK).is_file():
        return map_flax_msgpack(folder / MSGPACK)
    if not (folder / MSGPACK_INDEX).is_file():
        return None
    tensors: dict[str, MappedTensor | JoinedTensor] = {}
    for path in shard_paths(folder, read_index(folder / MSGPACK_INDEX)).values():
        tensors |= map_flax_msgpack(path)
    return tensors


def map_flax_msgpack(path: Path) -> dict[str, MappedTensor | JoinedTensor]:
    """Return the tensors of one file by name; see `map_flax_checkpoint`."""
    if not path.is_file():
        raise CheckpointNotFoundError(f"there is no file {str(path)!r}")
    mapping = map_file(path, "a file of Flax arrays")
    try:
        tree: Any = unpack(mapping)
        if not isinstance(tree, dict):
            raise ValueError("it holds no map")
        return dict(_Tree(path, mapping).leaves(cast("dict[str, Any]", tree), ()))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        check_not_lfs_pointer(path)
        raise FileFormatError(f"{str(path)!r} is truncated or no tree of Flax arrays: {first_line(error)}") from None


class _Tree:
    """The arrays in one file."""

    def __init__(self, path: Path, mapping: Any) -> None:
        self.path, self.mapping = path, mapping

    def leaves(
        self, tree: Mapping[str, Any], path: tuple[str, ...]
    ) -> Iterator[tuple[str, MappedTensor | JoinedTensor]]:
        for key, value in tree.items():
            name = ".".join((*path, key))
            if isinstance(value, dict) and _CHUNKED in value:
                yield name, self.joined(name, cast("dict[str, Any]", value))
            elif isinstance(value, dict):
                yield from self.leaves(cast("dict[str, Any]", value), (*path, key))
            else:
                yield name, self.tensor(name, value)

    def tensor(self, name: str, value: Any) -> MappedTensor:
        if not isinstance(value, Extension) or value.code not in (_ARRAY, _SCALAR):
            raise ValueError(f"the leaf {name[:60]!r} is a {type(value).__name__}, not an array")
        sizes, dtype, data = unpack(self.mapping, value.start, value.stop)
        kind, shape = DTYPES[dtype], tuple(int(size) for size in sizes)
        if kind.code is None or not isinstance(data, Bytes) or min(shape, default=0) < 0:
            raise ValueError(f"the array {name[:60]!r} has dtype {dtype} and shape {shape}")
        if math.prod(shape) * kind.bits // 8 != data.stop - data.start:
            raise ValueError(f"the array {name[:60]!r} of shape {shape} has {data.stop - data.start} bytes")
        return MappedTensor(name, kind.code, shape, self.path, data.start, data.stop, self.mapping)

    def joined(self, name: str, value: Mapping[str, Any]) -> JoinedTensor:
        """Return an array that is stored in pieces; its sizes and pieces are maps by number."""
        sizes, stored = value["shape"], value["chunks"]
        pieces = [self.tensor(name, stored[str(i)]) for i in range(len(stored))]
        shape = tuple(int(sizes[str(i)]) for i in range(len(sizes)))
        # A piece of another dtype, or of more axes, would be no part of the same flat array.
        if {(piece.dtype, len(piece.shape)) for piece in pieces} != {(pieces[0].dtype, 1)}:
            raise ValueError(f"the array {name[:60]!r} has pieces of several kinds")
        if sum(piece.shape[0] for piece in pieces) != math.prod(shape):
            raise ValueError(f"the pieces of {name[:60]!r} do not make up its shape {shape}")
        return JoinedTensor(shape, pieces)


# -- writing --------------------------------------------------------------------------------------------------------


def write_flax_weights(files: Replacement, tensors: Mapping[str, Any], max_shard_size: int) -> None:
    """Write weights among the files of a folder that are replaced together: one file, or shards with an index.

    Args:
        files: the folder's new files.
        tensors: arrays of any framework by their path in the tree, with slashes between, as the index has them.
        max_shard_size: bytes of arrays in one file; a larger array has a file of its own.
    """
    shards = split_weights(tensors, max_shard_size)
    count = len(shards)
    names = [MSGPACK] if count == 1 else [f"flax_model-{i:05d}-of-{count:05d}.msgpack" for i in range(1, count + 1)]
    for name, shard in zip(names, shards, strict=True):
        with files.path(name).open("wb") as file:
            _write(file, _nested(shard))
    if count > 1:
        places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {
            "metadata": {"total_size": sum(nbytes(name, tensor) for name, tensor in tensors.items())},
            "weight_map": places,
        }
        files.write_text(MSGPACK_INDEX, json.dumps(index, indent=2, sort_keys=True) + "\n")


def stale_flax_weights(folder: Path, written: Collection[str]) -> set[str]:
    """Return which weight files of an earlier checkpoint end with it, in MessagePack and as safetensors.

    Readers take one kind and do not look at the other, Flax's own the first and this library the second: what stayed
    would be loaded in place of the new weights.

    Args:
        folder: of the checkpoint.
        written: names of the new files.
    """
    try:
        named = set(read_index(folder / MSGPACK_INDEX).values()) if (folder / MSGPACK_INDEX).is_file() else set[str]()
    except ModelOutputsError:  # what a broken index meant cannot be known
        named = set[str]()
    shards = {name for name in named if _SHARD.fullmatch(name)}
    return ({MSGPACK, MSGPACK_INDEX, *shards} | stale_weights(folder, written)) - {*written}


def _nested(tensors: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *path, leaf = name.split("/")
        inner = tree
        for part in path:
            inner = inner.setdefault(part, {})
        inner[leaf] = tensor
    return tree


def _write(file: BinaryIO, value: Any) -> None:
    if not isinstance(value, Mapping):
        _write_array(file, value)
        return
    tree = cast("Mapping[str, Any]", value)
    file.write(head("map", len(tree)))
    for name, inner in tree.items():
        file.write(pack(name))
        _write(file, inner)


def _write_array(file: BinaryIO, array: Any) -> None:
    shape, dtype, data = tuple(array.shape), dtype_name(array.dtype), bytes_of(array)
    if len(data) <= _CHUNK:
        _write_piece(file, shape, dtype, data)
        return
    width = DTYPES[dtype].bits // 8
    step = max(_CHUNK // width, 1) * width
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    file.write(head("map", 3) + pack(_CHUNKED) + pack(True) + pack("shape") + head("map", len(shape)))
    file.write(b"".join(pack(str(i)) + pack(length) for i, length in enumerate(shape)))
    file.write(pack("chunks") + head("map", len(pieces)))
    for i, piece in enumerate(pieces):
        file.write(pack(str(i)))
        _write_piece(file, (len(piece) // width,), dtype, piece)


def _write_piece(file: BinaryIO, shape: tuple[int, ...], dtype: str, data: memoryview) -> None:
    inner = head("list", 3) + pack(shape) + pack(dtype) + head("bytes", len(data))
    file.write(extension_head(_ARRAY, len(inner) + len(data)) + inner)
    file.write(data)
