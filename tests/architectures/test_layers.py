"""Sizes and paths of layers, and those of each architecture."""

from typing import Any

import pytest

from modeloutputs.architectures import (
    BartConfig,
    BertConfig,
    Config,
    GPT2Config,
    LlamaConfig,
    OpenAIGPTConfig,
    bart,
    bert,
    gpt,
    gpt2,
    llama,
)
from modeloutputs.architectures.layers import AttentionPaths, FeedForwardPaths, LayerPaths, LayerSettings

SIZES: dict[str, Any] = {"hidden_size": 12, "heads": 4, "intermediate_size": 7, "activation": "relu", "norm_eps": 1e-5}


def test_heads_divide_the_width_and_have_keys_of_their_own_unless_said() -> None:
    plain, grouped = LayerSettings(**SIZES), LayerSettings(**SIZES, kv_heads=2, head_dim=5)
    assert (plain.key_heads, plain.head_width) == (4, 3)
    assert (grouped.key_heads, grouped.head_width) == (2, 5)


def test_a_layer_has_its_scale_or_none() -> None:
    assert LayerSettings(**SIZES).scale(3) is None
    scaled = LayerSettings(**SIZES, scales=[0.5, None])
    assert (scaled.scale(0), scaled.scale(1)) == (0.5, None)


def test_a_block_is_the_module_that_holds_its_layers() -> None:
    attention = AttentionPaths(query="self.attn.q", key="self.attn.k", value="self.attn.v", output="out", norm="n")
    assert attention.block == "self.attn"
    assert FeedForwardPaths(up="mlp.up", down="mlp.down", norm="n").block == "mlp"
    assert FeedForwardPaths(up="up", down="down", norm="n").block == ""
    paths = LayerPaths(attention=attention, feed_forward=FeedForwardPaths(up="up", down="down", norm="n"))
    assert paths.residual_outputs == ("out", "down")
    crossed = LayerPaths(attention=attention, feed_forward=paths.feed_forward, cross_attention=attention)
    assert crossed.residual_outputs == ("out", "out", "down")


GPT_SIZES = {"n_embd": 12, "n_head": 4, "n_layer": 3, "activation_function": "relu"}
SETTINGS: list[tuple[Any, Config, dict[str, Any]]] = [
    (
        bert.layer_settings,
        BertConfig(hidden_size=12, num_attention_heads=4, intermediate_size=7, layer_norm_eps=0.5),
        {"intermediate_size": 7, "norm_eps": 0.5, "causal": False, "norm_first": False, "cross_attention": False},
    ),
    (
        bert.layer_settings,
        BertConfig(hidden_size=12, num_attention_heads=4, is_decoder=True, add_cross_attention=True),
        {"causal": True, "cross_attention": True, "dropout": 0.1, "attention_dropout": 0.1},
    ),
    (
        gpt.layer_settings,
        OpenAIGPTConfig(n_embd=12, n_head=4, afn="relu"),
        {"intermediate_size": 48, "causal": True, "norm_first": False, "transposed_weights": True},
    ),
    (
        gpt2.layer_settings,
        GPT2Config(**GPT_SIZES, n_inner=7, scale_attn_weights=False),
        {"intermediate_size": 7, "causal": True, "norm_first": True, "transposed_weights": True, "scales": (1, 1, 1)},
    ),
    (
        gpt2.layer_settings,
        GPT2Config(**GPT_SIZES, scale_attn_by_inverse_layer_idx=True),
        {"scales": (3**-0.5, 3**-0.5 / 2, 3**-0.5 / 3)},
    ),
    (
        llama.layer_settings,
        LlamaConfig(hidden_size=12, num_attention_heads=4, num_key_value_heads=2, head_dim=6, mlp_bias=True),
        {"kv_heads": 2, "head_dim": 6, "rms_norm": True, "norm_first": True, "attention_bias": False,
         "feed_forward_bias": True, "causal": True, "activation": "silu"},
    ),
    (
        bart.encoder_settings,
        BartConfig(d_model=12, encoder_attention_heads=4, decoder_attention_heads=2, encoder_ffn_dim=7),
        {"heads": 4, "intermediate_size": 7, "causal": False, "cross_attention": False, "norm_eps": 1e-5},
    ),
    (
        bart.decoder_settings,
        BartConfig(d_model=12, encoder_attention_heads=4, decoder_attention_heads=2, decoder_ffn_dim=9),
        {"heads": 2, "intermediate_size": 9, "causal": True, "cross_attention": True, "dropout": 0.1},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("settings_of", "config", "expected"), SETTINGS)
def test_settings_are_those_of_the_configuration(settings_of: Any, config: Config, expected: dict[str, Any]) -> None:
    settings = settings_of(config)
    assert settings.hidden_size == 12
    found = {name: getattr(settings, name) for name in expected}
    if "scales" in expected:
        assert list(found.pop("scales")) == pytest.approx(list(expected["scales"]))
        expected = {name: value for name, value in expected.items() if name != "scales"}
    assert found == expected
