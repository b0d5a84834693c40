"""Llama (Touvron et al., 2023; Llama Team, 2024): a decoder with rotary positions, grouped keys and RMSNorm."""

from typing import Any, ClassVar

from flax import linen as nn
from jax import Array

from ..architectures import LlamaConfig
from ..architectures.llama import LAYER_PATHS, WEIGHT_NAMES, layer_settings
from ..architectures.rotary import RotarySettings
from .attention import Rotary, rotary_cos_sin
from .decoders import CausalLMModule, DecoderModule, FlaxDecoderModel
from .layers import Layout
from .libraries import jnp
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
        """Return the rotary positions; some ways of stretching them go by each row's own length."""
        settings: RotarySettings = self.config.rotary
        frequencies, factor = settings.rotary()
        if settings.depends_on_length:
            return rotary_cos_sin(positions, _by_length(settings, positions.max(1, keepdims=True) + 1), dtype, factor)
        return rotary_cos_sin(positions, frequencies, dtype, factor)

    @property
    def token_table(self) -> nn.Embed:
        """The table of token embeddings."""
        return self.embed_tokens


def _by_length(settings: RotarySettings, lengths: Array) -> Array:
    """Return the angles (B, head_dim / 2) for rows of lengths (B, 1), which a trace does not know."""
    if settings.scaling["rope_type"] == "longrope":
        short, long = (settings.rotary(int(settings.original) + more).frequencies for more in (0, 1))
        return jnp.where(lengths > settings.original, jnp.asarray(long), jnp.asarray(short))
    # NTK-aware scaling, as `RotarySettings` has it for a length that is known.
    width, factor, most = settings.head_dim, settings.scaling["factor"], settings.max_positions
    stretch = factor * jnp.maximum(lengths, most) / most - (factor - 1)
    theta = settings.theta * stretch ** (width / (width - 2))
    return theta ** (-2 * jnp.arange(width // 2) / width)


class FlaxLlamaForCausalLMModule(CausalLMModule):
    """See `FlaxLlamaForCausalLM`."""

    base_class, base_name = FlaxLlamaModule, "model"
    output_class = FlaxCausalLMOutputWithCrossAttentions


class FlaxLlamaPreTrainedModel(FlaxDecoderModel[LlamaConfig]):
    """Base of all Llama models."""

    config_class = LlamaConfig
    weight_names = WEIGHT_NAMES
    base_model_prefix = "model"

    @property
    def _position_limit(self) -> int:
        return self.config.position_limit


class FlaxLlamaModel(FlaxLlamaPreTrainedModel):
    """Llama without a head; returns FlaxBaseModelOutputWithPast."""

    module_class = FlaxLlamaModule


class FlaxLlamaForCausalLM(FlaxLlamaPreTrainedModel):
    """Predicts each next token; returns FlaxCausalLMOutputWithCrossAttentions."""

    module_class = FlaxLlamaForCausalLMModule
    unties: ClassVar = {("lm_head", "kernel"): ("model", "embed_tokens", "embedding")}
