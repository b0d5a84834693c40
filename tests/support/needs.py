"""Marks for tests that need what may not be installed."""

import importlib.util
import sys

import pytest

from modeloutputs.frameworks import FRAMEWORKS

__all__ = [
    "EVERY_BACKEND",
    "FRAMEWORK_PARAMS",
    "INSTALLED",
    "is_installed",
    "needs",
    "needs_jax",
    "needs_tensorflow",
    "needs_torch",
]


def is_installed(module: str) -> bool:
    """Return whether a top-level module can be imported; looked up without doing so."""
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def needs(*modules: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test where one of these modules is not installed."""
    absent = [module for module in modules if not is_installed(module)]
    return pytest.mark.skipif(bool(absent), reason=f"{' and '.join(absent) or 'nothing'} not installed")


needs_torch, needs_jax, needs_tensorflow = needs("torch"), needs("jax"), needs("tensorflow")

INSTALLED = [name for name in FRAMEWORKS if is_installed(name)]
FRAMEWORK_PARAMS = [pytest.param(name, marks=needs(name)) for name in FRAMEWORKS]
"""The frameworks as parameters of a test; those that are absent are skipped."""
EVERY_BACKEND = ["numpy", *FRAMEWORK_PARAMS]
"""The libraries that have arrays, as parameters of a test."""
