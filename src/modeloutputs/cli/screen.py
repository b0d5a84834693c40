"""What reaches the terminal, or the program that reads from here: nothing wrapped in a pipe, no control characters."""

import json
import sys
from typing import Any

import typer
from rich.console import Console

from ..display.text import printable

__all__ = ["escape_for_terminal", "make_console", "print_json", "print_line"]

_UNWRAPPED = 10_000
"""Columns of what is no terminal: a program that reads lines finds each whole."""


def make_console() -> Console:
    """Return a console for standard output: as wide as the terminal, and in a pipe or file without wrapping."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_UNWRAPPED)


def print_line(text: str) -> None:
    """Print one line; characters that are not printable are escaped, as a file or a vocabulary may hold any."""
    typer.echo(printable(text))


def print_json(value: Any) -> None:
    """Print JSON; characters that are not printable are escaped, which JSON reads as the same."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    typer.echo("".join(kept if kept.isprintable() or kept == "\n" else json.dumps(kept)[1:-1] for kept in text))


def escape_for_terminal(text: str) -> str:
    """Return generated text as a terminal may have it: control characters escaped, but for new lines and tabs.

    What goes into a file or a pipe stays as it was generated.
    """
    if not sys.stdout.isatty():
        return text
    return "".join(kept if kept.isprintable() or kept in "\n\t" else ascii(kept)[1:-1] for kept in text)
