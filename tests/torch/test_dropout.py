"""Dropout whose random bits are drawn in bulk: how many elements it drops, what it makes of the others, gradients."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F

from modeloutputs.torch import BertConfig, BertModel
from modeloutputs.torch.dropout import draws_in_bulk, drop

SHAPE = (3, 111, 1003)
"""Of an odd number of elements."""


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.5, 0.999])
def test_as_many_are_dropped_as_asked_and_the_expected_value_stays(probability: float) -> None:
    found = drop(torch.ones(SHAPE), probability)
    assert found.shape == SHAPE
    dropped = found == 0
    count = dropped.numel()
    deviation = (probability * (1 - probability) / count) ** 0.5
    assert abs(float(dropped.float().mean()) - probability) < 5 * deviation + 2**-17
    kept = found[~dropped]
    assert (kept == kept[0]).all()
    assert float(kept[0]) == pytest.approx(1 / (1 - probability), rel=2**-17 / (1 - probability))


def test_neighbours_are_dropped_independently() -> None:
    """Four of them share one random number of 64 bits."""
    dropped = (drop(torch.ones(400_000), 0.5) == 0).view(-1, 4)
    patterns = (dropped.long() * torch.tensor([1, 2, 4, 8])).sum(1).bincount(minlength=16)
    expected = len(dropped) / 16
    assert float(((patterns - expected) ** 2 / expected).sum()) < 37.7  # chi-squared of 15, 0.1%


def test_seeds_and_generator_states_repeat_it() -> None:
    ones = torch.ones(SHAPE)
    first, second = drop(ones, 0.3), drop(ones, 0.3)
    torch.manual_seed(0)
    assert torch.equal(drop(ones, 0.3), first)
    assert not torch.equal(first, second)
    with torch.random.fork_rng():
        forked = drop(ones, 0.3)
    assert torch.equal(forked, drop(ones, 0.3))


def test_gradients_go_where_values_went() -> None:
    states = torch.randn(64, 128, requires_grad=True)
    found = drop(states, 0.25)
    (found * torch.arange(found.numel()).view(found.shape)).sum().backward()
    scale = torch.where(found == 0, 0.0, found / states).detach()
    torch.testing.assert_close(states.grad, scale * torch.arange(found.numel()).view(found.shape))


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_all_or_nothing_is_pytorchs(probability: float) -> None:
    states = torch.randn(64, 128)
    assert torch.equal(drop(states, probability), states * (1 - probability))


@pytest.mark.parametrize(("count", "dtype"), [(10, "float32"), (10_000, "float64"), (10_000, "bfloat16")])
def test_other_tensors_are_dropped_as_pytorch_does(count: int, dtype: str) -> None:
    states = torch.randn(count).to(getattr(torch, dtype))
    assert not draws_in_bulk(states)
    torch.manual_seed(1)
    found = drop(states, 0.5)
    torch.manual_seed(1)
    assert torch.equal(found, F.dropout(states, 0.5))


def test_vmap_gives_each_its_own_random_numbers() -> None:
    ones = torch.ones(3, 64, 128)
    found = torch.vmap(lambda states: drop(states, 0.5), randomness="different")(ones)
    assert not torch.equal(found[0], found[1])
    with pytest.raises(RuntimeError, match="randomness"):
        torch.vmap(lambda states: drop(states, 0.5))(ones)


def gradients(model: Any) -> list[torch.Tensor]:
    torch.manual_seed(3)
    model.zero_grad()
    model(torch.ones(4, 32, dtype=torch.int64)).last_hidden_state.square().sum().backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def test_checkpointing_computes_again_with_the_same_random_numbers() -> None:
    config = BertConfig(
        vocab_size=9, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.3,
    )  # fmt: skip
    model = BertModel(config).train()
    expected = gradients(model)
    model.gradient_checkpointing_enable()
    for found, each in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(found, each, rtol=1e-5, atol=1e-5)
