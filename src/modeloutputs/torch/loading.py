"""The steps of `from_pretrained`: the options, the configuration, the tensors, and what the checkpoint lacked."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..architectures import Config, weights
from ..architectures.weights import WeightNames
from ..errors import InputError, nearest
from ..files.checkpoints import find_checkpoint
from ..files.folders import CONFIG, check_folder
from .weights import Imported, WeightSource, is_copy, open_weights

__all__ = ["Checkpoint", "loading_info", "open_checkpoint", "report_missing", "resolve_settings"]


@dataclass(frozen=True)
class Checkpoint:
    """Where a model is loaded from."""

    folder: Path | None
    """None where tensors were passed and no folder."""
    tensors: WeightSource

    def __str__(self) -> str:
        return "state_dict" if self.folder is None else repr(str(self.folder))


def open_checkpoint(
    name_or_path: Any,
    config: Any,
    state_dict: Mapping[str, Any] | None,
    *,
    revision: str | None,
    subfolder: str,
    variant: str | None,
) -> Checkpoint:
    """Find a checkpoint, check what kind it is, and map its tensors or take those that were passed.

    Args:
        name_or_path: folder or hub id; None where `config` and `state_dict` are all there is.
        config: passed in place of the folder's.
        state_dict: passed in place of the folder's tensors.
        revision: of a hub id.
        subfolder: of the folder or hub id.
        variant: of the names of weight files.

    Raises:
        InputError: nothing to load from, or values of the state dict that are no tensors.
        CheckpointError: nothing that can be loaded; see `check_folder`.
    """
    if name_or_path is None:
        if state_dict is None or config is None:
            raise InputError("from_pretrained was passed None; pass a folder or hub id, or config and state_dict")
        return Checkpoint(None, _tensors(state_dict))
    folder = find_checkpoint(name_or_path, revision, weights=state_dict is None, subfolder=subfolder)
    if config is None or (folder / CONFIG).is_file():
        check_folder(folder, weights=state_dict is None)
    tensors = open_weights(folder, variant) if state_dict is None else _tensors(state_dict)
    return Checkpoint(folder, tensors)


def _tensors(state_dict: Any) -> WeightSource:
    if not isinstance(state_dict, Mapping):
        raise InputError(f"state_dict is a {type(state_dict).__name__}; expected a mapping from names to tensors")
    for name, value in cast("Mapping[Any, Any]", state_dict).items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(f"state_dict has a {type(value).__name__} under {name!r}; expected a tensor")
    return cast("WeightSource", state_dict)


def resolve_settings(
    cls: type[nn.Module], config_class: type[Config], checkpoint: Checkpoint, config: Any, overrides: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the configuration, and the options among `overrides` that a model's constructor takes.

    Raises:
        InputError: an unknown name, an invalid value, or both a configuration and changes of settings.
        CheckpointError: the configuration says more layers than there are tensors.
    """
    changes = {name: value for name, value in overrides.items() if config_class.has_setting(name)}
    options = {name: value for name, value in overrides.items() if name not in changes}
    parameters = inspect.signature(cls).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in options:
        if name not in parameters and not takes_any:
            known = [*config_class.setting_names(), *list(parameters)[1:]]
            raise InputError(f"{cls.__name__} has no setting {name!r}{nearest(name, known)}")
    if config is not None and changes:
        raise InputError(f"pass either config or settings to change in it, not both ({', '.join(changes)})")
    if config is not None:
        settings = config_class.of(config)
    else:
        settings = config_class.from_folder(cast("Path", checkpoint.folder), **changes)
    weights.check_layers(settings, str(checkpoint), len(checkpoint.tensors))
    return settings, options


def report_missing(
    model: Any, names: WeightNames, imported: Imported, checkpoint: Checkpoint, *, stacklevel: int
) -> None:
    """Refuse a checkpoint that lacks weights of the base model; warn of what else it lacks, and of what is not used.

    Raises:
        CheckpointError: naming the weights.
    """
    weights.report_missing(
        names,
        type(model).__name__,
        str(checkpoint),
        imported.missing,
        has_base=hasattr(model, names.prefix),
        unused=_unused(names, imported, checkpoint.tensors),
        mismatched=imported.mismatched,
        stacklevel=stacklevel,
    )


def _unused(names: WeightNames, imported: Imported, tensors: WeightSource) -> list[str]:
    plain = {stored: name for name, stored in imported.stored.items()}
    return [
        name
        for name in imported.unexpected
        if not names.is_ignored(name) and not _is_repeated(names, plain.get(name, name), imported.stored, tensors)
    ]


def _is_repeated(names: WeightNames, name: str, stored: Mapping[str, str], tensors: WeightSource) -> bool:
    """Return whether a checkpoint repeats another weight under this name, as older files do of tied weights."""
    prefix, repeats = f"{names.prefix}.", names.repeats(tied=True)
    original = repeats.get(name, repeats.get(f"{prefix}{name}"))
    if original is None:
        return False
    keys = (key for key in (original, original.removeprefix(prefix)) if key in stored)
    return any(is_copy(tensors, stored[name], stored[key]) for key in keys)


def loading_info(names: WeightNames, imported: Imported, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what `output_loading_info=True` asks for, as transformers returns it."""
    return {
        "missing_keys": {name for name in imported.missing if not names.is_neutral(name)},
        "unexpected_keys": set(_unused(names, imported, checkpoint.tensors)),
        "mismatched_keys": {
            (name, torch.Size(found), torch.Size(expected)) for name, (found, expected) in imported.mismatched.items()
        },
        "error_msgs": list[str](),
    }
