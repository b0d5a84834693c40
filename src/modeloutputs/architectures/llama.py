"""Llama's configuration; its rotary positions are computed in `rotary`."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from ..errors import InputError
from .config import Config
from .layers import AttentionPaths, FeedForwardPaths, LayerPaths, LayerSettings
from .rotary import RotarySettings, settle_rotary
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
        self.rope_theta, self.rope_scaling = settle_rotary(self.rope_theta, self.rope_scaling, self.head_dim)
        settle_rotary(self.rope_theta, self.rotary.scaling, self.head_dim)  # with what lies beside rope_scaling

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

    @property
    def position_limit(self) -> int:
        """Positions that can be computed: as many whole numbers as float32, in which angles are, tells apart."""
        return 2**24

    @property
    def rotary(self) -> RotarySettings:
        """What the angles of rotary positions follow from, for contexts of any length."""
        scaling = dict(self.rope_scaling or {"rope_type": "default"})
        original = self.other.get("original_max_position_embeddings")
        if original is not None:  # files that have it beside rope_scaling mean it
            scaling["original_max_position_embeddings"] = original
        return RotarySettings(self.rope_theta, self.head_dim, self.max_position_embeddings, scaling)

    def inverse_frequencies(self) -> list[float]:
        """Return by which angle each pair of a head's components turns from one position to the next, fastest first.

        Where that depends on the length of a row, it is for rows within the context that the model was trained with.
        """
        return self.rotary.rotary().frequencies


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
