"""BERT (Devlin et al., 2019): a bidirectional encoder, or a decoder with cross-attention and cache, and its heads.

Inputs, the same for every model here (B rows, S positions):

- `input_ids` (B, S) integers, or `inputs_embeds` (B, S, hidden) in their place.
- `attention_mask` (B, past + S) non-zero at tokens and zero at padding, on either side; what is masked counts as
  absent: it takes no position. Or (B, S, past + S) or (B, heads, S, past + S), saying for each query what it sees;
  positions then count all.
- `token_type_ids` (B, S), 0 for the first text, 1 for the second; 0 where not passed.
- `position_ids` (B, S); from the mask where not passed.
- `encoder_hidden_states` (B, E, hidden) and `encoder_attention_mask` (B, E), for a decoder with cross-attention.
- `past_key_values`, the cache that an earlier call returned; it is left as it is.
- `use_cache`, `output_hidden_states`, `output_attentions`, `return_dict`: the configuration's where not passed. The two
  `output_` flags also take layer indices: other layers are then None, so that indices keep their meaning.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypedDict, TypeVar, Unpack, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from ..configs import BertConfig
from ..errors import InputError
from ..output import ModelOutput
from .attention import AttentionMask, CrossAttention, KeyValue, SelfAttention, build_mask
from .blocks import block_rows, in_blocks
from .cache import PastKeyValues, check_cache, past_length
from .inputs import check_embeds, check_ids, check_one_given, check_positions, first_position, positions_from_mask
from .layers import Embedding, FeedForward, LayerNorm, LayerSelection, Linear, activation, add_residual, select_layers
from .losses import (
    NumItems,
    causal_lm_loss,
    cross_entropy,
    question_answering_loss,
    sequence_classification_loss,
)
from .outputs import (
    BaseModelOutputWithPooling,
    BaseModelOutputWithPoolingAndCrossAttentions,
    CausalLMOutputWithCrossAttentions,
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    NextSentencePredictorOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from .pretrained import PreTrainedModel
from .weights import Rename

__all__ = [
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertLMHeadModel",
    "BertModel",
]


HeadOutput = TypeVar("HeadOutput", bound=ModelOutput)


class Flags(TypedDict, total=False):
    """What to return; see the module."""

    output_hidden_states: LayerSelection | None
    output_attentions: LayerSelection | None


class Inputs(Flags, total=False):
    """Inputs beside ids, mask and token types; see the module."""

    position_ids: Tensor | None
    inputs_embeds: Tensor | None


class DecoderInputs(Inputs, total=False):
    """Inputs of a decoder; see the module."""

    encoder_hidden_states: Tensor | None
    encoder_attention_mask: Tensor | None
    past_key_values: PastKeyValues | None


# -- the stack --------------------------------------------------------------------------------------------------------


class BertEmbeddings(nn.Module):
    """Sum of token, position and token type embeddings, normalised (section 3, "Input/Output Representations")."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position_embeddings = Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        past: int,
    ) -> Tensor:
        """Embed (B, S) tokens that follow `past` others into (B, S, hidden)."""
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        types = self.token_type_embeddings
        # Without ids, one row or a slice of the table does for all: no look-up.
        kind = types.weight[0] if token_type_ids is None else types(token_type_ids)
        table = self.position_embeddings
        position = table.weight[past : past + words.shape[1]] if position_ids is None else table(position_ids)
        return self.dropout(self.norm((words + kind).add_(position)))


class LayerResult(NamedTuple):
    """What one layer returns; what was not asked for is None."""

    hidden: Tensor
    attention: Tensor | None
    cross_attention: Tensor | None
    past: tuple[Tensor, ...] | None


class LayerContext(NamedTuple):
    """What all layers of one call are given alike."""

    mask: AttentionMask
    encoder_hidden_states: Tensor | None
    encoder_mask: AttentionMask
    use_cache: bool

    @property
    def holds_more_rows(self) -> bool:
        """Whether layers are given, or return, more by row than their hidden state and mask."""
        return self.use_cache or self.encoder_hidden_states is not None


class BertLayer(nn.Module):
    """Self-attention, cross-attention where configured, and feed-forward, each added to its input and normalised."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, heads = config.hidden_size, config.num_attention_heads
        self.attention = SelfAttention(width, heads, config.attention_probs_dropout_prob)
        self.attention_norm = LayerNorm(width, config.layer_norm_eps)
        self.cross_attention: CrossAttention | None = None
        if config.add_cross_attention:
            self.cross_attention = CrossAttention(width, heads, config.attention_probs_dropout_prob)
            self.cross_attention_norm = LayerNorm(width, config.layer_norm_eps)
        self.feed_forward = FeedForward(width, config.intermediate_size, config.hidden_act)
        self.feed_forward_norm = LayerNorm(width, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, hidden: Tensor, context: LayerContext, past: tuple[Tensor, ...] | None, with_weights: bool
    ) -> LayerResult:
        """Map (B, S, hidden) to (B, S, hidden)."""
        past_self = cast("KeyValue | None", past[:2] if past else None)
        attended, weights, present = self.attention(hidden, context.mask, past_self, with_weights)
        hidden = self.attention_norm(add_residual(self.dropout(attended), hidden))
        cross_weights, kept = None, cast("tuple[Tensor, ...]", present)
        cross = self._cross_key_value(context, past)
        if cross is not None and self.cross_attention is not None:
            attended, cross_weights = self.cross_attention(hidden, cross, context.encoder_mask, with_weights)
            hidden = self.cross_attention_norm(add_residual(self.dropout(attended), hidden))
            kept = (*present, *cross)
        hidden = self.feed_forward_norm(add_residual(self.dropout(self.feed_forward(hidden)), hidden))
        return LayerResult(hidden, weights, cross_weights, kept if context.use_cache else None)

    def _cross_key_value(self, context: LayerContext, past: tuple[Tensor, ...] | None) -> KeyValue | None:
        if self.cross_attention is None:
            return None
        if past is not None and len(past) == 4:
            return past[2], past[3]
        return (
            None
            if context.encoder_hidden_states is None
            else self.cross_attention.project(context.encoder_hidden_states)
        )


class EncoderResult(NamedTuple):
    """What the stack returns: the last state and, per layer, what was asked for."""

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor | None, ...] | None
    attentions: tuple[Tensor | None, ...] | None
    cross_attentions: tuple[Tensor | None, ...] | None
    past_key_values: PastKeyValues | None


class BertEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))

    def forward(
        self,
        hidden: Tensor,
        context: LayerContext,
        past_key_values: PastKeyValues | None,
        keep_hidden: list[bool],
        keep_attention: list[bool],
        gradient_checkpointing: bool,
    ) -> EncoderResult:
        """Run all layers.

        Args:
            hidden: the embeddings (B, S, hidden).
            context: what all layers are given.
            past_key_values: a tuple per layer, or None.
            keep_hidden: for the embeddings and each layer, whether its states are returned.
            keep_attention: for each layer, whether its attention weights are.
            gradient_checkpointing: recompute each layer in the backward pass.
        """
        block = block_rows(hidden)
        if block is not None and past_key_values is None and not (any(keep_attention) or context.holds_more_rows):
            return self._in_blocks(hidden, context, keep_hidden, block)
        states = [hidden if keep_hidden[0] else None]
        weights: list[Tensor | None] = []
        cross_weights: list[Tensor | None] = []
        present: list[tuple[Tensor, ...]] = []
        for i, layer in enumerate(self.layer):
            past = None if past_key_values is None else past_key_values[i]
            run = partial(_recompute, layer) if gradient_checkpointing else layer
            result: LayerResult = run(hidden, context, past, keep_attention[i])
            hidden = result.hidden
            states.append(hidden if keep_hidden[i + 1] else None)
            weights.append(result.attention)
            cross_weights.append(result.cross_attention)
            present.extend([] if result.past is None else [result.past])
        return EncoderResult(
            hidden,
            tuple(states) if any(keep_hidden) else None,
            tuple(weights) if any(keep_attention) else None,
            tuple(cross_weights) if any(w is not None for w in cross_weights) else None,
            tuple(present) or None,
        )

    def _in_blocks(self, hidden: Tensor, context: LayerContext, keep_hidden: list[bool], block: int) -> EncoderResult:
        """Run all layers over some rows at a time; see `modeloutputs.torch.blocks`."""
        last = len(self.layer)
        wanted = [i for i in range(1, last + 1) if keep_hidden[i] or i == last]

        def run(hidden: Tensor, bias: Tensor | None) -> list[Tensor]:
            mask = context.mask._replace(bias=bias)
            states: dict[int, Tensor] = {}
            for i, layer in enumerate(self.layer, 1):
                hidden = layer(hidden, context._replace(mask=mask), None, False).hidden
                states[i] = hidden
            return [states[i] for i in wanted]

        states = dict(zip(wanted, in_blocks(run, hidden.shape[0], block, (hidden, context.mask.bias)), strict=True))
        states[0] = hidden
        kept = tuple(states[i] if keep else None for i, keep in enumerate(keep_hidden))
        return EncoderResult(states[last], kept if any(keep_hidden) else None, None, None, None)


def _recompute(layer: nn.Module, *arguments: Any) -> Any:
    return cast("Any", checkpoint(layer, *arguments, use_reentrant=False))


class BertPooler(nn.Module):
    """The first token's state, through a linear layer and tanh."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, first: Tensor | None) -> Tensor:
        """Pool (B, S, hidden) at each row's `first` token, (B,), or at index 0; return (B, hidden)."""
        if first is None:
            return torch.tanh(self.dense(hidden[:, 0]))
        return torch.tanh(self.dense(hidden[torch.arange(hidden.shape[0], device=hidden.device), first]))


class BertPreTrainedModel(PreTrainedModel[BertConfig]):
    """Base of all BERT models: how checkpoints spell their weights."""

    config_class = BertConfig
    base_model_prefix = "bert"
    renames: ClassVar[tuple[Rename, ...]] = (
        Rename("embeddings.norm", ("embeddings.LayerNorm",)),
        Rename("attention.qkv", ("attention.self.query", "attention.self.key", "attention.self.value")),
        Rename("attention.output", ("attention.output.dense",)),
        Rename("attention_norm", ("attention.output.LayerNorm",)),
        Rename("cross_attention.query", ("crossattention.self.query",)),
        Rename("cross_attention.key_value", ("crossattention.self.key", "crossattention.self.value")),
        Rename("cross_attention.output", ("crossattention.output.dense",)),
        Rename("cross_attention_norm", ("crossattention.output.LayerNorm",)),
        Rename("feed_forward.up", ("intermediate.dense",)),
        Rename("feed_forward.down", ("output.dense",)),
        Rename("feed_forward_norm", ("output.LayerNorm",)),
        Rename("cls.predictions.bias", ("cls.predictions.bias",), fallback=("cls.predictions.decoder.bias",)),
        Rename("cls.predictions.decoder.bias", ("cls.predictions.decoder.bias",), fallback=("cls.predictions.bias",)),
    )
    optional_weights = r"pooler\.|encoder\.layer\.\d+\.cross_attention"
    ignored_weights = r"embeddings\.position_ids$|cls\.predictions\.(decoder\.)?bias$"
    tied_weights: ClassVar[Mapping[str, str]] = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight"
    }


class BertModel(BertPreTrainedModel):
    """BERT without a head.

    An encoder returns BaseModelOutputWithPooling; with `config.is_decoder`, a decoder that sees no later position and
    returns BaseModelOutputWithPoolingAndCrossAttentions. Without pooling layer `pooler_output` is absent.
    """

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self._initialise()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.embeddings.word_embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: PastKeyValues | None = None,
        use_cache: bool | None = None,
        output_hidden_states: LayerSelection | None = None,
        output_attentions: LayerSelection | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | BaseModelOutputWithPoolingAndCrossAttentions:
        """Return the states of all positions, and the first token's pooled; see the module for the arguments.

        With `return_dict=False` a plain tuple of the fields that are present.

        Raises:
            InputError: an argument of wrong shape, dtype or range, or missing; before anything is computed.
        """
        config = self.config
        use_cache = config.is_decoder and (config.use_cache if use_cache is None else use_cache)
        keep_hidden, keep_attention = self._kept(output_hidden_states, output_attentions)
        rows, length = self._check_tokens(input_ids, inputs_embeds, token_type_ids, position_ids)
        past = self._check_past(past_key_values, rows, length)
        self._check_encoder(encoder_hidden_states, past_key_values, rows)
        if position_ids is None:
            position_ids = positions_from_mask(attention_mask, length)
        hidden = self.embeddings(input_ids, inputs_embeds, token_type_ids, position_ids, past)
        context = LayerContext(
            build_mask(attention_mask, length, past + length, hidden, causal=config.is_decoder),
            encoder_hidden_states,
            _encoder_mask(encoder_attention_mask, encoder_hidden_states, past_key_values, hidden),
            use_cache,
        )
        checkpointing = self.gradient_checkpointing and self.training
        result = self.encoder(hidden, context, past_key_values, keep_hidden, keep_attention, checkpointing)
        pooled = None
        if self.pooler is not None:
            pooled = self.pooler(result.last_hidden_state, None if past else first_position(attention_mask))
        return self._returned(self._output(result, pooled), return_dict)

    def _output(
        self, result: EncoderResult, pooled: Tensor | None
    ) -> BaseModelOutputWithPooling | BaseModelOutputWithPoolingAndCrossAttentions:
        if not self.config.is_decoder:
            return BaseModelOutputWithPooling(
                last_hidden_state=result.last_hidden_state,
                pooler_output=cast("Tensor", pooled),
                hidden_states=result.hidden_states,
                attentions=result.attentions,
            )
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=result.last_hidden_state,
            pooler_output=cast("Tensor", pooled),
            hidden_states=result.hidden_states,
            past_key_values=cast("Any", result.past_key_values),
            attentions=result.attentions,
            cross_attentions=result.cross_attentions,
        )

    def _kept(
        self, output_hidden_states: LayerSelection | None, output_attentions: LayerSelection | None
    ) -> tuple[list[bool], list[bool]]:
        config, layers = self.config, self.config.num_hidden_layers
        hidden = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        attentions = config.output_attentions if output_attentions is None else output_attentions
        return (
            select_layers(hidden, layers + 1, "output_hidden_states"),
            select_layers(attentions, layers, "output_attentions"),
        )

    def _check_tokens(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
    ) -> tuple[int, int]:
        config, given = self.config, check_one_given(input_ids, inputs_embeds)
        if input_ids is not None:
            check_ids(input_ids, config.vocab_size, "input_ids")
        else:
            check_embeds(given, config.hidden_size, "inputs_embeds")
        rows, length = given.shape[:2]
        if token_type_ids is not None:
            check_ids(token_type_ids, config.type_vocab_size, "token_type_ids", (rows, length))
        if position_ids is not None:
            shape = (position_ids.shape[0], length) if position_ids.shape[:1] == (1,) else (rows, length)
            check_ids(position_ids, config.max_position_embeddings, "position_ids", shape)
        return rows, length

    def _check_past(self, past_key_values: PastKeyValues | None, rows: int, length: int) -> int:
        config = self.config
        if past_key_values is not None and not config.is_decoder:
            raise InputError("past_key_values was passed to an encoder; set config.is_decoder=True for a decoder")
        heads = config.num_attention_heads
        check_cache(past_key_values, config.num_hidden_layers, rows, heads, config.hidden_size // heads)
        if past_key_values is not None and len(past_key_values[0]) == 4 and not config.add_cross_attention:
            raise InputError("past_key_values holds an encoder's keys, and this model has no cross-attention")
        past = past_length(past_key_values)
        check_positions(length, past, config.max_position_embeddings)
        return past

    def _check_encoder(self, states: Tensor | None, past: PastKeyValues | None, rows: int) -> None:
        if states is None:
            return
        if not self.config.add_cross_attention:
            raise InputError(
                "encoder_hidden_states was passed to a model without cross-attention; "
                "set config.is_decoder=True and config.add_cross_attention=True"
            )
        check_embeds(states, self.config.hidden_size, "encoder_hidden_states", rows)
        if past is not None and len(past[0]) == 4 and past[0][2].shape[2] != states.shape[1]:
            raise InputError(
                f"encoder_hidden_states has {states.shape[1]} positions, and past_key_values was made with "
                f"{past[0][2].shape[2]}; pass the same encoder output in every step"
            )


def _encoder_mask(
    mask: Tensor | None, states: Tensor | None, past: PastKeyValues | None, hidden: Tensor
) -> AttentionMask:
    if states is not None:
        length = states.shape[1]
    elif past is not None and len(past[0]) == 4:
        length = past[0][2].shape[2]
    elif mask is not None:
        raise InputError("encoder_attention_mask was passed without encoder_hidden_states; pass both")
    else:
        return AttentionMask()
    return build_mask(mask, hidden.shape[1], length, hidden, causal=False)


# -- heads ---------------------------------------------------------------------------------------------------------


class BertPredictions(nn.Module):
    """Scores for each entry of the vocabulary: dense, activation, norm, and the token embeddings read backwards."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertPredictionTransform(config)
        self.decoder: nn.Linear | None = None
        if config.tie_word_embeddings:
            self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        else:
            self.decoder = Linear(config.hidden_size, config.vocab_size)

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """Map (B, S, hidden) to (B, S, vocab), `embeddings` being the table (vocab, hidden) that a tied model uses."""
        hidden = self.transform(hidden)
        return F.linear(hidden, embeddings, self.bias) if self.decoder is None else self.decoder(hidden)


class BertPredictionTransform(nn.Module):
    """Dense, activation and normalisation before the vocabulary scores."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.activation = activation(config.hidden_act)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., hidden) to (..., hidden)."""
        return self.LayerNorm(self.activation(self.dense(hidden)))


class _BertWithHead(BertPreTrainedModel):
    """A BERT with something on top."""

    bert: BertModel

    def __init__(self, config: BertConfig, pooling: bool) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=pooling)

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.bert.get_input_embeddings()

    def _finish(
        self, cls: type[HeadOutput], outputs: ModelOutput, return_dict: bool | None, **fields: Any
    ) -> HeadOutput:
        """Put the head's own fields together with the states and attentions of the model under it."""
        states = {name: outputs.get(name) for name in ("hidden_states", "attentions")}
        return self._returned(cls(**fields, **states), return_dict)


def _classifier_dropout(config: BertConfig) -> nn.Dropout:
    return nn.Dropout(config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout)


class BertForMaskedLM(_BertWithHead):
    """Predicts masked tokens (section 3.1, "Masked LM"); returns MaskedLMOutput."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=False)
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config)})
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> MaskedLMOutput:
        """Return logits (B, S, vocab) and, with `labels` (B, S), the loss over those that are not -100."""
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        logits = self.cls["predictions"](outputs.last_hidden_state, self.get_input_embeddings().weight)
        loss = None
        if labels is not None:
            loss = cross_entropy(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
        return self._finish(MaskedLMOutput, outputs, return_dict, loss=loss, logits=logits)


class BertLMHeadModel(_BertWithHead):
    """Predicts each next token; returns CausalLMOutputWithCrossAttentions.

    Raises:
        InputError: `config.is_decoder` is off: an encoder would see the token that it is to predict.
    """

    def __init__(self, config: BertConfig) -> None:
        if not config.is_decoder:
            raise InputError("BertLMHeadModel needs config.is_decoder=True: an encoder sees the token it is to predict")
        super().__init__(config, pooling=False)
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config)})
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **inputs: Unpack[DecoderInputs],
    ) -> CausalLMOutputWithCrossAttentions:
        """Return logits (B, S, vocab) and, with `labels` (B, S) aligned with the tokens, the loss of each next one.

        With labels, `use_cache` is off unless passed: training has no use for a cache.
        """
        if use_cache is None and labels is not None:
            use_cache = False
        outputs = self.bert(input_ids, attention_mask, token_type_ids, use_cache=use_cache, return_dict=True, **inputs)
        logits = self.cls["predictions"](outputs.last_hidden_state, self.get_input_embeddings().weight)
        loss = None
        if labels is not None:
            loss = causal_lm_loss(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
        kept = {"past_key_values": outputs.past_key_values, "cross_attentions": outputs.cross_attentions}
        return self._finish(CausalLMOutputWithCrossAttentions, outputs, return_dict, loss=loss, logits=logits, **kept)


class BertForNextSentencePrediction(_BertWithHead):
    """Tells whether the second text follows the first (section 3.1); returns NextSentencePredictorOutput."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=True)
        self.cls = nn.ModuleDict({"seq_relationship": Linear(config.hidden_size, 2)})
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> NextSentencePredictorOutput:
        """Return logits (B, 2) and, with `labels` (B,), the loss: 0 where the second text follows, 1 where not.

        `next_sentence_label`, as the page calls it, is another name for `labels`.
        """
        if labels is not None and next_sentence_label is not None:
            raise InputError("both labels and next_sentence_label were passed; they are one argument")
        labels = next_sentence_label if labels is None else labels
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        logits = self.cls["seq_relationship"](outputs.pooler_output)
        loss = None
        if labels is not None:
            flat = labels.reshape(-1)
            loss = cross_entropy(logits, flat, num_items=num_items, label_smoothing=label_smoothing)
        return self._finish(NextSentencePredictorOutput, outputs, return_dict, loss=loss, logits=logits)


class BertForSequenceClassification(_BertWithHead):
    """Gives each row a class, several classes or a number; returns SequenceClassifierOutput."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=True)
        self.dropout = _classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, config.num_labels)
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> SequenceClassifierOutput:
        """Return logits (B, labels) and, with `labels`, the loss that `sequence_classification_loss` chooses."""
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            problem_type = self.config.problem_type
            loss = sequence_classification_loss(
                logits, labels, problem_type, num_items=num_items, label_smoothing=label_smoothing
            )
        return self._finish(SequenceClassifierOutput, outputs, return_dict, loss=loss, logits=logits)


class BertForMultipleChoice(_BertWithHead):
    """Chooses among alternatives; returns MultipleChoiceModelOutput. Inputs have a choices axis (B, C, S)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=True)
        self.dropout = _classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, 1)
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **flags: Unpack[Flags],
    ) -> MultipleChoiceModelOutput:
        """Return logits (B, C) and, with `labels` (B,), the loss. States and attentions have B x C rows.

        Raises:
            InputError: inputs without the choices axis.
        """
        given = check_one_given(input_ids, inputs_embeds)
        if given.dim() != (3 if inputs_embeds is None else 4):
            what = "(batch, choices, seq)" if inputs_embeds is None else "(batch, choices, seq, hidden)"
            raise InputError(f"the input of a multiple-choice model has shape {tuple(given.shape)}; expected {what}")
        ids, mask, types, positions, embeds = (
            None if tensor is None else tensor.flatten(0, 1)
            for tensor in (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        )
        outputs = self.bert(ids, mask, types, position_ids=positions, inputs_embeds=embeds, return_dict=True, **flags)
        logits = self.classifier(self.dropout(outputs.pooler_output)).view(given.shape[:2])
        loss = None
        if labels is not None:
            loss = cross_entropy(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
        return self._finish(MultipleChoiceModelOutput, outputs, return_dict, loss=loss, logits=logits)


class BertForTokenClassification(_BertWithHead):
    """Gives each token a class; returns TokenClassifierOutput."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=False)
        self.dropout = _classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, config.num_labels)
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> TokenClassifierOutput:
        """Return logits (B, S, labels) and, with `labels` (B, S), the loss over those that are not -100."""
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        loss = None
        if labels is not None:
            loss = cross_entropy(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
        return self._finish(TokenClassifierOutput, outputs, return_dict, loss=loss, logits=logits)


class BertForQuestionAnswering(_BertWithHead):
    """Finds where an answer starts and ends (section 4.2); returns QuestionAnsweringModelOutput."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=False)
        if config.num_labels != 2:
            raise InputError(f"num_labels is {config.num_labels}; question answering has 2, start and end")
        self.qa_outputs = Linear(config.hidden_size, 2)
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> QuestionAnsweringModelOutput:
        """Return start and end logits (B, S) and, with both positions (B,), the loss.

        Raises:
            InputError: one of the positions without the other.
        """
        if (start_positions is None) != (end_positions is None):
            raise InputError("only one of start_positions and end_positions was passed; the loss needs both")
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = question_answering_loss(
                start_logits,
                end_logits,
                start_positions,
                end_positions,
                num_items=num_items,
                label_smoothing=label_smoothing,
            )
        logits = {"start_logits": start_logits, "end_logits": end_logits}
        return self._finish(QuestionAnsweringModelOutput, outputs, return_dict, loss=loss, **logits)
