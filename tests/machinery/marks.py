"""Marks a test as the proof that outputs work in one machinery of a framework: a cell of `tests.machinery.table`."""

import pytest

__all__ = ["machinery"]


def machinery(name: str) -> pytest.MarkDecorator:
    """Mark a test with the machinery that it proves; its module says for which framework.

    Args:
        name: a short phrase, the same in every framework that has machinery of this kind: "compile", "gradient".
    """
    return pytest.mark.machinery(name)
