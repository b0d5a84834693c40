"""Reads pytorch_model.bin with PyTorch, which restores tensors alone and runs nothing that is pickled beside them."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor

from .errors import CheckpointNotFoundError, FileFormatError, first_line
from .files.checkpoints import read_index, shard_paths, variant_name
from .files.folders import describe_missing_weights
from .files.git_lfs import check_not_lfs_pointer

__all__ = ["read_pickled"]


def read_pickled(folder: Path, variant: str | None) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of pytorch_model.bin, or of its shards, by their names there; on the CPU.

    Args:
        folder: of the checkpoint.
        variant: part of the names of the files.

    Raises:
        CheckpointNotFoundError: there is no such file, or a shard is missing.
        FileFormatError: a file is truncated, corrupt, or holds more than tensors.
    """
    names = ("pytorch_model.bin", "pytorch_model.bin.index.json")
    single, index = (folder / variant_name(name, variant) for name in names)
    if single.is_file():
        paths: Iterable[Path] = [single]
    elif index.is_file():
        paths = shard_paths(folder, read_index(index)).values()
    else:
        raise CheckpointNotFoundError(describe_missing_weights(folder, variant))
    storages: set[int] = set()
    for path in paths:
        for name, tensor in _load_tensors(path).items():
            # Tensors of one storage, as tied weights are saved, would train each other's parameters.
            yield name, tensor.clone() if tensor.untyped_storage().data_ptr() in storages else tensor
            storages.add(tensor.untyped_storage().data_ptr())


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  # a corrupt pickle raises whatever its opcodes come across
        check_not_lfs_pointer(path)
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else first_line(error)
        raise FileFormatError(
            f"{str(path)!r} is corrupt or holds more than tensors, and was not run: {reason}"
        ) from None
    found = next((inner for inner in _candidates(content) if _is_state_dict(inner)), None)
    if found is None:
        kind = type(content).__name__
        raise FileFormatError(f"{str(path)!r} should map names to tensors, and holds something else, a {kind}")
    return found


def _candidates(content: Any) -> Iterator[Any]:
    """Yield what was saved, and what training loops call the state dict in what they save."""
    yield content
    if isinstance(content, dict):
        saved = cast("dict[Any, Any]", content)
        yield from (saved[name] for name in ("state_dict", "model_state_dict", "model", "module") if name in saved)


def _is_state_dict(content: Any) -> TypeGuard[dict[str, Tensor]]:
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in cast("dict[Any, Any]", content).items()
    )
