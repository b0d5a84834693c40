import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

INFERENCE = Path(__file__).parent / "typing" / "inference.py"

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"),
]


def diagnostics(folder: Path, source: str) -> list[str]:
    """Run pyright in strict mode on a source and return what it reports as `rule: first line of message`."""
    (folder / "inference.py").write_text(source)
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "include": ["inference.py"]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    run = subprocess.run([*command, "--project", str(folder)], capture_output=True, text=True, check=False)
    assert run.stdout.startswith("{"), run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    return [f"{item.get('rule')}: {item['message'].splitlines()[0]}" for item in report["generalDiagnostics"]]


def test_pyright_infers_what_the_classes_promise(tmp_path: Path):
    assert diagnostics(tmp_path, INFERENCE.read_text()) == []


def test_the_test_above_can_fail(tmp_path: Path):
    source = INFERENCE.read_text()
    wrong = source.replace("assert_type(output.logits, Tensor)", "assert_type(output.logits, str)")
    needless = wrong.replace("output.loss = tensor\n", "output.loss = tensor  # pyright: ignore[reportCallIssue]\n")
    assert [line.split(":")[0] for line in diagnostics(tmp_path, needless)] == [
        "reportAssertTypeFailure",
        "reportUnnecessaryTypeIgnoreComment",
    ]
