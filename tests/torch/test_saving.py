"""Writing weights: one file or shards, whole or not at all, and readable by the reference implementation."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from safetensors import safe_open  # noqa: E402
from torch import Tensor  # noqa: E402

from modeloutputs.torch import BertModel, saving  # noqa: E402
from modeloutputs.torch.saving import save_weights  # noqa: E402
from modeloutputs.torch.weights import open_weights  # noqa: E402

from .peer import CHECKPOINT_HEADS, assert_same_outputs, assert_same_tensors, peer_class, stored  # noqa: E402

LIMIT = 10_000_000
KB = 1000

Tensors = dict[str, Tensor]


def tensors(value: float = 1.0) -> Tensors:
    """Return six tensors of 400 bytes."""
    return {name: torch.full((10, 10), value + i) for i, name in enumerate("abcdef")}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def index(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "model.safetensors.index.json").read_text())


# -- one file, shards and an index --------------------------------------------------------------------------------


def test_one_file_holds_everything(tmp_path: Path) -> None:
    save_weights(tensors(), tmp_path / "new" / "folder", LIMIT)
    assert files(tmp_path / "new" / "folder") == {"model.safetensors"}
    assert_same_tensors(stored(tmp_path / "new" / "folder"), tensors())


def test_the_file_says_that_it_is_pytorchs_as_other_libraries_want(tmp_path: Path) -> None:
    save_weights(tensors(), tmp_path, LIMIT)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize(("limit", "count"), [(2399, 2), (1200, 2), (1199, 3), (800, 3), (799, 6), (400, 6), (1, 6)])
def test_shards_stay_within_the_limit_and_the_index_names_each_tensors(limit: int, count: int, tmp_path: Path) -> None:
    save_weights(tensors(), tmp_path, limit)
    shards = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    assert files(tmp_path) == {*shards, "model.safetensors.index.json"}
    held: dict[str, str] = {}
    for shard in shards:
        with safe_open(tmp_path / shard, "pt") as file:
            names = list(file.keys())
            assert len(names) == 1 or sum(file.get_tensor(name).nbytes for name in names) <= limit
            held.update(dict.fromkeys(names, shard))
    assert index(tmp_path) == {"metadata": {"total_size": 2400}, "weight_map": held}
    assert_same_tensors(stored(tmp_path), tensors())
    assert_same_tensors(dict(open_weights(tmp_path)), tensors())


def test_a_tensor_beyond_the_limit_has_a_shard_of_its_own(tmp_path: Path) -> None:
    large = {"small": torch.zeros(1), "large": torch.zeros(100), "last": torch.zeros(1)}
    save_weights(large, tmp_path, 100)
    assert len(set(index(tmp_path)["weight_map"].values())) == 3
    assert_same_tensors(dict(open_weights(tmp_path)), large)


@pytest.mark.parametrize("limits", [(LIMIT, KB), (KB, LIMIT), (KB, 400), (400, KB), (KB, LIMIT, 400, KB)])
def test_saving_again_leaves_only_what_was_saved_last(limits: tuple[int, ...], tmp_path: Path) -> None:
    for i, limit in enumerate(limits):
        save_weights(tensors(10.0 * i), tmp_path, limit)
    save_weights(tensors(5.0), tmp_path / "fresh", limits[-1])
    assert files(tmp_path) - {"fresh"} == files(tmp_path / "fresh")
    assert_same_tensors(dict(open_weights(tmp_path)), tensors(10.0 * (len(limits) - 1)))


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


BEFORE_AND_AFTER = [(LIMIT, LIMIT), (LIMIT, KB), (KB, LIMIT), (KB, 400), (400, KB), (KB, KB)]
"""Limits of the old checkpoint and of the new: one file, three shards or six."""


@pytest.mark.parametrize("count", range(6))
@pytest.mark.parametrize(("before", "after"), BEFORE_AND_AFTER)
def test_a_failure_while_tensors_are_written_leaves_the_old_checkpoint(
    before: int, after: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_weights(tensors(), tmp_path, before)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(saving, "save_file", fail_at(count, saving.save_file))
    try:
        save_weights(tensors(100.0), tmp_path, after)
    except Failure:
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old
    else:
        assert_same_tensors(dict(open_weights(tmp_path)), tensors(100.0))


@pytest.mark.parametrize("count", range(7))
@pytest.mark.parametrize(("before", "after"), BEFORE_AND_AFTER)
def test_a_failure_while_files_take_their_place_leaves_one_checkpoint_or_the_other(
    before: int, after: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_weights(tensors(), tmp_path, before)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail_at(count, Path.replace))
        try:
            save_weights(tensors(100.0), tmp_path, after)
        except Failure:
            pass
        else:
            assert_same_tensors(dict(open_weights(tmp_path)), tensors(100.0))
    found = dict(open_weights(tmp_path))
    assert_same_tensors(found, tensors(100.0 if found["a"][0, 0] >= 100 else 1.0))
    assert not [name for name in files(tmp_path) if name.endswith(".partial")]


@pytest.mark.parametrize("count", range(4))
@pytest.mark.parametrize(("before", "after"), BEFORE_AND_AFTER)
def test_a_failure_while_old_files_are_removed_leaves_one_checkpoint_or_the_other(
    before: int, after: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_weights(tensors(), tmp_path, before)
    removed: list[Path] = []
    unlink = Path.unlink

    def failing(path: Path, missing_ok: bool = False) -> None:
        if path.name.endswith(".partial"):
            return unlink(path, missing_ok)
        if len(removed) == count:
            raise Failure
        removed.append(path)
        return unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", failing)
        try:
            save_weights(tensors(100.0), tmp_path, after)
        except Failure:
            assert len(removed) == count
    found = dict(open_weights(tmp_path))
    assert_same_tensors(found, tensors(100.0 if found["a"][0, 0] >= 100 else 1.0))


def test_weights_read_from_a_file_outlive_its_replacement(tmp_path: Path) -> None:
    save_weights(tensors(), tmp_path, LIMIT)
    source = dict(open_weights(tmp_path))
    save_weights({name: tensor + 1 for name, tensor in source.items()}, tmp_path, LIMIT)
    assert_same_tensors(source, tensors())
    assert_same_tensors(dict(open_weights(tmp_path)), tensors(2.0))


def test_weights_may_be_saved_over_the_file_they_come_from(tmp_path: Path) -> None:
    save_weights(tensors(), tmp_path, LIMIT)
    for limit in (LIMIT, KB, 400, LIMIT):
        save_weights(open_weights(tmp_path), tmp_path, limit)
    assert_same_tensors(stored(tmp_path), tensors())


def test_a_link_in_the_folder_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"another checkpoint's")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").symlink_to(tmp_path / "blob")
    save_weights(tensors(), tmp_path / "folder", LIMIT)
    assert not os.path.islink(tmp_path / "folder" / "model.safetensors")
    assert (tmp_path / "blob").read_bytes() == b"another checkpoint's"


# -- read by the reference implementation -------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 4])
def test_the_peer_loads_what_a_model_saves_in_any_number_of_files(shards: int, tmp_path: Path) -> None:
    head = CHECKPOINT_HEADS[0]
    model = head.model()
    assert isinstance(model, BertModel)
    size = sum(parameter.nbytes for parameter in model.parameters())
    model.double().save_pretrained(tmp_path, max_shard_size=2 * size if shards == 1 else 2 * size // shards + 10 * KB)
    assert len(list(tmp_path.glob("*.safetensors"))) == shards
    peer, info = peer_class("BertModel").from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert_same_outputs(model, peer, head)
