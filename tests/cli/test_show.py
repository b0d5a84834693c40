"""`modeloutputs show`: a file with one output, with several of any classes, with none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from modeloutputs import ModelOutput, save
from modeloutputs.cli import app

from ..support.needs import needs
from ..support.processes import run_python
from ..support.random_outputs import class_named, full


class Custom(ModelOutput):
    states: Any = None
    name: Any = None


def show(path: Path, *arguments: str) -> list[str]:
    done = CliRunner().invoke(app, ["show", str(path), *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return [line.rstrip() for line in done.stdout.splitlines()]


def custom() -> Custom:
    return Custom(states=np.zeros((2, 3), np.float32), name="n")


def shown(output: ModelOutput, folder: Path) -> list[str]:
    """Return what is printed of one output alone."""
    save(output, folder / "alone")
    return show(folder / "alone")


def assert_shows_custom(lines: list[str]) -> None:
    assert lines[0].split()[0] == "Custom"
    (states,) = (line for line in lines if line.startswith("states"))
    assert "f32" in states
    (name,) = (line for line in lines if line.startswith("name"))
    assert "'n'" in name


def test_an_output_of_a_users_class(tmp_path: Path):
    assert_shows_custom(shown(custom(), tmp_path))
    printed = json.loads("\n".join(show(tmp_path / "alone", "--json")))
    assert printed["class"] == "Custom"
    assert {name: field["value"] for name, field in printed["fields"].items()} == {"states": "f32[2,3]", "name": "'n'"}


def test_an_output_whose_class_is_not_known_here(tmp_path: Path):
    save(custom(), tmp_path / "file")
    done = run_python("-m", "modeloutputs", "show", tmp_path / "file")
    assert_shows_custom(done.stdout.splitlines())
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_list_of_any_length_one_after_the_other(count: int, tmp_path: Path):
    save([custom()] * count, tmp_path / "file")
    assert show(tmp_path / "file") == shown(custom(), tmp_path) * count


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("SequenceClassifierOutput", marks=needs("torch")),
        pytest.param("TFTokenClassifierOutput", marks=needs("tensorflow")),
        pytest.param("FlaxSequenceClassifierOutput", marks=needs("jax")),
    ],
)
def test_a_list_of_several_classes(name: str, tmp_path: Path):
    output = full(class_named(name), n=3).map(np.asarray)  # as a list of several frameworks' arrays is read back
    save([custom(), output], tmp_path / "file")
    lines = shown(output, tmp_path)
    assert show(tmp_path / "file") == shown(custom(), tmp_path) + lines
    assert lines[0].split()[0] == name
    assert set(output.keys()) <= {line.split()[0] for line in lines}
    losses = np.asarray(output.get("loss", ())).reshape(-1)
    wanted = ["loss " + ", ".join(f"{loss:.4f}" for loss in losses)] if losses.size else []
    assert lines[len(lines) - len(wanted) :] == wanted


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 100, np.random.default_rng(0).bytes(500)], ids=range(4))
def test_what_is_no_such_file_is_one_line(content: bytes, tmp_path: Path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=str(tmp_path)) as caught:
        show(tmp_path / "file")
    assert len(str(caught.value).splitlines()) == 1


def test_a_list_is_one_json_list_for_programs(tmp_path: Path):
    save([custom(), custom()], tmp_path / "file")
    printed = json.loads("\n".join(show(tmp_path / "file", "--json")))
    assert [output["class"] for output in printed] == ["Custom", "Custom"]


def test_a_note_that_is_none_of_ours_is_no_prediction(tmp_path: Path):
    save(custom(), tmp_path / "file", notes={"predictions": "not JSON"})
    assert_shows_custom(show(tmp_path / "file"))
    assert json.loads("\n".join(show(tmp_path / "file", "--json")))["predictions"] == []


def test_a_loss_noted_beside_the_output_is_shown_as_one(tmp_path: Path):
    save(custom(), tmp_path / "file", notes={"loss": "0.25", "author": "me"})
    assert show(tmp_path / "file")[-2:] == ["loss 0.2500", "note author: me"]
    assert json.loads("\n".join(show(tmp_path / "file", "--json")))["loss"] == 0.25
    for other in ("high", "[1]"):
        save(custom(), tmp_path / "file", notes={"loss": other})
        assert show(tmp_path / "file")[-1] == f"note loss: {other}"
    save([custom()], tmp_path / "file", notes={"loss": "0.25"})
    assert show(tmp_path / "file")[-1] == "note loss: 0.25"
