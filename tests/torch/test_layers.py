"""The bricks: activations, feed-forward blocks, Conv1D, RMSNorm, and which layers are returned."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F
from torch import nn

from modeloutputs import InputError
from modeloutputs.architectures.layers import LayerSettings
from modeloutputs.torch.layers import (
    ACTIVATIONS,
    Conv1D,
    FeedForward,
    RMSNorm,
    activate,
    activation,
    linear_layer,
    norm_layer,
    select_layers,
)

from ..support.torch_stacks import ACTIVATIONS as FUNCTIONS
from ..support.torch_stacks import SIZES, WIDTH, close, hidden_states
from .tiny import randomise, states


def settings(**changes: Any) -> LayerSettings:
    return LayerSettings(**{**SIZES, **changes})


# -- activations ------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_is_the_peers_of_that_name(name: str) -> None:
    peer = pytest.importorskip("transformers.activations", reason="transformers is not installed")
    points = torch.linspace(-4, 4, 33)
    torch.testing.assert_close(activation(name)(points.clone()), peer.ACT2FN[name](points))


def test_an_unknown_activation_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="hidden_act is 'gelo'; did you mean 'gelu'"):
        activation("gelo")
    with pytest.raises(InputError, match="hidden_act is 'gelo'"):
        FeedForward(settings(activation="gelo"), up="up", down="down")


def test_an_activation_is_in_place_where_nobody_needs_its_input() -> None:
    layer = nn.Linear(2, 2)
    values = torch.tensor([-1.0, 2.0])
    assert activate("relu", values, layer) is values
    assert values.tolist() == [0, 2]
    recorded = torch.tensor([-1.0, 2.0], requires_grad=True)
    assert activate("relu", recorded, layer) is not recorded
    layer.register_forward_hook(lambda *_: None)
    values = torch.tensor([-1.0, 2.0])
    assert activate("relu", values, layer).tolist() == [0, 2]
    assert values.tolist() == [-1, 2]


# -- feed-forward -----------------------------------------------------------------------------------------------------


def made(bias: bool = True, gate: str | None = None, **changes: Any) -> FeedForward:
    whole = settings(feed_forward_bias=bias, **changes)
    return randomise(FeedForward(whole, up="up", down="down", gate=gate)).double()


def test_feed_forward_is_two_products_with_an_activation_between() -> None:
    module, hidden = made(activation="relu"), hidden_states()
    inner = (hidden @ module.up.weight.T + module.up.bias).clamp(min=0)
    close(module(hidden), inner @ module.down.weight.T + module.down.bias)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", ["silu", "gelu"])
def test_gated_feed_forward_multiplies_with_a_gate(name: str, bias: bool) -> None:
    module, hidden = made(bias, "gate", activation=name), hidden_states()
    assert [name for name, _ in module.named_parameters()] == [
        f"{layer}.{leaf}" for layer in ("gate", "up", "down") for leaf in ("weight", "bias")[: 1 + bias]
    ]
    gate, up, down = (lambda x, m=m: F.linear(x, m.weight, m.bias) for m in (module.gate, module.up, module.down))
    before = hidden.clone()
    expected = down(FUNCTIONS[name](gate(hidden)) * up(hidden))
    with torch.no_grad():
        close(module(hidden), expected.detach())
        module.pack()
        close(module(hidden), expected.detach())
    close(module(hidden), expected)
    assert torch.equal(hidden, before)


def test_a_hook_sees_the_values_before_the_activation() -> None:
    module, hidden, seen = made(activation="relu"), hidden_states(), []
    module.up.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        module(hidden)
    close(seen[0], F.linear(hidden, module.up.weight, module.up.bias).detach())


def test_dropout_of_activations_comes_before_the_second_product() -> None:
    module, hidden = made(activation="relu", activation_dropout=0.5), hidden_states()
    torch.manual_seed(0)
    found = module(hidden)
    torch.manual_seed(0)
    inner = F.dropout(F.relu(F.linear(hidden, module.up.weight, module.up.bias)), 0.5)
    close(found, F.linear(inner, module.down.weight, module.down.bias))
    close(module.eval()(hidden), made(activation="relu")(hidden))


# -- Conv1D -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5), (0, 5)])
def test_conv1d_is_a_product_with_a_weight_of_inputs_by_outputs(shape: tuple[int, ...], bias: bool) -> None:
    layer = randomise(Conv1D(5, 7, bias=bias))
    rows = states(1, math.prod(shape[:-1]), 5)[0].view(shape)
    expected = rows @ layer.weight + (layer.bias if bias else 0)
    torch.testing.assert_close(layer(rows), expected)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "weight": (5, 7), **({"bias": (7,)} if bias else {})
    }  # fmt: skip
    assert repr(layer) == f"Conv1D(in_features=5, out_features=7, bias={bias})"


def test_conv1d_starts_from_small_weights_and_no_bias() -> None:
    torch.manual_seed(0)
    layer = Conv1D(400, 300)
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not layer.bias.any()


def test_linear_layers_and_norms_are_those_of_the_settings() -> None:
    assert type(linear_layer(settings(), 2, 3)) is nn.Linear
    assert type(linear_layer(settings(transposed_weights=True), 2, 3)) is Conv1D
    assert linear_layer(settings(), 2, 3, bias=False).bias is None
    assert (type(norm_layer(settings())), norm_layer(settings()).eps) == (nn.LayerNorm, SIZES["norm_eps"])
    assert type(norm_layer(settings(rms_norm=True))) is RMSNorm


# -- RMSNorm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e3])
def test_root_mean_square_is_computed_in_float32_at_least(dtype: "torch.dtype", size: float) -> None:
    norm = randomise(RMSNorm(WIDTH, 1e-6)).to(dtype)
    hidden = (hidden_states() * size).to(dtype)
    found = norm(hidden)
    expected = F.rms_norm(hidden.double(), (WIDTH,), norm.weight.double(), 1e-6)
    assert found.dtype == dtype
    # one rounding of the quotient and one of the product
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6}.get(dtype, 2 * torch.finfo(dtype).eps)
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=1e-7 if size < 1 else tolerance)


def test_root_mean_square_does_not_overflow_where_squares_would() -> None:
    norm = RMSNorm(4, 1e-6).half()
    assert norm(torch.full((1, 4), 3000.0).half()).tolist() == [[1, 1, 1, 1]]


def test_root_mean_square_does_not_centre() -> None:
    norm = RMSNorm(2, 0.0)
    torch.testing.assert_close(norm(torch.tensor([[3.0, 4.0]])), torch.tensor([[3.0, 4.0]]) / math.sqrt(12.5))
    assert torch.equal(norm(torch.ones(1, 2)), torch.ones(1, 2))


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
def test_selection_says_for_each_layer_whether_it_is_returned(selection: Any, expected: list[bool]) -> None:
    assert select_layers(selection, 3, "output_attentions") == expected


@pytest.mark.parametrize("index", [3, -4, True, 1.0, "1", None])
def test_an_invalid_layer_index_is_refused(index: Any) -> None:
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
