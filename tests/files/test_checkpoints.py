"""Finding, reading and writing checkpoint files, without a framework."""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from modeloutputs.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    FileFormatError,
    MissingDependencyError,
    ModelOutputsError,
)
from modeloutputs.files.checkpoints import (
    SAFETENSORS,
    SAFETENSORS_INDEX,
    find_checkpoint,
    map_checkpoint,
    read_json,
    resolve_within,
)


def assert_one_line(error: BaseException) -> None:
    assert isinstance(error, ModelOutputsError)
    assert "\n" not in str(error)


# -- the tensors of a checkpoint ----------------------------------------------------------------------------------


def shard(folder: Path, name: str, **tensors: Any) -> None:
    (folder / name).write_bytes(safetensors_numpy.save({key: np.asarray(value) for key, value in tensors.items()}))


def index(folder: Path, weight_map: Any) -> None:
    (folder / SAFETENSORS_INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_one_file_is_found_before_an_index(tmp_path: Path) -> None:
    shard(tmp_path, SAFETENSORS, whole=1.0)
    index(tmp_path, {"part": "missing.safetensors"})
    assert list(map_checkpoint(tmp_path) or {}) == ["whole"]


def test_without_a_file_there_is_no_map(tmp_path: Path) -> None:
    assert map_checkpoint(tmp_path) is None


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    shard(tmp_path, "one.safetensors", a=[1.0, 2.0], unlisted=0.0)
    shard(tmp_path, "parts/two.safetensors", b=[3.0])
    index(tmp_path, {"a": "one.safetensors", "b": "parts/two.safetensors"})
    tensors = map_checkpoint(tmp_path) or {}
    assert {name: (tensor.path.name, tensor.numpy().tolist()) for name, tensor in tensors.items()} == {
        "a": ("one.safetensors", [1.0, 2.0]),
        "b": ("two.safetensors", [3.0]),
    }


def test_missing_shards_are_counted_and_named(tmp_path: Path) -> None:
    shard(tmp_path, "one.safetensors", a=1.0)
    index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors", "c": "three.safetensors"})
    message = r"lacks 2 of the 3 shards its index names: two\.safetensors, three\.safetensors"
    with pytest.raises(CheckpointNotFoundError, match=message):
        map_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["", ".", "parts", "a\0b"])
def test_a_shard_that_is_no_file_is_missing(name: str, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    index(tmp_path, {"a": name})
    with pytest.raises(CheckpointNotFoundError, match="lacks 1 of the 1 shards"):
        map_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "parts/../../outside.safetensors", "..", "..\\outside.safetensors", "a\\b"]
)
def test_a_shard_outside_the_folder_is_not_followed(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    (folder / "parts").mkdir(parents=True)
    shard(tmp_path, "outside.safetensors", a=1.0)
    index(folder, {"a": name})
    with pytest.raises(CheckpointError, match=r"names a file outside itself, .*; it is not followed") as caught:
        map_checkpoint(folder)
    assert_one_line(caught.value)


def test_an_absolute_path_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    shard(folder, "own.safetensors", a=1.0)
    index(folder, {"a": str(folder / "own.safetensors")})
    with pytest.raises(CheckpointError, match="names a file outside itself"):
        map_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "parts/model.safetensors", "..model", "model..safetensors"])
def test_a_name_inside_the_folder_is_followed(name: str, tmp_path: Path) -> None:
    assert resolve_within(tmp_path, name) == tmp_path / name


def test_links_are_followed_as_the_hubs_cache_is_made_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    shard(tmp_path, "blob", a=1.0)
    (folder / SAFETENSORS).symlink_to(tmp_path / "blob")
    assert list(map_checkpoint(folder) or {}) == ["a"]


def test_a_tensor_that_its_shard_does_not_hold_is_named(tmp_path: Path) -> None:
    shard(tmp_path, "one.safetensors", a=1.0)
    index(tmp_path, {"a": "one.safetensors", "b": "one.safetensors"})
    with pytest.raises(CheckpointError, match=r"says that 'b' is in 'one\.safetensors', and it is not"):
        map_checkpoint(tmp_path)


def test_a_corrupt_shard_is_named(tmp_path: Path) -> None:
    shard(tmp_path, "one.safetensors", a=1.0)
    (tmp_path / "two.safetensors").write_bytes(b"rubbish")
    index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(FileFormatError, match=r"two\.safetensors"):
        map_checkpoint(tmp_path)


@pytest.mark.parametrize("weight_map", [None, [], "a", {"a": 1}, {"a": None}, {"a": ["one.safetensors"]}])
def test_an_index_without_a_map_is_refused(weight_map: Any, tmp_path: Path) -> None:
    index(tmp_path, weight_map)
    with pytest.raises(FileFormatError, match="has no weight_map from tensor to file name"):
        map_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "model.safetensors"])
def test_an_index_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / SAFETENSORS_INDEX).write_text(text)
    with pytest.raises(FileFormatError, match=r"model\.safetensors\.index\.json"):
        map_checkpoint(tmp_path)


# -- finding a checkpoint -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_found(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    assert find_checkpoint(kind(tmp_path)) == tmp_path


def test_a_folder_is_found_relative_to_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint("owner/name") == Path("owner/name")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / SAFETENSORS).touch()
    with pytest.raises(CheckpointNotFoundError, match="is a file; pass the folder that holds"):
        find_checkpoint(tmp_path / SAFETENSORS)


@pytest.mark.parametrize(
    "name", ["", "a/b/c", "./missing", "../missing", "/missing", "~/missing", "-a", "a b", "a/", "é", "a\n"]
)
def test_what_can_be_neither_is_refused_without_asking_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointNotFoundError, match=r"there is no folder .*, and it cannot be a hub id") as caught:
        find_checkpoint(name)
    assert repr(name) in str(caught.value)
    assert_one_line(caught.value)


def test_without_the_hubs_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"to load it as a hub id, install modeloutputs\[hub\]"):
        find_checkpoint("owner/name")


@pytest.fixture(name="hub")
def fixture_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the hub's library, set to be offline with an empty cache."""
    hub = pytest.importorskip("huggingface_hub", reason="huggingface-hub is not installed")
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # read from the environment once, when it was imported
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return hub


@pytest.mark.parametrize("name", ["owner/name", "bert-base-uncased"])
@pytest.mark.parametrize("weights", [True, False])
def test_an_id_that_is_not_cached_fails_offline_in_one_line(name: str, weights: bool, hub: Any) -> None:
    with pytest.raises(CheckpointNotFoundError) as caught:
        find_checkpoint(name, weights=weights)
    assert_one_line(caught.value)
    assert str(caught.value).startswith(f"there is no folder {name!r} here, and it could not be fetched from")
    assert "HF_HUB_OFFLINE" in str(caught.value)


@pytest.mark.parametrize("name", ["a--b", "a..b", "a" * 200])
def test_what_the_hub_takes_for_no_id_fails_in_one_line(name: str, hub: Any) -> None:
    with pytest.raises(CheckpointNotFoundError, match="could not be fetched from the hub") as caught:
        find_checkpoint(name)
    assert_one_line(caught.value)


class Hub:
    """Stands for the hub: fetches those of its files that are asked for, and remembers what it was asked."""

    def __init__(self, folder: Path, *files: str) -> None:
        self.folder, self.files = folder, files
        self.asked: list[dict[str, Any]] = []

    def snapshot_download(self, name: str, **options: Any) -> str:
        from huggingface_hub.utils import filter_repo_objects

        self.asked.append({"name": name, **options})
        patterns = {key: options[key] for key in ("allow_patterns", "ignore_patterns")}
        self.folder.mkdir(exist_ok=True)
        for file in filter_repo_objects(self.files, **patterns):
            (self.folder / file).parent.mkdir(exist_ok=True)
            (self.folder / file).touch()
        return str(self.folder)

    def fetched(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        (
            ("config.json", "vocab.txt", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "onnx/config.json"),
            {"config.json", "vocab.txt", "model.safetensors"},
        ),
        (
            ("config.json", "model-1-of-2.safetensors", "model-2-of-2.safetensors", "model.safetensors.index.json"),
            {"config.json", "model-1-of-2.safetensors", "model-2-of-2.safetensors", "model.safetensors.index.json"},
        ),
        (
            ("config.json", "tokenizer.model", "pytorch_model.bin", "training_args.bin"),
            {"config.json", "tokenizer.model", "pytorch_model.bin"},
        ),
        (
            ("pytorch_model-1-of-1.bin", "pytorch_model.bin.index.json", "nested/model.safetensors"),
            {"pytorch_model-1-of-1.bin", "pytorch_model.bin.index.json"},
        ),
    ],
    ids=["safetensors", "shards", "bin", "bin shards"],
)
def test_of_an_id_only_what_is_needed_is_fetched(
    files: tuple[str, ...], fetched: set[str], hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = Hub(tmp_path / "fetched", *files)
    monkeypatch.setattr(hub, "snapshot_download", stand_in.snapshot_download)
    assert find_checkpoint("owner/name", "v2") == stand_in.folder
    assert stand_in.fetched() == fetched
    assert {(asked["name"], asked["revision"]) for asked in stand_in.asked} == {("owner/name", "v2")}


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        (("config.json", "model.safetensors", "flax_model.msgpack"), {"config.json", "model.safetensors"}),
        (("config.json", "flax_model.msgpack", "pytorch_model.bin"), {"config.json", "flax_model.msgpack"}),
        (
            ("flax_model.msgpack.index.json", "flax_model-00001-of-00001.msgpack"),
            {"flax_model.msgpack.index.json", "flax_model-00001-of-00001.msgpack"},
        ),
        (("config.json", "pytorch_model.bin", "tf_model.h5"), {"config.json", "pytorch_model.bin"}),
    ],
)
def test_older_files_are_fetched_in_the_order_asked_for(
    files: tuple[str, ...], fetched: set[str], hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = Hub(tmp_path / "fetched", *files)
    monkeypatch.setattr(hub, "snapshot_download", stand_in.snapshot_download)
    find_checkpoint("owner/name", older=("flax_model*.msgpack", "pytorch_model*.bin"))
    assert stand_in.fetched() == fetched


def test_a_subfolder_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    for name in ("outer/inner", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "outer" / "out").symlink_to(tmp_path / "other", target_is_directory=True)
    (tmp_path / "outer" / "in").symlink_to(tmp_path / "outer" / "inner", target_is_directory=True)
    (tmp_path / "link").symlink_to(tmp_path / "outer", target_is_directory=True)
    assert find_checkpoint(tmp_path / "outer", subfolder="in").name == "in"
    assert find_checkpoint(tmp_path / "link", subfolder="inner").name == "inner"
    with pytest.raises(CheckpointError, match=r"the subfolder 'out' of .* is a link that leads out"):
        find_checkpoint(tmp_path / "outer", subfolder="out")


def test_configurations_and_tokenizers_fetch_no_weights(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = Hub(tmp_path / "fetched", "config.json", "vocab.txt", "model.safetensors", "pytorch_model.bin")
    monkeypatch.setattr(hub, "snapshot_download", stand_in.snapshot_download)
    find_checkpoint("owner/name", weights=False)
    assert stand_in.fetched() == {"config.json", "vocab.txt"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("disk full\nlong advice"), "disk full"),
        (ConnectionError(), "ConnectionError"),
        (RuntimeError("the proxy\nsays no"), "the proxy"),
        (FileNotFoundError("not cached"), "not cached"),
    ],
)
def test_whatever_the_hubs_library_raises_is_one_line(
    error: Exception, reason: str, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(CheckpointNotFoundError) as caught:
        find_checkpoint("owner/name")
    assert_one_line(caught.value)
    assert str(caught.value).endswith(f"could not be fetched from the hub ({reason})")


def test_a_git_lfs_pointer_in_place_of_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 466062\n")
    with pytest.raises(FileFormatError, match=r"tokenizer\.json' is a Git LFS pointer.* run `git lfs pull` first$"):
        read_json(tmp_path / "tokenizer.json")


def test_read_json_reads_what_is_json(tmp_path: Path) -> None:
    (tmp_path / "any.json").write_text('{"ä": [1, {"b": null}]}', encoding="utf-8")
    assert read_json(tmp_path / "any.json") == {"ä": [1, {"b": None}]}


# -- faults of names and kinds of files ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x" * 300, "\ud800", "a\nb"])
def test_names_that_no_file_can_have_are_missing_in_one_line(name: str, tmp_path: Path) -> None:
    index(tmp_path, {"a": name})
    with pytest.raises(CheckpointNotFoundError, match="lacks 1 of the 1 shards its index names") as caught:
        map_checkpoint(tmp_path)
    assert_one_line(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(FileFormatError, match=r"config\.json' is a device, pipe or socket, and is not read"):
        read_json(tmp_path / "config.json")
    os.mkfifo(tmp_path / SAFETENSORS)
    assert map_checkpoint(tmp_path) is None


def test_a_subfolder_is_found_within_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_checkpoint(tmp_path, subfolder="a/b") == tmp_path / "a" / "b"
    with pytest.raises(CheckpointNotFoundError, match=f"^'{tmp_path}' has no subfolder 'c'$"):
        find_checkpoint(tmp_path, subfolder="c")
    for name in ("../x", "/etc"):
        with pytest.raises(CheckpointError, match="names a file outside itself"):
            find_checkpoint(tmp_path, subfolder=name)


def test_a_link_to_itself_is_one_line(tmp_path: Path):
    (tmp_path / "config.json").symlink_to("config.json")
    with pytest.raises(FileFormatError, match=r"config.json' cannot be read: Too many levels of symbolic links$"):
        read_json(tmp_path / "config.json")
