"""Reads the files that tokenizers are kept in: tokenizer.json, vocabularies, merges, and the settings beside them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import FileFormatError
from ..files.checkpoints import read_json
from .backend import LibraryErrors, check_id, place_tokens
from .settings import Config, additional_tokens, read_text
from .special import SPECIAL_TOKENS, read_token

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer, models

__all__ = [
    "MERGES_NAMES",
    "TOKENIZER_FILE",
    "VOCABULARY_NAMES",
    "added_tokens",
    "bpe_texts",
    "check_added_ids",
    "lines_of",
    "read_bpe",
    "read_tokenizer",
    "read_vocabulary",
    "vocabulary_in_order",
]

TOKENIZER_FILE = "tokenizer.json"
VOCABULARY, MERGES = "vocab.json", "merges.txt"
VOCABULARY_NAMES, MERGES_NAMES = (VOCABULARY, "encoder.json"), (MERGES, "vocab.bpe")
"""Names of the files of a byte-pair encoding: today's, and those that OpenAI published GPT-2's under."""


# -- whole tokenizers -----------------------------------------------------------------------------------------------


def read_tokenizer(path: Path) -> "Tokenizer":
    """Read a tokenizer.json.

    Raises:
        FileFormatError: it is corrupt, or the library panics over what it says.
    """
    from tokenizers import Tokenizer

    content = read_json(path)  # says better than the Rust library what is wrong with a broken file
    _check_ids(path, content)
    with LibraryErrors(FileFormatError, f"{str(path)!r} is not a tokenizer"):
        backend = Tokenizer.from_file(str(path))
    return _try(path, _keep_ids(backend, content))


def _check_ids(path: Path, content: Config) -> None:
    vocabulary = _mapping(_mapping(content.get("model")).get("vocab"))
    for token, number in vocabulary.items():
        check_id(repr(str(path)), token, number)
    added: Any = content.get("added_tokens")
    for token in cast("list[Any]", added) if isinstance(added, list) else []:
        check_id(repr(str(path)), _mapping(token).get("content"), _mapping(token).get("id"))


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _keep_ids(backend: "Tokenizer", content: Config) -> "Tokenizer":
    """Give added tokens the ids that a file says; the library numbers them itself, without a word."""
    added: list[dict[str, Any]] = content.get("added_tokens") or []
    said: dict[str, int] = {token["content"]: token["id"] for token in added}
    wrong = {text: number for text, number in said.items() if backend.token_to_id(text) != number}
    return place_tokens(backend, wrong) if wrong else backend


def _try(path: Path, backend: "Tokenizer") -> "Tokenizer":
    """Return a backend that has encoded and decoded once: a file can be such that the library panics in use."""
    with LibraryErrors(FileFormatError, f"{str(path)!r} is not a tokenizer"):
        try:
            ids = backend.encode("a", "a").ids
            backend.decode(ids, skip_special_tokens=False)
        except Exception:  # noqa: BLE001  # such as a missing unknown token, which only some texts need
            return backend
    return backend


def added_tokens(folder: Path | None, settings: Config) -> "dict[int, AddedToken]":
    """Return the tokens that lie beside a vocabulary: `added_tokens_decoder` in the settings, or added_tokens.json.

    Raises:
        FileFormatError: they are no mapping between ids and tokens.
    """
    from tokenizers import AddedToken

    described = settings.get("added_tokens_decoder")
    if described is not None:
        return _described_tokens(str(folder), described)
    special = {read_token(name, settings[name]).content for name in SPECIAL_TOKENS if settings.get(name)}
    special |= {token.content for token in additional_tokens(settings, FileFormatError)}
    path = None if folder is None else folder / "added_tokens.json"
    older = _read_ids(path) if path is not None and path.is_file() else {}
    return {
        i: AddedToken(
            read_token(f"added token {i}", text).content, special=text in special, normalized=text not in special
        )
        for text, i in older.items()
    }


def check_added_ids(backend: "Tokenizer", place: str, added: "Mapping[int, AddedToken]") -> None:
    """Check that added tokens have the ids that files give them.

    Raises:
        FileFormatError: one has another, since they do not continue the vocabulary's ids.
    """
    for number, token in added.items():
        if backend.token_to_id(token.content) != number:
            raise FileFormatError(
                f"{place} gives the added token {token.content!r} the id {number}, "
                f"and in its vocabulary it has {backend.token_to_id(token.content)}"
            )


def _described_tokens(place: str, described: Any) -> "dict[int, AddedToken]":
    if not isinstance(described, dict) or not all(str(key).isdecimal() for key in cast("dict[Any, Any]", described)):
        raise FileFormatError(f"the added_tokens_decoder of {place!r} is not a mapping from id to token")
    items = cast("dict[str, Any]", described).items()
    return {
        check_id(repr(place), token, int(i)): read_token(f"added token {i}", token, special=False) for i, token in items
    }


# -- vocabularies ---------------------------------------------------------------------------------------------------


def read_vocabulary(source: Path | Mapping[str, int]) -> dict[str, int]:
    """Read a vocabulary of one token a line; a token's id is the number of its line, from 0.

    Blanks after a token are no part of it. A token that stands in several lines has the last one's id.

    Args:
        source: the file, or the ids by token.

    Raises:
        FileFormatError: it is not text in UTF-8.
    """
    if isinstance(source, Path):
        return {token.rstrip(): i for i, token in enumerate(_read_lines(source))}
    return _checked_ids("the vocabulary", source)


def lines_of(vocabulary: Mapping[str, int]) -> str:
    """Return the text that `read_vocabulary` reads as this vocabulary.

    A line whose id no token has is a copy of the next token's, whose last line counts.

    Examples:
        >>> lines_of({"a": 0, "b": 2})
        'a\\nb\\nb\\n'
    """
    lines: list[str] = []
    for token, i in sorted(vocabulary.items(), key=lambda item: item[1]):
        lines += [token] * (i + 1 - len(lines))
    return "".join(f"{line}\n" for line in lines)


def _read_lines(path: Path) -> list[str]:
    # not splitlines, which splits at characters that tokens are made of
    lines = read_text(path).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_bpe(vocabulary: Path | Mapping[str, int], merges: Path | list[Any], **options: Any) -> "models.BPE":
    """Read a byte-pair encoding (Sennrich et al., 2016).

    Args:
        vocabulary: vocab.json, or the ids by token.
        merges: merges.txt, or the pairs.
        **options: those of `tokenizers.models.BPE`, such as `unk_token` and `end_of_word_suffix`.

    Raises:
        FileFormatError: one is corrupt, or the merges are not of this vocabulary.
    """
    from tokenizers.models import BPE

    ids = _read_ids(vocabulary) if isinstance(vocabulary, Path) else _checked_ids("the vocabulary", vocabulary)
    pairs = _read_merges(merges) if isinstance(merges, Path) else [_pair(merge) for merge in merges]
    where = "the vocabulary and the merges"
    if isinstance(vocabulary, Path) and isinstance(merges, Path):
        where = f"{vocabulary.name} and {merges.name} of {str(vocabulary.parent)!r}"
    with LibraryErrors(FileFormatError, f"{where} are not a byte-pair encoding"):
        return BPE(ids, pairs, **options)


def _pair(merge: Any) -> tuple[str, str]:
    parts: tuple[Any, ...] = tuple(merge.split(" ") if isinstance(merge, str) else merge)
    if len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        raise FileFormatError(f"one of the merges is {merge!r}; expected two tokens with a space between")
    return parts[0], parts[1]


def _read_ids(path: Path) -> dict[str, int]:
    return _checked_ids(repr(str(path)), read_json(path))


def _checked_ids(where: str, ids: Mapping[str, Any]) -> dict[str, int]:
    with LibraryErrors(FileFormatError, f"{where} has tokens that are no text"):
        "".join(ids).encode()
    return {token: check_id(where, token, number) for token, number in ids.items()}


def _read_merges(path: Path) -> list[tuple[str, str]]:
    merges: list[tuple[str, str]] = []
    for i, line in enumerate(_read_lines(path), start=1):
        parts = line.rstrip("\r").split(" ")
        if line.startswith("#version"):
            continue
        if len(parts) != 2:
            raise FileFormatError(f"line {i} of {str(path)!r} is {line!r}; expected two tokens with a space between")
        merges.append((parts[0], parts[1]))
    return merges


def vocabulary_in_order(backend: "Tokenizer") -> dict[str, int]:
    """Return the tokens and their ids, in the order of the ids, those added later left out."""
    return dict(sorted(backend.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1]))


def bpe_texts(backend: "Tokenizer") -> dict[str, str]:
    """Return the files that `read_bpe` reads, by name."""
    merges = cast("list[str | list[str]]", json.loads(backend.to_str())["model"]["merges"])
    lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    return {
        VOCABULARY: json.dumps(vocabulary_in_order(backend), ensure_ascii=False) + "\n",
        MERGES: "".join(f"{line}\n" for line in ["#version: 0.2", *lines]),
    }
