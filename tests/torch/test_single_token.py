"""Layers run for one position at a time: the same values as the stack's, and only where nobody could tell."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from contextlib import nullcontext
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

from modeloutputs.torch.attention import rotary_cos_sin
from modeloutputs.torch.cache import Cache
from modeloutputs.torch.layers import LayerNorm
from modeloutputs.torch.stack import STEPS, Given, LayerSettings, Stack
from modeloutputs.torch.single_token import Steps, supports_single_token

from .tiny import randomise, states

ROWS, WIDTH, HEADS, LAYERS, LENGTH = 3, 32, 4, 2, 5

VARIANTS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm": {"norm_first": True},
    "cross-attention, post-norm": {"cross_attention": True},
    "cross-attention, pre-norm": {"cross_attention": True, "norm_first": True},
    "scales": {"scales": [0.5, 2.0]},
    "Llama": {
        "kv_heads": 2,
        "activation": "silu",
        "root_mean_square": True,
        "norm_first": True,
        "gated": True,
        "attention_bias": False,
        "feed_forward_bias": False,
    },
}


def made(**settings: Any) -> Stack:
    sizes: dict[str, Any] = {"hidden_size": WIDTH, "heads": HEADS, "intermediate_size": 37, "norm_eps": 1e-5}
    whole = LayerSettings(**{**sizes, "activation": "gelu_new", "causal": True, **settings})
    return randomise(Stack(whole, LAYERS)).eval()


def decode(stack: Stack, hidden: Tensor, steps: Steps | None, mask: Tensor | None = None) -> list[tuple[Any, ...]]:
    """Take one position after the other; return each step's state and cache."""
    encoder = states(ROWS, 4, WIDTH, 7) if stack.settings.cross_attention else None
    norm = randomise(LayerNorm(WIDTH, 1e-5), seed=5)
    past: Any = None
    results: list[tuple[Any, ...]] = []
    with torch.no_grad():
        for i in range(hidden.shape[1]):
            shown = None if mask is None else mask[:, : i + 1]
            given = Given(shown, encoder, None, past, use_cache=True)
            call = stack.check(given, ROWS, 1, 40)
            turned = rotary_cos_sin(torch.tensor([[i]]), [1.0, 0.3, 0.09, 0.01], torch.float32)
            with nullcontext() if steps is None else steps.used():
                result = stack(hidden[:, i : i + 1], call, turned=turned, final_norm=norm)
            past = result.past_key_values
            results.append((result.last_hidden_state, past))
    return results


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("padded", [False, True])
def test_steps_return_what_the_stack_returns(settings: dict[str, Any], padded: bool) -> None:
    stack = made(**settings)
    hidden = states(ROWS, LENGTH, WIDTH, 2)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1] * 5, [0, 1, 1, 1, 1]]) if padded else None
    assert supports_single_token(stack.requires_grad_(False)) is False  # gradients are recorded here
    with torch.no_grad():
        assert supports_single_token(stack)
    for mine, theirs in zip(decode(stack, hidden, Steps(stack), mask), decode(stack, hidden, None, mask), strict=True):
        torch.testing.assert_close(mine[0], theirs[0], atol=1e-6, rtol=1e-5)
        assert isinstance(mine[1], Cache)
        torch.testing.assert_close(mine[1].to_tuples(), theirs[1].to_tuples(), atol=1e-6, rtol=1e-5)


def test_steps_serve_their_own_stack_only_and_only_while_used() -> None:
    stack, other = made(), made(norm_first=True)
    hidden = states(ROWS, LENGTH, WIDTH, 2)
    mine, plain = decode(other, hidden, Steps(stack)), decode(other, hidden, None)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(mine, plain, strict=True))
    assert STEPS.get() is None
    with pytest.raises(KeyError), Steps(stack).used():
        raise KeyError
    assert STEPS.get() is None


def test_a_call_that_asks_for_more_is_the_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = made()
    steps = Steps(stack)
    monkeypatch.setattr(steps, "run", lambda *_: pytest.fail("a step was taken"))
    hidden = states(ROWS, 2, WIDTH, 2)
    asked: list[dict[str, Any]] = [
        {"output_hidden_states": True},
        {"output_attentions": [0]},
        {"use_cache": False},
    ]
    with torch.no_grad(), steps.used():
        past = stack(hidden, stack.check(Given(use_cache=True), ROWS, 2, 40)).past_key_values
        for flags in asked:
            given = Given(**{"past_key_values": past, "use_cache": True, **flags})
            result = stack(hidden[:, :1], stack.check(given, ROWS, 1, 40))
            assert result.last_hidden_state.shape == (ROWS, 1, WIDTH)
    with steps.used():
        given = Given(past_key_values=past, use_cache=True)
        assert stack(hidden[:, :1], stack.check(given, ROWS, 1, 40)).last_hidden_state.requires_grad


class Wrapped(nn.Module):
    """Somebody's module around one of ours."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: Tensor) -> Tensor:
        return self.inner(hidden) + 1


def test_no_steps_where_somebody_would_miss_a_module_call() -> None:
    def hooked(stack: Stack) -> None:
        stack[1].attention.qkv.register_forward_hook(lambda *_: None)

    def prehooked(stack: Stack) -> None:
        stack[0].register_forward_pre_hook(lambda *_: None)

    def replaced(stack: Stack) -> None:
        stack[0].feed_forward.up = Wrapped(stack[0].feed_forward.up)

    def layer_replaced(stack: Stack) -> None:
        stack[1] = Wrapped(stack[1])

    def patched(stack: Stack) -> None:
        stack[0].attention.forward = stack[0].attention.forward

    def trained(stack: Stack) -> None:
        stack.train()

    def dropping(stack: Stack) -> None:
        stack[0].dropout.train()

    def parametrised(stack: Stack) -> None:
        nn.utils.parametrizations.weight_norm(stack[0].feed_forward.down)

    with torch.no_grad():
        assert supports_single_token(made())
        for change in (hooked, prehooked, replaced, layer_replaced, patched, trained, dropping, parametrised):
            stack = made()
            change(stack)
            assert not supports_single_token(stack), change.__name__
        handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
        try:
            assert not supports_single_token(made())
        finally:
            handle.remove()
