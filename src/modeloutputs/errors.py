"""The exceptions of this library: one family, each also derived from the builtin that a caller would catch."""

from collections.abc import Iterable

__all__ = [
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
    "ModelOutputsError",
    "UsageError",
    "first_line",
    "nearest",
]


class ModelOutputsError(Exception):
    """Base of every error that this library raises on purpose."""


class FieldError(ModelOutputsError, LookupError):
    """A field does not exist or is absent: misspelt, or not returned by this call."""


class FieldKeyError(FieldError, KeyError):
    """`output["name"]` with a name that is not a field, or of a field that is absent."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument, which would put the message in quotes.
        return str(self.args[0]) if self.args else ""


class FieldAttributeError(FieldError, AttributeError):
    """`output.name` was read or assigned, but the class declares no such field."""


class FieldIndexError(FieldError, IndexError):
    """`output[i]` with `i` beyond the fields that are present."""


class UsageError(ModelOutputsError, TypeError):
    """An operation that outputs do not support, or arguments that no output can be built from."""


class DefinitionError(ModelOutputsError, TypeError):
    """A subclass of ModelOutput is malformed; raised when the class is created."""


class ContractError(ModelOutputsError, ValueError):
    """A field's value does not have the type, dtype or axes that its class declares."""


class InputError(ModelOutputsError, ValueError):
    """An invalid argument of a model, a tokenizer, a configuration or an operation on outputs."""


class FileFormatError(ModelOutputsError, ValueError):
    """A file is truncated, corrupt, or not in the format that its name says."""


class FileWriteError(ModelOutputsError, OSError):
    """A file cannot be written: a full disk, a folder without permission, a path that is no regular file.

    `errno` is the system's.
    """

    def __str__(self) -> str:
        # OSError puts the number before its message.
        return str(self.args[1]) if len(self.args) > 1 else super().__str__()


class CheckpointError(FileFormatError):
    """A checkpoint cannot be loaded: tensors are missing or of the wrong shape, or the architecture is unknown."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """No checkpoint, or no such file of a checkpoint, exists at this path."""


class MissingDependencyError(ModelOutputsError, ImportError):
    """An optional dependency is needed and not installed."""


class CheckpointWarning(UserWarning):
    """A checkpoint was loaded, but some weights of the model are newly initialised or some of its tensors unused."""


class ConfigWarning(UserWarning):
    """A setting of a configuration was put right, or kept although it may be misspelt."""


def nearest(name: object, candidates: Iterable[str]) -> str:
    """Return the end of an error message: the candidate closest to a name, or the list of candidates.

    Examples:
        >>> nearest("logit", ["loss", "logits"])
        "; did you mean 'logits'?"
        >>> nearest("x", ["loss", "logits"])
        '; there are loss, logits'
    """
    import difflib  # slow to import, and only errors need it

    names = list(candidates)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names) or 'none'}"


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its type if the message is empty.

    Examples:
        >>> first_line(ValueError("wrong shape\\n\\nA long explanation."))
        'wrong shape'
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
