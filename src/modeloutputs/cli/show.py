"""`modeloutputs show`: prints saved outputs."""

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ..files.outputs import SavedFile, load, read_saved
from .report import as_json, print_notes, print_output
from .screen import print_json

__all__ = ["show"]

PREDICTIONS = "predictions"
LOSS = "loss"
"""The notes that `run` writes; a loss is noted where the output has no field for it."""


def show(
    path: Annotated[Path, typer.Argument(help="A file that `modeloutputs run --save` or `modeloutputs.save` wrote.")],
    in_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Print one or several saved outputs: class, fields with dtype, shape and axes, loss, predictions and notes."""
    saved = read_saved(path)
    outputs = load(path)
    predictions, loss = _predictions(saved), _loss(saved)
    read = {PREDICTIONS: predictions, LOSS: loss}
    notes = {name: text for name, text in saved.notes.items() if read.get(name) is None}
    listed = outputs if saved.several else [outputs]
    # What `run` predicted goes with the one output that it saves.
    own = (list[str](), None) if saved.several else (predictions or [], loss)
    if in_json:
        described = [as_json(output, *own) | {"notes": notes} for output in listed]
        print_json(described if saved.several else described[0])
        return
    for output in listed:
        print_output(output, *own)
    print_notes(notes)


def _predictions(saved: SavedFile) -> list[str] | None:
    """Return the predictions that `run` saved with the output; None if the note is missing or somebody else's."""
    noted = _noted(saved, PREDICTIONS)
    return [str(line) for line in cast("list[Any]", noted)] if isinstance(noted, list) else None


def _loss(saved: SavedFile) -> float | None:
    """Return the loss that `run` saved beside the output; None if the note is missing or somebody else's."""
    noted = _noted(saved, LOSS)
    return noted if isinstance(noted, float) and not saved.several else None


def _noted(saved: SavedFile, name: str) -> Any:
    """Return what a note says in JSON; None if it is missing or something else."""
    try:
        return json.loads(saved.notes.get(name, "null"))
    except (ValueError, RecursionError):
        return None
