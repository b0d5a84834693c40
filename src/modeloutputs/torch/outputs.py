"""The 19 PyTorch output classes: the fields of each, their order and their axes.

`modeloutputs.output.contract` explains the axis names; `modeloutputs classes` prints what fills each field. A field
that a model always fills is annotated without None, a field that a flag or labels fill is `| None`.

Examples:
    >>> import torch
    >>> SequenceClassifierOutput(logits=torch.zeros(2, 3)).check().logits.shape
    torch.Size([2, 3])
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

# The mean over the labels that count. 0-d, as PyTorch's loss functions return it, although the page says (1,).
# Outputs that were concatenated, or gathered from several devices, have one for each part.
Loss = Float[Tensor, ""] | Float[Tensor, "parts"]

# The embeddings' state, then one per layer; None in place of a layer that was not asked for.
HiddenStates = tuple[Float[Tensor, "batch seq hidden"] | None, ...]
EncoderHiddenStates = tuple[Float[Tensor, "batch enc_seq hidden"] | None, ...]

# Weights after the softmax, one tensor per layer; None in place of a layer that was not asked for.
Attentions = tuple[Float[Tensor, "batch heads seq seq"] | None, ...]
CachedAttentions = tuple[Float[Tensor, "batch heads seq past"] | None, ...]
EncoderAttentions = tuple[Float[Tensor, "batch enc_heads enc_seq enc_seq"] | None, ...]
CrossAttentions = tuple[Float[Tensor, "batch heads seq enc_seq"] | None, ...]

# Keys and values per layer, of all positions so far; a layer that attends to an encoder has the encoder's too.
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
    """A stack of layers: its last hidden state, and the hidden states and attentions of its layers."""

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
    """A stack with cross-attention and without a cache."""

    last_hidden_state: LastHiddenState = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None
    cross_attentions: CrossAttentions | None = None


class BaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """A decoder with a pooler and a cache, and possibly cross-attention."""

    last_hidden_state: LastHiddenState = ALWAYS
    pooler_output: PoolerOutput = ALWAYS
    hidden_states: HiddenStates | None = None
    past_key_values: PastKeyValues | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class BaseModelOutputWithPast(ModelOutput):
    """A decoder with a cache."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None


class BaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """A decoder with a cache, and possibly cross-attention."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class Seq2SeqModelOutput(ModelOutput):
    """An encoder-decoder model without a head."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class CausalLMOutput(ModelOutput):
    """A causal language model without a cache."""

    loss: Loss | None = None
    logits: VocabLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class CausalLMOutputWithCrossAttentions(ModelOutput):
    """A causal language model with a cache, and possibly cross-attention."""

    loss: Loss | None = None
    logits: VocabLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class CausalLMOutputWithPast(ModelOutput):
    """A causal language model with a cache."""

    loss: Loss | None = None
    logits: VocabLogits = ALWAYS
    past_key_values: SelfPastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None


class MaskedLMOutput(ModelOutput):
    """A masked language model."""

    loss: Loss | None = None
    logits: VocabLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class Seq2SeqLMOutput(ModelOutput):
    """An encoder-decoder language model."""

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
    """Next sentence prediction: the logits of "is the next sentence", then of "is not"."""

    loss: Loss | None = field(default=None, metadata={"returned_when": "next_sentence_label is passed"})
    logits: Float[Tensor, "batch 2"] = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class SequenceClassifierOutput(ModelOutput):
    """Classification or regression of each row."""

    loss: Loss | None = None
    logits: RowLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class Seq2SeqSequenceClassifierOutput(ModelOutput):
    """Classification of each row by an encoder-decoder model."""

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
    """A score for each choice of a row; in states and attentions each choice is a sequence of its own."""

    loss: Loss | None = None
    logits: Float[Tensor, "batch choices"] = ALWAYS
    hidden_states: tuple[Float[Tensor, "batch*choices seq hidden"] | None, ...] | None = None
    attentions: tuple[Float[Tensor, "batch*choices heads seq seq"] | None, ...] | None = None


class TokenClassifierOutput(ModelOutput):
    """Classification of each token."""

    loss: Loss | None = None
    logits: TokenLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class QuestionAnsweringModelOutput(ModelOutput):
    """Extractive question answering: the scores of each token as the start and as the end of the answer."""

    loss: Loss | None = field(default=None, metadata={"returned_when": "start_positions and end_positions are passed"})
    start_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    end_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class Seq2SeqQuestionAnsweringModelOutput(ModelOutput):
    """Extractive question answering by an encoder-decoder model."""

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
