"""JAX and Flax: the output classes."""

try:
    import jax as jax
except ImportError:
    from ..errors import MissingDependencyError

    raise MissingDependencyError("modeloutputs.flax needs JAX; install modeloutputs[flax]") from None

from .outputs import (
    FlaxBaseModelOutput,
    FlaxBaseModelOutputWithPast,
    FlaxBaseModelOutputWithPastAndCrossAttentions,
    FlaxBaseModelOutputWithPooling,
    FlaxCausalLMOutputWithCrossAttentions,
    FlaxMaskedLMOutput,
    FlaxMultipleChoiceModelOutput,
    FlaxNextSentencePredictorOutput,
    FlaxQuestionAnsweringModelOutput,
    FlaxSeq2SeqLMOutput,
    FlaxSeq2SeqModelOutput,
    FlaxSeq2SeqQuestionAnsweringModelOutput,
    FlaxSeq2SeqSequenceClassifierOutput,
    FlaxSequenceClassifierOutput,
    FlaxTokenClassifierOutput,
)

__all__ = [
    "FlaxBaseModelOutput",
    "FlaxBaseModelOutputWithPast",
    "FlaxBaseModelOutputWithPastAndCrossAttentions",
    "FlaxBaseModelOutputWithPooling",
    "FlaxCausalLMOutputWithCrossAttentions",
    "FlaxMaskedLMOutput",
    "FlaxMultipleChoiceModelOutput",
    "FlaxNextSentencePredictorOutput",
    "FlaxQuestionAnsweringModelOutput",
    "FlaxSeq2SeqLMOutput",
    "FlaxSeq2SeqModelOutput",
    "FlaxSeq2SeqQuestionAnsweringModelOutput",
    "FlaxSeq2SeqSequenceClassifierOutput",
    "FlaxSequenceClassifierOutput",
    "FlaxTokenClassifierOutput",
]
