"""What a line of a file of texts is."""

import io
import sys
from pathlib import Path

import pytest

from modeloutputs import InputError
from modeloutputs.cli.texts import read_lines


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\ntwo", ["one", "two"]),
        (b"one\n\n \nfour\n", ["one", "", " ", "four"]),
        (b"\none\n\n", ["", "one", ""]),
        (b"one\r\n\r\ntwo\r\n", ["one", "", "two"]),
        ("a\u2028b\x0cc\x85d\x1ce\n".encode(), ["a\u2028b\x0cc\x85d\x1ce"]),
        (b"\xef\xbb\xbfone\n", ["one"]),
        (b"a\rb\n", ["a\rb"]),
    ],
)
def test_a_line_is_what_ends_in_a_newline(
    content: bytes, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "texts").write_bytes(content)
    assert read_lines(str(tmp_path / "texts")) == lines
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))
    assert read_lines("-") == lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no text"),
        (b"\n \n", "holds no text"),
        (b"caf\xe9\n", "is not text in UTF-8"),
        (None, "cannot be read: Is a directory"),
    ],
)
def test_what_is_no_text_is_refused(content: bytes | None, message: str, tmp_path: Path):
    file = tmp_path / "texts"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_lines(str(file))
