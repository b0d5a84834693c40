"""Prints outputs on the command line: a table of fields, the loss, and predictions."""

import json
from typing import Any

import typer
from rich.console import Console

from ..arrays.backends import get_backend
from ..display.terminal import table
from ..display.text import summary
from ..output import ModelOutput
from ..output.contract import field_contracts

__all__ = ["as_json", "print_json", "print_output"]


def print_output(output: ModelOutput, predictions: list[str]) -> None:
    """Print an output for people."""
    console = Console()
    console.print(table(output))
    losses = _losses(output)
    if losses:
        console.print("loss " + ", ".join(f"{loss:.4f}" for loss in losses), highlight=False)
    for line in predictions:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def as_json(output: ModelOutput, predictions: list[str]) -> dict[str, Any]:
    """Return an output for programs: class, fields, loss and predictions."""
    losses = _losses(output)
    return {
        "class": type(output).__name__,
        "fields": {name: {"value": text, "axes": axes} for name, text, axes in _rows(output)},
        "loss": losses[0] if len(losses) == 1 else losses or None,
        "predictions": predictions,
    }


def print_json(value: Any) -> None:
    """Print JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _losses(output: ModelOutput) -> list[float]:
    """Return the losses: one, one for each part of a concatenated batch, or unreduced ones."""
    loss = output.get("loss")
    return [] if loss is None else [float(value) for value in get_backend(loss).numpy(loss).reshape(-1)]


def _rows(output: ModelOutput) -> list[tuple[str, str, str]]:
    axes: dict[str, Any] = {contract.name: contract.axes for contract in field_contracts(type(output))}
    return [(name, summary(value), axes[name]) for name, value in output.items()]
