"""How the command line shows an output: a table of its fields, the loss, and what it predicts."""

import json
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from ..contract import field_contracts
from ..display import summary
from ..output import ModelOutput

__all__ = ["print_output", "print_output_json"]


def print_output(output: ModelOutput, predictions: list[str]) -> None:
    """Print an output for people."""
    console = Console()
    table = Table("field", "dtype and shape", "axes", box=None, pad_edge=False, header_style="bold")
    for name, text, axes in _rows(output):
        table.add_row(name, text.replace("[", r"\["), axes.replace("[", r"\["))
    console.print(f"[bold]{type(output).__name__}[/bold]")
    console.print(table)
    loss = output.get("loss")
    if loss is not None:
        console.print(f"loss {float(loss):.4f}", highlight=False)
    for line in predictions:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_output_json(output: ModelOutput, predictions: list[str]) -> None:
    """Print an output for programs: class, fields, loss and predictions as one JSON object."""
    loss = output.get("loss")
    typer.echo(
        json.dumps(
            {
                "class": type(output).__name__,
                "fields": {name: {"value": text, "axes": axes} for name, text, axes in _rows(output)},
                "loss": None if loss is None else float(loss),
                "predictions": predictions,
            },
            indent=2,
            ensure_ascii=False,
        )
    )


def _rows(output: ModelOutput) -> list[tuple[str, str, str]]:
    axes: dict[str, Any] = {contract.name: contract.axes for contract in field_contracts(type(output))}
    return [(name, summary(value), axes[name]) for name, value in output.items()]
