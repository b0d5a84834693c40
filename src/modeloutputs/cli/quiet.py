"""Keeps TensorFlow's start-up log lines off the user's terminal; no environment variable hides them all."""

import functools
import importlib.machinery
import os
import re
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import ModuleType

__all__ = ["hide_startup_logs", "is_startup_log"]

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_STDERR = 2

# The two forms in which TensorFlow's C++ code logs, after and before absl is initialised; the severity is captured.
_LOG = re.compile(rb"(?:\d{4}-\d\d-\d\d [\d:.]+: ([IWEF]) |([IWEF])\d{4} [\d:.]+ +\d+ )\S+:\d+\] ")
_CHATTER = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|To enable the following instructions: .* rebuild TensorFlow"
    rb"|.*Unable to register cu\w+ factory"  # logged as an error whenever two libraries bring CUDA
)


def hide_startup_logs() -> None:
    """Hide what TensorFlow logs of processor and devices, whichever module imports it later; errors are shown.

    `TF_CPP_MIN_LOG_LEVEL=0` in the environment shows everything.
    """
    if os.environ.setdefault(_LEVEL, "2") != "0":
        # After the finders before Python's own: that of `modeloutputs.pytrees` asks those after it.
        finders = sys.meta_path
        finders.insert(finders.index(importlib.machinery.PathFinder), _QuietFinder())


def is_startup_log(line: bytes) -> bool:
    """Return whether a line of standard error is information or a warning that TensorFlow logs as it is imported."""
    match = _LOG.match(line)
    return bool(_CHATTER.match(line)) or (match is not None and (match[1] or match[2]) in b"IW")


class _QuietFinder:
    """Finds `tensorflow` as Python does, and filters standard error while it is imported."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name == "tensorflow" else None
        if spec is not None and spec.loader is not None:
            run = functools.partial(_run_filtered, spec.loader.exec_module)
            spec.loader.exec_module = run  # on this one loader, whose other methods the module may use
        return spec


def _run_filtered(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    with _filtered_stderr():
        execute(module)


@contextmanager
def _filtered_stderr() -> Generator[None]:
    """Hold back what is written to the file descriptor, as C++ does, and then write all but start-up logs."""
    terminal = os.dup(_STDERR)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(terminal, _STDERR)
            os.close(terminal)
            held.seek(0)
            os.write(_STDERR, b"".join(line for line in held if not is_startup_log(line)))
