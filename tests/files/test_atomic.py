"""Files are replaced whole or not at all."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from modeloutputs.errors import CheckpointNotFoundError, FileWriteError
from modeloutputs.files.atomic import atomic_path

from ..support.kills import in_child, needs_fork


def test_success_replaces(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with atomic_path(target) as path:
        assert path.parent == tmp_path
        path.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def assert_fails(target: Path, error: type[BaseException]) -> None:
    """Begin to write and fail."""

    def write() -> None:
        with atomic_path(target) as path:
            path.write_text("ne")
            raise error

    with pytest.raises(error):
        write()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_no_temporary(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    assert_fails(target, error)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_failure_where_there_was_no_file_leaves_none(tmp_path: Path) -> None:
    assert_fails(tmp_path / "file", ValueError)
    assert list(tmp_path.iterdir()) == []


def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    with atomic_path(tmp_path / "file") as path:
        path.write_text("new")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_saving_does_not_touch_the_umask_which_all_threads_share(tmp_path: Path) -> None:
    modes: set[int] = set()
    stop = threading.Event()

    def create_files() -> None:
        for i in iter(int, 1):
            (tmp_path / f"other{i}").touch()
            modes.add((tmp_path / f"other{i}").stat().st_mode & 0o777)
            (tmp_path / f"other{i}").unlink()
            if stop.is_set():
                return

    before = os.umask(0o077)
    thread = threading.Thread(target=create_files)
    try:
        thread.start()
        for _ in range(50):
            with atomic_path(tmp_path / "file", flush=False):
                pass
    finally:
        stop.set()
        thread.join()
        os.umask(before)
    assert modes == {0o600}
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    message = rf"^there is no folder '{folder}' to write 'file' into$"
    with pytest.raises(CheckpointNotFoundError, match=message), atomic_path(folder / "file"):
        pass


KILLED = """
import sys
from pathlib import Path
from modeloutputs.files.atomic import atomic_path

with atomic_path(Path(sys.argv[1])) as path, path.open("w") as file:
    file.write("half of the new")
    file.flush()
    print("written", flush=True)
    sys.stdin.read()
"""


def test_a_process_killed_while_it_writes_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.kill()
    assert target.read_text() == "old"
    with atomic_path(target) as path:
        path.write_text("new")
    assert target.read_text() == "new"


@needs_fork
def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_the_file(tmp_path: Path) -> None:
    def die() -> None:
        with atomic_path(tmp_path / "file"):
            os._exit(9)

    os.waitpid(in_child(die), 0)
    assert [path.name for path in tmp_path.iterdir()] == [".file.0.partial"]
    with atomic_path(tmp_path / "file"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_mode_of_a_file_that_is_replaced_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o600)
    with atomic_path(tmp_path / "file") as path:
        assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_link_is_replaced_or_followed_as_asked(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_path(tmp_path / "link", follow_links=True) as path:
        path.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    with atomic_path(tmp_path / "link") as path:
        path.write_text("newer")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_the_systems_errors_are_one_line_with_their_number(tmp_path: Path) -> None:
    with pytest.raises(FileWriteError) as caught, atomic_path(tmp_path / "file"):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
    assert str(caught.value) == f"'{tmp_path}/file' cannot be written: Disk quota exceeded"
    assert caught.value.errno == errno.EDQUOT
    assert isinstance(caught.value, OSError)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(FileWriteError, match=r"is a folder; pass the path of a file$"),
        atomic_path(tmp_path / "folder"),
    ):
        pass
