"""Registers output classes as tree nodes of every framework, at once or when it is imported. Imports none itself."""

import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from ..output.protocol import OutputLike

__all__ = ["find", "register"]

_classes: "list[type[OutputLike]]" = []


def register(cls: "type[OutputLike]") -> None:
    """Register an output class with the frameworks imported so far and with those imported later."""
    _classes.append(cls)
    for framework in _REGISTRARS:
        if _is_imported(framework):
            _registrar(framework)(cls)


def find(name: str) -> type[Any] | None:
    """Return the output class with that `module.qualname`; the latest, if a notebook has defined it repeatedly.

    Examples:
        >>> find("modeloutputs.torch.outputs.NoSuchOutput") is None
        True
    """
    matches = [cls for cls in _classes if f"{cls.__module__}.{cls.__qualname__}" == name]
    return matches[-1] if matches else None


def _is_imported(framework: str) -> bool:
    module = sys.modules.get(framework)
    spec = getattr(module, "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


_REGISTRARS = {
    "torch": ("torch", "register"),
    "jax": ("jax", "register"),
    "jax.export": ("jax", "register_for_export"),
    "flax.serialization": ("jax", "register_with_flax"),
    "tensorflow": ("tensorflow", "register"),
    "keras": ("tensorflow", "register_with_keras"),
}
"""By framework module: the submodule here and its function that registers a class once that module is imported."""


def _registrar(framework: str) -> "Callable[[type[OutputLike]], None]":
    module, function = _REGISTRARS[framework]
    return getattr(importlib.import_module(f".{module}", __name__), function)


class _ImportWatcher:
    """Finder that defers to the others and, for a framework, wraps the loader that they found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _REGISTRARS:
            return None
        spec = self._find_without_me(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Any", _NotifyingLoader(spec.loader))
        return spec

    def _find_without_me(self, fullname: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path)) is not None:
                return spec
        return None


class _NotifyingLoader:
    """Executes a module with its own loader, restores that loader, then registers the output classes."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        registrar = _registrar(module.__name__)
        for cls in _classes:
            registrar(cls)


sys.meta_path.insert(0, _ImportWatcher())
