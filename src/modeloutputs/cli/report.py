"""Prints outputs on the command line: a table of fields, the loss, predictions, and notes."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..arrays.backends import get_backend
from ..display.terminal import table
from ..display.text import summary
from ..output import ModelOutput
from ..output.contract import field_contracts
from .screen import make_console, print_line

__all__ = ["as_json", "print_notes", "print_output"]


def print_output(output: ModelOutput, predictions: Sequence[str], loss: float | None = None) -> None:
    """Print an output for people, with the loss that was computed beside it, if any."""
    make_console().print(table(output))
    losses = _losses(output, loss)
    if losses:
        print_line("loss " + ", ".join(f"{loss:.4f}" for loss in losses))
    for line in predictions:
        print_line(line)


def print_notes(notes: Mapping[str, str]) -> None:
    """Print the notes of a file, one a line."""
    for name, text in notes.items():
        print_line(f"note {name}: {text}")


def as_json(output: ModelOutput, predictions: Sequence[str], loss: float | None = None) -> dict[str, Any]:
    """Return an output for programs: class, fields, loss and predictions."""
    losses = _losses(output, loss)
    return {
        "class": type(output).__name__,
        "fields": {name: {"value": text, "axes": axes} for name, text, axes in _rows(output)},
        "loss": losses[0] if len(losses) == 1 else losses or None,
        "predictions": list(predictions),
    }


def _losses(output: ModelOutput, beside: float | None) -> list[float]:
    """Return the losses: one, one for each part of a concatenated batch, or unreduced ones; else that beside it."""
    loss = output.get("loss")
    if loss is None:
        return [] if beside is None else [beside]
    return [float(value) for value in get_backend(loss).numpy(loss).reshape(-1)]


def _rows(output: ModelOutput) -> list[tuple[str, str, str]]:
    axes: dict[str, Any] = {contract.name: contract.axes for contract in field_contracts(type(output))}
    return [(name, summary(value), axes[name]) for name, value in output.items()]
