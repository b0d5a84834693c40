"""What is saved of wrapped, replaced and adapted models: the checkpoint's names, or one line and no file."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations, prune

from modeloutputs import CheckpointError

from ...support.needs import needs
from ..peer import assert_same_tensors, peer_class, stored
from ..tiny import Head
from .cases import BY_NAME, PARTS, computed
from .test_replaced import LAYERS, Doubled, LowRank, compiled, replace, wrap_layers

BERT, LLAMA, GPT2 = BY_NAME["BertForMaskedLM"], BY_NAME["LlamaForCausalLM"], BY_NAME["GPT2LMHeadModel"]

WRAPS: dict[str, Callable[[nn.Module], Any]] = {
    "torch.compile": compiled,
    "checkpoint_wrapper": checkpoint_wrapper,
    "both": lambda layer: checkpoint_wrapper(compiled(layer)),
}


# -- under wrappers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("name", LAYERS)
def test_wrapped_layers_are_saved_under_the_checkpoints_names(name: str, wrap: str, tmp_path: Path) -> None:
    head = BY_NAME[name]
    model = head.model()
    plain = computed(model, head)
    model.save_pretrained(tmp_path / "plain")
    wrap_layers(model, name, WRAPS[wrap])
    model.save_pretrained(tmp_path / "wrapped")
    assert_same_tensors(stored(tmp_path / "wrapped"), stored(tmp_path / "plain"))
    torch.testing.assert_close(computed(head.cls.from_pretrained(tmp_path / "wrapped"), head), plain, rtol=0, atol=1e-6)


def test_single_linear_layers_may_be_wrapped_too(tmp_path: Path) -> None:
    model = LLAMA.model()
    model.save_pretrained(tmp_path / "plain")
    replace(model, "model.layers.0.self_attn.k_proj", compiled(model.model.layers[0].self_attn.k_proj))
    replace(model, "lm_head", checkpoint_wrapper(model.lm_head))
    model.save_pretrained(tmp_path / "wrapped")
    assert_same_tensors(stored(tmp_path / "wrapped"), stored(tmp_path / "plain"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_state_of_a_wrapped_model_loads_into_the_wrapped_model(dtype: str) -> None:
    model, other = BERT.model(), BERT.model().to(getattr(torch, dtype))
    wrap_layers(model, BERT.name, checkpoint_wrapper)
    other.load_state_dict(model.state_dict())  # the checkpoint wrapper leaves its name out of state dicts
    assert torch.equal(next(other.parameters()).float(), next(model.parameters()).to(other.dtype).float())


def test_a_compiled_whole_is_saved_by_its_model(tmp_path: Path) -> None:
    model = BERT.model()
    model.save_pretrained(tmp_path / "plain")
    whole = torch.compile(model, backend="eager")
    whole.save_pretrained(tmp_path / "compiled")
    assert_same_tensors(stored(tmp_path / "compiled"), stored(tmp_path / "plain"))


# -- refused ----------------------------------------------------------------------------------------------------------


def _quantised(model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})


def _pruned(model: Any) -> Any:
    prune.l1_unstructured(model.bert.encoder.layer[0].attention.self.query, "weight", amount=0.5)
    return model


def _parametrised(model: Any) -> Any:
    parametrizations.weight_norm(model.bert.encoder.layer[1].output.dense)
    return model


def _adapted(model: Any) -> Any:
    query = model.bert.encoder.layer[0].attention.self.query
    replace(model, "bert.encoder.layer.0.attention.self.query", LowRank(query, 32, 32))
    return model


def _shortened(model: Any) -> Any:
    del model.bert.encoder.layer[1]
    return model


def _resized(model: Any) -> Any:
    replace(model, "bert.encoder.layer.0.intermediate.dense", nn.Linear(32, 20))
    return model


REFUSED = {
    "quantised": _quantised,
    "pruned": _pruned,
    "parametrised": _parametrised,
    "adapted": _adapted,
    "a layer fewer": _shortened,
    "another width": _resized,
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_loading_would_not_find_is_refused_and_nothing_is_written(how: str, tmp_path: Path) -> None:
    model = REFUSED[how](BERT.model())
    with pytest.raises(CheckpointError) as refusal:
        model.save_pretrained(tmp_path / "new")
    assert "\n" not in str(refusal.value)
    assert "bert.encoder.layer" in str(refusal.value)
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("how", REFUSED)
def test_a_refusal_leaves_the_checkpoint_that_was_there(how: str, tmp_path: Path) -> None:
    BERT.model().save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError):
        REFUSED[how](BERT.model()).save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_more_layers_than_configured_are_refused(tmp_path: Path) -> None:
    model = BERT.model()
    model.bert.encoder.layer.append(BERT.model().bert.encoder.layer[1])
    with pytest.raises(CheckpointError, match=r"bert\.encoder\.layer\.2"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("role", ["q_proj", "k_proj", "v_proj"])
def test_a_replaced_projection_of_grouped_keys_is_saved_with_all_its_rows(role: str, tmp_path: Path) -> None:
    model = LLAMA.model()
    path = f"model.layers.0.self_attn.{role}"
    old = model.get_submodule(path)
    for index, new in enumerate(
        (nn.Linear(32, old.out_features, bias=False), Doubled(32, old.out_features, bias=False))
    ):
        replace(model, path, new)
        model.save_pretrained(tmp_path / str(index))
        assert torch.equal(stored(tmp_path / str(index))[f"{path}.weight"], new.weight)
    replace(model, path, nn.Linear(32, old.out_features + 8, bias=False))
    with pytest.raises(CheckpointError, match=path):
        model.save_pretrained(tmp_path / "wider")


def test_a_bias_that_the_configuration_does_not_have_is_refused(tmp_path: Path) -> None:
    model = LLAMA.model()
    replace(model, "model.layers.0.self_attn.q_proj", nn.Linear(32, 32))
    with pytest.raises(CheckpointError, match=r"q_proj\.bias"):
        model.save_pretrained(tmp_path)


def test_pruning_that_was_made_permanent_is_saved(tmp_path: Path) -> None:
    model = _pruned(BERT.model())
    query = model.bert.encoder.layer[0].attention.self.query
    plain = computed(model, BERT)
    prune.remove(query, "weight")
    model.save_pretrained(tmp_path)
    loaded = BERT.cls.from_pretrained(tmp_path)
    assert (loaded.bert.encoder.layer[0].attention.self.query.weight == 0).sum() == 512
    torch.testing.assert_close(computed(loaded, BERT), plain, rtol=0, atol=1e-5)


@needs("transformers")
@pytest.mark.parametrize(
    "name", [name for name in BY_NAME if (name not in PARTS and "untied" in name) or name in LAYERS]
)
def test_the_peer_reads_what_a_wrapped_model_wrote(name: str, tmp_path: Path) -> None:
    head: Head = BY_NAME[name]
    model = head.model()
    for module in list(model.modules()):
        if isinstance(module, nn.ModuleList):
            for index, layer in enumerate(module):
                module[index] = checkpoint_wrapper(layer)
    model.save_pretrained(tmp_path)
    theirs, info = peer_class(head.cls.__name__).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    torch.testing.assert_close(computed(theirs.eval(), head), computed(model, head), rtol=0, atol=1e-5)
