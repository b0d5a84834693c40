"""Moves weights between checkpoint files and modules, by one table of names that is read in both directions."""

import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ..checkpoints import TensorRecord, read_index, read_into, read_weight_map, shard_paths
from ..errors import CheckpointError, CheckpointNotFoundError, FileFormatError

__all__ = ["DTYPES", "Rename", "WeightSource", "checkpoint_names", "export_weights", "import_weights", "open_weights"]

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "BOOL": torch.bool, "C64": torch.complex64,
}  # fmt: skip


@dataclass(frozen=True)
class Rename:
    """A part of a parameter's path that checkpoints spell otherwise.

    `theirs` holds several spellings where several of their tensors, stacked along the first axis, are one of ours.
    `fallback` is another spelling to read where the first is absent; it is never written.
    """

    ours: str
    theirs: tuple[str, ...]
    fallback: tuple[str, ...] = ()


def checkpoint_names(name: str, renames: Iterable[Rename], *, fallback: bool = False) -> tuple[str, ...]:
    """Return the names that a parameter of ours has in checkpoints: several where it is a stack of theirs."""
    names = (name,)
    for rename in renames:
        pattern = rf"(?<![^.]){re.escape(rename.ours)}(?![^.])"
        spellings = rename.fallback if fallback and rename.fallback else rename.theirs
        if re.search(pattern, name):
            names = tuple(re.sub(pattern, spelling, name) for spelling in spellings)
            break
    return names


# -- where weights come from ----------------------------------------------------------------------------------------


class WeightSource(Protocol):
    """The tensors of one checkpoint, by their names there."""

    def names(self) -> Iterable[str]:
        """Return all names."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        ...

    def dtype(self, name: str) -> torch.dtype:
        """Return a tensor's dtype."""
        ...

    def copy_to(self, name: str, target: Tensor) -> None:
        """Fill `target`, contiguous and of the tensor's shape, converting to its dtype."""
        ...


@dataclass(frozen=True)
class _SafetensorsSource:
    records: Mapping[str, TensorRecord]

    def names(self) -> Iterable[str]:
        return self.records

    def shape(self, name: str) -> tuple[int, ...]:
        return self.records[name].shape

    def dtype(self, name: str) -> torch.dtype:
        return DTYPES[self.records[name].dtype]

    def copy_to(self, name: str, target: Tensor) -> None:
        dtype = self.dtype(name)
        buffer = target if target.dtype == dtype else torch.empty(target.shape, dtype=dtype)
        if buffer.numel():
            read_into(self.records[name], memoryview(buffer.detach().reshape(-1).view(torch.uint8).numpy()))
        if buffer is not target:
            target.copy_(buffer)


@dataclass(frozen=True)
class _StateDictSource:
    tensors: Mapping[str, Tensor]

    def names(self) -> Iterable[str]:
        return self.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        return self.tensors[name].dtype

    def copy_to(self, name: str, target: Tensor) -> None:
        target.copy_(self.tensors[name])


def open_weights(folder: Path) -> WeightSource:
    """Find a checkpoint's weights: safetensors, whole or in shards, else the older pytorch_model.bin.

    Raises:
        CheckpointNotFoundError: there are none, or a shard is missing.
        FileFormatError: a file is truncated, corrupt, or holds more than tensors.
    """
    records = read_weight_map(folder)
    if records is not None:
        return _SafetensorsSource(records)
    return _StateDictSource(dict(_read_pickled(folder)))


def _read_pickled(folder: Path) -> Iterator[tuple[str, Tensor]]:
    single, index = folder / "pytorch_model.bin", folder / "pytorch_model.bin.index.json"
    if single.is_file():
        paths: Iterable[Path] = [single]
    elif index.is_file():
        paths = shard_paths(folder, read_index(index)).values()
    else:
        raise CheckpointNotFoundError(
            f"{str(folder)!r} has no weights: neither model.safetensors, nor its index, nor pytorch_model.bin"
        )
    for path in paths:
        yield from _load_tensors(path).items()


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FileFormatError(f"{str(path)!r} is corrupt or holds more than tensors, and was not run: {reason}") from None
    if not isinstance(content, dict) or not all(
        isinstance(value, Tensor) for value in cast("dict[Any, Any]", content).values()
    ):
        raise FileFormatError(f"{str(path)!r} should map names to tensors, and holds {type(content).__name__}")
    return cast("dict[str, Tensor]", content)


# -- into and out of a module ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imported:
    """What became of a checkpoint's names: parameters of ours it lacks, and names of its that were not used."""

    missing: list[str]
    unexpected: list[str]


def import_weights(
    module: nn.Module,
    source: WeightSource,
    renames: Iterable[Rename],
    base_prefix: str,
    dtype: torch.dtype,
    device: torch.device,
) -> Imported:
    """Give a module that was built on the meta device the weights of a checkpoint.

    Shapes of all tensors are held against the module before the first is read. Parameters that the checkpoint lacks
    get memory, whose contents are the caller's to set.

    Raises:
        CheckpointError: a tensor's shape is not the parameter's.
        FileFormatError: a tensor cannot be read in full.
    """
    names = _StoredNames(source, base_prefix, hasattr(module, base_prefix))
    found: dict[str, list[str] | None] = {}
    for name, parameter in module.named_parameters():
        found[name] = names.find(name, renames)
        _check_shapes(name, parameter, source, found[name])
    for name, stored in found.items():
        _materialise(module, name, source, stored, dtype, device)
    used = {name for stored in found.values() if stored is not None for name in stored}
    return Imported([name for name, stored in found.items() if stored is None], sorted(set(source.names()) - used))


class _StoredNames:
    """Finds a parameter in a checkpoint whatever it calls it: with the base model's prefix or without, `gamma`."""

    def __init__(self, source: WeightSource, base_prefix: str, has_base: bool) -> None:
        self._stored = {_modern(name): name for name in source.names()}
        self._prefix = f"{base_prefix}."
        self._has_base = has_base
        self._prefixed = any(name.startswith(self._prefix) for name in self._stored)

    def find(self, name: str, renames: Iterable[Rename]) -> list[str] | None:
        for fallback in (False, True):
            keys = [self._key(key) for key in checkpoint_names(name, renames, fallback=fallback)]
            if all(key in self._stored for key in keys):
                return [self._stored[key] for key in keys]
        return None

    def _key(self, name: str) -> str:
        if self._prefixed and not self._has_base:
            return self._prefix + name
        return name if self._prefixed else name.removeprefix(self._prefix)


def _modern(name: str) -> str:
    """The first BERT checkpoints call a normalisation's weight and bias gamma and beta."""
    return re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name))


def _check_shapes(name: str, parameter: Tensor, source: WeightSource, stored: list[str] | None) -> None:
    if stored is None:
        return
    expected = (parameter.shape[0] // len(stored), *parameter.shape[1:])
    for key in stored:
        if source.shape(key) != expected:
            raise CheckpointError(
                f"the checkpoint's {key!r} has shape {source.shape(key)}, and this model's {name!r} needs {expected}; "
                "is the configuration this checkpoint's (num_labels, sizes)?"
            )


def _materialise(
    module: nn.Module, name: str, source: WeightSource, stored: list[str] | None, dtype: torch.dtype, device: torch.device
) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    tensor = torch.empty(getattr(owner, leaf).shape, dtype=dtype, device="cpu" if stored else device)
    for key, part in zip(stored or (), tensor.chunk(len(stored or "1")), strict=False):
        source.copy_to(key, part)
    setattr(owner, leaf, nn.Parameter(tensor.to(device), requires_grad=getattr(owner, leaf).requires_grad))


def export_weights(module: nn.Module, renames: Iterable[Rename]) -> dict[str, Tensor]:
    """Return a module's weights on the CPU under the names that checkpoints use."""
    exported: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        names = checkpoint_names(name, renames)
        exported.update(zip(names, parameter.detach().cpu().contiguous().chunk(len(names)), strict=True))
    return exported
