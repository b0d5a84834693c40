"""Recognises Git LFS pointers: the text files that a clone holds in place of large files that were not fetched."""

from pathlib import Path

from ..errors import FileFormatError

__all__ = ["check_not_lfs_pointer"]

_FIRST_LINE = b"version https://git-lfs.github.com/spec/"


def check_not_lfs_pointer(path: Path) -> None:
    """Refuse a Git LFS pointer. Readers call this when a file is not of the format that they expect.

    Raises:
        FileFormatError: the file is such a pointer.
    """
    with path.open("rb") as file:
        if file.read(len(_FIRST_LINE)) == _FIRST_LINE:
            raise FileFormatError(f"{str(path)!r} is a Git LFS pointer, not the file itself; run `git lfs pull` first")
