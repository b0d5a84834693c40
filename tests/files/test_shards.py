"""Writing weights: one file or shards, whole or not at all, and readable by other libraries."""

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open

from modeloutputs.errors import InputError
from modeloutputs.files import shards
from modeloutputs.files.checkpoints import find_checkpoint, map_checkpoint
from modeloutputs.files.shards import parse_size, save_weights

from ..support.needs import needs_torch

LIMIT = 10_000_000
KB = 1000

Tensors = dict[str, "np.ndarray[Any, Any]"]


def tensors(value: float = 1.0) -> Tensors:
    """Return six tensors of 400 bytes."""
    return {name: np.full((10, 10), value + i, np.float32) for i, name in enumerate("abcdef")}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def index(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "model.safetensors.index.json").read_text())


def stored(folder: Path) -> Tensors:
    """Return the tensors of all safetensors files in a folder, read by the library of that format."""
    found: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "np") as file:
            found.update((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118  # not a mapping
    return found


def loaded(folder: Path) -> Tensors:
    """Return the tensors that a checkpoint has, read through its index."""
    return {name: tensor.numpy() for name, tensor in (map_checkpoint(find_checkpoint(folder)) or {}).items()}


def assert_same_tensors(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


# -- one file, shards and an index --------------------------------------------------------------------------------


def test_one_file_holds_everything(tmp_path: Path) -> None:
    save_weights(tensors(), tmp_path / "new" / "folder", LIMIT)
    assert files(tmp_path / "new" / "folder") == {"model.safetensors"}
    assert_same_tensors(stored(tmp_path / "new" / "folder"), tensors())


@pytest.mark.parametrize("framework", ["pt", "flax"])
def test_the_file_names_its_framework_as_other_libraries_require(framework: str, tmp_path: Path) -> None:
    save_weights(tensors(), tmp_path, LIMIT, framework)
    with safe_open(tmp_path / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": framework}


@pytest.mark.parametrize(("limit", "count"), [(2399, 2), (1200, 2), (1199, 3), (800, 3), (799, 6), (400, 6), (1, 6)])
def test_shards_stay_within_the_limit_and_the_index_names_each_tensors(limit: int, count: int, tmp_path: Path) -> None:
    save_weights(tensors(), tmp_path, limit)
    names_of_files = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    assert files(tmp_path) == {*names_of_files, "model.safetensors.index.json"}
    held: dict[str, str] = {}
    for shard in names_of_files:
        with safe_open(tmp_path / shard, "np") as file:
            names = list(file.keys())
            assert len(names) == 1 or sum(file.get_tensor(name).nbytes for name in names) <= limit
            held.update(dict.fromkeys(names, shard))
    assert index(tmp_path) == {"metadata": {"total_size": 2400}, "weight_map": held}
    assert_same_tensors(stored(tmp_path), tensors())
    assert_same_tensors(loaded(tmp_path), tensors())


def test_a_tensor_beyond_the_limit_has_a_shard_of_its_own(tmp_path: Path) -> None:
    large = {"small": np.zeros(1), "large": np.zeros(100), "last": np.zeros(1)}
    save_weights(large, tmp_path, 100)
    assert len(set(index(tmp_path)["weight_map"].values())) == 3
    assert_same_tensors(loaded(tmp_path), large)


@pytest.mark.parametrize("limits", [(LIMIT, KB), (KB, LIMIT), (KB, 400), (400, KB), (KB, LIMIT, 400, KB)])
def test_saving_again_leaves_only_what_was_saved_last(limits: tuple[int, ...], tmp_path: Path) -> None:
    for i, limit in enumerate(limits):
        save_weights(tensors(10.0 * i), tmp_path, limit)
    save_weights(tensors(5.0), tmp_path / "fresh", limits[-1])
    assert files(tmp_path) - {"fresh"} == files(tmp_path / "fresh")
    assert_same_tensors(loaded(tmp_path), tensors(10.0 * (len(limits) - 1)))


@pytest.mark.parametrize(
    "name",
    [
        "model.fp16.safetensors", "model-best.safetensors", "model_v2.safetensors", "model-1-of-2.safetensors",
        "adapter_model.safetensors", "other.safetensors.index.json", "pytorch_model.bin", "config.json",
    ],
)  # fmt: skip
def test_files_that_are_not_ours_stay(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("somebody's")
    for limit in (KB, LIMIT, 400):
        save_weights(tensors(), tmp_path, limit)
    assert (tmp_path / name).read_text() == "somebody's"


# -- whole or not at all ------------------------------------------------------------------------------------------


class Failure(Exception):
    """Stands for a full disk."""


def fail_at(count: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function be called `count` times and then fail."""
    calls = iter(range(count))

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise Failure
        return function(*arguments, **options)

    return failing


def save_or_fail(written: Tensors, folder: Path, limit: int) -> bool:
    """Save and return whether that succeeded."""
    try:
        save_weights(written, folder, limit)
    except Failure:
        return False
    return True


def assert_is_old_or_new(folder: Path) -> None:
    found = loaded(folder)
    assert_same_tensors(found, tensors(100.0 if found["a"][0, 0] >= 100 else 1.0))


NUMBER_OF_FILES = {LIMIT: 1, KB: 3, 400: 6}
each_change = pytest.mark.parametrize(
    ("before", "after"), [(LIMIT, LIMIT), (LIMIT, KB), (KB, LIMIT), (KB, 400), (400, KB), (KB, KB)]
)
"""Limits of the old checkpoint and of the new."""


@each_change
def test_a_failure_while_tensors_are_written_leaves_the_old_checkpoint(
    before: int, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_weights(tensors(), tmp_path, before)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for count in itertools.count():
        with monkeypatch.context() as patch:
            patch.setattr(shards, "write_safetensors", fail_at(count, shards.write_safetensors))
            if save_or_fail(tensors(100.0), tmp_path, after):
                break
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old
    assert count == NUMBER_OF_FILES[after]
    assert_same_tensors(loaded(tmp_path), tensors(100.0))


@each_change
def test_a_failure_while_files_are_replaced_leaves_one_checkpoint_or_the_other(
    before: int, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in itertools.count():
        folder = tmp_path / str(count)
        save_weights(tensors(), folder, before)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail_at(count, os.replace))
            succeeded = save_or_fail(tensors(100.0), folder, after)
        assert_is_old_or_new(folder)
        assert not [name for name in files(folder) if name.startswith(".")]
        if succeeded:
            break
    several = (before, after) != (LIMIT, LIMIT)  # then a journal appears first
    assert count == NUMBER_OF_FILES[after] + (after != LIMIT) + several
    assert_same_tensors(loaded(folder), tensors(100.0))


@each_change
def test_a_failure_while_old_files_are_removed_leaves_one_checkpoint_or_the_other(
    before: int, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink
    for count in itertools.count():
        folder = tmp_path / str(count)
        save_weights(tensors(), folder, before)
        unlink_or_fail = fail_at(count, unlink)

        def failing(path: Path, function: Any = unlink_or_fail) -> None:
            (unlink if path.name.endswith(".partial") else function)(path)

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", failing)
            succeeded = save_or_fail(tensors(100.0), folder, after)
        assert_is_old_or_new(folder)
        if succeeded:
            break
    assert_same_tensors(loaded(folder), tensors(100.0))
    assert len(list(folder.glob("*.safetensors"))) == NUMBER_OF_FILES[after]


def test_weights_read_from_a_file_outlive_its_replacement(tmp_path: Path) -> None:
    save_weights(tensors(), tmp_path, LIMIT)
    source = loaded(tmp_path)
    save_weights({name: tensor + 1 for name, tensor in source.items()}, tmp_path, LIMIT)
    assert_same_tensors(source, tensors())
    assert_same_tensors(loaded(tmp_path), tensors(2.0))


def test_weights_may_be_saved_over_the_file_they_come_from(tmp_path: Path) -> None:
    save_weights(tensors(), tmp_path, LIMIT)
    for limit in (LIMIT, KB, 400, LIMIT):
        save_weights(loaded(tmp_path), tmp_path, limit)
    assert_same_tensors(stored(tmp_path), tensors())


def test_a_link_in_the_folder_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"another checkpoint's")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").symlink_to(tmp_path / "blob")
    save_weights(tensors(), tmp_path / "folder", LIMIT)
    assert not os.path.islink(tmp_path / "folder" / "model.safetensors")
    assert (tmp_path / "blob").read_bytes() == b"another checkpoint's"


# -- other frameworks and libraries -------------------------------------------------------------------------------


def test_dtypes_of_ml_dtypes_are_written(tmp_path: Path) -> None:
    written = {"a": np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16), "b": np.ones(2, ml_dtypes.float8_e4m3fn)}
    save_weights(written, tmp_path, 12)
    assert_same_tensors(loaded(tmp_path), written)


@needs_torch
def test_the_hubs_own_reader_loads_shards_of_tensors(tmp_path: Path) -> None:
    import torch

    hub = pytest.importorskip("huggingface_hub", reason="huggingface-hub is not installed")
    model = torch.nn.Sequential(*(torch.nn.Linear(16, 16) for _ in range(4)))
    save_weights(dict(model.named_parameters()), tmp_path, 2 * KB)
    assert len(list(tmp_path.glob("model-*-of-00004.safetensors"))) == 4
    again = torch.nn.Sequential(*(torch.nn.Linear(16, 16) for _ in range(4)))
    hub.load_torch_model(again, tmp_path, strict=True, safe=True)
    assert all(torch.equal(found, model.get_parameter(name)) for name, found in again.named_parameters())


# -- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [("5GB", 5 * 10**9), ("200 MB", 2 * 10**8), ("1kib", 1024), ("3MiB", 3 * 2**20), ("7B", 7), (9, 9)],
)
def test_sizes(size: int | str, expected: int) -> None:
    assert parse_size(size) == expected


@pytest.mark.parametrize("size", ["", "5", "GB", "-1MB", "1.5GB", 0, -3, True])
def test_sizes_that_are_none(size: Any) -> None:
    with pytest.raises(InputError, match=r"^max_shard_size is .*; expected bytes, or a text like '200MB' or '5GB'"):
        parse_size(size)
