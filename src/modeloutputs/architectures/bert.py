"""BERT's configuration."""

from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from .config import Config
from .layers import AttentionPaths, FeedForwardPaths, LayerPaths, LayerSettings
from .setting_checks import MAX_LAYERS, MAX_WIDTH, shown
from .weights import WeightNames

__all__ = ["LAYER_PATHS", "WEIGHT_NAMES", "BertConfig", "layer_settings"]

LAYER_PATHS = LayerPaths(
    attention=AttentionPaths(
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        output="attention.output.dense",
        norm="attention.output.LayerNorm",
    ),
    cross_attention=AttentionPaths(
        query="crossattention.self.query",
        key="crossattention.self.key",
        value="crossattention.self.value",
        output="crossattention.output.dense",
        norm="crossattention.output.LayerNorm",
    ),
    feed_forward=FeedForwardPaths(up="intermediate.dense", down="output.dense", norm="output.LayerNorm"),
)

WEIGHT_NAMES = WeightNames(
    prefix="bert",
    tied={"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight"},
    always_tied={"cls.predictions.bias": "cls.predictions.decoder.bias"},
    optional=r"pooler\.|encoder\.layer\.\d+\.crossattention",
    ignored=r"embeddings\.position_ids$|cls\.predictions\.(decoder\.)?bias$",
)


@dataclass(kw_only=True)
class BertConfig(Config):
    """Sizes and rates of a BERT model (Devlin et al., 2019, section 3), named as in its config.json.

    Raises:
        InputError: a size that is not positive, heads that do not divide the width, a dropout rate beyond 0 to 1, a
            padding token beyond the vocabulary, or a position scheme other than absolute positions.
    """

    model_type: ClassVar[str] = "bert"

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    classifier_dropout: float | None = None
    position_embedding_type: str = "absolute"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive(
            "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
            "max_position_embeddings", "type_vocab_size",
        )  # fmt: skip
        self.require_positive("hidden_size", "intermediate_size", most=MAX_WIDTH)
        self.require_positive("num_hidden_layers", most=MAX_LAYERS)
        self.require_rate("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
        self.require_token_ids(self.vocab_size, "pad_token_id")
        self.require_divisible("hidden_size", "num_attention_heads")
        if self.position_embedding_type != "absolute":
            raise InputError(
                f"position_embedding_type is {shown(self.position_embedding_type)}; only 'absolute' is implemented"
            )


def layer_settings(config: BertConfig) -> LayerSettings:
    """Return the settings of BERT's layers."""
    return LayerSettings(
        hidden_size=config.hidden_size,
        heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        activation=config.hidden_act,
        norm_eps=config.layer_norm_eps,
        causal=config.is_decoder,
        cross_attention=config.add_cross_attention,
        dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
    )
