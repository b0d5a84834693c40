"""Which framework's models are run, and what is said where it is missing."""

import sys

import pytest

from modeloutputs import MissingDependencyError
from modeloutputs.cli.wings import FrameworkName, load_wing

from ...support.processes import run_python
from ..conftest import Call

COMMANDS = {"run": "--text", "generate": "--prompt"}


@pytest.mark.parametrize("command", COMMANDS)
def test_tensorflow_has_no_models_yet(call: Call, command: str):
    done = call(command, "--model", "m", COMMANDS[command], "a", "--framework", "tensorflow")
    assert (done.status, done.out) == (1, "")
    assert done.err == "error: --framework is tensorflow, which has no models yet; expected torch or flax\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_framework_that_there_is_not_is_a_wrong_option(call: Call, command: str):
    done = call(command, "--model", "m", COMMANDS[command], "a", "--framework", "mxnet")
    assert done.status == 2
    assert "'mxnet' is not one of 'torch', 'flax', 'tensorflow'" in " ".join(done.err.replace("│", " ").split())


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let frameworks be missing."""
    for name in names:
        package = {"flax": "jax"}.get(name, name)
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, f"modeloutputs.cli.wings.{name}", raising=False)
        monkeypatch.delitem(sys.modules, f"modeloutputs.{name}", raising=False)
        monkeypatch.delattr(sys.modules["modeloutputs.cli.wings"], name, raising=False)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["torch", "flax"])
def test_a_missing_framework_is_one_line_that_names_the_extra(
    call: Call, monkeypatch: pytest.MonkeyPatch, name: str, command: str
):
    hide(monkeypatch, "torch", "flax")
    done = call(command, "--model", "m", COMMANDS[command], "a", "--framework", name)
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.startswith(f"error: running a model needs modeloutputs[{name}] (")


def test_another_framework_that_is_there_is_offered(monkeypatch: pytest.MonkeyPatch):
    hide(monkeypatch, "torch")
    monkeypatch.setitem(sys.modules, "jax", sys)  # whether or not it is installed here
    with pytest.raises(
        MissingDependencyError, match=r"^running a model needs modeloutputs\[torch\] or --framework flax"
    ):
        load_wing(FrameworkName.TORCH)


def test_what_the_commands_share_imports_no_framework():
    code = (
        "import sys, modeloutputs.cli.tasks, modeloutputs.cli.session\n"
        "print(sorted({'torch', 'jax', 'flax', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert run_python("-c", code).stdout == "[]\n"
