"""Saves an output as one safetensors file and loads it again: class, structure and tensors; no pickle.

Tensors are stored under their path in the output (`hidden_states.0`, `past_key_values.0.1`), so any safetensors reader
opens the file. The class and how tuples, dicts and placeholders nest are JSON in the file's metadata, under
`modeloutputs`. A tensor that stands in two places is stored once.
"""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from . import trees
from .checkpoints import TensorRecord, atomic_path, read_safetensors_header
from .errors import CheckpointNotFoundError, DefinitionError, FileFormatError, InputError, MissingDependencyError
from .output import ModelOutput, field_names

__all__ = ["SavedOutput", "load", "read_saved", "save"]

_KEY = "modeloutputs"
_VERSION = 1

# Which module of ours defines a framework's classes; the only modules that loading ever imports.
_OUTPUT_MODULES = {"torch": "modeloutputs.torch.outputs"}


# -- saving -------------------------------------------------------------------------------------------------------


def save(output: ModelOutput, path: str | os.PathLike[str], notes: Mapping[str, str] | None = None) -> None:
    """Write an output, of PyTorch tensors or NumPy arrays, to a safetensors file; atomically.

    Args:
        output: any output; its fields may nest tuples, lists and dicts of arrays, numbers, strings and None.
        path: the file.
        notes: text to keep with it, by name.

    Raises:
        InputError: a field holds something that has no place in such a file.
    """
    arrays: dict[str, Any] = {}
    places: dict[Any, str] = {}
    structure = {name: _describe(value, name, arrays, places) for name, value in output.items()}
    cls = type(output)
    header = {
        "version": _VERSION,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "fields": list(field_names(cls)),
        "structure": structure,
    }
    metadata = {**(notes or {}), _KEY: json.dumps(header)}
    with atomic_path(Path(path)) as temporary:
        _writer(arrays)(arrays, temporary, metadata)


def _describe(value: Any, place: str, arrays: dict[str, Any], places: dict[Any, str]) -> Any:
    """Return the JSON of a nested value, its arrays named and put aside."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        name = places.setdefault(_identity(value), place)
        arrays.setdefault(name, value)
        return {"array": name}
    if isinstance(value, (tuple, list)):
        items = cast("list[Any]", value)
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_describe(item, f"{place}.{i}", arrays, places) for i, item in enumerate(items)]}
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value).items()
        if not all(isinstance(key, str) for key, _ in entries):
            raise InputError(f"{place} has keys that are not strings; it cannot be saved")
        return {"dict": {key: _describe(item, f"{place}.{key}", arrays, places) for key, item in entries}}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise InputError(f"{place} holds a {type(value).__name__}; arrays, tuples, dicts and plain values can be saved")


def _identity(array: Any) -> Any:
    """Tell one array that stands in two places from two arrays: by memory where that is known, else by object."""
    if hasattr(array, "data_ptr") and array.device.type != "meta":
        return array.data_ptr(), tuple(array.shape), array.stride(), array.dtype, array.device
    return id(array)


def _writer(arrays: Mapping[str, Any]) -> Callable[[Mapping[str, Any], Path, dict[str, str]], None]:
    kinds = {type(array).__module__.partition(".")[0] for array in arrays.values()}
    if kinds <= {"torch"}:
        return _write_torch if kinds else _write_numpy
    if kinds == {"numpy"}:
        return _write_numpy
    raise InputError(f"this output holds arrays of {', '.join(sorted(kinds))}; PyTorch or NumPy ones can be saved")


def _write_torch(arrays: Mapping[str, Any], path: Path, metadata: dict[str, str]) -> None:
    from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

    # Cloned, not only made contiguous: views of one storage (a cache's keys and values) are refused otherwise.
    own = {name: array.detach().cpu().clone(memory_format=_contiguous()) for name, array in arrays.items()}
    save_file(own, path, metadata=metadata)


def _contiguous() -> Any:
    import torch

    return torch.contiguous_format


def _write_numpy(arrays: Mapping[str, Any], path: Path, metadata: dict[str, str]) -> None:
    import numpy as np
    from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path, metadata=metadata)


# -- loading ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SavedOutput:
    """What a file says about the output in it, before any tensor is read."""

    class_name: str
    fields: list[str]
    structure: dict[str, Any]
    records: dict[str, TensorRecord]
    notes: dict[str, str]


def read_saved(path: str | os.PathLike[str]) -> SavedOutput:
    """Read what a file says of the output in it.

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
        saved = SavedOutput(
            str(header["class"]), list(map(str, header["fields"])), header["structure"], records, metadata
        )
        lost = _arrays_of({"dict": saved.structure}) - set(records)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{str(path)!r} describes its output wrongly ({error!r})") from None
    if header.get("version") != _VERSION:
        raise FileFormatError(f"{str(path)!r} is of version {header.get('version')}; this library reads {_VERSION}")
    if lost:
        raise FileFormatError(f"{str(path)!r} lacks the tensors {', '.join(sorted(lost)[:4])} of its output")
    return saved


def _arrays_of(node: Any) -> set[str]:
    """Return the names of all arrays in a description; raises like any wrong look-up where it is none."""
    (kind, content), *rest = node.items()
    if rest or kind not in ("array", "tuple", "list", "dict", "value"):
        raise TypeError(f"not a description: {node!r}")
    if kind == "array":
        return {content}
    nested: Any = {"tuple": content, "list": content, "dict": content.values() if kind == "dict" else ()}.get(kind, ())
    return {name for item in nested for name in _arrays_of(item)}


def load(path: str | os.PathLike[str], framework: str | None = None) -> ModelOutput:
    """Read an output back: same class, same structure, equal values.

    A class that is neither this library's nor defined in this process gives a generic output with the same fields;
    nothing is imported for the file's sake but this library's own classes.

    Args:
        path: the file.
        framework: "torch" or "numpy"; where not passed, PyTorch if it is installed.

    Raises:
        CheckpointNotFoundError: there is no such file.
        FileFormatError: it is truncated or corrupt, or holds no output.
        MissingDependencyError: the framework asked for is not installed.
    """
    saved = read_saved(path)
    arrays = _read_arrays(Path(path), framework)
    values = {name: _restore(node, arrays) for name, node in saved.structure.items()}
    cls = _find_class(saved)
    unknown = [name for name in values if name not in field_names(cls)]
    if unknown:
        raise FileFormatError(f"{str(path)!r} has fields {', '.join(unknown)}, which {cls.__name__} does not declare")
    return cls.unflatten(values.keys(), values.values())


def _read_arrays(path: Path, framework: str | None) -> dict[str, Any]:
    if framework not in (None, "torch", "numpy"):
        raise InputError(f"framework is {framework!r}; expected 'torch' or 'numpy'")
    if framework != "numpy":
        try:
            from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
        except ImportError:
            if framework == "torch":
                raise MissingDependencyError("framework='torch' needs modeloutputs[torch]") from None
        else:
            return cast("dict[str, Any]", load_file(path))
    from safetensors.numpy import load_file as load_numpy  # pyright: ignore[reportUnknownVariableType]

    try:
        return cast("dict[str, Any]", load_numpy(path))
    except (TypeError, KeyError, AttributeError) as error:
        raise FileFormatError(f"{str(path)!r} holds a dtype that NumPy lacks ({error}); load it as 'torch'") from None


def _restore(node: dict[str, Any], arrays: Mapping[str, Any]) -> Any:
    if "array" in node:
        return arrays[node["array"]]
    if "tuple" in node:
        return tuple(_restore(item, arrays) for item in node["tuple"])
    if "list" in node:
        return [_restore(item, arrays) for item in node["list"]]
    if "dict" in node:
        return {key: _restore(item, arrays) for key, item in node["dict"].items()}
    return node["value"]


def _find_class(saved: SavedOutput) -> type[ModelOutput]:
    module, _, name = saved.class_name.rpartition(".")
    for framework, ours in _OUTPUT_MODULES.items():
        if module == ours and (ours in sys.modules or importlib.util.find_spec(framework)):
            found = getattr(importlib.import_module(ours), name, None)
            return found if isinstance(found, type) and issubclass(found, ModelOutput) else _generic(saved)
    return trees.find(saved.class_name) or _generic(saved)


def _generic(saved: SavedOutput) -> type[ModelOutput]:
    """Make a class with the file's fields, for one that this process does not know."""
    name = saved.class_name.rpartition(".")[2]
    namespace = {"__annotations__": dict.fromkeys(saved.fields, Any), "__module__": __name__}
    try:
        if not all(part.isidentifier() for part in (name, *saved.fields)):
            raise DefinitionError("a name that is no identifier")
        return cast("type[ModelOutput]", type(name, (ModelOutput,), namespace))
    except DefinitionError as error:
        raise FileFormatError(
            f"the file names its class {saved.class_name!r} and fields {saved.fields!r}, wrongly: {error}"
        ) from None
