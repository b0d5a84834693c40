"""Llama (Touvron et al., 2023; Llama Team, 2024): a decoder with rotary positions, grouped keys and RMSNorm.

What they are called with is explained in `modeloutputs.torch.arguments`.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..architectures import LlamaConfig
from ..errors import InputError
from .attention import compute_dtype, rotation
from .cache import PastKeyValues
from .inputs import check_position_ids, check_tokens, positions_from_mask
from .language import CausalLanguageModel
from .layers import Embedding, LayerSelection, RMSNorm
from .outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from .pretrained import PreTrainedModel
from .stack import LayerSettings, Stack
from .weights import Rename

__all__ = ["LlamaForCausalLM", "LlamaModel"]


class LlamaPreTrainedModel(PreTrainedModel[LlamaConfig]):
    """Base of Llama models: how checkpoints spell their weights."""

    config_class = LlamaConfig
    base_model_prefix = "model"
    renames: ClassVar[tuple[Rename, ...]] = (
        Rename("attention.qkv", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Rename("attention.output", ("self_attn.o_proj",)),
        Rename("attention_norm", ("input_layernorm",)),
        Rename("feed_forward.gate_up", ("mlp.gate_proj", "mlp.up_proj")),
        Rename("feed_forward.down", ("mlp.down_proj",)),
        Rename("feed_forward_norm", ("post_attention_layernorm",)),
    )
    ignored_weights = r"rotary_emb\.inv_freq$"
    tied_weights: ClassVar[Mapping[str, str]] = {"lm_head.weight": "model.embed_tokens.weight"}


class LlamaModel(LlamaPreTrainedModel):
    """Llama without a head."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        if config.add_cross_attention:
            raise InputError("Llama has no cross-attention; leave add_cross_attention out, or take GPT-2")
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        settings = LayerSettings(
            hidden_size=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            intermediate_size=config.intermediate_size,
            activation=config.hidden_act,
            norm_eps=config.rms_norm_eps,
            root_mean_square=True,
            norm_first=True,
            gated=True,
            attention_bias=config.attention_bias,
            feed_forward_bias=config.mlp_bias,
            causal=True,
            attention_dropout=config.attention_dropout,
        )
        self.layers = Stack(settings, config.num_hidden_layers)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.inverse_frequencies = config.inverse_frequencies()
        self._initialise()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.embed_tokens

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: PastKeyValues | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: LayerSelection | None = None,
        output_attentions: LayerSelection | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPast:
        """Return the states of all positions, and the cache."""
        config = self.config
        rows, length = check_tokens(input_ids, inputs_embeds, config.vocab_size, config.hidden_size)
        check_position_ids(position_ids, config.max_position_embeddings, rows, length)
        given = self._given(
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        call = self.layers.check(given, rows, length, config.max_position_embeddings)
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        positions = positions_from_mask(attention_mask, length) if position_ids is None else position_ids
        if positions is None:
            positions = torch.arange(call.past, call.past + length, device=hidden.device).unsqueeze(0)
        turned = rotation(positions, self.inverse_frequencies, compute_dtype(hidden))
        result = self.layers(hidden, call, turned=turned, final_norm=self.norm)
        return self._returned(result.as_output(BaseModelOutputWithPast), return_dict)


class LlamaForCausalLM(CausalLanguageModel[LlamaConfig, CausalLMOutputWithPast], LlamaPreTrainedModel):
    """Predicts each next token; returns CausalLMOutputWithPast."""

    output_class = CausalLMOutputWithPast

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.model = LlamaModel(config)
        self._add_head(config.hidden_size, config.vocab_size)
        self._initialise()
