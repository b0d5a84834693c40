"""`modeloutputs classes`: lists every output class with its fields, their axes, and when each is returned."""

from typing import Annotated

import typer
from rich.table import Table

from ..errors import MissingDependencyError
from ..frameworks import FRAMEWORKS
from ..output.contract import FieldContract
from .facts import recorded_classes
from .screen import make_console, print_json

__all__ = ["classes"]

_AXES_WIDTH = 30
"""Columns for axes in a pipe; longer ones move what follows to the right."""


def classes(
    name: Annotated[str, typer.Argument(help="Show only classes whose name contains this.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """List every output class, its fields with their axes, and what makes a model return each."""
    installed = [framework for framework in FRAMEWORKS.values() if framework.is_installed]
    found = {
        framework: {cls: fields for cls, fields in recorded_classes(framework).items() if name.lower() in cls.lower()}
        for framework in installed
    }
    if not found:
        extras = "] or [".join(framework.folder for framework in FRAMEWORKS.values())
        raise MissingDependencyError(f"no framework is installed; install modeloutputs[{extras}]")
    if as_json:
        plain = {
            framework.name: {cls: [vars(contract) for contract in contracts] for cls, contracts in listed.items()}
            for framework, listed in found.items()
        }
        print_json(plain)
        return
    console = make_console()
    for framework, listed in found.items():
        for cls, contracts in listed.items():
            console.print(f"[bold]{cls}[/bold]")
            console.print(_table(contracts, is_terminal=console.is_terminal))
        if listed:
            console.print(f"{len(listed)} {framework.title} {_classes(len(listed))}")
    for framework in FRAMEWORKS.values():
        if framework not in found:
            how = f"install modeloutputs\\[{framework.folder}] for its classes"
            console.print(f"[dim]{framework.title} is not installed; {how}[/dim]")
    if len(found) > 1:
        total = sum(map(len, found.values()))
        console.print(f"{total} {_classes(total)}")


def _classes(count: int) -> str:
    return "class" if count == 1 else "classes"


def _table(contracts: list[FieldContract], *, is_terminal: bool) -> Table:
    """Draw one class; widths are fixed so that the columns of all classes line up.

    In a pipe every field is one line, however long: who searches for a word finds it whole.
    """
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), expand=is_terminal)
    table.add_column("field", style="cyan", width=27, no_wrap=True)
    table.add_column("axes", ratio=3 if is_terminal else None, min_width=None if is_terminal else _AXES_WIDTH)
    table.add_column("returned when", ratio=2 if is_terminal else None, style="dim")
    for contract in contracts:
        table.add_row(f"  {contract.name}", contract.axes.replace("[", r"\["), contract.returned_when)
    return table
