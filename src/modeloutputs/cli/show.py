"""`modeloutputs show`: prints an output that was saved."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..serialization import load, read_saved
from .report import print_output, print_output_json

__all__ = ["show"]


def show(
    path: Annotated[Path, typer.Argument(help="A file that `modeloutputs run --save` or `modeloutputs.save` wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Print an output that was saved: class, fields with dtype, shape and axes, loss and predictions."""
    predictions = json.loads(read_saved(path).notes.get("predictions", "[]"))
    (print_output_json if as_json else print_output)(load(path), predictions)
