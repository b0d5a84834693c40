"""Saves outputs as one safetensors file and loads them again: class, structure and tensors; no pickle.

Tensors are stored under their path in the output (`hidden_states.0`, `past_key_values.0.1`; with the output's number
in front where there are several), so any safetensors reader opens the file. The class and how tuples, dicts and
placeholders nest are JSON in the file's metadata, under `modeloutputs`. A tensor that stands in two places is stored
once. The file is mapped into memory when it is loaded: what is not looked at is not read.
"""

import functools
import importlib
import json
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .. import pytrees as trees
from ..arrays.backends import backend_named, get_backend
from ..arrays.base import Backend
from ..errors import DefinitionError, FileFormatError, InputError, first_line
from ..frameworks import FRAMEWORKS, Framework
from ..ops.convert import check_names, convert_fields, counterpart
from ..output import ModelOutput, field_names
from ..output.nested import flat_name, is_array, memory_identity, put_by_name
from .atomic import atomic_path
from .safetensors import MappedTensor, map_safetensors, nbytes, write_safetensors

__all__ = ["SavedFile", "SavedOutput", "load", "read_saved", "save"]

_KEY = "modeloutputs"
_VERSIONS = (1, 2)
"""1: one output. 2: a list of them, and the framework that the arrays came from."""

_MAX_DEPTH = 100
"""Of outputs, tuples, lists and dicts within one another: what is written can be read, however deep the stack is."""

_MAX_NAME = 1000
"""Characters of a class's name."""

# -- saving -------------------------------------------------------------------------------------------------------


def save(
    outputs: ModelOutput | Sequence[ModelOutput],
    path: str | os.PathLike[str],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write an output, or a list of them, to a safetensors file.

    The file appears whole or not at all, whatever stops the program; it is not forced onto the disk.

    Args:
        outputs: of any classes and frameworks; fields may nest tuples, lists and dicts of arrays, numbers, strings
            and None.
        path: the file.
        notes: text to keep with it, by name; the name "modeloutputs" is taken.

    Raises:
        InputError: a field holds something that has no place in such a file, or the whole has none.
        UsageError: a key that contains dots gives two arrays the same name.
    """
    writing = _Writing()
    several, listed = not isinstance(outputs, ModelOutput), _listed(outputs)
    descriptions = [writing.describe_output(output, f"{i}." if several else "") for i, output in enumerate(listed)]
    header = {"version": 2, "several": several, "framework": writing.framework, "outputs": descriptions}
    metadata = {**_checked(notes or {}), _KEY: json.dumps(header)}
    with atomic_path(Path(path), flush=False) as temporary:
        try:
            write_safetensors(temporary, writing.arrays, metadata)
        except (OSError, UnicodeError, InputError) as error:
            raise InputError(f"{os.fspath(path)!r} cannot be written: {first_line(error)}") from None


def _listed(outputs: Any) -> list[ModelOutput]:
    kind = cast("type[Any]", type(outputs))
    if isinstance(outputs, ModelOutput):
        return [outputs]
    if isinstance(outputs, (str, Mapping)) or not isinstance(outputs, Iterable):
        raise InputError(f"save takes an output or a list of them; got a {kind.__name__}")
    return list(cast("Iterable[ModelOutput]", outputs))


def _checked(notes: Mapping[str, str]) -> Mapping[str, str]:
    for name, text in cast("Mapping[Any, Any]", notes).items():
        if not isinstance(name, str) or not isinstance(text, str) or name == _KEY:
            raise InputError(f"the note {name!r} is {text!r}; notes are text by name, of which {_KEY!r} is taken")
    return notes


class _Writing:
    """Describes outputs as JSON, and puts their arrays aside by name."""

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self._names: dict[Any, str] = {}
        self._kinds: dict[str, None] = {}

    @property
    def framework(self) -> str:
        """The framework that the arrays are of; NumPy where they are of several or there are none."""
        return next(iter(self._kinds)) if len(self._kinds) == 1 else "numpy"

    def describe_output(self, output: ModelOutput, prefix: str, depth: int = 0) -> dict[str, Any]:
        if not isinstance(output, ModelOutput):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"save takes outputs; got a {type(output).__name__}")
        cls = type(output)
        structure = {name: self._describe(value, f"{prefix}{name}", depth) for name, value in output.items()}
        return {"class": _class_name(cls), "fields": list(field_names(cls)), "structure": structure}

    def _describe(self, value: Any, place: str, depth: int) -> Any:
        if is_array(value):
            return {"array": self._put_aside(value, place)}
        if _is_plain(value):
            return {"value": value}
        if depth == _MAX_DEPTH:
            raise InputError(f"{place[:60]}... lies more than {_MAX_DEPTH} levels deep; it cannot be saved")
        if isinstance(value, ModelOutput):
            return {"output": self.describe_output(value, f"{place}.", depth + 1)}
        if isinstance(value, (tuple, list)):
            kind, items = "tuple" if isinstance(value, tuple) else "list", enumerate(cast("list[Any]", value))
            return {kind: [self._describe(item, flat_name(place, i), depth + 1) for i, item in items]}
        if isinstance(value, Mapping):
            entries = cast("Mapping[Any, Any]", value).items()
            if not all(isinstance(key, str) for key, _ in entries):
                raise InputError(f"{place} has keys that are not strings; it cannot be saved")
            return {"dict": {key: self._describe(item, flat_name(place, key), depth + 1) for key, item in entries}}
        raise InputError(f"{place} holds a {type(value).__name__}; arrays, tuples, dicts and plain values can be saved")

    def _put_aside(self, array: Any, place: str) -> str:
        kind = get_backend(array)
        self._kinds[kind.name] = None
        identity = memory_identity(array)
        if identity not in self._names:
            if place == "__metadata__":
                raise InputError(f"a tensor cannot be called {place!r} in such a file; rename the field")
            put_by_name(self.arrays, place, _values(array, kind, place))
            self._names[identity] = place
        return self._names[identity]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _class_name(cls: type[ModelOutput]) -> str:
    return _GENERIC.get(cls) or f"{cls.__module__}.{cls.__qualname__}"


def _values(array: Any, kind: Backend, place: str) -> Any:
    try:
        values = kind.numpy(array)
    except Exception as error:  # noqa: BLE001  # each framework has its own error for what has no values
        raise InputError(f"{place} has no values that could be saved: {first_line(error)}") from None
    if hasattr(values, "mask"):
        raise InputError(f"{place} is a masked array, and a safetensors file holds no masks; fill it first")
    nbytes(place, values)
    return values


# -- loading ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SavedOutput:
    """What a file says about one output in it, before any tensor is read."""

    class_name: str
    fields: list[str]
    structure: dict[str, Any]


@dataclass(frozen=True)
class SavedFile:
    """What a file says of itself."""

    outputs: list[SavedOutput]
    several: bool
    """A list was saved, even if of one output."""

    framework: str | None
    """What the arrays were of; None in files of version 1, which did not say."""

    tensors: dict[str, MappedTensor]
    notes: dict[str, str]


def read_saved(path: str | os.PathLike[str]) -> SavedFile:
    """Read what a file says of the outputs in it.

    Raises:
        CheckpointNotFoundError: there is no such file.
        FileFormatError: it is truncated or corrupt, or holds no output.
    """
    path = Path(path)
    tensors, metadata = map_safetensors(path)
    if _KEY not in metadata:
        raise FileFormatError(f"{str(path)!r} holds tensors, but no output saved by modeloutputs")
    try:
        header = _as(dict, json.loads(metadata.pop(_KEY)))
        version, framework = _as(int, header["version"]), header.get("framework")
        if version not in _VERSIONS:
            raise FileFormatError(f"{str(path)!r} is of version {version}; this library reads up to {_VERSIONS[-1]}")
        several = version == 2 and _as(bool, header["several"])
        entries = _as(list, header["outputs"]) if version == 2 else [header]
        outputs = [_read_description(entry) for entry in entries]
        named = {name for kind, name in _walk({"list": [{"output": entry} for entry in entries]}) if kind == "array"}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{str(path)!r} describes its output wrongly ({error!r})") from None
    if not named <= tensors.keys():
        raise FileFormatError(f"{str(path)!r} lacks the tensors {_few(named - tensors.keys())} of its output")
    if not several and len(outputs) != 1:
        raise FileFormatError(f"{str(path)!r} describes {len(outputs)} outputs, and says that they are no list")
    known = framework if framework in list(FRAMEWORKS) else "numpy"
    return SavedFile(outputs, several, known if version == 2 else None, tensors, metadata)


def _as(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} in place of a {kind.__name__}")
    return value


def _few(names: Collection[str]) -> str:
    return ", ".join(repr(name[:60]) for name in sorted(names)[:4])


def _read_description(entry: Any) -> SavedOutput:
    entry = _as(dict, entry)
    name, structure = _as(str, entry["class"]), _as(dict, entry["structure"])
    fields: list[str] = [_as(str, field) for field in _as(list, entry["fields"])]
    if len(name) > _MAX_NAME or not name.isprintable():
        raise ValueError(f"{name[:60]!r} names no class")
    faults: dict[str, Collection[str]] = {
        "no names of fields": [field for field in fields if not field.isidentifier()],
        "named twice": {field for field in fields if fields.count(field) > 1},
        "no fields of the class": set(structure) - set(fields),
    }
    for fault, names in faults.items():
        if names:
            raise ValueError(f"{_few(names)}: {fault}")
    return SavedOutput(name, fields, structure)


def _walk(node: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield kind and content of a description and of all within it; raises like any wrong look-up where it is none."""
    ((kind, content),) = _as(dict, node).items()
    if depth > _MAX_DEPTH + 2:  # the list, the output in it, and what that holds
        raise ValueError(f"more than {_MAX_DEPTH} levels")
    if kind == "output":
        content = _read_description(content)
    yield kind, content
    for item in _items(kind, content):
        yield from _walk(item, depth + 1)


def _items(kind: str, content: Any) -> Iterable[Any]:
    """Return the descriptions within one; raises where its content is not of its kind."""
    if kind == "output":
        return content.structure.values()
    if kind == "dict":
        return _as(dict, content).values()
    if kind in ("tuple", "list"):
        return _as(list, content)
    if (kind == "array" and isinstance(content, str)) or (kind == "value" and _is_plain(content)):
        return ()
    raise TypeError(f"a {type(content).__name__} as {kind[:60]!r}")


def load(
    path: str | os.PathLike[str],
    framework: str | None = None,
    *,
    fields: Collection[str] | None = None,
    drop: Collection[str] = (),
) -> Any:
    """Read outputs back: same class, same structure, equal values; a list where a list was saved.

    The file is mapped into memory, and what is read of it are the tensors that are looked at, in PyTorch and NumPy;
    JAX and TensorFlow copy those of the fields asked for. Writing to a tensor does not change the file. A class that is
    neither this library's nor defined in this process gives a generic output with the same fields; nothing is imported
    for the file's sake but this library's own classes.

    Args:
        path: the file.
        framework: "torch", "jax", "tensorflow" or "numpy"; a class of this library's becomes its counterpart there, as
            by `convert`. Where not passed, the framework that the arrays came from, or NumPy if that is not installed.
        fields: the only ones to read, of outputs whose classes have them.
        drop: fields to leave out, of the outputs within those too.

    Raises:
        CheckpointNotFoundError: there is no such file.
        FileFormatError: it is truncated or corrupt, or holds no output.
        InputError: a field to read or drop is none of its classes', the counterpart lacks a field that is there, or the
            framework has no such element type.
        MissingDependencyError: the framework asked for is not installed.
    """
    saved = read_saved(path)
    check_names("fields", fields or (), _fields(saved.outputs), repr(os.fspath(path)))
    check_names("drop", drop, _fields(_all_outputs(saved)) if drop else (), repr(os.fspath(path)))
    arrays = _MappedArrays(saved.tensors, backend_named(framework) if framework else _default_arrays(saved))
    outputs = [_restore_output(output, arrays, framework, fields, drop) for output in saved.outputs]
    return outputs if saved.several else outputs[0]


def _all_outputs(saved: SavedFile) -> Iterator[SavedOutput]:
    """Yield the outputs of a file, and those within them."""
    for output in saved.outputs:
        yield output
        yield from (content for kind, content in _walk({"dict": output.structure}) if kind == "output")


def _fields(outputs: Iterable[SavedOutput]) -> set[str]:
    return {name for output in outputs for name in output.fields}


def _default_arrays(saved: SavedFile) -> Backend:
    try:
        return backend_named(saved.framework or "torch")
    except ImportError:  # not installed, or not in working order
        return backend_named("numpy")


class _MappedArrays:
    """The tensors of a file by name, each made when it is first asked for."""

    def __init__(self, tensors: Mapping[str, MappedTensor], kind: Backend) -> None:
        self.kind = kind
        self._tensors = tensors
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            values = self._tensors[name].numpy()
            try:
                self._made[name] = self.kind.from_numpy(values)
            except InputError:
                raise
            except (TypeError, ValueError, RuntimeError) as error:  # each framework has its own
                reason = f"{values.dtype.name} cannot be loaded into {self.kind.name}: {first_line(error)}"
                raise InputError(f"{name[:60]!r} of dtype {reason}") from None
        return self._made[name]


def _restore_output(
    saved: SavedOutput,
    arrays: _MappedArrays,
    framework: str | None,
    only: Collection[str] | None = None,
    drop: Collection[str] = (),
) -> ModelOutput:
    wanted = [name for name in saved.structure if (only is None or name in only) and name not in drop]
    values = {name: _restore(saved.structure[name], arrays, framework, drop) for name in wanted}
    cls = _find_class(saved)
    if framework in FRAMEWORKS:
        module, _, name = saved.class_name.rpartition(".")
        other = counterpart(module, name, framework)
        if other is not None and other is not cls:
            return convert_fields(values, other, arrays.kind, cls if cls.__module__ == module else None)
    unknown = [name for name in values if name not in field_names(cls)]
    if unknown:
        raise FileFormatError(f"the file has fields {_few(unknown)}, which {cls.__name__} does not declare")
    present = [name for name in field_names(cls) if values.get(name) is not None]
    return cls.unflatten(present, [values[name] for name in present])


def _restore(node: dict[str, Any], arrays: _MappedArrays, framework: str | None, drop: Collection[str]) -> Any:
    ((kind, content),) = node.items()
    if kind == "array":
        return arrays[content]
    if kind == "value":
        return content
    if kind == "output":
        return _restore_output(_read_description(content), arrays, framework, None, drop)
    if kind == "dict":
        return {key: _restore(item, arrays, framework, drop) for key, item in content.items()}
    items = [_restore(item, arrays, framework, drop) for item in content]
    return tuple(items) if kind == "tuple" else items


def _find_class(saved: SavedOutput) -> type[ModelOutput]:
    for framework in FRAMEWORKS.values():
        if saved.class_name.startswith(f"modeloutputs.{framework.folder}."):
            _import_classes(framework, saved.class_name)
    found = trees.find(saved.class_name)
    return found if found is not None and found not in _GENERIC else _generic(saved.class_name, tuple(saved.fields))


def _import_classes(framework: Framework, class_name: str) -> None:
    """Import the output classes of a framework; of its models, which return some more, only if they may be needed."""
    try:
        framework.import_outputs()
        if trees.find(class_name) is None:
            importlib.import_module(f"modeloutputs.{framework.folder}")
    except ImportError:
        pass  # not installed, or not in working order: the class stays unknown


_making = threading.Lock()
_GENERIC: dict[type[ModelOutput], str] = {}
"""The classes made here, with the names that files give them: under those they are saved again."""


def _generic(class_name: str, fields: tuple[str, ...]) -> type[ModelOutput]:
    """Return a class with a file's fields, for one that this process does not know: for like files the same."""
    with _making:
        return _make_generic(class_name, fields)


@functools.cache
def _make_generic(class_name: str, fields: tuple[str, ...]) -> type[ModelOutput]:
    name = class_name.rpartition(".")[2]
    namespace = {"__annotations__": dict.fromkeys(fields, Any), "__module__": __name__}
    try:
        if not name.isidentifier() or any(field.startswith("__") for field in fields):
            raise DefinitionError("a name that none can have")
        made = cast("type[ModelOutput]", type(name, (ModelOutput,), namespace))
    except (DefinitionError, SyntaxError) as error:
        raise FileFormatError(
            f"the file names its class {class_name!r} and fields {_few(fields)}, wrongly: {error}"
        ) from None
    _GENERIC[made] = class_name
    return made
