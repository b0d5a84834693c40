"""The examples in docstrings run and print what they say; public functions have one."""

import doctest
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import modeloutputs
from modeloutputs.frameworks import FRAMEWORKS

SOURCES = Path(modeloutputs.__file__).parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

# Framework by the names under which examples import it or what is built on it.
FRAMEWORK_OF = {"torch": "torch", "tensorflow": "tensorflow", "keras": "tensorflow", "jax": "jax", "flax": "jax"}
ABSENT = {name for name, framework in FRAMEWORK_OF.items() if not FRAMEWORKS[framework].is_installed}


def module_name(file: Path) -> str:
    parts = file.relative_to(SOURCES.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES_WITH_EXAMPLES = [
    module_name(file) for file in sorted(SOURCES.rglob("*.py")) if ">>> " in file.read_text("utf-8")
]


def import_or_skip(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if ABSENT and re.search("|".join([*ABSENT, "not installed", "needs"]), str(error)):
            pytest.skip(str(error))
        raise


def frameworks_needed(test: doctest.DocTest) -> set[str]:
    """Return the absent packages that an example's lines name."""
    return {name for name in ABSENT for example in test.examples if re.search(rf"\b{name}\b", example.source)}


@pytest.mark.parametrize("name", MODULES_WITH_EXAMPLES)
def test_examples_print_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = import_or_skip(name)
    monkeypatch.chdir(tmp_path)  # an example may write files
    tests = [test for test in doctest.DocTestFinder().find(module, name) if test.examples]
    assert tests, f"{name} has lines that look like examples, but doctest finds none"
    runnable = [test for test in tests if not frameworks_needed(test)]
    if not runnable:
        pytest.skip(f"needs {', '.join(sorted(set().union(*map(frameworks_needed, tests))))}")
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for test in runnable:
        runner.run(test, out=report.append)
    assert not report, "".join(report)


def test_a_wrong_example_is_found():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append)
    assert "Expected:\n    3\nGot:\n    2" in "".join(report)


def test_public_functions_have_an_example():
    functions = {name: getattr(modeloutputs, name) for name in modeloutputs.__all__}
    lacking = {name for name, it in functions.items() if inspect.isfunction(it) and ">>> " not in (it.__doc__ or "")}
    assert lacking == set()
