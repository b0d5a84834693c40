"""Reads the files that tokenizers are kept in: tokenizer.json, vocabularies, merges, and the settings beside them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import CheckpointNotFoundError, FileFormatError
from ..files.checkpoints import read_json
from ..files.git_lfs import check_not_lfs_pointer
from .special import SPECIAL_TOKENS, read_token

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer, models

__all__ = [
    "CHAT_TEMPLATE_FILE",
    "CONFIG_FILE",
    "TOKENIZER_FILE",
    "add_tokens",
    "bpe_texts",
    "read_bpe",
    "read_settings",
    "read_tokenizer",
    "read_vocabulary",
    "vocabulary_in_order",
]

TOKENIZER_FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
VOCABULARY, MERGES = "vocab.json", "merges.txt"


# -- settings -------------------------------------------------------------------------------------------------------


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the contents of tokenizer_config.json, special_tokens_map.json and chat_template.jinja; each is optional.

    Where there is a tokenizer.json, its post-processor tells whether texts get a first and a last token, and
    `add_bos_token` and `add_eos_token` of tokenizer_config.json count for nothing, as in the peer.
    """
    settings = _read_optional(folder / CONFIG_FILE)
    if "added_tokens_decoder" not in settings:  # the newer of the two forms
        settings.update(_read_optional(folder / "special_tokens_map.json"))
    if (folder / TOKENIZER_FILE).is_file():
        settings = {name: value for name, value in settings.items() if name not in ("add_bos_token", "add_eos_token")}
    template = folder / CHAT_TEMPLATE_FILE
    return {**settings, "chat_template": _read_text(template)} if template.is_file() else settings


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _read_text(path: Path) -> str:
    check_not_lfs_pointer(path)  # it would be read as a vocabulary of three tokens
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{str(path)!r} is not text in UTF-8: {error}") from None


# -- whole tokenizers -----------------------------------------------------------------------------------------------


def read_tokenizer(path: Path) -> "Tokenizer":
    """Read a tokenizer.json.

    Raises:
        FileFormatError: it is corrupt.
    """
    from tokenizers import Tokenizer

    read_json(path)  # says better than the Rust library what is wrong with a broken file
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001  # the Rust library raises bare Exception
        raise FileFormatError(f"{str(path)!r} is not a tokenizer: {error}") from None


def add_tokens(backend: "Tokenizer", folder: Path, settings: dict[str, Any]) -> None:
    """Add the tokens that lie beside a vocabulary: `added_tokens_decoder` in the settings, or added_tokens.json.

    Raises:
        FileFormatError: they do not continue the vocabulary's ids.
    """
    for number, token in sorted(_added_tokens(folder, settings).items()):
        backend.add_tokens([token])  # pyright: ignore[reportUnknownMemberType]
        if backend.token_to_id(token.content) != number:
            raise FileFormatError(
                f"{str(folder)!r} gives the added token {token.content!r} the id {number}, "
                f"and in its vocabulary it has {backend.token_to_id(token.content)}"
            )


def _added_tokens(folder: Path, settings: dict[str, Any]) -> "dict[int, AddedToken]":
    from tokenizers import AddedToken

    described = settings.get("added_tokens_decoder")
    if described is not None:
        return _described_tokens(folder, described)
    special = {read_token(name, settings[name]).content for name in SPECIAL_TOKENS if settings.get(name)}
    path = folder / "added_tokens.json"
    older = _read_ids(path) if path.is_file() else {}
    return {i: AddedToken(text, special=text in special, normalized=text not in special) for text, i in older.items()}


def _described_tokens(folder: Path, described: Any) -> "dict[int, AddedToken]":
    if not isinstance(described, dict) or not all(str(key).isdecimal() for key in cast("dict[Any, Any]", described)):
        raise FileFormatError(f"the added_tokens_decoder of {str(folder)!r} is not a mapping from id to token")
    items = cast("dict[str, Any]", described).items()
    return {int(i): read_token(f"added token {i}", token, special=False) for i, token in items}


# -- vocabularies ---------------------------------------------------------------------------------------------------


def read_vocabulary(path: Path) -> dict[str, int]:
    """Read a vocabulary of one token a line; a token's id is the number of its line, from 0.

    Raises:
        FileFormatError: it is not text in UTF-8.
    """
    return {token.rstrip("\r"): i for i, token in enumerate(_read_lines(path))}


def _read_lines(path: Path) -> list[str]:
    # not splitlines, which splits at characters that tokens are made of
    lines = _read_text(path).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_bpe(folder: Path, **options: Any) -> "models.BPE":
    """Read a byte-pair encoding (Sennrich et al., 2016) from vocab.json and merges.txt.

    Args:
        folder: has both.
        **options: those of `tokenizers.models.BPE`, such as `unk_token` and `end_of_word_suffix`.

    Raises:
        CheckpointNotFoundError: one is missing.
        FileFormatError: one is corrupt, or the merges are not of this vocabulary.
    """
    from tokenizers.models import BPE

    missing = [name for name in (VOCABULARY, MERGES) if not (folder / name).is_file()]
    if missing:
        raise CheckpointNotFoundError(f"{str(folder)!r} has neither {TOKENIZER_FILE} nor {' and '.join(missing)}")
    vocabulary, merges = _read_ids(folder / VOCABULARY), _read_merges(folder / MERGES)
    try:
        return BPE(vocabulary, merges, **options)
    except Exception as error:  # noqa: BLE001  # the Rust library raises bare Exception
        raise FileFormatError(
            f"{VOCABULARY} and {MERGES} of {str(folder)!r} are not a byte-pair encoding: {error}"
        ) from None


def _read_ids(path: Path) -> dict[str, int]:
    ids = read_json(path)
    wrong = next((token for token, i in ids.items() if type(i) is not int or not 0 <= i < 2**32), None)
    if wrong is not None:
        raise FileFormatError(f"{str(path)!r} gives {wrong!r} the id {ids[wrong]!r}; expected a whole number from 0")
    return ids


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
