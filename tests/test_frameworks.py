"""The table of frameworks, and that none of them needs another to be installed."""

import sys
from pathlib import Path

import pytest

from modeloutputs import MissingDependencyError
from modeloutputs.frameworks import FRAMEWORKS, Framework

from .support.needs import FRAMEWORK_PARAMS, needs_jax
from .support.processes import run_code
from .support.spec_checks import PAGE

ABSENT = Framework("no_such_framework", "Nothing", "No", "nothing")
every_framework = pytest.mark.parametrize("name", FRAMEWORKS)
every_installed_framework = pytest.mark.parametrize("name", FRAMEWORK_PARAMS)

# What no folder but its own may need. `keras` is not among them: TensorFlow brings it and imports it when it is used.
NOT_NEEDED = {*FRAMEWORKS, "flax", "transformers", "tf_keras"}


def run_with(fakes: Path, code: str) -> list[str]:
    """Run code where the modules in `fakes` are found before the real ones; return the lines printed."""
    return run_code(f"import sys; sys.path.insert(0, {str(fakes)!r})\n{code}").splitlines()


def without(folder: Path, *modules: str) -> Path:
    """Write modules that say that they were imported and then are not there."""
    for module in modules:
        (folder / f"{module}.py").write_text(
            f"print('imported {module}')\nraise ModuleNotFoundError({f'No module named {module!r}'!r}, name={module!r})"
        )
    return folder


# -- the table --------------------------------------------------------------------------------------------------------


def test_the_page_has_52_classes():
    assert {name: len(classes) for name, classes in PAGE.items()} == {"torch": 19, "tensorflow": 18, "jax": 15}
    assert sum(map(len, PAGE.values())) == 52


@every_framework
def test_class_names_begin_with_the_frameworks_prefix(name: str):
    prefix = FRAMEWORKS[name].prefix
    others = tuple(other.prefix for other in FRAMEWORKS.values() if other.prefix not in ("", prefix))
    assert all(cls.startswith(prefix) and not cls.startswith(others) for cls in PAGE[name])


def test_every_framework_is_found_by_its_own_name():
    assert {name: framework.name for name, framework in FRAMEWORKS.items()} == {name: name for name in FRAMEWORKS}
    assert [framework.module for framework in FRAMEWORKS.values()] == [
        "modeloutputs.torch.outputs",
        "modeloutputs.tensorflow.outputs",
        "modeloutputs.flax.outputs",
    ]


@every_installed_framework
def test_the_module_of_outputs_is_the_folders(name: str):
    outputs = FRAMEWORKS[name].import_outputs()
    assert outputs.__name__ == FRAMEWORKS[name].module
    assert sorted(outputs.__all__) == sorted(PAGE[name])


def test_a_missing_framework_is_refused_naming_its_extra():
    assert not ABSENT.is_installed
    with pytest.raises(MissingDependencyError, match=r"^Nothing is not installed; install modeloutputs\[nothing\]$"):
        ABSENT.import_outputs()


def test_a_module_that_is_imported_is_installed(monkeypatch: pytest.MonkeyPatch):
    # Some are, with no file to be found: a frozen program, a stub of a test.
    monkeypatch.setitem(sys.modules, ABSENT.name, pytest)
    assert ABSENT.is_installed


def test_asking_what_is_installed_imports_nothing(tmp_path: Path):
    code = (
        "from modeloutputs.frameworks import FRAMEWORKS\n"
        "print([framework.is_installed for framework in FRAMEWORKS.values()])"
    )
    assert run_with(without(tmp_path, *FRAMEWORKS), code) == ["[True, True, True]"]


# -- independence -----------------------------------------------------------------------------------------------------

# What a framework tries to import of its own accord (TensorFlow tries JAX) is not ours to answer for.
REPORT = """
import {framework}
print("ours:")
import modeloutputs.{folder} as folder
print(len(folder.outputs.__all__), sorted({others} & sys.modules.keys()))
"""


@every_installed_framework
def test_a_folder_imports_no_other_framework_and_needs_none(name: str, tmp_path: Path):
    framework = FRAMEWORKS[name]
    others = NOT_NEEDED - {name, framework.folder}
    code = REPORT.format(framework=name, folder=framework.folder, others=others)
    printed = run_with(without(tmp_path, *others), code)
    assert printed[printed.index("ours:") + 1 :] == [f"{len(PAGE[name])} []"]


def test_the_test_above_can_fail(tmp_path: Path):
    code = "try:\n    import torch\nexcept ImportError as error:\n    print(error)"
    assert run_with(without(tmp_path, "torch"), code) == ["imported torch", "No module named 'torch'"]


def test_a_missing_framework_is_one_line_that_names_the_extra(tmp_path: Path):
    code = """
for folder in ("torch", "tensorflow", "flax"):
    try:
        __import__(f"modeloutputs.{folder}")
    except ImportError as error:
        print(type(error).__name__, error)
"""
    printed = [line for line in run_with(without(tmp_path, *FRAMEWORKS), code) if not line.startswith("imported ")]
    assert printed == [
        "MissingDependencyError modeloutputs.torch needs PyTorch; install modeloutputs[torch]",
        "MissingDependencyError modeloutputs.tensorflow needs TensorFlow; install modeloutputs[tensorflow]",
        "MissingDependencyError modeloutputs.flax needs JAX; install modeloutputs[flax]",
    ]


@needs_jax
def test_where_jax_is_and_flax_is_not_a_model_is_one_line_and_outputs_are_there(tmp_path: Path):
    code = """
import modeloutputs.flax as there
print(there.FlaxBaseModelOutput.__name__)
try:
    there.FlaxBertModel
except ImportError as error:
    print(type(error).__name__, error)
"""
    assert run_with(without(tmp_path, "flax"), code) == [
        "FlaxBaseModelOutput",
        "imported flax",
        "MissingDependencyError modeloutputs.flax.FlaxBertModel needs Flax; install modeloutputs[flax]",
    ]
