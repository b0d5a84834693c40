"""Tables for notebooks: one row per field, entries of states and caches behind a click.

The HTML is plain, so it looks the same offline, without scripts and in an exported notebook. Colours are those of the
page, so it is legible on any background. All text that comes from an output is escaped.
"""

from collections.abc import Iterable
from html import escape

from ..output.protocol import OutputLike
from .table import FieldRows, MissingField, Row, StyledText, TableModel, table_model

__all__ = ["html"]

# The selectors are this long to override the styles of notebooks for tables.
_STYLE = """<style>
div.modeloutputs { overflow-x: auto; line-height: 1.5; }
div.modeloutputs table { border-collapse: collapse; margin: 0; border: 0; font-size: inherit; }
div.modeloutputs table caption { text-align: left; padding: 0 0 .4em; color: inherit; caption-side: top; }
div.modeloutputs caption .note { margin-left: .4em; }
div.modeloutputs table tr:nth-child(n) > * { text-align: left; vertical-align: top; padding: .25em 1.5em .25em 0;
  font-weight: normal; background: none; border: 0; max-width: none; }
div.modeloutputs > table > * > tr:nth-child(n) > * { border-top: 1px solid rgba(128, 128, 128, .3); }
div.modeloutputs > table > thead > tr:nth-child(n) > * { border: 0; padding-bottom: .1em; font-size: .85em; }
div.modeloutputs > table > tbody > tr:nth-child(n) > th { font-weight: 600; }
div.modeloutputs table tr:nth-child(n) > .size { text-align: right; padding-right: 0; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
div.modeloutputs table table tr:nth-child(n) > * { padding: 0 1.2em 0 0; font-size: .92em; white-space: nowrap; }
div.modeloutputs table table tr:nth-child(n) > th { font-variant-numeric: tabular-nums; }
div.modeloutputs table table { margin: .1em 0 .3em 1.1em; }
div.modeloutputs table tr:nth-child(n) { background: none; }
div.modeloutputs summary { cursor: pointer; }
div.modeloutputs i { font-style: normal; }
div.modeloutputs i, div.modeloutputs .note, div.modeloutputs thead th, div.modeloutputs table table th { opacity: .7; }
div.modeloutputs > details { margin: .5em 0 0; }
div.modeloutputs > details > ul { margin: .2em 0 0; padding-left: 1.1em; list-style: none; }
</style>"""


def html(output: OutputLike) -> str:
    """Return an output as an HTML table for notebooks.

    Examples:
        >>> from modeloutputs import ModelOutput
        >>> class Scores(ModelOutput):
        ...     scores: list[float] | None = None
        >>> html(Scores(scores=[0.5])).startswith('<div class="modeloutputs">')
        True
    """
    model = table_model(output)
    rows = "".join(map(_row, model.fields))
    return (
        f'<div class="modeloutputs">{_STYLE}<table>{_caption(model)}'
        f"{_head()}<tbody>{rows}</tbody></table>{_missing(model.missing)}</div>"
    )


def _caption(model: TableModel) -> str:
    count = len(model.fields)
    fields = f"{count} field{'' if count == 1 else 's'}"
    note = f"{fields} · {model.size}" if count else "no fields"
    return f'<caption><b>{escape(model.title)}</b> <span class="note">{escape(note)}</span></caption>'


def _head() -> str:
    names = "".join(f'<th scope="col">{name}</th>' for name in ("field", "shape", "dtype", "device"))
    return f'<thead><tr>{names}<th scope="col" class="size">size</th></tr></thead>'


def _row(field: FieldRows) -> str:
    row = field.row
    return (
        f'<tr><th scope="row">{escape(row.label)}</th><td>{_shape(field)}</td><td>{escape(row.dtype)}</td>'
        f"<td>{escape(row.device)}</td>{_size(row)}</tr>"
    )


def _shape(field: FieldRows) -> str:
    text = _text(field.row.shape)
    entries = [*field.first, *field.last]
    if not entries:
        return text
    # Dtype and device are in the field's own row if all entries share them.
    differ = len({(entry.dtype, entry.device) for entry in entries if entry.size is not None}) > 1
    gap = f'<tr><td></td><td class="note" colspan="4">{field.left_out} more</td></tr>' if field.left_out else ""
    rows = _entries(field.first, differ) + gap + _entries(field.last, differ)
    label = escape(f"entries of {field.row.label}")
    return f'<details><summary>{text}</summary><table aria-label="{label}"><tbody>{rows}</tbody></table></details>'


def _entries(rows: Iterable[Row], differ: bool) -> str:
    return "".join(
        f'<tr><th scope="row">{escape(row.label)}</th><td>{_text(row.shape)}</td>'
        + (f"<td>{escape(row.dtype)}</td><td>{escape(row.device)}</td>" if differ else "")
        + f"{_size(row)}</tr>"
        for row in rows
    )


def _size(row: Row) -> str:
    return f'<td class="size">{"" if row.size is None else escape(str(row.size))}</td>'


def _text(pieces: Iterable[StyledText]) -> str:
    return "".join(f"<i>{escape(piece.text)}</i>" if piece.is_dim else escape(piece.text) for piece in pieces)


def _missing(missing: tuple[MissingField, ...]) -> str:
    if not missing:
        return ""
    names = ", ".join(field.name for field in missing)
    items = "".join(f"<li>{escape(field.name)}: {escape(_when(field))}</li>" for field in missing)
    return f'<details><summary class="note">not returned: {escape(names)}</summary><ul>{items}</ul></details>'


def _when(field: MissingField) -> str:
    return "returned always" if field.returned_when == "always" else f"returned when {field.returned_when}"
