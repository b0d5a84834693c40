"""The three frameworks: their names, the names of their output classes, and whether they are installed."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from types import ModuleType

from .errors import MissingDependencyError

__all__ = ["FRAMEWORKS", "NICKNAMES", "Framework"]


@dataclass(frozen=True)
class Framework:
    """A framework that this library has output classes for."""

    name: str
    """The name of its package, which arguments called `framework` take too."""

    title: str
    prefix: str
    """How the names of its output classes begin."""

    folder: str
    """Its subpackage of modeloutputs, and the name of the extra that installs it."""

    @property
    def module(self) -> str:
        """The module that defines its output classes."""
        return f"modeloutputs.{self.folder}.outputs"

    @property
    def is_installed(self) -> bool:
        """Whether it can be imported, without importing it."""
        if self.name in sys.modules:
            return sys.modules[self.name] is not None  # pyright: ignore[reportUnnecessaryComparison]  # None: blocked
        return importlib.util.find_spec(self.name) is not None

    def import_outputs(self) -> ModuleType:
        """Import and return the module of its output classes.

        Raises:
            MissingDependencyError: the framework is not installed.
        """
        if not self.is_installed:
            raise MissingDependencyError(f"{self.title} is not installed; install modeloutputs[{self.folder}]")
        return importlib.import_module(self.module)


FRAMEWORKS = {
    framework.name: framework
    for framework in (
        Framework("torch", "PyTorch", "", "torch"),
        Framework("tensorflow", "TensorFlow", "TF", "tensorflow"),
        Framework("jax", "Flax", "Flax", "flax"),
    )
}

NICKNAMES = {
    "pt": "torch",
    "np": "numpy",
    "jax": "jax",
    "tf": "tensorflow",
}
"""Libraries of arrays by the names that `return_tensors` of tokenizers takes."""
