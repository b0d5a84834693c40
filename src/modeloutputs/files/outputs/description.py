"""The JSON that describes saved outputs: written from nested values, and parsed once into nested values.

A value is described by a JSON object of one entry: `{"array": name}`, `{"value": plain}`, `{"tuple": [...]}`,
`{"list": [...]}`, `{"dict": {...}}`, or `{"output": {"class": ..., "fields": [...], "structure": {...}}}`.
"""

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ...errors import FileFormatError, InputError
from ...frameworks import FRAMEWORKS
from ...output import ModelOutput, field_names
from ...output.nested import children, flat_name, is_array, is_nested
from ..safetensors import MappedTensor, map_safetensors
from .classes import class_name

__all__ = [
    "KEY",
    "ArrayReference",
    "SavedFile",
    "SavedOutput",
    "describe_file",
    "describe_output",
    "quote_names",
    "read_notes",
    "read_saved",
]

KEY = "modeloutputs"
"""Of the description in a file's metadata."""

_VERSIONS = (1, 2)
"""1: one output. 2: also a list of outputs, and the framework of the arrays."""

_MAX_DEPTH = 100
"""Of nested outputs, tuples, lists and dicts: a file that can be written can be read, however deep the stack is."""

_MAX_CLASS_NAME = 1000
"""Characters."""


# -- writing --------------------------------------------------------------------------------------------------------


def describe_file(descriptions: list[dict[str, Any]], is_list: bool, framework: str) -> str:
    """Return the JSON that describes a file, from the descriptions of its outputs."""
    entries = {"version": _VERSIONS[-1], "several": is_list, "framework": framework, "outputs": descriptions}
    return json.dumps(entries)


def describe_output(
    output: ModelOutput, prefix: str, name_array: Callable[[Any, str], str], depth: int = 0
) -> dict[str, Any]:
    """Describe an output.

    Args:
        output: the output.
        prefix: of its arrays' flat names.
        name_array: is given each array and its flat name, and returns the name under which it is stored.
        depth: levels of nesting around the output.

    Raises:
        InputError: a field holds a value that has no description, or is nested too deep.
    """
    if not isinstance(output, ModelOutput):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"save takes outputs; got a {type(output).__name__}")
    structure = {name: _describe(value, f"{prefix}{name}", name_array, depth) for name, value in output.items()}
    return {"class": class_name(type(output)), "fields": list(field_names(output)), "structure": structure}


def _describe(value: Any, place: str, name_array: Callable[[Any, str], str], depth: int) -> dict[str, Any]:
    if is_array(value):
        return {"array": name_array(value, place)}
    if not is_nested(value):
        return {"value": _checked_plain(value, place)}
    if depth == _MAX_DEPTH:
        raise InputError(f"{place[:60]}... is nested more than {_MAX_DEPTH} levels deep; it cannot be saved")
    if isinstance(value, ModelOutput):
        return {"output": describe_output(value, f"{place}.", name_array, depth + 1)}
    if isinstance(value, Mapping) and not all(isinstance(key, str) for key in cast("Mapping[Any, Any]", value)):
        raise InputError(f"{place} has keys that are not strings; it cannot be saved")
    items = {key: _describe(item, flat_name(place, key), name_array, depth + 1) for key, item in children(value)}
    if isinstance(value, Mapping):
        return {"dict": items}
    return {"tuple" if isinstance(value, tuple) else "list": list(items.values())}


def _checked_plain(value: Any, place: str) -> Any:
    if not _is_plain(value):
        raise InputError(f"{place} holds a {type(value).__name__}; arrays, tuples, dicts and plain values can be saved")
    return value


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


# -- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArrayReference:
    """Stands in a parsed description for the array that the file stores under a name."""

    name: str


@dataclass(frozen=True, slots=True)
class SavedOutput:
    """The description of one saved output."""

    class_name: str
    fields: tuple[str, ...]
    """All fields of its class."""

    values: dict[str, Any]
    """Nested values of the fields that are present, with `ArrayReference` for arrays, `SavedOutput` for outputs."""


@dataclass(frozen=True)
class SavedFile:
    """The description of a file of outputs."""

    outputs: list[SavedOutput]
    several: bool
    """Whether a list was saved, even if of one output."""

    framework: str | None
    """Of the saved arrays; None in files of version 1, which did not record it."""

    tensors: dict[str, MappedTensor]
    notes: dict[str, str]
    nested_fields: frozenset[str]
    """Fields of all outputs, including those nested in others."""


def read_saved(path: str | os.PathLike[str]) -> SavedFile:
    """Read the description of the outputs in a file; their arrays are mapped, not read.

    Raises:
        CheckpointNotFoundError: there is no such file.
        FileFormatError: it is truncated or corrupt, or holds no output.

    Examples:
        >>> import numpy as np
        >>> from modeloutputs import ModelOutput, save
        >>> class Scores(ModelOutput):
        ...     scores: object
        >>> save([Scores(np.ones((2, 3)))], "scores.safetensors", notes={"model": "tiny"})
        >>> saved = read_saved("scores.safetensors")
        >>> saved.outputs[0].fields, saved.framework, saved.notes
        (('scores',), 'numpy', {'model': 'tiny'})
        >>> saved.tensors["0.scores"].shape
        (2, 3)
    """
    path = Path(path)
    tensors, notes = map_safetensors(path)
    if KEY not in notes:
        raise FileFormatError(f"{str(path)!r} holds tensors, but no output saved by modeloutputs")
    parser = _Parser(path)
    try:
        several, framework, outputs = parser.file(notes.pop(KEY))
    except FileFormatError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{str(path)!r} has an invalid description of its outputs ({error!r})") from None
    if missing := parser.arrays - tensors.keys():
        raise FileFormatError(f"{str(path)!r} lacks the tensors {quote_names(missing)} of its output")
    return SavedFile(outputs, several, framework, tensors, notes, frozenset(parser.fields))


def read_notes(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the notes that were saved with outputs; the outputs themselves are not read.

    Raises:
        CheckpointNotFoundError: there is no such file.
        FileFormatError: it is truncated or corrupt, or holds no output.

    Examples:
        >>> import numpy as np
        >>> from modeloutputs import ModelOutput, read_notes, save
        >>> class Scores(ModelOutput):
        ...     scores: object
        >>> save(Scores(np.ones(3)), "scores.safetensors", notes={"model": "tiny"})
        >>> read_notes("scores.safetensors")
        {'model': 'tiny'}
    """
    return read_saved(path).notes


def quote_names(names: Collection[str]) -> str:
    """Return the first few of some names in quotes, each cut to a bearable length."""
    return ", ".join(repr(name[:60]) for name in sorted(names)[:4])


@dataclass
class _Parser:
    """Parses a description and collects the names in it. Raises whatever wrong look-ups and conversions raise."""

    path: Path
    arrays: set[str] = field(default_factory=set[str])
    fields: set[str] = field(default_factory=set[str])

    def file(self, text: str) -> tuple[bool, str | None, list[SavedOutput]]:
        entries = _expect(dict, json.loads(text))
        version = _expect(int, entries["version"])
        if version not in _VERSIONS:
            raise FileFormatError(
                f"{str(self.path)!r} has format version {version}; this modeloutputs reads up to {_VERSIONS[-1]}"
            )
        if version == 1:
            return False, None, [self.output(entries, 0)]
        several, framework = _expect(bool, entries["several"]), entries.get("framework")
        outputs = [self.output(entry, 0) for entry in _expect(list, entries["outputs"])]
        if not several and len(outputs) != 1:
            raise FileFormatError(f"{str(self.path)!r} holds {len(outputs)} outputs but is not marked as a list")
        return several, framework if framework in list(FRAMEWORKS) else "numpy", outputs

    def output(self, entry: Any, depth: int) -> SavedOutput:
        entry = _expect(dict, entry)
        fields: list[str] = [_expect(str, name) for name in _expect(list, entry["fields"])]
        structure = _expect(dict, entry["structure"])
        _check_class(_expect(str, entry["class"]), fields, structure)
        self.fields.update(fields)
        values = {name: self.value(node, depth) for name, node in structure.items()}
        return SavedOutput(entry["class"], tuple(fields), values)

    def value(self, node: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError(f"more than {_MAX_DEPTH} levels")
        ((kind, content),) = _expect(dict, node).items()
        if kind == "array":
            self.arrays.add(_expect(str, content))
            return ArrayReference(content)
        if kind == "value" and _is_plain(content):
            return content
        if kind == "output":
            return self.output(content, depth + 1)
        if kind == "dict":
            return {key: self.value(item, depth + 1) for key, item in _expect(dict, content).items()}
        if kind not in ("tuple", "list"):
            raise TypeError(f"a {type(content).__name__} as {kind[:60]!r}")
        items = [self.value(item, depth + 1) for item in _expect(list, content)]
        return tuple(items) if kind == "tuple" else items


def _expect(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} in place of a {kind.__name__}")
    return value


def _check_class(name: str, fields: list[str], present: Collection[str]) -> None:
    if len(name) > _MAX_CLASS_NAME or not name.isprintable():
        raise ValueError(f"{name[:60]!r} is not the name of a class")
    faults: dict[str, Collection[str]] = {
        "not field names": [name for name in fields if not name.isidentifier()],
        "duplicate field names": {name for name in fields if fields.count(name) > 1},
        "not fields of the class": set(present) - set(fields),
    }
    for fault, names in faults.items():
        if names:
            raise ValueError(f"{quote_names(names)}: {fault}")
