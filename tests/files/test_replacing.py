"""Several files of a folder replaced together: all old or all new, wherever the process is killed."""

import errno
import itertools
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeloutputs.errors import CheckpointError, FileWriteError
from modeloutputs.files import replacing
from modeloutputs.files.checkpoints import SAFETENSORS_INDEX, find_checkpoint, map_checkpoint, read_json
from modeloutputs.files.replacing import JOURNAL, finish_replacing, replace_together
from modeloutputs.files.safetensors import write_safetensors
from modeloutputs.files.shards import stale_weights, write_weights

from ..support.kills import in_child, is_killed_at, needs_fork

WHOLE, SHARDS = 10_000, 200
"""Bytes of a shard, for one file and for two."""


def save(folder: Path, value: int, limit: int) -> None:
    """Save a checkpoint in which every file says `value`."""
    weights = {name: np.full(25, value + i, np.float32) for i, name in enumerate("abcd")}
    with replace_together(folder, last=[SAFETENSORS_INDEX, "config.json"], stale=stale_weights) as files:
        files.write_text("config.json", json.dumps({"value": value}))
        write_weights(files, weights, limit)
        files.write_text("generation_config.json", json.dumps({"value": value, "note": "x"}))


def values(folder: Path) -> set[float]:
    """Return what the files of a checkpoint say, which is one value if they belong together."""
    folder = find_checkpoint(folder)
    tensors = map_checkpoint(folder) or {}
    assert sorted(tensors) == list("abcd")
    texts = [read_json(folder / name)["value"] for name in ("config.json", "generation_config.json")]
    return {*texts, *(float(tensors[name].numpy()[0]) - i for i, name in enumerate("abcd"))}


def peer_values(folder: Path) -> set[float]:
    """Return the same as other programs see it, which do not know the journal."""
    tensors = map_checkpoint(folder) or {}
    return {
        read_json(folder / "config.json")["value"],
        *(float(tensors[n].numpy()[0]) - i for i, n in enumerate("abcd")),
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@needs_fork
@pytest.mark.parametrize(("before", "after"), [(WHOLE, SHARDS), (SHARDS, WHOLE)])
def test_a_process_killed_at_any_point_leaves_the_old_checkpoint_or_the_new(
    before: int, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # the disk takes most of the time
    fresh = tmp_path / "fresh"
    save(fresh, 7, after)
    found: list[set[float]] = []
    for step in itertools.count():
        folder = tmp_path / str(step)
        save(folder, 100, before)
        if not is_killed_at(step, partial(save, folder, 200, after), ("replace", "unlink", "open")):
            break
        try:
            assert len(peer_values(folder)) == 1  # a mixture never loads elsewhere either
        except (CheckpointError, KeyError):  # there is no config.json or no whole checkpoint for now
            assert (folder / JOURNAL).exists()
        found.append(values(folder))
        assert found[-1] in ({100}, {200}), step
        save(folder, 300, after)
        assert values(folder) == {300}
        assert names(folder) == names(fresh), step
    assert step >= 10
    assert found == sorted(found, key=lambda value: value == {200})  # one switch, never back
    assert {100} in found
    assert {200} in found
    assert values(folder) == {200}


def save_often(folder: Path, value: int) -> None:
    for _ in range(4):
        save(folder, value, SHARDS)


@needs_fork
def test_processes_that_save_into_one_folder_at_once_leave_a_whole_checkpoint(tmp_path: Path) -> None:
    for round in range(3):
        children = [in_child(partial(save_often, tmp_path, value)) for value in (100, 200, 300)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0], round
        assert len(values(tmp_path)) == 1
        assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_nothing_is_written_where_nothing_changes(tmp_path: Path) -> None:
    save(tmp_path, 1, SHARDS)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    save(tmp_path, 1, SHARDS)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def interrupt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail between the journal and the first of the files."""

    def fail(*arguments: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(replacing, "_switch", fail)
        with pytest.raises(FileWriteError):
            save(folder, 200, WHOLE)
    assert (folder / JOURNAL).exists()


def test_an_interrupted_save_is_finished_by_whoever_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 100, SHARDS)
    interrupt(tmp_path, monkeypatch)
    assert values(tmp_path) == {200}
    assert names(tmp_path) == ["config.json", "generation_config.json", "model.safetensors"]


def test_what_somebody_else_wrote_after_an_interrupted_save_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 100, WHOLE)
    interrupt(tmp_path, monkeypatch)
    time.sleep(0.02)
    (tmp_path / "config.json").write_text('{"value": 5}')
    with pytest.raises(CheckpointError, match=rf"^a save into '{tmp_path}' was interrupted, and 'config\.json' was w"):
        find_checkpoint(tmp_path)
    assert read_json(tmp_path / "config.json") == {"value": 5}
    save(tmp_path, 300, WHOLE)
    assert values(tmp_path) == {300}
    assert names(tmp_path) == ["config.json", "generation_config.json", "model.safetensors"]


@pytest.mark.parametrize(
    "journal",
    [
        "", "[]", "{}", '{"files": [], "last": 3, "removed": []}',
        '{"files": {"../x": "y"}, "last": [], "removed": []}',
        '{"files": {"x": "y"}, "last": [], "removed": ["/etc/x"]}', '{"files": {"x": 3}, "last": [], "removed": []}',
    ],
)  # fmt: skip
def test_a_journal_that_is_none_is_refused_and_the_next_save_is_not_kept_from_working(
    journal: str, tmp_path: Path
) -> None:
    save(tmp_path, 100, WHOLE)
    (tmp_path / JOURNAL).write_text(journal)
    with pytest.raises(CheckpointError, match=r"\.interrupted-save\.json' is corrupt; delete it") as caught:
        finish_replacing(tmp_path)
    assert "\n" not in str(caught.value)
    save(tmp_path, 200, WHOLE)
    assert values(tmp_path) == {200}


def test_a_journal_whose_files_are_gone_says_so(tmp_path: Path) -> None:
    save(tmp_path, 100, WHOLE)
    (tmp_path / JOURNAL).write_text('{"files": {"gone": ".gone.0.partial"}, "last": [], "removed": ["config.json"]}')
    with pytest.raises(CheckpointError, match="was interrupted, and 'gone' of it is gone; save it again"):
        finish_replacing(tmp_path)
    assert (tmp_path / "config.json").exists()


def fill_disk_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    def failing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(calls) == step:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(Path, "write_text", failing(Path.write_text))
    monkeypatch.setattr(replacing, "flush_path", failing(replacing.flush_path))
    monkeypatch.setattr("modeloutputs.files.shards.write_safetensors", failing(write_safetensors))


def test_a_full_disk_is_one_line_with_its_number_and_the_old_files_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 100, SHARDS)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for step in range(9):
        with monkeypatch.context() as patch:
            fill_disk_at(step, patch)
            with pytest.raises(FileWriteError) as caught:
                save(tmp_path, 200, SHARDS)
        assert str(caught.value) == f"'{tmp_path}' cannot be written: No space left on device"
        assert caught.value.errno == errno.ENOSPC
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old, step


def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").mkdir()
    with pytest.raises(FileWriteError, match=r"generation_config\.json' is a folder; pass the path of a file$"):
        save(tmp_path, 1, WHOLE)
    assert names(tmp_path) == ["generation_config.json"]


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileWriteError, match=rf"^'{tmp_path}/file' cannot be written: File exists$"):
        save(tmp_path / "file", 1, WHOLE)


def test_modes_of_files_that_are_replaced_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, WHOLE)
    for path in tmp_path.iterdir():
        path.chmod(0o640)
    save(tmp_path, 2, WHOLE)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}
