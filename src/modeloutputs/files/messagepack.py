"""MessagePack, as far as files of weights need it: maps, lists, texts, numbers, and where their bytes lie.

Bytes and extensions are not read but found, so that a file that is mapped into memory is looked through without
touching its arrays. Format: https://github.com/msgpack/msgpack/blob/master/spec.md.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

__all__ = ["Bytes", "Extension", "extension_head", "head", "pack", "unpack"]


class Bytes(NamedTuple):
    """Where bytes lie in the data."""

    start: int
    stop: int


class Extension(NamedTuple):
    """Where the bytes of an extension lie in the data, and its code."""

    code: int
    start: int
    stop: int


_CONSTANTS: Mapping[int, Any] = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_SIZED = {
    0xC4: ("bytes", ">B"), 0xC5: ("bytes", ">H"), 0xC6: ("bytes", ">I"),
    0xC7: ("extension", ">B"), 0xC8: ("extension", ">H"), 0xC9: ("extension", ">I"),
    0xD9: ("text", ">B"), 0xDA: ("text", ">H"), 0xDB: ("text", ">I"),
    0xDC: ("list", ">H"), 0xDD: ("list", ">I"), 0xDE: ("map", ">H"), 0xDF: ("map", ">I"),
}  # fmt: skip
_FIXED_EXTENSION = range(0xD4, 0xD9)


def unpack(data: Any, start: int = 0, stop: int | None = None) -> Any:
    """Return the one value that some data hold.

    Args:
        data: bytes, or a mapped file.
        start: where the value begins.
        stop: where it ends; the end of the data where not passed.

    Returns:
        None, a bool, a number, a text, a list, a dict, `Bytes` or `Extension`.

    Raises:
        ValueError: the data end within the value or go on behind it, or are no MessagePack.
        RecursionError: it is nested beyond what Python can follow.

    Examples:
        >>> unpack(bytes([0x82, 0xA1, 97, 1, 0xA1, 98, 0xC4, 2, 7, 7]))
        {'a': 1, 'b': Bytes(start=8, stop=10)}
    """
    reader = _Reader(data, start, len(data) if stop is None else stop)
    value = reader.value()
    if reader.at != reader.stop:
        raise ValueError(f"its value ends at byte {reader.at}, the data at {reader.stop}")
    return value


class _Reader:
    """A place in the data."""

    def __init__(self, data: Any, at: int, stop: int) -> None:
        self.data, self.at, self.stop = data, at, stop

    def skip(self, size: int) -> Bytes:
        start, self.at = self.at, self.at + size
        if self.at > self.stop:
            raise ValueError(f"a value goes on to byte {self.at}, and the data end at {self.stop}")
        return Bytes(start, self.at)

    def number(self, code: str) -> Any:
        found = self.skip(struct.calcsize(code))
        return struct.unpack(code, self.data[found.start : found.stop])[0]

    def value(self) -> Any:
        first = self.number(">B")
        if first < 0x80 or first >= 0xE0:  # a small number itself
            return first if first < 0x80 else first - 0x100
        if first < 0xC0:  # a short map, list or text, and its size
            short = self.map if first < 0x90 else self.list if first < 0xA0 else self.text
            return short(first & (15 if first < 0xA0 else 31))
        if first in _CONSTANTS:
            return _CONSTANTS[first]
        if first in _NUMBERS:
            return self.number(_NUMBERS[first])
        if first in _FIXED_EXTENSION:
            return self.extension(1 << (first - _FIXED_EXTENSION.start))
        if first not in _SIZED:
            raise ValueError(f"no value begins with byte {first}")
        kind, code = _SIZED[first]
        return getattr(self, kind)(self.number(code))

    def bytes(self, size: int) -> Bytes:
        return self.skip(size)

    def extension(self, size: int) -> Extension:
        code = self.number(">b")
        return Extension(code, *self.skip(size))

    def text(self, size: int) -> str:
        found = self.skip(size)
        return str(self.data[found.start : found.stop], "utf-8")

    def list(self, size: int) -> Any:
        return [self.value() for _ in range(size)]

    def map(self, size: int) -> Any:
        found: dict[Any, Any] = {}
        for _ in range(size):
            name = self.value()
            if not isinstance(name, str):
                raise ValueError(f"a name is {name!r:.60}")
            found[name] = self.value()
        return found


def pack(value: bool | int | str | Sequence[int | str]) -> bytes:
    """Return a bool, a number from 0, a text, or a list of such in MessagePack.

    Examples:
        >>> pack("a"), pack([1, 300])
        (b'\\xdb\\x00\\x00\\x00\\x01a', b'\\xdd\\x00\\x00\\x00\\x02\\x01\\xcf\\x00\\x00\\x00\\x00\\x00\\x00\\x01,')
    """
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return struct.pack(">B", value) if value < 0x80 else struct.pack(">BQ", 0xCF, value)
    if isinstance(value, str):
        text = value.encode()
        return struct.pack(">BI", 0xDB, len(text)) + text
    return head("list", len(value)) + b"".join(map(pack, value))


def head(kind: Literal["list", "map", "bytes"], size: int) -> bytes:
    """Return what precedes the `size` values of a list, entries of a map or bytes; at most 2**32 - 1."""
    return struct.pack(">BI", {"list": 0xDD, "map": 0xDF, "bytes": 0xC6}[kind], size)


def extension_head(code: int, size: int) -> bytes:
    """Return what precedes the `size` bytes of an extension, at most 2**32 - 1."""
    return struct.pack(">BIb", 0xC9, size, code)
