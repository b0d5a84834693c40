"""What a checkpoint folder is: which kind of model, whole or an adapter, plain or quantised. Reads config.json first.

Everybody who opens a folder asks here, so that each fault has one message, whichever way it is met.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ..errors import CheckpointError, CheckpointNotFoundError, FileFormatError
from .checkpoints import SAFETENSORS, SAFETENSORS_INDEX, read_json, variant_name

__all__ = [
    "CONFIG",
    "MODEL_TYPES",
    "check_folder",
    "check_model_type",
    "check_not_quantised",
    "describe_missing_weights",
]

MODEL_TYPES = ("bart", "bert", "gpt2", "llama", "openai-gpt")
"""The kinds of models of this library, as `model_type` of config.json names them."""

CONFIG, ADAPTER = "config.json", "adapter_config.json"

_WEIGHTS = (SAFETENSORS, SAFETENSORS_INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json")
_QUANTISATION_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
"""Where quantising libraries write their settings besides config.json: AutoGPTQ, AutoAWQ, ModelOpt."""

_OTHER_WEIGHTS = {
    "model.fp16.safetensors": "a variant; pass variant='fp16'",
    "flax_model.msgpack": "weights for Flax",
    "tf_model.h5": "weights for TensorFlow",
    "*.gguf": "weights for llama.cpp",
    "*.onnx": "an ONNX graph",
    "consolidated*.pth": "weights in the form of their first publication",
    "diffusion_pytorch_model*": "a part of a diffusion pipeline",
    "model_index.json": "a diffusion pipeline, whose models lie in subfolders; pass subfolder=",
    "modules.json": "a pipeline of sentence-transformers, whose model lies in a subfolder; pass subfolder=",
}


def check_folder(folder: Path, *, weights: bool = True) -> dict[str, Any]:
    """Refuse a folder that no model of this library can be loaded from, and return the contents of its config.json.

    Args:
        folder: as `find_checkpoint` returns it.
        weights: whether the weights are wanted; a tokenizer needs neither them nor a config.json.

    Returns:
        the settings; none if there is no config.json and no weights are wanted.

    Raises:
        CheckpointError: `model_type` is not a kind of this library, the weights are quantised, or the folder holds an
            adapter of another model.
        CheckpointNotFoundError: there is no config.json.
        FileFormatError: a file is corrupt or a Git LFS pointer.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 32}')
        >>> check_folder(folder)
        {'model_type': 'bert', 'hidden_size': 32}
        >>> _ = (folder / "config.json").write_text('{"model_type": "whisper"}')
        >>> check_folder(folder)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        modeloutputs.errors.CheckpointError: ... is a 'whisper' model ...; supported are bart, bert, gpt2, llama, ...
    """
    is_adapter = (folder / ADAPTER).is_file() and not any((folder / name).is_file() for name in _WEIGHTS)
    if is_adapter and (weights or not (folder / CONFIG).is_file()):
        raise CheckpointError(_describe_adapter(folder))
    if not weights and not (folder / CONFIG).exists():
        return {}
    try:
        config = read_json(folder / CONFIG)
    except CheckpointNotFoundError as error:
        raise CheckpointNotFoundError(f"{error}{_hint(folder)}") from None
    check_model_type(folder, config)
    if weights:
        check_not_quantised(folder, config)
    return config


def check_model_type(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a configuration of a kind that this library lacks; one without `model_type` passes.

    Raises:
        CheckpointError: naming the kind and those that are supported.
        FileFormatError: `model_type` is no text.
    """
    kind = config.get("model_type")
    if kind is not None and not isinstance(kind, str):
        raise FileFormatError(f"{str(folder / CONFIG)!r} has model_type {kind!r}; expected a text like 'bert'")
    if kind and kind not in MODEL_TYPES:
        raise CheckpointError(
            f"{str(folder)!r} is a {kind[:60]!r} model (model_type in {CONFIG}), which this library lacks; "
            f"supported are {', '.join(MODEL_TYPES)}"
        )


def check_not_quantised(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse quantised weights, whatever dtypes the files have: without their scales they would load as other numbers.

    Raises:
        CheckpointError: naming the method.
    """
    described = {
        f"{name} of {CONFIG}": config[name]
        for name in ("quantization_config", "compression_config")
        if config.get(name)
    }
    for name in _QUANTISATION_FILES:
        if (folder / name).is_file():
            described[name] = read_json(folder / name)
    for place, settings in described.items():
        raise CheckpointError(
            f"the weights of {str(folder)!r} are quantised by {_method(settings)} ({place}), and only plain weights "
            "can be loaded; use the checkpoint that they were made from"
        )


def _method(settings: Any) -> str:
    """Return how a quantisation calls itself."""
    values = cast("dict[str, Any]", settings) if isinstance(settings, dict) else {}
    inner = values.get("quantization")
    names = [values.get("quant_method"), values.get("quant_type"), values.get("quant_algo")]
    names += [cast("dict[str, Any]", inner).get("quant_algo")] if isinstance(inner, dict) else []
    names += [f"bitsandbytes ({bits} bits)" for bits in (4, 8) if values.get(f"load_in_{bits}bit")]
    if "bits" in values:
        names.append(f"a method of {values['bits']} bits")
    return next((repr(str(name)[:60]) for name in names if name), "an unnamed method")


def _describe_adapter(folder: Path) -> str:
    settings = read_json(folder / ADAPTER)
    kind, base = settings.get("peft_type"), settings.get("base_model_name_or_path")
    what = f"a {str(kind)[:60]} adapter" if kind else "an adapter"
    named = f" of {str(base)[:200]!r}" if base else ""
    return (
        f"{str(folder)!r} holds {what}{named} ({ADAPTER}), not a whole model; "
        "load its base model and put the adapter on with peft, or merge the two and load what that saves"
    )


def describe_missing_weights(folder: Path, variant: str | None = None, also: Sequence[str] = ()) -> str:
    """Return the message for a folder in which there are no weights that can be read, and what there is.

    Args:
        folder: of the checkpoint.
        variant: of the names of weight files.
        also: files that are read besides safetensors and pytorch_model.bin.
    """
    single, other = variant_name(SAFETENSORS, variant), variant_name("pytorch_model.bin", variant)
    names = "".join(f"nor {name}, " for name in also)
    return f"{str(folder)!r} has no weights: neither {single}, nor its index, {names}nor {other}{_hint(folder)}"


def _hint(folder: Path) -> str:
    """Return what else a folder holds, as the end of a message."""
    for pattern, meaning in _OTHER_WEIGHTS.items():
        found = next(iter(sorted(folder.glob(pattern))), None) if folder.is_dir() else None
        if found is not None:
            return f"; {found.name} is {meaning}"
    return ""
