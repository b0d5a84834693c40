"""Classes of saved outputs: known ones are found, others are generic; nothing in a file is imported or called."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeloutputs import FileFormatError, ModelOutput, load, save
from modeloutputs.files.outputs import read_saved
from modeloutputs.files.outputs.classes import class_name, find_class

from ...support.needs import needs_jax, needs_torch
from ...support.processes import run_code
from ...support.saved_files import Custom, Other, again, numbers, write_version_1


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


HOSTILE_CODE = """
import json, pathlib, sys
import modeloutputs
modeloutputs.load("users")
print(sorted(sys.modules.keys() & {"tests", "torch", "jax", "tensorflow"}))
for path in sorted(pathlib.Path(sys.argv[1]).glob("file*"), key=lambda path: int(path.name[4:])):
    for framework in (None, "jax"):
        try:
            loaded = modeloutputs.load(path, framework)
            assert type(loaded).__mro__[1] is modeloutputs.ModelOutput
            assert type(loaded).__module__ == "modeloutputs.files.outputs"
            print(json.dumps([type(loaded).__name__, loaded.to_dict()]))
        except modeloutputs.FileFormatError as error:
            assert len(str(error).splitlines()) == 1 and len(str(error)) < 600, error
            print(json.dumps([]))
print(sorted(sys.modules.keys() & {"trap", "modeloutputs.cli", "modeloutputs.torch.os", "typer"}))
"""


@needs_jax
@needs_torch
def test_no_name_in_a_file_is_imported_or_called(tmp_path: Path):
    for name in ("trap", "typer"):
        (tmp_path / f"{name}.py").write_text("open('sprung', 'w')\nclass Out: pass\n")
    for i, name in enumerate(HOSTILE):
        write_version_1(tmp_path / f"file{i}", {}, **{"class": name}, fields=["a"], structure={"a": {"value": 1}})
    save(Custom(states=numbers(2)), tmp_path / "users")
    early, *printed, imported = run_code(HOSTILE_CODE, tmp_path, cwd=tmp_path).splitlines()
    assert early == "[]"
    found = [json.loads(line) for line in printed]
    for name, results in zip(HOSTILE, zip(found[::2], found[1::2], strict=True), strict=True):
        last = name.rpartition(".")[2]
        wanted = [last, {"a": 1}] if last.isidentifier() and name.isprintable() and len(name) < 1000 else []
        assert results == (wanted, wanted), name
    assert imported == "[]"
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
