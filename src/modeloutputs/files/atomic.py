"""Writes files atomically: whoever opens one finds the old content or the new, never a part."""

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from pathlib import Path

from ..errors import CheckpointNotFoundError, FileWriteError, ModelOutputsError
from .temporary import create_temporary, flush_path

__all__ = ["atomic_path", "refuse_other_kinds", "reporting_failure"]


@contextlib.contextmanager
def atomic_path(target: Path, *, flush: bool = True, follow_links: bool = False) -> Generator[Path]:
    """Provide an empty temporary file beside `target`; it replaces the target on success and is removed on failure.

    The mode of a file that is replaced is kept. What a dead process left of writing the same target is removed.

    Args:
        target: the file to write.
        flush: wait until the bytes are on the disk before the target is replaced, so that not even a power failure
            leaves a truncated file.
        follow_links: where the target is a symbolic link, replace the file that it leads to instead of the link.

    Raises:
        CheckpointNotFoundError: the folder of `target` does not exist.
        FileWriteError: the target is no regular file, or cannot be written.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder) / "notes.txt") as temporary:
        ...         _ = temporary.write_text("new")
        ...     print((Path(folder) / "notes.txt").read_text())
        new
    """
    with reporting_failure(target):
        refuse_other_kinds(target, follow_links=follow_links)
        place = Path(os.path.realpath(target)) if follow_links else target
        if not place.parent.is_dir():
            raise CheckpointNotFoundError(f"there is no folder {str(place.parent)!r} to write {place.name!r} into")
        temporary = create_temporary(place)
        try:
            yield temporary.path
            if flush:
                flush_path(temporary.path)
            os.replace(temporary.path, place)
        finally:
            temporary.close()


@contextlib.contextmanager
def reporting_failure(target: Path) -> Generator[None]:
    """Turn the system's errors into one line with the path and the reason.

    Raises:
        FileWriteError: of the same `errno`.
    """
    try:
        yield
    except ModelOutputsError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileWriteError(error.errno or errno.EIO, f"{str(target)!r} cannot be written: {reason}") from None


def refuse_other_kinds(target: Path, *, follow_links: bool = False) -> None:
    """Refuse to put a file in the place of a folder, a device, a pipe or a socket.

    Raises:
        FileWriteError: naming the path and what it is.
    """
    try:
        mode = os.stat(target, follow_symlinks=follow_links).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise FileWriteError(errno.EISDIR, f"{str(target)!r} is a folder; pass the path of a file")
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise FileWriteError(
            errno.EINVAL, f"{str(target)!r} is a device, pipe or socket, which is not replaced; pass the path of a file"
        )
