"""Typed outputs of transformers: dataclass, tuple and dict in one.

`import modeloutputs` imports no framework. The output classes are in `modeloutputs.torch`, `.tensorflow` and
`.flax`, models that return them in the first; the command line is `modeloutputs --help`.
"""

from typing import TYPE_CHECKING

from ._lazy import lazy_attributes
from .errors import (
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointWarning,
    ConfigWarning,
    ContractError,
    DefinitionError,
    FieldAttributeError,
    FieldError,
    FieldIndexError,
    FieldKeyError,
    FileFormatError,
    FileWriteError,
    InputError,
    MissingDependencyError,
    ModelOutputsError,
    UsageError,
)
from .output import ALWAYS, ModelOutput

if TYPE_CHECKING:
    from .files.outputs import load, read_notes, save
    from .ops.concat import concat
    from .ops.convert import convert
    from .ops.masks import concat_masks
    from .ops.padding import pad
    from .ops.pooling import pool
    from .ops.rows import select, split
    from .ops.unpadding import unpad
    from .output.checking import check

__all__ = [
    "ALWAYS",
    "CheckpointError",
    "CheckpointNotFoundError",
    "CheckpointWarning",
    "ConfigWarning",
    "ContractError",
    "DefinitionError",
    "FieldAttributeError",
    "FieldError",
    "FieldIndexError",
    "FieldKeyError",
    "FileFormatError",
    "FileWriteError",
    "InputError",
    "MissingDependencyError",
    "ModelOutput",
    "ModelOutputsError",
    "UsageError",
    "check",
    "concat",
    "concat_masks",
    "convert",
    "load",
    "pad",
    "pool",
    "read_notes",
    "save",
    "select",
    "split",
    "unpad",
]
__version__ = "0.1.0"

# Programs that only declare outputs need not import what reads files.
if not TYPE_CHECKING:  # type checkers would take this to mean that every name exists
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        {
            "ops.concat": ("concat",),
            "ops.masks": ("concat_masks",),
            "ops.padding": ("pad",),
            "ops.pooling": ("pool",),
            "ops.rows": ("select", "split"),
            "ops.unpadding": ("unpad",),
            "output.checking": ("check",),
            "ops.convert": ("convert",),
            "files.outputs": ("load", "read_notes", "save"),
        },
    )
