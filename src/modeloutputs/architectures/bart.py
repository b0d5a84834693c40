"""BART's configuration."""

from dataclasses import dataclass
from typing import ClassVar

from .config import Alias, Config
from .layers import AttentionPaths, FeedForwardPaths, LayerPaths, LayerSettings
from .setting_checks import MAX_LAYERS, MAX_WIDTH
from .weights import WeightNames

__all__ = [
    "DECODER_WEIGHT_NAMES",
    "LAYER_PATHS",
    "UNUSED_POSITIONS",
    "WEIGHT_NAMES",
    "BartConfig",
    "decoder_settings",
    "encoder_settings",
]

UNUSED_POSITIONS = 2
"""Leading rows of a position table that belong to no position."""

LAYER_PATHS = LayerPaths(
    attention=AttentionPaths(
        query="self_attn.q_proj",
        key="self_attn.k_proj",
        value="self_attn.v_proj",
        output="self_attn.out_proj",
        norm="self_attn_layer_norm",
    ),
    cross_attention=AttentionPaths(
        query="encoder_attn.q_proj",
        key="encoder_attn.k_proj",
        value="encoder_attn.v_proj",
        output="encoder_attn.out_proj",
        norm="encoder_attn_layer_norm",
    ),
    feed_forward=FeedForwardPaths(up="fc1", down="fc2", norm="final_layer_norm"),
)

WEIGHT_NAMES = WeightNames(
    prefix="model",
    tied={
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "lm_head.weight": "model.shared.weight",
    },
    fallbacks={
        "model.shared.weight": "model.decoder.embed_tokens.weight",
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
    },
    ignored=r"final_logits_bias$",
    neutral=r"final_logits_bias$",
)

DECODER_WEIGHT_NAMES = WeightNames(
    prefix="model",
    tied={"lm_head.weight": "model.decoder.embed_tokens.weight"},
    fallbacks={"model.decoder.embed_tokens.weight": "model.shared.weight"},
    ignored=r"final_logits_bias$|^(model\.)?(encoder\.|shared\.)",
)
"""Those of the decoder alone."""


@dataclass(kw_only=True)
class BartConfig(Config):
    """Sizes and rates of a BART model (Lewis et al., 2020, section 2), named as in its config.json.

    Asked by the names that all architectures share, it answers for its encoder, as transformers does.

    Raises:
        InputError: a size that is not positive, heads that do not divide the width, a rate beyond 0 to 1, or a special
            token beyond the vocabulary.
    """

    model_type: ClassVar[str] = "bart"

    vocab_size: int = 50265
    max_position_embeddings: int = 1024
    d_model: int = 1024
    encoder_layers: int = 12
    encoder_attention_heads: int = 16
    encoder_ffn_dim: int = 4096
    encoder_layerdrop: float = 0.0
    decoder_layers: int = 12
    decoder_attention_heads: int = 16
    decoder_ffn_dim: int = 4096
    decoder_layerdrop: float = 0.0
    activation_function: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    classifier_dropout: float = 0.0
    init_std: float = 0.02
    scale_embedding: bool = False
    is_encoder_decoder: bool = True
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    pad_token_id: int | None = 1
    decoder_start_token_id: int | None = 2
    forced_eos_token_id: int | list[int] | None = 2
    num_labels: int = 3

    hidden_size = Alias("d_model")
    num_hidden_layers = Alias("encoder_layers")
    num_attention_heads = Alias("encoder_attention_heads")

    @property
    def hidden_act(self) -> str:
        """The activation, under the name that other architectures have for it."""
        return self.activation_function

    @property
    def initializer_range(self) -> float:
        """The spread of new weights, under the name that other architectures have for it."""
        return self.init_std

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive(
            "vocab_size", "max_position_embeddings", "d_model", "encoder_layers", "encoder_attention_heads",
            "encoder_ffn_dim", "decoder_layers", "decoder_attention_heads", "decoder_ffn_dim",
        )  # fmt: skip
        self.require_positive("d_model", "encoder_ffn_dim", "decoder_ffn_dim", most=MAX_WIDTH)
        self.require_positive("encoder_layers", "decoder_layers", most=MAX_LAYERS)
        self.require_rate(
            "dropout", "attention_dropout", "activation_dropout", "classifier_dropout", "encoder_layerdrop",
            "decoder_layerdrop",
        )  # fmt: skip
        self.require_token_ids(
            self.vocab_size, "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id",
            "forced_eos_token_id",
        )  # fmt: skip
        self.require_divisible("d_model", "encoder_attention_heads")
        self.require_divisible("d_model", "decoder_attention_heads")


def encoder_settings(config: BartConfig) -> LayerSettings:
    """Return the settings of the encoder's layers."""
    return _layer_settings(config, config.encoder_attention_heads, config.encoder_ffn_dim, is_decoder=False)


def decoder_settings(config: BartConfig) -> LayerSettings:
    """Return the settings of the decoder's layers."""
    return _layer_settings(config, config.decoder_attention_heads, config.decoder_ffn_dim, is_decoder=True)


def _layer_settings(config: BartConfig, heads: int, intermediate_size: int, *, is_decoder: bool) -> LayerSettings:
    return LayerSettings(
        hidden_size=config.d_model,
        heads=heads,
        intermediate_size=intermediate_size,
        activation=config.hidden_act,
        norm_eps=1e-5,
        causal=is_decoder,
        cross_attention=is_decoder,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        activation_dropout=config.activation_dropout,
    )
