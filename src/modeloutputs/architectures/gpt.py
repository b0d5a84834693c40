"""GPT's configuration, and what GPT-2's shares with it."""

from dataclasses import dataclass
from typing import ClassVar

from .config import Alias, Config
from .layers import AttentionPaths, FeedForwardPaths, LayerPaths, LayerSettings
from .setting_checks import MAX_LAYERS, MAX_WIDTH
from .weights import WeightNames

__all__ = ["LAYER_PATHS", "WEIGHT_NAMES", "GPTSizes", "OpenAIGPTConfig", "layer_settings"]

LAYER_PATHS = LayerPaths(
    attention=AttentionPaths(
        query="attn.c_attn", key="attn.c_attn", value="attn.c_attn", output="attn.c_proj", norm="ln_1"
    ),
    feed_forward=FeedForwardPaths(up="mlp.c_fc", down="mlp.c_proj", norm="ln_2"),
)

WEIGHT_NAMES = WeightNames(
    prefix="transformer",
    tied={"lm_head.weight": "transformer.tokens_embed.weight"},
    ignored=r"(^|\.)(attn\.bias|position_ids)$",
)


@dataclass(kw_only=True)
class GPTSizes(Config):
    """Sizes and rates that GPT and GPT-2 have in common, with the names that all architectures answer to.

    Raises:
        InputError: a size that is not positive, heads that do not divide the width, a dropout rate beyond 0 to 1, or
            a special token beyond the vocabulary.
    """

    causal: ClassVar[bool] = True

    vocab_size: int = 40478
    n_positions: int = 512
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02

    hidden_size = Alias("n_embd")
    num_hidden_layers = Alias("n_layer")
    num_attention_heads = Alias("n_head")
    max_position_embeddings = Alias("n_positions")

    @property
    def intermediate_size(self) -> int:
        """Width inside the feed-forward layers: four times the model's."""
        return 4 * self.n_embd

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
        self.require_positive("n_embd", most=MAX_WIDTH)
        self.require_positive("n_layer", most=MAX_LAYERS)
        self.require_rate("resid_pdrop", "embd_pdrop", "attn_pdrop")
        self.require_token_ids(self.vocab_size, "pad_token_id", "bos_token_id", "eos_token_id")
        self.require_divisible("n_embd", "n_head")


@dataclass(kw_only=True)
class OpenAIGPTConfig(GPTSizes):
    """Sizes and rates of a GPT model (Radford et al., 2018, section 4.1), named as in its config.json."""

    model_type: ClassVar[str] = "openai-gpt"

    afn: str = "gelu"

    @property
    def hidden_act(self) -> str:
        """The activation as other architectures name it: GPT's "gelu" is the approximation by tanh, "gelu_new"."""
        return {"gelu": "gelu_new", "swish": "silu"}.get(self.afn, self.afn)


def layer_settings(config: OpenAIGPTConfig) -> LayerSettings:
    """Return the settings of GPT's layers."""
    return LayerSettings(
        hidden_size=config.n_embd,
        heads=config.n_head,
        intermediate_size=config.intermediate_size,
        activation=config.hidden_act,
        norm_eps=config.layer_norm_epsilon,
        transposed_weights=True,
        causal=True,
        dropout=config.resid_pdrop,
        attention_dropout=config.attn_pdrop,
    )
