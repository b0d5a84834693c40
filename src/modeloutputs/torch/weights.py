"""Moves weights between checkpoint files and modules, which have the same names for them."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..architectures.weights import WeightNames, check_whole, describe_shapes
from ..arrays.dtypes import SAFETENSORS_DTYPES
from ..errors import CheckpointError, FileFormatError
from ..files.checkpoints import map_checkpoint
from ..files.safetensors import MappedTensor
from ..files.weights import canonical_name, match_names
from ..pickled import read_pickled

__all__ = [
    "Imported",
    "WeightSource",
    "export_weights",
    "import_weights",
    "is_copy",
    "open_weights",
]

_DTYPES: dict[str, torch.dtype] = {
    code: getattr(torch, dtype.name)
    for code, dtype in SAFETENSORS_DTYPES.items()
    if hasattr(torch, dtype.name)  # older versions lack some
}


# -- where weights come from ----------------------------------------------------------------------------------------

WeightSource = Mapping[str, Tensor]
"""The tensors of one checkpoint on the CPU, by their names there; those of safetensors files are memory maps."""


def is_copy(source: WeightSource, name: str, original: str) -> bool:
    """Say whether a checkpoint repeats the values of `original` under `name`, as older files do of tied weights."""
    return original in source and torch.equal(source[name], source[original])


def open_weights(folder: Path, variant: str | None = None) -> WeightSource:
    """Find a checkpoint's weights: safetensors, whole or in shards, else the older pytorch_model.bin.

    Args:
        folder: of the checkpoint.
        variant: part of the names of the files, as "fp16" in model.fp16.safetensors.

    Raises:
        CheckpointNotFoundError: there are no weights, or a shard is missing.
        FileFormatError: a file is truncated, corrupt, or holds more than tensors.
    """
    mapped = map_checkpoint(folder, variant)
    if mapped is not None:
        return {name: _view(tensor) for name, tensor in mapped.items()}
    return dict(read_pickled(folder, variant))


def _view(mapped: MappedTensor) -> Tensor:
    """Return a tensor with a storage of its own: where one spans the file, `torch.save` of any tensor writes it all."""
    if mapped.dtype not in _DTYPES:
        raise FileFormatError(f"{str(mapped.path)!r} holds {mapped.dtype}, which this version of PyTorch lacks")
    dtype = _DTYPES[mapped.dtype]
    if not mapped.nbytes:
        return torch.empty(mapped.shape, dtype=dtype, device="cpu")
    return torch.frombuffer(mapped.buffer(), dtype=torch.uint8).view(dtype).view(mapped.shape)


# -- into and out of a module ---------------------------------------------------------------------------------------


class _Slot(NamedTuple):
    """A parameter or buffer, and the modules that hold it under a name of theirs."""

    tensor: Tensor
    owners: list[tuple[nn.Module, str]]


def _slots(module: nn.Module) -> dict[str, _Slot]:
    """Return parameters and persistent buffers by their first name; tied ones once."""
    slots: dict[str, _Slot] = {}
    names: dict[int, str] = {}
    for path, owner in cast("Iterable[tuple[str, Any]]", module.named_modules()):
        held: dict[str, Tensor | None] = {**owner._parameters, **owner._buffers}
        for leaf, tensor in held.items():
            if tensor is None or leaf in owner._non_persistent_buffers_set:
                continue
            name = names.setdefault(id(tensor), f"{path}.{leaf}" if path else leaf)
            slots.setdefault(name, _Slot(tensor, [])).owners.append((owner, leaf))
    return slots


@dataclass(frozen=True)
class Imported:
    """What became of the weights of a model."""

    missing: list[str]
    """Weights that have memory and no values, which the checkpoint lacks."""
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """The same of weights whose shape there, the first, is not the model's, the second."""
    unexpected: list[str]
    """Names in the checkpoint that the model has no place for."""
    stored: Mapping[str, str]
    """Name in the checkpoint, by the same without what wrappers add."""


def import_weights(
    module: nn.Module,
    source: WeightSource,
    facts: WeightNames,
    *,
    tied: bool,
    dtype: torch.dtype,
    device: torch.device,
    ignore_mismatched_sizes: bool = False,
) -> Imported:
    """Give a module, built on the meta device but for what its subclass added, the weights of a checkpoint.

    All shapes are checked before the first tensor is read. Weights on the meta device that the checkpoint lacks get
    memory with undefined values, for the caller to initialise; other tensors keep their values and are only moved.

    Args:
        module: the model.
        source: the checkpoint's tensors.
        facts: names of the architecture.
        tied: the scores are tied to the embeddings.
        dtype: of floating point weights.
        device: of all weights.
        ignore_mismatched_sizes: treat a tensor of another shape as if it were not there.

    Raises:
        CheckpointError: a tensor's shape is not the weight's, or it is quantised.
    """
    slots = _slots(module)
    matched = match_names(slots, source, facts, has_base=hasattr(module, facts.prefix), tied=tied)
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    check_whole(matched.found.values(), matched.unexpected)
    for name, stored in matched.found.items():
        shapes = tuple(source[stored].shape), tuple(slots[name].tensor.shape)
        if shapes[0] == shapes[1]:
            _check_floating(slots[name].tensor, stored, source[stored])
        elif ignore_mismatched_sizes:
            mismatched[name] = shapes
        else:
            raise CheckpointError(describe_shapes(name, stored, *shapes, is_head=_is_of_head(module, name, facts)))
    lacking = [name for name in matched.missing if slots[name].tensor.is_meta]  # others have values of their own
    for name, slot in slots.items():
        stored = None if name in mismatched else matched.found.get(name)
        _fill(slot, None if stored is None else source[stored], dtype, device)
    return Imported(lacking, mismatched, matched.unexpected, matched.stored)


def _is_of_head(module: nn.Module, name: str, facts: WeightNames) -> bool:
    return hasattr(module, facts.prefix) and not name.startswith(f"{facts.prefix}.")


def _check_floating(tensor: Tensor, stored: str, found: Tensor) -> None:
    if tensor.is_floating_point() and not found.dtype.is_floating_point:
        raise CheckpointError(
            f"the checkpoint's {stored!r} holds {found.dtype}, not floating point numbers; "
            "quantised checkpoints cannot be loaded"
        )


def _fill(slot: _Slot, stored: Tensor | None, dtype: torch.dtype, device: torch.device) -> None:
    tensor = slot.tensor
    wanted = dtype if tensor.is_floating_point() else tensor.dtype
    if stored is not None:
        values = stored.to(device, wanted).contiguous()
    elif tensor.is_meta:
        values = torch.empty(tensor.shape, dtype=wanted, device=device)
    else:
        values = tensor.detach().to(device, wanted)
    if isinstance(tensor, nn.Parameter):
        values = nn.Parameter(values, requires_grad=tensor.requires_grad)
    for owner, leaf in slot.owners:
        (owner._parameters if isinstance(tensor, nn.Parameter) else owner._buffers)[leaf] = values  # pyright: ignore


def export_weights(
    module: nn.Module,
    expected: Mapping[str, tuple[int, ...]],
    *,
    closed: bool = False,
    repeated: Container[str] = (),
    state_dict: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return a module's weights, contiguous, under the names that checkpoints use, tied ones once.

    Segments that wrapped modules add to the names are left out.

    Args:
        module: the model.
        expected: shapes by name of the weights that loading will ask for.
        closed: loading will ask for no others.
        repeated: names to write even where the same tensor has another.
        state_dict: tensors in place of the module's.

    Raises:
        CheckpointError: a weight that loading will ask for is missing or has another shape, as in a module that was
            quantised, pruned or given an adapter; or, if `closed`, one that it will not ask for.
    """
    exported: dict[str, Tensor] = {}
    seen: set[int] = set()
    names: set[str] = set()
    held = module.state_dict(keep_vars=True) if state_dict is None else state_dict
    for name, value in held.items():
        plain = canonical_name(name)
        names.add(plain)
        if isinstance(value, Tensor) and (id(value) not in seen or plain in repeated):
            seen.add(id(value))
            exported[plain] = _whole(plain, value).detach().contiguous()  # moved to the CPU one by one, as written
    for name, shape in expected.items():
        if name not in names:
            raise CheckpointError(_unsavable(module, name))
        if name in exported and tuple(exported[name].shape) != shape:
            raise CheckpointError(
                f"{name!r} has shape {tuple(exported[name].shape)}, but the configuration says {shape}; "
                "change model.config to match before saving"
            )
    extra = sorted(names - expected.keys()) if closed else []
    if extra:
        raise CheckpointError(
            f"{extra[0]!r} cannot be saved: a {type(module).__name__} of this configuration has no such weight; "
            "change model.config to match, or add it in a subclass"
        )
    return exported


def _whole(name: str, value: Tensor) -> Tensor:
    if hasattr(value, "full_tensor"):
        raise CheckpointError(f"{name!r} is sharded over devices; gather the state dict and save it on one rank")
    return value


def _unsavable(module: nn.Module, name: str) -> str:
    path = name.rpartition(".")[0]
    owner: nn.Module | None = module
    for part in path.split("."):
        owner = getattr(owner, part, None)
    kind = "missing" if owner is None else f"a {type(owner).__module__}.{type(owner).__qualname__}"
    return (
        f"{name!r} cannot be saved: its module is {kind}, which has no such weight; "
        "merge adapters, remove pruning and save before quantising"
    )
