"""Llama (Touvron et al., 2023; Llama Team, 2024): a decoder with rotary positions, grouped keys and RMSNorm."""

from typing import Any

from flax import linen as nn
from jax import Array

from ..architectures import LlamaConfig
from ..architectures.llama import LAYER_PATHS, WEIGHT_NAMES, layer_settings
from .attention import Rotary, rotary_cos_sin
from .decoders import CausalLMModule, DecoderModule, FlaxDecoderModel
from .layers import Layout
from .outputs import FlaxBaseModelOutputWithPast, FlaxCausalLMOutputWithCrossAttentions

__all__ = [
    "FlaxLlamaForCausalLM",
    "FlaxLlamaForCausalLMModule",
    "FlaxLlamaModel",
    "FlaxLlamaModule",
    "FlaxLlamaPreTrainedModel",
]


class FlaxLlamaModule(DecoderModule):
    """Llama without a head, as a linen module; see `FlaxLlamaModel`."""

    output_class = FlaxBaseModelOutputWithPast
    paths = LAYER_PATHS
    stack_name, norm_name = "layers", "norm"

    def layout(self) -> Layout:
        """Return how Llama's modules are made."""
        return Layout(layer_settings(self.config), self.dtype, self.config.initializer_range)

    def add_embeddings(self, layout: Layout) -> None:
        """Make the table of tokens."""
        self.embed_tokens = layout.embedding(self.config.vocab_size)

    def embed(self, input_ids: Array, positions: Array, deterministic: bool) -> Array:
        """Embed tokens (B, S) into (B, S, hidden)."""
        return self.embed_tokens(input_ids)

    def rotary(self, positions: Array, dtype: Any) -> Rotary:
        """Return the rotary positions."""
        return rotary_cos_sin(positions, self.config.inverse_frequencies(), dtype)

    @property
    def token_table(self) -> nn.Embed:
        """The table of token embeddings."""
        return self.embed_tokens


class FlaxLlamaForCausalLMModule(CausalLMModule):
    """See `FlaxLlamaForCausalLM`."""

    base_class, base_name = FlaxLlamaModule, "model"
    output_class = FlaxCausalLMOutputWithCrossAttentions


class FlaxLlamaPreTrainedModel(FlaxDecoderModel[LlamaConfig]):
    """Base of all Llama models."""

    config_class = LlamaConfig
    weight_names = WEIGHT_NAMES
    base_model_prefix = "model"


class FlaxLlamaModel(FlaxLlamaPreTrainedModel):
    """Llama without a head; returns FlaxBaseModelOutputWithPast."""

    module_class = FlaxLlamaModule


class FlaxLlamaForCausalLM(FlaxLlamaPreTrainedModel):
    """Predicts each next token; returns FlaxCausalLMOutputWithCrossAttentions."""

    module_class = FlaxLlamaForCausalLMModule
