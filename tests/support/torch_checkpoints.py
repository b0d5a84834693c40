"""Checkpoint folders of tiny models, in every form that files have, and edits of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from modeloutputs.architectures import BertConfig
from modeloutputs.torch import BertModel

from ..torch.tiny import SIZES, randomise

Files = Callable[[dict[str, Tensor], Path], None]


def parameters(model: Any) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def model_of(cls: Any, **settings: Any) -> Any:
    return randomise(cls(BertConfig(**{**SIZES, **settings})))


def checkpoint(folder: Path, cls: Any = BertModel, **settings: Any) -> Path:
    """Save a tiny model of random weights and return its folder."""
    model_of(cls, **settings).save_pretrained(folder)
    return folder


def change(folder: Path, edit: Callable[[dict[str, Tensor]], Any]) -> Path:
    """Edit the weights of a folder."""
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def configure(folder: Path, **values: Any) -> Path:
    """Edit the config.json of a folder; None removes."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return folder


def write_safetensors(tensors: dict[str, Tensor], folder: Path) -> None:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")


def write_bin(tensors: dict[str, Tensor], folder: Path) -> None:
    torch.save(tensors, folder / "pytorch_model.bin")


def write_old_bin(tensors: dict[str, Tensor], folder: Path) -> None:
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def halves(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    names = list(tensors)
    return [{name: tensors[name] for name in names[i::2]} for i in range(2)]


def write_shards(tensors: dict[str, Tensor], folder: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name, half in zip(names, halves(tensors), strict=True):
        save_file({key: tensor.clone() for key, tensor in half.items()}, folder / name)
    write_index(folder / "model.safetensors.index.json", names, tensors)


def write_bin_shards(tensors: dict[str, Tensor], folder: Path) -> None:
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    for name, half in zip(names, halves(tensors), strict=True):
        torch.save(half, folder / name)
    write_index(folder / "pytorch_model.bin.index.json", names, tensors)


def write_index(path: Path, names: list[str], tensors: dict[str, Tensor]) -> None:
    weight_map = {key: name for name, half in zip(names, halves(tensors), strict=True) for key in half}
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


FORMS = [write_safetensors, write_shards, write_bin, write_old_bin, write_bin_shards]
