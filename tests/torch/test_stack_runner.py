"""Layers run without calling their modules: the same values, and only where nobody could tell."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

from modeloutputs.torch.attention import rotary_cos_sin
from modeloutputs.torch.cache import Cache
from modeloutputs.torch.stack import Stack
from modeloutputs.torch.stack_runner import StackRunner, runner_of

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
    """Count the calls that runners take, by their rows."""
    taken: list[int] = []
    run = StackRunner.run

    def counting(self: Any, hidden: Tensor, *rest: Any) -> Any:
        taken.append(len(hidden))
        return run(self, hidden, *rest)

    monkeypatch.setattr(StackRunner, "run", counting)
    return taken


@pytest.fixture
def by_modules(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], Any]:
    """Return what computes something by calling modules, without runners."""

    def compute(call: Callable[[], Any]) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr("modeloutputs.torch.stack.runner_of", lambda _: None)
            return call()

    return compute


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("padded", [False, True])
def test_steps_return_the_numbers_of_the_stack(
    settings: dict[str, Any], padded: bool, counted: list[int], by_modules: Any
) -> None:
    stack = made(**settings)
    hidden = states(ROWS, LENGTH, WIDTH, 2)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1] * 5, [0, 1, 1, 1, 1]]) if padded else None
    mine = decode(stack, hidden, runner_of(stack), mask)
    assert counted == [ROWS] * LENGTH
    theirs = by_modules(lambda: decode(stack, hidden, None, mask))
    assert len(counted) == LENGTH
    for found, expected in zip(mine, theirs, strict=True):
        torch.testing.assert_close(found[0], expected[0], atol=1e-6, rtol=1e-5)
        assert isinstance(found[1], Cache)
        torch.testing.assert_close(found[1].to_tuples(), expected[1].to_tuples(), atol=1e-6, rtol=1e-5)


ASKED: dict[str, dict[str, Any]] = {
    "states": {},
    "all hidden states": {"output_hidden_states": True},
    "some hidden states": {"output_hidden_states": [0, -2]},
    "the last hidden state": {"output_hidden_states": [-1]},
    "a cache": {"use_cache": True},
    "a mask": {"attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1] * 5, [0, 1, 1, 1, 1]])},
}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("chunked", [False, True])
def test_whole_sequences_have_the_numbers_of_the_stack(
    settings: dict[str, Any],
    asked: dict[str, Any],
    chunked: bool,
    counted: list[int],
    by_modules: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = made(**settings)
    if chunked:
        monkeypatch.setattr("modeloutputs.torch.row_chunks.CHUNK_TOKENS", LENGTH)
    hidden, before = states(ROWS, LENGTH, WIDTH, 2), states(ROWS, LENGTH, WIDTH, 2)
    encoder = states(ROWS, 4, WIDTH, 7) if stack.settings.cross_attention else None
    rotary = rotary_cos_sin(torch.arange(LENGTH)[None], FREQUENCIES, torch.float32)
    norm = randomise(nn.LayerNorm(WIDTH, 1e-5), seed=5)

    def call() -> Any:
        given = stack.check(ROWS, LENGTH, 40, encoder_hidden_states=encoder, **asked)
        with torch.no_grad():
            return stack(hidden, given, position_embeddings=rotary, final_norm=norm)

    found = call()
    taken = len(counted)
    expected = by_modules(call)
    assert taken == (ROWS if chunked and encoder is None and not asked.get("use_cache") else 1)
    assert len(counted) == taken
    assert torch.equal(hidden, before)
    for name, value in expected._asdict().items():
        theirs = value.to_tuples() if isinstance(value, Cache) else value
        mine = getattr(found, name)
        mine = mine.to_tuples() if isinstance(mine, Cache) else mine
        assert (mine is None) == (theirs is None), name
        if isinstance(theirs, tuple):
            assert [part is None for part in mine] == [part is None for part in theirs]
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_a_runner_serves_its_own_stack_only(counted: list[int], by_modules: Any) -> None:
    stack, other = made(), made(norm_first=True)
    hidden = states(ROWS, LENGTH, WIDTH, 2)
    mine = by_modules(lambda: decode(other, hidden, runner_of(stack)))
    plain = by_modules(lambda: decode(other, hidden, None))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(mine, plain, strict=True))
    assert not counted


def test_calls_that_ask_for_more_call_the_modules(counted: list[int]) -> None:
    stack = made()
    hidden = states(ROWS, 2, WIDTH, 2)
    given = {"past_key_values": empty_cache(stack, runner_of(stack)), "use_cache": True}
    with torch.no_grad():
        past = stack(hidden, stack.check(ROWS, 2, 40, **given)).past_key_values
        assert past.runner is runner_of(stack)
        assert counted == [ROWS]
        given = {"past_key_values": past, "use_cache": True}
        stack(hidden[:, :1], stack.check(ROWS, 1, 40, **given, output_attentions=[0]))
        with torch.autocast("cpu", torch.bfloat16):
            cache = Cache([tuple(tensor.bfloat16() for tensor in layer) for layer in past])
            stack(hidden[:, :1], stack.check(ROWS, 1, 40, past_key_values=cache, use_cache=True))
    assert stack(hidden[:, :1], stack.check(ROWS, 1, 40, **given)).last_hidden_state.requires_grad
    assert counted == [ROWS]


class Wrapped(nn.Module):
    """Somebody's module around one of ours."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: Tensor) -> Tensor:
        return self.inner(hidden) + 1


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


TELLING = (hooked, prehooked, replaced, layer_replaced, patched, trained, dropping, parametrised)


@pytest.mark.parametrize("change", TELLING)
@pytest.mark.parametrize("used", [False, True], ids=["before the first call", "after it"])
def test_no_runner_where_somebody_would_miss_a_module_call(change: Callable[[Stack], None], used: bool) -> None:
    stack = made()
    if used:
        assert runner_of(stack) is not None
    change(stack)
    assert runner_of(stack) is None
    assert runner_of(stack) is None  # looked up again, and remembered


def test_no_runner_while_a_hook_sees_every_module() -> None:
    stack = made()
    assert runner_of(stack) is not None
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert runner_of(stack) is None
    finally:
        handle.remove()
    assert runner_of(stack) is not None


def test_a_runner_is_kept_while_nothing_changes_and_comes_back_when_a_hook_goes() -> None:
    stack = made()
    runner = runner_of(stack)
    assert runner_of(stack) is runner is not None
    handle = stack[0].register_forward_hook(lambda *_: None)
    assert runner_of(stack) is None
    handle.remove()
    assert isinstance(runner_of(stack), StackRunner)


def scaled_in_place(stack: Stack) -> None:
    stack[0].mlp.up.weight.mul_(2)


def another_weight(stack: Stack) -> None:
    stack[1].mlp.down.weight = nn.Parameter(torch.ones_like(stack[1].mlp.down.weight))


def other_memory(stack: Stack) -> None:
    stack[1].attn.v.weight.data = stack[1].attn.v.weight.data * 3


def another_layer(stack: Stack) -> None:
    stack[0].attn.q = nn.Linear(WIDTH, WIDTH).eval()


def another_norm(stack: Stack) -> None:
    stack[0].mlp_norm.eps = 0.5


def loaded(stack: Stack) -> None:
    stack.load_state_dict({name: torch.full_like(value, 0.01) for name, value in stack.state_dict().items()})


def assigned(stack: Stack) -> None:
    values = {name: torch.full_like(value, 0.01) for name, value in stack.state_dict().items()}
    stack.load_state_dict(values, assign=True)


CHANGES = (scaled_in_place, another_weight, other_memory, another_layer, another_norm, loaded, assigned)


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_change_between_calls_count(change: Callable[[Stack], None], by_modules: Any) -> None:
    stack = made()
    hidden = states(ROWS, LENGTH, WIDTH, 2)

    def call() -> Tensor:
        with torch.no_grad():
            return stack(hidden, stack.check(ROWS, LENGTH, 40)).last_hidden_state

    before = call()
    with torch.no_grad():
        change(stack)
    after = call()
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(after, by_modules(call), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_have_runners_of_their_own(copied: Callable[[Stack], Stack]) -> None:
    stack = made()
    runner = runner_of(stack)
    twin = copied(stack)
    assert runner_of(twin) is not runner
    assert runner_of(stack) is runner


def test_a_stack_is_written_without_its_runner() -> None:
    stack, fresh = made(), made()
    assert runner_of(stack) is not None
    sizes: list[int] = []
    for each in (stack, fresh):
        file = io.BytesIO()
        torch.save(each, file)
        sizes.append(len(file.getvalue()))
    assert sizes[0] == sizes[1]
