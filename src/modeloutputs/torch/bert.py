"""BERT (Devlin et al., 2019): a bidirectional encoder, or a decoder with cross-attention and cache.

What it is called with is explained in `modeloutputs.torch.arguments`. `token_type_ids` are 0 where not passed.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..architectures import BertConfig
from .cache import PastKeyValues
from .inputs import check_ids, check_position_ids, check_tokens, first_position, positions_from_mask, rows_at
from .layers import Embedding, LayerNorm, LayerSelection, Linear, PositionEmbedding
from .outputs import BaseModelOutputWithPooling, BaseModelOutputWithPoolingAndCrossAttentions
from .pretrained import PreTrainedModel
from .stack import LayerSettings, Stack
from .weights import Rename

__all__ = ["BertModel", "BertPreTrainedModel"]


class BertEmbeddings(nn.Module):
    """Sum of token, position and token type embeddings, normalised (section 3, "Input/Output Representations")."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position_embeddings = PositionEmbedding(config.max_position_embeddings, config.hidden_size)
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
        # Without ids, one row does for all: no look-up.
        kind = types.weight[0] if token_type_ids is None else types(token_type_ids)
        position = self.position_embeddings(position_ids, past, words.shape[1])
        return self.dropout(self.norm((words + kind).add_(position)))


class BertEncoder(nn.Module):
    """Holds the layers, as checkpoints do."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        settings = LayerSettings(
            hidden_size=config.hidden_size,
            heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            activation=config.hidden_act,
            norm_eps=config.layer_norm_eps,
            causal=config.is_decoder,
            cross_attention=config.add_cross_attention,
            dropout=config.hidden_dropout_prob,
            attention_dropout=config.attention_probs_dropout_prob,
        )
        self.layer = Stack(settings, config.num_hidden_layers)


class BertPooler(nn.Module):
    """The first token's state, through a linear layer and tanh."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, first: Tensor | None) -> Tensor:
        """Pool (B, S, hidden) at each row's `first` token, (B,), or at index 0; return (B, hidden)."""
        return torch.tanh(self.dense(rows_at(hidden, first, 0)))


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
        """Return the states of all positions, and the first token's pooled; see `modeloutputs.torch.arguments`."""
        config = self.config
        rows, length = check_tokens(input_ids, inputs_embeds, config.vocab_size, config.hidden_size)
        if token_type_ids is not None:
            check_ids(token_type_ids, config.type_vocab_size, "token_type_ids", (rows, length))
        check_position_ids(position_ids, config.max_position_embeddings, rows, length)
        given = self._given(
            attention_mask=attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache if config.is_decoder else False,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        stack = self.encoder.layer
        call = stack.check(given, rows, length, config.max_position_embeddings)
        if position_ids is None:
            position_ids = positions_from_mask(attention_mask, length)
        result = stack(self.embeddings(input_ids, inputs_embeds, token_type_ids, position_ids, call.past), call)
        pooled = None
        if self.pooler is not None:
            first = None if call.past else first_position(attention_mask)
            pooled = self.pooler(result.last_hidden_state, first)
        kind = BaseModelOutputWithPoolingAndCrossAttentions if config.is_decoder else BaseModelOutputWithPooling
        return self._returned(result.as_output(kind, pooler_output=pooled), return_dict)
