"""Temporary files: whose process lives is kept, whose process died is removed."""

import os
from pathlib import Path

import pytest

from modeloutputs.files.temporary import create_temporary, locked_folder, remove_leftovers

from ..support.kills import in_child

pytest.importorskip("fcntl", reason="this system has no flock")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def leave_behind(folder: Path, *targets: str) -> None:
    """Create temporary files in a process that dies before it removes them."""

    def create() -> None:
        for target in targets:
            create_temporary(folder / target)

    os.waitpid(in_child(create), 0)


def test_a_file_in_use_is_kept_and_another_gets_its_own(tmp_path: Path) -> None:
    first, second = create_temporary(tmp_path / "file"), create_temporary(tmp_path / "file")
    remove_leftovers(tmp_path)
    assert first.path != second.path
    assert names(tmp_path) == sorted([first.path.name, second.path.name])
    first.close()
    second.close()
    assert names(tmp_path) == []


def test_what_a_dead_process_left_is_taken_over_by_whoever_writes_the_same_file(tmp_path: Path) -> None:
    leave_behind(tmp_path, "file", "other")
    assert names(tmp_path) == [".file.0.partial", ".other.0.partial"]
    create_temporary(tmp_path / "file").close()
    assert names(tmp_path) == [".other.0.partial"]


def test_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    leave_behind(tmp_path, "a", "b")
    (tmp_path / ".c.9f00ab12.partial").touch()  # the name that earlier versions gave
    (tmp_path / ".partial").touch()
    (tmp_path / "d.0.partial").touch()
    (tmp_path / ".e.0.partial").symlink_to("nowhere")
    os.mkfifo(tmp_path / ".f.0.partial")
    held = create_temporary(tmp_path / "g")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".e.0.partial", ".f.0.partial", ".g.0.partial", ".partial", "d.0.partial"]
    held.close()


def test_the_name_of_a_target_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    for target in ("x" * 255, "é" * 127):
        create_temporary(tmp_path / target).close()
    assert names(tmp_path) == []


def test_a_folder_is_locked_for_other_processes_and_free_after_the_death_of_its_holder(tmp_path: Path) -> None:
    read, write = os.pipe()

    def lock() -> None:
        with locked_folder(tmp_path):
            os.write(write, b"child")
            os._exit(0)

    with locked_folder(tmp_path):
        child = in_child(lock)
        os.write(write, b"first ")
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"first child"
    with locked_folder(tmp_path):  # the child died holding it
        os.close(read)
        os.close(write)
