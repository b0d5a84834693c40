"""Saves outputs: `save`."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ...arrays.backends import get_backend
from ...errors import InputError, first_line
from ...output import ModelOutput
from ...output.nested import memory_identity, put_by_name
from ..atomic import atomic_path
from ..safetensors import nbytes, write_safetensors
from .description import KEY, describe_file, describe_output

__all__ = ["save"]


def save(
    outputs: ModelOutput | Sequence[ModelOutput],
    path: str | os.PathLike[str],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write an output, or a list of them, to a safetensors file.

    The file is replaced atomically: whatever stops the program, the old file or the new one is there, and what a killed
    program left is removed by the next one that writes the file. Its mode is kept, and a link is followed. The bytes
    are not flushed to the disk.

    Args:
        outputs: of any classes and frameworks; fields may nest tuples, lists and dicts of arrays, numbers, strings
            and None.
        path: the file.
        notes: text to keep in the file, by name, which `read_notes` returns; the name "modeloutputs" is reserved.

    Raises:
        InputError: a field holds a value that such a file cannot hold.
        FileWriteError: the file cannot be written, as on a full disk, or the path is a folder, a device or a pipe.
        UsageError: a key that contains dots gives two arrays the same name.
        FileNotFoundError: the folder does not exist.

    Examples:
        >>> import numpy as np
        >>> from modeloutputs import ModelOutput, load, save
        >>> class Scores(ModelOutput):
        ...     logits: object
        ...     hidden_states: object = None
        >>> save(Scores(np.zeros((2, 3)), (None, np.ones(4))), "scores.safetensors")
        >>> load("scores.safetensors").hidden_states
        (None, array([1., 1., 1., 1.]))
        >>> from safetensors.numpy import load_file
        >>> sorted(load_file("scores.safetensors"))
        ['hidden_states.1', 'logits']
    """
    collector = _ArrayCollector()
    is_list = not isinstance(outputs, ModelOutput)
    descriptions = [
        describe_output(output, f"{i}." if is_list else "", collector.add) for i, output in enumerate(_as_list(outputs))
    ]
    metadata = {**_checked_notes(notes or {}), KEY: describe_file(descriptions, is_list, collector.framework)}
    with atomic_path(Path(path), flush=False, follow_links=True) as temporary:
        try:
            write_safetensors(temporary, collector.values, metadata)
        except (UnicodeError, InputError) as error:
            raise InputError(f"{os.fspath(path)!r} cannot be written: {first_line(error)}") from None


def _as_list(outputs: Any) -> list[ModelOutput]:
    if isinstance(outputs, ModelOutput):
        return [outputs]
    kind = cast("type[Any]", type(outputs))
    if isinstance(outputs, (str, Mapping)) or not isinstance(outputs, Iterable):
        raise InputError(f"save takes an output or a list of them; got a {kind.__name__}")
    return list(cast("Iterable[ModelOutput]", outputs))


def _checked_notes(notes: Mapping[str, str]) -> Mapping[str, str]:
    for name, text in cast("Mapping[Any, Any]", notes).items():
        if not isinstance(name, str) or not isinstance(text, str) or name == KEY:
            raise InputError(f"note {name!r} is {text!r}; notes map names to text, and the name {KEY!r} is reserved")
    return notes


class _ArrayCollector:
    """Collects the values of arrays by the names under which they are stored; one in two places is stored once."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._names: dict[Any, str] = {}
        self._frameworks: set[str] = set()

    @property
    def framework(self) -> str:
        """The framework of all arrays; NumPy if there are several frameworks or no arrays."""
        return next(iter(self._frameworks)) if len(self._frameworks) == 1 else "numpy"

    def add(self, array: Any, name: str) -> str:
        """Collect an array with this flat name, and return the name under which it is stored."""
        identity = memory_identity(array)
        if identity not in self._names:
            if name == "__metadata__":
                raise InputError(f"{name!r} cannot be the name of a tensor in a safetensors file; rename the field")
            put_by_name(self.values, name, _values(array, name))
            self._names[identity] = name
            self._frameworks.add(get_backend(array).name)
        return self._names[identity]


def _values(array: Any, name: str) -> Any:
    try:
        values = get_backend(array).numpy(array)
    except Exception as error:  # noqa: BLE001  # each framework has its own error for an array without values
        raise InputError(f"{name} has no values to save: {first_line(error)}") from None
    if hasattr(values, "mask"):
        raise InputError(f"{name} is a masked array, and a safetensors file cannot hold masks; fill it first")
    nbytes(name, values)  # refuses dtypes that the format lacks
    return values
