"""Classes of saved outputs: known ones are found, others are generic; nothing in a file is imported or called."""

import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeloutputs import FileFormatError, ModelOutput, load, save
from modeloutputs.files.outputs import read_saved
from modeloutputs.files.outputs.classes import class_name, find_class

from ...support.needs import needs_jax, needs_torch
from ...support.saved_files import Custom, Other, again, numbers, refusal, write_version_1


def test_a_users_class_comes_back_where_it_is_known(tmp_path: Path):
    original = Custom(states=numbers(2), name=Other(scores=1))
    loaded = again(original, tmp_path)
    assert (type(loaded), type(loaded.name)) == (Custom, Other)
    assert loaded == original


def test_an_unknown_class_is_generic_and_keeps_its_name_when_it_is_saved_again(tmp_path: Path):
    inner = {"class": "elsewhere.Inner", "fields": ["x"], "structure": {"x": {"value": 2}}}
    structure = {"states": {"array": "s"}, "name": {"output": inner}}
    described = {"class": "elsewhere.Unknown", "fields": ["states", "name"], "structure": structure}
    write_version_1(tmp_path / "old", {"s": numbers(2)}, **described)
    loaded = load(tmp_path / "old", "numpy")
    assert isinstance(loaded, ModelOutput)
    assert (type(loaded).__name__, type(loaded.name).__name__) == ("Unknown", "Inner")
    assert (loaded.states.tolist(), loaded.name.x) == ([0.0, 1.0], 2)
    assert type(load(tmp_path / "old", "numpy")) is type(loaded)
    assert load(tmp_path / "old", "numpy") == loaded
    save(loaded, tmp_path / "new")
    assert read_saved(tmp_path / "new").outputs[0].class_name == "elsewhere.Unknown"
    annotations = {"states": Any, "name": Any}
    known = type("Unknown", (ModelOutput,), {"__annotations__": annotations, "__module__": "elsewhere"})
    assert type(load(tmp_path / "new")) is known  # this process has come to know it


def test_names_and_classes_of_files_correspond():
    assert class_name(Custom) == f"{Custom.__module__}.Custom"
    assert find_class(class_name(Custom), ("states", "table", "name")) is Custom
    generic = find_class("elsewhere.Out", ("a",))
    assert class_name(generic) == "elsewhere.Out"
    assert find_class("elsewhere.Out", ("a",)) is generic
    assert find_class("elsewhere.Out", ("a", "b")) is not generic


def test_generic_classes_of_one_name_are_not_mixed_up_when_saved_again(tmp_path: Path):
    loaded: list[Any] = []
    for module, fields in (("here", ["a"]), ("there", ["b"]), ("here", ["a", "b"])):
        entry = {"class": f"{module}.Mine", "fields": fields, "structure": {fields[-1]: {"value": module}}}
        write_version_1(tmp_path / "file", {}, **entry)
        loaded.append(load(tmp_path / "file"))
    assert len({type(output) for output in loaded}) == 3
    for output, module in zip(loaded, ("here", "there", "here"), strict=True):
        back = again(output, tmp_path)
        assert type(back) is type(output)
        assert back == output
        assert read_saved(tmp_path / "file").outputs[0].class_name == f"{module}.Mine"


def test_a_class_that_has_lost_a_field_is_named(tmp_path: Path):
    name = f"{Other.__module__}.Other"
    write_version_1(
        tmp_path / "file", {}, **{"class": name}, fields=["scores", "more"], structure={"more": {"value": 1}}
    )
    with pytest.raises(FileFormatError, match=r"^the file has fields 'more', which Other does not declare$"):
        load(tmp_path / "file")
    assert load(tmp_path / "file", drop=["more"]) == Other()


def test_threads_that_load_an_unknown_class_get_the_same(tmp_path: Path):
    made = type("Foreign", (ModelOutput,), {"__annotations__": {"x": Any}, "__module__": "somewhere.else"})
    save(made(x=np.ones(1)), tmp_path / "out")
    with (tmp_path / "out").open("r+b") as file:  # a name of the same length that nobody has
        content = file.read().replace(b"Foreign", b"Unknown")
        file.seek(0)
        file.write(content)
    with ThreadPoolExecutor(16) as pool:
        loaded = list(pool.map(lambda _: load(tmp_path / "out"), range(64)))
    assert len({type(output) for output in loaded}) == 1


# -- hostile names ----------------------------------------------------------------------------------------------------


HOSTILE = [
    "trap.Out",
    "trap.Out.more",
    "modeloutputs.torch.os",
    "modeloutputs.torch.outputs.Tensor",
    "modeloutputs.torch.outputs.ModelOutput",
    "modeloutputs.torch.outputs.__class__",
    "modeloutputs.torch.outputs.SequenceClassifierOutput.check",
    "modeloutputs.torch..outputs.SequenceClassifierOutput",
    "modeloutputs.flax.trap.Out",
    "modeloutputs.cli.main",
    "modeloutputs.files.outputs.load",
    "modeloutputs.ModelOutput",
    "os.system",
    "builtins.exec",
    "subprocess.Popen",
    "__class__",
    "__main__.load",
    "",
    ".",
    "trap.",
    "trap.Out\n",
    "trap\n.Out",
    "trap.Out()",
    "trap.print('sprung')",
    "trap.a b",
    "x" * 100_000,
]


class ImportRecorder:
    """Records what is about to be imported."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        self.names.append(name)


@pytest.fixture(name="imported")
def fixture_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lay a trap on the path, and give the list of what gets imported from now on."""
    (tmp_path / "trap.py").write_text("open('sprung', 'w')\nclass Out: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for module in [module for module in sys.modules if module.partition(".")[0] == "typer" or ".cli" in module]:
        monkeypatch.delitem(sys.modules, module)  # what is imported already would not be seen
    recorder = ImportRecorder()
    monkeypatch.setattr(sys, "meta_path", [recorder, *sys.meta_path])
    return recorder.names


def test_an_import_would_be_seen(tmp_path: Path, imported: list[str]):
    importlib.import_module("trap")
    importlib.import_module("modeloutputs.cli")
    assert imported[0] == "trap"
    assert "modeloutputs.cli" in imported
    assert (tmp_path / "sprung").exists()
    del sys.modules["trap"]


@needs_jax
@needs_torch
@pytest.mark.parametrize("framework", [None, "jax"])
@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: repr(name[:30]))
def test_no_name_in_a_file_is_imported_or_called(name: str, framework: str | None, tmp_path: Path, imported: list[str]):
    find_class("modeloutputs.torch.unknown", ())  # imports the framework's models, as any file of theirs does
    find_class("modeloutputs.flax.unknown", ())
    write_version_1(tmp_path / "file", {}, **{"class": name}, fields=["a"], structure={"a": {"value": 1}})
    last = name.rpartition(".")[2]
    if last.isidentifier() and name.isprintable() and len(name) < 1000:
        loaded = load(tmp_path / "file", framework)
        assert type(loaded).__mro__[1] is ModelOutput
        assert (type(loaded).__module__, type(loaded).__name__) == ("modeloutputs.files.outputs", last)
        assert loaded.to_dict() == {"a": 1}
    else:
        refusal(tmp_path / "file", framework=framework)
    roots = {module.partition(".")[0] for module in imported}
    assert not roots & {"trap", "typer"}
    assert "modeloutputs.cli" not in imported
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "field",
    ["a b", "", "class", "None", "a\nb", "a=0):\n  import trap #", "__init__", "__self", "__del__", "__post_init__",
     "__class__", "__slots__", "keys", "unflatten", "__output_fields__", "\ufb01"],
)  # fmt: skip
def test_no_field_of_a_file_becomes_code_or_a_method(field: str, tmp_path: Path):
    write_version_1(tmp_path / "file", {}, **{"class": "a.B"}, fields=["fi", field], structure={"fi": {"value": 1}})
    with pytest.raises(FileFormatError) as caught:
        load(tmp_path / "file")
    assert "\n" not in str(caught.value)
