"""What reaches the terminal: control characters escaped, nothing wrapped in a pipe."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modeloutputs import ModelOutput, save
from modeloutputs.cli.screen import escape_for_terminal, print_json

from ..support.needs import INSTALLED
from .conftest import Call

EVIL = "\x1b[2Jred\x07\x9b31m\u202eabc\r\n\u2028"


class Odd(ModelOutput):
    states: object = None
    name: object = None


def controls(text: str) -> list[str]:
    return [kept for kept in text if not kept.isprintable() and kept != "\n"]


def test_what_a_file_holds_reaches_the_terminal_escaped(call: Call, tmp_path: Path):
    file = tmp_path / "out.safetensors"
    save(Odd({EVIL: np.ones(2)}, EVIL), file, notes={f"note{EVIL}": EVIL, "predictions": json.dumps([EVIL])})
    assert controls(repr(Odd({EVIL: 1}, EVIL))) == []
    done = call("show", str(file))
    assert controls(done.out) == []
    assert done.status == 0
    printed = call("show", str(file), "--json").out
    assert controls(printed) == []
    assert json.loads(printed)["predictions"] == [EVIL]
    assert json.loads(printed)["notes"] == {f"note{EVIL}": EVIL}


def test_an_error_about_a_file_is_escaped(call: Call, tmp_path: Path):
    file = tmp_path / "a\x1b[31m\nb"
    assert controls(call("show", str(file)).err.removesuffix("\n")) == []
    assert call("show", str(file)).err.count("\n") == 1


def test_json_keeps_its_meaning(capsys: pytest.CaptureFixture[str]):
    value = {"café 中": EVIL, "b": [1.5, None, "\ud800"]}
    print_json(value)
    printed = capsys.readouterr().out
    assert "café 中" in printed
    assert json.loads(printed) == value
    assert controls(printed) == []


def test_generated_text_is_escaped_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch):
    assert escape_for_terminal("a\x1b\n\tb") == "a\x1b\n\tb"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert escape_for_terminal("a\x1b\n\tb") == "a\\x1b\n\tb"


def test_notes_of_a_list_are_shown_once(call: Call, tmp_path: Path):
    file = tmp_path / "out.safetensors"
    save([Odd(np.ones(2)), Odd(np.ones(3))], file, notes={"model": "tiny"})
    lines = call("show", str(file)).lines
    assert lines[-1] == "note model: tiny"
    assert sum(line.startswith("note") for line in lines) == 1
    assert [entry["notes"] for entry in json.loads(call("show", str(file), "--json").out)] == [{"model": "tiny"}] * 2


@pytest.mark.skipif(not INSTALLED, reason="no framework is installed")
def test_nothing_is_wrapped_in_a_pipe(call: Call):
    lines = call("classes", "BaseModelOutputWithPastAndCrossAttentions").lines
    assert any(line.startswith("  past_key_values ") and line.endswith("use_cache=True") for line in lines)
    fields = [line for line in lines if line.startswith(" ")]
    assert all(line[:2] == "  " and line[2] != " " for line in fields)


# -- the system's faults, in processes ---------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "modeloutputs"]


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = " ".join(COMMAND)
    return subprocess.run(
        ["bash", "-c", line.format(command=command)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_faults_of_the_system_are_one_line(tmp_path: Path):
    save(Odd(np.ones(2)), tmp_path / "out.safetensors")
    full = shell("{command} show out.safetensors > /dev/full", tmp_path)
    assert (full.returncode, full.stderr) == (1, "error: No space left on device\n")
    gone = shell("set -o pipefail; {command} show out.safetensors | true", tmp_path)
    assert (gone.returncode in (0, 1), gone.stderr) == (True, "")


def test_what_the_system_refuses_is_one_line(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "out"))

    monkeypatch.setattr(sys.modules["modeloutputs.cli.show"], "read_saved", refuse)
    done = call("show", "out")
    assert (done.status, done.err) == (1, f"error: {str(tmp_path / 'out')!r}: Permission denied\n")


def test_wrong_options_exit_with_status_2(call: Call):
    assert call("run").status == 2
    assert call("no-such-command").status == 2
