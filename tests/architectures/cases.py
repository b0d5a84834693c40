"""Every architecture's configuration, with what its settings are and values for them: one table for all tests."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from modeloutputs.architectures import BartConfig, BertConfig, Config, GPT2Config, LlamaConfig, OpenAIGPTConfig

LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
EVERYWHERE: dict[str, dict[str, Any]] = {
    "default": {},
    "labels": {
        "id2label": {0: "a", 1: "b", 2: "c", 3: "d"}, "label2id": {"a": 0, "b": 1, "c": 2, "d": 3},
        "problem_type": "multi_label_classification",
    },
    "two labels": {"num_labels": 2},
    "tokens": {"pad_token_id": 3, "bos_token_id": 4, "eos_token_id": [5, 6]},
    "no tokens": {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None},
    "flags": {"output_hidden_states": True, "output_attentions": True, "return_dict": False, "use_cache": False},
    "dtype": {"dtype": "bfloat16"},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """An architecture: its class, which settings are sizes and rates, who else reads them, and values to try."""

    cls: type[Config]
    sizes: tuple[str, ...]
    rates: tuple[str, ...]
    heads: dict[str, str]
    tokens: tuple[str, ...] = ("pad_token_id", "bos_token_id", "eos_token_id")
    ours_alone: frozenset[str] = frozenset()
    """Settings that the peer's class does not have, or has under another name."""
    of_the_peer: frozenset[str] = frozenset()
    """Keys of the peer's file that we take apart into others."""
    variants: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    @property
    def name(self) -> str:
        return self.cls.__name__


GPT_SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
GPT_RATES = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
GPT_VARIANTS: dict[str, dict[str, Any]] = {
    "sizes": {"vocab_size": 99, "n_positions": 64, "n_embd": 32, "n_layer": 3, "n_head": 8},
    "rates": {"resid_pdrop": 0.0, "embd_pdrop": 0.2, "attn_pdrop": 0.3},
    "numerics": {"layer_norm_epsilon": 1e-6, "initializer_range": 0.1},
    "untied": {"tie_word_embeddings": False},
}

CASES = (
    Case(
        BertConfig,
        sizes=(
            "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
            "max_position_embeddings", "type_vocab_size",
        ),
        rates=("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),
        heads={"num_attention_heads": "hidden_size"},
        tokens=("pad_token_id",),
        ours_alone=frozenset({"decoder_start_token_id", "position_embedding_type"}),
        variants={
            "sizes": {
                "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 8,
                "intermediate_size": 37, "max_position_embeddings": 64, "type_vocab_size": 4,
            },
            "rates": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.3, "classifier_dropout": 0.5},
            "numerics": {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "initializer_range": 0.1},
            "decoder": {"is_decoder": True, "add_cross_attention": True, "use_cache": False},
            "untied": {"tie_word_embeddings": False},
        },
    ),
    Case(
        OpenAIGPTConfig,
        sizes=GPT_SIZES,
        rates=GPT_RATES,
        heads={"n_head": "n_embd"},
        ours_alone=frozenset({"decoder_start_token_id", "add_cross_attention", "is_decoder", "use_cache"}),
        variants={**GPT_VARIANTS, "activation": {"afn": "relu"}},
    ),
    Case(
        GPT2Config,
        sizes=GPT_SIZES,
        rates=(*GPT_RATES, "classifier_dropout"),
        heads={"n_head": "n_embd"},
        ours_alone=frozenset({"decoder_start_token_id", "is_decoder", "classifier_dropout"}),
        variants={
            **GPT_VARIANTS,
            "inner": {"n_inner": 100, "activation_function": "relu"},
            "scales": {
                "scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True,
            },
            "crossed": {"add_cross_attention": True},
        },
    ),
    Case(
        LlamaConfig,
        sizes=(
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "max_position_embeddings",
        ),
        rates=("attention_dropout", "classifier_dropout"),
        heads={"num_attention_heads": "hidden_size", "num_key_value_heads": "num_attention_heads"},
        ours_alone=frozenset({
            "decoder_start_token_id", "is_decoder", "add_cross_attention", "classifier_dropout", "rope_theta",
            "rope_scaling",
        }),
        of_the_peer=frozenset({"rope_parameters"}),
        variants={
            "sizes": {
                "vocab_size": 99, "hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 3,
                "num_attention_heads": 8, "max_position_embeddings": 64,
            },
            "grouped": {"num_attention_heads": 8, "num_key_value_heads": 2},
            "wide heads": {"hidden_size": 32, "num_attention_heads": 8, "head_dim": 16},
            "numerics": {"hidden_act": "gelu", "rms_norm_eps": 1e-5, "initializer_range": 0.1},
            "biases": {"attention_bias": True, "mlp_bias": True, "attention_dropout": 0.2},
            "tied": {"tie_word_embeddings": True},
            "rotary": {"rope_theta": 500000.0, "rope_scaling": LLAMA3},
        },
    ),
    Case(
        BartConfig,
        sizes=(
            "vocab_size", "max_position_embeddings", "d_model", "encoder_layers", "encoder_attention_heads",
            "encoder_ffn_dim", "decoder_layers", "decoder_attention_heads", "decoder_ffn_dim",
        ),
        rates=(
            "dropout", "attention_dropout", "activation_dropout", "classifier_dropout", "encoder_layerdrop",
            "decoder_layerdrop",
        ),
        heads={"encoder_attention_heads": "d_model", "decoder_attention_heads": "d_model"},
        tokens=("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_eos_token_id"),
        ours_alone=frozenset({"add_cross_attention"}),
        variants={
            "sizes": {
                "vocab_size": 99, "max_position_embeddings": 64, "d_model": 32, "encoder_layers": 3,
                "encoder_attention_heads": 8, "encoder_ffn_dim": 37, "decoder_layers": 2,
                "decoder_attention_heads": 4, "decoder_ffn_dim": 41,
            },
            "rates": {
                "dropout": 0.0, "attention_dropout": 0.2, "activation_dropout": 0.3, "classifier_dropout": 0.4,
                "encoder_layerdrop": 0.5, "decoder_layerdrop": 0.6,
            },
            "numerics": {"activation_function": "relu", "init_std": 0.1, "scale_embedding": True},
            "starts": {"decoder_start_token_id": 7, "forced_eos_token_id": None},
            "decoder": {"is_decoder": True, "is_encoder_decoder": False},
            "untied": {"tie_word_embeddings": False},
        },
    ),
)  # fmt: skip

every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
VARIANTS = [
    pytest.param(case, settings, id=f"{case.name}-{name}")
    for case in CASES
    for name, settings in {**EVERYWHERE, **case.variants}.items()
]
every_variant = pytest.mark.parametrize(("case", "settings"), VARIANTS)


def each(*names: str) -> Any:
    """Parametrise by a case and, one by one, the settings in these tuples of it."""
    return pytest.mark.parametrize(
        ("case", "name"),
        [pytest.param(case, one, id=f"{case.name}-{one}") for case in CASES for n in names for one in getattr(case, n)],
    )
