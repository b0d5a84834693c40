"""The 15 Flax output classes: which fields each has, in which order, and with which axes.

As those of PyTorch (`modeloutputs.torch.outputs`), with JAX arrays and without losses, as the page has them: in JAX
whoever trains computes the loss from the logits. Axis names are explained in `modeloutputs.output.contract`.
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

# One state per layer and, first, the embeddings'; None in place of a layer that was not asked for.
HiddenStates = tuple[Float[Array, "batch seq hidden"] | None, ...]
EncoderHiddenStates = tuple[Float[Array, "batch enc_seq hidden"] | None, ...]

# Weights after the softmax, one tensor per layer; None in place of a layer that was not asked for.
Attentions = tuple[Float[Array, "batch heads seq seq"] | None, ...]
CachedAttentions = tuple[Float[Array, "batch heads seq past"] | None, ...]
EncoderAttentions = tuple[Float[Array, "batch enc_heads enc_seq enc_seq"] | None, ...]
CrossAttentions = tuple[Float[Array, "batch heads seq enc_seq"] | None, ...]

# Keys and values per layer: of the positions seen so far and, where a layer attends to an encoder, of that.
_States = Float[Array, "batch kv_heads past head_dim"]
_EncoderStates = Float[Array, "batch kv_heads enc_seq head_dim"]
PastKeyValues = tuple[tuple[_States, _States] | tuple[_States, _States, _EncoderStates, _EncoderStates], ...]

# A cache of constant shape, as compiled steps want it, under the names that Flax has for its parts: for layer i the
# arrays "layers.i.cached_key" and "layers.i.cached_value", and "cache_index": how many positions each row has filled.
# Positions behind those are room.
StaticCache = dict[str, Float[Array, "batch max_length kv_heads head_dim"] | Int[Array, "batch"]]

LastHiddenState = Float[Array, "batch seq hidden"]
EncoderLastHiddenState = Float[Array, "batch enc_seq hidden"]
PoolerOutput = Float[Array, "batch hidden"]
VocabLogits = Float[Array, "batch seq vocab"]
RowLogits = Float[Array, "batch labels"]
TokenLogits = Float[Array, "batch seq labels"]
PositionLogits = Float[Array, "batch seq"]


class FlaxBaseModelOutput(ModelOutput):
    """A stack of layers: its last hidden state, and the states and attentions of its layers."""

    last_hidden_state: LastHiddenState = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxBaseModelOutputWithPast(ModelOutput):
    """A decoder that keeps a cache."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: StaticCache | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None


class FlaxBaseModelOutputWithPooling(ModelOutput):
    """An encoder that also pools each row into one vector."""

    last_hidden_state: LastHiddenState = ALWAYS
    pooler_output: PoolerOutput = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxBaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """A decoder that keeps a cache and may attend to an encoder."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class FlaxSeq2SeqModelOutput(ModelOutput):
    """An encoder and its decoder."""

    last_hidden_state: LastHiddenState = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class FlaxCausalLMOutputWithCrossAttentions(ModelOutput):
    """A language model that predicts each next token, keeps a cache and may attend to an encoder."""

    logits: VocabLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    hidden_states: HiddenStates | None = None
    attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None


class FlaxMaskedLMOutput(ModelOutput):
    """A language model that fills in masked tokens."""

    logits: VocabLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxSeq2SeqLMOutput(ModelOutput):
    """An encoder and a decoder that predicts each next token."""

    logits: VocabLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class FlaxNextSentencePredictorOutput(ModelOutput):
    """Whether the second sentence follows the first: logits of "follows", then of "does not"."""

    logits: Float[Array, "batch 2"] = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxSequenceClassifierOutput(ModelOutput):
    """A class, several classes or a number for each row."""

    logits: RowLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxSeq2SeqSequenceClassifierOutput(ModelOutput):
    """A class for each row, from an encoder and a decoder."""

    logits: RowLogits = ALWAYS
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None


class FlaxMultipleChoiceModelOutput(ModelOutput):
    """A score for each of a row's choices; each choice is a sequence of its own in states and attentions."""

    logits: Float[Array, "batch choices"] = ALWAYS
    hidden_states: tuple[Float[Array, "batch*choices seq hidden"] | None, ...] | None = None
    attentions: tuple[Float[Array, "batch*choices heads seq seq"] | None, ...] | None = None


class FlaxTokenClassifierOutput(ModelOutput):
    """A class for each token."""

    logits: TokenLogits = ALWAYS
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxQuestionAnsweringModelOutput(ModelOutput):
    """Where the answer starts and where it ends: a score for each token as either."""

    start_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    end_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    hidden_states: HiddenStates | None = None
    attentions: Attentions | None = None


class FlaxSeq2SeqQuestionAnsweringModelOutput(ModelOutput):
    """Where the answer starts and where it ends, from an encoder and a decoder."""

    start_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    end_logits: PositionLogits = field(default=ALWAYS, metadata=PAD_WITH_NEG_INF)
    past_key_values: PastKeyValues | None = None
    decoder_hidden_states: HiddenStates | None = None
    decoder_attentions: CachedAttentions | None = None
    cross_attentions: CrossAttentions | None = None
    encoder_last_hidden_state: EncoderLastHiddenState | None = None
    encoder_hidden_states: EncoderHiddenStates | None = None
    encoder_attentions: EncoderAttentions | None = None
