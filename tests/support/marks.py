"""Marks of tests that need a framework."""

from typing import Any

import pytest

from modeloutputs.frameworks import FRAMEWORKS

__all__ = ["EVERY_BACKEND", "needs", "needs_jax", "needs_tensorflow", "needs_torch"]


def needs(framework: str) -> Any:
    """Mark a test that needs "torch", "jax" or "tensorflow"; "numpy" is always there."""
    if framework == "numpy":
        return ()
    return pytest.mark.skipif(not FRAMEWORKS[framework].is_installed, reason=f"{framework} is not installed")


needs_torch, needs_jax, needs_tensorflow = needs("torch"), needs("jax"), needs("tensorflow")

EVERY_BACKEND = [pytest.param(name, marks=needs(name)) for name in ("numpy", *FRAMEWORKS)]
"""The names of all frameworks that have arrays, NumPy included, as parameters."""
