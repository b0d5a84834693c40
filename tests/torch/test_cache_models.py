"""Models that decode with a cache: branched, backed up, trained through, compiled."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, cat, nn

from modeloutputs.torch.cache import Cache, PastKeyValues

from ..support.torch_caches import Mode, assert_equal, copied, every_mode, places
from .tiny import BY_NAME, DECODER, states, token_ids

# -- in models --------------------------------------------------------------------------------------------------------

SELF, BOTH = {**DECODER, "add_cross_attention": False}, DECODER
every_decoder = pytest.mark.parametrize("crossed", [False, True], ids=["self", "crossed"])


def decoder(crossed: bool) -> Any:
    return BY_NAME["BertLMHeadModel"].model(**(BOTH if crossed else SELF))


def first_arguments(crossed: bool) -> dict[str, Tensor]:
    return {"encoder_hidden_states": states(2, 5)} if crossed else {}


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@every_decoder
@every_mode
def test_a_model_decodes_into_one_buffer(mode: Mode, crossed: bool) -> None:
    model, ids = decoder(crossed), token_ids(2, 12)
    whole = model(ids, **first_arguments(crossed)).logits
    with mode():
        output = model(ids[:, :4], **first_arguments(crossed))
        logits, outputs = [output.logits], [output]
        for i in range(4, 12):
            output = model(ids[:, i : i + 1], past_key_values=output.past_key_values)
            logits.append(output.logits)
            outputs.append(output)
    close(cat(logits, 1), whole)
    starts = {places(output.past_key_values)[0][0] for output in outputs[1:]}
    assert len(starts) == (8 if mode is torch.enable_grad else 1)
    for i, output in enumerate(outputs):
        assert type(output.past_key_values) is Cache
        assert output.past_key_values.length == 4 + i
        for layer, last in zip(output.past_key_values, outputs[-1].past_key_values, strict=True):
            assert all(torch.equal(key, later[:, :, : 4 + i]) for key, later in zip(layer[:2], last[:2], strict=True))


@every_decoder
def test_a_model_branches_backs_up_and_reorders(crossed: bool) -> None:
    model, ids, others = decoder(crossed), token_ids(2, 8), token_ids(2, 8, seed=9)
    arguments = first_arguments(crossed)
    with torch.no_grad():
        past = model(ids[:, :5], **arguments).past_key_values
        past = model(ids[:, 5:7], past_key_values=past).past_key_values
        found = {
            "on": model(ids[:, 7:], past_key_values=past),
            "aside": model(others[:, 7:], past_key_values=past),
            "fork": model(others[:, 7:], past_key_values=past.fork()),
            "back": model(others[:, 4:], past_key_values=past.crop(4)),
            "swapped": model(others[:, 7:], past_key_values=past.reorder(torch.tensor([1, 0]))),
        }
        aside, back = cat([ids[:, :7], others[:, 7:]], 1), cat([ids[:, :4], others[:, 4:]], 1)
        swapped = cat([ids.flip(0)[:, :7], others[:, 7:]], 1)
        turned = {name: tensor.flip(0) for name, tensor in arguments.items()}
        close(found["on"].logits, model(ids, **arguments).logits[:, 7:])
        close(found["aside"].logits, model(aside, **arguments).logits[:, 7:])
        close(found["fork"].logits, model(aside, **arguments).logits[:, 7:])
        close(found["back"].logits, model(back, **arguments).logits[:, 4:])
        close(found["swapped"].logits, model(swapped, **turned).logits[:, 7:])


def parameter_gradients(model: nn.Module, objective: Tensor) -> list[Tensor | None]:
    model.zero_grad()
    objective.backward()
    return [parameter.grad for parameter in model.parameters()]


@every_decoder
def test_gradients_through_two_steps_are_those_of_one_pass(crossed: bool) -> None:
    model, ids = decoder(crossed), token_ids(2, 7)
    arguments = first_arguments(crossed)
    whole = parameter_gradients(model, model(ids, **arguments).logits.square().mean())
    first = model(ids[:, :4], **arguments)
    second = model(ids[:, 4:], past_key_values=first.past_key_values)
    found = parameter_gradients(model, cat([first.logits, second.logits], 1).square().mean())
    assert all(gradient is not None for gradient in whole)
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("mode", "crossed"), [(torch.no_grad, True), (torch.inference_mode, False)])
def test_a_compiled_model_takes_a_cache(mode: Mode, crossed: bool) -> None:
    assert_compiles("eager", mode, crossed, lambda cache: cache)


def test_a_compiled_model_takes_plain_tuples() -> None:
    assert_compiles("eager", torch.no_grad, True, Cache.to_tuples)


def test_a_compiled_model_takes_a_cache_through_aot_autograd() -> None:
    assert_compiles("aot_eager", torch.enable_grad, True, lambda cache: cache)


def assert_compiles(backend: str, mode: Mode, crossed: bool, form: Callable[[Cache], PastKeyValues]) -> None:
    """Two steps in one graph each, on a cache of eager steps; and what they return is taken by an eager step."""
    torch._dynamo.reset()
    model, ids = BY_NAME["BertLMHeadModel"].shallow_model(**(BOTH if crossed else SELF)), token_ids(2, 9)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    with mode():
        past = model(ids[:, :4], **first_arguments(crossed)).past_key_values
        past = model(ids[:, 4:6], past_key_values=past).past_key_values
        assert past.capacity == (6 if mode is torch.enable_grad else 16)
        before = copied(past)
        first = compiled(ids[:, 6:7], past_key_values=form(past))
        second = compiled(ids[:, 7:8], past_key_values=first.past_key_values)
        third = model(ids[:, 8:], past_key_values=second.past_key_values)
        wanted_first = model(ids[:, 6:7], past_key_values=past)
        wanted_second = model(ids[:, 7:8], past_key_values=wanted_first.past_key_values)
        wanted_third = model(ids[:, 8:], past_key_values=wanted_second.past_key_values)
    for found, wanted in ((first, wanted_first), (second, wanted_second), (third, wanted_third)):
        close(found.logits, wanted.logits)
        close(found.past_key_values, tuple(wanted.past_key_values))
    assert_equal(past, before)
