"""Outputs that the tests of files save, and files written by hand whose descriptions need not be valid."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from modeloutputs import FileFormatError, ModelOutput, load, save

__all__ = [
    "DESCRIBED_OUTPUT",
    "Custom",
    "Other",
    "again",
    "framework_of_array",
    "numbers",
    "refusal",
    "write_description",
    "write_version_1",
]


class Custom(ModelOutput):
    """A user's class."""

    states: Any = None
    table: Any = None
    name: Any = None


class Other(ModelOutput):
    """Another."""

    scores: Any = None


def numbers(*shape: int, start: float = 0) -> np.ndarray:
    """Return the numbers from `start` in a shape."""
    return (np.arange(np.prod(shape, dtype=int), dtype=np.float32) + start).reshape(shape)


def again(outputs: Any, folder: Path, framework: str | None = None, **options: Any) -> Any:
    """Save outputs as `file` in a folder, and return what is loaded from it."""
    save(outputs, folder / "file")
    return load(folder / "file", framework, **options)


def framework_of_array(value: Any) -> str:
    """Return the framework that defines an array's type."""
    root = type(value).__module__.partition(".")[0]
    return {"jaxlib": "jax"}.get(root, root)


def refusal(path: Path, **options: Any) -> str:
    """Return why a file is refused: one line of bearable length."""
    with pytest.raises(FileFormatError) as caught:
        load(path, **options)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500 + len(str(path))
    return str(caught.value)


DESCRIBED_OUTPUT: dict[str, Any] = {
    "class": "somewhere.Out",
    "fields": ["a", "b"],
    "structure": {"a": {"array": "t"}},
}
"""A valid description of one output."""


def write_description(folder: Path, **changes: Any) -> Path:
    """Write a file of one tensor `t` with a valid description and these changes; `...` leaves an entry out."""
    entries = {"version": 2, "several": False, "framework": "numpy", "outputs": [DESCRIBED_OUTPUT]} | changes
    text = json.dumps({name: entry for name, entry in entries.items() if entry is not ...})
    save_file({"t": numbers(2)}, folder / "file", metadata={"modeloutputs": text})
    return folder / "file"


def write_version_1(path: Path, tensors: dict[str, np.ndarray], **header: Any) -> None:
    """Write a file as version 1 of the format had it."""
    save_file(tensors, path, metadata={"modeloutputs": json.dumps({"version": 1, **header})})
