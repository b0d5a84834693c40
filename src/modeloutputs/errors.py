"""The exceptions of this library: one family, each also the builtin that a caller would think of catching."""

from collections.abc import Iterable

__all__ = [
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
    "ModelOutputsError",
    "UsageError",
]


class ModelOutputsError(Exception):
    """Base of every error that this library raises on purpose."""


class FieldError(ModelOutputsError, LookupError):
    """A field was asked for that is not there: misspelt, or not returned by this call."""


class FieldKeyError(FieldError, KeyError):
    """`output["name"]` named no field that is present."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument, which would put our sentence in quotes.
        return str(self.args[0]) if self.args else ""


class FieldAttributeError(FieldError, AttributeError):
    """`output.name` was read or assigned and the class declares no such field."""


class FieldIndexError(FieldError, IndexError):
    """`output[i]` with `i` beyond the fields that are present."""


class UsageError(ModelOutputsError, TypeError):
    """An operation that outputs refuse, or arguments from which no output can be built."""


class DefinitionError(ModelOutputsError, TypeError):
    """A subclass of ModelOutput is malformed; raised when the class is created."""


class ContractError(ModelOutputsError, ValueError):
    """A field's value does not have the type, dtype or axes that its class declares."""


class InputError(ModelOutputsError, ValueError):
    """What was passed to a model, tokenizer or configuration cannot be computed with."""


class FileFormatError(ModelOutputsError, ValueError):
    """A file is truncated, corrupt, or not of the format that its name says."""


class CheckpointError(FileFormatError):
    """A checkpoint cannot be loaded: parts missing, of wrong shape, or of an unknown architecture."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no checkpoint, or no such file of a checkpoint, at the place named."""


class MissingDependencyError(ModelOutputsError, ImportError):
    """An optional library is needed for this and is not installed."""


class CheckpointWarning(UserWarning):
    """A checkpoint loaded, but some weights of the model are new or some of the checkpoint's were not used."""


def nearest(name: object, candidates: Iterable[str]) -> str:
    """Give `"; did you mean 'logits'?"` for the candidate that resembles `name`, or the list of candidates."""
    import difflib  # only an error needs it

    names = list(candidates)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names) or 'none'}"


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type where it has none: other libraries write paragraphs."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
