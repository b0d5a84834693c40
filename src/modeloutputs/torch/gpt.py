"""GPT (Radford et al., 2018): a decoder that keeps no cache.

Arguments are explained in `modeloutputs.torch.arguments`. `token_type_ids` are looked up among the tokens, as the
paper's delimiters are.
"""

from torch import Tensor, nn

from ..architectures import OpenAIGPTConfig
from ..architectures.gpt import LAYER_PATHS, WEIGHT_NAMES, layer_settings
from ..errors import InputError
from .inputs import check_ids
from .layers import LayerSelection
from .outputs import BaseModelOutput
from .plain import apply_dropout, apply_positions
from .pretrained import PreTrainedModel
from .stack import Stack, run_stack

__all__ = ["OpenAIGPTModel", "OpenAIGPTPreTrainedModel"]


class OpenAIGPTPreTrainedModel(PreTrainedModel[OpenAIGPTConfig]):
    """Base of GPT models."""

    config_class = OpenAIGPTConfig
    weight_names = WEIGHT_NAMES
    layer_paths = LAYER_PATHS


class OpenAIGPTModel(OpenAIGPTPreTrainedModel):
    """GPT without a head; returns BaseModelOutput."""

    input_embeddings = "tokens_embed"

    def __init__(self, config: OpenAIGPTConfig) -> None:
        super().__init__(config)
        if config.add_cross_attention:
            raise InputError("GPT has no cross-attention; leave add_cross_attention out, or use GPT-2")
        with self._building():
            self.tokens_embed = nn.Embedding(config.vocab_size, config.n_embd)
            self.positions_embed = nn.Embedding(config.n_positions, config.n_embd)
            self.drop = nn.Dropout(config.embd_pdrop)
            self.h = Stack.of_layers(layer_settings(config), LAYER_PATHS, config.n_layer)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: LayerSelection | None = None,
        output_attentions: LayerSelection | None = None,
        return_dict: bool | None = None,
        head_mask: Tensor | None = None,
    ) -> BaseModelOutput:
        """Return the states of all positions."""
        call, position_ids = self._begin_call(
            self.h,
            input_ids,
            inputs_embeds,
            position_ids,
            attention_mask=attention_mask,
            use_cache=False,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            head_mask=head_mask,
        )
        if token_type_ids is not None:
            check_ids(token_type_ids, self.config.vocab_size, "token_type_ids", (call.rows, call.length))
        hidden = self.tokens_embed(input_ids) if inputs_embeds is None else inputs_embeds
        hidden = hidden + apply_positions(self.positions_embed, position_ids, 0, hidden)
        if token_type_ids is not None:
            hidden = hidden + self.tokens_embed(token_type_ids)
        result = run_stack(self.h, apply_dropout(self.drop, hidden), call)
        return self._as_requested(result.as_output(BaseModelOutput), return_dict)
