"""Names that are imported on first access."""

import importlib
from typing import Any

import pytest

import modeloutputs
from modeloutputs._lazy import lazy_attributes

from .support.needs import is_installed, needs_torch
from .support.processes import run_code


def packages() -> list[Any]:
    found = [modeloutputs]
    if is_installed("torch"):
        found.append(importlib.import_module("modeloutputs.torch"))
    return found


@pytest.mark.parametrize("package", packages(), ids=lambda package: package.__name__)
def test_every_public_name_is_there_and_listed(package: Any):
    named = {name: getattr(package, name).__name__ for name in package.__all__ if name != "ALWAYS"}
    assert named == {name: name for name in named}
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("package", packages(), ids=lambda package: package.__name__)
def test_an_unknown_name_is_an_attribute_error(package: Any):
    with pytest.raises(AttributeError, match=rf"^module '{package.__name__}' has no attribute 'BertModell'$"):
        package.BertModell  # noqa: B018  # reading it is what is tested


def test_a_name_is_looked_up_once():
    calls: list[str] = []
    get, names = lazy_attributes("modeloutputs", {"output.checking": ("check",)})
    vars(modeloutputs).pop("check", None)
    calls.append(get("check").__name__)
    assert calls == ["check"]
    assert vars(modeloutputs)["check"] is get("check")
    assert "check" in names()


@needs_torch
def test_output_classes_come_without_models():
    code = (
        "import sys, modeloutputs.torch as there\n"
        "print(there.MaskedLMOutput.__name__, 'modeloutputs.torch.bert' in sys.modules, end=' ')\n"
        "there.BertModel; print('modeloutputs.torch.bert' in sys.modules, 'modeloutputs.torch.bart' in sys.modules)"
    )
    assert run_code(code) == "MaskedLMOutput False True False"


def test_public_functions_are_functions_whatever_was_imported_before():
    code = (
        "import modeloutputs\n"
        "from modeloutputs import load\n"
        "print(*(callable(getattr(modeloutputs, name)) for name in modeloutputs.__all__ if name != 'ALWAYS'))"
    )
    assert set(run_code(code).split()) == {"True"}
