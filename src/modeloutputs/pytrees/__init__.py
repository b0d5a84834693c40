"""Makes every output class a tree node of each framework that is, or later gets, imported. Imports none itself."""

import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from ..output import ModelOutput

__all__ = ["find", "register"]

_classes: "list[type[ModelOutput]]" = []


def register(cls: "type[ModelOutput]") -> None:
    """Register an output class with the frameworks imported so far, and with those imported later."""
    _classes.append(cls)
    for framework in _REGISTRARS:
        if _is_imported(framework):
            _registrar(framework)(cls)


def find(name: str) -> "type[ModelOutput] | None":
    """Return the output class of that `module.qualname`, the latest where a notebook has defined it again."""
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
"""Which function of which module here registers a class with what, once it is imported."""


def _registrar(framework: str) -> "Callable[[type[ModelOutput]], None]":
    module, function = _REGISTRARS[framework]
    return getattr(importlib.import_module(f".{module}", __name__), function)


class _ImportWatcher:
    """Sees the import of a framework coming and has all output classes registered once it is done."""

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
    """Executes a module with its own loader, puts that loader back, then registers the output classes."""

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
