"""Llama (Touvron et al., 2023; Llama Team, 2024): a decoder with rotary positions, grouped keys and RMSNorm.

Arguments are explained in `modeloutputs.torch.arguments`.
"""

import torch
from torch import Tensor, nn

from ..architectures import LlamaConfig
from ..architectures.llama import LAYER_PATHS, WEIGHT_NAMES, layer_settings
from ..errors import InputError
from .attention import compute_dtype, rotary_cos_sin
from .cache import PastKeyValues
from .layers import LayerSelection, norm_layer
from .outputs import BaseModelOutputWithPast
from .pretrained import PreTrainedModel
from .stack import Stack, run_stack

__all__ = ["LlamaModel", "LlamaPreTrainedModel"]


class LlamaPreTrainedModel(PreTrainedModel[LlamaConfig]):
    """Base of Llama models."""

    config_class = LlamaConfig
    weight_names = WEIGHT_NAMES
    layer_paths = LAYER_PATHS


class LlamaModel(LlamaPreTrainedModel):
    """Llama without a head; returns BaseModelOutputWithPast."""

    input_embeddings = "embed_tokens"

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        if config.add_cross_attention:
            raise InputError("Llama has no cross-attention; leave add_cross_attention out, or use GPT-2")
        settings = layer_settings(config)
        with self._building():
            self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
            self.layers = Stack.of_layers(settings, LAYER_PATHS, config.num_hidden_layers)
            self.norm = norm_layer(settings)
        self.inverse_frequencies = config.inverse_frequencies()

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
        call, positions = self._begin_call(
            self.layers,
            input_ids,
            inputs_embeds,
            position_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if positions is None:
            positions = torch.arange(call.past, call.past + call.length, device=hidden.device).unsqueeze(0)
        rotary = rotary_cos_sin(positions, self.inverse_frequencies, compute_dtype(hidden))
        result = run_stack(self.layers, hidden, call, position_embeddings=rotary, final_norm=self.norm)
        return self._as_requested(result.as_output(BaseModelOutputWithPast), return_dict)
