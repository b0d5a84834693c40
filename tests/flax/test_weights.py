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
from modeloutputs.files.safetensors import write_safetensors
from modeloutputs.flax.weights import checkpoint_name, open_weights

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
