"""Python in processes of its own: what an import order, a fresh interpreter or the command line does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_python(
    *arguments: object, cwd: Path = ROOT, stdin: str | None = None, seconds: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the interpreter with these arguments, as `-c CODE` or `-m MODULE`, and variables added to the environment."""
    command = [sys.executable, *map(str, arguments)]
    variables = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"} | environment
    return subprocess.run(
        command, cwd=cwd, env=variables, input=stdin, capture_output=True, text=True, timeout=seconds, check=False
    )


def python(*arguments: object, cwd: Path = ROOT, **environment: str) -> str:
    """Run the interpreter and return what it prints, without white space around; errors fail the test."""
    done = run_python(*arguments, cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run_code(code: str, *arguments: object, cwd: Path = ROOT, **environment: str) -> str:
    """Run code and return what it prints, without white space around; errors fail the test."""
    return python("-c", code, *arguments, cwd=cwd, **environment)
