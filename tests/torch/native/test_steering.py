"""Activation steering: a hook changes a layer's states, as a tuple or a tensor alone, and loses nothing else."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

import modeloutputs.torch as ours
from modeloutputs.torch.stack_runner import runner_of

from ..peer import peer_class
from ..tiny import randomise

BERT = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
GPT = {
    "vocab_size": 20, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16, "attn_pdrop": 0.0, "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
}  # fmt: skip
BART = {
    "vocab_size": 20, "d_model": 8, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 16,
}  # fmt: skip
MODELS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "BERT": ("BertModel", "BertConfig", BERT, "encoder.layer"),
    "BERT decoder": ("BertLMHeadModel", "BertConfig", {**BERT, "is_decoder": True}, "bert.encoder.layer"),
    "GPT": ("OpenAIGPTLMHeadModel", "OpenAIGPTConfig", GPT, "transformer.h"),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", GPT, "transformer.h"),
    "Llama": ("LlamaForCausalLM", "LlamaConfig", {**BERT, "num_key_value_heads": 1}, "model.layers"),
    "BART": ("BartForConditionalGeneration", "BartConfig", BART, "model.decoder.layers"),
}
CACHING = ["BERT decoder", "GPT-2", "Llama", "BART"]
IDS, VECTOR = torch.tensor([[3, 4, 5, 2]]), torch.linspace(-1, 1, 8)

HOOKS: dict[str, Callable[..., Any]] = {
    "tuple": lambda module, inputs, output: (output[0] + VECTOR, *output[1:]),
    "tensor": lambda module, inputs, output: output[0] + VECTOR,
    "states alone in a tuple": lambda module, inputs, output: (output[0] + VECTOR,),
}
every_hook = pytest.mark.parametrize("hook", HOOKS)


def built(name: str) -> tuple[Any, Any]:
    cls, config, settings, path = MODELS[name]
    model = randomise(getattr(ours, cls)(getattr(ours, config)(**settings))).eval()
    return model, model.get_submodule(path)


def peers(name: str, model: Any) -> Tensor:
    """Return the logits or states of the peer's model, steered alike; its layers return the states themselves."""
    cls, config, settings, path = MODELS[name]
    peer = peer_class(cls)(peer_class(config)(**settings)).eval()
    peer.load_state_dict(model.state_dict(), strict=False)
    peer.tie_weights()

    def steer(module: nn.Module, inputs: Any, output: Any) -> Any:
        return output + VECTOR if isinstance(output, Tensor) else (output[0] + VECTOR, *output[1:])

    peer.get_submodule(path)[0].register_forward_hook(steer)
    return peer(IDS)[0]


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
@every_hook
def test_steered_states_are_the_peers_and_nothing_else_is_lost(name: str, hook: str) -> None:
    model, layers = built(name)
    plain = model(IDS, output_attentions=True, output_hidden_states=True)
    handle = layers[0].register_forward_hook(HOOKS[hook])
    assert runner_of(layers) is None
    found = model(IDS, output_attentions=True, output_hidden_states=True)
    assert found.keys() == plain.keys()
    torch.testing.assert_close(found.to_tuple()[0], peers(name, model))
    prefix = "decoder_" if name == "BART" else ""
    states, weights = f"{prefix}hidden_states", f"{prefix}attentions"
    torch.testing.assert_close(found[states][1], plain[states][1] + VECTOR)
    assert torch.equal(found[weights][0], plain[weights][0])
    handle.remove()
    assert runner_of(layers) is not None
    torch.testing.assert_close(model(IDS).to_tuple()[0], plain.to_tuple()[0])


@torch.no_grad()
@pytest.mark.parametrize("name", CACHING)
@every_hook
def test_steering_goes_on_step_by_step(name: str, hook: str) -> None:
    model, layers = built(name)
    layers[0].register_forward_hook(HOOKS[hook])
    given: dict[str, Any] = {"encoder_outputs": (torch.ones(1, 3, 8),)} if name == "BART" else {}
    key = "decoder_input_ids" if name == "BART" else "input_ids"
    whole = model(**{key: IDS}, **given)
    cache, logits = None, []
    for token in IDS.unbind(1):
        step = model(**{key: token[:, None]}, past_key_values=cache, use_cache=True, **given)
        cache = step.past_key_values
        logits.append(step.logits)
    torch.testing.assert_close(torch.cat(logits, 1), whole.logits)


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("part", ["attention", "stack"])
def test_a_tensor_from_an_attention_block_or_a_whole_stack_loses_nothing(name: str, part: str) -> None:
    model, layers = built(name)
    attention = layers[0].get_submodule(layers[0].paths.attention.block)
    module = attention if part == "attention" else layers
    results: list[Any] = []
    for hook in (HOOKS["tuple"], HOOKS["tensor"]):
        handle = module.register_forward_hook(hook)
        results.append(model(IDS, output_attentions=True, output_hidden_states=True))
        handle.remove()
    assert results[0].keys() == results[1].keys()
    torch.testing.assert_close(results[0].to_tuple(), results[1].to_tuple())


def test_a_steered_layer_is_trained_and_computed_again() -> None:
    model, layers = built("GPT-2")
    layers[0].register_forward_hook(HOOKS["tensor"])
    expected = torch.autograd.grad(model(IDS, labels=IDS).loss, model.transformer.wte.weight)[0]
    model.gradient_checkpointing_enable()
    found = torch.autograd.grad(model.train()(IDS, labels=IDS).loss, model.transformer.wte.weight)[0]
    torch.testing.assert_close(found, expected)


# -- tools that look at layers, or keep weights elsewhere --------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_captum_reads_a_whole_layers_states_and_what_it_is_given(name: str) -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    model, layers = built(name)
    states = model(IDS, output_hidden_states=True)
    expected = states["decoder_hidden_states" if name == "BART" else "hidden_states"]
    reader = captum.LayerActivation(lambda ids: model(ids).to_tuple()[0], layers[0])
    torch.testing.assert_close(reader.attribute(IDS), expected[1])
    torch.testing.assert_close(reader.attribute(IDS, attribute_to_layer_input=True), expected[0])


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_states_are_changed_before_a_layer_reads_them(name: str) -> None:
    model, layers = built(name)
    layers[1].register_forward_pre_hook(lambda module, inputs: (inputs[0] + VECTOR,))
    found = model(IDS).to_tuple()[0]
    torch.testing.assert_close(found, peers(name, built(name)[0]))


@torch.no_grad()
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "BART"])
def test_weights_that_accelerate_keeps_elsewhere_compute_the_same(name: str) -> None:
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    model, _ = built(name)
    plain, offloaded = model(IDS).to_tuple()[0], built(name)[0]
    accelerate.cpu_offload(offloaded, execution_device=torch.device("cpu"))
    torch.testing.assert_close(offloaded(IDS).to_tuple()[0], plain)
    if name in CACHING:
        found, expected = (each.generate(IDS, max_new_tokens=3, eos_token_id=()) for each in (offloaded, model))
        assert torch.equal(found.sequences, expected.sequences)
