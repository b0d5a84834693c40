"""The bricks: activations, feed-forward, residuals, and which layers are kept."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs import InputError
from modeloutputs.torch.layers import ACTIVATIONS, FeedForward, activation, add_residual, select_layers

from .tiny import randomise, states


def gelu(x: float) -> float:
    return x / 2 * (1 + math.erf(x / math.sqrt(2)))


def gelu_tanh(x: float) -> float:
    return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


FORMULAS = {
    "gelu": gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": lambda x: max(x, 0.0),
    "silu": silu,
    "swish": silu,
    "tanh": math.tanh,
}


def test_every_activation_has_a_formula_here() -> None:
    assert ACTIVATIONS.keys() == FORMULAS.keys()


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_is_its_formula_in_place_and_not(name: str) -> None:
    points = torch.linspace(-4, 4, 33, dtype=torch.float64)
    expected = torch.tensor([FORMULAS[name](x) for x in points.tolist()], dtype=torch.float64)
    torch.testing.assert_close(activation(name)(points), expected)
    overwritten = points.clone()
    ACTIVATIONS[name][1](overwritten)
    torch.testing.assert_close(overwritten, expected)
    assert torch.autograd.gradcheck(activation(name), points[points != 0].requires_grad_())


def test_a_hook_sees_what_a_layer_returned_and_not_what_became_of_it() -> None:
    block, inputs, seen = FeedForward(4, 6, "relu"), torch.randn(3, 4), []
    block.up.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        block(inputs)
    torch.testing.assert_close(seen[0], torch.nn.functional.linear(inputs, block.up.weight, block.up.bias).detach())


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_is_the_peers_of_that_name(name: str) -> None:
    peer = pytest.importorskip("transformers.activations", reason="transformers is not installed")
    points = torch.linspace(-4, 4, 33)
    torch.testing.assert_close(activation(name)(points.clone()), peer.ACT2FN[name](points))


def test_an_unknown_activation_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="hidden_act is 'gelo'; did you mean 'gelu'"):
        activation("gelo")


def test_feed_forward_is_two_products_with_an_activation_between() -> None:
    module = randomise(FeedForward(8, 12, "relu"))
    hidden = states(2, 3, 8)
    inner = (hidden @ module.up.weight.T + module.up.bias).clamp(min=0)
    torch.testing.assert_close(module(hidden), inner @ module.down.weight.T + module.down.bias)


def test_residual_is_added_in_place_where_no_precision_is_lost() -> None:
    update, residual = torch.ones(3), torch.full((3,), 2.0)
    assert add_residual(update, residual) is update
    assert update.tolist() == [3, 3, 3]
    assert residual.tolist() == [2, 2, 2]


def test_residual_of_higher_precision_is_kept_so() -> None:
    update, residual = torch.ones(1, dtype=torch.bfloat16), torch.tensor([2.0**-12])
    assert add_residual(update, residual).item() == 1 + 2.0**-12
    assert update.item() == 1


# -- which layers -----------------------------------------------------------------------------------------------------

SELECTIONS = [
    (True, [True, True, True]),
    (False, [False, False, False]),
    ([], [False, False, False]),
    ([0], [True, False, False]),
    ([-1], [False, False, True]),
    ((-3, 2), [True, False, True]),
    ([1, 1, -2], [False, True, False]),
    (range(2), [True, True, False]),
    (torch.tensor([0, 2]), [True, False, True]),
]


@pytest.mark.parametrize(("selection", "expected"), SELECTIONS)
def test_selection_says_for_each_layer_whether_it_is_asked_for(selection: Any, expected: list[bool]) -> None:
    assert select_layers(selection, 3, "output_attentions") == expected


@pytest.mark.parametrize("index", [3, -4, True, 1.0, "1", None])
def test_an_index_that_names_no_layer_is_refused(index: Any) -> None:
    with pytest.raises(InputError) as caught:
        select_layers([0, index], 3, "output_hidden_states")
    assert str(caught.value) == f"output_hidden_states asks for layer {index!r}; this model has -3 to 2"


@pytest.mark.parametrize("selection", [1, "all", 0.5, None])
def test_a_selection_that_is_neither_flag_nor_indices_is_refused(selection: Any) -> None:
    with pytest.raises(InputError) as caught:
        select_layers(selection, 3, "output_attentions")
    assert str(caught.value) == (
        f"output_attentions is {selection!r}; expected True, False or layer indices such as [0, -1]"
    )
