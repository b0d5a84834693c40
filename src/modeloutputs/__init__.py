"""What a transformer returns, typed: dataclass, tuple and dict in one.

`import modeloutputs` imports no framework. The output classes and the models that return them are in
`modeloutputs.torch`; the command line is `modeloutputs --help`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .errors import (
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointWarning,
    ContractError,
    DefinitionError,
    FieldAttributeError,
    FieldError,
    FieldIndexError,
    FieldKeyError,
    FileFormatError,
    InputError,
    MissingDependencyError,
    ModelOutputsError,
    UsageError,
)
from .output import ALWAYS, ModelOutput

if TYPE_CHECKING:
    from .batch import concat, pad, select, split, unpad
    from .contract import check
    from .convert import convert
    from .serialization import load, save

__all__ = [
    "ALWAYS",
    "CheckpointError",
    "CheckpointNotFoundError",
    "CheckpointWarning",
    "ContractError",
    "DefinitionError",
    "FieldAttributeError",
    "FieldError",
    "FieldIndexError",
    "FieldKeyError",
    "FileFormatError",
    "InputError",
    "MissingDependencyError",
    "ModelOutput",
    "ModelOutputsError",
    "UsageError",
    "check",
    "concat",
    "convert",
    "load",
    "pad",
    "save",
    "select",
    "split",
    "unpad",
]
__version__ = "0.1.0"

# Found when first asked for: whoever only declares outputs need not pay for reading files.
_LATER = {
    "check": "contract",
    "concat": "batch",
    "convert": "convert",
    "load": "serialization",
    "pad": "batch",
    "save": "serialization",
    "select": "batch",
    "split": "batch",
    "unpad": "batch",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = value
    return value
