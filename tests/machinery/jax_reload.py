"""Loads, in a process of its own, the functions that `test_jax` exported, and says what they return."""

import sys
from pathlib import Path

from jax import export

from modeloutputs import ModelOutput

from ..support.random_outputs import class_named, full
from .jax_models import Scored, normal, score, twice


def main(folder: Path) -> None:
    """Call each function of a folder with values that it was not exported with; print class, and whether it is right.

    Args:
        folder: holds a file for each class, called as the class.
    """
    for file in sorted(folder.iterdir()):
        given = _given(file.name)  # imports the class, which no file may do
        returned = export.deserialize(bytearray(file.read_bytes())).call(given)
        print(type(returned).__name__, returned == twice(given))  # noqa: T201


def _given(name: str) -> ModelOutput:
    if name == Scored.__name__:
        return score(normal(4, 4, seed=2), normal(5, 4, seed=3))
    return full(class_named(name), seed=2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
