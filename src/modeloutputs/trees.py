"""Makes every output class a tree node of each framework that is, or later gets, imported. Imports none itself."""

import importlib.machinery
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from . import _unpacking

if TYPE_CHECKING:
    from .output import ModelOutput

__all__ = ["find", "register"]

_classes: "list[type[ModelOutput]]" = []


def register(cls: "type[ModelOutput]") -> None:
    """Register an output class with the frameworks imported so far, and with those imported later."""
    _classes.append(cls)
    for framework, registrar in _REGISTRARS.items():
        if _is_imported(framework):
            registrar(cls)


def find(name: str) -> "type[ModelOutput] | None":
    """Return the output class of that `module.qualname`, the latest where a notebook has defined it again."""
    matches = [cls for cls in _classes if f"{cls.__module__}.{cls.__qualname__}" == name]
    return matches[-1] if matches else None


def _is_imported(framework: str) -> bool:
    module = sys.modules.get(framework)
    spec = getattr(module, "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


def _register_with_torch(cls: "type[ModelOutput]") -> None:
    import torch
    from torch.utils import _pytree as pytree

    _unpacking.in_compiler_trace = torch.compiler.is_dynamo_compiling

    def flatten_with_keys(output: "ModelOutput") -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
        return [(pytree.MappingKey(name), value) for name, value in output.items()], tuple(output.keys())

    def unflatten(values: Iterable[Any], names: Iterable[str]) -> "ModelOutput":
        return cls.unflatten(names, values)

    pytree.register_pytree_node(
        cls,
        lambda output: (list(output.values()), tuple(output.keys())),
        unflatten,
        serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
        to_dumpable_context=list,
        from_dumpable_context=tuple,
        flatten_with_keys_fn=flatten_with_keys,
    )


def _register_with_jax(cls: "type[ModelOutput]") -> None:
    from jax import tree_util

    def flatten_with_keys(output: "ModelOutput") -> tuple[tuple[tuple[Any, Any], ...], tuple[str, ...]]:
        return tuple((tree_util.GetAttrKey(name), value) for name, value in output.items()), tuple(output.keys())

    tree_util.register_pytree_with_keys(  # pyright: ignore[reportUnknownMemberType]
        cls,
        flatten_with_keys,
        cls.unflatten,
        lambda output: (tuple(output.values()), tuple(output.keys())),
    )


_REGISTRARS: "dict[str, Callable[[type[ModelOutput]], None]]" = {
    "torch": _register_with_torch,
    "jax": _register_with_jax,
}


class _ImportWatcher:
    """Sees the import of a framework coming and has all output classes registered once it is done."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _REGISTRARS or path is not None:
            return None
        spec = self._find_without_me(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Any", _NotifyingLoader(spec.loader))
        return spec

    def _find_without_me(self, fullname: str) -> importlib.machinery.ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, None)) is not None:
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
        for cls in _classes:
            _REGISTRARS[module.__name__](cls)


sys.meta_path.insert(0, _ImportWatcher())
