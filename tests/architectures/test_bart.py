"""What BART's configuration has alone; tests/configs/cases.py has what all have."""

from typing import Any

import pytest

from modeloutputs.architectures import BartConfig

# The settings of bart-large's file as it was published, with one of each kind of key that is none of ours.
PUBLISHED: dict[str, Any] = {
    "activation_dropout": 0.1, "activation_function": "gelu", "add_final_layer_norm": False,
    "architectures": ["BartModel"], "attention_dropout": 0.1, "bos_token_id": 0, "classifier_dropout": 0.0,
    "d_model": 1024, "decoder_attention_heads": 16, "decoder_ffn_dim": 4096, "decoder_layerdrop": 0.0,
    "decoder_layers": 12, "decoder_start_token_id": 2, "dropout": 0.1, "encoder_attention_heads": 16,
    "encoder_ffn_dim": 4096, "encoder_layerdrop": 0.0, "encoder_layers": 12, "eos_token_id": 2,
    "forced_eos_token_id": 2, "id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, "init_std": 0.02,
    "is_encoder_decoder": True, "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2},
    "max_position_embeddings": 1024, "model_type": "bart", "no_repeat_ngram_size": 3, "num_beams": 4,
    "num_hidden_layers": 12, "pad_token_id": 1, "scale_embedding": False, "use_cache": True, "vocab_size": 50265,
}  # fmt: skip


def test_a_published_file_loses_nothing() -> None:
    config = BartConfig.from_dict(PUBLISHED)
    assert config == BartConfig(activation_dropout=0.1, attention_dropout=0.1, other=config.other)
    assert set(config.other) == {"add_final_layer_norm", "architectures", "no_repeat_ngram_size", "num_beams"}
    written = config.to_dict()
    changed = {name for name, value in PUBLISHED.items() if written.get(name) != value}
    assert changed == {"id2label", "num_hidden_layers"}  # its keys are numbers; encoder_layers says the same


def test_it_answers_for_its_encoder() -> None:
    config = BartConfig(encoder_layers=3, decoder_layers=2, encoder_attention_heads=8, decoder_attention_heads=4)
    assert (config.num_hidden_layers, config.num_attention_heads, config.hidden_size) == (3, 8, 1024)
    assert (config.hidden_act, config.initializer_range) == ("gelu", 0.02)


@pytest.mark.parametrize(
    ("values", "labels"),
    [({}, 3), ({"num_labels": 2}, 2), ({"num_labels": 5}, 5), ({"id2label": {"0": "no", "1": "yes"}}, 2)],
)
def test_labels_are_three_unless_said_otherwise(values: dict[str, Any], labels: int) -> None:
    assert BartConfig.from_dict(values).num_labels == labels
    assert BartConfig.from_dict({"id2label": {"0": "a", "1": "b", "2": "c", "3": "d"}}, num_labels=3).num_labels == 3
