import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which these are held against")

import jax
import numpy as np
from flax import serialization
from flax.traverse_util import flatten_dict

from modeloutputs import CheckpointNotFoundError
from modeloutputs.architectures.weights import WeightNames
from modeloutputs.files.safetensors import write_safetensors
from modeloutputs.flax.weights import checkpoint_name, export_params, import_params, open_weights

from .tiny import models

NAMES = ["FlaxGPT2LMHeadModel, add_cross_attention", "FlaxLlamaForCausalLM, untied", "FlaxBartForConditionalGeneration"]


def same(left: Any, right: Any) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, left, right)


def folder_with_config(name: str, target: Path) -> Any:
    _, model, folder = models(name)
    shutil.copy(Path(folder) / "config.json", target / "config.json")
    return model


@pytest.mark.parametrize("name", NAMES)
def test_files_of_flax_models_are_read(name: str, tmp_path: Path):
    model = folder_with_config(name, tmp_path)
    (tmp_path / "flax_model.msgpack").write_bytes(serialization.to_bytes(model.params))
    same(type(model).from_pretrained(tmp_path).params, model.params)


@pytest.mark.parametrize("name", NAMES)
def test_safetensors_in_the_layout_of_flax_are_read(name: str, tmp_path: Path):
    model = folder_with_config(name, tmp_path)
    flat = {".".join(path): np.asarray(value) for path, value in flatten_dict(model.params).items()}
    write_safetensors(tmp_path / "model.safetensors", flat, {"format": "flax"})
    same(type(model).from_pretrained(tmp_path).params, model.params)


def test_what_is_saved_as_messagepack_is_flaxs_own(tmp_path: Path):
    _, model, _ = models(NAMES[0])
    model.save_pretrained(tmp_path, safe_serialization=False)
    assert not (tmp_path / "model.safetensors").exists()
    same(serialization.msgpack_restore((tmp_path / "flax_model.msgpack").read_bytes()), model.params)


def test_a_folder_without_weights_says_what_it_has(tmp_path: Path):
    with pytest.raises(CheckpointNotFoundError, match=r"neither model.safetensors, nor its index, nor flax_model.msg"):
        open_weights(tmp_path)
    (tmp_path / "tf_model.h5").touch()
    with pytest.raises(CheckpointNotFoundError, match=r"tf_model.h5 is weights for TensorFlow$"):
        open_weights(tmp_path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("h", "0", "attn", "c_attn", "kernel"), "h.0.attn.c_attn.weight"),
        (("bert", "embeddings", "LayerNorm", "scale"), "bert.embeddings.LayerNorm.weight"),
        (("model", "norm", "weight"), "model.norm.weight"),
        (("final_logits_bias",), "final_logits_bias"),
    ],
)
def test_names_are_those_of_checkpoints(path: tuple[str, ...], name: str):
    assert checkpoint_name(path) == name


def test_tensors_are_read_one_by_one_the_largest_first_and_let_go_of_after_their_last_use():
    log: list[str] = []

    class Tensor:
        def __init__(self, name: str, *shape: int) -> None:
            self.name, self.shape = name, shape

        def numpy(self) -> Any:
            log.append(f"read {self.name}")
            return np.full(self.shape, len(self.name), np.float32)

        def release(self) -> None:
            log.append(f"let go of {self.name}")

    shapes = {"small": (2,), "shared": (4, 2), "other": (4, 2), "large": (9, 3)}
    wanted = {
        name: {"kernel": np.empty(shape[::-1])} if len(shape) == 2 else np.empty(shape)
        for name, shape in shapes.items()
    }
    facts = WeightNames(prefix="base", fallbacks={"base.other.weight": "base.shared.weight"})
    stored = {name if len(shape) == 1 else f"{name}.weight": shape for name, shape in shapes.items() if name != "other"}
    source = {name: Tensor(name, *shape) for name, shape in stored.items()}
    imported = import_params(wanted, source, facts, has_base=False, tied=False)
    assert log == [
        "read large.weight", "let go of large.weight", "read shared.weight", "read shared.weight",
        "let go of shared.weight", "read small", "let go of small",
    ]  # fmt: skip
    assert {path[0]: value.shape for path, value in imported.params.items()} == {
        "small": (2,), "shared": (2, 4), "other": (2, 4), "large": (3, 9),
    }  # fmt: skip
    assert list(imported.params) == [("small",), ("shared", "kernel"), ("other", "kernel"), ("large", "kernel")]


def test_parameters_are_exported_without_a_copy():
    params = {"a": {"kernel": np.ones((2, 3), np.float32)}, "b": {"scale": np.ones(2, np.float32)}}
    exported = export_params(params, WeightNames(prefix="base"), tied=False)
    assert {name: array.shape for name, array in exported.items()} == {"a.weight": (3, 2), "b.weight": (2,)}
    assert np.shares_memory(exported["a.weight"], params["a"]["kernel"])
