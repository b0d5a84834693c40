"""Runs PyTorch's models for the command line; see `Wing`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...ops.concat import concat
from ...output import ModelOutput
from ...torch import (
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
    GenerateOutput,
    PreTrainedModel,
    load_language_model,
)

__all__ = [
    "LENGTH_STEP",
    "add_loss",
    "call",
    "generate",
    "join_shapes",
    "keep_shapes",
    "load_language_model",
    "load_task_model",
]

LENGTH_STEP: int = 1

_CLASSES: dict[str, type[PreTrainedModel[Any]]] = {
    "features": BertModel,
    "sequence-classification": BertForSequenceClassification,
    "token-classification": BertForTokenClassification,
    "masked-lm": BertForMaskedLM,
    "causal-lm": BertLMHeadModel,
    "next-sentence": BertForNextSentencePrediction,
    "question-answering": BertForQuestionAnswering,
    "multiple-choice": BertForMultipleChoice,
}
_SETTINGS: dict[str, dict[str, Any]] = {"causal-lm": {"is_decoder": True}}


def load_task_model(task: str, folder: Path) -> Any:
    """Load the model of a task."""
    torch.random.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # for a head that the checkpoint lacks
    return _CLASSES[task].from_pretrained(folder, **_SETTINGS.get(task, {}))


def call(
    model: Any, inputs: Mapping[str, Any], flags: Mapping[str, bool], labels: Any, num_items: int | None
) -> tuple[ModelOutput, Any]:
    """Return a model's output, and its loss, (), without gradients."""
    given: dict[str, Any] = {name: torch.as_tensor(array) for name, array in inputs.items()}
    if labels is not None:
        given["labels"] = torch.as_tensor(labels)
        given |= {} if num_items is None else {"num_items": num_items}
    with torch.inference_mode():
        output = model(**given, **flags)
    return output, output.pop("loss") if "loss" in output else None


def add_loss(output: ModelOutput, losses: Sequence[Any]) -> float | None:
    """Put the sum of losses into an output."""
    if losses:
        output["loss"] = torch.stack(list(losses)).sum()
    return None


def keep_shapes(output: ModelOutput) -> ModelOutput:
    """Return an output of tensors on the device "meta"."""
    return output.map(lambda tensor: tensor.to("meta"))


def join_shapes(outputs: Sequence[ModelOutput]) -> ModelOutput:
    """Return an output of tensors that repeat a single zero."""
    return concat(outputs).map(lambda tensor: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape))


def generate(
    model: Any,
    ids: Any,
    mask: Any,
    options: Mapping[str, Any],
    *,
    seed: int | None = None,
    on_tokens: Callable[[Any], object] | None = None,
) -> GenerateOutput:
    """Return what a model generates."""
    generator = {} if seed is None else {"generator": torch.Generator().manual_seed(seed)}
    streamed = {} if on_tokens is None else {"on_tokens": on_tokens}
    return model.generate(torch.as_tensor(ids), torch.as_tensor(mask), **options, **generator, **streamed)
