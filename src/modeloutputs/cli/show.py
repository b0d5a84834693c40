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
    """Print what was saved, one output or several: class, fields with dtype, shape and axes, loss and predictions."""
    saved = read_saved(path)
    predictions = json.loads(saved.notes.get("predictions", "[]"))
    outputs = load(path)
    for output in outputs if saved.several else [outputs]:
        (print_output_json if as_json else print_output)(output, predictions)
