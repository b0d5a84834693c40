"""Finds, reads and writes checkpoints: a folder or a hub id; safetensors in one file or in shards. No framework.

A safetensors file is 8 bytes of header length, a JSON header with each tensor's dtype, shape and byte range, and the
bytes. It is read here, not through the safetensors library, so that each tensor's bytes go from the file straight
into memory that the framework allocated: peak memory is the weights themselves, where a memory map counts twice.
"""

import contextlib
import json
import math
import os
import re
import struct
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .errors import CheckpointError, CheckpointNotFoundError, FileFormatError, MissingDependencyError

__all__ = [
    "SAFETENSORS",
    "SAFETENSORS_INDEX",
    "TensorRecord",
    "atomic_path",
    "find_checkpoint",
    "inside",
    "read_into",
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
_MAX_HEADER = 100_000_000  # bytes; the safetensors format's own limit


# -- finding ------------------------------------------------------------------------------------------------------


def find_checkpoint(name_or_path: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Return the folder of a checkpoint: the folder named, else the hub's id of that name, fetched or from its cache.

    Raises:
        CheckpointNotFoundError: there is no such folder, and no such id can be had from the hub.
        MissingDependencyError: it could be a hub id, and huggingface-hub is not installed.
    """
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise CheckpointNotFoundError(f"{str(folder)!r} is a file; pass the folder that holds config.json and weights")
    name = os.fspath(name_or_path)
    if not _HUB_ID.fullmatch(name):
        raise CheckpointNotFoundError(f"there is no folder {name!r}, and it cannot be a hub id like 'owner/name'")
    return _from_hub(name, revision)


def _from_hub(name: str, revision: str | None) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise MissingDependencyError(
            f"there is no folder {name!r}; to load it as a hub id, install modeloutputs[hub]"
        ) from None
    patterns = ["*.json", "*.txt", "*.safetensors"]
    try:
        folder = Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns))
        if not any(folder.glob("*.safetensors")):
            patterns.append("pytorch_model*.bin")
            folder = Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointNotFoundError(
            f"there is no folder {name!r} here, and no such checkpoint could be had from the hub ({reason})"
        ) from None
    return folder


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that another file names, refusing one that leads out of the folder.

    Raises:
        CheckpointError: the name is absolute or climbs out.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name:
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
    except FileNotFoundError:
        raise CheckpointNotFoundError(f"{str(path.parent)!r} has no {path.name}; is it a checkpoint folder?") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
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
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in cast("dict[str, Any]", weight_map).values()):
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
        FileFormatError: the file is truncated, or its header is not one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _MAX_HEADER + 1
        if length > min(_MAX_HEADER, size - 8):
            raise FileFormatError(f"{str(path)!r} is no safetensors file, or is cut off in its header ({size} bytes)")
        text = file.read(length)
    try:
        header: Any = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileFormatError(f"{str(path)!r} has a corrupt safetensors header: {error}") from None
    if not isinstance(header, dict):
        raise FileFormatError(f"{str(path)!r} has a corrupt safetensors header: not a JSON object")
    header = cast("dict[str, Any]", header)
    metadata = header.pop("__metadata__", {})
    records = {name: _record(path, name, entry, 8 + length, size) for name, entry in header.items()}
    return records, {str(key): str(value) for key, value in cast("dict[Any, Any]", metadata).items()}


def _record(path: Path, name: str, entry: Any, base: int, size: int) -> TensorRecord:
    try:
        dtype, shape, (start, stop) = entry["dtype"], tuple(map(int, entry["shape"])), map(int, entry["data_offsets"])
        expected = math.prod(shape) * DTYPE_BITS[dtype] // 8
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{str(path)!r} describes tensor {name!r} wrongly ({error!r})") from None
    if min(shape, default=0) < 0 or start < 0 or stop - start != expected:
        raise FileFormatError(
            f"{str(path)!r} gives tensor {name!r} {stop - start} bytes, and {dtype} of shape {shape} takes {expected}"
        )
    if base + stop > size:
        raise FileFormatError(f"{str(path)!r} is truncated: {name!r} ends at byte {base + stop}, the file at {size}")
    return TensorRecord(path, dtype, shape, base + start, base + stop)


def read_into(record: TensorRecord, buffer: memoryview) -> None:
    """Read a tensor's bytes into memory of exactly that size.

    Raises:
        FileFormatError: the file ended early; it was cut off since its header was read.
    """
    with record.path.open("rb", buffering=0) as file:
        file.seek(record.start)
        done = 0
        while done < len(buffer):
            count = file.readinto(buffer[done:])
            if not count:
                raise FileFormatError(f"{str(record.path)!r} ended while it was read, at byte {record.start + done}")
            done += count


# -- writing ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target` that replaces it when the block ends well, and vanishes when it fails."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the bytes on disk before the name points to them: a crash leaves the old file or the new one."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
