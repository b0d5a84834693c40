"""Prints how far each model and head is from the peer's, under each way to call it: `python -m tests.parity.table`."""

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import torch
import transformers
from rich.console import Console
from rich.table import Table

from modeloutputs import __version__

from ..torch.tiny import ALL_HEADS, HEADS, Head
from .compare import (
    CONDITIONS,
    TOLERANCE,
    WEIGHTS,
    Condition,
    Pair,
    beams_difference,
    loss_and_gradient_difference,
    output_difference,
)

UNIT = 1e-6
"""The unit of the table."""

HYPHENS = {
    "attentions": "at-\nten-\ntions",
    "gradients": "grad-\nients",
    "padding": "pad-\nding",
    "positions": "posi-\ntions",
}
"""Where long words of the column headings break, so that the tables fit 120 columns."""

Row = dict[str, float]


@dataclass(frozen=True)
class Column:
    """What is measured of a pair of models; None where it does not apply. Each table has those of one title."""

    name: str
    title: str
    measure: Callable[[Pair], float | None]


IN_ONE_CALL, IN_STEPS = "In one call", "In steps, each with the cache of the one before"


def _of(condition: Condition) -> Column:
    def measure(pair: Pair) -> float | None:
        return output_difference(pair, condition.case(pair)) if condition.applies(pair.head) else None

    return Column(condition.name, IN_STEPS if condition.in_steps else IN_ONE_CALL, measure)


_training = cache(loss_and_gradient_difference)

COLUMNS = (
    *(_of(condition) for condition in CONDITIONS),
    Column("beams", IN_STEPS, beams_difference),
    Column("loss", IN_ONE_CALL, lambda pair: None if pair.head.labels is None else _training(pair)[0]),
    Column("gradients", IN_ONE_CALL, lambda pair: _training(pair)[1]),
)


def measure(pair: Pair) -> Row:
    """Return the largest difference in each column that applies to the head."""
    values = {column.name: column.measure(pair) for column in COLUMNS}
    _training.cache_clear()  # it holds the models
    return {name: value for name, value in values.items() if value is not None}


def measure_all() -> Iterator[tuple[Head, str, Row]]:
    """Measure every head with every set of weights that fits it, one pair of models in memory at a time."""
    for head in ALL_HEADS:
        for weights, make in WEIGHTS.items():
            if head in HEADS or weights == "random":
                yield head, weights, measure(make(head))


def build_table(title: str, rows: Iterable[tuple[Head, str, Row]]) -> Table:
    """Lay the measurements of the columns with this title out, a line for each head and set of weights."""
    columns = [column.name for column in COLUMNS if column.title == title]
    table = Table(title=title, box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.title_justify = "left"
    table.add_column("head", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(_heading(name), justify="right", vertical="bottom")
    for head, group in groupby(rows, key=lambda row: row[0]):
        lines = [(weights, row) for _, weights, row in group if any(name in row for name in columns)]
        _add_lines(table, head, lines, columns)
    return table


def _add_lines(table: Table, head: Head, lines: Sequence[tuple[str, Row]], columns: Sequence[str]) -> None:
    names = [head.cls.__name__, *([f"  {head.variant}"] if head.variant else [])]
    cells = [(weights, *(_cell(row.get(column)) for column in columns)) for weights, row in lines]
    # A head of one line whose variant needs a second keeps its numbers on the first.
    for i in range(max(len(cells), len(names)) if cells else 0):
        table.add_row(names[i] if i < len(names) else "", *(cells[i] if i < len(cells) else ()))


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
    for title in dict.fromkeys(column.title for column in COLUMNS):
        console.print(build_table(title, rows), "")
    worst = max((value, head.name, weights, name) for head, weights, row in rows for name, value in row.items())
    console.print(f"largest: {worst[0]:.1e} ({', '.join(worst[1:])})")


if __name__ == "__main__":
    main()
