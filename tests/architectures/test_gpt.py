"""What GPT's configuration has alone; tests/configs/cases.py has what all have."""

import pytest

from modeloutputs.architectures import OpenAIGPTConfig

# The file as OpenAI's weights were published with it, its vendor's keys included.
PUBLISHED = {
    "afn": "gelu", "architectures": ["OpenAIGPTLMHeadModel"], "attn_pdrop": 0.1, "embd_pdrop": 0.1,
    "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "openai-gpt", "n_ctx": 512, "n_embd": 768,
    "n_head": 12, "n_layer": 12, "n_positions": 512, "n_special": 0, "predict_special_tokens": True,
    "resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
    "summary_type": "cls_index", "summary_use_proj": True, "vocab_size": 40478,
}  # fmt: skip


def test_a_published_file_has_the_defaults_and_loses_nothing() -> None:
    config = OpenAIGPTConfig.from_dict(PUBLISHED)
    assert config == OpenAIGPTConfig(other=config.other)
    assert set(config.other) == {
        "architectures", "n_ctx", "n_special", "predict_special_tokens", "summary_activation", "summary_first_dropout",
        "summary_proj_to_labels", "summary_type", "summary_use_proj",
    }  # fmt: skip
    assert PUBLISHED.items() <= config.to_dict().items()


def test_gelu_means_what_the_reference_computes() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    reference = pytest.importorskip("transformers.models.openai.modeling_openai", reason="transformers is missing")
    activations = pytest.importorskip("transformers.activations", reason="transformers is missing")
    x = torch.linspace(-4, 4, 81)
    for name in ("gelu", "relu", "silu", "swish"):
        ours = activations.ACT2FN[OpenAIGPTConfig(afn=name).hidden_act](x)
        torch.testing.assert_close(ours, reference.ACT_FNS[name](x), rtol=0, atol=1e-6)
