"""GPT (Radford et al., 2018): a decoder that keeps no cache."""

from typing import Any, cast

from flax import linen as nn
from jax import Array

from ..architectures import OpenAIGPTConfig
from ..architectures.gpt import LAYER_PATHS, WEIGHT_NAMES, layer_settings
from .decoders import CausalLMModule, DecoderModule, FlaxDecoderModel
from .dropout import Dropout
from .layers import Layout
from .outputs import FlaxBaseModelOutput, FlaxMaskedLMOutput

__all__ = [
    "FlaxOpenAIGPTLMHeadModel",
    "FlaxOpenAIGPTLMHeadModule",
    "FlaxOpenAIGPTModel",
    "FlaxOpenAIGPTModule",
    "FlaxOpenAIGPTPreTrainedModel",
]


class FlaxOpenAIGPTModule(DecoderModule):
    """GPT without a head, as a linen module; see `FlaxOpenAIGPTModel`."""

    output_class = FlaxBaseModelOutput
    paths = LAYER_PATHS
    stack_name = "h"

    def layout(self) -> Layout:
        """Return how GPT's modules are made."""
        return Layout(layer_settings(self.config), self.dtype, self.config.initializer_range)

    def add_embeddings(self, layout: Layout) -> None:
        """Make the tables of tokens and positions."""
        self.tokens_embed = layout.embedding(self.config.vocab_size)
        self.positions_embed = layout.embedding(self.config.n_positions)
        self.drop = Dropout(self.config.embd_pdrop)

    def embed(self, input_ids: Array, positions: Array, deterministic: bool) -> Array:
        """Embed tokens (B, S) at positions (B, S) into (B, S, hidden)."""
        hidden = self.tokens_embed(input_ids) + self.positions_embed(positions)
        return cast("Any", self.drop)(hidden, deterministic=deterministic)

    @property
    def token_table(self) -> nn.Embed:
        """The table of token embeddings."""
        return self.tokens_embed


class FlaxOpenAIGPTLMHeadModule(CausalLMModule):
    """See `FlaxOpenAIGPTLMHeadModel`."""

    base_class, base_name = FlaxOpenAIGPTModule, "transformer"
    output_class = FlaxMaskedLMOutput


class FlaxOpenAIGPTPreTrainedModel(FlaxDecoderModel[OpenAIGPTConfig]):
    """Base of all GPT models."""

    config_class = OpenAIGPTConfig
    weight_names = WEIGHT_NAMES
    base_model_prefix = "transformer"
    keeps_cache = False


class FlaxOpenAIGPTModel(FlaxOpenAIGPTPreTrainedModel):
    """GPT without a head; returns FlaxBaseModelOutput."""

    module_class = FlaxOpenAIGPTModule


class FlaxOpenAIGPTLMHeadModel(FlaxOpenAIGPTPreTrainedModel):
    """Predicts each next token; returns FlaxCausalLMOutput, another name of FlaxMaskedLMOutput."""

    module_class = FlaxOpenAIGPTLMHeadModule
