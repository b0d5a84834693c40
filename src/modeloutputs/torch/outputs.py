"""The 19 PyTorch output classes: which fields each has, in which order, and with which axes.

Axis names are explained in `modeloutputs.output.contract`, when a field is returned by `modeloutputs classes`.
A field that a model always fills is annotated without None, one that a flag or labels fill with it.
"""

from dataclasses import field

from jaxtyping import Float
from torch import Tensor

from ..output import ALWAYS, ModelOutput
from ..output.contract import PAD_WITH_NEG_INF

__all__ = [
    "BaseModelOutput",
    "BaseModelOutputWithCrossAttentions",
    "BaseModelOutputWithPast",
    "BaseModelOutputWithPastAndCrossAttentions",
    "BaseModelOutputWithPooling",
    "BaseModelOutputWithPoolingAndCrossAttentions",
    "CausalLMOutput",
    "CausalLMOutputWithCrossAttentions",
    "CausalLMOutputWithPast",
    "MaskedLMOutput",
    "MultipleChoiceModelOutput",
    "NextSentencePredictorOutput",
    "QuestionAnsweringModelOutput",
    "Seq2SeqLMOutput",
    "Seq2SeqModelOutput",
    "Seq2SeqQuestionAnsweringModelOutput",
    "Seq2SeqSequenceClassifierOutput",
    "SequenceClassifierOutput",
    "TokenClassifierOutput",
]

# A mean over what the labels count. 0-d, where the page writes (1,): so every loss function of PyTorch returns it.
# Of outputs that were concatenated, or gathered from several devices, one for each part.
Loss = Float[Tensor, ""] | Float[Tensor, "parts"]

# One state per layer and, first, the embeddings'; None in place of a layer that was not asked for.
HiddenStates = tuple[Float[Tensor, "batch seq hidden"] | None, ...]
EncoderHiddenStates = tuple[Float[Tensor, "batch enc_seq hidden"] | None, ...]

# Weights after the softmax, one tensor per layer; None in place of a layer that was not asked for.
Attentions = tuple[Float[Tensor, "batch heads seq seq"] | None, ...]
CachedAttentions = tuple[Float[Tensor, "batch heads seq past"] | None, ...]
EncoderAttentions = tuple[Float[Tensor, "batch enc_heads enc_seq enc_seq"] | None, ...]
CrossAttentions = tuple[Float[Tensor, "batch heads seq enc_seq"] | None, ...]

# Keys and values per layer: of the positions seen so far and, where a layer attends to an encoder, of that.
_States = Float[Tensor, "batch kv_heads past head_dim"]
_EncoderStates = Float[Tensor, "batch kv_heads enc_seq head_dim"]
SelfPastKeyValues = tuple[tuple[_States, _States], ...]
PastKeyValues = tuple[tuple[_States, _States] | tuple[_States, _States, _EncoderStates, _EncoderStates], ...]

LastHiddenState = Float[Tensor, "batch seq hidden"]
EncoderLastHiddenState = Float[Tensor, "batch enc_seq hidden"]
PoolerOutput = Float[Tensor, "batch hidden"]
VocabLogits = Float[Tensor, "batch seq vocab"]
RowLogits = Float[Tensor, "batch labels"]
TokenLogits = Float[Tensor, "batch seq labels"]
PositionLogits = Float[Tensor, "batch seq"]


class BaseModelOutput(ModelOutput):
    """A stack of layers: its last hidden state, and the states and attentions of its layers."""

    last_hidden_state: LastHiddenState = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class BaseModelOutputWithPooling(ModelOutput):
    """An encoder that also pools each row into one vector."""

    last_hidden_state: LastHiddenState = ALWAYS
    pooler_output: PoolerOutput = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class BaseModelOutputWithCrossAttentions(ModelOutput):
    """A stack that attends to an encoder and keeps no cache."""

    last_hidden_state: LastHiddenState = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None
    cross_attentions: CrossAttentions | None = None


class BaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """A decoder that pools, keeps a cache and may attend to an encoder."""

    last_hidden_state: LastHiddenState = ALWAYS
    pooler_output: PoolerOutput = ALWAYS
    hidden_states: HiddenStates | None = None
    past_key_values: PastKeyValues | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class BaseModelOutputWithPast(ModelOutput):
    """A decoder that keeps a cache."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None


class BaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """A decoder that keeps a cache and may attend to an encoder."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class Seq2SeqModelOutput(ModelOutput):
    """An encoder and its decoder."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class CausalLMOutput(ModelOutput):
    """A language model that predicts each next token and keeps no cache."""

    loss: Loss | None = None
    logits: VocabLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class CausalLMOutputWithCrossAttentions(ModelOutput):
    """A language model that predicts each next token, keeps a cache and may attend to an encoder."""

    loss: Loss | None = None
    logits: VocabLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class CausalLMOutputWithPast(ModelOutput):
    """A language model that predicts each next token and keeps a cache."""

    loss: Loss | None = None
    logits: VocabLogits = ALWAYS
    past_key_values: SelfPastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None


class MaskedLMOutput(ModelOutput):
    """A language model that fills in masked tokens."""

    loss: Loss | None = None
    logits: VocabLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class Seq2SeqLMOutput(ModelOutput):
    """An encoder and a decoder that predicts each next token."""

    loss: Loss | None = None
    logits: VocabLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class NextSentencePredictorOutput(ModelOutput):
    """Whether the second sentence follows the first: logits of "follows", then of "does not"."""

    loss: Loss | None = field(default=None, metadata={"returned_when": "next_sentence_label is passed"})
    logits: Float[Tensor, "batch 2"] = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class SequenceClassifierOutput(ModelOutput):
    """A class, several classes or a number for each row."""

    loss: Loss | None = None
    logits: RowLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class Seq2SeqSequenceClassifierOutput(ModelOutput):
    """A class for each row, from an encoder and a decoder."""

    loss: Loss | None = None
    logits: RowLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class MultipleChoiceModelOutput(ModelOutput):
    """A score for each of a row's choices; each choice is a sequence of its own in states and attentions."""

    loss: Loss | None = None
    logits: Float[Tensor, "batch choices"] = ALWAYS
    hidden_states: tuple[Float[Tensor, "batch*choices seq hidden"] | None, ...] | None = None
    attentions: tuple[Float[Tensor, "batch*choices heads seq seq"] | None, ...] | None = None


class TokenClassifierOutput(ModelOutput):
    """A class for each token."""

    loss: Loss | None = None
    logits: TokenLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class QuestionAnsweringModelOutput(ModelOutput):
    """Where the answer starts and where it ends: a score for each token as either."""

    loss: Loss | None = field(default=None, metadata={"returned_when": "start_positions and end_positions are passed"})
    start_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    end_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class Seq2SeqQuestionAnsweringModelOutput(ModelOutput):
    """Where the answer starts and where it ends, from an encoder and a decoder."""

    loss: Loss | None = field(default=None, metadata={"returned_when": "start_positions and end_positions are passed"})
    start_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    end_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None
