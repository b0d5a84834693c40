"""The command line: one file per command."""

import sys
import warnings
from typing import Annotated

import typer
from rich.console import Console

from .. import __version__
from ..errors import ModelOutputsError
from .classes import classes
from .generate import generate
from .quiet import hide_startup_logs
from .run import run
from .show import show

__all__ = ["app", "main"]

app = typer.Typer(
    help="What a transformer returns, typed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(generate)
app.command()(show)
app.command()(classes)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; errors and warnings of ours are one line on standard error, errors exit with status 1."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    hide_startup_logs()

    def show_warning(message: Warning | str, *_: object, **__: object) -> None:
        console.print(f"warning: {message}", markup=False)

    warnings.showwarning = show_warning
    try:
        app()
    except ModelOutputsError as error:
        console.print(f"error: {error}", markup=False)
        sys.exit(1)
