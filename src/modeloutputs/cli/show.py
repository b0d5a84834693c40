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
"""The note that `run` writes."""


def show(
    path: Annotated[Path, typer.Argument(help="A file that `modeloutputs run --save` or `modeloutputs.save` wrote.")],
    in_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Print one or several saved outputs: class, fields with dtype, shape and axes, loss, predictions and notes."""
    saved = read_saved(path)
    outputs = load(path)
    predictions = _predictions(saved)
    notes = {name: text for name, text in saved.notes.items() if name != PREDICTIONS or predictions is None}
    listed = outputs if saved.several else [outputs]
    # What `run` predicted goes with the one output that it saves.
    own = [] if saved.several or predictions is None else predictions
    if in_json:
        described = [as_json(output, own) | {"notes": notes} for output in listed]
        print_json(described if saved.several else described[0])
        return
    for output in listed:
        print_output(output, own)
    print_notes(notes)


def _predictions(saved: SavedFile) -> list[str] | None:
    """Return the predictions that `run` saved with the output; None if the note is missing or somebody else's."""
    try:
        noted = json.loads(saved.notes.get(PREDICTIONS, "null"))
    except (ValueError, RecursionError):
        return None
    return [str(line) for line in cast("list[Any]", noted)] if isinstance(noted, list) else None
