"""Layers run for one position at a time: the same values as the stack's, and only where nobody could tell."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

from modeloutputs.torch.attention import rotary_cos_sin
from modeloutputs.torch.cache import Cache
from modeloutputs.torch.single_token import SingleTokenRunner, supports_single_token
from modeloutputs.torch.stack import Stack

from ..support.torch_stacks import FREQUENCIES, GPT2, LLAMA, WIDTH, built
from .tiny import randomise, states

ROWS, LAYERS, LENGTH = 3, 2, 5

VARIANTS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm": {"norm_first": True},
    "cross-attention, post-norm": {"cross_attention": True},
    "cross-attention, pre-norm": {"cross_attention": True, "norm_first": True, "flat": True},
    "scales": {"scales": [0.5, 2.0]},
    "GPT-2": GPT2,
    "Llama": LLAMA,
}


def made(**settings: Any) -> Stack:
    return built(LAYERS, **{"activation": "gelu_new", "causal": True, "norm_eps": 1e-5, **settings})


def empty_cache(stack: Stack, runner: object | None) -> Cache:
    """Return a cache with room, and the runner for the stack that extends it."""
    settings = stack.settings
    sizes = {"layers": len(stack), "batch": ROWS, "kv_heads": settings.key_heads, "head_dim": settings.head_width}
    return Cache.with_room(**sizes, capacity=40, runner=runner)


def decode(stack: Stack, hidden: Tensor, runner: object | None, mask: Tensor | None = None) -> list[tuple[Any, ...]]:
    """Take one position after the other; return each step's state and cache."""
    encoder = states(ROWS, 4, WIDTH, 7) if stack.settings.cross_attention else None
    norm = randomise(nn.LayerNorm(WIDTH, 1e-5), seed=5)
    past: Any = empty_cache(stack, runner)
    results: list[tuple[Any, ...]] = []
    with torch.no_grad():
        for i in range(hidden.shape[1]):
            shown = None if mask is None else mask[:, : i + 1]
            given = {"attention_mask": shown, "encoder_hidden_states": encoder, "past_key_values": past}
            call = stack.check(ROWS, 1, 40, **given, use_cache=True)
            rotary = rotary_cos_sin(torch.tensor([[i]]), FREQUENCIES, torch.float32)
            result = stack(hidden[:, i : i + 1], call, position_embeddings=rotary, final_norm=norm)
            past = result.past_key_values
            results.append((result.last_hidden_state, past))
    return results


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the steps that runners take."""
    taken: list[int] = []
    run = SingleTokenRunner.run

    def counting(self: Any, hidden: Tensor, context: Any) -> Any:
        taken.append(len(hidden))
        return run(self, hidden, context)

    monkeypatch.setattr(SingleTokenRunner, "run", counting)
    return taken


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("padded", [False, True])
def test_steps_return_the_numbers_of_the_stack(settings: dict[str, Any], padded: bool, counted: list[int]) -> None:
    stack = made(**settings)
    hidden = states(ROWS, LENGTH, WIDTH, 2)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1] * 5, [0, 1, 1, 1, 1]]) if padded else None
    assert supports_single_token(stack.requires_grad_(False)) is False  # gradients are recorded here
    with torch.no_grad():
        assert supports_single_token(stack)
    mine = decode(stack, hidden, SingleTokenRunner(stack), mask)
    assert counted == [ROWS] * LENGTH
    theirs = decode(stack, hidden, None, mask)
    assert len(counted) == LENGTH
    for found, expected in zip(mine, theirs, strict=True):
        torch.testing.assert_close(found[0], expected[0], atol=1e-6, rtol=1e-5)
        assert isinstance(found[1], Cache)
        torch.testing.assert_close(found[1].to_tuples(), expected[1].to_tuples(), atol=1e-6, rtol=1e-5)


def test_a_runner_serves_its_own_stack_only(counted: list[int]) -> None:
    stack, other = made(), made(norm_first=True)
    hidden = states(ROWS, LENGTH, WIDTH, 2)
    mine, plain = decode(other, hidden, SingleTokenRunner(stack)), decode(other, hidden, None)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(mine, plain, strict=True))
    assert not counted


def test_a_call_that_asks_for_more_is_the_stacks(counted: list[int]) -> None:
    stack = made()
    hidden = states(ROWS, 2, WIDTH, 2)
    asked: list[dict[str, Any]] = [
        {"output_hidden_states": True},
        {"output_attentions": [0]},
        {"use_cache": False},
    ]
    first = {"past_key_values": empty_cache(stack, SingleTokenRunner(stack)), "use_cache": True}
    with torch.no_grad():
        past = stack(hidden, stack.check(ROWS, 2, 40, **first)).past_key_values
        assert past.runner is first["past_key_values"].runner
        given = {"past_key_values": past, "use_cache": True}
        for flags in asked:
            result = stack(hidden[:, :1], stack.check(ROWS, 1, 40, **{**given, **flags}))
            assert result.last_hidden_state.shape == (ROWS, 1, WIDTH)
        with torch.autocast("cpu", torch.bfloat16):
            cache = Cache([tuple(tensor.bfloat16() for tensor in layer) for layer in past])
            stack(hidden[:, :1], stack.check(ROWS, 1, 40, past_key_values=cache, use_cache=True))
    assert stack(hidden[:, :1], stack.check(ROWS, 1, 40, **given)).last_hidden_state.requires_grad
    assert not counted


class Wrapped(nn.Module):
    """Somebody's module around one of ours."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: Tensor) -> Tensor:
        return self.inner(hidden) + 1


def test_no_steps_where_somebody_would_miss_a_module_call() -> None:
    def hooked(stack: Stack) -> None:
        stack[1].attn.q.register_forward_hook(lambda *_: None)

    def prehooked(stack: Stack) -> None:
        stack[0].register_forward_pre_hook(lambda *_: None)

    def replaced(stack: Stack) -> None:
        stack[0].mlp.up = Wrapped(stack[0].mlp.up)

    def layer_replaced(stack: Stack) -> None:
        stack[1] = Wrapped(stack[1])

    def patched(stack: Stack) -> None:
        stack[0].attn.forward = stack[0].attn.forward

    def trained(stack: Stack) -> None:
        stack.train()

    def dropping(stack: Stack) -> None:
        stack[0].dropout.train()

    def parametrised(stack: Stack) -> None:
        nn.utils.parametrizations.weight_norm(stack[0].mlp.down)

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
