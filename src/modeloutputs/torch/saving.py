"""Writes weights as safetensors, in one file or in shards with an index; each file appears whole or not at all."""

import contextlib
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from ..files.checkpoints import SAFETENSORS, SAFETENSORS_INDEX, atomic_path

__all__ = ["save_weights"]

# What may be removed when it is stale. Other files that begin with "model" are somebody's.
_WRITTEN_HERE = re.compile(r"model(-\d{5}-of-\d{5}(-[0-9a-f]{8})?)?\.safetensors|model\.safetensors\.index\.json")


def save_weights(tensors: Mapping[str, Tensor], folder: Path, max_shard_size: int) -> None:
    """Write tensors into a folder, in files of at most `max_shard_size` bytes where one tensor does not exceed it.

    Weight files that were there and are not part of what was written now are removed last, so that a failure leaves
    the old checkpoint readable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _shards(tensors, max_shard_size)
    names = [SAFETENSORS] if len(shards) == 1 else _shard_names(folder, len(shards))
    with contextlib.ExitStack() as written:
        # All are complete before the first takes its place, and the index, entered first, takes its place last.
        if len(shards) > 1:
            index = written.enter_context(atomic_path(folder / SAFETENSORS_INDEX))
            index.write_text(_index(names, shards), encoding="utf-8")
        for name, shard in zip(names, shards, strict=True):
            save_file(shard, written.enter_context(atomic_path(folder / name)), metadata={"format": "pt"})
    kept = {*names, *([SAFETENSORS_INDEX] if len(shards) > 1 else [])}
    for old in folder.iterdir():
        if _WRITTEN_HERE.fullmatch(old.name) and old.name not in kept:
            old.unlink()


def _shard_names(folder: Path, count: int) -> list[str]:
    """Name the shards as everyone does, but as none that is there: the old index must find the old ones to the last."""
    names = [f"model-{i:05d}-of-{count:05d}" for i in range(1, count + 1)]
    tag = f"-{secrets.token_hex(4)}" if any((folder / f"{name}.safetensors").exists() for name in names) else ""
    return [f"{name}{tag}.safetensors" for name in names]


def _shards(tensors: Mapping[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def _index(names: list[str], shards: list[dict[str, Tensor]]) -> str:
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    total = sum(tensor.nbytes for shard in shards for tensor in shard.values())
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2, sort_keys=True) + "\n"
