"""The command line called in this process, as the console script calls it."""

import io
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from modeloutputs.cli import main


@dataclass
class Done:
    """What a call printed and returned."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines printed, without the spaces that fill a table's last column."""
        return [line.rstrip() for line in self.out.splitlines()]


Call = Callable[..., Done]


@pytest.fixture(name="call")
def fixture_call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs the command line on arguments and standard input."""

    def call(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["modeloutputs", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        # What `main` changes for its process is undone after the test.
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.resetwarnings()  # pytest's filters turn some into errors
            with pytest.raises(SystemExit) as left:
                main()
        out, err = capsys.readouterr()
        return Done(left.value.code if isinstance(left.value.code, int) else 0, out, err)

    return call
