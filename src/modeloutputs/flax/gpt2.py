"""GPT-2 (Radford et al., 2019): a decoder, with cross-attention where configured."""

from typing import Any, cast

from flax import linen as nn
from jax import Array

from ..architectures import GPT2Config
from ..architectures.gpt2 import LAYER_PATHS, WEIGHT_NAMES, layer_settings
from .calls import Arrays
from .decoders import CausalLMModule, DecoderModule, LastTokenModule
from .dropout import Dropout
from .layers import Layout
from .outputs import (
    FlaxBaseModelOutputWithPastAndCrossAttentions,
    FlaxCausalLMOutputWithCrossAttentions,
    FlaxSequenceClassifierOutput,
)
from .pretrained import FlaxPreTrainedModel

__all__ = [
    "FlaxGPT2ForSequenceClassification",
    "FlaxGPT2ForSequenceClassificationModule",
    "FlaxGPT2LMHeadModel",
    "FlaxGPT2LMHeadModule",
    "FlaxGPT2Model",
    "FlaxGPT2Module",
    "FlaxGPT2PreTrainedModel",
]


class FlaxGPT2Module(DecoderModule):
    """GPT-2 without a head, as a linen module; see `FlaxGPT2Model`."""

    output_class = FlaxBaseModelOutputWithPastAndCrossAttentions
    paths = LAYER_PATHS
    stack_name, norm_name = "h", "ln_f"

    def layout(self) -> Layout:
        """Return how GPT-2's modules are made."""
        return Layout(layer_settings(self.config), self.dtype, self.config.initializer_range)

    def add_embeddings(self, layout: Layout) -> None:
        """Make the tables of tokens and positions."""
        self.wte, self.wpe = layout.embedding(self.config.vocab_size), layout.embedding(self.config.n_positions)
        self.drop = Dropout(self.config.embd_pdrop)

    def embed(self, input_ids: Array, positions: Array, deterministic: bool) -> Array:
        """Embed tokens (B, S) at positions (B, S) into (B, S, hidden)."""
        return cast("Any", self.drop)(self.wte(input_ids) + self.wpe(positions), deterministic=deterministic)

    @property
    def token_table(self) -> nn.Embed:
        """The table of token embeddings."""
        return self.wte


class FlaxGPT2LMHeadModule(CausalLMModule):
    """See `FlaxGPT2LMHeadModel`."""

    base_class, base_name = FlaxGPT2Module, "transformer"
    output_class = FlaxCausalLMOutputWithCrossAttentions


class FlaxGPT2ForSequenceClassificationModule(LastTokenModule):
    """See `FlaxGPT2ForSequenceClassification`."""

    base_class, base_name = FlaxGPT2Module, "transformer"
    output_class = FlaxSequenceClassifierOutput


class FlaxGPT2PreTrainedModel(FlaxPreTrainedModel[GPT2Config]):
    """Base of all GPT-2 models."""

    config_class = GPT2Config
    weight_names = WEIGHT_NAMES
    base_model_prefix = "transformer"

    def __call__(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        position_ids: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        params: Any = None,
        past_key_values: Any = None,
        dropout_rng: Any = None,
        train: bool = False,
        output_attentions: Any = None,
        output_hidden_states: Any = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Return the model's output; see `modeloutputs.flax.calls`."""
        arrays: Arrays = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "encoder_hidden_states": encoder_hidden_states,
            "encoder_attention_mask": encoder_attention_mask,
        }
        flags = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self._call(arrays, params, dropout_rng, train, flags, return_dict, past_key_values)


class FlaxGPT2Model(FlaxGPT2PreTrainedModel):
    """GPT-2 without a head; returns FlaxBaseModelOutputWithPastAndCrossAttentions."""

    module_class = FlaxGPT2Module


class FlaxGPT2LMHeadModel(FlaxGPT2PreTrainedModel):
    """Predicts each next token; returns FlaxCausalLMOutputWithCrossAttentions."""

    module_class = FlaxGPT2LMHeadModule


class FlaxGPT2ForSequenceClassification(FlaxGPT2PreTrainedModel):
    """Gives each row a class, several classes or a number, from its last token; returns FlaxSequenceClassifierOutput.

    A row's last token is the last unmasked one; without a mask, the last that is not `pad_token_id`.
    """

    module_class = FlaxGPT2ForSequenceClassificationModule
