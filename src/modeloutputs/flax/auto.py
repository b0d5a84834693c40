"""Loads models by what their checkpoint is: one class for each task, which picks the architecture's."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from ..architectures import Config
from ..errors import CheckpointError, InputError
from ..files.checkpoints import read_json
from ..files.folders import CONFIG
from .bart_causal import FlaxBartForCausalLM
from .bart_heads import (
    FlaxBartForConditionalGeneration,
    FlaxBartForQuestionAnswering,
    FlaxBartForSequenceClassification,
    FlaxBartModel,
)
from .bert import FlaxBertModel
from .bert_heads import (
    FlaxBertForCausalLM,
    FlaxBertForMaskedLM,
    FlaxBertForMultipleChoice,
    FlaxBertForNextSentencePrediction,
    FlaxBertForQuestionAnswering,
    FlaxBertForSequenceClassification,
    FlaxBertForTokenClassification,
)
from .gpt import FlaxOpenAIGPTLMHeadModel, FlaxOpenAIGPTModel
from .gpt2 import FlaxGPT2ForSequenceClassification, FlaxGPT2LMHeadModel, FlaxGPT2Model
from .llama import FlaxLlamaForCausalLM, FlaxLlamaModel
from .loading import open_folder
from .pretrained import FlaxPreTrainedModel

__all__ = [
    "FlaxAutoModel",
    "FlaxAutoModelForCausalLM",
    "FlaxAutoModelForMaskedLM",
    "FlaxAutoModelForMultipleChoice",
    "FlaxAutoModelForNextSentencePrediction",
    "FlaxAutoModelForQuestionAnswering",
    "FlaxAutoModelForSeq2SeqLM",
    "FlaxAutoModelForSequenceClassification",
    "FlaxAutoModelForTokenClassification",
]

_Class = type[FlaxPreTrainedModel[Any]]


class _FlaxAuto:
    """Base of the classes that pick a model's class; they have no objects of their own."""

    classes: ClassVar[Mapping[str, _Class]]
    """By `model_type`."""

    def __init__(self) -> None:
        raise InputError(f"{type(self).__name__} has no objects; call its from_pretrained or from_config")

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], *args: Any, **options: Any) -> Any:
        """Load the model of a checkpoint; arguments are those of the picked class.

        Raises:
            CheckpointError: config.json has no `model_type`, or one without a model for this task.
        """
        config = options.get("config")
        if config is not None:
            return cls._class_of(getattr(config, "model_type", None)).from_pretrained(name_or_path, *args, **options)
        folder = open_folder(name_or_path, options.pop("revision", None), options.pop("subfolder", ""))
        kind = read_json(folder / CONFIG).get("model_type")
        return cls._class_of(kind).from_pretrained(folder, *args, **options)

    @classmethod
    def from_config(cls, config: Config, **options: Any) -> Any:
        """Return a new model of a configuration; options are those of the picked class."""
        return cls._class_of(getattr(config, "model_type", None))(config, **options)

    @classmethod
    def _class_of(cls, model_type: Any) -> _Class:
        found = cls.classes.get(model_type) if isinstance(model_type, str) else None
        if found is None:
            raise CheckpointError(
                f"{cls.__name__} has no model for model_type {model_type!r}; there is one for {', '.join(cls.classes)}"
            )
        return found


class FlaxAutoModel(_FlaxAuto):
    """Models without a head."""

    classes: ClassVar[Mapping[str, _Class]] = {
        "bert": FlaxBertModel,
        "openai-gpt": FlaxOpenAIGPTModel,
        "gpt2": FlaxGPT2Model,
        "llama": FlaxLlamaModel,
        "bart": FlaxBartModel,
    }


class FlaxAutoModelForMaskedLM(_FlaxAuto):
    """Models that predict masked tokens."""

    classes: ClassVar[Mapping[str, _Class]] = {"bert": FlaxBertForMaskedLM, "bart": FlaxBartForConditionalGeneration}


class FlaxAutoModelForCausalLM(_FlaxAuto):
    """Models that predict each next token."""

    classes: ClassVar[Mapping[str, _Class]] = {
        "bert": FlaxBertForCausalLM,
        "openai-gpt": FlaxOpenAIGPTLMHeadModel,
        "gpt2": FlaxGPT2LMHeadModel,
        "llama": FlaxLlamaForCausalLM,
        "bart": FlaxBartForCausalLM,
    }


class FlaxAutoModelForSeq2SeqLM(_FlaxAuto):
    """Models that predict each next token of a target from a source."""

    classes: ClassVar[Mapping[str, _Class]] = {"bart": FlaxBartForConditionalGeneration}


class FlaxAutoModelForSequenceClassification(_FlaxAuto):
    """Models that classify each row."""

    classes: ClassVar[Mapping[str, _Class]] = {
        "bert": FlaxBertForSequenceClassification,
        "gpt2": FlaxGPT2ForSequenceClassification,
        "bart": FlaxBartForSequenceClassification,
    }


class FlaxAutoModelForTokenClassification(_FlaxAuto):
    """Models that classify each token."""

    classes: ClassVar[Mapping[str, _Class]] = {"bert": FlaxBertForTokenClassification}


class FlaxAutoModelForQuestionAnswering(_FlaxAuto):
    """Models that find where an answer starts and ends."""

    classes: ClassVar[Mapping[str, _Class]] = {
        "bert": FlaxBertForQuestionAnswering,
        "bart": FlaxBartForQuestionAnswering,
    }


class FlaxAutoModelForMultipleChoice(_FlaxAuto):
    """Models that choose among alternatives."""

    classes: ClassVar[Mapping[str, _Class]] = {"bert": FlaxBertForMultipleChoice}


class FlaxAutoModelForNextSentencePrediction(_FlaxAuto):
    """Models that tell whether one text follows another."""

    classes: ClassVar[Mapping[str, _Class]] = {"bert": FlaxBertForNextSentencePrediction}
