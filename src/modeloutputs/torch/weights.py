"""Moves weights between checkpoint files and modules, which have the same names for them."""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..architectures.weights import WeightNames
from ..arrays.dtypes import SAFETENSORS_DTYPES
from ..errors import CheckpointError, CheckpointNotFoundError, FileFormatError, first_line
from ..files.checkpoints import map_checkpoint, read_index, shard_paths
from ..files.git_lfs import check_not_lfs_pointer
from ..files.safetensors import MappedTensor
from ..files.weights import MatchedNames, canonical_name, match_names

__all__ = [
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


def open_weights(folder: Path) -> WeightSource:
    """Find a checkpoint's weights: safetensors, whole or in shards, else the older pytorch_model.bin.

    Raises:
        CheckpointNotFoundError: there are no weights, or a shard is missing.
        FileFormatError: a file is truncated, corrupt, or holds more than tensors.
    """
    mapped = map_checkpoint(folder)
    if mapped is not None:
        return {name: _view(tensor) for name, tensor in mapped.items()}
    return dict(_read_pickled(folder))


def _view(mapped: MappedTensor) -> Tensor:
    """Return a tensor with a storage of its own: where one spans the file, `torch.save` of any tensor writes it all."""
    if mapped.dtype not in _DTYPES:
        raise FileFormatError(f"{str(mapped.path)!r} holds {mapped.dtype}, which this version of PyTorch lacks")
    dtype = _DTYPES[mapped.dtype]
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


def import_weights(
    module: nn.Module, source: WeightSource, facts: WeightNames, *, tied: bool, dtype: torch.dtype, device: torch.device
) -> MatchedNames:
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

    Raises:
        CheckpointError: a tensor's shape is not the weight's, or it holds quantised integers.
    """
    slots = _slots(module)
    matched = match_names(slots, source, facts, has_base=hasattr(module, facts.prefix), tied=tied)
    for name, stored in matched.found.items():
        _check_stored(name, slots[name].tensor, stored, source[stored])
    for name, slot in slots.items():
        stored = matched.found.get(name)
        _fill(slot, None if stored is None else source[stored], dtype, device)
    lacking = [name for name in matched.missing if slots[name].tensor.is_meta]  # others have values of their own
    return MatchedNames(matched.found, lacking, matched.unexpected)


def _check_stored(name: str, tensor: Tensor, stored: str, found: Tensor) -> None:
    shape, expected = tuple(found.shape), tuple(tensor.shape)
    if shape != expected:
        raise CheckpointError(
            f"the checkpoint's {stored!r} has shape {shape}, and this model's {name!r} needs {expected}; "
            "is the configuration this checkpoint's (num_labels, sizes)?"
        )
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
    module: nn.Module, expected: Mapping[str, tuple[int, ...]], *, closed: bool = False, repeated: Container[str] = ()
) -> dict[str, Tensor]:
    """Return a module's weights, contiguous, under the names that checkpoints use, tied ones once.

    Segments that wrapped modules add to the names are left out.

    Args:
        module: the model.
        expected: shapes by name of the weights that loading will ask for.
        closed: loading will ask for no others.
        repeated: names to write even where the same tensor has another.

    Raises:
        CheckpointError: a weight that loading will ask for is missing or has another shape, as in a module that was
            quantised, pruned or given an adapter; or, if `closed`, one that it will not ask for.
    """
    exported: dict[str, Tensor] = {}
    seen: set[int] = set()
    names: set[str] = set()
    for name, value in module.state_dict(keep_vars=True).items():
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
