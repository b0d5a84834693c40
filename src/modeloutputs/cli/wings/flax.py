"""Runs Flax's models for the command line; see `Wing`.

Their outputs have no losses: these are computed beside them.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...architectures.auto import language_model_of
from ...flax import (
    FlaxAutoModelForCausalLM,
    FlaxAutoModelForSeq2SeqLM,
    FlaxBertForCausalLM,
    FlaxBertForMaskedLM,
    FlaxBertForMultipleChoice,
    FlaxBertForNextSentencePrediction,
    FlaxBertForQuestionAnswering,
    FlaxBertForSequenceClassification,
    FlaxBertForTokenClassification,
    FlaxBertModel,
    FlaxGenerateOutput,
    FlaxPreTrainedModel,
)
from ...flax.libraries import jax
from ...flax.losses import cross_entropy, sequence_classification_loss
from ...ops.concat import concat
from ...output import ModelOutput

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

LENGTH_STEP: int = 16

_WORD = 2**32

_CLASSES: dict[str, type[FlaxPreTrainedModel[Any]]] = {
    "features": FlaxBertModel,
    "sequence-classification": FlaxBertForSequenceClassification,
    "token-classification": FlaxBertForTokenClassification,
    "masked-lm": FlaxBertForMaskedLM,
    "causal-lm": FlaxBertForCausalLM,
    "next-sentence": FlaxBertForNextSentencePrediction,
    "question-answering": FlaxBertForQuestionAnswering,
    "multiple-choice": FlaxBertForMultipleChoice,
}
_SETTINGS: dict[str, dict[str, Any]] = {"causal-lm": {"is_decoder": True}}


def load_task_model(task: str, folder: Path) -> Any:
    """Load the model of a task."""
    return _CLASSES[task].from_pretrained(folder, seed=0, **_SETTINGS.get(task, {}))


def call(
    model: Any, inputs: Mapping[str, Any], flags: Mapping[str, bool], labels: Any, num_items: int | None
) -> tuple[ModelOutput, Any]:
    """Return a model's output, and the loss of its logits, ()."""
    output = model(**inputs, **flags)
    if labels is None:
        return output, None
    if isinstance(model, FlaxBertForSequenceClassification):
        kind = model.config.problem_type
        return output, sequence_classification_loss(output.logits, labels, kind, num_items=num_items)
    return output, cross_entropy(output.logits, labels, num_items=num_items)


def add_loss(output: ModelOutput, losses: Sequence[Any]) -> float | None:
    """Return the sum of losses; None if there are none."""
    return float(np.sum(np.asarray(losses), dtype=np.float32)) if losses else None


@dataclass(frozen=True)
class _Shape:
    """An array without its values."""

    shape: tuple[int, ...]
    dtype: Any
    device: str


def keep_shapes(output: ModelOutput) -> ModelOutput:
    """Return an output of `jax.ShapeDtypeStruct`."""
    return output.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype))


def join_shapes(outputs: Sequence[ModelOutput]) -> ModelOutput:
    """Return an output of shapes and dtypes, on the device that arrays are made on."""
    device = str(jax.numpy.zeros(()).device)
    joined: ModelOutput = jax.eval_shape(concat, list(outputs))
    return joined.map(lambda array: _Shape(array.shape, array.dtype, device))


def load_language_model(folder: Path) -> Any:
    """Load the language model that a checkpoint is."""
    name, settings = language_model_of(folder)
    kind = FlaxAutoModelForSeq2SeqLM if name == "BartForConditionalGeneration" else FlaxAutoModelForCausalLM
    return kind.from_pretrained(folder, **settings)


def generate(
    model: Any,
    ids: Any,
    mask: Any,
    options: Mapping[str, Any],
    *,
    seed: int | None = None,
    on_tokens: Callable[[Any], object] | None = None,
) -> FlaxGenerateOutput:
    """Return what a model generates."""
    key = _random_key(secrets.randbits(32) if seed is None else seed)
    return model.generate(ids, mask, prng_key=key, on_tokens=on_tokens, **options)


def _random_key(seed: int) -> Any:
    """Return a key made of all 64 bits of a seed: `PRNGKey` takes the last 32, of which alone it is the key."""
    high, low = divmod(seed, _WORD)
    key = jax.random.PRNGKey(low)
    return jax.random.fold_in(key, high % _WORD) if high else key
