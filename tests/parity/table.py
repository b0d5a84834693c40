"""Prints how far each BERT head is from the peer's, under each way to call it: `python -m tests.parity.table`."""

import platform
from collections.abc import Iterable, Iterator
from itertools import groupby

import torch
import transformers
from rich.console import Console
from rich.table import Table

from modeloutputs import __version__

from ..torch.tiny import HEADS, Head
from .compare import CONDITIONS, TOLERANCE, WEIGHTS, Pair, loss_and_gradient_difference, output_difference

UNIT = 1e-6
"""The unit of the table."""

HYPHENS = {
    "attentions": "at-\nten-\ntions",
    "gradients": "grad-\nients",
    "padding": "pad-\nding",
    "positions": "posi-\ntions",
}
"""Where long words of the column headings break, so that the table fits 120 columns."""

Row = dict[str, float]


def measure(pair: Pair) -> Row:
    """Return the largest difference under each condition that the head can be called in, of its loss and gradients."""
    row = {c.name: output_difference(pair, c.case(pair.ours)) for c in CONDITIONS if c.applies(pair.head)}
    loss, gradients = loss_and_gradient_difference(pair)
    return row | ({} if pair.head.labels is None else {"loss": loss}) | {"gradients": gradients}


def measure_all() -> Iterator[tuple[Head, str, Row]]:
    """Measure every head with every set of weights, one pair of models in memory at a time."""
    for head in HEADS:
        for weights, make in WEIGHTS.items():
            yield head, weights, measure(make(head))


def build_table(rows: Iterable[tuple[Head, str, Row]]) -> Table:
    """Lay the measurements out, a line for each head and set of weights."""
    columns = [*(condition.name for condition in CONDITIONS), "loss", "gradients"]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("head", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(_heading(name), justify="right", vertical="bottom")
    for head, lines in groupby(rows, key=lambda row: row[0]):
        names = [head.cls.__name__, *([f"  {head.variant}"] if head.variant else [])]
        for i, (_, weights, row) in enumerate(lines):
            name = names[i] if i < len(names) else ""
            table.add_row(name, weights, *(_cell(row.get(column)) for column in columns))
        table.add_section()
    return table


def _heading(name: str) -> str:
    return "\n".join(HYPHENS.get(word, word) for word in name.replace(",", "").split())


def _cell(difference: float | None) -> str:
    if difference is None:
        return "·"
    text = "0" if difference == 0 else f"{difference / UNIT:.2f}"
    return text if difference <= TOLERANCE else f"[red]{text}[/red]"


def main() -> None:
    """Measure and print."""
    console = Console(width=120)
    rows = list(measure_all())
    console.print(
        f"[bold]modeloutputs {__version__} beside transformers {transformers.__version__}[/bold] "
        f"(float32, CPU, PyTorch {torch.__version__}, Python {platform.python_version()})\n\n"
        "Largest difference between what the two return, of all fields, layers and tokens that are no padding, in\n"
        f"millionths (1e-6); {TOLERANCE / UNIT:.0f} or less is agreement, 0 is equal bit by bit, · does not apply. "
        "Weights: random, and MiniLM's.\n"
    )
    console.print(build_table(rows))
    worst = max((value, head.name, weights, name) for head, weights, row in rows for name, value in row.items())
    console.print(f"\nlargest: {worst[0]:.1e} ({', '.join(worst[1:])})")


if __name__ == "__main__":
    main()
