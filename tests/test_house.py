"""The structure of the source: no circles, no unexported names across modules, small functions and files."""

import ast
from pathlib import Path

import pytest

from .support import house


def test_no_modules_import_each_other():
    assert house.circles() == []


def test_only_exported_names_cross_modules():
    assert house.unexported() == []


def test_every_exported_name_exists():
    for name, path in house.modules().items():
        defined = {
            target
            for node in ast.parse(path.read_text("utf-8")).body
            for target in (
                [node.name]
                if isinstance(node, (ast.FunctionDef, ast.ClassDef))
                else [alias.asname or alias.name for alias in node.names]
                if isinstance(node, ast.ImportFrom)
                else [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
            )
        }
        lazy = path.name == "__init__.py"  # names that are imported on first access stand under TYPE_CHECKING
        assert lazy or (house.exported(path) or set()) <= defined, name


@pytest.mark.parametrize("concept", house.CONCEPTS, ids=lambda concept: concept.name)
def test_each_concept_has_one_owner(concept: house.Concept):
    assert house.strangers(concept) == []
    assert set(concept.owners) <= house.modules().keys()


def test_functions_and_files_are_small():
    functions = {name: lines for name, lines in house.function_lengths().items() if lines > 30}
    files = {name: lines for name, lines in house.file_lengths(house.SOURCES).items() if lines > 400}
    assert functions | files == {}


def test_type_only_imports_inside_functions_and_of_packages_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "modeloutputs"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("from .a import A\n__all__ = ['A']")
    (package / "inner" / "a.py").write_text("if TYPE_CHECKING:\n    from ..b import hidden\n__all__ = ['A']\nA = 1")
    (package / "b.py").write_text("__all__ = []\ndef hidden():\n    from .inner import a\n")
    monkeypatch.setattr(house, "SOURCES", tmp_path)
    assert house.circles() == [["b", "inner.a"]]
    assert house.unexported() == [house.Import("inner.a", "b", "hidden")]
