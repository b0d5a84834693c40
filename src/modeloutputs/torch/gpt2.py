"""GPT-2 (Radford et al., 2019): a decoder, with cross-attention where configured.

Arguments are explained in `modeloutputs.torch.arguments`. `token_type_ids` are looked up among the tokens.
"""

from torch import Tensor, nn

from ..architectures import GPT2Config
from ..architectures.gpt2 import LAYER_PATHS, WEIGHT_NAMES, layer_settings
from .cache import PastKeyValues
from .inputs import check_ids
from .layers import LayerSelection, norm_layer
from .outputs import BaseModelOutputWithPastAndCrossAttentions
from .plain import apply_dropout, apply_positions
from .pretrained import PreTrainedModel
from .stack import Stack, run_stack

__all__ = ["GPT2Model", "GPT2PreTrainedModel"]


class GPT2PreTrainedModel(PreTrainedModel[GPT2Config]):
    """Base of GPT-2 models."""

    config_class = GPT2Config
    weight_names = WEIGHT_NAMES
    layer_paths = LAYER_PATHS

    def _initialise_parameter(self, name: str, module: nn.Module, leaf: str, parameter: Tensor) -> None:
        super()._initialise_parameter(name, module, leaf, parameter)
        if name.endswith(tuple(f"{path}.weight" for path in LAYER_PATHS.residual_outputs)):
            # What is added to the residual stream, by as many as 2 n_layer blocks (section 2.3).
            parameter.data.mul_((2 * self.config.n_layer) ** -0.5)


class GPT2Model(GPT2PreTrainedModel):
    """GPT-2 without a head; returns BaseModelOutputWithPastAndCrossAttentions."""

    input_embeddings = "wte"

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        settings = layer_settings(config)
        with self._building():
            self.wte = nn.Embedding(config.vocab_size, config.n_embd)
            self.wpe = nn.Embedding(config.n_positions, config.n_embd)
            self.drop = nn.Dropout(config.embd_pdrop)
            self.h = Stack.of_layers(settings, LAYER_PATHS, config.n_layer)
            self.ln_f = norm_layer(settings)

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
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Return the states of all positions, and the cache."""
        call, position_ids = self._begin_call(
            self.h,
            input_ids,
            inputs_embeds,
            position_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            head_mask=head_mask,
            cross_attn_head_mask=head_mask,
        )
        if token_type_ids is not None:
            check_ids(token_type_ids, self.config.vocab_size, "token_type_ids", (call.rows, call.length))
        hidden = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        hidden = hidden + apply_positions(self.wpe, position_ids, call.past, hidden)
        if token_type_ids is not None:
            hidden = hidden + self.wte(token_type_ids)
        result = run_stack(self.h, apply_dropout(self.drop, hidden), call, final_norm=self.ln_f)
        return self._as_requested(result.as_output(BaseModelOutputWithPastAndCrossAttentions), return_dict)
