"""Reads texts from files."""

import codecs
import sys
from pathlib import Path
from typing import Any

from ..errors import InputError

__all__ = ["read_lines"]


def read_lines(file: str) -> list[str]:
    r"""Return the lines of a file, or of standard input for "-", blank ones too: a line is what ends in a newline.

    Other characters that some take for the end of a line, as U+2028 or a form feed, are part of the text; a carriage
    return before a newline, and a byte order mark before all, are not.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or holds no text.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "texts.txt")
        ...     _ = file.write_text("one\n\ntwo\n")
        ...     read_lines(str(file))
        ['one', '', 'two']
    """
    try:
        content = (_read_input() if file == "-" else Path(file).read_bytes()).removeprefix(codecs.BOM_UTF8).decode()
    except OSError as error:
        raise InputError(f"{file!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file!r} is not text in UTF-8: {error}") from None
    if not content.strip():
        raise InputError(f"{file!r} holds no text")
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")]


def _read_input() -> bytes:
    stream: Any = getattr(sys.stdin, "buffer", None)  # somebody may have put a stream of text in its place
    return sys.stdin.read().encode() if stream is None else stream.read()
