"""Llama (Touvron et al., 2023; Llama Team, 2024): a decoder with rotary positions, grouped keys and RMSNorm.

Arguments are explained in `modeloutputs.torch.arguments`.
"""

import warnings

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
from .stack import Call, Stack, run_stack
from .values import has_concrete_values

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
        self.rotary = config.rotary
        self._usual_rotary = self.rotary.rotary()

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
        frequencies, factor = self._usual_rotary
        if call.past + call.length > self.rotary.context:
            self._warn_of_length()
        if self.rotary.depends_on_length:
            frequencies = self._frequencies(call, position_ids)
        rotary = rotary_cos_sin(positions, frequencies, compute_dtype(hidden), factor)
        result = run_stack(self.layers, hidden, call, position_embeddings=rotary, final_norm=self.norm)
        return self._as_requested(result.as_output(BaseModelOutputWithPast), return_dict)

    @property
    def _position_limit(self) -> int:
        return self.config.position_limit

    def _frequencies(self, call: Call, position_ids: Tensor | None) -> list[float] | Tensor:
        """Return the angles of all rows, or (B, head_dim / 2) of each, by their own lengths without padding."""
        mask, lengths = call.attention_mask, [call.past + call.length]
        if position_ids is not None and has_concrete_values(position_ids):
            lengths = [int(last) + 1 for last in position_ids.amax(1)]
        elif mask is not None and mask.dim() == 2 and has_concrete_values(mask):
            lengths = [int(count) for count in (mask != 0).sum(1)]
        rows = {length: self.rotary.rotary(length).frequencies for length in dict.fromkeys(lengths)}
        return rows[lengths[0]] if len(rows) == 1 else torch.tensor([rows[length] for length in lengths])

    def _warn_of_length(self) -> None:
        if not torch.compiler.is_compiling():
            warnings.warn(
                f"a row is longer than the {self.rotary.context} positions that this model is made for: its rotary "
                "embedding computes more, but the model was not trained with them",
                stacklevel=2,
            )
