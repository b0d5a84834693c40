"""Tables for terminals, drawn with rich: one row per field, equal layers counted."""

from typing import TYPE_CHECKING

from ..output.protocol import OutputLike
from .table import FieldRows, StyledText, TableModel, table_model

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["table"]

_ASCII = {ord("×"): "x", ord("…"): "...", ord("\N{NO-BREAK SPACE}"): "="}
"""Replacements for characters that not every terminal can print; a non-breaking space would still break the line."""


def table(output: OutputLike) -> "Table":
    """Return an output as a rich table, one row per field.

    Examples:
        >>> from rich.console import Console
        >>> from modeloutputs import ModelOutput
        >>> class Scores(ModelOutput):
        ...     scores: list[float] | None = None
        >>> Console(width=60).print(table(Scores(scores=[0.5])).columns[0].header)
        field
    """
    from rich.table import Table

    model = table_model(output)
    drawn = Table(
        title=_title(model),
        title_style="",
        title_justify="left",
        caption=_missing(model),
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
    for field in model.fields:
        drawn.add_row(*_cells(field))
    return drawn


def _cells(field: FieldRows) -> "list[Text]":
    from rich.text import Text

    row = field.row
    size = "" if row.size is None else str(row.size)
    return [
        Text(_plain(row.label)),
        Text.assemble(*map(_styled, row.shape)),
        Text(_plain(row.dtype)),
        Text(_plain(row.device)),
        Text(size),
    ]


def _styled(piece: StyledText) -> tuple[str, str]:
    return _plain(piece.text), "dim" if piece.is_dim else ""


def _plain(text: str) -> str:
    return text.translate(_ASCII)


def _title(model: TableModel) -> "Text":
    from rich.text import Text

    return Text.assemble((_plain(model.title), "bold"), ("  " + str(model.size), "dim"))


def _missing(model: TableModel) -> "Text | None":
    from rich.text import Text

    names = ", ".join(field.name for field in model.missing)
    return Text(f"not returned: {_plain(names)}", style="dim") if names else None
