"""Loads the language model of a checkpoint, of the class that its config.json names."""

import os
from typing import Any, get_args

from ..architectures.auto import language_model_of
from ..files.checkpoints import find_checkpoint
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
"""Models that have `generate`."""

_CLASSES: dict[str, type[AnyLanguageModel]] = {cls.__name__: cls for cls in get_args(AnyLanguageModel)}


def load_language_model(
    name_or_path: str | os.PathLike[str], *, revision: str | None = None, subfolder: str = "", **options: Any
) -> AnyLanguageModel:
    """Load the language model of a checkpoint.

    Its class is that of the checkpoint's `model_type`; BART's decoder alone where `architectures` names
    BartForCausalLM. A BERT encoder is loaded as a decoder, although it may not have been trained as one.

    Args:
        name_or_path: checkpoint folder or hub id.
        revision: branch, tag or commit, of a hub id.
        subfolder: where in the folder or hub id the checkpoint lies.
        **options: those of the class's `from_pretrained`, like `dtype` and `device`, and configuration overrides.

    Raises:
        CheckpointError: no `model_type`, or a folder that no model can be loaded from; see `check_folder`.
        CheckpointNotFoundError: no such folder or id, or files are missing from it.
        FileFormatError: a file is corrupt.
        InputError: an invalid option.

    Examples:
        >>> import tempfile
        >>> from modeloutputs.torch import GPT2Config, GPT2LMHeadModel
        >>> folder = tempfile.mkdtemp()
        >>> GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=2)).save_pretrained(folder)
        >>> type(load_language_model(folder)).__name__
        'GPT2LMHeadModel'
    """
    folder = find_checkpoint(name_or_path, revision, subfolder=subfolder)
    name, required = language_model_of(folder)
    settings = {} if "config" in options else required
    return _CLASSES[name].from_pretrained(folder, **{**settings, **options})
