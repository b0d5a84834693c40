"""Special tokens of checkpoints: which count."""

from typing import Any

import pytest

from modeloutputs import InputError
from modeloutputs.architectures import GPT2Config
from modeloutputs.generation.special_tokens import special_tokens_of


def test_the_generation_config_takes_precedence_over_the_configuration():
    config = GPT2Config(vocab_size=20, eos_token_id=5, bos_token_id=6, other={"forced_eos_token_id": 9})
    found = special_tokens_of(config, {"eos_token_id": [7, 8]})
    assert found["eos_token_id"] == [7, 8]
    assert found["bos_token_id"] == [6]
    assert found["forced_eos_token_id"] == [9]
    assert found["pad_token_id"] == []


def test_tokens_outside_the_vocabulary_do_not_count():
    config = GPT2Config(vocab_size=20, eos_token_id=50256)
    assert special_tokens_of(config, {})["eos_token_id"] == []
    assert special_tokens_of(config, {"eos_token_id": [20, 13], "pad_token_id": -1})["eos_token_id"] == [13]
    assert special_tokens_of(config, {"pad_token_id": -1})["pad_token_id"] == []


@pytest.mark.parametrize("value", [True, "f", 2.0, ["a"], [True], {"a": 1}])
def test_what_is_no_token_id_is_named(value: Any):
    config = GPT2Config(vocab_size=20, other={"forced_bos_token_id": value})
    with pytest.raises(
        InputError, match=r"the configuration has forced_bos_token_id .*; expected a token id, or a list"
    ):
        special_tokens_of(config, {})
