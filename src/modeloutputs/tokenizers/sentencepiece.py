"""SentencePiece's tokenizer.model (Kudo and Richardson, 2018), read as a tokenizer that gives the same ids.

The file is a protocol buffer, sentencepiece_model.proto: pieces with scores, and how trainer and normalizer were set.
Of it only the fields that tokenizing depends on are read.

Ids are SentencePiece's own, with two exceptions. User-defined symbols are taken out of a text before its spaces are
looked at, as added tokens are everywhere here. Where several cuts of a text are equally good for a unigram model, as in
long runs of one letter, which is taken is a matter of rounding.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FileFormatError
from ..files.git_lfs import check_not_lfs_pointer
from .backend import LibraryErrors

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer, models

__all__ = ["read_sentencepiece"]

_SPACE = "▁"
_CONTROL, _USER_DEFINED, _BYTE = 3, 4, 6
_UNIGRAM, _BPE = 1, 2
Value = int | bytes


@dataclass(frozen=True)
class _Piece:
    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class _Model:
    """What tokenizing depends on, with the format's defaults."""

    pieces: list[_Piece]
    kind: int = _UNIGRAM
    unknown: int = 0
    byte_fallback: bool = False
    space_before: bool = True
    fewer_spaces: bool = True
    character_map: bytes = b""


def read_sentencepiece(path: Path, *, spaces_after_special: bool = True) -> "Tokenizer":
    """Read a SentencePiece model of type BPE or unigram as a tokenizer, without special tokens around texts.

    Args:
        path: the file.
        spaces_after_special: whether a space is put not only before a text, but after each special token in it too.

    Raises:
        FileFormatError: it is no such model, or of another type.
    """
    from tokenizers import Tokenizer

    model = _read(path)
    with LibraryErrors(FileFormatError, f"{str(path)!r} is not a SentencePiece model that can be read"):
        backend = Tokenizer(_model(path, model))
        _set_spaces(backend, model, spaces_after_special)
        backend.add_tokens(_added(model))  # pyright: ignore[reportUnknownMemberType]
    return backend


def _model(path: Path, model: _Model) -> "models.Model":
    from tokenizers import models

    if model.kind == _UNIGRAM:
        scores = [(piece.text, piece.score) for piece in model.pieces]
        return models.Unigram(scores, unk_id=model.unknown, byte_fallback=model.byte_fallback)
    if model.kind != _BPE:
        raise FileFormatError(
            f"{str(path)!r} is a SentencePiece model of words or characters; BPE and unigram are read"
        )
    ids = {piece.text: i for i, piece in enumerate(model.pieces)}
    unknown = model.pieces[model.unknown].text
    return models.BPE(ids, _merges(model), unk_token=unknown, fuse_unk=True, byte_fallback=model.byte_fallback)


def _merges(model: _Model) -> list[tuple[str, str]]:
    """Return the pairs that make up each piece, those of the highest scores first, as SentencePiece joins them."""
    ordinary = {it.text: (it.score, -i) for i, it in enumerate(model.pieces) if it.kind not in (_CONTROL, _BYTE)}
    found: list[tuple[tuple[float, int], int, str, str]] = []
    for text, rank in ordinary.items():
        cuts = ((text[:i], text[i:]) for i in range(1, len(text)))
        found += [(rank, -i, a, b) for i, (a, b) in enumerate(cuts) if a in ordinary and b in ordinary]
    return [(left, right) for _, _, left, right in sorted(found, reverse=True)]


def _added(model: _Model) -> "list[AddedToken]":
    from tokenizers import AddedToken

    kinds = {_CONTROL: True, _USER_DEFINED: False}
    tokens = [AddedToken(it.text, special=kinds[it.kind], normalized=False) for it in model.pieces if it.kind in kinds]
    return [AddedToken(model.pieces[model.unknown].text, special=True, normalized=False), *tokens]


def _set_spaces(backend: "Tokenizer", model: _Model, spaces_after_special: bool) -> None:
    """Have spaces written as `▁`, with one before a text, and taken back in decoding."""
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    steps: list[normalizers.Normalizer] = []
    if model.character_map:
        steps.append(normalizers.Precompiled(model.character_map))
    if model.fewer_spaces:
        # spaces alone, where normalizers.Strip takes tabs and line ends too
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    first_only = model.space_before and not spaces_after_special
    if model.space_before and not first_only:
        steps.append(normalizers.Prepend(_SPACE))
    if first_only:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme="first", split=False)
    else:
        steps.append(normalizers.Replace(" ", _SPACE))
    if steps:
        backend.normalizer = normalizers.Sequence(steps)
    parts: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)] if model.space_before else parts)


# -- the file -------------------------------------------------------------------------------------------------------


def _read(path: Path) -> _Model:
    check_not_lfs_pointer(path)
    try:
        top = list(_fields(path.read_bytes()))
        pieces = [_piece(dict(_fields(_bytes(value)))) for number, value in top if number == 1]
        trainer, normalizer = (dict(_fields(b"".join(_bytes(v) for n, v in top if n == number))) for number in (2, 3))
        model = _Model(
            pieces,
            kind=int(trainer.get(3, _UNIGRAM)),
            unknown=int(trainer.get(40, 0)),
            byte_fallback=bool(trainer.get(35, 0)),
            space_before=bool(normalizer.get(3, 1)),
            fewer_spaces=bool(normalizer.get(4, 1)),
            character_map=_bytes(normalizer.get(2, b"")),
        )
    except (ValueError, IndexError, TypeError, struct.error) as error:
        raise FileFormatError(f"{str(path)!r} is not a SentencePiece model: {error}") from None
    if not 0 <= model.unknown < len(pieces):
        raise FileFormatError(f"{str(path)!r} is not a SentencePiece model: it has no piece for what is unknown")
    return model


def _piece(fields: dict[int, Value]) -> _Piece:
    score = fields.get(2, b"\0\0\0\0")
    return _Piece(_bytes(fields[1]).decode(), struct.unpack("<f", _bytes(score))[0], int(fields.get(3, 1)))


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"found {value}, expected bytes")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Yield the number and the value of each field of a protocol buffer."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, -1), at)
        if size < 0 or at + size > len(data):
            raise ValueError("a field is cut off, or of an unknown kind")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise ValueError("a number has no end")
