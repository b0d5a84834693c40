"""How XLA compiles in tests: sooner rather than faster code, as most of what they compile runs once."""

import importlib.util
import mmap
import os
from pathlib import Path

__all__ = ["compile_soon"]

OPTION = "xla_cpu_use_fusion_emitters"
"""Fused kernels through MLIR: half of the time in which the models of the tests are compiled."""

LIBRARIES = {"jaxlib": "libjax_common.*", "tensorflow": "libtensorflow_cc.*"}
"""Where each package has its XLA."""


def compile_soon() -> None:
    """Leave out XLA's slowest generator of code, in this process and those that it starts, before any has an XLA.

    XLA ends a process whose options it does not know, so each one that is installed must have this one. Options in the
    environment are left as they are.
    """
    if "XLA_FLAGS" not in os.environ and all(_allows(package) for package in LIBRARIES):
        os.environ["XLA_FLAGS"] = f"--{OPTION}=false"


def _allows(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    return spec is None or any(_knows(path) for folder in folders for path in folder.glob(LIBRARIES[package]))


def _knows(library: Path) -> bool:
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(OPTION.encode()) >= 0
