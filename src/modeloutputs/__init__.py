"""What a transformer returns, typed: dataclass, tuple and dict in one.

`import modeloutputs` imports no framework. The output classes and the models that return them are in
`modeloutputs.torch`; the command line is `modeloutputs --help`.
"""

from .contract import check
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
    "load",
    "save",
]
__version__ = "0.1.0"
