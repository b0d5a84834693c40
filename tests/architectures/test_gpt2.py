"""What GPT-2's configuration has alone; tests/configs/cases.py has what all have."""

import pytest

from modeloutputs.architectures import GPT2Config
from modeloutputs.errors import InputError

# The file as the smallest model was published with it.
PUBLISHED = {
    "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1, "bos_token_id": 50256,
    "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
    "resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
    "summary_type": "cls_index", "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}, "vocab_size": 50257,
}  # fmt: skip


def test_a_published_file_has_the_defaults_and_loses_nothing() -> None:
    config = GPT2Config.from_dict(PUBLISHED)
    assert config == GPT2Config(other=config.other)
    assert set(config.other) == {
        "architectures", "n_ctx", "summary_activation", "summary_first_dropout", "summary_proj_to_labels",
        "summary_type", "summary_use_proj", "task_specific_params",
    }  # fmt: skip
    assert PUBLISHED.items() <= config.to_dict().items()


@pytest.mark.parametrize("value", [0, -1, 2.5, "64"])
def test_an_inner_width_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"GPT2Config\.n_inner is .*; it must be a positive integer"):
        GPT2Config.from_dict({"n_inner": value})


def test_it_is_a_decoder_whatever_its_file_says_of_it() -> None:
    assert GPT2Config.causal
    assert GPT2Config(add_cross_attention=True).is_decoder is False
