"""The steps of `from_pretrained` and `save_pretrained`: keywords, the configuration, what the checkpoint lacked."""

import dataclasses
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..architectures import Config
from ..architectures.weights import WeightNames, report_missing
from ..errors import InputError, nearest
from ..files.checkpoints import find_checkpoint
from ..files.folders import CONFIG, check_folder
from .weights import Imported

__all__ = ["check_options", "open_folder", "report", "resolve_settings", "saving_keywords"]

ConfigType = TypeVar("ConfigType", bound=Config)

_WITHOUT_EFFECT = frozenset(
    {
        "adapter_kwargs",
        "cache_dir",
        "force_download",
        "from_pt",
        "local_files_only",
        "low_cpu_mem_usage",
        "mirror",
        "proxies",
        "resume_download",
        "token",
        "trust_remote_code",
        "use_auth_token",
        "_commit_hash",
        "_from_auto",
        "_from_pipeline",
    }
)
"""Keywords that callers know from transformers 4, which say how to fetch or what is found out here.

huggingface-hub reads HF_HUB_CACHE, HF_HUB_OFFLINE, HTTPS_PROXY and HF_TOKEN from the environment.
"""

_OLDER_FILES = ("flax_model*.msgpack", "pytorch_model*.bin")
"""Which weights to fetch of a hub id that has none as safetensors."""


def open_folder(name_or_path: Any, revision: str | None = None, subfolder: str = "", config: Any = None) -> Path:
    """Return the folder of a checkpoint, checked to be one that a model can be loaded from.

    Args:
        name_or_path: folder or hub id.
        revision: branch, tag or commit, of a hub id.
        subfolder: where in the folder or hub id the checkpoint lies.
        config: passed in place of the folder's, which may then have none.

    Raises:
        InputError: neither a text nor a path was passed.
        CheckpointNotFoundError: there is no such folder or subfolder, or no config.json in it.
        CheckpointError: nothing that can be loaded; see `check_folder`.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise InputError(f"from_pretrained was passed a {type(name_or_path).__name__}; pass a folder or hub id")
    folder = find_checkpoint(name_or_path, revision, subfolder=subfolder, older=_OLDER_FILES)  # pyright: ignore
    if config is None or (folder / CONFIG).is_file():
        check_folder(folder)
    return folder


def resolve_settings(
    cls: type[Any], config_class: type[ConfigType], folder: Path, config: Any, overrides: Mapping[str, Any]
) -> tuple[ConfigType, dict[str, Any]]:
    """Return the configuration, and the options among `overrides` that the model's module takes.

    Args:
        cls: class of the model.
        config_class: class of its configuration.
        folder: of the checkpoint.
        config: to use in place of the folder's, or another library's; or None.
        overrides: settings to change, options, and keywords without effect.

    Raises:
        InputError: an unknown name or an invalid value.
        CheckpointError: the configuration is another architecture's.
    """
    overrides = {name: value for name, value in overrides.items() if name not in _WITHOUT_EFFECT}
    changes = {name: value for name, value in overrides.items() if config_class.has_setting(name)}
    options = {name: value for name, value in overrides.items() if name not in changes}
    check_options(cls, config_class, options)
    if config is None:
        return config_class.from_folder(folder, **changes), options
    return dataclasses.replace(config_class.of(config), **changes), options


def check_options(cls: type[Any], config_class: type[Config], options: Mapping[str, Any]) -> None:
    """Refuse options that a model's module does not take.

    Raises:
        InputError: naming the nearest that there is.
    """
    known = set(inspect.signature(cls.module_class).parameters) - {"config", "dtype", "parent", "name"}
    for name in options:
        if name not in known:
            raise InputError(
                f"{cls.__name__} has no setting {name!r}{nearest(name, [*config_class.setting_names(), *known])}"
            )


def report(model: str, names: WeightNames, imported: Imported, folder: Path, *, has_base: bool) -> None:
    """Refuse a checkpoint that lacks weights of the base model; warn once of what is new and what is not used.

    Args:
        model: name of the model's class.
        names: of the architecture.
        imported: what was found.
        folder: of the checkpoint.
        has_base: the model has a head, and the base model within it.

    Raises:
        CheckpointError: naming the weights.
    """
    repeats = {*names.repeats(tied=True), *names.fallbacks.values()}
    unused = [
        name
        for name in imported.matched.unexpected
        if not names.is_ignored(name) and name not in repeats and f"{names.prefix}.{name}" not in repeats
    ]
    report_missing(
        names,
        model,
        repr(str(folder)),
        imported.matched.missing,
        has_base=has_base,
        unused=unused,
        mismatched=imported.mismatched,
        stacklevel=3,
    )


def saving_keywords(given: Mapping[str, Any]) -> None:
    """Refuse keywords of `save_pretrained` that it does not know, and those that ask for what is not done here.

    Raises:
        InputError: naming what to do instead.
    """
    for name, value in given.items():
        if name == "push_to_hub" and value:
            raise InputError(
                "save_pretrained does not take push_to_hub: save into a folder and upload that with "
                "huggingface_hub.upload_folder"
            )
        if name not in ("push_to_hub", "token", "use_auth_token"):
            raise InputError(f"save_pretrained has no option {name!r}")
