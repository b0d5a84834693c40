"""Prints which test proves outputs in which machinery of which framework: `python -m tests.machinery.table`."""

import contextlib
import io
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modeloutputs.frameworks import FRAMEWORKS

HERE = Path(__file__).parent
COLUMN = 28
"""Characters of a framework's column, so that the table fits 120."""

FRAMEWORK_OF = {**{name: name for name in FRAMEWORKS}, "keras": "tensorflow"}
"""Which framework the test modules are for, by what follows `test_` in their names."""


@dataclass
class Proof:
    """One test function, over all its parameters."""

    name: str
    passed: int = 0
    failed: list[str] = field(default_factory=list[str])
    """What pytest calls those of its cases that failed."""

    @property
    def cell(self) -> str:
        """The name as the table shows it: red where a case failed, empty where every case was skipped."""
        if self.failed:
            return f"[red]{_broken(self.name)} FAILED[/red]"
        return _broken(self.name) if self.passed else ""


def _broken(name: str) -> str:
    """Break a long name after underscores."""
    lines = [""]
    for word in re.findall("[^_]+_*", name):
        if len(lines[-1]) + len(word) > COLUMN:
            lines.append("")
        lines[-1] += word
    return escape("\n".join(lines))


class Recorder:
    """A pytest plugin that keeps the outcome of every test with a machinery."""

    def __init__(self) -> None:
        self.proofs: dict[tuple[str, str], dict[str, Proof]] = {}
        self.errors: list[str] = []
        """Modules that could not be imported, and tests beside the table that failed."""
        self.skipped: dict[str, str] = {}
        """Tests and modules that did not run, each with the reason."""
        self._cells: dict[str, tuple[str, str, str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note where in the table each test belongs."""
        for item in items:
            mark = item.get_closest_marker("machinery")
            if mark is None:
                continue
            name = item.name.partition("[")[0]
            self._cells[item.nodeid] = mark.args[0], _framework_of(item.path), name

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that cannot be imported; one that skips itself, for want of its framework, is no error."""
        if report.skipped:
            self.skipped[report.nodeid] = _reason(report)
        if report.failed:
            self.errors.append(f"{report.nodeid}: {report.longreprtext.splitlines()[-1]}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test's outcome; one that failed to set up or to clean up has failed."""
        if report.skipped:
            self.skipped[report.nodeid] = _reason(report)
        if report.nodeid not in self._cells:
            if report.failed:
                self.errors.append(report.nodeid)
            return
        machinery, framework, name = self._cells[report.nodeid]
        proof = self.proofs.setdefault((machinery, framework), {}).setdefault(name, Proof(name))
        if report.failed:
            proof.failed.append(report.nodeid)
        elif report.passed and report.when == "call":
            proof.passed += 1

    @property
    def failed(self) -> list[str]:
        """What failed, of all cells."""
        return self.errors + [case for cell in self.proofs.values() for proof in cell.values() for case in proof.failed]


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    expected_failure = getattr(report, "wasxfail", None)  # whose longrepr is the traceback
    if expected_failure is not None:
        return f"expected to fail: {expected_failure}"
    return report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def _framework_of(path: Path) -> str:
    name = path.stem.removeprefix("test_")
    return next(framework for prefix, framework in FRAMEWORK_OF.items() if name.startswith(prefix))


def run_tests() -> tuple[Recorder, str]:
    """Run the tests of this folder and return what became of them, and what pytest printed."""
    recorder, printed = Recorder(), io.StringIO()
    with contextlib.redirect_stdout(printed):
        pytest.main([str(HERE), "-p", "no:cacheprovider"], plugins=[recorder])
    return recorder, printed.getvalue()


def build_table(recorder: Recorder) -> Table:
    """Lay out one line for each machinery, one column for each framework."""
    table = Table(header_style="bold", show_lines=True)
    table.add_column("machinery", max_width=23)
    for framework in FRAMEWORKS.values():
        table.add_column(framework.title + ("" if framework.is_installed else " (not installed)"), min_width=COLUMN)
    for machinery in dict.fromkeys(machinery for machinery, _ in recorder.proofs):
        cells = [recorder.proofs.get((machinery, framework), {}).values() for framework in FRAMEWORKS]
        table.add_row(machinery, *("\n".join(filter(None, (proof.cell for proof in cell))) for cell in cells))
    return table


def main() -> int:
    """Run, print, and return 1 if anything failed."""
    console = Console(width=120)
    recorder, printed = run_tests()
    console.print(build_table(recorder))
    for case, reason in recorder.skipped.items():
        console.print(f"not run: {escape(case)}: {escape(reason)}", highlight=False)
    if not recorder.failed:
        return 0
    console.print(printed, markup=False, highlight=False)
    console.print("[red]failed:[/red]", *map(escape, recorder.failed), sep="\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
