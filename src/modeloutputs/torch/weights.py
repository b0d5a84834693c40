"""Moves weights between checkpoint files and modules, by one table of names that is read in both directions."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, CheckpointNotFoundError, FileFormatError, first_line
from ..files.checkpoints import map_checkpoint, read_index, shard_paths
from ..files.git_lfs import check_not_lfs_pointer
from ..files.safetensors import MappedTensor

__all__ = [
    "DTYPES",
    "Rename",
    "WeightSource",
    "checkpoint_names",
    "export_weights",
    "import_weights",
    "is_copy",
    "open_weights",
]

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    **({"F8_E8M0": torch.float8_e8m0fnu} if hasattr(torch, "float8_e8m0fnu") else {}),  # since PyTorch 2.7
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "BOOL": torch.bool, "C64": torch.complex64,
}  # fmt: skip


@dataclass(frozen=True)
class Rename:
    """A part of a parameter's path that checkpoints spell otherwise.

    `theirs` holds several spellings where several of their tensors, stacked along the first axis, are one of ours: of
    equal sizes, or of those that our layer names as its `parts`. `fallback` is another spelling to read where the
    first is absent; it is never written. `transposed` says that their matrices are (in, out), and ours (out, in).
    """

    ours: str
    theirs: tuple[str, ...]
    fallback: tuple[str, ...] = ()
    transposed: bool = False

    def matches(self, name: str) -> bool:
        """Whether a parameter's path has this part."""
        return re.search(self._pattern, name) is not None

    def spell(self, name: str, spelling: str) -> str:
        """Return a path with this part spelled otherwise."""
        return re.sub(self._pattern, spelling, name)

    @property
    def _pattern(self) -> str:
        return rf"(?<![^.]){re.escape(self.ours)}(?![^.])"


def _rename_of(name: str, renames: Iterable[Rename]) -> Rename | None:
    return next((rename for rename in renames if rename.matches(name)), None)


def checkpoint_names(name: str, renames: Iterable[Rename], *, fallback: bool = False) -> tuple[str, ...]:
    """Return the names that a parameter of ours has in checkpoints: several where it is a stack of theirs."""
    rename = _rename_of(name, renames)
    if rename is None:
        return (name,)
    spellings = rename.fallback if fallback and rename.fallback else rename.theirs
    return tuple(rename.spell(name, spelling) for spelling in spellings)


# -- where weights come from ----------------------------------------------------------------------------------------

WeightSource = Mapping[str, Tensor]
"""The tensors of one checkpoint on the CPU, by their names there; those of safetensors files are memory maps."""


def is_copy(source: WeightSource, name: str, original: str) -> bool:
    """Say whether a checkpoint repeats the values of `original` under `name`, as older files do of tied weights."""
    return original in source and torch.equal(source[name], source[original])


def open_weights(folder: Path) -> WeightSource:
    """Find a checkpoint's weights: safetensors, whole or in shards, else the older pytorch_model.bin.

    Raises:
        CheckpointNotFoundError: there are none, or a shard is missing.
        FileFormatError: a file is truncated, corrupt, or holds more than tensors.
    """
    mapped = map_checkpoint(folder)
    if mapped is not None:
        return {name: _view(tensor) for name, tensor in mapped.items()}
    return dict(_read_pickled(folder))


def _view(mapped: MappedTensor) -> Tensor:
    """Return a tensor with a storage of its own: where one spans the file, `torch.save` of any tensor writes it all."""
    if mapped.dtype not in DTYPES:
        raise FileFormatError(f"{str(mapped.path)!r} holds {mapped.dtype}, which this version of PyTorch lacks")
    dtype = DTYPES[mapped.dtype]
    if not mapped.nbytes:
        return torch.empty(mapped.shape, dtype=dtype, device="cpu")
    return torch.frombuffer(mapped.buffer(), dtype=torch.uint8).view(dtype).view(mapped.shape)


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
    kind = type(content).__name__
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in cast("dict[Any, Any]", content).items()
    ):
        raise FileFormatError(f"{str(path)!r} should map names to tensors, and holds something else, a {kind}")
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
        CheckpointError: a tensor's shape is not the parameter's, or it holds integers, of some quantisation.
    """
    names = _StoredNames(source, base_prefix, hasattr(module, base_prefix))
    found: dict[str, _Layout | None] = {}
    for name, parameter in module.named_parameters():
        stored = names.find(name, renames)
        found[name] = None if stored is None else _layout(module, name, parameter, stored, renames)
        _check_shapes(name, source, found[name])
    for name, layout in found.items():
        _materialise(module, name, source, layout, dtype, device)
    used = {name for layout in found.values() if layout is not None for name in layout.names}
    return Imported([name for name, layout in found.items() if layout is None], sorted(set(source) - used))


class _Layout(NamedTuple):
    """How a parameter lies in a checkpoint: the names of its parts, how many rows each has, and whether transposed."""

    names: Sequence[str]
    shapes: list[tuple[int, ...]]
    transposed: bool


def _layout(
    module: nn.Module, name: str, parameter: Tensor, names: Sequence[str], renames: Iterable[Rename]
) -> _Layout:
    rename = _rename_of(name, renames)
    transposed = rename is not None and rename.transposed and parameter.dim() == 2
    rows = [parameter.shape[0] // len(names)] * len(names)
    if len(names) > 1:
        rows = list(getattr(module.get_submodule(name.rpartition(".")[0]), "parts", None) or rows)
    shapes = [(count, *parameter.shape[1:]) for count in rows]
    return _Layout(names, [shape[::-1] for shape in shapes] if transposed else shapes, transposed)


class _StoredNames:
    """Finds a parameter in a checkpoint whatever it calls it: with the base model's prefix or without, `gamma`."""

    def __init__(self, source: WeightSource, base_prefix: str, has_base: bool) -> None:
        self._stored = {_modern(name): name for name in source}
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


def _check_shapes(name: str, source: WeightSource, layout: _Layout | None) -> None:
    if layout is None:
        return
    for key, expected in zip(layout.names, layout.shapes, strict=True):
        shape, dtype = tuple(source[key].shape), source[key].dtype
        if shape != expected:
            raise CheckpointError(
                f"the checkpoint's {key!r} has shape {shape}, and this model's {name!r} needs {expected}; "
                "is the configuration this checkpoint's (num_labels, sizes)?"
            )
        if not dtype.is_floating_point:
            raise CheckpointError(
                f"the checkpoint's {key!r} holds {dtype}, not floating point numbers; "
                "quantised checkpoints cannot be loaded"
            )


def _materialise(
    module: nn.Module,
    name: str,
    source: WeightSource,
    layout: _Layout | None,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    declared: nn.Parameter = getattr(owner, leaf)
    if layout is None:
        tensor = torch.empty(declared.shape, dtype=dtype, device=device)
    else:
        parts = [source[key].to(device, dtype) for key in layout.names]
        parts = [part.t() for part in parts] if layout.transposed else parts
        tensor = parts[0].contiguous() if len(parts) == 1 else torch.cat(parts)
    setattr(owner, leaf, nn.Parameter(tensor, requires_grad=declared.requires_grad))


def export_weights(module: nn.Module, renames: Iterable[Rename]) -> dict[str, Tensor]:
    """Return a module's weights on the CPU under the names that checkpoints use."""
    exported: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        layout = _layout(module, name, parameter, checkpoint_names(name, renames), renames)
        stacked = parameter.detach().cpu()
        start = 0
        for key, shape in zip(layout.names, layout.shapes, strict=True):
            part = stacked[start : start + shape[-1 if layout.transposed else 0]]
            exported[key] = (part.t() if layout.transposed else part).contiguous()
            start += part.shape[0]
    return exported
