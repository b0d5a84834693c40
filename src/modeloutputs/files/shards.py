"""Writes weights as safetensors, in one file or in shards with an index; the whole checkpoint appears or nothing."""

import contextlib
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .atomic import atomic_path
from .checkpoints import SAFETENSORS, SAFETENSORS_INDEX
from .safetensors import nbytes, write_safetensors

__all__ = ["save_weights"]

# What may be removed when it is stale. Other files whose names begin with "model" are somebody else's.
_WRITTEN_HERE = re.compile(r"model(-\d{5}-of-\d{5}(-[0-9a-f]{8})?)?\.safetensors|model\.safetensors\.index\.json")


def save_weights(tensors: Mapping[str, Any], folder: Path, max_shard_size: int, framework: str = "pt") -> None:
    """Write arrays of any framework into a folder, as one safetensors file or as shards with an index.

    Weight files of an earlier checkpoint are removed last, so that a failure leaves it readable. Arrays are written one
    after the other: of those on a device, or not contiguous, one at a time is copied.

    Args:
        tensors: the weights by the names that they have in checkpoints.
        folder: created if it does not exist.
        max_shard_size: bytes of tensors in one file; a larger tensor has a file of its own.
        framework: how other libraries read the file: "pt", "flax" or "tf".

    Raises:
        InputError: the format lacks a tensor's dtype.
        OSError: a file cannot be written.

    Examples:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> weights = {"a": np.zeros(2), "b": np.zeros(2)}
        >>> with TemporaryDirectory() as folder:
        ...     save_weights(weights, Path(folder), max_shard_size=16)
        ...     print(*sorted(path.name for path in Path(folder).iterdir()), sep=chr(10))
        model-00001-of-00002.safetensors
        model-00002-of-00002.safetensors
        model.safetensors.index.json
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _split(tensors, max_shard_size)
    names = [SAFETENSORS] if len(shards) == 1 else _shard_names(folder, len(shards))
    with contextlib.ExitStack() as stack:
        # All files are complete before the first replaces an old one; the index, entered first, is replaced last.
        if len(shards) > 1:
            index = stack.enter_context(atomic_path(folder / SAFETENSORS_INDEX))
            index.write_text(_index(names, shards), encoding="utf-8")
        for name, shard in zip(names, shards, strict=True):
            write_safetensors(stack.enter_context(atomic_path(folder / name)), shard, {"format": framework})
    _remove_stale(folder, {*names, *([SAFETENSORS_INDEX] if len(shards) > 1 else [])})


def _split(tensors: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    shards: list[dict[str, Any]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + nbytes(name, tensor) > limit:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += nbytes(name, tensor)
    return shards


def _shard_names(folder: Path, count: int) -> list[str]:
    """Return the customary names, with a tag if one exists already: the old index needs the old shards to the last."""
    names = [f"model-{i:05d}-of-{count:05d}" for i in range(1, count + 1)]
    tag = f"-{secrets.token_hex(4)}" if any((folder / f"{name}.safetensors").exists() for name in names) else ""
    return [f"{name}{tag}.safetensors" for name in names]


def _index(names: list[str], shards: list[dict[str, Any]]) -> str:
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    total = sum(nbytes(name, tensor) for shard in shards for name, tensor in shard.items())
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2, sort_keys=True) + "\n"


def _remove_stale(folder: Path, current: set[str]) -> None:
    for path in folder.iterdir():
        if _WRITTEN_HERE.fullmatch(path.name) and path.name not in current:
            path.unlink()
