"""Lazy attributes of packages: a name is imported on first access, so unused modules cost no time."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy_attributes"]


def lazy_attributes(
    package: str, modules: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], Any]]:
    """Return the `__getattr__` and `__dir__` of a package that imports names from its modules on first access.

    Args:
        package: the `__name__` of the package.
        modules: by module, relative to the package, the names that it provides.

    Examples:
        >>> get, names = lazy_attributes("modeloutputs", {"output.checking": ("check",)})
        >>> get("check").__name__
        'check'
    """
    sources = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in sources:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{sources[name]}", package), name)
        setattr(sys.modules[package], name, value)  # later look-ups find it there
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *sources})

    return get, names
