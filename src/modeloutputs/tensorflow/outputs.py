"""The 18 TensorFlow output classes: the fields of each, their order and their axes.

They are the counterparts of the PyTorch classes in `modeloutputs.torch.outputs`, which explains them. As on the page
they differ in two points: losses are not reduced, except for those annotated with `BatchLoss`, and a cache is a list
with one tensor per layer, keys and values stacked.

Examples:
    >>> import tensorflow as tf
    >>> TFSequenceClassifierOutput(logits=tf.zeros((2, 3))).check().logits.shape
    TensorShape([2, 3])
"""

from dataclasses import field

from jaxtyping import Float
from tensorflow import Tensor

from ..output import ALWAYS, ModelOutput
from ..output.contract import PAD_WITH_NEG_INF

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

# One loss for each label that counts; for each row; or for the batch, one number with an axis of its own.
LabelLosses = Float[Tensor, "n"]
RowLosses = Float[Tensor, "batch"]
BatchLoss = Float[Tensor, "1"] | Float[Tensor, "parts"]

HiddenStates = tuple[Float[Tensor, "batch seq hidden"] | None, ...]
EncoderHiddenStates = tuple[Float[Tensor, "batch enc_seq hidden"] | None, ...]

Attentions = tuple[Float[Tensor, "batch heads seq seq"] | None, ...]
CachedAttentions = tuple[Float[Tensor, "batch heads seq past"] | None, ...]
EncoderAttentions = tuple[Float[Tensor, "batch enc_heads enc_seq enc_seq"] | None, ...]
CrossAttentions = tuple[Float[Tensor, "batch heads seq enc_seq"] | None, ...]

# Per layer the stacked keys and values; a layer that attends to an encoder has a pair, its own and the encoder's.
_States = Float[Tensor, "2 batch kv_heads past head_dim"]
_EncoderStates = Float[Tensor, "2 batch kv_heads enc_seq head_dim"]
SelfPastKeyValues = list[_States]
PastKeyValues = list[_States | tuple[_States, _EncoderStates]]

LastHiddenState = Float[Tensor, "batch seq hidden"]
EncoderLastHiddenState = Float[Tensor, "batch enc_seq hidden"]
PoolerOutput = Float[Tensor, "batch hidden"]
VocabLogits = Float[Tensor, "batch seq vocab"]
RowLogits = Float[Tensor, "batch labels"]
TokenLogits = Float[Tensor, "batch seq labels"]
PositionLogits = Float[Tensor, "batch seq"]


class TFBaseModelOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.BaseModelOutput`."""

    last_hidden_state: LastHiddenState = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFBaseModelOutputWithPooling(ModelOutput):
    """The counterpart of `modeloutputs.torch.BaseModelOutputWithPooling`."""

    last_hidden_state: LastHiddenState = ALWAYS
    pooler_output: PoolerOutput = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFBaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """The counterpart of `modeloutputs.torch.BaseModelOutputWithPoolingAndCrossAttentions`."""

    last_hidden_state: LastHiddenState = ALWAYS
    pooler_output: PoolerOutput = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class TFBaseModelOutputWithPast(ModelOutput):
    """The counterpart of `modeloutputs.torch.BaseModelOutputWithPast`."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: SelfPastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None


class TFBaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """The counterpart of `modeloutputs.torch.BaseModelOutputWithPastAndCrossAttentions`."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class TFSeq2SeqModelOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.Seq2SeqModelOutput`."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class TFCausalLMOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.CausalLMOutput`."""

    loss: LabelLosses | None = None
    logits: VocabLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFCausalLMOutputWithCrossAttentions(ModelOutput):
    """The counterpart of `modeloutputs.torch.CausalLMOutputWithCrossAttentions`."""

    loss: LabelLosses | None = None
    logits: VocabLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class TFCausalLMOutputWithPast(ModelOutput):
    """The counterpart of `modeloutputs.torch.CausalLMOutputWithPast`."""

    loss: LabelLosses | None = None
    logits: VocabLogits = ALWAYS
    past_key_values: SelfPastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None


class TFMaskedLMOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.MaskedLMOutput`."""

    loss: LabelLosses | None = None
    logits: VocabLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFSeq2SeqLMOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.Seq2SeqLMOutput`."""

    loss: LabelLosses | None = None
    logits: VocabLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class TFNextSentencePredictorOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.NextSentencePredictorOutput`."""

    loss: LabelLosses | None = field(default=None, metadata={"returned_when": "next_sentence_label is passed"})
    logits: Float[Tensor, "batch 2"] = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFSequenceClassifierOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.SequenceClassifierOutput`."""

    loss: RowLosses | None = None
    logits: RowLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFSeq2SeqSequenceClassifierOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.Seq2SeqSequenceClassifierOutput`."""

    loss: BatchLoss | None = None
    logits: RowLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class TFMultipleChoiceModelOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.MultipleChoiceModelOutput`."""

    loss: RowLosses | None = None
    logits: Float[Tensor, "batch choices"] = ALWAYS
    hidden_states: tuple[Float[Tensor, "batch*choices seq hidden"] | None, ...] | None = None
    attentions: tuple[Float[Tensor, "batch*choices heads seq seq"] | None, ...] | None = None


class TFTokenClassifierOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.TokenClassifierOutput`."""

    loss: LabelLosses | None = None
    logits: TokenLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFQuestionAnsweringModelOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.QuestionAnsweringModelOutput`."""

    loss: RowLosses | None = field(
        default=None, metadata={"returned_when": "start_positions and end_positions are passed"}
    )
    start_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    end_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFSeq2SeqQuestionAnsweringModelOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.Seq2SeqQuestionAnsweringModelOutput`."""

    loss: BatchLoss | None = field(
        default=None, metadata={"returned_when": "start_positions and end_positions are passed"}
    )
    start_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    end_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None
