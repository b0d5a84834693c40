"""Imports a package's names when they are first asked for, so that nobody waits for what they do not use."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["names_later"]


def names_later(package: str, modules: Mapping[str, tuple[str, ...]]) -> tuple[Callable[[str], Any], Callable[[], Any]]:
    """Return the `__getattr__` and `__dir__` of a package whose names come from these modules of it.

    Args:
        package: its `__name__`.
        modules: names by module.
    """
    places = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{places[name]}", package), name)
        setattr(sys.modules[package], name, value)  # the next look-up does not come here
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return get, names
