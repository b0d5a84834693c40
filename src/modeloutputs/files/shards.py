"""Writes weights as safetensors, in one file or in shards with an index; the whole checkpoint appears or nothing."""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, ModelOutputsError
from .checkpoints import SAFETENSORS, SAFETENSORS_INDEX, read_index, variant_name
from .replacing import Replacement, replace_together
from .safetensors import nbytes, write_safetensors

__all__ = ["parse_size", "save_weights", "split_weights", "stale_weights", "write_weights"]

# What may be removed when it is stale, whatever else an index names; the last part, earlier versions wrote.
_SHARD = re.compile(r"model(\.\w+)?-\d{5}-of-\d{5}(-[0-9a-f]{8})?\.safetensors")


def save_weights(tensors: Mapping[str, Any], folder: Path, max_shard_size: int, framework: str = "pt") -> None:
    """Write arrays of any framework into a folder, as one safetensors file or as shards with an index.

    Files of an earlier checkpoint are replaced together, see `replace_together`. Arrays are written one after the
    other: of those on a device, or not contiguous, one at a time is copied.

    Args:
        tensors: the weights by the names that they have in checkpoints.
        folder: created if it does not exist.
        max_shard_size: bytes of tensors in one file; a larger tensor has a file of its own.
        framework: how other libraries read the file: "pt", "flax" or "tf".

    Raises:
        InputError: the format lacks a tensor's dtype.
        FileWriteError: a file cannot be written.

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
    with replace_together(folder, last=[SAFETENSORS_INDEX], stale=stale_weights) as files:
        write_weights(files, tensors, max_shard_size, framework)


def write_weights(
    files: Replacement,
    tensors: Mapping[str, Any],
    max_shard_size: int,
    framework: str = "pt",
    *,
    variant: str | None = None,
) -> None:
    """Write weights among the files of a folder that are replaced together; see `save_weights` and `variant_name`."""
    shards = split_weights(tensors, max_shard_size)
    names = [variant_name(SAFETENSORS, variant)] if len(shards) == 1 else _shard_names(len(shards), variant)
    for name, shard in zip(names, shards, strict=True):
        write_safetensors(files.path(name), shard, {"format": framework})
    if len(shards) > 1:
        files.write_text(variant_name(SAFETENSORS_INDEX, variant), _index(names, shards))


def stale_weights(folder: Path, written: Collection[str], variant: str | None = None) -> set[str]:
    """Return which weight files of an earlier checkpoint end with it: its index, the shards that this names, the whole.

    Args:
        folder: of the checkpoint.
        written: names of the new files.
        variant: of both checkpoints.
    """
    whole, index = variant_name(SAFETENSORS, variant), folder / variant_name(SAFETENSORS_INDEX, variant)
    try:
        named = set(read_index(index).values()) if index.is_file() else set[str]()
    except ModelOutputsError:  # what a broken index meant cannot be known
        named = set[str]()
    shards = {name for name in named if _SHARD.fullmatch(name)}
    return {whole, index.name, *shards} - {*written}


def parse_size(size: int | str) -> int:
    """Return a size in bytes, which may be given as a text like "200MB" or "5GiB".

    Raises:
        InputError: not a positive size.

    Examples:
        >>> parse_size("5GB"), parse_size("1KiB"), parse_size(10)
        (5000000000, 1024, 10)
    """
    units = {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9, "B": 1}
    count = size
    if isinstance(size, str):
        text = size.strip().upper()
        unit = next((unit for unit in units if text.endswith(unit)), "")
        number = text.removesuffix(unit).strip()
        count = int(number) * units[unit] if unit and number.isascii() and number.isdecimal() else 0
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise InputError(f"max_shard_size is {size!r}; expected bytes, or a text like '200MB' or '5GB'")
    return count


def split_weights(tensors: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    """Return the tensors of each file, at most `limit` bytes or one tensor each."""
    shards: list[dict[str, Any]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + nbytes(name, tensor) > limit:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += nbytes(name, tensor)
    return shards


def _shard_names(count: int, variant: str | None) -> list[str]:
    stem = variant_name(SAFETENSORS, variant).removesuffix(".safetensors")
    return [f"{stem}-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]


def _index(names: list[str], shards: list[dict[str, Any]]) -> str:
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    total = sum(nbytes(name, tensor) for shard in shards for name, tensor in shard.items())
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2, sort_keys=True) + "\n"
