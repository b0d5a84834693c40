"""The 15 Flax output classes: the fields of each, their order and their axes.

They are the counterparts of the PyTorch classes in `modeloutputs.torch.outputs`, which explains them, with JAX arrays.
They have no losses, as on the page: in JAX the training step computes the loss from the logits.

Examples:
    >>> import jax.numpy as jnp
    >>> FlaxSequenceClassifierOutput(logits=jnp.zeros((2, 3))).check().logits.shape
    (2, 3)
"""

from dataclasses import field

from jax import Array
from jaxtyping import Float, Int

from ..output import ALWAYS, ModelOutput
from ..output.contract import PAD_WITH_NEG_INF

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

HiddenStates = tuple[Float[Array, "batch seq hidden"] | None, ...]
EncoderHiddenStates = tuple[Float[Array, "batch enc_seq hidden"] | None, ...]

Attentions = tuple[Float[Array, "batch heads seq seq"] | None, ...]
CachedAttentions = tuple[Float[Array, "batch heads seq past"] | None, ...]
EncoderAttentions = tuple[Float[Array, "batch enc_heads enc_seq enc_seq"] | None, ...]
CrossAttentions = tuple[Float[Array, "batch heads seq enc_seq"] | None, ...]

_States = Float[Array, "batch kv_heads past head_dim"]
_EncoderStates = Float[Array, "batch kv_heads enc_seq head_dim"]
PastKeyValues = tuple[tuple[_States, _States] | tuple[_States, _States, _EncoderStates, _EncoderStates], ...]

# A cache of constant shape, for compiled steps, with Flax's names: for layer i the arrays "layers.i.cached_key" and
# "layers.i.cached_value", and "cache_index", the number of filled positions of each row. Later positions are unused.
StaticCache = dict[str, Float[Array, "batch max_length kv_heads head_dim"] | Int[Array, "batch"]]

LastHiddenState = Float[Array, "batch seq hidden"]
EncoderLastHiddenState = Float[Array, "batch enc_seq hidden"]
PoolerOutput = Float[Array, "batch hidden"]
VocabLogits = Float[Array, "batch seq vocab"]
RowLogits = Float[Array, "batch labels"]
TokenLogits = Float[Array, "batch seq labels"]
PositionLogits = Float[Array, "batch seq"]


class FlaxBaseModelOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.BaseModelOutput`."""

    last_hidden_state: LastHiddenState = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxBaseModelOutputWithPast(ModelOutput):
    """The counterpart of `modeloutputs.torch.BaseModelOutputWithPast`."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: StaticCache | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None


class FlaxBaseModelOutputWithPooling(ModelOutput):
    """The counterpart of `modeloutputs.torch.BaseModelOutputWithPooling`."""

    last_hidden_state: LastHiddenState = ALWAYS
    pooler_output: PoolerOutput = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxBaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """The counterpart of `modeloutputs.torch.BaseModelOutputWithPastAndCrossAttentions`."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class FlaxSeq2SeqModelOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.Seq2SeqModelOutput`."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class FlaxCausalLMOutputWithCrossAttentions(ModelOutput):
    """The counterpart of `modeloutputs.torch.CausalLMOutputWithCrossAttentions`."""

    logits: VocabLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class FlaxMaskedLMOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.MaskedLMOutput`."""

    logits: VocabLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxSeq2SeqLMOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.Seq2SeqLMOutput`."""

    logits: VocabLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class FlaxNextSentencePredictorOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.NextSentencePredictorOutput`."""

    logits: Float[Array, "batch 2"] = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxSequenceClassifierOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.SequenceClassifierOutput`."""

    logits: RowLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxSeq2SeqSequenceClassifierOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.Seq2SeqSequenceClassifierOutput`."""

    logits: RowLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class FlaxMultipleChoiceModelOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.MultipleChoiceModelOutput`."""

    logits: Float[Array, "batch choices"] = ALWAYS
    hidden_states: tuple[Float[Array, "batch*choices seq hidden"] | None, ...] | None = None
    attentions: tuple[Float[Array, "batch*choices heads seq seq"] | None, ...] | None = None


class FlaxTokenClassifierOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.TokenClassifierOutput`."""

    logits: TokenLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxQuestionAnsweringModelOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.QuestionAnsweringModelOutput`."""

    start_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    end_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxSeq2SeqQuestionAnsweringModelOutput(ModelOutput):
    """The counterpart of `modeloutputs.torch.Seq2SeqQuestionAnsweringModelOutput`."""

    start_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    end_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None
