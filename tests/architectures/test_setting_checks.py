"""Sizes that no model has are refused before anything is built. What else is refused: test_values."""

from typing import Any

import pytest

from modeloutputs.architectures import BartConfig, BertConfig, Config, GPT2Config, LlamaConfig, OpenAIGPTConfig
from modeloutputs.errors import InputError

from .cases import Case, every_case


@every_case
def test_sizes_beyond_64_bits_are_refused_by_name(case: Case) -> None:
    for name in case.sizes:
        for value in (2**63, 2**63 - 1, 2**31):
            with pytest.raises(InputError, match=rf"^{case.name}\.{name} is {value}; it must be at most \d+$"):
                case.cls(**{name: value})


@pytest.mark.parametrize(
    ("cls", "name", "most"),
    [
        (BertConfig, "num_hidden_layers", 10_000),
        (OpenAIGPTConfig, "n_layer", 10_000),
        (GPT2Config, "n_inner", 2**20),
        (LlamaConfig, "head_dim", 2**20),
        (LlamaConfig, "num_key_value_heads", 2**20),
        (BartConfig, "decoder_layers", 10_000),
        (BartConfig, "encoder_ffn_dim", 2**20),
        (BertConfig, "vocab_size", 2**31 - 1),
        (GPT2Config, "n_positions", 2**31 - 1),
    ],
)
def test_bounds(cls: type[Config], name: str, most: int) -> None:
    with pytest.raises(InputError, match=rf"^{cls.__name__}\.{name} is {most + 1}; it must be at most {most}$"):
        cls(**{name: most + 1})


@pytest.mark.parametrize("settings", [{"vocab_size": 2**31 - 1}, {"max_position_embeddings": 2**31 - 1}])
def test_the_bounds_themselves_pass(settings: dict[str, Any]) -> None:
    assert BertConfig(**settings)
