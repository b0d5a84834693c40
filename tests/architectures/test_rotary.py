"""Rotary positions stretched in every way, against transformers and by hand."""

from typing import Any

import pytest

from modeloutputs.architectures import LlamaConfig
from modeloutputs.architectures.rotary import ROPE_TYPES
from modeloutputs.errors import InputError

SIZES = {"hidden_size": 32, "num_attention_heads": 4, "head_dim": 8, "max_position_embeddings": 64, "rope_theta": 500.0}
LONG = {"short_factor": [1.0, 1.1, 1.3, 2.0], "long_factor": [1.0, 2.0, 4.0, 8.0]}
SCALINGS: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "yarn, original length not given": {"rope_type": "yarn", "factor": 4.0},
    "yarn, other turns": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4, "beta_slow": 0.5,
        "truncate": False,
    },
    "yarn, scales": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "mscale": 0.7,
        "mscale_all_dim": 0.5,
    },
    "yarn, attention factor": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "attention_factor": 1.5,
    },
    "yarn, factor from the lengths": {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 16},
    "longrope": {"rope_type": "longrope", "original_max_position_embeddings": 16, **LONG},
    "longrope, factor": {"rope_type": "longrope", "original_max_position_embeddings": 16, "factor": 3.0, **LONG},
    "longrope, attention factor": {
        "rope_type": "longrope", "original_max_position_embeddings": 16, "attention_factor": 1.2, **LONG,
    },
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "llama3, original length not given": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("length", [5, 40, 100])
@pytest.mark.parametrize("name", SCALINGS)
def test_angles_are_the_peers(name: str, length: int) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed, which transformers computes the angles with")
    rope = pytest.importorskip("transformers.modeling_rope_utils", reason="transformers is not installed")
    llama = pytest.importorskip("transformers").LlamaConfig(**{**SIZES, "rope_scaling": dict(SCALINGS[name])})
    kind = SCALINGS[name]["rope_type"]
    expected, factor = rope.ROPE_INIT_FUNCTIONS[kind](llama, "cpu", seq_len=length)
    found = LlamaConfig(**SIZES, rope_scaling=SCALINGS[name]).rotary.rotary(length)
    assert found.frequencies == pytest.approx(expected.tolist(), rel=1e-6)
    assert found.factor == pytest.approx(factor)


@pytest.mark.parametrize(
    ("name", "context"), [("linear", 256), ("dynamic", 128), ("yarn", 64), ("longrope", 64), ("llama3", 128)]
)
def test_the_context_is_stretched_by_the_factor(name: str, context: int) -> None:
    settings = LlamaConfig(**SIZES, rope_scaling=SCALINGS[name]).rotary
    assert settings.context == context
    assert settings.depends_on_length == (name in ("dynamic", "longrope"))


def test_an_original_length_beside_the_scaling_is_meant() -> None:
    scaling = {"rope_type": "longrope", **LONG}
    values = {**SIZES, "rope_scaling": scaling, "original_max_position_embeddings": 32}
    config = LlamaConfig.from_dict(values)
    assert config.rotary.original == 32
    assert config.rotary.rotary(33).frequencies[3] == pytest.approx(config.rotary.rotary(32).frequencies[3] / 4)
    assert LlamaConfig.from_dict(config.to_dict()).rotary == config.rotary


def test_an_original_length_beside_the_scaling_is_checked() -> None:
    values = {**SIZES, "rope_scaling": SCALINGS["yarn"], "original_max_position_embeddings": "32"}
    with pytest.raises(InputError, match="original_max_position_embeddings of yarn rope_scaling is '32'"):
        LlamaConfig.from_dict(values)


def test_plain_angles_by_hand() -> None:
    assert LlamaConfig(**{**SIZES, "head_dim": 4, "rope_theta": 100.0}).rotary.rotary(9) == ([1.0, 0.1], 1.0)


@pytest.mark.parametrize(
    ("scaling", "line"),
    [
        ({"rope_type": "longrope", **LONG, "long_factor": [1.0]}, r"long_factor of longrope rope_scaling is \[1.0\]; "
         "expected 4 numbers, half of head_dim"),
        ({"rope_type": "longrope"}, "short_factor of longrope rope_scaling is None; expected 4 numbers"),
        ({"rope_type": "longrope", **LONG, "short_factor": [1, 1, 1, "1"]}, "an entry of short_factor .* is '1'"),
        ({"rope_type": "yarn", "factor": -1}, "factor of yarn rope_scaling is -1; it must be a positive number"),
        ({"rope_type": "yarn", "beta_fast": "a"}, "beta_fast of yarn rope_scaling is 'a'"),
        ({"rope_type": "dynamic"}, "factor of dynamic rope_scaling is None"),
        ({"rope_type": "mrope"}, f"rope_type 'mrope'; there are {', '.join(ROPE_TYPES)}"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(scaling: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        LlamaConfig(**SIZES, rope_scaling=scaling)
    assert "\n" not in str(caught.value)


def test_two_components_cannot_be_stretched_by_length() -> None:
    with pytest.raises(InputError, match="dynamic rope_scaling needs a head_dim above 2, and it is 2"):
        LlamaConfig(**{**SIZES, "head_dim": 2}, rope_scaling=SCALINGS["dynamic"])
