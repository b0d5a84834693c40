"""What `from_pretrained` and `save_pretrained` take besides weights."""

# what is imported below needs what may be absent

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which these are held against")

import jax
import jax.numpy as jnp
import numpy as np
import torch

import modeloutputs.flax as flax_wing
from modeloutputs import (
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointWarning,
    InputError,
    MissingDependencyError,
)
from modeloutputs.files.checkpoints import read_json
from modeloutputs.flax.loading import saving_keywords

from .tiny import SIZES, models

NAME = "FlaxBertForSequenceClassification"


def loaded(folder: Any = None, **options: Any) -> Any:
    return flax_wing.FlaxBertForSequenceClassification.from_pretrained(folder or models(NAME)[2], **options)


def test_keywords_that_say_how_to_fetch_need_no_doing():
    model = loaded(
        from_pt=True, cache_dir="/nowhere", local_files_only=True, token="x", force_download=True, proxies={},
        use_auth_token=True, trust_remote_code=True, resume_download=True, _from_auto=True, _do_init=False,
    )[0]  # fmt: skip
    assert set(model.config.other) == {"architectures"}


def test_settings_change_the_configuration_and_a_head_of_another_size_is_new():
    with pytest.raises(CheckpointError, match=r"'classifier.bias' has shape \(3,\), .* needs \(5,\); pass num_la"):
        loaded(num_labels=5)
    with pytest.warns(CheckpointWarning, match="another shape, new, to be trained: classifier.bias, classifier.w"):
        model = loaded(num_labels=5, hidden_act="relu", ignore_mismatched_sizes=True)
    assert model.params["classifier"]["kernel"].shape == (16, 5)
    assert float(jnp.abs(model.params["classifier"]["kernel"]).max()) > 0
    assert (model.config.num_labels, model.config.hidden_act) == (5, "relu")
    before = models(NAME)[1].params["bert"]
    jax.tree.map(np.testing.assert_array_equal, model.params["bert"], before)
    with pytest.warns(CheckpointWarning, match="of another shape"):
        _, params = loaded(num_labels=5, ignore_mismatched_sizes=True, _do_init=False)
    assert set(params) == {"bert"}


def test_a_configuration_of_transformers_is_read_and_changed():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.BertConfig(**SIZES["Bert"], num_labels=3, attn_implementation="eager")
    model, _ = loaded(config=config, hidden_act="relu", _do_init=False)
    assert isinstance(model.config, flax_wing.BertConfig)
    assert (model.config.num_labels, model.config.hidden_act) == (3, "relu")
    assert flax_wing.FlaxBertModel(config, _do_init=False).config.num_labels == 3
    with pytest.raises(CheckpointError, match="model_type is 'gpt2', and BertConfig reads 'bert'"):
        loaded(config=transformers.GPT2Config())


@pytest.mark.parametrize("family", ["Bert", "OpenAIGPT", "GPT2", "Llama", "Bart"])
def test_gradient_checkpointing_is_an_option(family: str):
    name = f"Flax{family}Model"
    model, _ = getattr(flax_wing, name).from_pretrained(models(name)[2], gradient_checkpointing=True, _do_init=False)
    assert model.module.gradient_checkpointing is True


def test_a_subfolder_lies_within_the_folder(tmp_path: Path):
    shutil.copytree(models(NAME)[2], tmp_path / "outer" / "inner")
    assert loaded(tmp_path / "outer", subfolder="inner", _do_init=False)[0].config.num_labels == 3
    auto = flax_wing.FlaxAutoModelForSequenceClassification
    assert auto.from_pretrained(tmp_path / "outer", subfolder="inner", _do_init=False)[0].config.num_labels == 3
    (tmp_path / "outer" / "link").symlink_to(models(NAME)[2], target_is_directory=True)
    for name in ("../outer/inner", str(tmp_path / "outer" / "inner")):
        with pytest.raises(CheckpointError, match="names a file outside itself"):
            loaded(tmp_path / "outer", subfolder=name)
    with pytest.raises(CheckpointError, match="is a link that leads out; it is not followed"):
        loaded(tmp_path / "outer", subfolder="link")
    with pytest.raises(CheckpointNotFoundError, match="has no subfolder 'other'"):
        auto.from_pretrained(tmp_path / "outer", subfolder="other")


def test_a_variant_has_files_of_its_own(tmp_path: Path):
    shutil.copytree(models(NAME)[2], tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").rename(tmp_path / "model.fp16.safetensors")
    assert set(loaded(tmp_path, variant="fp16", _do_init=False)[1]) == {"bert", "classifier"}
    with pytest.raises(CheckpointNotFoundError, match=r"model.fp16.safetensors is a variant; pass variant='fp16'"):
        loaded(tmp_path)


def test_folders_of_which_nothing_can_be_loaded_are_refused_as_in_pytorch(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "quantization_config": {"quant_method": "gptq"}}')
    for cls in (flax_wing.FlaxBertModel, flax_wing.FlaxAutoModel):
        with pytest.raises(CheckpointError, match="are quantised by 'gptq'"):
            cls.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert", "num_hidden_layers": 10000}')
    torch.save({"a": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds 1 tensors, too few for the 10000 layers"):
        flax_wing.FlaxBertModel.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="was passed a NoneType; pass a folder or hub id"):
        flax_wing.FlaxBertModel.from_pretrained(None)


def test_quantised_weights_are_refused(tmp_path: Path):
    model, _, folder = models(NAME)
    shutil.copy(Path(folder) / "config.json", tmp_path / "config.json")
    state = model.state_dict()
    name = "bert.pooler.dense.weight"
    torch.save({**state, name: state[name].to(torch.int8)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"'{name}' holds int8, not floating point numbers"):
        loaded(tmp_path)
    torch.save({**state, f"{name}.absmax": state[name][0]}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"'{name}' goes with '{name}.absmax': it is quantised or in parts"):
        loaded(tmp_path)


def test_pickled_weights_without_pytorch_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copy(Path(models(NAME)[2]) / "config.json", tmp_path / "config.json")
    (tmp_path / "pytorch_model.bin").touch()
    for name in ("modeloutputs.pickled", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"weights as pytorch_model.bin alone, .* modeloutputs\[torch\]"):
        loaded(tmp_path)


@pytest.mark.parametrize("dtype", ["float", "int32", torch.float16, None, 3])
def test_a_dtype_is_one_of_floating_point(dtype: Any):
    if dtype == "float":
        assert loaded(dtype="bfloat16", _do_init=False)[0].dtype == jnp.bfloat16
    else:
        with pytest.raises(InputError, match=r"^dtype is .*; expected a floating point type of JAX, as jnp.bfloat16$"):
            loaded(dtype=dtype, _do_init=False)


# -- saving ---------------------------------------------------------------------------------------------------------


def test_what_saving_does_not_do():
    saving_keywords({"push_to_hub": False, "token": "x"})
    with pytest.raises(InputError, match=r"push_to_hub: save into a folder and upload that with .*upload_folder$"):
        saving_keywords({"push_to_hub": True})
    with pytest.raises(InputError, match="save_pretrained has no option 'max_shards'"):
        saving_keywords({"max_shards": 3})


def test_new_weights_are_not_hidden_by_old_ones_in_another_format(tmp_path: Path):
    _, model, _ = models(NAME)
    zeros = jax.tree.map(jnp.zeros_like, model.params)
    for safe, limit in ((True, "5KB"), (False, "5KB"), (True, 10**6), (False, 10**6), (True, "5KB")):
        model.save_pretrained(tmp_path, zeros if safe else model.params, safe_serialization=safe, max_shard_size=limit)
        kinds = {path.suffix for path in tmp_path.iterdir() if path.suffix != ".json"}
        assert kinds == {".safetensors" if safe else ".msgpack"}
        indices = [path.name for path in tmp_path.glob("*.index.json")]
        assert len(indices) == (limit == "5KB")
        found = loaded(tmp_path, _do_init=False)[1]
        jax.tree.map(np.testing.assert_array_equal, found, zeros if safe else model.params)


def test_the_written_configuration_says_what_the_weights_are(tmp_path: Path):
    _, model, _ = models(NAME)
    model.save_pretrained(tmp_path, model.to_bf16(model.params))
    assert read_json(tmp_path / "config.json")["dtype"] == "bfloat16"
    assert read_json(tmp_path / "config.json")["architectures"] == ["BertForSequenceClassification"]
    _, params = loaded(tmp_path, _do_init=False)
    assert params["classifier"]["kernel"].dtype == jnp.bfloat16
    with pytest.raises(InputError, match="params is a list; expected a nested dict of arrays"):
        model.save_pretrained(tmp_path, [1])


def test_a_tied_llama_has_the_head_that_transformers_reads(tmp_path: Path):
    _, model, _ = models("FlaxLlamaForCausalLM")
    model.save_pretrained(tmp_path, safe_serialization=False)
    from flax.serialization import msgpack_restore

    tree = msgpack_restore((tmp_path / "flax_model.msgpack").read_bytes())
    np.testing.assert_array_equal(tree["lm_head"]["kernel"], tree["model"]["embed_tokens"]["embedding"].T)
    _, params = type(model).from_pretrained(tmp_path, _do_init=False)
    assert set(params) == {"model"}
