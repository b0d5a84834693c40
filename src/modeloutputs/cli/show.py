"""`modeloutputs show`: prints saved outputs."""

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ..files.outputs import SavedFile, load, read_saved
from .report import as_json, print_json, print_output

__all__ = ["show"]


def show(
    path: Annotated[Path, typer.Argument(help="A file that `modeloutputs run --save` or `modeloutputs.save` wrote.")],
    in_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Print one or several saved outputs: class, fields with dtype, shape and axes, loss and predictions."""
    saved = read_saved(path)
    outputs = load(path)
    if saved.several:
        if in_json:
            print_json([as_json(output, []) for output in outputs])
        for output in () if in_json else outputs:
            print_output(output, [])
    elif in_json:
        print_json(as_json(outputs, _predictions(saved)))
    else:
        print_output(outputs, _predictions(saved))


def _predictions(saved: SavedFile) -> list[str]:
    """Return the predictions that `run` saved with the output; other notes are ignored."""
    try:
        noted = json.loads(saved.notes.get("predictions", "[]"))
    except ValueError:
        return []
    return [str(line) for line in cast("list[Any]", noted)] if isinstance(noted, list) else []
