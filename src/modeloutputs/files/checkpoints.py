"""Finds, reads and writes checkpoints: a folder or a hub id; safetensors in one file or in shards. No framework.

A safetensors file is 8 bytes of header length, a JSON header with each tensor's dtype, shape and byte range, and the
bytes. Its header is read here, not through the safetensors library, which tells no byte ranges: with them each
framework maps the file into memory its own way, without a copy.
"""

import contextlib
import json
import math
import os
import re
import struct
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import CheckpointError, CheckpointNotFoundError, FileFormatError, MissingDependencyError, first_line

__all__ = [
    "SAFETENSORS",
    "SAFETENSORS_INDEX",
    "TensorRecord",
    "atomic_path",
    "find_checkpoint",
    "inside",
    "read_json",
    "read_safetensors_header",
    "read_weight_map",
]

SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"

# Bits of each element type that a safetensors header may name.
DTYPE_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64,
}  # fmt: skip

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ("*.json", "*.txt", "*.jinja")
_MAX_HEADER = 100_000_000  # bytes; the safetensors format's own limit
_MAX_AXES = 64  # what NumPy takes


# -- finding ------------------------------------------------------------------------------------------------------


def find_checkpoint(name_or_path: str | os.PathLike[str], revision: str | None = None, *, weights: bool = True) -> Path:
    """Return the folder of a checkpoint: the folder named, else the hub's id of that name, fetched or from its cache.

    Args:
        name_or_path: folder or hub id.
        revision: branch, tag or commit, of a hub id.
        weights: fetch them too; configurations and tokenizers do without, which are gigabytes less.

    Raises:
        CheckpointNotFoundError: there is no such folder, and no such id can be had from the hub.
        MissingDependencyError: it could be a hub id, and huggingface-hub is not installed.
    """
    name, folder = os.fspath(name_or_path), Path(name_or_path)
    if name and folder.is_dir():
        return folder
    if folder.is_file():
        raise CheckpointNotFoundError(f"{str(folder)!r} is a file; pass the folder that holds config.json and weights")
    if not _HUB_ID.fullmatch(name):
        raise CheckpointNotFoundError(f"there is no folder {name!r}, and it cannot be a hub id like 'owner/name'")
    return _from_hub(name, revision, weights)


def _from_hub(name: str, revision: str | None, weights: bool) -> Path:
    folder = _fetch(name, revision, (*_HUB_FILES, *(["*.safetensors"] if weights else [])))
    if weights and not any(folder.glob("*.safetensors")):
        folder = _fetch(name, revision, (*_HUB_FILES, "pytorch_model*.bin"))
    return folder


def _fetch(name: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """Have the hub's library fetch the files of these patterns, those of subfolders left out."""
    try:
        from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    except ImportError:
        raise MissingDependencyError(
            f"there is no folder {name!r}; to load it as a hub id, install modeloutputs[hub]"
        ) from None
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=list(patterns), ignore_patterns=["*/*"])
    except Exception as error:  # noqa: BLE001  # its own errors, and those of whichever HTTP library it uses
        raise CheckpointNotFoundError(
            f"there is no folder {name!r} here, and no such checkpoint could be had from the hub ({first_line(error)})"
        ) from None
    return Path(folder)


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that another file names, refusing one that leads out of the folder.

    Raises:
        CheckpointError: the name is absolute or climbs out.
    """
    if Path(name).anchor or ".." in Path(name).parts or "\\" in name:
        raise CheckpointError(f"{str(folder)!r} names a file outside itself, {name!r}; it is not followed")
    return folder / name


# -- reading ------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointNotFoundError: there is no such file.
        FileFormatError: it is not JSON, or not an object.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise CheckpointNotFoundError(f"{str(path.parent)!r} has no {path.name}; is it a checkpoint folder?") from None
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{str(path)!r} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise FileFormatError(f"{str(path)!r} should hold a JSON object, and holds a {type(content).__name__}")
    return cast("dict[str, Any]", content)


@dataclass(frozen=True)
class TensorRecord:
    """Where one tensor lies: its file and byte range, with dtype (as safetensors names it) and shape."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_weight_map(folder: Path) -> dict[str, TensorRecord] | None:
    """Return every tensor of a checkpoint's safetensors files by name, or None where it has no such file.

    Raises:
        CheckpointError: the index names a shard that is missing or lies outside the folder, or a tensor that its
            shard does not hold.
        FileFormatError: a file is truncated or corrupt.
    """
    single, index = folder / SAFETENSORS, folder / SAFETENSORS_INDEX
    if single.is_file():
        return read_safetensors_header(single)[0]
    if not index.is_file():
        return None
    return _read_shards(folder, read_index(index))


def read_index(path: Path) -> dict[str, str]:
    """Return the name of each tensor's shard, from an index file.

    Raises:
        FileFormatError: the file is not an index.
    """
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(v, str) for v in cast("dict[str, Any]", weight_map).values()
    ):
        raise FileFormatError(f"{str(path)!r} has no weight_map from tensor to file name")
    return cast("dict[str, str]", weight_map)


def shard_paths(folder: Path, weight_map: Mapping[str, str]) -> dict[str, Path]:
    """Return the path of each shard that an index names.

    Raises:
        CheckpointError: one lies outside the folder.
        CheckpointNotFoundError: one is missing.
    """
    paths = {name: inside(folder, name) for name in dict.fromkeys(weight_map.values())}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        raise CheckpointNotFoundError(
            f"{str(folder)!r} lacks {len(missing)} of the {len(paths)} shards its index names: {', '.join(missing[:5])}"
        )
    return paths


def _read_shards(folder: Path, weight_map: Mapping[str, str]) -> dict[str, TensorRecord]:
    shards = {name: read_safetensors_header(path)[0] for name, path in shard_paths(folder, weight_map).items()}
    for tensor, shard in weight_map.items():
        if tensor not in shards[shard]:
            raise CheckpointError(f"the index of {str(folder)!r} says {tensor!r} is in {shard!r}, and it is not")
    return {tensor: shards[shard][tensor] for tensor, shard in weight_map.items()}


def read_safetensors_header(path: Path) -> tuple[dict[str, TensorRecord], dict[str, str]]:
    """Return the tensors of a safetensors file by name, and its metadata, without reading the tensors.

    Raises:
        FileFormatError: the file is truncated, its header is not one, or its tensors overlap or leave gaps.
    """
    header, start, size = _read_header(path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise FileFormatError(f"{str(path)!r} has a corrupt safetensors header: __metadata__ is no JSON object")
    records = {name: _record(path, name, entry, start, size) for name, entry in header.items()}
    _check_cover(path, records, start, size)
    return records, {str(key): str(value) for key, value in cast("dict[Any, Any]", metadata).items()}


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """Return the header of a safetensors file, the byte at which it ends, and how many there are."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _MAX_HEADER + 1
        if length > min(_MAX_HEADER, size - 8):
            raise FileFormatError(f"{str(path)!r} is no safetensors file, or is cut off in its header ({size} bytes)")
        text = file.read(length)
    try:
        header: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{str(path)!r} has a corrupt safetensors header: {error}") from None
    if not isinstance(header, dict):
        raise FileFormatError(f"{str(path)!r} has a corrupt safetensors header: not a JSON object")
    return cast("dict[str, Any]", header), 8 + length, size


def _record(path: Path, name: str, entry: Any, base: int, size: int) -> TensorRecord:
    try:
        dtype, shape, start, stop = _entry(entry)
        bits = DTYPE_BITS[dtype]
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{str(path)!r} describes tensor {name!r} wrongly ({error!r})") from None
    expected = math.prod(shape) * bits // 8
    if stop - start != expected:
        raise FileFormatError(
            f"{str(path)!r} gives tensor {name!r} {stop - start} bytes, and {dtype} of shape {shape} takes {expected}"
        )
    if base + stop > size:
        raise FileFormatError(f"{str(path)!r} is truncated: {name!r} ends at byte {base + stop}, the file at {size}")
    return TensorRecord(path, dtype, shape, base + start, base + stop)


def _entry(entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Take a header's entry apart; a bool, a fraction or a number beyond 64 bits is no size."""
    dtype, shape, (start, stop) = entry["dtype"], list(entry["shape"]), entry["data_offsets"]
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, start, stop)):
        raise ValueError(f"shape {shape} and data_offsets {[start, stop]} should be whole numbers from 0")
    if len(shape) > _MAX_AXES:
        raise ValueError(f"{len(shape)} axes, more than {_MAX_AXES}")
    return dtype, tuple(shape), start, stop


def _check_cover(path: Path, records: Mapping[str, TensorRecord], start: int, size: int) -> None:
    """Hold the format's rule that the tensors, one after the other, are all that follows the header."""
    for name, record in sorted(records.items(), key=lambda item: (item[1].start, item[1].stop)):
        if record.start != start:
            raise FileFormatError(
                f"{str(path)!r} is corrupt: tensor {name!r} should start at byte {start}, and starts at {record.start}"
            )
        start = record.stop
    if start != size:
        raise FileFormatError(f"{str(path)!r} is corrupt: its tensors end at byte {start}, the file at {size}")


# -- writing ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_path(target: Path, *, forced: bool = True) -> Generator[Path, None, None]:
    """Give a temporary path beside `target` that replaces it when the block ends well, and vanishes when it fails.

    With `forced`, the bytes are on the disk before: not even a power failure leaves half a file.
    """
    if not target.parent.is_dir():
        raise CheckpointNotFoundError(f"there is no folder {str(target.parent)!r} to write {target.name!r} into")
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if forced:
            _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
