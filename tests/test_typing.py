"""What type checkers infer about outputs."""

import json
import sys
from pathlib import Path

import pytest

from .support.needs import needs
from .support.processes import run_python

INFERENCE = (Path(__file__).parent / "typing" / "inference.py").read_text()
WRONG = INFERENCE.replace("assert_type(output.logits, Tensor)", "assert_type(output.logits, str)").replace(
    "output.loss = tensor\n", "output.loss = tensor  # pyright: ignore[reportCallIssue]\n"
)

pytestmark = needs("pyright", "torch")


@pytest.fixture(name="diagnostics", scope="module")
def fixture_diagnostics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Run pyright once in strict mode; by source, what it reports as `rule: first line of message`."""
    folder = tmp_path_factory.mktemp("typing")
    sources = {"inference.py": INFERENCE, "wrong.py": WRONG}
    for name, source in sources.items():
        (folder / name).write_text(source)
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "include": list(sources)}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    run = run_python("-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "--project", folder)
    assert run.stdout.startswith("{"), run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert report["summary"]["filesAnalyzed"] == len(sources)
    found: dict[str, list[str]] = {name: [] for name in sources}
    for item in report["generalDiagnostics"]:
        found[Path(item["file"]).name].append(f"{item.get('rule')}: {item['message'].splitlines()[0]}")
    return found


def test_pyright_infers_what_the_classes_promise(diagnostics: dict[str, list[str]]):
    assert diagnostics["inference.py"] == []


def test_the_test_above_can_fail(diagnostics: dict[str, list[str]]):
    assert [line.split(":")[0] for line in diagnostics["wrong.py"]] == [
        "reportAssertTypeFailure",
        "reportUnnecessaryTypeIgnoreComment",
    ]
