"""Lazy attributes of packages: a name is imported on first access, so unused modules cost no time."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .errors import MissingDependencyError

__all__ = ["lazy_attributes"]


def lazy_attributes(
    package: str, modules: Mapping[str, tuple[str, ...]], needs: tuple[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], Any]]:
    """Return the `__getattr__` and `__dir__` of a package that imports names from its modules on first access.

    Args:
        package: the `__name__` of the package.
        modules: by module, relative to the package, the names that it provides.
        needs: a library that some of them need beyond what the package itself does, as it is imported and as it is
            called; where it is missing, a MissingDependencyError says so.

    Examples:
        >>> get, names = lazy_attributes("modeloutputs", {"output.checking": ("check",)})
        >>> get("check").__name__
        'check'
    """
    sources = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in sources:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = importlib.import_module(f".{sources[name]}", package)
        except ModuleNotFoundError as error:
            if needs is None or (error.name or "").partition(".")[0] != needs[0]:
                raise
            extra = f"modeloutputs[{package.rpartition('.')[2]}]"
            raise MissingDependencyError(f"{package}.{name} needs {needs[1]}; install {extra}") from None
        value = getattr(module, name)
        setattr(sys.modules[package], name, value)  # later look-ups find it there
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *sources})

    return get, names
