"""Keywords that callers know from transformers: taken under our names, without effect, or refused with a reason."""

from collections.abc import Mapping
from typing import Any, cast

from ..errors import InputError

__all__ = ["loading_keywords", "saving_keywords"]

_PLACES = ("auto", "balanced", "balanced_low_0", "sequential")
_KERNELS = (None, "eager", "sdpa")
_FROM_ENVIRONMENT = {
    "cache_dir": "HF_HUB_CACHE",
    "local_files_only": "HF_HUB_OFFLINE",
    "proxies": "HTTPS_PROXY",
    "token": "HF_TOKEN",
    "use_auth_token": "HF_TOKEN",
}
"""Options of downloads, which huggingface-hub reads from the environment too."""

_WITHOUT_EFFECT = ("low_cpu_mem_usage", "trust_remote_code", "_fast_init")
"""Weights are mapped and read one at a time anyway, and no code of a checkpoint is ever run."""

_QUANTISED = "only plain weights can be loaded; quantise the loaded model instead"
_OTHER_FILES = "only safetensors files and pytorch_model.bin are read"
_REFUSED = {
    "quantization_config": _QUANTISED,
    "load_in_4bit": _QUANTISED,
    "load_in_8bit": _QUANTISED,
    "from_tf": _OTHER_FILES,
    "from_flax": _OTHER_FILES,
    "gguf_file": _OTHER_FILES,
    "force_download": "remove the checkpoint from the hub's cache instead",
    "tp_plan": "a model is loaded onto one device",
    "max_memory": "a model is loaded onto one device",
    "offload_folder": "a model is loaded onto one device",
}
_REFUSED_IN_SAVING = {
    "push_to_hub": "save into a folder and upload that with huggingface_hub.upload_folder",
    "save_peft_format": "save adapters with peft",
}


def loading_keywords(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split keywords into those that `from_pretrained` knows, under its own names, and settings.

    Raises:
        InputError: one that asks for what is not done here, naming what to pass or do instead.

    Examples:
        >>> loading_keywords({"torch_dtype": "bfloat16", "device_map": {"": "cpu"}, "use_cache": False})
        ({'dtype': 'bfloat16', 'device': 'cpu'}, {'use_cache': False})
    """
    options: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for name, value in given.items():
        if name == "torch_dtype":
            options |= {} if value is None else {"dtype": value}
        elif name == "device_map":
            options |= {} if value is None else {"device": _one_device(value)}
        elif name == "attn_implementation":
            _check_kernel(value)
        elif name == "use_safetensors":
            if value is False:
                raise InputError("use_safetensors is False; safetensors files come first wherever a folder has them")
        elif name in _FROM_ENVIRONMENT or name in _REFUSED:
            _refuse(name, value)
        elif name not in _WITHOUT_EFFECT:
            settings[name] = value
    return options, settings


def _refuse(name: str, value: Any) -> None:
    if value:
        variable = _FROM_ENVIRONMENT.get(name)
        reason = f"set {variable} in the environment instead" if variable else _REFUSED[name]
        raise InputError(f"from_pretrained does not take {name}: {reason}")


def _one_device(value: Any) -> Any:
    """Return the device that a `device_map` puts a whole model on."""
    devices = set(cast("dict[str, Any]", value).values()) if isinstance(value, dict) else {value}
    (device, *more) = devices or {None}
    if more or device is None or device in _PLACES:
        raise InputError(f"device_map is {value!r}; a model is loaded onto one device, pass device='cpu' or 'cuda:0'")
    return device


def _check_kernel(value: Any) -> None:
    if value not in _KERNELS:
        raise InputError(
            f"attn_implementation is {value!r}; the kernel is chosen for each call by what is asked of it, leave it out"
        )


def saving_keywords(given: Mapping[str, Any]) -> None:
    """Refuse keywords of `save_pretrained` that it does not know, and those that ask for what is not done here.

    Raises:
        InputError: naming what to do instead.
    """
    for name, value in given.items():
        if name == "safe_serialization":
            if not value:
                raise InputError(
                    "safe_serialization is False; weights are saved as safetensors, "
                    "for other files use torch.save(model.state_dict(), path)"
                )
        elif name in _REFUSED_IN_SAVING:
            if value:
                raise InputError(f"save_pretrained does not take {name}: {_REFUSED_IN_SAVING[name]}")
        elif name not in ("save_function", "token", "use_auth_token", "save_original_format"):
            raise InputError(f"save_pretrained has no option {name!r}")
