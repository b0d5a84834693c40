"""Batches run in chunks of rows: when, and with the numbers of the whole batch."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor

from modeloutputs.torch import stack as stack_module
from modeloutputs.torch.attention import rotary_cos_sin
from modeloutputs.torch.inputs import positions_from_mask
from modeloutputs.torch.row_chunks import CHUNK_TOKENS, chunk_size, run_in_chunks

from ..support.torch_stacks import FREQUENCIES, HEADS, LLAMA, WIDTH, close, final_norm, hidden_states, made
from .tiny import padded_mask, states


@pytest.mark.parametrize(
    ("rows", "length", "expected"),
    [(32, 128, 8), (16, 128, 8), (15, 128, None), (4, 2 * CHUNK_TOKENS, 1), (1, 2 * CHUNK_TOKENS, None), (1, 8, None)],
)
def test_chunks_hold_about_a_thousand_tokens(rows: int, length: int, expected: int | None) -> None:
    with torch.no_grad():
        assert chunk_size(torch.empty(rows, length)) == expected


def test_no_chunks_where_gradients_are_recorded() -> None:
    assert chunk_size(torch.empty(32, 128)) is None


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_chunks_are_joined_in_order_and_other_arguments_are_passed_whole(size: int) -> None:
    rows, shared = torch.arange(14.0).view(7, 2), torch.tensor([[1.0, 2.0]])
    seen: list[int] = []

    def function(part: Tensor, whole: Tensor, nothing: None) -> list[Tensor]:
        seen.append(len(part))
        assert whole is shared
        assert nothing is None
        return [part + whole, part.sum(1)]

    both, sums = run_in_chunks(function, 7, size, (rows, shared, None))
    assert torch.equal(both, rows + shared)
    assert torch.equal(sums, rows.sum(1))
    assert sum(seen) == 7
    assert max(seen) == size


# -- in a stack -------------------------------------------------------------------------------------------------------

BATCH, LONG = 5, CHUNK_TOKENS // 2 + 1
"""A chunk is a single row, and there are five of them."""


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Return the size of chunk that each call chose."""
    chosen: list[int | None] = []
    choose = stack_module.chunk_size

    def noting(batch: Tensor) -> int | None:
        chosen.append(choose(batch))
        return chosen[-1]

    monkeypatch.setattr(stack_module, "chunk_size", noting)
    return chosen


CHUNKED: dict[str, tuple[int, int]] = {"single rows": (BATCH, LONG), "an odd number": (13, CHUNK_TOKENS // 4)}


@pytest.mark.parametrize(("rows", "length"), CHUNKED.values(), ids=CHUNKED)
@pytest.mark.parametrize("masked", [None, "left", "heads", "one for all"])
@pytest.mark.parametrize("settings", [LLAMA, {"norm_first": True}], ids=["Llama", "encoder"])
def test_chunks_of_rows_with_positions_of_their_own_are_the_whole_batch(
    settings: dict[str, Any], masked: str | None, rows: int, length: int, chunks: list[int | None]
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
    rotary = rotary_cos_sin(positions, FREQUENCIES, torch.float32)
    shown = left.bool() if masked == "left" else torch.ones(rows, length).bool()

    def run(selection: Any = False) -> Any:
        call = stack.check(rows, length, length, attention_mask=mask, output_hidden_states=selection)
        return stack(hidden, call, position_embeddings=rotary, final_norm=norm)

    with torch.no_grad():
        found, last, some = run(True), run(), run([0, 1])
    assert chunks == [CHUNK_TOKENS // length] * 3
    expected = run(True)  # gradients are recorded: no chunks
    assert chunks[3:] == [None]
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
def test_calls_that_keep_more_by_row_are_not_run_in_chunks(
    given: dict[str, Any], chunks: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, hidden = made(layers=1, causal=True, cross_attention=True), hidden_states(8, CHUNK_TOKENS // 4)
    calls: list[int] = []
    forward = stack[0].forward

    def counting(hidden: Tensor, **rest: Any) -> Any:
        calls.append(len(hidden))
        return forward(hidden, **rest)

    monkeypatch.setattr(stack[0], "forward", counting)
    with torch.no_grad():
        stack(hidden, stack.check(8, hidden.shape[1], 4096, **given))
    assert chunks == [4]
    assert calls == [8]


@pytest.mark.parametrize("name", ["", "0", "1.mlp.down"])
def test_hooks_see_the_whole_batch(name: str) -> None:
    stack, hidden = made(layers=2), hidden_states(8, CHUNK_TOKENS // 4)
    seen: list[int] = []
    stack.get_submodule(name).register_forward_hook(
        lambda module, arguments, output: seen.append(len(output[0] if isinstance(output, tuple) else output))
    )
    with torch.no_grad():
        stack(hidden, stack.check(8, hidden.shape[1], 4096))
    assert seen == [8]
