"""Picks the language model class of a checkpoint by its config.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ..errors import CheckpointError
from ..files.folders import check_folder

__all__ = ["language_model_of"]

# Class names as in PyTorch; other frameworks put a prefix before them.
_BY_MODEL_TYPE = {
    "bert": "BertLMHeadModel",
    "openai-gpt": "OpenAIGPTLMHeadModel",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "bart": "BartForConditionalGeneration",
}
# Classes that a model type has besides, chosen where `architectures` names them.
_BY_ARCHITECTURE = {("bart", "BartForCausalLM"): "BartForCausalLM"}
# Settings without which a class does not generate.
_REQUIRED_SETTINGS: Mapping[str, dict[str, Any]] = {"BertLMHeadModel": {"is_decoder": True}}


def language_model_of(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the class name of a checkpoint's language model, and the settings that it needs.

    Raises:
        CheckpointError: config.json has no `model_type`, or the folder is none that models can be loaded from.
        CheckpointNotFoundError: there is no config.json.
        FileFormatError: it is corrupt.

    See `check_folder`, which looks at the folder.

    Examples:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
        >>> language_model_of(folder)
        ('GPT2LMHeadModel', {})
    """
    config = check_folder(folder)
    model_type = config.get("model_type")
    if not model_type:
        raise CheckpointError(f"{str(folder)!r} has no model_type in config.json; load it with its own class")
    name = _named_architecture(model_type, config.get("architectures")) or _BY_MODEL_TYPE[model_type]
    return name, dict(_REQUIRED_SETTINGS.get(name, {}))


def _named_architecture(model_type: str, architectures: Any) -> str | None:
    names = cast("list[Any]", architectures) if isinstance(architectures, list) else []
    found = (_BY_ARCHITECTURE.get((model_type, str(name))) for name in names)
    return next((name for name in found if name is not None), None)
