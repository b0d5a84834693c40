"""Outputs in terminals, printed with rich."""

import io
from typing import Any

import numpy as np
import pytest
import rich
from jaxtyping import Float
from rich.console import Console

from modeloutputs import ALWAYS, ModelOutput

from ..support.processes import python, run_code

Array = np.ndarray[Any, Any]


class Shown(ModelOutput):
    loss: Float[Array, ""] | None = None
    logits: Float[Array, "batch labels"] = ALWAYS
    hidden_states: tuple[Float[Array, "batch seq hidden"] | None, ...] | None = None
    anything: Any = None


def f32(*shape: int) -> Any:
    return np.zeros(shape, "f4")


def printed(output: Any, width: int = 100, **options: Any) -> list[str]:
    console = Console(width=width, file=io.StringIO(), **options)
    console.print(output)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # pyright: ignore[reportAttributeAccessIssue]


def test_a_field_is_a_row_and_layers_are_counted():
    states = tuple(f32(2, 8, 384) for _ in range(13))
    assert printed(Shown(loss=f32(), logits=f32(2, 3), hidden_states=states)) == [
        "Shown  312 KiB",
        "field          shape                                dtype  device      size",
        "loss           scalar                               f32    cpu          4 B",
        "logits         batch=2 x labels=3                   f32    cpu         24 B",
        "hidden_states  13 x (batch=2 x seq=8 x hidden=384)  f32    cpu      312 KiB",
        "not returned: anything",
    ]


def test_a_hundred_layers_are_as_high_as_one():
    output = Shown(hidden_states=(f32(2, 8, 384),) * 100)
    assert len(printed(output)) == len(printed(Shown(hidden_states=(f32(2, 8, 384),))))
    assert len(printed(Shown(anything=[f32(i) for i in range(1000)]))) <= 9


def test_rich_print_needs_no_more(capsys: pytest.CaptureFixture[str]):
    rich.print(Shown(logits=f32(2, 3)))
    assert capsys.readouterr().out.splitlines()[0].split() == ["Shown", "24", "B"]


def test_markup_and_escapes_in_values_are_text():
    cls = type("[bold red]Evil[/]", (Shown,), {"__module__": __name__})
    lines = printed(cls(anything="[link=x]\x1b[31mred"), force_terminal=True, color_system=None)
    assert lines[0].startswith("[bold red]Evil[/]")
    assert any(r"'[link=x]\x1b[31mred'" in line for line in lines)
    assert not any("\x1b[31m" in line for line in lines)


def test_a_name_is_never_broken_from_its_size():
    lines = printed(Shown(hidden_states=(f32(2, 8, 384),) * 13), width=56)
    shape = " ".join(line[15:34].strip() for line in lines[2:-1])
    assert shape == "13 x (batch=2 x seq=8 x hidden=384)"


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int):
    output = Shown(hidden_states=(f32(2, 8, 384), None) * 13, anything="x" * 999)
    assert max(map(len, printed(output, width))) <= width


def test_signs_are_those_that_every_terminal_has():
    code = (
        "import numpy, rich\n"
        "from modeloutputs import ModelOutput\n"
        "class Shown(ModelOutput):\n    a: object = None\n"
        "rich.print(Shown(a=[numpy.zeros(i) for i in range(99)]))"
    )
    printed = python("-X", "utf8=0", "-c", code, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert printed.isascii()
    assert printed.splitlines()[0].split() == ["Shown", "37.9", "KiB"]


def test_rich_is_imported_when_something_is_printed_and_not_before():
    code = "import sys, modeloutputs; print('rich' in sys.modules, 'modeloutputs.display.table' in sys.modules)"
    assert run_code(code) == "False False"


class Many(ModelOutput):
    states: Any = None


def test_many_dtypes_are_printed_where_there_are_few_signs():
    kinds = [np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)] + [
        np.dtype(f"f{n}") for n in (2, 4, 8)
    ]
    output = Many(states=tuple(np.zeros(1, kind) for kind in [*kinds, np.dtype(bool), np.dtype("c8"), np.dtype("c16")]))
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=file, width=100).print(output)
    file.flush()
    assert b"..." in file.buffer.getvalue()
