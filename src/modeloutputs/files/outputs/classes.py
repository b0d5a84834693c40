"""The classes of saved outputs: found by name among those that this process knows, else made with the same fields."""

import functools
import importlib
import threading
from typing import Any, cast

from ... import pytrees
from ...errors import DefinitionError, FileFormatError
from ...frameworks import FRAMEWORKS, Framework
from ...output import ModelOutput

__all__ = ["class_name", "find_class"]

_lock = threading.Lock()
_saved_names: dict[type[ModelOutput], str] = {}
"""The generic classes made here, with the names that files give them: under those they are saved again."""


def class_name(cls: type[ModelOutput]) -> str:
    """Return the name under which files refer to a class."""
    return _saved_names.get(cls) or f"{cls.__module__}.{cls.__qualname__}"


def find_class(name: str, fields: tuple[str, ...]) -> type[ModelOutput]:
    """Return the output class of that name, or a generic one where this process has none.

    Nothing is imported for a file's sake but this library's own classes.

    Raises:
        FileFormatError: no class can have that name and these fields.
    """
    for framework in FRAMEWORKS.values():
        if name.startswith(f"modeloutputs.{framework.folder}."):
            _import_classes(framework, name)
    found = pytrees.find(name)
    if found is not None and found not in _saved_names:
        return found
    with _lock:  # threads that load the same file get the same class
        return _generic_class(name, fields)


def _import_classes(framework: Framework, name: str) -> None:
    """Import the output classes of a framework; its models, which define a few more, only if they may be needed."""
    try:
        framework.import_outputs()
        if pytrees.find(name) is None:
            importlib.import_module(f"modeloutputs.{framework.folder}")
    except ImportError:
        pass  # missing or broken: the class stays unknown


@functools.cache
def _generic_class(name: str, fields: tuple[str, ...]) -> type[ModelOutput]:
    short_name = name.rpartition(".")[2]
    namespace = {"__annotations__": dict.fromkeys(fields, Any), "__module__": __name__.rpartition(".")[0]}
    try:
        if not short_name.isidentifier() or any(field.startswith("__") for field in fields):
            raise DefinitionError
        made = cast("type[ModelOutput]", type(short_name, (ModelOutput,), namespace))
    except (DefinitionError, SyntaxError):
        known = ", ".join(repr(field[:60]) for field in fields[:4])
        raise FileFormatError(f"invalid class or field name in file: {name[:200]!r} ({known})") from None
    _saved_names[made] = name
    return made
