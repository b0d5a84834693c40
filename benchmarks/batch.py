"""Batch operations on a PyTorch output of 50 arrays, beside the same written by hand for its fields.

By hand means: knowing which axis of which field is which, with no check, and every layer sliced or joined in a
comprehension. The result is an output of the same class.
"""

from collections.abc import Callable
from typing import Any

import torch

from harness import Row, print_table, time_in_turn
from modeloutputs import concat, select, split, unpad
from modeloutputs.torch import BaseModelOutputWithPast

ROUNDS, CALLS = 21, 3
ROWS, LENGTH, LAYERS = 32, 32, 12
HIDDEN, HEADS, HEAD_DIM = 64, 4, 16
ORDER = list(reversed(range(ROWS)))

Output = BaseModelOutputWithPast


def make(rows: int = ROWS) -> Output:
    """Return last_hidden_state, 13 hidden states, 12 attentions, and keys and values of 12 layers: 50 arrays."""
    torch.manual_seed(0)

    def states() -> torch.Tensor:
        return torch.randn(rows, LENGTH, HIDDEN)

    def keys() -> torch.Tensor:
        return torch.randn(rows, HEADS, LENGTH, HEAD_DIM)

    return Output(
        last_hidden_state=states(),
        past_key_values=tuple((keys(), keys()) for _ in range(LAYERS)),
        hidden_states=tuple(states() for _ in range(LAYERS + 1)),
        attentions=tuple(torch.randn(rows, HEADS, LENGTH, LENGTH) for _ in range(LAYERS)),
    )


Each = Callable[[torch.Tensor], torch.Tensor]


def by_hand(output: Output, states: Each, attentions: Each, keys: Each) -> Output:
    """Return an output with a function of its own applied to the arrays of each kind."""
    return Output(
        last_hidden_state=states(output.last_hidden_state),
        past_key_values=tuple((keys(key), keys(value)) for key, value in output.past_key_values),
        hidden_states=tuple(states(layer) for layer in output.hidden_states),
        attentions=tuple(attentions(layer) for layer in output.attentions),
    )


def split_by_hand(output: Output) -> list[Output]:
    """Slice every array once for each row."""
    parts: list[Output] = []
    for i in range(ROWS):

        def part(array: torch.Tensor, i: int = i) -> torch.Tensor:
            return array[i : i + 1]

        parts.append(by_hand(output, part, part, part))
    return parts


def unpad_by_hand(output: Output, mask: torch.Tensor) -> list[Output]:
    """Slice every array once for each row, padding on the right cut off."""
    parts: list[Output] = []
    for i, n in enumerate(mask.sum(1).tolist()):

        def states(array: torch.Tensor, i: int = i, n: int = n) -> torch.Tensor:
            return array[i : i + 1, :n]

        def attentions(array: torch.Tensor, i: int = i, n: int = n) -> torch.Tensor:
            return array[i : i + 1, :, :n, :n]

        def keys(array: torch.Tensor, i: int = i, n: int = n) -> torch.Tensor:
            return array[i : i + 1, :, :n]

        parts.append(by_hand(output, states, attentions, keys))
    return parts


def select_by_hand(output: Output) -> Output:
    """Index every array."""
    order = torch.tensor(ORDER)

    def chosen(array: torch.Tensor) -> torch.Tensor:
        return array.index_select(0, order)

    return by_hand(output, chosen, chosen, chosen)


def concat_by_hand(parts: list[Output]) -> Output:
    """Concatenate the arrays of each place; all are of one length here."""
    layers = range(LAYERS)
    return Output(
        last_hidden_state=torch.cat([part.last_hidden_state for part in parts]),
        past_key_values=tuple(
            tuple(torch.cat([part.past_key_values[i][j] for part in parts]) for j in (0, 1)) for i in layers
        ),
        hidden_states=tuple(torch.cat([part.hidden_states[i] for part in parts]) for i in range(LAYERS + 1)),
        attentions=tuple(torch.cat([part.attentions[i] for part in parts]) for i in layers),
    )


def compare(what: str, ours: Callable[[], Any], hand: Callable[[], Any], target: float | None = 2) -> Row:
    """Time both in turn, after a look at whether they give the same."""
    assert ours() == hand()
    times = time_in_turn({"ours": ours, "by hand": hand}, ROUNDS, calls=CALLS)
    return Row(what, times["ours"], times["by hand"], target)


def main() -> None:
    """Print the table."""
    output, mask = make(), torch.zeros(ROWS, LENGTH, dtype=torch.int64)
    for row in range(ROWS):
        mask[row, : 4 + (row * 37) % (LENGTH - 4)] = 1
    pair = [make(2), make(2)]
    rows = [
        compare(f"unpad {ROWS} rows", lambda: unpad(output, mask), lambda: unpad_by_hand(output, mask)),
        compare(f"split into {ROWS}", lambda: split(output, 1), lambda: split_by_hand(output)),
        compare(f"select {ROWS} rows", lambda: select(output, ORDER), lambda: select_by_hand(output), None),
        compare("concat 2 x 2 rows", lambda: concat(pair), lambda: concat_by_hand(pair), None),
    ]
    print_table("Batch operations on 50 PyTorch arrays", rows, peer="by hand")


if __name__ == "__main__":
    main()
