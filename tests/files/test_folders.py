"""What a folder is, said in one true line, whichever way the folder is opened."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from modeloutputs import architectures, errors
from modeloutputs.errors import CheckpointError, CheckpointNotFoundError, FileFormatError
from modeloutputs.files.folders import MODEL_TYPES, check_folder, describe_missing_weights

from .test_git_lfs import POINTER

SUPPORTED = "supported are bart, bert, gpt2, llama, openai-gpt"


def folder_with(folder: Path, **files: Any) -> Path:
    """Write JSON files, named without their suffix."""
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def refusal(folder: Path, error: type[Exception] = CheckpointError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        check_folder(folder, **options)
    assert isinstance(caught.value, errors.ModelOutputsError)
    assert "\n" not in str(caught.value)
    assert "did you mean" not in str(caught.value)
    return str(caught.value).replace(str(folder), "FOLDER")


def test_the_kinds_are_those_of_the_architectures() -> None:
    classes = [getattr(architectures, name) for name in architectures.__all__]
    assert sorted(cls.model_type for cls in classes if cls.model_type) == list(MODEL_TYPES)


@pytest.mark.parametrize("kind", [*MODEL_TYPES, ""])
def test_kinds_of_ours_pass(kind: str, tmp_path: Path) -> None:
    settings = {"model_type": kind, "quantization_config": None}
    assert check_folder(folder_with(tmp_path, config=settings)) == settings


@pytest.mark.parametrize(
    "kind", ["roberta", "xlm-roberta", "deberta", "t5", "qwen2", "gpt_neox", "distilbert", "mpnet", "brt"]
)
@pytest.mark.parametrize("weights", [True, False])
def test_another_kind_is_named_and_not_guessed_at(kind: str, weights: bool, tmp_path: Path) -> None:
    text = refusal(folder_with(tmp_path, config={"model_type": kind}), weights=weights)
    assert text == f"'FOLDER' is a {kind!r} model (model_type in config.json), which this library lacks; {SUPPORTED}"


@pytest.mark.parametrize("kind", [3, ["bert"], {}])
def test_a_kind_that_is_no_text_is_refused(kind: Any, tmp_path: Path) -> None:
    text = refusal(folder_with(tmp_path, config={"model_type": kind}), FileFormatError)
    assert text == f"'FOLDER/config.json' has model_type {kind!r}; expected a text like 'bert'"


@pytest.mark.parametrize(
    ("files", "method"),
    [
        ({"config": {"quantization_config": {"quant_method": "compressed-tensors"}}}, "'compressed-tensors'"),
        ({"config": {"quantization_config": {"quant_method": "gptq", "bits": 4}}}, "'gptq'"),
        ({"config": {"quantization_config": {"quant_method": "awq", "bits": 4}}}, "'awq'"),
        ({"config": {"quantization_config": {"quant_method": "fp8"}}}, "'fp8'"),
        ({"config": {"quantization_config": {"load_in_4bit": True}}}, "'bitsandbytes (4 bits)'"),
        ({"config": {"quantization_config": {"bits": 3}}}, "'a method of 3 bits'"),
        ({"config": {"quantization_config": "int8"}}, "an unnamed method"),
        ({"config": {"compression_config": {"quant_method": "sparse"}}}, "'sparse'"),
        ({"config": {}, "quantize_config": {"bits": 4, "group_size": 128}}, "'a method of 4 bits'"),
        ({"config": {}, "hf_quant_config": {"quantization": {"quant_algo": "NVFP4"}}}, "'NVFP4'"),
    ],
)
def test_quantised_weights_are_refused_by_the_name_of_their_method(
    files: dict[str, Any], method: str, tmp_path: Path
) -> None:
    text = refusal(folder_with(tmp_path, **files))
    assert text.startswith(f"the weights of 'FOLDER' are quantised by {method} (")
    assert text.endswith("and only plain weights can be loaded; use the checkpoint that they were made from")
    assert check_folder(tmp_path, weights=False) == files["config"]  # its tokenizer is like any other


def test_an_adapter_names_its_base_model(tmp_path: Path) -> None:
    folder_with(tmp_path, adapter_config={"peft_type": "LORA", "base_model_name_or_path": "bert-base-uncased"})
    assert refusal(tmp_path) == (
        "'FOLDER' holds a LORA adapter of 'bert-base-uncased' (adapter_config.json), not a whole model; load its base "
        "model and put the adapter on with peft, or merge the two and load what that saves"
    )
    assert refusal(tmp_path, weights=False).startswith("'FOLDER' holds a LORA adapter")
    folder_with(tmp_path, config={"model_type": "bert"})
    assert refusal(tmp_path).startswith("'FOLDER' holds a LORA adapter")
    (tmp_path / "model.safetensors").touch()  # a whole model beside the adapter
    assert check_folder(tmp_path) == {"model_type": "bert"}


def test_an_adapter_that_says_little_is_recognised_too(tmp_path: Path) -> None:
    assert refusal(folder_with(tmp_path, adapter_config={})).startswith("'FOLDER' holds an adapter (adapter_config.")


def test_a_pointer_is_answered_with_what_to_run(tmp_path: Path) -> None:
    text = refusal(folder_with(tmp_path, config=POINTER), FileFormatError)
    assert text == "'FOLDER/config.json' is a Git LFS pointer, not the file itself; run `git lfs pull` first"


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    assert refusal(tmp_path, CheckpointNotFoundError) == "'FOLDER' has no config.json; is it a checkpoint folder?"
    assert check_folder(tmp_path, weights=False) == {}


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("model.Q4_K_M.gguf", "weights for llama.cpp"),
        ("consolidated.00.pth", "weights in the form of their first publication"),
        ("flax_model.msgpack", "weights for Flax"),
    ],
)
def test_weights_in_another_form_are_pointed_out(name: str, meaning: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert refusal(tmp_path, CheckpointNotFoundError).endswith(f"; {name} is {meaning}")
    assert describe_missing_weights(tmp_path) == (
        f"'{tmp_path}' has no weights: neither model.safetensors, nor its index, nor pytorch_model.bin; "
        f"{name} is {meaning}"
    )


def test_a_pipe_in_the_place_of_the_configuration_does_not_hang(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "config.json")
    for weights in (True, False):
        text = refusal(tmp_path, FileFormatError, weights=weights)
        assert text == "'FOLDER/config.json' is a device, pipe or socket, and is not read; expected a JSON file"
