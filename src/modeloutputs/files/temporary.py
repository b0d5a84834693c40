"""Temporary files beside their targets. A living process holds a lock on each of its own; the others are left over.

The locks are those of `flock`, which end with the process. Where a system or file system has none, nothing is taken for
left over.
"""

import contextlib
import itertools
import os
import re
import stat
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Temporary", "create_temporary", "flush_path", "locked_folder", "remove_leftovers"]

_NAME = re.compile(r"\..+\.[0-9a-f]+\.partial")
_LONGEST_STEM = 200  # bytes of the target's name that are kept; file systems allow 255 in all


@dataclass(frozen=True)
class Temporary:
    """A temporary file, and the open handle that holds its lock."""

    path: Path
    handle: int

    def close(self, *, keep: bool = False) -> None:
        """End the lock; remove the file, if it has not been renamed, unless it is to be kept."""
        # Once it is renamed, another process may have a file of its own under this name.
        if not keep and _is_at(self.handle, self.path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        _unlock(self.handle)


def create_temporary(target: Path) -> Temporary:
    """Create an empty file beside a target, with its mode, or that of any new file; one left over is replaced.

    Raises:
        OSError: the folder cannot be written to.
    """
    stem = os.fsdecode(os.fsencode(target.name)[:_LONGEST_STEM])
    for number in itertools.count():
        path = target.with_name(f".{stem}.{number}.partial")
        _remove_if_left_over(path)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            continue
        if _lock(handle) is not False and _is_at(handle, path):
            with contextlib.suppress(FileNotFoundError):
                os.chmod(path, stat.S_IMODE(os.stat(target).st_mode))
            return Temporary(path, handle)
        os.close(handle)  # another process took it for left over, before it was locked
    raise AssertionError("unreachable")


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files in a folder that no living process holds."""
    for entry in os.scandir(folder):
        if _NAME.fullmatch(entry.name):
            _remove_if_left_over(Path(entry.path))


def _remove_if_left_over(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:  # mostly because there is none
        return
    try:
        # Locked, it can no longer be renamed to its target by the process that wrote it.
        if _lock(handle) and _is_at(handle, path):
            with contextlib.suppress(OSError):
                os.unlink(path)
    finally:
        _unlock(handle)


def _lock(handle: int) -> bool | None:
    """Lock a file and return True; False if another process holds the lock, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _unlock(handle: int) -> None:
    """Close a file, and end its lock, which closing alone leaves to the child processes that were forked meanwhile."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Return whether the regular file that was opened still has this path."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and os.path.samestat(found, os.fstat(handle))


@contextlib.contextmanager
def locked_folder(folder: Path) -> Generator[None]:
    """Keep other processes and threads that ask for the same lock waiting."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        _unlock(handle)


def flush_path(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
