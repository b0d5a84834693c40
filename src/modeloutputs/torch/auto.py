"""Picks the class of a checkpoint's language model by what its config.json says."""

import os
from typing import Any, cast

from ..errors import CheckpointError
from ..files.checkpoints import find_checkpoint, read_json
from .bart_heads import BartForCausalLM, BartForConditionalGeneration
from .bert_heads import BertLMHeadModel
from .gpt2_heads import GPT2LMHeadModel
from .gpt_heads import OpenAIGPTLMHeadModel
from .llama_heads import LlamaForCausalLM

__all__ = ["AnyLanguageModel", "load_language_model"]

AnyLanguageModel = (
    BertLMHeadModel
    | OpenAIGPTLMHeadModel
    | GPT2LMHeadModel
    | LlamaForCausalLM
    | BartForConditionalGeneration
    | BartForCausalLM
)
"""What has `generate`."""

_BY_TYPE: dict[str, type[AnyLanguageModel]] = {
    "bert": BertLMHeadModel,
    "openai-gpt": OpenAIGPTLMHeadModel,
    "gpt2": GPT2LMHeadModel,
    "llama": LlamaForCausalLM,
    "bart": BartForConditionalGeneration,
}
# Where one type has several, a checkpoint says which of them it is.
_BY_ARCHITECTURE: dict[tuple[str, str], type[AnyLanguageModel]] = {("bart", "BartForCausalLM"): BartForCausalLM}


def load_language_model(
    name_or_path: str | os.PathLike[str], *, revision: str | None = None, **options: Any
) -> AnyLanguageModel:
    """Load the language model of a checkpoint, of the class that its config.json names.

    That is the class of `model_type`; BART's decoder alone where `architectures` says BartForCausalLM. BERT is made a
    decoder, as which it may not have been trained.

    Args:
        name_or_path: checkpoint folder or hub id.
        revision: branch, tag or commit, of a hub id.
        **options: those of the class's `from_pretrained`, like `dtype` and `device`, and settings to change.

    Raises:
        CheckpointError: no `model_type`, or one that there is no language model of here.
        CheckpointNotFoundError: no folder, no such id, or no such files in it.
        FileFormatError: a file is corrupt.
        InputError: an option that cannot be.
    """
    folder = find_checkpoint(name_or_path, revision)
    said = read_json(folder / "config.json")
    kind = said.get("model_type")
    if not isinstance(kind, str):
        raise CheckpointError(f"{str(folder)!r} has no model_type in config.json; load it by its class")
    if kind not in _BY_TYPE:
        raise CheckpointError(
            f"{str(folder)!r} has model_type {kind!r}, of which there is no language model here; "
            f"there are {', '.join(_BY_TYPE)}"
        )
    if kind == "bert" and "config" not in options:
        options = {"is_decoder": True, **options}
    return _class_of(kind, said.get("architectures")).from_pretrained(folder, **options)


def _class_of(kind: str, architectures: Any) -> type[AnyLanguageModel]:
    named = cast("list[Any]", architectures) if isinstance(architectures, list) else []
    for name in named:
        if cls := _BY_ARCHITECTURE.get((kind, str(name))):
            return cls
    return _BY_TYPE[kind]
