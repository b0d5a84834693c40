"""The command line: one file per command."""

import contextlib
import os
import sys
import warnings
from typing import Annotated, Any

import typer
from rich.console import Console

from .. import __version__
from ..display.text import printable
from ..errors import ModelOutputsError, first_line
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
    """Run the command line.

    Errors and warnings of ours are one line on standard error, as are the system's; either error exits with status 1,
    and wrong options with 2.
    """
    hide_startup_logs()
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # a stream that somebody put in its place
            reconfigure: Any = stream.reconfigure  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
            reconfigure(errors="backslashreplace")
    sys.exit(_run_app())


def _run_app() -> int:
    """Run the command that the arguments name, and return the exit status."""
    try:
        status = _status_of_app()
        sys.stdout.flush()  # a full disk is found here, not when the interpreter ends
    except ModelOutputsError as error:
        return _fail(str(error))
    except BrokenPipeError:  # whoever read the output went away
        _discard_output()
        return 1
    except OSError as error:
        _discard_output()
        place = f"{str(error.filename)!r}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or first_line(error)}")
    return status


def _status_of_app() -> int:
    try:
        app()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


def _fail(message: str) -> int:
    _error_console().print(f"error: {printable(message)}", markup=False)
    return 1


def _discard_output() -> None:
    """Let what is left of standard output go nowhere, or the interpreter would fail once more as it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _error_console().print(f"warning: {printable(str(message))}", markup=False)


def _error_console() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False)
