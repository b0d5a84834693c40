# ruff: noqa: E402  # what is imported below needs what may be absent

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


from modeloutputs.torch.row_chunks import CHUNK_TOKENS, chunk_size, run_in_chunks


@pytest.mark.parametrize(
    ("rows", "length", "expected"),
    [(32, 128, 8), (16, 128, 8), (15, 128, None), (4, 2 * CHUNK_TOKENS, 1), (1, 2 * CHUNK_TOKENS, None), (1, 8, None)],
)
def test_blocks_hold_about_a_thousand_tokens(rows: int, length: int, expected: int | None):
    with torch.no_grad():
        assert chunk_size(torch.empty(rows, length)) == expected


def test_no_blocks_where_gradients_are_kept():
    assert chunk_size(torch.empty(32, 128)) is None


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_blocks_are_joined_in_order_and_other_arguments_are_passed_whole(block: int):
    rows, shared = torch.arange(14.0).view(7, 2), torch.tensor([[1.0, 2.0]])
    seen: list[int] = []

    def function(part: torch.Tensor, whole: torch.Tensor, nothing: None) -> list[torch.Tensor]:
        seen.append(len(part))
        assert whole is shared
        assert nothing is None
        return [part + whole, part.sum(1)]

    both, sums = run_in_chunks(function, 7, block, (rows, shared, None))
    assert torch.equal(both, rows + shared)
    assert torch.equal(sums, rows.sum(1))
    assert sum(seen) == 7
    assert max(seen) == block
