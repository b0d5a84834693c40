"""Loads saved outputs: `load`."""

import os
from collections.abc import Collection, Mapping
from typing import Any

from ...arrays.backends import backend_named
from ...arrays.base import Backend
from ...errors import FileFormatError, InputError, first_line
from ...frameworks import FRAMEWORKS
from ...ops.convert import check_names, convert_fields, counterpart
from ...output import ModelOutput, field_names
from ...output.nested import map_leaves
from ..safetensors import MappedTensor
from .classes import find_class
from .description import ArrayReference, SavedOutput, quote_names, read_saved

__all__ = ["load"]


def load(
    path: str | os.PathLike[str],
    framework: str | None = None,
    *,
    fields: Collection[str] | None = None,
    drop: Collection[str] = (),
) -> Any:
    """Read outputs back: same class, same structure, equal values; a list where a list was saved.

    The file is mapped into memory: arrays of PyTorch and NumPy are read when they are first used, and those of JAX and
    TensorFlow are copies. Writing to an array does not change the file. An output whose class is neither this
    library's nor defined in this process gets a generic class with the same fields; nothing else is imported.

    Args:
        path: the file.
        framework: "torch", "jax", "tensorflow" or "numpy"; classes of this library become their counterparts there, as
            with `convert`. By default the framework of the saved arrays, or NumPy if that is not installed.
        fields: the only fields to read, of outputs whose classes have them.
        drop: fields to leave out, of nested outputs too.

    Raises:
        CheckpointNotFoundError: there is no such file.
        FileFormatError: it is truncated or corrupt, or holds no output.
        InputError: a name in `fields` or `drop` is not a field, the counterpart lacks a field that is present, or the
            framework lacks a dtype.
        MissingDependencyError: the framework asked for is not installed.

    Examples:
        >>> import numpy as np
        >>> from modeloutputs import ModelOutput, load, save
        >>> class Scores(ModelOutput):
        ...     logits: object
        ...     label: object = None
        >>> save([Scores(np.array([0.5, 2.0]), "cat"), Scores(np.array([1.0]))], "scores.safetensors")
        >>> first, second = load("scores.safetensors")
        >>> first.logits, first.label
        (array([0.5, 2. ]), 'cat')
        >>> load("scores.safetensors", fields=["label"])[0].to_dict()
        {'label': 'cat'}
    """
    saved = read_saved(path)
    known = {name for output in saved.outputs for name in output.fields}
    check_names("fields", fields or (), known, repr(os.fspath(path)))
    check_names("drop", drop, saved.nested_fields, repr(os.fspath(path)))
    backend = backend_named(framework) if framework else _default_backend(saved.framework)
    restorer = _Restorer(_LazyArrays(saved.tensors, backend), framework, drop)
    outputs = [restorer.output(output, output.values if fields is None else fields) for output in saved.outputs]
    return outputs if saved.several else outputs[0]


def _default_backend(framework: str | None) -> Backend:
    try:
        return backend_named(framework or "torch")
    except ImportError:  # missing or broken
        return backend_named("numpy")


class _LazyArrays:
    """The arrays of a file by name, each made when it is first asked for."""

    def __init__(self, tensors: Mapping[str, MappedTensor], backend: Backend) -> None:
        self.backend = backend
        self._tensors = tensors
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._make(self._tensors[name])
        return self._made[name]

    def _make(self, tensor: MappedTensor) -> Any:
        values = tensor.numpy()
        try:
            return self.backend.from_numpy(values)
        except InputError:
            raise
        except (TypeError, ValueError, RuntimeError) as error:  # each framework has its own
            reason = f"{values.dtype.name} cannot be loaded into {self.backend.name}: {first_line(error)}"
            raise InputError(f"{tensor.name[:60]!r} of dtype {reason}") from None


class _Restorer:
    """Builds outputs from their descriptions."""

    def __init__(self, arrays: _LazyArrays, framework: str | None, drop: Collection[str]) -> None:
        self._arrays, self._framework, self._drop = arrays, framework, drop
        self._classes: dict[tuple[str, tuple[str, ...]], type[ModelOutput]] = {}

    def output(self, saved: SavedOutput, only: Collection[str]) -> ModelOutput:
        wanted = [name for name in saved.values if name in only and name not in self._drop]
        values = {name: map_leaves(self._leaf, saved.values[name]) for name in wanted}
        cls = self._class(saved)
        module, _, name = saved.class_name.rpartition(".")
        target = counterpart(module, name, self._framework) if self._framework in FRAMEWORKS else None
        if target is not None and target is not cls:
            return convert_fields(values, target, self._arrays.backend, cls if cls.__module__ == module else None)
        return _build(cls, values)

    def _leaf(self, leaf: Any) -> Any:
        if isinstance(leaf, ArrayReference):
            return self._arrays[leaf.name]
        return self.output(leaf, leaf.values) if isinstance(leaf, SavedOutput) else leaf

    def _class(self, saved: SavedOutput) -> type[ModelOutput]:
        key = saved.class_name, saved.fields
        if key not in self._classes:
            self._classes[key] = find_class(*key)
        return self._classes[key]


def _build(cls: type[ModelOutput], values: dict[str, Any]) -> ModelOutput:
    unknown = [name for name in values if name not in field_names(cls)]
    if unknown:
        raise FileFormatError(f"the file has fields {quote_names(unknown)}, which {cls.__name__} does not declare")
    present = [name for name in field_names(cls) if values.get(name) is not None]
    return cls.unflatten(present, [values[name] for name in present])
