"""Outputs in notebooks: real tables, entries behind a click, everything escaped, no larger than a page bears."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float

from modeloutputs import ALWAYS, ModelOutput

Array = np.ndarray[Any, Any]


class Shown(ModelOutput):
    loss: Float[Array, ""] | None = None
    logits: Float[Array, "batch labels"] = ALWAYS
    hidden_states: tuple[Float[Array, "batch seq hidden"] | None, ...] | None = None
    past_key_values: Any = None
    attentions: Any = None


def f32(*shape: int) -> Any:
    return np.zeros(shape, "f4")


class Node:
    """An element, as a reader of the page meets it."""

    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag, self.attributes = tag, attributes
        self.children: list[Node | str] = []

    def all(self, tag: str) -> Iterator["Node"]:
        for child in self.children:
            if isinstance(child, Node):
                if child.tag == tag:
                    yield child
                yield from child.all(tag)

    def one(self, tag: str) -> "Node":
        (found,) = self.all(tag)
        return found

    @property
    def nodes(self) -> list["Node"]:
        return [child for child in self.children if isinstance(child, Node)]

    @property
    def text(self) -> str:
        parts = (child if isinstance(child, str) else child.text for child in self.children)
        return "".join(parts).replace("\N{NO-BREAK SPACE}", " ")


class Reader(HTMLParser):
    """Builds the tree of a page in which every element is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self._open[-1].children.append(node)
        self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def read(output: ModelOutput) -> Node:
    reader = Reader()
    reader.feed(output._repr_html_())
    reader.close()
    assert reader._open == [reader.root]
    return reader.root.one("div")


def table_of(output: ModelOutput) -> list[list[str]]:
    """Return the text of each cell of each field's row; of a field with entries, of its first line only."""
    table = next(read(output).all("table"))
    body = next(node for node in table.nodes if node.tag == "tbody")
    return [[next(cell.all("summary"), cell).text for cell in row.nodes] for row in body.nodes]


def entries_of(output: ModelOutput, name: str) -> list[list[str]]:
    (table,) = (t for t in read(output).all("table") if t.attributes.get("aria-label") == f"entries of {name}")
    return [[cell.text for cell in row.nodes] for row in table.all("tr")]


OUTPUT = Shown(
    loss=f32(), logits=f32(2, 3), hidden_states=(f32(2, 8, 384), None, f32(2, 8, 384)), attentions=(f32(2, 2),) * 3
)


def test_a_field_is_a_row_with_axes_dtype_device_and_bytes():
    assert table_of(OUTPUT) == [
        ["loss", "scalar", "f32", "cpu", "4 B"],
        ["logits", "batch 2 × labels 3", "f32", "cpu", "24 B"],
        ["hidden_states", "2 of 3 × (batch 2 × seq 8 × hidden 384)", "f32", "cpu", "48.0 KiB"],
        ["attentions", "3 × (2 × 2)", "f32", "cpu", "16 B"],
    ]


def test_the_caption_is_class_fields_and_total():
    assert read(OUTPUT).one("caption").text == "Shown 4 fields · 48.0 KiB"
    assert read(Shown(loss=f32())).one("caption").text == "Shown 1 field · 4 B"
    assert read(Shown()).one("caption").text == "Shown no fields"


def test_layers_are_behind_a_click_and_placeholders_say_so():
    assert entries_of(OUTPUT, "hidden_states") == [
        ["0", "batch 2 × seq 8 × hidden 384", "24.0 KiB"],
        ["1", "not asked for", ""],
        ["2", "batch 2 × seq 8 × hidden 384", "24.0 KiB"],
    ]
    assert all("open" not in details.attributes for details in read(OUTPUT).all("details"))


def test_entries_that_differ_show_their_dtype_and_device():
    output = Shown(attentions=(f32(2), np.zeros(3, "i8")))
    assert entries_of(output, "attentions") == [["0", "2", "f32", "cpu", "8 B"], ["1", "3", "i64", "cpu", "24 B"]]


def test_entries_of_a_dict_have_its_keys():
    output = Shown(past_key_values={"layers.0.cached_key": f32(2, 3), "cache_index": f32(2)})
    assert entries_of(output, "past_key_values") == [
        ["layers.0.cached_key", "2 × 3", "24 B"],
        ["cache_index", "2", "8 B"],
    ]


def test_what_is_not_returned_is_listed_with_what_fills_it():
    details = read(Shown(attentions=())).nodes[-1]
    assert details.tag == "details"
    assert details.one("summary").text == "not returned: loss, logits, hidden_states, past_key_values"
    assert [item.text for item in details.all("li")] == [
        "loss: returned when labels are passed",
        "logits: returned always",
        "hidden_states: returned when output_hidden_states=True",
        "past_key_values: returned when use_cache=True",
    ]
    full = Shown(loss=1, logits=1, hidden_states=1, past_key_values=1, attentions=1)
    assert [node.tag for node in read(full).nodes] == ["style", "table"]


def test_it_is_a_table_that_a_screen_reader_can_walk():
    table = next(read(OUTPUT).all("table"))
    assert [node.tag for node in table.nodes] == ["caption", "thead", "tbody"]
    heads = list(table.nodes[1].all("th"))
    assert [cell.text for cell in heads] == ["field", "shape", "dtype", "device", "size"]
    assert {cell.attributes["scope"] for cell in heads} == {"col"}
    rows = [row.nodes[0] for row in table.nodes[2].all("tr")]
    assert {(cell.tag, cell.attributes["scope"]) for cell in rows} == {("th", "row")}


# -- safety -----------------------------------------------------------------------------------------------------------

ATTACK = "<script>alert('1')</script>\"><img src=x onerror=alert(1)>&amp;</table></div>"


class HostileDtype:
    itemsize = 1

    def __str__(self) -> str:
        return ATTACK


class HostileArray:
    shape = (ATTACK, 2)
    dtype = HostileDtype()
    device = ATTACK


class HostileRepr:
    def __repr__(self) -> str:
        return ATTACK[:50]


class HostileFields(ModelOutput):
    named: Float[Array, "<script> <b>"] | None = None
    reprs: Any = None
    keys_: Any = None
    words: str | None = None
    absent: Any = None


def hostile() -> ModelOutput:
    cls = type(ATTACK, (HostileFields,), {"__module__": __name__})
    cls.__output_fields__["absent"] = _with_metadata(cls.__output_fields__["absent"], {"returned_when": ATTACK})
    return cls(named=f32(1, 2), reprs=[HostileRepr(), HostileArray()], keys_={ATTACK: f32(1)}, words=ATTACK)


def _with_metadata(field: Any, metadata: dict[str, str]) -> Any:
    import copy

    changed = copy.copy(field)
    changed.metadata = metadata
    return changed


TAGS = {"div", "style", "table", "caption", "thead", "tbody", "tr", "th", "td", "b", "i", "span", "details"}
ATTRIBUTES = {"class", "scope", "aria-label", "colspan"}


@pytest.mark.parametrize("output", [OUTPUT, hostile()], ids=["usual", "hostile"])
def test_nothing_of_an_output_is_markup(output: ModelOutput):
    root = read(output)
    tags = {node.tag for node in walk(root)}
    assert tags <= TAGS | {"summary", "ul", "li"}
    assert {name for node in walk(root) for name in node.attributes} <= ATTRIBUTES
    assert {node.attributes["class"] for node in walk(root) if "class" in node.attributes} <= {
        "modeloutputs",
        "note",
        "size",
    }


def test_hostile_text_is_shown_as_it_is():
    root = read(hostile())
    assert root.one("caption").one("b").text == ATTACK
    texts = [cell.text for cell in root.all("td")] + [cell.text for cell in root.all("th")]
    assert "<script> 1 × <b> 2" in texts
    assert ATTACK in texts
    assert f"{ATTACK[:50]}, {ATTACK} × 2" in [summary.text for summary in root.all("summary")]
    assert [item.text for item in root.all("li")] == [f"absent: returned when {ATTACK}"]


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.nodes:
        yield from walk(child)


def test_nothing_is_loaded_and_no_colour_is_set():
    html = OUTPUT._repr_html_()
    assert not re.search(r"https?:|url\(|@import|<script|<link|<iframe|javascript:", html)
    assert set(re.findall(r"(?:color|background|fill): *([^;}]+)", html)) == {"inherit", "none"}
    assert all(line.startswith(("div.modeloutputs ", "  ")) for line in style(html).strip().splitlines())


def style(html: str) -> str:
    return html.partition("<style>")[2].partition("</style>")[0]


def test_a_hundred_layers_take_no_more_room_than_twenty_four():
    sizes = [
        len(Shown(hidden_states=(f32(2, 8, 384),) * layers, attentions=(f32(2, 12, 8, 8),) * layers)._repr_html_())
        for layers in (24, 100, 1000)
    ]
    assert sizes[0] < 12_000
    assert sizes[2] - sizes[0] < 200
    assert ["", "76 more"] in entries_of(Shown(hidden_states=(f32(2, 8, 384),) * 100), "hidden_states")


def test_what_cannot_be_shown_takes_only_its_own_row():
    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    assert table_of(Shown(logits=f32(1, 2), attentions=Broken())) == [
        ["logits", "batch 1 × labels 2", "f32", "cpu", "8 B"],
        ["attentions", "cannot be shown", "Broken", "", ""],
    ]


def test_long_texts_are_cut():
    output = Shown(attentions={"k" * 10: "v" * 100_000}, past_key_values=["s" * 100_000] * 9)
    assert len(output._repr_html_()) < 8_000


def test_every_class_of_ours_is_drawn():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from modeloutputs.torch import outputs

    from ..support.random_outputs import full

    for name in outputs.__all__:
        output = full(getattr(outputs, name))
        assert [row[0] for row in table_of(output)] == list(output.keys())
        assert all(re.match(r"scalar|.*batch\S* \d", row[1]) for row in table_of(output)), name
