"""Reads texts from files."""

import sys
from pathlib import Path

from ..errors import InputError

__all__ = ["read_lines"]


def read_lines(file: str) -> list[str]:
    """Return the lines of a file, or of standard input for "-", except blank ones.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or holds no text.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "texts.txt")
        ...     _ = file.write_text("one\\n\\ntwo\\n")
        ...     read_lines(str(file))
        ['one', 'two']
    """
    try:
        content = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file!r} is not text in UTF-8: {error}") from None
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{file!r} holds no text")
    return lines
