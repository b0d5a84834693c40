"""MessagePack, held against what the format's own examples and library say."""

from typing import Any

import pytest

from modeloutputs.files.messagepack import Bytes, Extension, extension_head, head, pack, unpack

VALUES = [
    None, True, False, 0, 127, 128, 255, 256, 2**16, 2**32, 2**64 - 1, -1, -32, -33, -129, -(2**15) - 1, -(2**31) - 1,
    1.5, "", "a", "ä" * 20, "b" * 300, "c" * 70_000, [], [1, [2, "x"]], list(range(20)), list(range(70_000)),
    {}, {"a": {"b": 1}}, {str(i): i for i in range(20)}, {str(i): i for i in range(70_000)},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{value!r:.20}")
def test_values_are_read_as_the_formats_library_writes_them(value: Any):
    msgpack = pytest.importorskip("msgpack", reason="msgpack is not installed")
    assert unpack(msgpack.packb(value)) == value


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 8, 16, 17, 255, 256, 70_000])
def test_bytes_and_extensions_are_found_and_not_read(size: int):
    msgpack = pytest.importorskip("msgpack", reason="msgpack is not installed")
    data = msgpack.packb([b"x" * size, msgpack.ExtType(5, b"y" * size)])
    found, extension = unpack(data)
    assert isinstance(found, Bytes)
    assert isinstance(extension, Extension)
    assert data[found.start : found.stop] == b"x" * size
    assert (extension.code, data[extension.start : extension.stop]) == (5, b"y" * size)


@pytest.mark.parametrize("value", [True, False, 0, 127, 128, 2**40, "ä" * 40, [3, "float32", 2**33], []])
def test_the_formats_library_reads_what_is_packed(value: Any):
    msgpack = pytest.importorskip("msgpack", reason="msgpack is not installed")
    assert msgpack.unpackb(pack(value)) == value
    assert unpack(pack(value)) == value


def test_heads_precede_what_they_count():
    msgpack = pytest.importorskip("msgpack", reason="msgpack is not installed")
    assert msgpack.unpackb(head("map", 1) + pack("a") + head("list", 2) + pack(1) + head("bytes", 3) + b"xyz") == {
        "a": [1, b"xyz"]
    }
    assert msgpack.unpackb(extension_head(1, 2) + b"xy") == msgpack.ExtType(1, b"xy")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a value goes on to byte 1, and the data end at 0"),
        (b"\xc1", "no value begins with byte 193"),
        (b"\x01\x01", "its value ends at byte 1, the data at 2"),
        (b"\xa5ab", "a value goes on to byte 6, and the data end at 3"),
        (b"\xa1\xff", "invalid start byte"),
        (b"\x81\xc0\x01", "a name is None"),
        (b"\xdd\xff\xff\xff\xff\x01", "a value goes on"),
        (b"\xc9\xff\xff\xff\xff\x01", "a value goes on"),
    ],
)
def test_what_ends_early_or_is_none_is_refused(data: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        unpack(data)


def test_a_part_of_the_data_is_read_alone():
    assert unpack(b"\x01\xa1a\x02", 1, 3) == "a"
    with pytest.raises(ValueError, match="a value goes on to byte 3, and the data end at 2"):
        unpack(b"\x01\xa1a\x02", 1, 2)
