"""GPT-2's configuration."""

import math
from dataclasses import dataclass
from typing import ClassVar

from .gpt import GPTSizes
from .layers import AttentionPaths, FeedForwardPaths, LayerPaths, LayerSettings
from .setting_checks import MAX_WIDTH
from .weights import WeightNames

__all__ = ["LAYER_PATHS", "WEIGHT_NAMES", "GPT2Config", "layer_settings"]

LAYER_PATHS = LayerPaths(
    attention=AttentionPaths(
        query="attn.c_attn", key="attn.c_attn", value="attn.c_attn", output="attn.c_proj", norm="ln_1"
    ),
    cross_attention=AttentionPaths(
        query="crossattention.q_attn",
        key="crossattention.c_attn",
        value="crossattention.c_attn",
        output="crossattention.c_proj",
        norm="ln_cross_attn",
    ),
    feed_forward=FeedForwardPaths(up="mlp.c_fc", down="mlp.c_proj", norm="ln_2"),
)

WEIGHT_NAMES = WeightNames(
    prefix="transformer",
    tied={"lm_head.weight": "transformer.wte.weight"},
    optional=r"h\.\d+\.(crossattention|ln_cross_attn)",
    ignored=r"(^|\.)(attn|crossattention)\.(masked_)?bias$",
)


@dataclass(kw_only=True)
class GPT2Config(GPTSizes):
    """Sizes and rates of a GPT-2 model (Radford et al., 2019, section 2.3), named as in its config.json.

    Raises:
        InputError: as in GPT's configuration.
    """

    model_type: ClassVar[str] = "gpt2"

    vocab_size: int = 50257
    n_positions: int = 1024
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    reorder_and_upcast_attn: bool = False
    classifier_dropout: float | None = None
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256

    @property
    def intermediate_size(self) -> int:
        """Width inside the feed-forward layers: n_inner, or four times the model's."""
        return super().intermediate_size if self.n_inner is None else self.n_inner

    @property
    def hidden_act(self) -> str:
        """The activation, under the name that other architectures have for it."""
        return self.activation_function

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_rate("classifier_dropout")
        if self.n_inner is not None:
            self.require_positive("n_inner", most=MAX_WIDTH)


def layer_settings(config: GPT2Config) -> LayerSettings:
    """Return the settings of GPT-2's layers."""
    return LayerSettings(
        hidden_size=config.n_embd,
        heads=config.n_head,
        intermediate_size=config.intermediate_size,
        activation=config.hidden_act,
        norm_eps=config.layer_norm_epsilon,
        norm_first=True,
        transposed_weights=True,
        causal=True,
        cross_attention=config.add_cross_attention,
        dropout=config.resid_pdrop,
        attention_dropout=config.attn_pdrop,
        scales=_scales(config),
    )


def _scales(config: GPT2Config) -> list[float | None]:
    """Return the factor on each layer's scores, None for the usual one."""
    usual = math.sqrt(config.n_head / config.n_embd) if config.scale_attn_weights else 1.0
    if config.scale_attn_by_inverse_layer_idx:
        return [usual / (i + 1) for i in range(config.n_layer)]
    return [None if config.scale_attn_weights else usual] * config.n_layer
