"""Where a tokenizer comes from: a folder's files, files one by one, or vocabularies and backends in memory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import CheckpointNotFoundError, InputError
from .files import TOKENIZER_FILE, read_tokenizer
from .settings import Config

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Sources"]

_SYNONYMS = {
    "vocab_file": "vocabulary",
    "vocab": "vocabulary",
    "merges_file": "merges",
    "merges": "merges",
    "tokenizer_file": "tokenizer",
    "tokenizer_object": "tokenizer",
}
"""Keywords by what they pass: a file and its contents are passed under different names."""


@dataclass(frozen=True)
class Sources:
    """The parts that a tokenizer is made of."""

    tokenizer: "Tokenizer | Path | None" = None
    """A whole tokenizer: the backend, or tokenizer.json."""
    vocabulary: Path | Mapping[str, int] | None = None
    merges: Path | list[Any] | None = None
    folder: Path | None = None
    """Where further files lie."""
    settings: Config = field(default_factory=dict[str, Any])
    """Those of the folder's files."""

    @property
    def place(self) -> str:
        """What error messages call it."""
        return "the vocabulary that was passed" if self.folder is None else repr(str(self.folder))

    def backend(self) -> "Tokenizer | None":
        """Return the whole tokenizer, None if there are only its parts."""
        return read_tokenizer(self.tokenizer) if isinstance(self.tokenizer, Path) else self.tokenizer

    def both(self) -> "tuple[Path | Mapping[str, int], Path | list[Any]]":
        """Return vocabulary and merges.

        Raises:
            CheckpointNotFoundError: one is missing.
        """
        names = {"vocab.json": self.vocabulary, "merges.txt": self.merges}
        missing = [name for name, part in names.items() if part is None]
        if self.vocabulary is None or self.merges is None:
            raise CheckpointNotFoundError(f"{self.place} has neither {TOKENIZER_FILE} nor {' and '.join(missing)}")
        return self.vocabulary, self.merges

    @classmethod
    def of_folder(
        cls, folder: Path, vocabulary_names: tuple[str, ...], merges_names: tuple[str, ...], settings: Config
    ) -> "Sources":
        """Return what of a tokenizer's files lies in a folder; of several names, the first that there is."""
        return cls(
            tokenizer=_first(folder, (TOKENIZER_FILE,)),
            vocabulary=_first(folder, vocabulary_names),
            merges=_first(folder, merges_names),
            folder=folder,
            settings=settings,
        )

    @classmethod
    def of_arguments(cls, source: Any, merges: Any, settings: Config) -> "tuple[Sources, Config]":
        """Return what was passed to a constructor, and the settings that are no sources.

        Raises:
            InputError: one part was passed twice, or is of a type that it cannot have.
            CheckpointNotFoundError: a file does not exist.
        """
        if isinstance(source, Sources):
            return source, settings
        parts = {"vocabulary": source, "merges": merges}
        rest: Config = {}
        for name, value in settings.items():
            part = _SYNONYMS.get(name)
            if part is None:
                rest[name] = value
            elif value is not None:
                if parts.get(part) is not None:
                    raise InputError(f"{name} was passed, and the {part} by another argument too; pass it once")
                parts[part] = value
        return _checked(cls(), parts), rest


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _checked(sources: Sources, parts: Mapping[str, Any]) -> Sources:
    from tokenizers import Tokenizer

    read = {name: _as_path(name, value) for name, value in parts.items() if value is not None}
    first = read.get("vocabulary")
    if isinstance(first, Tokenizer) or (isinstance(first, Path) and first.name == TOKENIZER_FILE):
        read["tokenizer"] = read.pop("vocabulary")
    kinds: dict[str, Any] = {"tokenizer": (Path, Tokenizer), "vocabulary": (Path, Mapping), "merges": (Path, list)}
    for name, value in read.items():
        if not isinstance(value, kinds[name]):
            raise InputError(
                f"the {name} is {type(value).__name__}; expected a tokenizers.Tokenizer, a file, a mapping from token "
                "to id or, for merges, a list of pairs"
            )
    if not {"tokenizer", "vocabulary"} & read.keys():
        raise InputError("a tokenizer needs a vocabulary: pass its files, or load a folder with from_pretrained")
    path = next((value for value in read.values() if isinstance(value, Path)), None)
    return replace(sources, **read, folder=None if path is None else path.parent)


def _as_path(name: str, value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return list(cast("list[Any]", value))
    if not isinstance(value, (str, os.PathLike)):
        return value
    path = Path(cast("str | os.PathLike[str]", value))
    if path.is_dir():
        raise InputError(f"the {name} {str(path)!r} is a folder; load a folder with from_pretrained")
    if not path.is_file():
        raise CheckpointNotFoundError(f"there is no file {str(path)!r}; load a folder or hub id with from_pretrained")
    return path
