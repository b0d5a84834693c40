"""Reads `flax_model.msgpack`, the weights that Flax models were saved as: nested maps of arrays in MessagePack.

An array is an extension of code 1, whose bytes are MessagePack again: shape, name of the dtype, and the numbers in C
order, little endian. One beyond a gibibyte is a map of flat pieces. Only maps and arrays are read: nothing is pickled
in these files, and no code of Flax is run.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..arrays.dtypes import DTYPES
from ..errors import CheckpointNotFoundError, FileFormatError, MissingDependencyError, first_line
from .checkpoints import read_index, shard_paths
from .git_lfs import check_not_lfs_pointer

__all__ = ["MSGPACK", "map_flax_checkpoint", "read_flax_msgpack"]

MSGPACK, MSGPACK_INDEX = "flax_model.msgpack", "flax_model.msgpack.index.json"
_ARRAY = 1
_CHUNKED = "__msgpack_chunked_array__"


def map_flax_checkpoint(folder: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of a checkpoint's MessagePack files by name, or None if it has no such file.

    Names are the paths in the tree, with dots between.

    Raises:
        CheckpointError: the index names a shard that is missing or lies outside the folder.
        FileFormatError: a file is truncated or corrupt.
        MissingDependencyError: msgpack is not installed.
    """
    if (folder / MSGPACK).is_file():
        return read_flax_msgpack(folder / MSGPACK)
    if not (folder / MSGPACK_INDEX).is_file():
        return None
    arrays: dict[str, np.ndarray] = {}
    for path in shard_paths(folder, read_index(folder / MSGPACK_INDEX)).values():
        arrays |= read_flax_msgpack(path)
    return arrays


def read_flax_msgpack(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of one file by name; see `map_flax_checkpoint`."""
    try:
        import msgpack  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise MissingDependencyError(f"reading {str(path)!r} needs msgpack; install modeloutputs[flax]") from None
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointNotFoundError(f"there is no file {str(path)!r}") from None
    try:
        tree: Any = cast("Any", msgpack).unpackb(data, ext_hook=_Extension, raw=False)
        if not isinstance(tree, dict):
            raise ValueError("it holds no map")
        return dict(_leaves(cast("dict[Any, Any]", tree), ()))
    except (ValueError, TypeError, KeyError, RecursionError, cast("Any", msgpack).UnpackException) as error:
        check_not_lfs_pointer(path)
        raise FileFormatError(f"{str(path)!r} is truncated or no tree of Flax arrays: {first_line(error)}") from None


class _Extension:
    """An extension as it was read, its bytes not looked at."""

    def __init__(self, code: int, data: bytes) -> None:
        self.code, self.data = code, data


def _leaves(tree: Mapping[Any, Any], path: tuple[str, ...]) -> Any:
    for name, value in tree.items():
        if not isinstance(name, str):
            raise ValueError(f"a name is {name!r}")
        inner = (*path, name)
        if isinstance(value, dict) and _CHUNKED in value:
            yield ".".join(inner), _joined(cast("dict[str, Any]", value))
        elif isinstance(value, dict):
            yield from _leaves(cast("dict[Any, Any]", value), inner)
        else:
            yield ".".join(inner), _array(value)


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, _Extension) or value.code != _ARRAY:
        raise ValueError(f"a leaf is a {type(value).__name__}, not an array")
    import msgpack  # pyright: ignore[reportMissingTypeStubs]

    shape, name, data = cast("Any", msgpack).unpackb(value.data, raw=False)
    dtype = DTYPES[name].numpy
    sizes = tuple(int(size) for size in shape)
    if min(sizes, default=0) < 0 or math.prod(sizes) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {sizes} has {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(sizes)


def _joined(value: Mapping[str, Any]) -> np.ndarray:
    """Return an array that is stored in pieces; its sizes and pieces are maps by number."""
    sizes, pieces = value["shape"], value["chunks"]
    flat = np.concatenate([_array(pieces[str(i)]) for i in range(len(pieces))])
    return flat.reshape([int(sizes[str(i)]) for i in range(len(sizes))])
