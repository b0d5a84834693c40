"""What every architecture's configuration refuses, which names it answers to, and reading back its own file."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.architectures import BartConfig, BertConfig, Config, GPT2Config, LlamaConfig, OpenAIGPTConfig
from modeloutputs.errors import CheckpointError, InputError

from .cases import CASES, Case, each, every_case, every_variant


def refusal(cls: type[Config], **settings: Any) -> str:
    """Return what the error says that these settings raise, in one line."""
    with pytest.raises(InputError) as caught:
        cls(**settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- what is refused ----------------------------------------------------------------------------------------------


def test_the_table_has_every_configuration() -> None:
    assert {case.cls for case in CASES} == {BartConfig, BertConfig, GPT2Config, LlamaConfig, OpenAIGPTConfig}


@pytest.mark.parametrize("value", [0, -1, 1.5, "12", None, True])
@each("sizes")
def test_a_size_that_is_none_is_refused_by_name(case: Case, name: str, value: Any) -> None:
    assert refusal(case.cls, **{name: value}) == f"{case.name}.{name} is {value!r}; it must be a positive integer"


@pytest.mark.parametrize("value", [-0.1, 1.5, "0.1", float("nan")])
@each("rates")
def test_a_rate_that_is_none_is_refused_by_name(case: Case, name: str, value: Any) -> None:
    assert refusal(case.cls, **{name: value}) == f"{case.name}.{name} is {value!r}; it must be between 0 and 1"


@each("rates")
def test_a_rate_is_none_only_where_that_is_the_default(case: Case, name: str) -> None:
    if getattr(case.cls(), name) is None:
        assert getattr(case.cls(**{name: None}), name) is None
    else:
        assert refusal(case.cls, **{name: None}) == f"{case.name}.{name} is None; it must be between 0 and 1"


@each("rates")
def test_no_dropout_as_an_integer_is_taken(case: Case, name: str) -> None:
    assert getattr(case.cls(**{name: 0}), name) == 0


@each("heads")
def test_heads_that_do_not_divide_are_refused(case: Case, name: str) -> None:
    whole = case.heads[name]
    size = getattr(case.cls(), whole)
    assert refusal(case.cls, **{name: 5}) == f"{whole} {size} cannot be split into {name} 5"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (9, "is 9, beyond a vocabulary of 9"),
        (-10, "is -10, beyond a vocabulary of 9"),
        ("</s>", "is '</s>'; it must be an integer"),
        (0.5, "is 0.5; it must be an integer"),
    ],
)
@each("tokens")
def test_a_token_beyond_the_vocabulary_is_refused(case: Case, name: str, value: Any, message: str) -> None:
    assert refusal(case.cls, **{"vocab_size": 9, name: value}).startswith(f"{name} {message}")
    if name == "eos_token_id":
        assert refusal(case.cls, **{"vocab_size": 9, name: [1, value]}).startswith(f"{name} {message}")


@pytest.mark.parametrize("value", [None, 8, -1, -9])
@each("tokens")
def test_tokens_within_the_vocabulary_are_taken(case: Case, name: str, value: int | None) -> None:
    assert getattr(case.cls(**{"vocab_size": 9, name: value}), name) == value


def test_a_default_token_may_lie_beyond_a_smaller_vocabulary() -> None:
    assert GPT2Config(vocab_size=99).eos_token_id == 50256
    assert GPT2Config.from_dict({"vocab_size": 99, "eos_token_id": 50256}).eos_token_id == 50256
    assert refusal(GPT2Config, vocab_size=99, eos_token_id=50255) == "eos_token_id is 50255, beyond a vocabulary of 99"


@every_case
def test_values_from_a_file_are_held_to_the_same(case: Case) -> None:
    with pytest.raises(InputError, match=f"{case.name}.vocab_size is 0"):
        case.cls.from_dict({"model_type": case.cls.model_type, "vocab_size": 0})


@every_case
def test_a_file_of_another_architecture_is_refused(case: Case) -> None:
    with pytest.raises(CheckpointError, match=f"model_type is 'vit', and {case.name} reads '{case.cls.model_type}'"):
        case.cls.from_dict({"model_type": "vit"})


# -- the names that all answer to ---------------------------------------------------------------------------------

GPT_NAMES = {
    "hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
}  # fmt: skip
BART_NAMES = {
    "hidden_size": "d_model", "num_hidden_layers": "encoder_layers", "num_attention_heads": "encoder_attention_heads",
}  # fmt: skip
every_alias = pytest.mark.parametrize(
    ("cls", "common", "own"),
    [
        (cls, common, own)
        for cls, names in ((OpenAIGPTConfig, GPT_NAMES), (GPT2Config, GPT_NAMES), (BartConfig, BART_NAMES))
        for common, own in names.items()
    ],
)
# Divided by 48 and by 96, for what is tried is widths and heads alike.
WIDE: dict[Any, dict[str, int]] = {BartConfig: {"d_model": 768}, GPT2Config: {}, OpenAIGPTConfig: {}}


@every_alias
def test_a_common_name_reads_and_sets_the_architectures_own(cls: Any, common: str, own: str) -> None:
    config = cls(**{**WIDE[cls], own: 48})
    assert getattr(config, common) == 48
    setattr(config, common, 96)
    assert getattr(config, own) == 96


@every_alias
def test_a_common_name_is_read_and_overridden_and_not_written(cls: Any, common: str, own: str) -> None:
    assert getattr(cls.from_dict({**WIDE[cls], common: 48, own: 96}), own) == 48
    assert getattr(cls.from_dict({**WIDE[cls], common: 48}, **{own: 96}), own) == 96
    config = cls.from_dict({**WIDE[cls], own: 48}, **{common: 96})
    assert (config.to_dict()[own], common in config.to_dict(), config.other) == (96, False, {})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (OpenAIGPTConfig(), ("gelu_new", 3072, 0.02)),
        (OpenAIGPTConfig(afn="swish", n_embd=24), ("silu", 96, 0.02)),
        (OpenAIGPTConfig(afn="relu"), ("relu", 3072, 0.02)),
        (GPT2Config(activation_function="gelu"), ("gelu", 3072, 0.02)),
        (GPT2Config(n_inner=100, initializer_range=0.5), ("gelu_new", 100, 0.5)),
        (LlamaConfig(), ("silu", 11008, 0.02)),
        (BertConfig(), ("gelu", 3072, 0.02)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_else_is_asked_by_one_name(config: Any, expected: tuple[str, int, float]) -> None:
    assert (config.hidden_act, config.intermediate_size, config.initializer_range) == expected


def test_an_activation_is_stored_as_it_was_given() -> None:
    assert OpenAIGPTConfig().to_dict()["afn"] == "gelu"


# -- our own file -------------------------------------------------------------------------------------------------


@every_variant
def test_what_is_written_is_read_back_equal(case: Case, settings: dict[str, Any], tmp_path: Path) -> None:
    given = copy.deepcopy(settings)
    config = case.cls(**settings, other={"vendor": {"note": [1, None, "ß"]}})
    config.save_pretrained(tmp_path)
    assert case.cls.from_pretrained(tmp_path) == config
    assert dataclasses.replace(config) == config
    assert settings == given


@pytest.mark.parametrize(
    ("case", "name"),
    [(case, f.name) for case in CASES for f in dataclasses.fields(case.cls) if "None" in str(f.type)],
    ids=lambda value: getattr(value, "name", value),
)
def test_none_is_not_read_back_as_the_default(case: Case, name: str, tmp_path: Path) -> None:
    config = case.cls(**{name: None})
    config.save_pretrained(tmp_path)
    assert case.cls.from_pretrained(tmp_path) == config


@every_case
def test_unknown_keys_survive(case: Case, tmp_path: Path) -> None:
    unknown = {"architectures": ["Some"], "summary_type": "cls_index", "task_specific_params": {"a": {"n": 1}}}
    config = case.cls.from_dict({"model_type": case.cls.model_type, **unknown})
    assert config.other == unknown
    config.save_pretrained(tmp_path)
    assert unknown.items() <= json.loads((tmp_path / "config.json").read_text()).items()
