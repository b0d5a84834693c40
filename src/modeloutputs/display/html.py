"""How outputs look in a notebook: a table of fields, entries of states and caches behind a click.

Plain HTML, so that it is the same offline, in a page without scripts and in an exported notebook. Colours are the
page's own, so that it is legible on any background. All that comes from an output is escaped.
"""

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from .table import Absent, Field, Inventory, Line, Span, take_inventory

if TYPE_CHECKING:
    from ..output import ModelOutput

__all__ = ["html"]

# The selectors are this long so that they win over the ones that notebooks have for tables.
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


def html(output: "ModelOutput") -> str:
    """Draw an output as a table for notebooks."""
    inventory = take_inventory(output)
    rows = "".join(map(_row, inventory.fields))
    return (
        f'<div class="modeloutputs">{_STYLE}<table>{_caption(inventory)}'
        f"{_head()}<tbody>{rows}</tbody></table>{_absent(inventory.absent)}</div>"
    )


def _caption(inventory: Inventory) -> str:
    count = len(inventory.fields)
    fields = f"{count} field{'' if count == 1 else 's'}"
    note = f"{fields} · {inventory.size}" if count else "no fields"
    return f'<caption><b>{escape(inventory.title)}</b> <span class="note">{escape(note)}</span></caption>'


def _head() -> str:
    names = "".join(f'<th scope="col">{name}</th>' for name in ("field", "shape", "dtype", "device"))
    return f'<thead><tr>{names}<th scope="col" class="size">size</th></tr></thead>'


def _row(field: Field) -> str:
    line = field.line
    return (
        f'<tr><th scope="row">{escape(line.label)}</th><td>{_shape(field)}</td><td>{escape(line.dtype)}</td>'
        f"<td>{escape(line.device)}</td>{_size(line)}</tr>"
    )


def _shape(field: Field) -> str:
    text = _text(field.line.shape)
    entries = [*field.first, *field.last]
    if not entries:
        return text
    # What all entries have in common is in the field's own row.
    differ = len({(entry.dtype, entry.device) for entry in entries if entry.size is not None}) > 1
    gap = f'<tr><td></td><td class="note" colspan="4">{field.left_out} more</td></tr>' if field.left_out else ""
    rows = _entries(field.first, differ) + gap + _entries(field.last, differ)
    label = escape(f"entries of {field.line.label}")
    return f'<details><summary>{text}</summary><table aria-label="{label}"><tbody>{rows}</tbody></table></details>'


def _entries(lines: Iterable[Line], differ: bool) -> str:
    return "".join(
        f'<tr><th scope="row">{escape(line.label)}</th><td>{_text(line.shape)}</td>'
        + (f"<td>{escape(line.dtype)}</td><td>{escape(line.device)}</td>" if differ else "")
        + f"{_size(line)}</tr>"
        for line in lines
    )


def _size(line: Line) -> str:
    return f'<td class="size">{"" if line.size is None else escape(str(line.size))}</td>'


def _text(spans: Iterable[Span]) -> str:
    return "".join(f"<i>{escape(span.text)}</i>" if span.is_quiet else escape(span.text) for span in spans)


def _absent(absent: tuple[Absent, ...]) -> str:
    if not absent:
        return ""
    names = ", ".join(field.name for field in absent)
    items = "".join(f"<li>{escape(field.name)}: {escape(_when(field))}</li>" for field in absent)
    return f'<details><summary class="note">not returned: {escape(names)}</summary><ul>{items}</ul></details>'


def _when(field: Absent) -> str:
    return "returned always" if field.returned_when == "always" else f"returned when {field.returned_when}"
