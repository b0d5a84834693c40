"""TensorFlow and Keras: the output classes."""

try:
    import tensorflow as tensorflow
except ImportError:
    from ..errors import MissingDependencyError

    raise MissingDependencyError("modeloutputs.tensorflow needs TensorFlow; install modeloutputs[tensorflow]") from None

from .outputs import (
    TFBaseModelOutput,
    TFBaseModelOutputWithPast,
    TFBaseModelOutputWithPastAndCrossAttentions,
    TFBaseModelOutputWithPooling,
    TFBaseModelOutputWithPoolingAndCrossAttentions,
    TFCausalLMOutput,
    TFCausalLMOutputWithCrossAttentions,
    TFCausalLMOutputWithPast,
    TFMaskedLMOutput,
    TFMultipleChoiceModelOutput,
    TFNextSentencePredictorOutput,
    TFQuestionAnsweringModelOutput,
    TFSeq2SeqLMOutput,
    TFSeq2SeqModelOutput,
    TFSeq2SeqQuestionAnsweringModelOutput,
    TFSeq2SeqSequenceClassifierOutput,
    TFSequenceClassifierOutput,
    TFTokenClassifierOutput,
)

__all__ = [
    "TFBaseModelOutput",
    "TFBaseModelOutputWithPast",
    "TFBaseModelOutputWithPastAndCrossAttentions",
    "TFBaseModelOutputWithPooling",
    "TFBaseModelOutputWithPoolingAndCrossAttentions",
    "TFCausalLMOutput",
    "TFCausalLMOutputWithCrossAttentions",
    "TFCausalLMOutputWithPast",
    "TFMaskedLMOutput",
    "TFMultipleChoiceModelOutput",
    "TFNextSentencePredictorOutput",
    "TFQuestionAnsweringModelOutput",
    "TFSeq2SeqLMOutput",
    "TFSeq2SeqModelOutput",
    "TFSeq2SeqQuestionAnsweringModelOutput",
    "TFSeq2SeqSequenceClassifierOutput",
    "TFSequenceClassifierOutput",
    "TFTokenClassifierOutput",
]
