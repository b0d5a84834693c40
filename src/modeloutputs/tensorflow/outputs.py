"""The 18 TensorFlow output classes: which fields each has, in which order, and with which axes.

As those of PyTorch (`modeloutputs.torch.outputs`), with two differences, both the page's: losses are not reduced but in
the two classes that say so, and a cache is a list with one tensor per layer, keys and values stacked. Axis names are
explained in `modeloutputs.output.contract`.
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

# One loss for each label that counts; for each row; or, of the batch, one number with an axis.
LabelLosses = Float[Tensor, "n"]
RowLosses = Float[Tensor, "batch"]
BatchLoss = Float[Tensor, "1"] | Float[Tensor, "parts"]

# One state per layer and, first, the embeddings'; None in place of a layer that was not asked for.
HiddenStates = tuple[Float[Tensor, "batch seq hidden"] | None, ...]
EncoderHiddenStates = tuple[Float[Tensor, "batch enc_seq hidden"] | None, ...]

# Weights after the softmax, one tensor per layer; None in place of a layer that was not asked for.
Attentions = tuple[Float[Tensor, "batch heads seq seq"] | None, ...]
CachedAttentions = tuple[Float[Tensor, "batch heads seq past"] | None, ...]
EncoderAttentions = tuple[Float[Tensor, "batch enc_heads enc_seq enc_seq"] | None, ...]
CrossAttentions = tuple[Float[Tensor, "batch heads seq enc_seq"] | None, ...]

# Per layer key and value, stacked; where the layer attends to an encoder, a pair: that and the encoder's.
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
    """A stack of layers: its last hidden state, and the states and attentions of its layers."""

    last_hidden_state: LastHiddenState = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFBaseModelOutputWithPooling(ModelOutput):
    """An encoder that also pools each row into one vector."""

    last_hidden_state: LastHiddenState = ALWAYS
    pooler_output: PoolerOutput = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFBaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """A decoder that pools, keeps a cache and may attend to an encoder."""

    last_hidden_state: LastHiddenState = ALWAYS
    pooler_output: PoolerOutput = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class TFBaseModelOutputWithPast(ModelOutput):
    """A decoder that keeps a cache."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: SelfPastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None


class TFBaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """A decoder that keeps a cache and may attend to an encoder."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class TFSeq2SeqModelOutput(ModelOutput):
    """An encoder and its decoder."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class TFCausalLMOutput(ModelOutput):
    """A language model that predicts each next token and keeps no cache."""

    loss: LabelLosses | None = None
    logits: VocabLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFCausalLMOutputWithCrossAttentions(ModelOutput):
    """A language model that predicts each next token, keeps a cache and may attend to an encoder."""

    loss: LabelLosses | None = None
    logits: VocabLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class TFCausalLMOutputWithPast(ModelOutput):
    """A language model that predicts each next token and keeps a cache."""

    loss: LabelLosses | None = None
    logits: VocabLogits = ALWAYS
    past_key_values: SelfPastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None


class TFMaskedLMOutput(ModelOutput):
    """A language model that fills in masked tokens."""

    loss: LabelLosses | None = None
    logits: VocabLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFSeq2SeqLMOutput(ModelOutput):
    """An encoder and a decoder that predicts each next token."""

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
    """Whether the second sentence follows the first: logits of "follows", then of "does not"."""

    loss: LabelLosses | None = field(default=None, metadata={"returned_when": "next_sentence_label is passed"})
    logits: Float[Tensor, "batch 2"] = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFSequenceClassifierOutput(ModelOutput):
    """A class, several classes or a number for each row."""

    loss: RowLosses | None = None
    logits: RowLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFSeq2SeqSequenceClassifierOutput(ModelOutput):
    """A class for each row, from an encoder and a decoder."""

    loss: BatchLoss | None = None
    logits: RowLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class TFMultipleChoiceModelOutput(ModelOutput):
    """A score for each of a row's choices; each choice is a sequence of its own in states and attentions."""

    loss: RowLosses | None = None
    logits: Float[Tensor, "batch choices"] = ALWAYS
    hidden_states: tuple[Float[Tensor, "batch*choices seq hidden"] | None, ...] | None = None
    attentions: tuple[Float[Tensor, "batch*choices heads seq seq"] | None, ...] | None = None


class TFTokenClassifierOutput(ModelOutput):
    """A class for each token."""

    loss: LabelLosses | None = None
    logits: TokenLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFQuestionAnsweringModelOutput(ModelOutput):
    """Where the answer starts and where it ends: a score for each token as either."""

    loss: RowLosses | None = field(
        default=None, metadata={"returned_when": "start_positions and end_positions are passed"}
    )
    start_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    end_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class TFSeq2SeqQuestionAnsweringModelOutput(ModelOutput):
    """Where the answer starts and where it ends, from an encoder and a decoder."""

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
