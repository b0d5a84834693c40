"""How outputs look in a terminal when printed with rich: a table of fields, alike layers counted."""

from typing import TYPE_CHECKING

from .table import Field, Inventory, Span, take_inventory

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from ..output import ModelOutput

__all__ = ["table"]

_ASCII = {ord("×"): "x", ord("…"): "...", ord("\N{NO-BREAK SPACE}"): "="}
"""Not every terminal has more than these signs, and printing must not fail there. A space would break the line."""


def table(output: "ModelOutput") -> "Table":
    """Draw an output as a table for terminals, one row a field."""
    from rich.table import Table

    inventory = take_inventory(output)
    drawn = Table(
        title=_title(inventory),
        title_style="",
        title_justify="left",
        caption=_absent(inventory),
        caption_style="",
        caption_justify="left",
        header_style="dim",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    drawn.add_column("field", style="bold", no_wrap=True, min_width=12)
    drawn.add_column("shape", overflow="fold", min_width=18)
    drawn.add_column("dtype", overflow="fold", min_width=5)
    drawn.add_column("device", overflow="fold", min_width=6)
    drawn.add_column("size", justify="right", min_width=8)
    for field in inventory.fields:
        drawn.add_row(*_cells(field))
    return drawn


def _cells(field: Field) -> "list[Text]":
    from rich.text import Text

    line = field.line
    size = "" if line.size is None else str(line.size)
    return [
        Text(_plain(line.label)),
        Text.assemble(*map(_styled, line.shape)),
        Text(_plain(line.dtype)),
        Text(_plain(line.device)),
        Text(size),
    ]


def _styled(span: Span) -> tuple[str, str]:
    return _plain(span.text), "dim" if span.is_quiet else ""


def _plain(text: str) -> str:
    return text.translate(_ASCII)


def _title(inventory: Inventory) -> "Text":
    from rich.text import Text

    return Text.assemble((_plain(inventory.title), "bold"), ("  " + str(inventory.size), "dim"))


def _absent(inventory: Inventory) -> "Text | None":
    from rich.text import Text

    names = ", ".join(field.name for field in inventory.absent)
    return Text(f"not returned: {_plain(names)}", style="dim") if names else None
