"""Replaces several files of a folder together: whenever the program is stopped, the old ones count or the new ones.

All new files are finished under temporary names. Then a journal that lists them appears, which is the switch: before
it the old files count, after it the new ones. Under its cover the files are renamed, and it is removed. A process that
is killed in between leaves the journal, and whoever opens or writes the folder next finishes the work.
Programs that do not know the journal find no file of `last` then, config.json for one, and refuse the folder.
"""

import contextlib
import json
import os
from collections.abc import Callable, Collection, Generator, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ModelOutputsError
from .atomic import refuse_other_kinds, reporting_failure
from .temporary import Temporary, create_temporary, flush_path, locked_folder, remove_leftovers

__all__ = ["JOURNAL", "Replacement", "finish_replacing", "replace_together"]

JOURNAL = ".interrupted-save.json"

_SMALL = 1_000_000
"""Bytes up to which a new file is compared with the old one."""

Stale = Callable[[Path, Collection[str]], Iterable[str]]
"""Given the folder and the names of the new files, returns the names of those to remove once the new ones count."""


class Replacement:
    """The new files of one folder, while they are being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._temporaries: dict[str, Temporary] = {}

    def path(self, name: str) -> Path:
        """Return the empty temporary file that will replace the file `name` of the folder."""
        if name not in self._temporaries:
            refuse_other_kinds(self.folder / name)
            self._temporaries[name] = create_temporary(self.folder / name)
        return self._temporaries[name].path

    def write_text(self, name: str, text: str) -> None:
        """Write the new content of a file, in UTF-8 and with the line ends as they are."""
        self.path(name).write_text(text, encoding="utf-8", newline="")

    def paths(self) -> dict[str, Path]:
        """Return the temporary files by the names that they will have."""
        return {name: temporary.path for name, temporary in self._temporaries.items()}

    def close(self) -> None:
        """Remove what has not been renamed, unless a journal says that it counts."""
        keep = os.path.lexists(self.folder / JOURNAL)
        for temporary in self._temporaries.values():
            temporary.close(keep=keep)


def _none(folder: Path, names: Collection[str]) -> Iterable[str]:
    return ()


@contextlib.contextmanager
def replace_together(folder: Path, *, last: Iterable[str] = (), stale: Stale = _none) -> Generator[Replacement]:
    """Replace several files of a folder, all of them or, if anything fails or the process dies, none.

    What dead processes left of an earlier attempt is removed. Processes that write the same folder at once do so one
    after the other; files are written beforehand, by each on its own.

    Args:
        folder: created if it does not exist.
        last: names of the files that tell readers what the others are; they are renamed last, in this order.
        stale: names of files to remove before those of `last` appear.

    Raises:
        FileWriteError: a file cannot be written.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as name:
        ...     with replace_together(Path(name), last=["config.json"]) as files:
        ...         files.write_text("config.json", "{}")
        ...         files.write_text("vocab.txt", "[PAD]")
        ...     sorted(path.name for path in Path(name).iterdir())
        ['config.json', 'vocab.txt']
    """
    with reporting_failure(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked_folder(folder):
            _finish_or_drop(folder)
            remove_leftovers(folder)
        files = Replacement(folder)
        try:
            yield files
            for path in files.paths().values():
                flush_path(path)
            with locked_folder(folder):
                _finish_or_drop(folder)
                _commit(folder, files.paths(), list(last), stale)
        finally:
            files.close()


def finish_replacing(folder: Path) -> None:
    """Finish what a process that was killed began; without a journal, and that is one look at the folder, do nothing.

    Raises:
        CheckpointError: it cannot be finished, and which file to delete to use what is there.
    """
    if not os.path.lexists(folder / JOURNAL):
        return
    try:
        with locked_folder(folder):
            _finish(folder)
    except OSError as error:
        if isinstance(error, ModelOutputsError):
            raise
        raise CheckpointError(
            f"a save into {str(folder)!r} was interrupted and cannot be finished here ({error.strerror}); "
            "load it once where the folder can be written, or save it again"
        ) from None


def _finish(folder: Path) -> None:
    if os.path.lexists(folder / JOURNAL):  # whoever held the lock may have finished it
        _switch(folder, _Journal.read(folder))


def _finish_or_drop(folder: Path) -> None:
    """Finish an earlier replacement; one that cannot be finished no longer matters, as all is written anew."""
    try:
        _finish(folder)
    except CheckpointError:
        _unlink(folder / JOURNAL)


# -- the switch -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Journal:
    """What is to be done in a folder."""

    files: dict[str, str]
    """Temporary name, by final name."""
    last: list[str]
    """Final names of those that are removed before and renamed last."""
    removed: list[str]
    written: int = 0
    """When the journal was, in nanoseconds."""

    @classmethod
    def read(cls, folder: Path) -> "_Journal":
        path = folder / JOURNAL
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = cls(
                dict(content["files"]), list(content["last"]), list(content["removed"]), os.lstat(path).st_mtime_ns
            )
            names: list[Any] = [*found.files, *found.files.values(), *found.last, *found.removed]
            if not all(_is_plain(name) for name in names):
                raise ValueError("a name leads out of the folder")
        except (ValueError, KeyError, TypeError, RecursionError):
            raise CheckpointError(
                f"{str(path)!r} is corrupt; delete it to use the other files of the folder as they are"
            ) from None
        return found


def _is_plain(name: Any) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)


def _commit(folder: Path, paths: dict[str, Path], last: list[str], stale: Stale) -> None:
    named = set(stale(folder, paths.keys())) - paths.keys()
    removed = sorted(name for name in named if _is_plain(name) and os.path.lexists(folder / name))
    changed = [name for name, path in paths.items() if not _is_equal(path, folder / name)]
    if len(changed) <= 1 and not removed:
        for name in changed:
            os.replace(paths[name], folder / name)
        return
    decisive = [name for name in last if name in paths]
    order = [*(name for name in paths if name not in decisive), *decisive]
    journal = _Journal({name: paths[name].name for name in order}, decisive, removed)
    temporary = create_temporary(folder / JOURNAL)
    try:
        temporary.path.write_text(json.dumps(asdict(journal)), encoding="utf-8")
        flush_path(temporary.path)
        os.replace(temporary.path, folder / JOURNAL)
    finally:
        temporary.close()
    flush_path(folder)
    _switch(folder, journal)


def _is_equal(new: Path, old: Path) -> bool:
    """Return whether a small file would only be replaced by its like."""
    try:
        size = os.lstat(new).st_size
        return size <= _SMALL and size == os.lstat(old).st_size and new.read_bytes() == old.read_bytes()
    except OSError:
        return False


def _switch(folder: Path, journal: _Journal) -> None:
    pending = [name for name, temporary in journal.files.items() if os.path.lexists(folder / temporary)]
    if journal.written:
        _check_possible(folder, journal, pending)
    for name in journal.last:
        if name in pending:
            _unlink(folder / name)
    _rename(folder, journal, [name for name in pending if name not in journal.last])
    for name in journal.removed:
        _unlink(folder / name)
    _rename(folder, journal, [name for name in journal.last if name in pending])
    _unlink(folder / JOURNAL)


def _rename(folder: Path, journal: _Journal, names: Iterable[str]) -> None:
    for name in names:
        # Where there are no locks, another process may have done it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            os.replace(folder / journal.files[name], folder / name)


def _check_possible(folder: Path, journal: _Journal, pending: Collection[str]) -> None:
    """Refuse to finish where a file is gone, or one that somebody else wrote after the interruption would be lost."""
    lost = [name for name in journal.files if name not in pending and not os.path.lexists(folder / name)]
    if lost:
        raise CheckpointError(
            f"a save into {str(folder)!r} was interrupted, and {lost[0]!r} of it is gone; save it again"
        )
    for name in [*pending, *journal.removed]:
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(folder / name).st_mtime_ns > journal.written:
                raise CheckpointError(
                    f"a save into {str(folder)!r} was interrupted, and {name!r} was written after that; "
                    f"delete {JOURNAL} there to use the files as they are"
                )


def _unlink(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
