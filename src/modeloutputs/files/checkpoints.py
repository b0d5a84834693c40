"""Checkpoint folders: finds one by path or hub id, reads its JSON files, maps its weights. Imports no framework."""

import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ..errors import CheckpointError, CheckpointNotFoundError, FileFormatError, MissingDependencyError, first_line
from .git_lfs import check_not_lfs_pointer
from .replacing import finish_replacing
from .safetensors import MappedTensor, map_safetensors

__all__ = [
    "SAFETENSORS",
    "SAFETENSORS_INDEX",
    "find_checkpoint",
    "map_checkpoint",
    "read_index",
    "read_json",
    "resolve_within",
    "shard_paths",
    "variant_name",
]

SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ("*.json", "*.txt", "*.jinja", "tokenizer.model")


# -- finding ------------------------------------------------------------------------------------------------------


def find_checkpoint(
    name_or_path: str | os.PathLike[str],
    revision: str | None = None,
    *,
    weights: bool = True,
    subfolder: str = "",
    older: Sequence[str] = ("pytorch_model*.bin",),
) -> Path:
    """Return the folder of a checkpoint: a local folder, else one of the hub, from its cache or fetched.

    A save into the folder that was interrupted is finished, see `files.replacing`.

    Args:
        name_or_path: folder or hub id.
        revision: branch, tag or commit, of a hub id.
        weights: whether to fetch the weights too, gigabytes that configurations and tokenizers do not need.
        subfolder: where in the folder or hub id the checkpoint lies.
        older: patterns of weight files to fetch where there are no safetensors files: the first that finds any.

    Raises:
        CheckpointNotFoundError: there is no such folder, and the hub's checkpoint cannot be fetched.
        CheckpointError: an interrupted save into the folder cannot be finished, or the subfolder leads out of it.
        MissingDependencyError: it could be a hub id, and huggingface-hub is not installed.

    Examples:
        >>> Path("checkpoint").mkdir()
        >>> find_checkpoint("checkpoint").name
        'checkpoint'
    """
    name, folder = os.fspath(name_or_path), Path(name_or_path)
    if name and folder.is_dir():
        folder = _subfolder(folder, subfolder)
        finish_replacing(folder)
        return folder
    if folder.is_file():
        raise CheckpointNotFoundError(f"{str(folder)!r} is a file; pass the folder that holds config.json and weights")
    if not _HUB_ID.fullmatch(name):
        raise CheckpointNotFoundError(f"there is no folder {name!r}, and it cannot be a hub id like 'owner/name'")
    return _from_hub(name, revision, ["*.safetensors", *older] if weights else [], subfolder)


def _subfolder(folder: Path, name: str) -> Path:
    found = resolve_within(folder, name) if name else folder
    if not found.is_dir():
        raise CheckpointNotFoundError(f"{str(folder)!r} has no subfolder {name!r}")
    if name and not found.resolve().is_relative_to(folder.resolve()):
        raise CheckpointError(f"the subfolder {name!r} of {str(folder)!r} is a link that leads out; it is not followed")
    return found


def _from_hub(name: str, revision: str | None, weights: Sequence[str], subfolder: str) -> Path:
    folder = _fetch(name, revision, (*_HUB_FILES, *weights[:1]), subfolder)
    for pattern, following in itertools.pairwise(weights):
        if any(folder.glob(pattern)):
            break
        folder = _fetch(name, revision, (*_HUB_FILES, following), subfolder)
    return folder


def _fetch(name: str, revision: str | None, patterns: tuple[str, ...], subfolder: str) -> Path:
    """Fetch the files that match these patterns, except those in subfolders of the one asked for."""
    inside = f"{subfolder.strip('/')}/" if subfolder else ""
    wanted = [f"{inside}{pattern}" for pattern in patterns]
    try:
        from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    except ImportError:
        raise MissingDependencyError(
            f"there is no folder {name!r}; to load it as a hub id, install modeloutputs[hub]"
        ) from None
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=[f"{inside}*/*"])
    except Exception as error:  # noqa: BLE001  # its own errors, and those of whichever HTTP library it uses
        raise CheckpointNotFoundError(
            f"there is no folder {name!r} here, and it could not be fetched from the hub ({first_line(error)})"
        ) from None
    return _subfolder(Path(folder), subfolder)


def resolve_within(folder: Path, name: str) -> Path:
    """Return the path of a file that another file names, refusing one that leads out of the folder.

    Raises:
        CheckpointError: the name is absolute or leads out.

    Examples:
        >>> resolve_within(Path("checkpoint"), "model.safetensors").as_posix()
        'checkpoint/model.safetensors'
        >>> resolve_within(Path("checkpoint"), "../secret")
        Traceback (most recent call last):
        modeloutputs.errors.CheckpointError: 'checkpoint' names a file outside itself, '../secret'; it is not followed
    """
    if Path(name).anchor or ".." in Path(name).parts or "\\" in name:
        raise CheckpointError(f"{str(folder)!r} names a file outside itself, {name!r}; it is not followed")
    return folder / name


# -- reading ------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointNotFoundError: there is no such file.
        FileFormatError: it is not JSON, not an object, not a regular file, or cannot be read.

    Examples:
        >>> _ = Path("config.json").write_text('{"model_type": "bert"}')
        >>> read_json(Path("config.json"))
        {'model_type': 'bert'}
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FileFormatError(f"{str(path)!r} is a device, pipe or socket, and is not read; expected a JSON file")
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise CheckpointNotFoundError(f"{str(path.parent)!r} has no {path.name}; is it a checkpoint folder?") from None
    except OSError as error:  # no permission, a link that leads to itself
        raise FileFormatError(f"{str(path)!r} cannot be read: {error.strerror or first_line(error)}") from None
    except (ValueError, RecursionError) as error:
        check_not_lfs_pointer(path)
        raise FileFormatError(f"{str(path)!r} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise FileFormatError(f"{str(path)!r} should hold a JSON object, and holds a {type(content).__name__}")
    return cast("dict[str, Any]", content)


def variant_name(name: str, variant: str | None) -> str:
    """Return the name of a variant's weight file or index.

    Examples:
        >>> variant_name(SAFETENSORS, "fp16"), variant_name(SAFETENSORS_INDEX, "fp16")
        ('model.fp16.safetensors', 'model.safetensors.index.fp16.json')
    """
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.{variant}{dot}{suffix}" if variant else name


def map_checkpoint(folder: Path, variant: str | None = None) -> dict[str, MappedTensor] | None:
    """Map a checkpoint's safetensors files and return their tensors by name, or None if it has no such file.

    Raises:
        CheckpointError: the index names a shard that is missing or lies outside the folder, or a tensor that its
            shard does not hold.
        FileFormatError: a file is truncated or corrupt.
    """
    single, index = (folder / variant_name(name, variant) for name in (SAFETENSORS, SAFETENSORS_INDEX))
    if single.is_file():
        return map_safetensors(single).tensors
    if not index.is_file():
        return None
    return _map_shards(folder, read_index(index))


def read_index(path: Path) -> dict[str, str]:
    """Read an index file: the name of each tensor's shard.

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
    paths = {name: resolve_within(folder, name) for name in dict.fromkeys(weight_map.values())}
    missing = [_shown(name) for name, path in paths.items() if not _is_file(path)]
    if missing:
        raise CheckpointNotFoundError(
            f"{str(folder)!r} lacks {len(missing)} of the {len(paths)} shards its index names: {', '.join(missing[:5])}"
        )
    return paths


def _shown(name: str) -> str:
    return name[:60] if name.isprintable() else ascii(name[:60])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that the file system cannot have
        return False


def _map_shards(folder: Path, weight_map: Mapping[str, str]) -> dict[str, MappedTensor]:
    shards = {name: map_safetensors(path).tensors for name, path in shard_paths(folder, weight_map).items()}
    for tensor, shard in weight_map.items():
        if tensor not in shards[shard]:
            raise CheckpointError(f"the index of {str(folder)!r} says that {tensor!r} is in {shard!r}, and it is not")
    return {tensor: shards[shard][tensor] for tensor, shard in weight_map.items()}
