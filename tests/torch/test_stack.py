"""The stack of layers, in all that it can be made of, against the same written out in plain functions."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F
from torch import Tensor, nn

from modeloutputs import InputError
from modeloutputs.torch import stack as stack_module
from modeloutputs.torch.attention import PositionEmbeddings, rotary_cos_sin
from modeloutputs.torch.row_chunks import CHUNK_TOKENS
from modeloutputs.torch.cache import Cache
from modeloutputs.torch.inputs import positions_from_mask
from modeloutputs.torch.layers import FeedForward, GatedFeedForward, LayerNorm, RMSNorm
from modeloutputs.torch.outputs import BaseModelOutput, BaseModelOutputWithPast, Seq2SeqModelOutput
from modeloutputs.torch.stack import Given, LayerSettings, Stack, StackResult

from .tiny import padded_mask, randomise, states

LAYERS, ROWS, LENGTH = 3, 3, 6
WIDTH, HEADS, LIMIT = 32, 4, 40
LENGTHS = (6, 2, 4)
FREQUENCIES = [1.0, 0.3, 0.09, 0.01]
"""For heads of width 8."""

SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "heads": HEADS,
    "intermediate_size": 37,
    "activation": "gelu",
    "norm_eps": 1e-3,  # large enough to be seen
}
LLAMA: dict[str, Any] = {
    "kv_heads": 2,
    "activation": "silu",
    "root_mean_square": True,
    "norm_first": True,
    "gated": True,
    "attention_bias": False,
    "feed_forward_bias": False,
    "causal": True,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "post-norm, causal": {"causal": True},
    "pre-norm": {"norm_first": True},
    "pre-norm, causal": {"norm_first": True, "causal": True},
    "pre-norm, root mean square": {"norm_first": True, "root_mean_square": True},
    "post-norm, root mean square": {"root_mean_square": True},
    "grouped": {"kv_heads": 2},
    "one key for all": {"kv_heads": 1, "causal": True},
    "wide heads": {"head_dim": 12},
    "narrow heads, grouped": {"head_dim": 4, "kv_heads": 2, "causal": True},
    "gated": {"gated": True, "activation": "silu"},
    "gated, no bias": {"gated": True, "activation": "gelu_new", "feed_forward_bias": False},
    "no attention bias": {"attention_bias": False},
    "scales": {"scales": [0.5, None, 2.0]},
    "Llama": LLAMA,
    "Llama with biases": {**LLAMA, "attention_bias": True, "feed_forward_bias": True},
}
every_variant = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
every_padding = pytest.mark.parametrize("side", [None, "left", "right"])


def made(layers: int = LAYERS, **settings: Any) -> Stack:
    """Return a stack in float64, no weight of which is left at 0 or 1."""
    return randomise(Stack(LayerSettings(**{**SIZES, **settings}), layers)).double().eval()


def final_norm() -> nn.Module:
    return randomise(LayerNorm(WIDTH, 1e-3), seed=5).double()


def hidden_states(rows: int = ROWS, length: int = LENGTH, seed: int = 2) -> Tensor:
    return states(rows, length, WIDTH, seed).double()


def run(stack: Stack, hidden: Tensor, *, turned: PositionEmbeddings | None = None, norm: Any = None, **given: Any) -> StackResult:
    call = stack.check(Given(**given), *hidden.shape[:2], LIMIT)
    return stack(hidden, call, turned=turned, final_norm=norm)


def everything(stack: Stack, hidden: Tensor, **more: Any) -> StackResult:
    return run(stack, hidden, output_hidden_states=True, output_attentions=True, use_cache=True, **more)


def close(found: Any, expected: Any, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


# -- the same written out ---------------------------------------------------------------------------------------------


class Expected(NamedTuple):
    """What a stack should return: states from the embeddings on, weights, and keys and values."""

    states: list[Tensor]
    weights: list[Tensor]
    cache: list[tuple[Tensor, Tensor]]


def normalised(hidden: Tensor, norm: Any, settings: LayerSettings) -> Tensor:
    if settings.root_mean_square:
        return hidden / (hidden.square().mean(-1, keepdim=True) + settings.norm_eps).sqrt() * norm.weight
    centred = hidden - hidden.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + settings.norm_eps).sqrt()
    return scaled * norm.weight + norm.bias


def turned_by(heads: Tensor, positions: Tensor | None) -> Tensor:
    """Turn (B, H, S, D) as complex numbers, whose imaginary parts are the second half of the dimensions."""
    if positions is None:
        return heads
    angles = positions.double()[:, None, :, None] * torch.tensor(FREQUENCIES, dtype=torch.float64)
    product = torch.complex(*heads.chunk(2, -1)) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([product.real, product.imag], -1)


def attended(
    hidden: Tensor, module: Any, settings: LayerSettings, scale: float | None, seen: Tensor, positions: Tensor | None
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Attend head by head, each with the key that it shares."""
    width = settings.head_dim or settings.hidden_size // settings.heads
    shared = settings.kv_heads or settings.heads
    projected = F.linear(hidden, module.qkv.weight, module.qkv.bias)
    heads = projected.unflatten(-1, (-1, width)).transpose(1, 2)
    query, key, value = heads[:, : settings.heads], heads[:, settings.heads : -shared], heads[:, -shared:]
    query, key = turned_by(query, positions), turned_by(key, positions)
    contexts: list[Tensor] = []
    weights: list[Tensor] = []
    for head in range(settings.heads):
        own = head * shared // settings.heads
        scores = query[:, head] @ key[:, own].mT * (1 / math.sqrt(width) if scale is None else scale)
        weights.append(scores.masked_fill(~seen, -torch.inf).softmax(-1))
        contexts.append(weights[-1] @ value[:, own])
    return (
        F.linear(torch.cat(contexts, -1), module.output.weight, module.output.bias),
        torch.stack(weights, 1),
        (key, value),
    )


def raised(hidden: Tensor, module: Any, settings: LayerSettings) -> Tensor:
    act: Callable[[Tensor], Tensor] = {
        "gelu": F.gelu,
        "silu": F.silu,
        "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    }[settings.activation]
    if not settings.gated:
        return F.linear(act(F.linear(hidden, module.up.weight, module.up.bias)), module.down.weight, module.down.bias)
    n = settings.intermediate_size
    weights = module.gate_up.weight[:n], module.gate_up.weight[n:]
    biases = (None, None) if module.gate_up.bias is None else (module.gate_up.bias[:n], module.gate_up.bias[n:])
    gate, up = (F.linear(hidden, weight, bias) for weight, bias in zip(weights, biases, strict=True))
    return F.linear(act(gate) * up, module.down.weight, module.down.bias)


def written_out(
    stack: Stack, hidden: Tensor, seen: Tensor | None = None, positions: Tensor | None = None, norm: Any = None
) -> Expected:
    settings = stack.settings
    length = hidden.shape[1]
    if seen is None:
        seen = torch.ones(1, length, length, dtype=torch.bool)
        seen = seen.tril() if settings.causal else seen
    expected = Expected([hidden], [], [])
    for i, layer in enumerate(stack):
        scale = settings.scales[i] if settings.scales else None
        first = normalised(hidden, layer.attention_norm, settings) if settings.norm_first else hidden
        update, weights, key_value = attended(first, layer.attention, settings, scale, seen, positions)
        hidden = hidden + update
        hidden = hidden if settings.norm_first else normalised(hidden, layer.attention_norm, settings)
        second = normalised(hidden, layer.feed_forward_norm, settings) if settings.norm_first else hidden
        hidden = hidden + raised(second, layer.feed_forward, settings)
        hidden = hidden if settings.norm_first else normalised(hidden, layer.feed_forward_norm, settings)
        expected.states.append(hidden)
        expected.weights.append(weights)
        expected.cache.append(key_value)
    if norm is not None:
        expected.states[-1] = norm(hidden)
    return expected


def seen_through(mask: Tensor, causal: bool) -> Tensor:
    """Which keys each query sees; one that sees none, being padding, itself."""
    seen = mask.bool()[:, None, :].expand(-1, mask.shape[1], -1)
    seen = seen.tril() if causal else seen
    return seen | (~seen.any(-1, keepdim=True) & torch.eye(mask.shape[1], dtype=torch.bool))


# -- values -----------------------------------------------------------------------------------------------------------


@every_padding
@every_variant
def test_stack_is_what_is_written_out(settings: dict[str, Any], side: str | None) -> None:
    stack, hidden = made(**settings), hidden_states()
    mask = None if side is None else padded_mask(LENGTHS, side, LENGTH)
    seen = None if mask is None else seen_through(mask, stack.settings.causal)
    shown = torch.ones(ROWS, LENGTH).bool() if mask is None else mask.bool()
    expected = written_out(stack, hidden, seen)
    found = everything(stack, hidden, attention_mask=mask)
    fused = run(stack, hidden, attention_mask=mask)
    assert found.hidden_states is not None
    assert found.attentions is not None
    assert found.past_key_values is not None
    assert found.hidden_states[-1] is found.last_hidden_state
    close(fused.last_hidden_state[shown], expected.states[-1][shown])
    for ours, theirs in zip(found.hidden_states, expected.states, strict=True):
        close(ours[shown], theirs[shown])
    for ours, theirs in zip(found.attentions, expected.weights, strict=True):
        close(ours.transpose(1, 2)[shown], theirs.transpose(1, 2)[shown])
    for ours, theirs in zip(found.past_key_values, expected.cache, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            close(a.transpose(1, 2)[shown], b.transpose(1, 2)[shown])


@every_padding
@pytest.mark.parametrize("settings", [LLAMA, {}, {"kv_heads": 1, "causal": True}], ids=["Llama", "plain", "one key"])
def test_rotary_stack_is_what_is_written_out(settings: dict[str, Any], side: str | None) -> None:
    stack, hidden = made(**settings), hidden_states()
    mask = torch.ones(ROWS, LENGTH).long() if side is None else padded_mask(LENGTHS, side, LENGTH)
    positions = positions_from_mask(mask, LENGTH)
    positions = torch.arange(LENGTH)[None] if positions is None else positions
    expected = written_out(stack, hidden, seen_through(mask, stack.settings.causal), positions)
    turned = rotary_cos_sin(positions, FREQUENCIES, torch.float64)
    shown = mask.bool()
    found = run(stack, hidden, attention_mask=mask, turned=turned).last_hidden_state
    close(found[shown], expected.states[-1][shown], 1e-5)  # angles are in float32


@every_variant
def test_weights_are_those_of_its_settings(settings: dict[str, Any]) -> None:
    stack = made(layers=1, **settings)
    made_of = stack.settings
    kv_heads, head_dim = made_of.kv_heads or HEADS, made_of.head_dim or WIDTH // HEADS
    inner = SIZES["intermediate_size"]
    norm = {"weight": (WIDTH,)} if made_of.root_mean_square else {"weight": (WIDTH,), "bias": (WIDTH,)}

    def linear(outputs: int, inputs: int, bias: bool) -> dict[str, tuple[int, ...]]:
        return {"weight": (outputs, inputs), **({"bias": (outputs,)} if bias else {})}

    up = {"gate_up" if made_of.gated else "up": linear(inner * (1 + made_of.gated), WIDTH, made_of.feed_forward_bias)}
    expected = {
        "attention.qkv": linear((HEADS + 2 * kv_heads) * head_dim, WIDTH, made_of.attention_bias),
        "attention.output": linear(WIDTH, HEADS * head_dim, made_of.attention_bias),
        "attention_norm": norm,
        **{f"feed_forward.{name}": shapes for name, shapes in up.items()},
        "feed_forward.down": linear(WIDTH, inner, made_of.feed_forward_bias),
        "feed_forward_norm": norm,
    }
    assert {name: tuple(parameter.shape) for name, parameter in stack.named_parameters()} == {
        f"0.{part}.{leaf}": shape for part, shapes in expected.items() for leaf, shape in shapes.items()
    }
    assert made_of.cache_shape == (kv_heads, head_dim)


@every_variant
def test_gradients_are_those_of_what_is_written_out(settings: dict[str, Any]) -> None:
    stack, hidden = made(**settings), hidden_states().requires_grad_()
    parameters = [hidden, *stack.parameters()]
    found = torch.autograd.grad(run(stack, hidden).last_hidden_state.sin().sum(), parameters)
    expected = torch.autograd.grad(written_out(stack, hidden).states[-1].sin().sum(), parameters)
    close(found, expected)


@every_variant
def test_nothing_that_is_given_is_changed(settings: dict[str, Any]) -> None:
    stack, hidden = made(**settings), hidden_states()
    before = hidden.clone()
    with torch.no_grad():
        found = everything(stack, hidden, norm=final_norm())
        kept = [tensor.clone() for tensor in found.hidden_states]
        run(stack, found.last_hidden_state)
    assert torch.equal(hidden, before)
    assert found.hidden_states[0] is hidden
    assert all(map(torch.equal, found.hidden_states, kept))


@pytest.mark.parametrize("norm_first", [False, True])
def test_final_norm_takes_the_place_of_the_last_state(norm_first: bool) -> None:
    stack, hidden, norm = made(norm_first=norm_first), hidden_states(), final_norm()
    expected = written_out(stack, hidden, norm=norm)
    found = run(stack, hidden, norm=norm, output_hidden_states=True)
    close(found.hidden_states, tuple(expected.states))
    assert found.hidden_states[-1] is found.last_hidden_state
    close(norm(written_out(stack, hidden).states[-1]), found.last_hidden_state)
    for selection, kept in (([-1], [-1]), ([LAYERS], [-1]), ([0, 1], [0, 1]), ([LAYERS - 1], [LAYERS - 1])):
        some = run(stack, hidden, norm=norm, output_hidden_states=selection)
        close(some.last_hidden_state, expected.states[-1])
        assert [i for i, state in enumerate(some.hidden_states) if state is not None] == [
            k % (LAYERS + 1) for k in kept
        ]
        for k in kept:
            close(some.hidden_states[k], expected.states[k])


def test_a_stack_of_no_layers_is_its_final_norm() -> None:
    stack, hidden, norm = made(layers=0), hidden_states(), final_norm()
    found = run(stack, hidden, norm=norm, output_hidden_states=True)
    assert torch.equal(found.last_hidden_state, norm(hidden))
    assert len(found.hidden_states) == 1
    assert torch.equal(found.hidden_states[0], norm(hidden))


# -- heads ------------------------------------------------------------------------------------------------------------


def repeated_heads(grouped: Stack) -> Stack:
    """Return the stack whose heads have each a key of its own, a copy of the one that they share."""
    settings = grouped.settings
    heads, shared = settings.heads, settings.kv_heads or settings.heads
    width = settings.head_dim or settings.hidden_size // heads
    own = [*range(heads), *(heads + part * shared + h * shared // heads for part in (0, 1) for h in range(heads))]
    weights = {
        name: tensor.unflatten(0, (-1, width))[own].flatten(0, 1) if ".qkv." in name else tensor
        for name, tensor in grouped.state_dict().items()
    }
    alike = {name: getattr(settings, name) for name in LayerSettings.__dataclass_fields__}
    stack = Stack(LayerSettings(**{**alike, "kv_heads": heads}), len(grouped)).double().eval()
    stack.load_state_dict(weights)
    return stack


def head_mask(length: int) -> Tensor:
    """(B, H, Q, K): what the heads that share a key see is not the same."""
    mask = torch.ones(ROWS, HEADS, length, length).tril()
    mask[:, 1] = torch.eye(length)
    mask[1, 2, :, 1:] = 0
    return mask


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("with_weights", [False, True], ids=["fused", "weights"])
@pytest.mark.parametrize("length", [1, LENGTH])
@pytest.mark.parametrize("masked", [None, "left", "heads"])
def test_heads_that_share_a_key_are_heads_with_copies_of_it(
    masked: str | None, length: int, with_weights: bool, kv_heads: int
) -> None:
    grouped = made(kv_heads=kv_heads, causal=True)
    repeated, hidden = repeated_heads(grouped), hidden_states(length=length)
    mask = {None: None, "left": padded_mask(LENGTHS, "left", LENGTH)[:, -length:], "heads": head_mask(length)}[masked]
    flags = {"attention_mask": mask, "output_attentions": with_weights}
    found, expected = run(grouped, hidden, **flags), run(repeated, hidden, **flags)
    close(found.last_hidden_state, expected.last_hidden_state)
    close(found.attentions, expected.attentions)


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_shared_keys_are_cached_once(mode: Any, masked: bool, kv_heads: int) -> None:
    grouped = made(kv_heads=kv_heads, causal=True)
    repeated, hidden = repeated_heads(grouped), hidden_states()
    mask = padded_mask(LENGTHS, "left", LENGTH) if masked else torch.ones(ROWS, LENGTH).long()
    with mode():
        expected = everything(repeated, hidden, attention_mask=mask)
        past = None
        for i in range(LENGTH):
            step = run(
                grouped, hidden[:, i : i + 1], attention_mask=mask[:, : i + 1], past_key_values=past, use_cache=True
            )
            past = step.past_key_values
            shown = mask[:, i].bool()
            close(step.last_hidden_state[shown, 0], expected.last_hidden_state[shown, i])
    assert isinstance(past, Cache)
    for ours, theirs in zip(past, expected.past_key_values, strict=True):
        for shared, copies in zip(ours, theirs, strict=True):
            assert shared.shape[1] == kv_heads
            # of padding that sees nothing but padding the values are nobody's business
            found = shared.repeat_interleave(HEADS // kv_heads, 1).transpose(1, 2)
            close(found[mask.bool()], copies.transpose(1, 2)[mask.bool()])


def test_a_cache_with_a_key_for_each_head_is_refused_where_they_share() -> None:
    stack = made(kv_heads=2, causal=True)
    past = run(repeated_heads(stack), hidden_states(), use_cache=True).past_key_values
    with pytest.raises(InputError) as caught:
        run(stack, hidden_states(length=1), past_key_values=past)
    assert str(caught.value) == "past_key_values[0][0] has shape (3, 4, 6, 8); expected (3, 2, 6, 8)"


# -- decoding ---------------------------------------------------------------------------------------------------------

DECODERS = {name: settings for name, settings in VARIANTS.items() if settings.get("causal")}


@pytest.mark.parametrize("settings", DECODERS.values(), ids=DECODERS)
@pytest.mark.parametrize("side", [None, "left"])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1), (3, 1, 2), (4, 2)], ids=str)
def test_steps_with_rotary_positions_are_one_call(
    sizes: Sequence[int], side: str | None, settings: dict[str, Any]
) -> None:
    settings = {**settings, "head_dim": 8}
    stack, hidden, norm = made(**settings), hidden_states(), final_norm()
    mask = torch.ones(ROWS, LENGTH).long() if side is None else padded_mask(LENGTHS, side, LENGTH)
    positions = positions_from_mask(mask, LENGTH)
    positions = torch.arange(LENGTH)[None] if positions is None else positions
    whole = run(
        stack, hidden, attention_mask=mask, turned=rotary_cos_sin(positions, FREQUENCIES, torch.float64), norm=norm
    ).last_hidden_state
    past, start = None, 0
    for size in sizes:
        stop = start + size
        with torch.no_grad():
            step = run(
                stack,
                hidden[:, start:stop],
                attention_mask=mask[:, :stop],
                past_key_values=past,
                use_cache=True,
                turned=rotary_cos_sin(positions[:, start:stop], FREQUENCIES, torch.float64),
                norm=norm,
            )
        shown = mask[:, start:stop].bool()
        close(step.last_hidden_state[shown], whole[:, start:stop][shown])
        past, start = step.past_key_values, stop
    assert start == LENGTH


def test_autocast_keeps_rotary_keys_in_the_dtype_that_steps_expect() -> None:
    stack, hidden = made(**LLAMA).float(), hidden_states().float()
    past: Any = None
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for i in range(LENGTH):
            turned = rotary_cos_sin(torch.tensor([[i]]), FREQUENCIES, torch.bfloat16)
            step = run(stack, hidden[:, i : i + 1], past_key_values=past, use_cache=True, turned=turned)
            past = step.past_key_values
    assert {tensor.dtype for layer in past for tensor in layer} == {torch.bfloat16}
    turned = rotary_cos_sin(torch.arange(LENGTH)[None], FREQUENCIES, torch.float32)
    expected = run(stack, hidden, turned=turned).last_hidden_state[:, -1:]
    torch.testing.assert_close(step.last_hidden_state.float(), expected, atol=0.15, rtol=0.1)  # bf16 has 8 bits


# -- bricks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_gated_feed_forward_multiplies_with_a_gate(activation: str, bias: bool) -> None:
    module = randomise(GatedFeedForward(WIDTH, 37, activation, bias)).double()
    assert [name for name, _ in module.named_parameters()] == [
        f"{layer}.{name}" for layer in ("gate_up", "down") for name in ("weight", "bias")[: 1 + bias]
    ]
    settings = LayerSettings(**{**SIZES, "gated": True, "activation": activation})
    hidden = hidden_states()
    before = hidden.clone()
    with torch.no_grad():
        close(module(hidden), raised(hidden, module, settings))
    close(module(hidden), raised(hidden, module, settings))
    assert torch.equal(hidden, before)


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


POSITIONS = {
    "one row": torch.arange(LENGTH)[None],
    "rows of their own": torch.tensor([[0, 1, 2], [0, 0, 7], [5, 4, 3]]),
    "far": torch.tensor([[4095, 100_000]]),
    "int32": torch.tensor([[2, 3]], dtype=torch.int32),
}


@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rotation_is_a_product_of_complex_numbers(dtype: "torch.dtype", positions: Tensor) -> None:
    cos, sin = rotary_cos_sin(positions, FREQUENCIES, dtype)
    rows, length = positions.shape
    assert cos.shape == sin.shape == (rows, 1, length, 2 * len(FREQUENCIES))
    assert cos.dtype == sin.dtype == dtype
    heads = states(rows, HEADS * length, 8).double().view(rows, HEADS, length, 8)
    left, right = heads.chunk(2, -1)
    found = heads * cos.double() + torch.cat([-right, left], -1) * sin.double()
    expected = turned_by(heads, positions)
    # an angle of 100 000 in float32 is known to 1 / 256
    tolerance = 0.05 if dtype == torch.bfloat16 or int(positions.max()) > 1000 else 1e-5
    close(found, expected, tolerance)


def test_rotated_scores_depend_on_distance_alone() -> None:
    stack, hidden = made(**LLAMA), hidden_states()
    found = [
        run(stack, hidden, turned=rotary_cos_sin(torch.arange(LENGTH)[None] + start, FREQUENCIES, torch.float64))
        for start in (0, 3, 30)
    ]
    for other in found[1:]:
        close(other.last_hidden_state, found[0].last_hidden_state, 1e-5)
    unturned = run(stack, hidden).last_hidden_state
    assert not torch.allclose(unturned, found[0].last_hidden_state, atol=1e-3)


def test_rotation_leaves_values_alone() -> None:
    stack, hidden = made(layers=1, **LLAMA), hidden_states()
    turned = rotary_cos_sin(torch.arange(LENGTH)[None] + 1, FREQUENCIES, torch.float64)
    with_turn = run(stack, hidden, turned=turned, use_cache=True).past_key_values
    without = run(stack, hidden, use_cache=True).past_key_values
    assert torch.equal(with_turn[0][1], without[0][1])
    assert not torch.allclose(with_turn[0][0], without[0][0])


def test_each_layer_has_its_scale() -> None:
    """A scale is a factor of the queries."""
    hidden, usual = hidden_states(), 1 / math.sqrt(WIDTH / HEADS)
    plain = made()
    for scales in ([0.5, None, 2.0], [usual] * 3, [None] * 3):
        scaled = made(scales=scales)
        expected = made()
        for layer, scale in zip(expected, scales, strict=True):
            with torch.no_grad():
                factor = 1 if scale is None else scale / usual
                layer.attention.qkv.weight[:WIDTH] *= factor
                layer.attention.qkv.bias[:WIDTH] *= factor
        for flags in ({}, {"output_attentions": True}):
            found = run(scaled, hidden, **flags).last_hidden_state
            close(found, run(expected, hidden).last_hidden_state)
            assert torch.allclose(found, run(plain, hidden).last_hidden_state) == (scales[0] != 0.5)


@pytest.mark.parametrize("with_weights", [False, True])
def test_scales_are_cross_attentions_too(with_weights: bool) -> None:
    hidden, encoded = hidden_states(), hidden_states(length=5, seed=8)
    flags = {"encoder_hidden_states": encoded, "output_attentions": with_weights}
    scaled, expected = (made(causal=True, cross_attention=True, scales=scales) for scales in ([0.5] * 3, ()))
    factor = 0.5 * math.sqrt(WIDTH / HEADS)
    with torch.no_grad():
        for layer in expected:
            for part in (layer.attention.qkv, layer.cross_attention.query):
                part.weight[:WIDTH] *= factor
                part.bias[:WIDTH] *= factor
    found, wanted = run(scaled, hidden, **flags), run(expected, hidden, **flags)
    close(found.last_hidden_state, wanted.last_hidden_state)
    close(found.cross_attentions, wanted.cross_attentions)


@pytest.mark.parametrize("norm_first", [False, True])
def test_cross_attention_comes_between_with_a_norm_of_its_own(norm_first: bool) -> None:
    stack = made(layers=1, causal=True, cross_attention=True, norm_first=norm_first)
    hidden, encoded, layer = hidden_states(), hidden_states(length=5, seed=8), stack[0]
    settings = stack.settings

    def block(hidden: Tensor, norm: Any, function: Callable[[Tensor], Tensor]) -> Tensor:
        if norm_first:
            return hidden + function(normalised(hidden, norm, settings))
        return normalised(hidden + function(hidden), norm, settings)

    def crossing(hidden: Tensor) -> Tensor:
        module = layer.cross_attention
        query = module.query(hidden).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        key, value = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in module.key_value(encoded).chunk(2, -1)
        )
        context = (query @ key.mT / math.sqrt(WIDTH / HEADS)).softmax(-1) @ value
        return module.output(context.transpose(1, 2).flatten(2))

    triangle = torch.ones(1, LENGTH, LENGTH, dtype=torch.bool).tril()
    expected = block(
        hidden, layer.attention_norm, lambda read: attended(read, layer.attention, settings, None, triangle, None)[0]
    )
    alone = block(expected, layer.feed_forward_norm, lambda read: raised(read, layer.feed_forward, settings))
    expected = block(expected, layer.cross_attention_norm, crossing)
    expected = block(expected, layer.feed_forward_norm, lambda read: raised(read, layer.feed_forward, settings))
    close(run(stack, hidden, encoder_hidden_states=encoded).last_hidden_state, expected)
    close(run(stack, hidden).last_hidden_state, alone)


# -- blocks of rows ---------------------------------------------------------------------------------------------------

BATCH, LONG = 5, CHUNK_TOKENS // 2 + 1
"""A block is a single row, and there are five of them."""


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """What size of block was chosen in each call."""
    chosen: list[int | None] = []
    choose = stack_module.chunk_size

    def noting(batch: Tensor) -> int | None:
        chosen.append(choose(batch))
        return chosen[-1]

    monkeypatch.setattr(stack_module, "chunk_size", noting)
    return chosen


BLOCKED: dict[str, tuple[int, int]] = {"single rows": (BATCH, LONG), "an odd number": (13, CHUNK_TOKENS // 4)}


@pytest.mark.parametrize(("rows", "length"), BLOCKED.values(), ids=BLOCKED)
@pytest.mark.parametrize("masked", [None, "left", "heads", "one for all"])
@pytest.mark.parametrize("settings", [LLAMA, {"norm_first": True}], ids=["Llama", "encoder"])
def test_blocks_of_rows_with_positions_of_their_own_are_the_whole_batch(
    settings: dict[str, Any], masked: str | None, rows: int, length: int, blocks: list[int | None]
) -> None:
    stack, norm = made(layers=2, **settings).float(), final_norm().float()
    hidden = states(rows, length, WIDTH)
    lengths = [length - 37 * i for i in range(rows)] if length > 37 * rows else [length - 11 * i for i in range(rows)]
    left = padded_mask(lengths, "left", length)
    mask: Tensor | None = None
    if masked == "left":
        mask = left
    elif masked == "heads":
        mask = torch.ones(rows, HEADS, length, length).tril()
        mask[1, 2] = torch.eye(length)
        mask[-1, :, :, : length // 2] = torch.eye(length)[:, : length // 2]
    elif masked == "one for all":
        mask = torch.ones(1, 1, length, length).tril(1)
    positions = positions_from_mask(left, length) if masked == "left" else torch.arange(length)[None]
    if masked == "heads":
        positions = torch.stack([torch.arange(length).roll(i) for i in range(rows)])
    turned = rotary_cos_sin(positions, FREQUENCIES, torch.float32)
    shown = left.bool() if masked == "left" else torch.ones(rows, length).bool()
    with torch.no_grad():
        call = stack.check(Given(mask, output_hidden_states=True), rows, length, length)
        found = stack(hidden, call, turned=turned, final_norm=norm)
        last = stack(hidden, stack.check(Given(mask), rows, length, length), turned=turned, final_norm=norm)
        some = stack(
            hidden,
            stack.check(Given(mask, output_hidden_states=[0, 1]), rows, length, length),
            turned=turned,
            final_norm=norm,
        )
    assert blocks == [CHUNK_TOKENS // length] * 3
    expected = stack(hidden, call, turned=turned, final_norm=norm)  # gradients are recorded: no blocks
    assert blocks[3:] == [None]
    for ours, theirs in zip(found.hidden_states, expected.hidden_states, strict=True):
        close(ours[shown], theirs[shown].detach(), 1e-4)
    assert found.hidden_states[-1] is found.last_hidden_state
    assert last.hidden_states is None
    assert torch.equal(last.last_hidden_state[shown], found.last_hidden_state[shown])
    assert [state is None for state in some.hidden_states] == [False, False, True]
    assert torch.equal(some.hidden_states[1][shown], found.hidden_states[1][shown])
    # rows differ, so one row's positions or mask for another would have been seen
    assert not torch.allclose(found.last_hidden_state[0], found.last_hidden_state[1], atol=1e-2)


@pytest.mark.parametrize(
    "given",
    [{"use_cache": True}, {"output_attentions": [0]}, {"encoder_hidden_states": hidden_states(8, 3)}],
    ids=["cache", "attentions", "encoder"],
)
def test_what_is_kept_by_row_is_not_computed_run_in_chunks(
    given: dict[str, Any], blocks: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, hidden = made(layers=1, causal=True, cross_attention=True), hidden_states(8, CHUNK_TOKENS // 4)
    calls: list[int] = []
    forward = stack[0].forward

    def counting(hidden: Tensor, *rest: Any) -> Any:
        calls.append(len(hidden))
        return forward(hidden, *rest)

    monkeypatch.setattr(stack[0], "forward", counting)
    with torch.no_grad():
        stack(hidden, stack.check(Given(**given), 8, hidden.shape[1], 4096))
    assert blocks == [4]
    assert calls == [8]


@pytest.mark.parametrize("name", ["", "0", "1.feed_forward.down"])
def test_hooks_see_the_whole_batch(name: str) -> None:
    stack, hidden = made(layers=2), hidden_states(8, CHUNK_TOKENS // 4)
    seen: list[int] = []
    stack.get_submodule(name).register_forward_hook(
        lambda module, arguments, output: seen.append(len(output[0] if isinstance(output, tuple) else output))
    )
    with torch.no_grad():
        stack(hidden, stack.check(Given(), 8, hidden.shape[1], 4096))
    assert seen == [8]


# -- training, compiling, results -------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [LLAMA, {"norm_first": True}], ids=["Llama", "encoder"])
def test_gradient_checkpointing_changes_no_gradient(settings: dict[str, Any]) -> None:
    stack = made(**settings, dropout=0.1, attention_dropout=0.1).train()
    hidden = hidden_states()
    turned = rotary_cos_sin(torch.arange(LENGTH)[None], FREQUENCIES, torch.float64)
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        result = everything(stack, hidden, turned=turned, gradient_checkpointing=checkpointing)
        objective = result.last_hidden_state.square().sum() + sum(state.sum() for state in result.hidden_states)
        found.append(torch.autograd.grad(objective, list(stack.parameters())))
    close(*found)


@pytest.mark.parametrize("rate", ["dropout", "attention_dropout", "activation_dropout"])
def test_each_rate_of_dropout_acts_in_training_alone(rate: str) -> None:
    stack, hidden = made(**{rate: 0.5}), hidden_states()
    torch.manual_seed(0)
    still, noisy = run(stack, hidden).last_hidden_state, run(stack.train(), hidden).last_hidden_state
    close(still, written_out(stack, hidden).states[-1])
    assert not torch.allclose(still, noisy, atol=1e-3)
    close(run(made().train(), hidden).last_hidden_state, still)


def test_dropout_of_activations_is_that_of_the_feed_forward_block() -> None:
    module, hidden = randomise(FeedForward(WIDTH, 37, "relu", dropout=0.5)).double(), hidden_states()
    torch.manual_seed(0)
    found = module(hidden)
    torch.manual_seed(0)
    inner = F.dropout(F.relu(F.linear(hidden, module.up.weight, module.up.bias)), 0.5)
    close(found, F.linear(inner, module.down.weight, module.down.bias))


@pytest.mark.parametrize("settings", [LLAMA, {}, {"norm_first": True, "causal": True}], ids=["Llama", "BERT", "GPT"])
def test_compiles_as_one_graph_and_takes_its_own_cache(settings: dict[str, Any]) -> None:
    torch._dynamo.reset()
    stack, hidden, norm = made(layers=2, **settings), hidden_states(), final_norm()
    caches = bool(settings.get("causal"))

    def step(hidden: Tensor, past: Any, start: int) -> StackResult:
        positions = torch.arange(start, start + hidden.shape[1])[None]
        turned = rotary_cos_sin(positions, FREQUENCIES, torch.float64)
        return run(stack, hidden, turned=turned, norm=norm, past_key_values=past, use_cache=caches)

    compiled = torch.compile(step, fullgraph=True, backend="eager")
    with torch.no_grad():
        whole = step(hidden, None, 0).last_hidden_state
        close(compiled(hidden, None, 0).last_hidden_state, whole)
        if caches:
            past = step(hidden[:, :4], None, 0).past_key_values
            past = compiled(hidden[:, 4:5], step(hidden[:, 3:4], past.crop(3), 3).past_key_values, 4).past_key_values
            close(compiled(hidden[:, 5:], past, 5).last_hidden_state, whole[:, 5:])


def test_results_fill_the_fields_that_a_class_has() -> None:
    result = everything(made(causal=True), hidden_states())
    output = result.as_output(BaseModelOutputWithPast)
    assert list(output) == ["last_hidden_state", "past_key_values", "hidden_states", "attentions"]
    assert output.past_key_values is result.past_key_values
    assert list(result.as_output(BaseModelOutput)) == ["last_hidden_state", "hidden_states", "attentions"]
    output.check()
    bare = run(made(causal=True), hidden_states()).as_output(BaseModelOutputWithPast)
    assert list(bare) == ["last_hidden_state"]
    joined = result.as_output(Seq2SeqModelOutput, decoder_hidden_states=result.hidden_states)
    assert list(joined) == ["last_hidden_state", "past_key_values", "decoder_hidden_states"]


# -- what is refused --------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a cache for an encoder": (
        {},
        {"past_key_values": ()},
        "past_key_values was passed to an encoder; set config.is_decoder=True for a decoder",
    ),
    "a cache of other layers": (
        {"causal": True},
        {"past_key_values": ()},
        "past_key_values has 0 layers; this model has 3",
    ),
    "an encoder's keys": (
        {"causal": True},
        {"past_key_values": [[torch.zeros(ROWS, HEADS, 5, 8, dtype=torch.float64)] * 4] * LAYERS},
        "past_key_values holds an encoder's keys, and this model has no cross-attention",
    ),
    "an encoder's states": (
        {"causal": True},
        {"encoder_hidden_states": torch.zeros(ROWS, 5, WIDTH)},
        "encoder_hidden_states was passed to a model without cross-attention; "
        "set config.is_decoder=True and config.add_cross_attention=True",
    ),
    "an encoder's states of another width": (
        {"causal": True, "cross_attention": True},
        {"encoder_hidden_states": torch.zeros(ROWS, 5, WIDTH + 1)},
        f"encoder_hidden_states is torch.float32 of shape (3, 5, 33); expected floating point of shape "
        f"(3, positions, {WIDTH})",
    ),
    "a mask of no states": (
        {"causal": True, "cross_attention": True},
        {"encoder_attention_mask": torch.ones(ROWS, 5)},
        "encoder_attention_mask was passed without encoder_hidden_states; pass both",
    ),
    "a layer that there is not": (
        {},
        {"output_hidden_states": [LAYERS + 1]},
        "output_hidden_states asks for layer 4; this model has -4 to 3",
    ),
}


@pytest.mark.parametrize(("settings", "given", "message"), REFUSED.values(), ids=REFUSED)
def test_what_it_has_no_use_for_is_refused(settings: dict[str, Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        made(**settings).check(Given(**given), ROWS, LENGTH, LIMIT)
    assert str(caught.value) == message


def test_more_positions_than_it_can_hold_are_refused() -> None:
    with pytest.raises(InputError, match=f"41 positions exceed the model's max_position_embeddings of {LIMIT}"):
        made().check(Given(), ROWS, LIMIT + 1, LIMIT)
    made().check(Given(), ROWS, LIMIT, LIMIT)


# -- hooks ------------------------------------------------------------------------------------------------------------

HOOKED = (
    "attention.output",
    "attention",
    "cross_attention.output",
    "feed_forward.up",
    "feed_forward.down",
    "feed_forward",
)


@pytest.mark.parametrize("name", HOOKED)
@pytest.mark.parametrize("norm_first", [False, True])
def test_what_a_hook_saw_does_not_change_afterwards(name: str, norm_first: bool) -> None:
    stack = made(norm_first=norm_first, causal=True, cross_attention=True)
    encoder = {"encoder_hidden_states": hidden_states(ROWS, 4, seed=7)}
    seen: list[tuple[Tensor, Tensor]] = []

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        tensor = output if isinstance(output, Tensor) else output[0]
        seen.append((tensor, tensor.clone()))

    for layer in stack:
        layer.get_submodule(name).register_forward_hook(look)
    with torch.no_grad():
        run(stack, hidden_states(), **encoder)
    assert len(seen) == LAYERS
    assert all(torch.equal(now, then) for now, then in seen)


@pytest.mark.parametrize("name", ["attention.output", "feed_forward.down", "feed_forward.up"])
def test_what_a_hook_puts_in_place_is_not_overwritten(name: str) -> None:
    stack = made()
    module = stack[1].get_submodule(name)
    width = module.weight.shape[0]
    fixed = states(ROWS, LENGTH, width, 9).double()
    module.register_forward_hook(lambda module, inputs, output: fixed)
    before = fixed.clone()
    with torch.no_grad():
        first, second = (run(stack, hidden_states()).last_hidden_state for _ in range(2))
    assert torch.equal(fixed, before)
    assert torch.equal(first, second)
