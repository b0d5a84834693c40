"""Llama's configuration, and the frequencies of its rotary position embedding."""

import math
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from ..errors import InputError
from .config import Config
from .layers import AttentionPaths, FeedForwardPaths, LayerPaths, LayerSettings
from .setting_checks import MAX_LAYERS, MAX_WIDTH
from .weights import WeightNames

__all__ = ["LAYER_PATHS", "WEIGHT_NAMES", "LlamaConfig", "layer_settings"]

LAYER_PATHS = LayerPaths(
    attention=AttentionPaths(
        query="self_attn.q_proj",
        key="self_attn.k_proj",
        value="self_attn.v_proj",
        output="self_attn.o_proj",
        norm="input_layernorm",
    ),
    feed_forward=FeedForwardPaths(
        gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj", norm="post_attention_layernorm"
    ),
)

WEIGHT_NAMES = WeightNames(
    prefix="model",
    tied={"lm_head.weight": "model.embed_tokens.weight"},
    ignored=r"rotary_emb\.inv_freq$",
)

# What each way of stretching the positions to a longer context needs to know.
ROPE_TYPES: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


@dataclass(kw_only=True)
class LlamaConfig(Config):
    """Sizes and rates of a Llama model (Touvron et al., 2023; Llama Team, 2024), named as in its config.json.

    The rotary embedding is kept as `rope_theta` and `rope_scaling`, which every version of transformers reads; the
    `rope_parameters` that its fifth version writes are taken apart into them. `num_key_value_heads` and `head_dim`
    are put in where they are not given: as many as `num_attention_heads`, and the width divided by these.

    Raises:
        InputError: a size that is not positive, heads that do not divide the width or that key-value heads do not
            divide, an odd `head_dim`, a dropout rate beyond 0 to 1, a special token beyond the vocabulary, or a
            rotary embedding that is not implemented or lacks a number.
    """

    model_type: ClassVar[str] = "llama"
    causal: ClassVar[bool] = True

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = cast("int", None)  # never None once built, so that no reader need ask
    head_dim: int = cast("int", None)
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    attention_dropout: float = 0.0
    mlp_bias: bool = False
    classifier_dropout: float | None = None
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    tie_word_embeddings: bool = False
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive(
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "max_position_embeddings",
        )  # fmt: skip
        self.require_positive("hidden_size", "intermediate_size", most=MAX_WIDTH)
        self.require_positive("num_hidden_layers", most=MAX_LAYERS)
        self.require_rate("attention_dropout", "classifier_dropout")
        self.require_token_ids(self.vocab_size, "pad_token_id", "bos_token_id", "eos_token_id")
        self._settle_heads()
        self.rope_theta, self.rope_scaling = _settle_rotary(self.rope_theta, self.rope_scaling)

    def _settle_heads(self) -> None:
        given: Any = self.num_key_value_heads, self.head_dim
        if given[0] is None:
            self.num_key_value_heads = self.num_attention_heads
        if given[1] is None:
            self.require_divisible("hidden_size", "num_attention_heads")
            self.head_dim = self.hidden_size // self.num_attention_heads
        self.require_positive("num_key_value_heads", "head_dim", most=MAX_WIDTH)
        self.require_divisible("num_attention_heads", "num_key_value_heads")
        if self.head_dim % 2:
            raise InputError(f"head_dim is {self.head_dim}; the rotary embedding turns pairs, so it must be even")

    @classmethod
    def under_our_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        """See the base; the rotary settings of newer files are taken apart."""
        values = super().under_our_names(values)
        rotary = values.pop("rope_parameters", None)
        values["rope_scaling"] = scaling = values.get("rope_scaling") or rotary
        if isinstance(scaling, dict) and "rope_theta" in scaling:
            # Out of the dictionary now: an overridden rope_theta has to win over it.
            values["rope_scaling"] = rest = dict(cast("dict[str, Any]", scaling))
            values["rope_theta"] = rest.pop("rope_theta")
        return values

    def inverse_frequencies(self) -> list[float]:
        """Return by which angle each pair of a head's components turns from one position to the next, fastest first.

        Su et al. (2021), section 3.2.2; a context stretched by "linear" divides all angles alike (Chen et al., 2023,
        section 2.3).
        """
        plain = [self.rope_theta ** (-2 * pair / self.head_dim) for pair in range(self.head_dim // 2)]
        scaling = self.rope_scaling or {"rope_type": "default"}
        if scaling["rope_type"] == "linear":
            return [frequency / scaling["factor"] for frequency in plain]
        if scaling["rope_type"] == "llama3":
            return [_stretch(frequency, scaling) for frequency in plain]
        return plain


def _stretch(frequency: float, scaling: dict[str, Any]) -> float:
    """Slow a pair down by how often it turns within the original context: fast pairs not, slow ones by the factor.

    Pairs between the two bounds are mixed of both, in proportion to their turns (Llama 3.1's reference code,
    `apply_scaling`).
    """
    turns = scaling["original_max_position_embeddings"] * frequency / (2 * math.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    kept = min(max((turns - low) / (high - low), 0.0), 1.0)
    return kept * frequency + (1 - kept) * frequency / scaling["factor"]


def _settle_rotary(theta: Any, scaling: Any) -> tuple[float, dict[str, Any] | None]:
    """Return the two rotary settings checked, the second with its `rope_type`, or None where nothing is scaled."""
    if scaling is not None and not isinstance(scaling, dict):
        raise InputError(f"rope_scaling is {scaling!r}; expected a mapping with rope_type and its numbers")
    settings = dict(cast("dict[str, Any]", scaling or {}))
    theta = settings.pop("rope_theta", theta)
    _require_positive_number("rope_theta", theta)
    if settings:
        settings["rope_type"] = settings.get("rope_type", settings.get("type"))
        _check_scaling(settings)
    return float(theta), None if settings in ({}, {"rope_type": "default"}) else settings


def _check_scaling(scaling: dict[str, Any]) -> None:
    kind = scaling["rope_type"]
    if not isinstance(kind, str) or kind not in ROPE_TYPES:
        raise InputError(f"rope_scaling has rope_type {kind!r}; there are {', '.join(ROPE_TYPES)}")
    for name in ROPE_TYPES[kind]:
        _require_positive_number(f"{name} of {kind} rope_scaling", scaling.get(name))
    if scaling.get("partial_rotary_factor", 1) != 1:
        raise InputError("rope_scaling has a partial_rotary_factor; only whole heads are turned")
    if kind == "llama3" and scaling["low_freq_factor"] >= scaling["high_freq_factor"]:
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        raise InputError(f"rope_scaling has low_freq_factor {low}, which must be below its high_freq_factor {high}")


def _require_positive_number(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= sys.float_info.max:
        raise InputError(f"{name} is {value!r}; it must be a positive number")


def layer_settings(config: LlamaConfig) -> LayerSettings:
    """Return the settings of Llama's layers."""
    return LayerSettings(
        hidden_size=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        intermediate_size=config.intermediate_size,
        activation=config.hidden_act,
        norm_eps=config.rms_norm_eps,
        rms_norm=True,
        norm_first=True,
        attention_bias=config.attention_bias,
        feed_forward_bias=config.mlp_bias,
        causal=True,
        attention_dropout=config.attention_dropout,
    )
