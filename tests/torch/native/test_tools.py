"""Tools of PyTorch's users on our models: adapters, quantisation, pruning, attribution, sharding, saving by tensors."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn
from torch.nn.utils import prune

from ...support.needs import needs
from ...support.once import made_once
from ...support.processes import ROOT
from .cases import BY_NAME, NATIVE_HEADS, arguments, computed
from .fsdp_ranks import HEADS as SHARDED
from .fsdp_ranks import RANKS, inputs, train

CLASSIFIER = BY_NAME["BertForSequenceClassification, one class"]


# -- peft -------------------------------------------------------------------------------------------------------------


def _train(model: nn.Module, given: dict[str, Any], steps: int = 4) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-2)
    losses: list[float] = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(**given).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def _adapted(base: nn.Module, *targets: str, **settings: Any) -> Any:
    import peft

    return peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=list(targets), lora_dropout=0.0, **settings))


@needs("peft")
@pytest.mark.parametrize("task", [None, "SEQ_CLS"])
def test_peft_trains_merges_saves_and_loads_lora_on_query_and_value_of_bert(task: str | None, tmp_path: Path) -> None:
    import peft

    base = CLASSIFIER.model()
    plain = computed(base, CLASSIFIER)
    model = _adapted(base, "query", "value", task_type=task)
    torch.testing.assert_close(computed(model.eval(), CLASSIFIER), plain, rtol=0, atol=1e-6)  # B starts at zero
    adapters = [name for name, p in model.named_parameters() if p.requires_grad and "lora_" in name]
    assert len(adapters) == 2 * 2 * 2  # two layers, two projections, two factors
    losses = _train(model, {**arguments(CLASSIFIER), "labels": torch.tensor([0, 2])})
    assert losses[-1] < losses[0]
    trained = computed(model.eval(), CLASSIFIER)
    assert not torch.allclose(trained, plain, atol=1e-3)

    model.save_pretrained(tmp_path / "adapter")
    loaded = peft.PeftModel.from_pretrained(CLASSIFIER.model(), tmp_path / "adapter")
    torch.testing.assert_close(computed(loaded.eval(), CLASSIFIER), trained, rtol=0, atol=1e-6)
    merged = loaded.merge_and_unload()
    assert type(merged) is CLASSIFIER.cls
    merged.save_pretrained(tmp_path / "merged")
    again = CLASSIFIER.cls.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(computed(again, CLASSIFIER), trained, rtol=0, atol=1e-5)


@needs("peft")
@pytest.mark.parametrize(
    ("name", "task"), [("LlamaForCausalLM", "CAUSAL_LM"), ("BartForConditionalGeneration", "SEQ_2_SEQ_LM")]
)
def test_peft_trains_and_generates_with_lora_on_language_models(name: str, task: str) -> None:
    head = BY_NAME[name]
    given = arguments(head)
    labels = given.get("decoder_input_ids", given["input_ids"])
    model = _adapted(head.model(), "q_proj", "v_proj", task_type=task)
    losses = _train(model, {**given, "labels": labels})
    assert losses[-1] < losses[0]
    prompt = {"input_ids": given["input_ids"], "max_new_tokens": 4, "output_scores": True}
    generated = model.eval().generate(**prompt)
    merged = model.merge_and_unload().generate(**prompt)
    assert torch.equal(generated.sequences, merged.sequences)
    torch.testing.assert_close(generated.scores, merged.scores, rtol=0, atol=1e-4)


@needs("peft")
def test_peft_adapts_gpt2s_joint_projection_as_a_registered_module() -> None:
    """peft knows the Conv1D of transformers by its class; ours is registered with the adapter of linear layers."""
    import peft
    from peft.tuners.lora import Linear

    from modeloutputs.torch.layers import Conv1D

    head = BY_NAME["GPT2LMHeadModel, alone"]
    config = peft.LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True, lora_dropout=0.0)
    config._register_custom_module({Conv1D: Linear})
    model = peft.get_peft_model(head.model(), config)
    losses = _train(model, {**arguments(head), "labels": arguments(head)["input_ids"]})
    assert losses[-1] < losses[0]
    trained = computed(model.eval(), head)
    merged = model.merge_and_unload()
    assert type(merged.transformer.h[0].attn.c_attn) is Conv1D
    torch.testing.assert_close(computed(merged, head), trained, rtol=0, atol=1e-5)


# -- PyTorch's own ----------------------------------------------------------------------------------------------------


def test_quantize_dynamic_replaces_each_linear_layer_and_computes() -> None:
    model = CLASSIFIER.model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    count = sum(type(module) is nn.Linear for module in model.modules())
    assert sum(type(module).__module__.endswith("dynamic.modules.linear") for module in quantised.modules()) == count
    assert not any(type(module) is nn.Linear for module in quantised.modules())
    difference = (computed(quantised, CLASSIFIER) - computed(model, CLASSIFIER)).abs().max()
    assert 0 < difference < 0.2


def test_pruning_cuts_the_smallest_weights_of_all_layers_and_is_made_permanent(tmp_path: Path) -> None:
    model = CLASSIFIER.model()
    layers = [module for module in model.bert.encoder.modules() if isinstance(module, nn.Linear)]
    prune.global_unstructured([(layer, "weight") for layer in layers], prune.L1Unstructured, amount=0.3)
    zeros = sum(int((layer.weight == 0).sum()) for layer in layers)
    assert zeros == round(0.3 * sum(layer.weight.numel() for layer in layers))
    pruned = computed(model, CLASSIFIER)
    for layer in layers:
        prune.remove(layer, "weight")
    model.save_pretrained(tmp_path)
    loaded = CLASSIFIER.cls.from_pretrained(tmp_path)
    torch.testing.assert_close(computed(loaded, CLASSIFIER), pruned, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", NATIVE_HEADS, ids=[head.name for head in NATIVE_HEADS])
def test_weight_decay_lists_by_name_leave_out_biases_and_norms(head: Any) -> None:
    model = head.model()
    marks = ("bias", "LayerNorm.weight", "layer_norm.weight", "layernorm.weight", "layernorm_embedding.weight",
             "ln_1.weight", "ln_2.weight", "ln_f.weight", "ln_cross_attn.weight", "norm.weight")  # fmt: skip
    undecayed = {name for name, _ in model.named_parameters() if any(mark in name for mark in marks)}
    kinds = (nn.LayerNorm, type(BY_NAME["LlamaModel"].model().norm))
    expected = {
        name
        for name, parameter in model.named_parameters()
        if name.endswith("bias") or isinstance(model.get_submodule(name.rpartition(".")[0]), kinds)
    }
    assert undecayed == expected
    assert all(parameter.dim() == 1 for name, parameter in model.named_parameters() if name in undecayed)


def test_bert_needs_only_the_two_names_that_everybody_lists() -> None:
    names = [name for name, _ in CLASSIFIER.model().named_parameters()]
    undecayed = [name for name in names if any(mark in name for mark in ("bias", "LayerNorm.weight"))]
    decayed = [name for name in names if name not in undecayed]
    assert all(name.endswith(("embeddings.weight", "query.weight", "key.weight", "value.weight", "dense.weight",
                              "classifier.weight")) for name in decayed)  # fmt: skip
    assert "bert.encoder.layer.0.attention.self.query.weight" in decayed


# -- captum -----------------------------------------------------------------------------------------------------------


def _logits(ids: Tensor, model: nn.Module) -> Tensor:
    return model(ids).logits


@needs("captum")
@pytest.mark.parametrize("path", ["bert.encoder.layer.1", "bert.encoder.layer.0.intermediate", "bert.embeddings"])
def test_captum_reads_a_layers_activation(path: str) -> None:
    from captum.attr import LayerActivation

    model = CLASSIFIER.model()
    ids = arguments(CLASSIFIER)["input_ids"]
    found = LayerActivation(lambda given: _logits(given, model), model.get_submodule(path)).attribute(ids)
    found = found[0] if isinstance(found, tuple) else found
    states = model(ids, output_hidden_states=True).hidden_states
    if path == "bert.encoder.layer.1":
        torch.testing.assert_close(found, states[2])
    elif path == "bert.embeddings":
        torch.testing.assert_close(found, states[0])
    else:
        assert found.shape == (2, 5, 37)


@needs("captum")
@pytest.mark.parametrize("path", ["bert.embeddings", "bert.embeddings.word_embeddings", "bert.encoder.layer.0.output"])
def test_captum_attributes_a_class_to_a_layer(path: str) -> None:
    """Integrated gradients add up to the difference between input and baseline (Sundararajan et al., 2017)."""
    from captum.attr import LayerIntegratedGradients

    model = CLASSIFIER.model()
    ids = arguments(CLASSIFIER)["input_ids"]
    baseline = torch.zeros_like(ids)
    method = LayerIntegratedGradients(lambda given: _logits(given, model), model.get_submodule(path))
    found, error = method.attribute(ids, baseline, target=1, n_steps=64, return_convergence_delta=True)
    assert found.shape == (2, 5, 32)
    difference = (_logits(ids, model) - _logits(baseline, model))[:, 1]
    torch.testing.assert_close(found.sum((1, 2)), difference, rtol=0, atol=0.02)
    assert error.abs().max() < 0.02


@needs("captum")
def test_captum_attributes_to_the_attention_of_a_layer() -> None:
    from captum.attr import LayerGradientXActivation

    model = CLASSIFIER.model()
    ids = arguments(CLASSIFIER)["input_ids"]
    method = LayerGradientXActivation(lambda given: _logits(given, model), model.bert.encoder.layer[0].attention.output)
    found = method.attribute(ids, target=0)
    assert found.shape == (2, 5, 32)
    assert found.abs().sum() > 0


# -- safetensors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", NATIVE_HEADS, ids=[head.name for head in NATIVE_HEADS])
def test_safetensors_saves_and_loads_models(head: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_model, save_model

    model, other = head.model(), head.cls(head.configuration()).eval()
    save_model(model, str(tmp_path / "model.safetensors"))
    missing, unexpected = load_model(other, str(tmp_path / "model.safetensors"))
    assert not missing
    assert not unexpected
    torch.testing.assert_close(computed(other, head), computed(model, head), rtol=0, atol=1e-5)
    size = sum({id(p): p.nbytes for p in model.state_dict(keep_vars=True).values()}.values())
    assert (tmp_path / "model.safetensors").stat().st_size < size + 50_000


# -- FSDP2 ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what each of two processes did with models sharded by layer class."""
    command = [sys.executable, "-m", "tests.torch.native.fsdp_ranks"]

    def run(folder: Path) -> None:
        processes = [
            subprocess.Popen([*command, str(rank), str(folder)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
            for rank in range(RANKS)
        ]
        errors = [process.communicate(timeout=240)[1] for process in processes]
        assert not any(process.returncode for process in processes), errors

    folder = made_once(tmp_path_factory, "fsdp", run)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(RANKS)]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch.distributed is not available")
@pytest.mark.parametrize("name", SHARDED)
def test_fsdp2_wrapped_by_layer_class_trains_as_one_process(name: str, ranks: list[dict[str, Any]]) -> None:
    head = BY_NAME[name]
    model = head.model()
    loss, state = train(model, inputs(head))
    for rank in ranks:
        done = rank[name]
        assert done["layers"] == sum(type(module).__name__.endswith("Layer") for module in model.modules())
        assert done["plain bricks"]
        assert done["loss"] == pytest.approx(loss, rel=1e-4)
        assert done["refusal"] is not None
        assert "gather" in done["refusal"]
    full = ranks[0][name]["state"]
    assert full.keys() == state.keys()
    torch.testing.assert_close(full, state, rtol=1e-4, atol=1e-4)
