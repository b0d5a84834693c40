"""`pytest --without torch,jax`: the suite as it is where these frameworks are not installed."""

import contextlib
import importlib
import os
import runpy
from pathlib import Path

import pytest

from .support.xla import compile_soon

HIDING = Path(__file__).parent / "support" / "without"

# By framework, what would not be installed either: parts of it, and what is built on it.
PACKAGES = {
    "torch": ("torch", "torchgen", "functorch", "accelerate", "captum", "peft", "tensordict", "triton"),
    "tensorflow": ("tensorflow", "keras"),
    "jax": ("jax", "jaxlib", "flax", "optax", "orbax"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--without", default="", help="frameworks to hide, with commas between: torch, tensorflow, jax")


def pytest_configure(config: pytest.Config) -> None:
    """Hide the packages of the named frameworks, in this process and in those that it starts."""
    names = [name for name in config.getoption("--without").split(",") if name]
    unknown = [name for name in names if name not in PACKAGES]
    if unknown:
        raise pytest.UsageError(f"--without has {unknown[0]!r}; expected some of {', '.join(PACKAGES)}")
    if names:
        os.environ["MODELOUTPUTS_WITHOUT"] = ",".join(package for name in names for package in PACKAGES[name])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HIDING), os.environ.get("PYTHONPATH")]))
        runpy.run_path(str(HIDING / "sitecustomize.py"))
    compile_soon()
    # PyTorch's compiler imports Triton where it is installed. TensorFlow's copy of LLVM, if it is loaded before that,
    # makes the import end the process.
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")
