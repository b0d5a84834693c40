"""What Llama's configuration has alone, above all its rotary embedding; tests/configs/cases.py has what all have."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.architectures import LlamaConfig
from modeloutputs.errors import InputError

from .cases import LLAMA3

THETA = 500000.0
LINEAR = {"rope_type": "linear", "factor": 4.0}
# Wide positions, for the peer warns where the stretched context is no longer than the original one.
SMALL = {"hidden_size": 32, "num_attention_heads": 4, "head_dim": 64, "max_position_embeddings": 4096}


def write(folder: Path, **settings: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **SMALL, **settings}), encoding="utf-8")
    return folder


@pytest.fixture(name="peer", scope="module")
def fixture_peer() -> Any:
    return pytest.importorskip("transformers", reason="transformers is not installed").LlamaConfig


# -- heads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "heads", "size"),
    [
        ({}, 32, 128),
        ({"num_attention_heads": 8, "hidden_size": 48}, 8, 6),
        ({"num_attention_heads": 8, "num_key_value_heads": 2}, 2, 512),
        ({"num_attention_heads": 8, "hidden_size": 48, "head_dim": 32}, 8, 32),
        ({"num_attention_heads": 3, "hidden_size": 32, "head_dim": 8}, 3, 8),
        ({"num_key_value_heads": None, "head_dim": None}, 32, 128),
    ],
)
def test_heads_are_put_in_where_they_are_not_given(values: dict[str, Any], heads: int, size: int) -> None:
    config = LlamaConfig.from_dict(values)
    assert (config.num_key_value_heads, config.head_dim) == (heads, size)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_key_value_heads": 0}, "LlamaConfig.num_key_value_heads is 0; it must be a positive integer"),
        ({"head_dim": 0}, "LlamaConfig.head_dim is 0; it must be a positive integer"),
        ({"num_key_value_heads": 64}, "num_attention_heads 32 cannot be split into num_key_value_heads 64"),
        ({"head_dim": 5}, "head_dim is 5; the rotary embedding turns pairs, so it must be even"),
        ({"hidden_size": 96}, "head_dim is 3; the rotary embedding turns pairs, so it must be even"),
    ],
)
def test_heads_that_cannot_be_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        LlamaConfig(**values)
    assert str(caught.value) == message


# -- rotary settings, in each of the ways that files have them ----------------------------------------------------


@pytest.mark.parametrize(
    ("in_file", "theta", "scaling"),
    [
        ({}, 10000.0, None),
        ({"rope_theta": 500000}, THETA, None),
        ({"rope_theta": THETA, "rope_scaling": None}, THETA, None),
        ({"rope_theta": THETA, "rope_scaling": {}}, THETA, None),
        ({"rope_theta": THETA, "rope_scaling": {"rope_type": "default"}}, THETA, None),
        ({"rope_theta": THETA, "rope_scaling": LLAMA3}, THETA, LLAMA3),
        ({"rope_scaling": LINEAR}, 10000.0, LINEAR),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 10000.0, {"type": "linear", **LINEAR}),
        ({"rope_scaling": {"type": "dynamic", **LINEAR}}, 10000.0, {"type": "dynamic", **LINEAR}),
        ({"rope_parameters": {"rope_theta": THETA}}, THETA, None),
        ({"rope_parameters": {"rope_theta": THETA, "rope_type": "default"}}, THETA, None),
        ({"rope_parameters": {"rope_theta": THETA, **LLAMA3}}, THETA, LLAMA3),
        ({"rope_parameters": LLAMA3, "rope_theta": THETA}, THETA, LLAMA3),
        ({"rope_parameters": {"rope_theta": THETA, **LINEAR}, "rope_theta": 7.0}, THETA, LINEAR),
        ({"rope_parameters": {"rope_theta": THETA, **LLAMA3}, "rope_scaling": LINEAR}, 10000.0, LINEAR),
        ({"rope_parameters": None}, 10000.0, None),
    ],
)
def test_rotary_settings_are_read_as_the_peer_reads_them(
    in_file: dict[str, Any], theta: float, scaling: Any, peer: Any, tmp_path: Path
) -> None:
    ours = LlamaConfig.from_pretrained(write(tmp_path, **in_file))
    assert (ours.rope_theta, ours.rope_scaling) == (theta, scaling)
    assert type(ours.rope_theta) is float
    assert "rope_parameters" not in ours.to_dict()
    theirs = peer.from_pretrained(tmp_path).rope_parameters
    assert theirs == {"rope_theta": theta, **(scaling or {"rope_type": "default"})}
    # and it finds the same again in the file that we write
    ours.save_pretrained(tmp_path / "ours")
    assert peer.from_pretrained(tmp_path / "ours").rope_parameters == theirs


@pytest.mark.parametrize("scaling", [{"rope_type": "default"}, LINEAR, LLAMA3], ids=lambda s: s["rope_type"])
def test_rotary_settings_come_back_from_the_peer(scaling: dict[str, Any], peer: Any, tmp_path: Path) -> None:
    theirs = peer(**SMALL, rope_parameters={"rope_theta": THETA, **scaling})
    theirs.save_pretrained(tmp_path / "theirs")
    assert "rope_parameters" in json.loads((tmp_path / "theirs" / "config.json").read_text())
    ours = LlamaConfig.from_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    assert peer.from_pretrained(tmp_path / "ours").rope_parameters == theirs.rope_parameters
    assert LlamaConfig.from_pretrained(tmp_path / "ours") == ours


def test_what_is_written_suits_the_peers_fourth_version_too(tmp_path: Path) -> None:
    LlamaConfig.from_dict({"rope_parameters": {"rope_theta": THETA, **LLAMA3}}).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["rope_theta"], written["rope_scaling"]) == (THETA, LLAMA3)


def test_overrides_win_over_either_form_of_the_file() -> None:
    new = {"rope_parameters": {"rope_theta": THETA, **LLAMA3}}
    old = {"rope_theta": THETA, "rope_scaling": LLAMA3}
    for values in (new, old):
        config = LlamaConfig.from_dict(values, rope_theta=20000.0)
        assert (config.rope_theta, config.rope_scaling) == (20000.0, LLAMA3)
        config = LlamaConfig.from_dict(values, rope_scaling=LINEAR)
        assert (config.rope_theta, config.rope_scaling) == (THETA, LINEAR)
        assert LlamaConfig.from_dict(values, rope_scaling=None).rope_scaling is None
    assert new["rope_parameters"] == {"rope_theta": THETA, **LLAMA3}  # what was passed is left as it was


def test_a_theta_among_the_scaling_is_put_in_its_place() -> None:
    config = LlamaConfig(rope_scaling={"rope_theta": THETA, **LINEAR})
    assert (config.rope_theta, config.rope_scaling) == (THETA, LINEAR)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in LLAMA3.items() if key != name}


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"type": "mrope", "factor": 2.0}, "rope_scaling has rope_type 'mrope'; there are default, linear, dynamic"),
        ({"rope_type": ["linear"]}, "rope_scaling has rope_type ['linear']; there are default, linear, dynamic"),
        ({"factor": 2.0}, "rope_scaling has rope_type None; there are default, linear, dynamic"),
        ("linear", "rope_scaling is 'linear'; expected a mapping with rope_type and its numbers"),
        ({"rope_type": "linear"}, "factor of linear rope_scaling is None; it must be a positive number"),
        ({**LINEAR, "factor": 0}, "factor of linear rope_scaling is 0; it must be a positive number"),
        ({**LINEAR, "factor": "4"}, "factor of linear rope_scaling is '4'; it must be a positive number"),
        ({**LINEAR, "factor": True}, "factor of linear rope_scaling is True; it must be a positive number"),
        ({**LINEAR, "factor": math.nan}, "factor of linear rope_scaling is nan; it must be a positive number"),
        ({**LINEAR, "factor": math.inf}, "factor of linear rope_scaling is inf; it must be a positive number"),
        *((without(n), f"{n} of llama3 rope_scaling is None; it must be a positive number") for n in list(LLAMA3)[1:4]),
        (
            {**LLAMA3, "low_freq_factor": 4.0},
            "rope_scaling has low_freq_factor 4.0, which must be below its high_freq_factor 4.0",
        ),
        ({**LINEAR, "partial_rotary_factor": 0.5}, "rope_scaling has a partial_rotary_factor; only whole heads"),
        ({"rope_theta": -1.0, **LINEAR}, "rope_theta is -1.0; it must be a positive number"),
        ({"rope_theta": None, **LINEAR}, "rope_theta is None; it must be a positive number"),
    ],
)
def test_a_scaling_that_cannot_be_computed_is_refused(scaling: Any, message: str) -> None:
    for build in (
        lambda: LlamaConfig(rope_scaling=scaling),
        lambda: LlamaConfig.from_dict({"rope_scaling": scaling}),
        lambda: LlamaConfig.from_dict({"rope_parameters": scaling}),
    ):
        with pytest.raises(InputError) as caught:
            build()
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("theta", [0, -1.0, math.nan, "1e4", None, 10**400])
def test_a_theta_that_is_no_positive_number_is_refused(theta: Any) -> None:
    with pytest.raises(InputError, match=r"rope_theta is .*; it must be a positive number"):
        LlamaConfig(rope_theta=theta)


# -- frequencies --------------------------------------------------------------------------------------------------


def test_frequencies_by_hand() -> None:
    plain = LlamaConfig(head_dim=4, rope_theta=100.0)
    assert plain.inverse_frequencies() == pytest.approx([1.0, 0.1], rel=1e-15)
    linear = LlamaConfig(head_dim=4, rope_theta=100.0, rope_scaling=LINEAR)
    assert linear.inverse_frequencies() == pytest.approx([0.25, 0.025], rel=1e-15)


def test_stretched_frequencies_by_hand() -> None:
    # 1, 0.1 and 0.01 radians a position are 16, 1.6 and 0.16 turns in this context: kept, mixed, slowed down.
    scaling = {**LLAMA3, "original_max_position_embeddings": 32 * math.pi}
    config = LlamaConfig(head_dim=6, rope_theta=1000.0, rope_scaling=scaling)
    assert config.inverse_frequencies() == pytest.approx([1.0, 0.1 * (0.2 + 0.8 / 8), 0.01 / 8], rel=1e-12)


@pytest.mark.parametrize("head_dim", [2, 64, 80, 128])
@pytest.mark.parametrize("theta", [10000.0, THETA])
@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "default"},
        LINEAR,
        LLAMA3,
        {**LLAMA3, "original_max_position_embeddings": 8192},
        {**LLAMA3, "factor": 32.0, "high_freq_factor": 9.0, "original_max_position_embeddings": 1000},
    ],
)
def test_frequencies_are_the_references(head_dim: int, theta: float, scaling: dict[str, Any], peer: Any) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    ours = LlamaConfig(head_dim=head_dim, rope_theta=theta, rope_scaling=scaling).inverse_frequencies()
    theirs = peer(
        **{**SMALL, "head_dim": head_dim, "max_position_embeddings": 131072},
        rope_parameters={"rope_theta": theta, **scaling},
    )
    # Since its fifth version the table leaves the unscaled case to the models.
    compute: Any = ROPE_INIT_FUNCTIONS.get(scaling["rope_type"], LlamaRotaryEmbedding.compute_default_rope_parameters)
    assert ours == pytest.approx(compute(theirs)[0].tolist(), rel=1e-6)
    assert len(ours) == head_dim // 2
