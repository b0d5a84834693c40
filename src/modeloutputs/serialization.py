"""Saves outputs as one safetensors file and loads them again: class, structure and tensors; no pickle.

Tensors are stored under their path in the output (`hidden_states.0`, `past_key_values.0.1`; with the output's number
in front where there are several), so any safetensors reader opens the file. The class and how tuples, dicts and
placeholders nest are JSON in the file's metadata, under `modeloutputs`. A tensor that stands in two places is stored
once. The file is mapped into memory when it is loaded: what is not looked at is not read.
"""

import functools
import importlib
import json
import mmap
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from . import trees
from .arrays import Arrays, arrays_named, arrays_of, is_array
from .checkpoints import TensorRecord, atomic_path, first_line, read_safetensors_header
from .convert import convert_fields, counterpart
from .errors import CheckpointNotFoundError, DefinitionError, FileFormatError, InputError, nearest
from .frameworks import FRAMEWORKS
from .output import ModelOutput, field_names

__all__ = ["SavedFile", "SavedOutput", "load", "read_saved", "save"]

_KEY = "modeloutputs"
_VERSIONS = (1, 2)
"""1: one output. 2: a list of them, and the framework that the arrays came from."""

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
}  # fmt: skip


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
        notes: text to keep with it, by name.

    Raises:
        InputError: a field holds something that has no place in such a file.
    """
    writing = _Writing()
    several = not isinstance(outputs, ModelOutput)
    outputs = list(outputs) if not isinstance(outputs, ModelOutput) else [outputs]
    listed = [writing.describe_output(output, f"{i}." if several else "") for i, output in enumerate(outputs)]
    header = {"version": 2, "several": several, "framework": writing.framework, "outputs": listed}
    metadata = {**(notes or {}), _KEY: json.dumps(header)}
    with atomic_path(Path(path), forced=False) as temporary:
        _write(writing.arrays, temporary, metadata)


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

    def describe_output(self, output: ModelOutput, prefix: str) -> dict[str, Any]:
        if not isinstance(output, ModelOutput):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"save takes outputs; got a {type(output).__name__}")
        cls = type(output)
        structure = {name: self._describe(value, f"{prefix}{name}") for name, value in output.items()}
        return {
            "class": f"{cls.__module__}.{cls.__qualname__}",
            "fields": list(field_names(cls)),
            "structure": structure,
        }

    def _describe(self, value: Any, place: str) -> Any:
        if is_array(value):
            return {"array": self._put_aside(value, place)}
        if isinstance(value, ModelOutput):
            return {"output": self.describe_output(value, f"{place}.")}
        if isinstance(value, (tuple, list)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self._describe(item, f"{place}.{i}") for i, item in enumerate(cast("list[Any]", value))]}
        if isinstance(value, Mapping):
            entries = cast("Mapping[Any, Any]", value).items()
            if not all(isinstance(key, str) for key, _ in entries):
                raise InputError(f"{place} has keys that are not strings; it cannot be saved")
            return {"dict": {key: self._describe(item, f"{place}.{key}") for key, item in entries}}
        if value is None or isinstance(value, (bool, int, float, str)):
            return {"value": value}
        raise InputError(f"{place} holds a {type(value).__name__}; arrays, tuples, dicts and plain values can be saved")

    def _put_aside(self, array: Any, place: str) -> str:
        kind = arrays_of(array)
        self._kinds[kind.name] = None
        identity = _identity(array)
        if identity not in self._names:
            if place in self.arrays:
                raise InputError(
                    f"two tensors stand at {place!r}: a key with dots reads like what is nested; rename it"
                )
            self._names[identity] = place
            self.arrays[place] = _values(array, kind, place)
        return self._names[identity]


def _identity(array: Any) -> Any:
    """Tell one array that stands in two places from two arrays: by memory where that is known, else by object."""
    if hasattr(array, "data_ptr") and array.device.type != "meta" and array.numel():
        return array.data_ptr(), tuple(array.shape), array.stride(), array.dtype, array.device
    return id(array)


def _values(array: Any, kind: Arrays, place: str) -> Any:
    try:
        values = kind.numpy(array)
    except Exception as error:  # noqa: BLE001  # each framework has its own error for what has no values
        raise InputError(f"{place} has no values that could be saved: {first_line(error)}") from None
    if values.dtype.name not in _DTYPES.values():
        known = ", ".join(_DTYPES.values())
        raise InputError(f"{place} is of dtype {values.dtype.name}; a safetensors file holds {known}")
    return values


def _write(arrays: Mapping[str, Any], path: Path, metadata: dict[str, str]) -> None:
    import numpy as np
    from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

    # `ascontiguousarray` gives a number an axis.
    contiguous = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    save_file(contiguous, path, metadata=metadata)


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

    records: dict[str, TensorRecord]
    notes: dict[str, str]


def read_saved(path: str | os.PathLike[str]) -> SavedFile:
    """Read what a file says of the outputs in it.

    Raises:
        CheckpointNotFoundError: there is no such file.
        FileFormatError: it is truncated or corrupt, or holds no output.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointNotFoundError(f"there is no file {str(path)!r}")
    records, metadata = read_safetensors_header(path)
    if _KEY not in metadata:
        raise FileFormatError(f"{str(path)!r} holds tensors, but no output saved by modeloutputs")
    try:
        header = json.loads(metadata.pop(_KEY))
        version, framework = header["version"], header.get("framework")
        listed = header["outputs"] if version == 2 else [header]
        outputs = [_read_description(entry) for entry in listed]
        lost = {name for saved in outputs for name in _arrays_of({"dict": saved.structure})} - set(records)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"{str(path)!r} describes its output wrongly ({error!r})") from None
    if version not in _VERSIONS:
        raise FileFormatError(f"{str(path)!r} is of version {version}; this library reads {_VERSIONS[-1]}")
    if lost:
        raise FileFormatError(f"{str(path)!r} lacks the tensors {', '.join(sorted(lost)[:4])} of its output")
    known = framework if framework in (*FRAMEWORKS, "numpy") else None
    return SavedFile(outputs, version == 2 and bool(header["several"]), known, records, metadata)


def _read_description(entry: Any) -> SavedOutput:
    fields = [str(name) for name in entry["fields"]]
    saved = SavedOutput(str(entry["class"]), fields, dict(entry["structure"]))
    unknown = [name for name in saved.structure if name not in fields]
    if unknown:
        raise ValueError(f"{', '.join(unknown)} are no fields of {saved.class_name}")
    return saved


def _arrays_of(node: Any) -> set[str]:
    """Return the names of all arrays in a description; raises like any wrong look-up where it is none."""
    (kind, content), *rest = node.items()
    if rest or kind not in ("array", "tuple", "list", "dict", "output", "value"):
        raise TypeError(f"not a description: {node!r}")
    if kind == "array":
        return {content}
    if kind == "output":
        content = _read_description(content).structure
    nested: Any = content if kind in ("tuple", "list") else content.values() if kind in ("dict", "output") else ()
    return {name for item in nested for name in _arrays_of(item)}


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
        fields: the only ones to read.
        drop: fields to leave out.

    Raises:
        CheckpointNotFoundError: there is no such file.
        FileFormatError: it is truncated or corrupt, or holds no output.
        InputError: a field to read or drop is none of its class, or the counterpart lacks a field that is there.
        MissingDependencyError: the framework asked for is not installed.
    """
    saved = read_saved(path)
    kind = arrays_named(framework or _default_framework(saved))
    arrays = _MappedArrays(Path(path), saved.records, kind)
    outputs = [_restore_output(output, arrays, framework, fields, drop) for output in saved.outputs]
    return outputs if saved.several else outputs[0]


def _default_framework(saved: SavedFile) -> str:
    wanted = saved.framework or "torch"
    return wanted if wanted in FRAMEWORKS and FRAMEWORKS[wanted].is_installed else "numpy"


class _MappedArrays:
    """The tensors of a file by name, each made when it is first asked for."""

    def __init__(self, path: Path, records: Mapping[str, TensorRecord], kind: Arrays) -> None:
        self.kind = kind
        self._records = records
        self._made: dict[str, Any] = {}
        with path.open("rb") as file:
            self._file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self.kind.from_numpy(self._view(self._records[name]))
        return self._made[name]

    def _view(self, record: TensorRecord) -> Any:
        import numpy as np

        dtype = _dtype(record.dtype)
        if record.start == record.stop:
            return np.empty(record.shape, dtype)
        count = (record.stop - record.start) // dtype.itemsize
        flat = np.frombuffer(self._file, dtype, count, record.start)
        if not flat.flags.aligned:
            flat = flat.copy()  # other writers may leave tensors anywhere, and PyTorch needs them aligned
        return flat.reshape(record.shape)


def _dtype(name: str) -> Any:
    import numpy as np

    try:
        return np.dtype(_DTYPES[name])
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, _DTYPES[name]))


def _restore_output(
    saved: SavedOutput,
    arrays: _MappedArrays,
    framework: str | None,
    only: Collection[str] | None = None,
    drop: Collection[str] = (),
) -> ModelOutput:
    for name in (*(only or ()), *drop):
        if name not in saved.fields:
            raise InputError(f"{saved.class_name} has no field {name!r}{nearest(name, saved.fields)}")
    wanted = [name for name in saved.structure if (only is None or name in only) and name not in drop]
    values = {name: _restore(saved.structure[name], arrays, framework) for name in wanted}
    cls = _find_class(saved)
    if framework in FRAMEWORKS:
        module, _, name = saved.class_name.rpartition(".")
        other = counterpart(module, name, framework)
        if other is not None and other is not cls:
            return convert_fields(values, other, arrays.kind, cls if cls.__module__ == module else None)
    unknown = [name for name in values if name not in field_names(cls)]
    if unknown:
        raise FileFormatError(f"the file has fields {', '.join(unknown)}, which {cls.__name__} does not declare")
    return cls.unflatten(values.keys(), values.values())


def _restore(node: dict[str, Any], arrays: _MappedArrays, framework: str | None) -> Any:
    ((kind, content),) = node.items()
    if kind == "array":
        return arrays[content]
    if kind == "tuple":
        return tuple(_restore(item, arrays, framework) for item in content)
    if kind == "list":
        return [_restore(item, arrays, framework) for item in content]
    if kind == "dict":
        return {key: _restore(item, arrays, framework) for key, item in content.items()}
    return _restore_output(_read_description(content), arrays, framework) if kind == "output" else content


def _find_class(saved: SavedOutput) -> type[ModelOutput]:
    for framework in FRAMEWORKS.values():
        ours = f"modeloutputs.{framework.folder}"
        if saved.class_name.startswith(f"{ours}.") and framework.is_installed:
            framework.import_outputs()
            if trees.find(saved.class_name) is None:
                importlib.import_module(ours)  # its models return some more classes
    return trees.find(saved.class_name) or _generic(saved.class_name, tuple(saved.fields))


@functools.cache
def _generic(class_name: str, fields: tuple[str, ...]) -> type[ModelOutput]:
    """Make a class with a file's fields, for one that this process does not know."""
    name = class_name.rpartition(".")[2]
    namespace = {"__annotations__": dict.fromkeys(fields, Any), "__module__": __name__}
    try:
        if not all(part.isidentifier() for part in (name, *fields)):
            raise DefinitionError("a name that is no identifier")
        return cast("type[ModelOutput]", type(name, (ModelOutput,), namespace))
    except DefinitionError as error:
        raise FileFormatError(
            f"the file names its class {class_name!r} and fields {list(fields)!r}, wrongly: {error}"
        ) from None
