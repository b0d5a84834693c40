"""Keywords of transformers: those that work here, those that need no doing, and what is said of the others."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs.errors import InputError
from modeloutputs.torch import BertModel
from modeloutputs.torch.keywords import loading_keywords, saving_keywords

from ..support.torch_checkpoints import checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("bert"))


@pytest.mark.parametrize(
    "options",
    [
        {"torch_dtype": torch.float16},
        {"torch_dtype": "float16", "device_map": "cpu"},
        {"dtype": "float16", "device_map": {"": "cpu"}, "low_cpu_mem_usage": True},
        {"dtype": "float16", "torch_dtype": None, "device_map": None, "attn_implementation": "eager"},
        {"dtype": "float16", "attn_implementation": "sdpa", "trust_remote_code": True, "use_safetensors": True},
        {"dtype": "float16", "device_map": torch.device("cpu"), "token": None, "local_files_only": False},
    ],
)
def test_keywords_that_work(options: dict[str, Any], folder: Path) -> None:
    model = BertModel.from_pretrained(folder, **options)
    assert (model.dtype, model.device.type) == (torch.float16, "cpu")
    assert model.config.other.keys() == {"architectures"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"device_map": "auto"},
            "device_map is 'auto'; a model is loaded onto one device, pass device='cpu' or 'cuda:0'",
        ),
        ({"device_map": {"a": 0, "b": 1}}, "device_map is {'a': 0, 'b': 1}; a model is loaded onto one device, pass"),
        (
            {"attn_implementation": "flash_attention_2"},
            "attn_implementation is 'flash_attention_2'; the kernel is chosen",
        ),
        (
            {"use_safetensors": False},
            "use_safetensors is False; safetensors files come first wherever a folder has them",
        ),
        ({"token": "x"}, "from_pretrained does not take token: set HF_TOKEN in the environment instead"),
        ({"local_files_only": True}, "from_pretrained does not take local_files_only: set HF_HUB_OFFLINE in the"),
        (
            {"load_in_4bit": True},
            "from_pretrained does not take load_in_4bit: only plain weights can be loaded; quantise",
        ),
        ({"from_tf": True}, "from_pretrained does not take from_tf: only safetensors files and pytorch_model.bin are"),
        (
            {"dtype": "float8_e4m3fn"},
            "dtype is torch.float8_e4m3fn, which stores numbers and computes nothing; pass dtype",
        ),
    ],
)
def test_what_is_not_done_here_is_refused_with_what_to_do(options: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        BertModel.from_pretrained(folder, **options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_settings_are_left_alone() -> None:
    assert loading_keywords({"hidden_act": "relu", "other": 1}) == ({}, {"hidden_act": "relu", "other": 1})


@pytest.mark.parametrize(
    "options", [{}, {"safe_serialization": True}, {"push_to_hub": False, "token": None, "save_function": torch.save}]
)
def test_keywords_of_saving_that_need_no_doing(options: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    BertModel.from_pretrained(folder).save_pretrained(tmp_path, max_shard_size="10MB", **options)
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"safe_serialization": False},
            "safe_serialization is False; weights are saved as safetensors, for other files",
        ),
        ({"push_to_hub": True}, "save_pretrained does not take push_to_hub: save into a folder and upload that with"),
        ({"max_shards": 3}, "save_pretrained has no option 'max_shards'"),
        ({"max_shard_size": "many"}, "max_shard_size is 'many'; expected bytes, or a text like '200MB' or '5GB'"),
    ],
)
def test_what_saving_does_not_do(options: dict[str, Any], message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        BertModel.from_pretrained(folder).save_pretrained(tmp_path / "new", **options)
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError):
        saving_keywords({"unknown": None})
