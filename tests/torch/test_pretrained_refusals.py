"""Checkpoints that cannot be loaded: refused in one clear line, and nothing in them is run."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from safetensors.torch import load_file, save_file

from modeloutputs.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    FileFormatError,
    InputError,
    ModelOutputsError,
)
from modeloutputs.torch import (
    BertForSequenceClassification,
    BertLMHeadModel,
    BertModel,
)
from modeloutputs.torch.weights import open_weights

from ..support.torch_checkpoints import (
    FORMS,
    Files,
    change,
    checkpoint,
    configure,
    write_bin_shards,
    write_shards,
)

# -- one clear line, and no model ---------------------------------------------------------------------------------


def refuses(
    folder: Path, error: type[ModelOutputsError], message: str | None = None, cls: Any = BertModel, **options: Any
) -> str:
    """Hold that loading raises this one line, and return it."""
    with pytest.raises(error, match=message) as caught:
        cls.from_pretrained(folder, **options)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value) or error in (CheckpointError, InputError)
    return str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    refuses(tmp_path / "missing", CheckpointNotFoundError, "there is no folder")


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    (checkpoint(tmp_path) / "config.json").unlink()
    refuses(tmp_path, CheckpointNotFoundError, r"has no config\.json; is it a checkpoint folder\?")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (checkpoint(tmp_path) / "model.safetensors").unlink()
    refuses(tmp_path, CheckpointNotFoundError, "has no weights")


@pytest.mark.parametrize("model_type", ["gpt2", ""])
def test_another_architecture(model_type: Any, tmp_path: Path) -> None:
    message = f"model_type is {model_type!r}, and BertConfig reads 'bert'"
    refuses(configure(checkpoint(tmp_path), model_type=model_type), CheckpointError, message)


def test_an_unsupported_architecture(tmp_path: Path) -> None:
    message = "is a 'roberta' model .*, which this library lacks; supported are bart, bert, gpt2, llama, openai-gpt$"
    refuses(configure(checkpoint(tmp_path), model_type="roberta"), CheckpointError, message)
    refuses(configure(tmp_path, model_type=3), FileFormatError, "has model_type 3; expected a text like 'bert'")


def test_an_invalid_configuration(tmp_path: Path) -> None:
    refuses(configure(checkpoint(tmp_path), num_attention_heads=5), InputError, "cannot be split into")


def test_an_unknown_activation(tmp_path: Path) -> None:
    refuses(configure(checkpoint(tmp_path), hidden_act="gelu_nwe"), InputError, "did you mean 'gelu_new'")


def test_an_encoder_as_a_language_model(tmp_path: Path) -> None:
    refuses(checkpoint(tmp_path), InputError, "BertLMHeadModel needs config.is_decoder=True", BertLMHeadModel)


@pytest.mark.parametrize("cls", [BertModel, BertForSequenceClassification])
def test_missing_weights_of_the_base_model(cls: Any, tmp_path: Path) -> None:
    names = ["embeddings.LayerNorm.bias", "encoder.layer.1.output.dense.weight"]
    change(checkpoint(tmp_path), lambda t: [t.pop(name) for name in names])
    text = refuses(
        tmp_path, CheckpointError, f"lacks 2 weights of {cls.__name__}: .*of this architecture and size", cls
    )
    assert all(name in text for name in names)


def test_a_missing_projection(tmp_path: Path) -> None:
    change(checkpoint(tmp_path), lambda t: t.pop("encoder.layer.0.attention.self.key.weight"))
    refuses(tmp_path, CheckpointError, r"lacks 1 weights of BertModel: encoder\.layer\.0\.attention\.self\.key\.weight")


def test_weights_of_something_else(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    save_file({"wte.weight": torch.zeros(3, 3)}, tmp_path / "model.safetensors")
    refuses(tmp_path, CheckpointError, r"holds 1 tensors, too few for the 2 layers of its configuration; is the conf")
    save_file({f"h.{i}.weight": torch.zeros(3, 3) for i in range(9)}, tmp_path / "model.safetensors")
    refuses(tmp_path, CheckpointError, r"lacks \d+ weights of BertModel: .*, \.\.\.; is it a checkpoint of this")


def test_a_wrong_shape(tmp_path: Path) -> None:
    configure(checkpoint(tmp_path), intermediate_size=38)
    refuses(
        tmp_path,
        CheckpointError,
        r"'encoder\.layer\.0\.intermediate\.dense\.weight' has shape \(37, 32\), .*\(38, 32\)",
    )


def test_a_quantised_checkpoint(tmp_path: Path) -> None:
    name = "encoder.layer.0.output.dense.weight"
    change(checkpoint(tmp_path), lambda t: t.update({name: t[name].to(torch.int8)}))
    refuses(tmp_path, CheckpointError, "holds torch.int8, not floating point numbers; quantised checkpoints cannot")


@pytest.mark.parametrize("form", [write_shards, write_bin_shards])
def test_a_missing_shard(form: Files, tmp_path: Path) -> None:
    checkpoint(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    form({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path)
    next(tmp_path.glob("*-00002-of-00002*")).unlink()
    refuses(tmp_path, CheckpointNotFoundError, "lacks 1 of the 2 shards its index names: .*-00002-of-00002")


@pytest.mark.parametrize("form", [write_shards, write_bin_shards])
def test_a_shard_outside_the_folder(form: Files, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "folder")
    form({name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}, tmp_path)
    (folder / "model.safetensors").unlink()
    path = next(tmp_path.glob("*.index.json"))
    weight_map = {key: f"../{name}" for key, name in json.loads(path.read_text())["weight_map"].items()}
    (folder / path.name).write_text(json.dumps({"weight_map": weight_map}))
    refuses(folder, CheckpointError, "names a file outside itself, .*; it is not followed")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.99, -1])
def test_a_truncated_file(form: Files, part: float, tmp_path: Path) -> None:
    checkpoint(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    form({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path)
    cut = max(tmp_path.glob("*model*"), key=lambda path: path.stat().st_size)
    size = cut.stat().st_size
    os.truncate(cut, size - 1 if part == -1 else int(size * part))
    assert cut.name in refuses(tmp_path, FileFormatError, "truncated|cut off|corrupt")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"])
@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x80\x02rubbish", b"PK\x03\x04rubbish", bytes(range(256)) * 9])
def test_a_corrupt_file(name: str, content: bytes, tmp_path: Path) -> None:
    (checkpoint(tmp_path) / "model.safetensors").unlink()
    (tmp_path / name).write_bytes(content)
    assert name in refuses(tmp_path, FileFormatError)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])
def test_an_older_file_with_changed_bytes_is_read_or_refused_in_one_line(new: bool, tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(3), "v": torch.ones(2, 2)}, tmp_path / "whole", _use_new_zipfile_serialization=new)
    content = (tmp_path / "whole").read_bytes()
    draw = torch.Generator().manual_seed(0)
    refused: list[str] = []
    for _ in range(150):
        changed = bytearray(content)
        for place in torch.randint(len(content), (4,), generator=draw).tolist():
            changed[place] = int(torch.randint(256, (), generator=draw))
        (tmp_path / "pytorch_model.bin").write_bytes(changed)
        try:
            open_weights(tmp_path)
        except FileFormatError as error:
            refused.append(str(error))
    assert refused
    assert not [text for text in refused if "\n" in text]


# -- nothing is run -----------------------------------------------------------------------------------------------


class Evil:
    """Makes a folder where an unpickler runs it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def write_raw(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_zip(content: Any, path: Path) -> None:
    torch.save(content, path)


def write_old(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("sharded", [True, False])
@pytest.mark.parametrize("write", [write_raw, write_zip, write_old])
def test_a_pickle_that_asks_for_more_than_tensors_is_not_run(
    write: Callable[[Any, Path], None], sharded: bool, tmp_path: Path
) -> None:
    folder, marker = checkpoint(tmp_path / "folder"), tmp_path / "was-run"
    (folder / "model.safetensors").unlink()
    name = "pytorch_model-00001-of-00001.bin" if sharded else "pytorch_model.bin"
    write({"w": Evil(marker)}, folder / name)
    if sharded:
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    refuses(folder, FileFormatError, r"holds more than tensors, and was not run: it asks for \w+\.mkdir$")
    assert not marker.exists()


def test_the_pickle_of_that_test_would_have_been_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Evil(tmp_path / "was-run")))
    assert (tmp_path / "was-run").exists()
