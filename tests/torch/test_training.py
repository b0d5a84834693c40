"""What training asks of a model: gradient checkpointing, gradients of inputs, counts of parameters."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs import InputError
from modeloutputs.torch import BartConfig, BartForConditionalGeneration, GPT2Config, GPT2LMHeadModel

from .peer import peer_class
from .tiny import randomise

IDS = torch.tensor([[3, 4, 5, 2]])
GPT2 = {"vocab_size": 20, "n_embd": 8, "n_layer": 3, "n_head": 2, "n_positions": 16}
BART = {
    "vocab_size": 20, "d_model": 8, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 16,
}  # fmt: skip


def made(kind: str) -> Any:
    if kind == "BART":
        model = BartForConditionalGeneration(BartConfig(**BART, dropout=0.0))
    else:
        model = GPT2LMHeadModel(GPT2Config(**GPT2, embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0))
    return randomise(model).train()


def gradients(model: Any) -> dict[str, Any]:
    model.zero_grad()
    model(IDS, labels=IDS).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("kind", ["GPT-2", "BART"])
@pytest.mark.parametrize(
    ("options", "more", "times"),
    [(None, {}, 2), ({"use_reentrant": False}, {}, 2), ({"use_reentrant": True}, {}, 2),
     ({}, {"every_n_layers": 2}, 1), (None, {"offload": True}, 2)],
)  # fmt: skip
def test_gradients_are_the_same_however_layers_are_computed_again(
    kind: str, options: Any, more: dict[str, Any], times: int
) -> None:
    model = made(kind)
    expected = gradients(model)
    calls: list[int] = []
    layer = model.model.decoder.layers[1] if kind == "BART" else model.transformer.h[1]
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options, **more)
    assert model.is_gradient_checkpointing
    layer.register_forward_pre_hook(lambda module, inputs: calls.append(1))
    torch.testing.assert_close(gradients(model), expected)
    assert len(calls) == times
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing
    torch.testing.assert_close(gradients(model), expected)
    assert len(calls) == times + 1


def test_the_newer_name_does_the_same() -> None:
    model = made("GPT-2")
    assert model.supports_gradient_checkpointing
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": True})
    assert model.transformer.gradient_checkpointing
    model.activation_checkpointing_disable()
    assert not model.transformer.gradient_checkpointing


@pytest.mark.parametrize(
    ("given", "line"),
    [({"gradient_checkpointing_kwargs": [1]}, r"gradient_checkpointing_kwargs is \[1\]; expected options"),
     ({"every_n_layers": 0}, "every_n_layers is 0; expected a positive integer")],
)  # fmt: skip
def test_what_cannot_be_is_refused(given: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        made("GPT-2").gradient_checkpointing_enable(**given)


@pytest.mark.parametrize("reentrant", [True, False])
def test_an_adapter_learns_in_a_frozen_model(reentrant: bool) -> None:
    model = made("GPT-2").requires_grad_(False)
    adapter = model.transformer.h[0].mlp.c_fc.weight.requires_grad_(True)
    expected = gradients(model)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    torch.testing.assert_close(gradients(model), expected)
    assert adapter.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["GPT-2", "BART"])
def test_embeddings_can_be_made_to_need_gradients(kind: str) -> None:
    model = made(kind).requires_grad_(False)
    assert not model(IDS).logits.requires_grad
    model.enable_input_require_grads()
    model.enable_input_require_grads()
    assert model(IDS).logits.requires_grad
    with torch.no_grad():
        assert not model(IDS).logits.requires_grad
    model.disable_input_require_grads()
    assert not model(IDS).logits.requires_grad


@pytest.mark.parametrize("only_trainable", [False, True])
@pytest.mark.parametrize("exclude_embeddings", [False, True])
def test_parameters_are_counted_as_the_peer_counts_them(only_trainable: bool, exclude_embeddings: bool) -> None:
    model = made("GPT-2")
    peer = peer_class("GPT2LMHeadModel")(peer_class("GPT2Config")(**GPT2))
    for each in (model, peer):
        each.transformer.h[0].requires_grad_(False)
    expected = peer.num_parameters(only_trainable, exclude_embeddings)
    assert model.num_parameters(only_trainable, exclude_embeddings) == expected
