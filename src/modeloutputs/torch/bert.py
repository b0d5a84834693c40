"""BERT (Devlin et al., 2019): a bidirectional encoder, or a decoder with cross-attention and cache.

Arguments are explained in `modeloutputs.torch.arguments`. `token_type_ids` are 0 where not passed.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..architectures import BertConfig
from ..architectures.bert import LAYER_PATHS, WEIGHT_NAMES, layer_settings
from ..architectures.layers import LayerSettings
from .attention import Attention, AttentionResult, CrossAttention
from .cache import PastKeyValues
from .inputs import check_ids, first_position, rows_at
from .layer import LayerContext
from .layers import LayerSelection, activate, activation
from .outputs import (
    BaseModelOutputWithPooling,
    BaseModelOutputWithPoolingAndCrossAttentions,
)
from .plain import add_residual, apply_dropout, apply_embedding_row, apply_linear, apply_positions
from .pretrained import PreTrainedModel
from .results import finished, result_of
from .stack import Call, Stack, StackHolder, run_stack

__all__ = ["BertModel", "BertPreTrainedModel"]


# -- modules ----------------------------------------------------------------------------------------------------------


class BertEmbeddings(nn.Module):
    """Sum of token, position and token type embeddings, normalised (section 3, "Input/Output Representations")."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, config.layer_norm_eps)
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
        table = self.token_type_embeddings
        types = apply_embedding_row(table, 0, words) if token_type_ids is None else table(token_type_ids)
        positions = apply_positions(self.position_embeddings, position_ids, past, words)
        return apply_dropout(self.dropout, self.LayerNorm((words + types).add_(positions)))


class BertSelfOutput(nn.Module):
    """The end of a block: a linear layer, dropout, and the normalised sum with the block's input."""

    def __init__(self, settings: LayerSettings, inputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, settings.hidden_size)
        self.LayerNorm = nn.LayerNorm(settings.hidden_size, settings.norm_eps)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, states: Tensor, residual: Tensor) -> Tensor:
        """Map (B, S, inputs) and the block's input (B, S, hidden) to (B, S, hidden)."""
        dense, dropout = self.dense, self.dropout
        update = apply_dropout(dropout, apply_linear(dense, states))
        return self.LayerNorm(add_residual(update, residual, dense, dropout))


class BertAttention(nn.Module):
    """Attention, to the sequence itself or to an encoder, added to its input."""

    def __init__(self, settings: LayerSettings, layer: int, kind: type[Attention]) -> None:
        super().__init__()
        self.self = kind(settings, layer, query="query", key="key", value="value", output=None)
        self.output = BertSelfOutput(settings, settings.hidden_size)

    def forward(self, hidden: Tensor, context: LayerContext, with_weights: bool = False) -> tuple[Any, ...]:
        """Map (B, S, hidden) to the parts of an `AttentionResult`; `with_weights` also returns the weights."""
        given = {"context": context, "with_weights": with_weights}
        result = result_of(AttentionResult, context.made, self.self, hidden, **given)
        attended, weights, key_value = result
        return finished(context.made, self.output(attended, hidden), weights, beside=(key_value,))


class BertIntermediate(nn.Module):
    """The first half of the feed-forward block: a linear layer and the activation."""

    def __init__(self, settings: LayerSettings) -> None:
        super().__init__()
        activation(settings.activation)
        self.hidden_act = settings.activation
        self.dense = nn.Linear(settings.hidden_size, settings.intermediate_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., hidden) to (..., intermediate)."""
        dense = self.dense
        return activate(self.hidden_act, apply_linear(dense, hidden), dense)


class BertLayer(nn.Module):
    """Self-attention, cross-attention where configured, and feed-forward."""

    paths = LAYER_PATHS

    def __init__(self, settings: LayerSettings, index: int) -> None:
        super().__init__()
        self.settings, self.index = settings, index
        self.attention = BertAttention(settings, index, Attention)
        if settings.cross_attention:
            self.crossattention = BertAttention(settings, index, CrossAttention)
        self.intermediate = BertIntermediate(settings)
        self.output = BertSelfOutput(settings, settings.intermediate_size)

    def forward(self, hidden: Tensor, context: LayerContext, with_weights: bool = False) -> tuple[Any, ...]:
        """Map (B, S, hidden) to the parts of a `LayerResult`; `with_weights` also returns the attention weights."""
        made, given = context.made, {"context": context, "with_weights": with_weights}
        result = result_of(AttentionResult, made, self.attention, hidden, **given)
        hidden, weights, present = result
        cross_weights = None
        if self.settings.cross_attention and context.has_encoder:
            crossed = result_of(AttentionResult, made, self.crossattention, hidden, **given)
            hidden, cross_weights, encoder = crossed
            present = None if present is None or encoder is None else (*present, *encoder)
        hidden = self.output(self.intermediate(hidden), hidden)
        return finished(made, hidden, weights, cross_weights, beside=(present,))


class BertEncoder(StackHolder):
    """The layers."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        settings = layer_settings(config)
        self.layer = Stack(settings, (BertLayer(settings, i) for i in range(config.num_hidden_layers)))

    def forward(self, hidden: Tensor, call: Call) -> tuple[Any, ...]:
        """Map embeddings (B, S, hidden) to the parts of a `StackResult`."""
        return finished(call.made, *run_stack(self.layer, hidden, call))


class BertPooler(nn.Module):
    """The first token's state, through a linear layer and tanh."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, first: Tensor | None = None) -> Tensor:
        """Pool (B, S, hidden) at each row's `first` token, (B,), or at index 0; return (B, hidden)."""
        return torch.tanh(self.dense(rows_at(hidden, first, 0)))


# -- the model --------------------------------------------------------------------------------------------------------


class BertPreTrainedModel(PreTrainedModel[BertConfig]):
    """Base of all BERT models."""

    config_class = BertConfig
    weight_names = WEIGHT_NAMES
    layer_paths = LAYER_PATHS


class BertModel(BertPreTrainedModel):
    """BERT without a head.

    An encoder returns BaseModelOutputWithPooling; with `config.is_decoder`, a decoder that sees no later position and
    returns BaseModelOutputWithPoolingAndCrossAttentions. Without a pooling layer `pooler_output` is absent.
    """

    input_embeddings = "embeddings.word_embeddings"

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        with self._building():
            self.embeddings = BertEmbeddings(config)
            self.encoder = BertEncoder(config)
            self.pooler = BertPooler(config) if add_pooling_layer else None

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
        head_mask: Tensor | None = None,
    ) -> BaseModelOutputWithPooling | BaseModelOutputWithPoolingAndCrossAttentions:
        """Return the states of all positions, and the first token's pooled; see `modeloutputs.torch.arguments`."""
        config = self.config
        call, position_ids = self._begin_call(
            self.encoder.layer,
            input_ids,
            inputs_embeds,
            position_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache if config.is_decoder else False,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            head_mask=head_mask,
            cross_attn_head_mask=head_mask,
        )
        if token_type_ids is not None:
            check_ids(token_type_ids, config.type_vocab_size, "token_type_ids", (call.rows, call.length))
        hidden = self.embeddings(input_ids, inputs_embeds, token_type_ids, position_ids, call.past)
        result = run_stack(self.encoder, hidden, call)
        pooled = None
        if self.pooler is not None:
            pooled = self.pooler(result.last_hidden_state, None if call.past else first_position(attention_mask))
        kind = BaseModelOutputWithPoolingAndCrossAttentions if config.is_decoder else BaseModelOutputWithPooling
        return self._as_requested(result.as_output(kind, pooler_output=pooled), return_dict)
