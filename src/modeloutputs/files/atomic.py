"""Writes files atomically: whoever opens one finds the old content or the new, never a part."""

import contextlib
import os
import secrets
from collections.abc import Generator
from pathlib import Path

from ..errors import CheckpointNotFoundError

__all__ = ["atomic_path"]


@contextlib.contextmanager
def atomic_path(target: Path, *, flush: bool = True) -> Generator[Path, None, None]:
    """Provide an empty temporary file beside `target`; it replaces the target on success and is removed on failure.

    Args:
        target: the file to write.
        flush: wait until the bytes are on the disk before the target is replaced, so that not even a power failure
            leaves a truncated file.

    Raises:
        CheckpointNotFoundError: the folder of `target` does not exist.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder) / "notes.txt") as temporary:
        ...         _ = temporary.write_text("new")
        ...     print((Path(folder) / "notes.txt").read_text())
        new
    """
    if not target.parent.is_dir():
        raise CheckpointNotFoundError(f"there is no folder {str(target.parent)!r} to write {target.name!r} into")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    # Unlike files from `tempfile`, it gets the permissions of any new file.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        if flush:
            _flush(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
