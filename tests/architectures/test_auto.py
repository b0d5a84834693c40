"""The class of a checkpoint's language model, picked by its config.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.architectures.auto import language_model_of
from modeloutputs.errors import CheckpointError, CheckpointNotFoundError, FileFormatError


def language_model(folder: Path, **config: Any) -> tuple[str, dict[str, Any]]:
    (folder / "config.json").write_text(json.dumps(config))
    return language_model_of(folder)


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [
        ("bert", ("BertLMHeadModel", {"is_decoder": True})),
        ("openai-gpt", ("OpenAIGPTLMHeadModel", {})),
        ("gpt2", ("GPT2LMHeadModel", {})),
        ("llama", ("LlamaForCausalLM", {})),
        ("bart", ("BartForConditionalGeneration", {})),
    ],
)
def test_each_model_type_has_a_language_model(tmp_path: Path, model_type: str, expected: tuple[str, dict[str, Any]]):
    assert language_model(tmp_path, model_type=model_type) == expected


def test_architectures_choose_where_a_model_type_has_several(tmp_path: Path):
    assert language_model(tmp_path, model_type="bart", architectures=["BartForCausalLM"])[0] == "BartForCausalLM"
    for other in (None, "BartForCausalLM", ["BartModel"], [], [3]):
        assert language_model(tmp_path, model_type="bart", architectures=other)[0] == "BartForConditionalGeneration"


def test_architectures_of_other_model_types_do_not_count(tmp_path: Path):
    for other in (None, "BartForCausalLM", ["BartForCausalLM"], [], [3]):
        assert language_model(tmp_path, model_type="gpt2", architectures=other)[0] == "GPT2LMHeadModel"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "t5"}, "is a 't5' model (model_type in config.json), which this library lacks; supported are"),
        ({"model_type": "GPT2"}, "is a 'GPT2' model (model_type in config.json), which this library lacks; supported"),
        ({}, "has no model_type in config.json; load it with its own class"),
        ({"model_type": ""}, "has no model_type in config.json; load it with its own class"),
    ],
)
def test_others_are_refused_in_one_line(tmp_path: Path, config: dict[str, Any], message: str):
    with pytest.raises(CheckpointError) as raised:
        language_model(tmp_path, **config)
    assert str(raised.value).startswith(f"{str(tmp_path)!r} {message}")
    assert "\n" not in str(raised.value)


def test_a_kind_that_is_no_text_is_refused(tmp_path: Path):
    with pytest.raises(FileFormatError, match=r"has model_type .*; expected a text like 'bert'"):
        language_model(tmp_path, model_type=["gpt2"])


def test_quantised_weights_and_adapters_are_told_before_anything_is_read(tmp_path: Path):
    with pytest.raises(CheckpointError, match="are quantised by 'gptq'"):
        language_model(tmp_path, model_type="llama", quantization_config={"quant_method": "gptq"})
    (tmp_path / "config.json").unlink()
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "gpt2"}')
    with pytest.raises(CheckpointError, match="holds an adapter of 'gpt2'"):
        language_model_of(tmp_path)


def test_a_folder_without_a_configuration(tmp_path: Path):
    with pytest.raises(CheckpointNotFoundError):
        language_model_of(tmp_path)
