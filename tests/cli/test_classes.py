"""`modeloutputs classes`: what is listed, what is left out, and what is said of a framework that is not installed."""

import json

import pytest
from typer.testing import CliRunner

from modeloutputs import MissingDependencyError
from modeloutputs.cli import app
from modeloutputs.cli.facts import recorded_classes
from modeloutputs.frameworks import FRAMEWORKS, Framework

from ..support.class_facts import declared_classes
from ..support.needs import FRAMEWORK_PARAMS, INSTALLED, needs, needs_torch
from ..support.processes import run_code, run_python
from ..support.spec_checks import PAGE

needs_one = pytest.mark.skipif(not INSTALLED, reason="no framework is installed")
needs_all = needs(*FRAMEWORKS)


def lines(*arguments: str) -> list[str]:
    done = CliRunner().invoke(app, ["classes", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return [line.rstrip() for line in done.stdout.splitlines()]


def listed(*arguments: str) -> dict[str, dict[str, list[dict[str, str]]]]:
    return json.loads("\n".join(lines("--json", *arguments)))


def only_installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(Framework, "is_installed", property(lambda framework: framework.name in names))


@needs_all
def test_all_52_are_listed_and_nothing_else_is_said():
    done = run_python("-m", "modeloutputs", "classes")
    assert (done.returncode, done.stderr) == (0, "")
    printed = done.stdout.splitlines()
    assert printed[-1] == "52 classes"
    names = [line for line in printed if line.endswith("Output") or "OutputWith" in line]
    assert sorted(names) == sorted(name for classes in PAGE.values() for name in classes)
    assert [line for line in printed if line.endswith(" classes")] == [
        "19 PyTorch classes",
        "18 TensorFlow classes",
        "15 Flax classes",
        "52 classes",
    ]


@pytest.mark.parametrize("name", FRAMEWORK_PARAMS)
def test_the_facts_on_file_are_those_of_the_classes(name: str):
    recorded, declared = recorded_classes(FRAMEWORKS[name]), declared_classes(FRAMEWORKS[name])
    assert list(recorded) == list(declared)
    assert recorded == declared, "write the file anew with `make facts`"


@needs_one
def test_no_framework_is_imported_to_list_them():
    code = (
        "import sys\n"
        "from modeloutputs.cli import app\n"
        "app(['classes'], standalone_mode=False)\n"
        "print('imported:', *{'torch', 'jax', 'tensorflow'} & sys.modules.keys())"
    )
    assert run_code(code).splitlines()[-1].rstrip() == "imported:"


@needs_one
def test_json_has_every_field_of_every_class_in_the_pages_order():
    printed = listed()
    assert list(printed) == INSTALLED
    for name, classes in printed.items():
        page = {cls: [facts["name"] for facts in fields] for cls, fields in PAGE[name].items()}
        assert {cls: [field["name"] for field in fields] for cls, fields in classes.items()} == page


@needs_torch
def test_a_field_says_its_axes_and_when_it_is_returned():
    assert listed()["torch"]["SequenceClassifierOutput"] == [
        {"name": "loss", "axes": "() or (parts)", "returned_when": "labels are passed"},
        {"name": "logits", "axes": "(batch labels)", "returned_when": "always"},
        {
            "name": "hidden_states",
            "axes": "tuple of (batch seq hidden)",
            "returned_when": "output_hidden_states=True",
        },
        {
            "name": "attentions",
            "axes": "tuple of (batch heads seq seq)",
            "returned_when": "output_attentions=True",
        },
    ]
    assert lines("maskedlm")[:3] == [
        "MaskedLMOutput",
        "  loss                       () or (parts)                   labels are passed",
        "  logits                     (batch seq vocab)               always",
    ]


@needs_all
def test_a_name_filters_whatever_its_case():
    assert {name: list(classes) for name, classes in listed("withpooling").items()} == {
        "torch": ["BaseModelOutputWithPooling", "BaseModelOutputWithPoolingAndCrossAttentions"],
        "tensorflow": ["TFBaseModelOutputWithPooling", "TFBaseModelOutputWithPoolingAndCrossAttentions"],
        "jax": ["FlaxBaseModelOutputWithPooling"],
    }
    printed = lines("withpooling")
    assert [line for line in printed if line[:1].isdigit()] == [
        "2 PyTorch classes",
        "2 TensorFlow classes",
        "1 Flax class",
        "5 classes",
    ]


@needs_one
def test_a_name_that_no_class_has_lists_none():
    assert all(classes == {} for classes in listed("NoSuchClass").values())


@needs_torch
def test_a_framework_that_is_not_installed_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch):
    only_installed(monkeypatch, "torch")
    assert lines()[-3:] == [
        "19 PyTorch classes",
        "TensorFlow is not installed; install modeloutputs[tensorflow] for its classes",
        "Flax is not installed; install modeloutputs[flax] for its classes",
    ]
    assert list(listed()) == ["torch"]


def test_no_framework_at_all_is_an_error_that_names_the_extras(monkeypatch: pytest.MonkeyPatch):
    only_installed(monkeypatch)
    with pytest.raises(MissingDependencyError, match=r"install modeloutputs\[torch\] or \[tensorflow\] or \[flax\]$"):
        lines()
