"""Finding, reading and writing checkpoint files, without a framework."""

import importlib
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from safetensors import SafetensorError
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
    TensorRecord,
    atomic_path,
    find_checkpoint,
    inside,
    read_json,
    read_safetensors_header,
    read_weight_map,
)

Tensors = dict[str, "np.ndarray[Any, Any]"]
on_files = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?", "C64": "<c8",
}  # fmt: skip
arrays = st.sampled_from(list(DTYPES.values())).flatmap(
    lambda dtype: stn.arrays(dtype, stn.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
names = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: name != "__metadata__")
files = st.dictionaries(names, arrays, min_size=1, max_size=5)  # safetensors 0.8 writes no file of none but metadata


def load(record: TensorRecord) -> bytes:
    return record.path.read_bytes()[record.start : record.stop]


def file_of(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """Write a safetensors file with this header, which need not be a right one."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def assert_one_line(error: BaseException) -> None:
    assert isinstance(error, ModelOutputsError)
    assert "\n" not in str(error)


# -- the header of a safetensors file, against the library's own writer and reader --------------------------------


@on_files
@given(tensors=files, metadata=st.dictionaries(names, names, max_size=2))
def test_what_the_library_writes_is_read(tensors: Tensors, metadata: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "any.safetensors"
    path.write_bytes(safetensors_numpy.save(tensors, metadata))
    records, found = read_safetensors_header(path)
    assert found == metadata
    assert records.keys() == tensors.keys()
    for name, array in tensors.items():
        assert (np.dtype(DTYPES[records[name].dtype]), records[name].shape) == (array.dtype, array.shape)
        assert load(records[name]) == array.tobytes()


def test_a_file_without_tensors_is_read(tmp_path: Path) -> None:
    assert read_safetensors_header(file_of(tmp_path / "none.safetensors", {"__metadata__": {"a": "b"}})) == (
        {},
        {"a": "b"},
    )


SAMPLE: Tensors = {
    "first": np.arange(6, dtype="<f4").reshape(2, 3),
    "empty": np.zeros((0, 7), "<i8"),
    "scalar": np.array(3.5, "<f8"),
    "last": np.array([True, False, True]),
}


@on_files
@given(
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.none() | st.integers(0, 400),
)
def test_a_changed_file_is_read_as_the_library_reads_it_or_refused(
    edits: list[tuple[int, int]], cut: int | None, tmp_path: Path
) -> None:
    content = bytearray(safetensors_numpy.save(SAMPLE, {"format": "np"}))
    for place, byte in edits:
        content[place % len(content)] = byte
    path = tmp_path / "changed.safetensors"
    path.write_bytes(content[:cut])
    try:
        records, _ = read_safetensors_header(path)
    except FileFormatError as error:
        assert_one_line(error)
        with pytest.raises((SafetensorError, KeyError, ValueError)):
            safetensors_numpy.load(path.read_bytes())
    else:
        assert sum(len(load(record)) for record in records.values()) < path.stat().st_size


@pytest.mark.parametrize("length", range(len(safetensors_numpy.save(SAMPLE))))
def test_a_file_cut_off_anywhere_is_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(safetensors_numpy.save(SAMPLE)[:length])
    with pytest.raises(FileFormatError) as caught:
        read_safetensors_header(path)
    assert_one_line(caught.value)
    assert str(path) in str(caught.value)


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
EIGHT = b"\0" * 8


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "corrupt safetensors header"),
        (b"not json", "corrupt safetensors header"),
        (b"\xff\xfe\xfd", "corrupt safetensors header"),
        (b"[1, 2]", "corrupt safetensors header: not a JSON object"),
        (b"[" * 100_000, "corrupt safetensors header"),
        (b'{"a": ' + b"9" * 5000 + b"}", "corrupt safetensors header"),
        ({"__metadata__": 3}, "corrupt safetensors header: __metadata__ is no JSON object"),
        ({"w": 3}, "describes tensor 'w' wrongly"),
        ({"w": None}, "describes tensor 'w' wrongly"),
        ({"w": [1]}, "describes tensor 'w' wrongly"),
        ({"w": {}}, "describes tensor 'w' wrongly.*dtype"),
        ({"w": {**ENTRY, "dtype": "F31"}}, "describes tensor 'w' wrongly.*F31"),
        ({"w": {**ENTRY, "dtype": ["F32"]}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "dtype": None}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "shape": 2}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "shape": "2"}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "shape": [2.0]}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "shape": [True, 2]}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "shape": [-1, -2]}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "shape": [float("inf")]}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "shape": [0, 2**63]}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "shape": [1] * 65}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "shape": [2**62] * 64}}, "gives tensor 'w' 8 bytes, and F32 of shape"),
        ({"w": {**ENTRY, "data_offsets": [0]}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "data_offsets": [0, 8, 8]}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "data_offsets": [-8, 0]}}, "describes tensor 'w' wrongly"),
        ({"w": {**ENTRY, "data_offsets": [8, 0]}}, "gives tensor 'w' -8 bytes, and F32 of shape .* takes 8"),
        ({"w": {**ENTRY, "data_offsets": [0, 4]}}, "gives tensor 'w' 4 bytes, and F32 of shape .* takes 8"),
        ({"w": {**ENTRY, "data_offsets": [4, 12]}}, "is truncated: 'w' ends at byte"),
        ({"w": {**ENTRY, "data_offsets": [2**62, 2**62 + 8]}}, "is truncated: 'w' ends at byte"),
        ({"w": ENTRY, "v": ENTRY}, "is corrupt: tensor 'v' should start at byte"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "is corrupt: tensor 'w' should start at byte"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "is corrupt: its tensors end at byte"),
        ({}, "is corrupt: its tensors end at byte"),
    ],
)
def test_a_wrong_header_is_refused(header: Any, message: str, tmp_path: Path) -> None:
    path = file_of(tmp_path / "wrong.safetensors", header, EIGHT)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_safetensors_header(path)
    assert_one_line(caught.value)
    assert len(str(caught.value)) < 5000  # no header is repeated in full


@pytest.mark.parametrize("length", [1000, 100_000_001, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_not_read(length: int, tmp_path: Path) -> None:
    path = file_of(tmp_path / "long.safetensors", {"w": ENTRY}, EIGHT, length=length)
    with pytest.raises(FileFormatError, match="is no safetensors file, or is cut off in its header"):
        read_safetensors_header(path)


# -- the tensors of a checkpoint ----------------------------------------------------------------------------------


def shard(folder: Path, name: str, **tensors: Any) -> None:
    (folder / name).write_bytes(safetensors_numpy.save({key: np.asarray(value) for key, value in tensors.items()}))


def index(folder: Path, weight_map: Any) -> None:
    (folder / SAFETENSORS_INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_one_file_is_found_before_an_index(tmp_path: Path) -> None:
    shard(tmp_path, SAFETENSORS, whole=1.0)
    index(tmp_path, {"part": "missing.safetensors"})
    assert list(read_weight_map(tmp_path) or {}) == ["whole"]


def test_without_a_file_there_is_no_map(tmp_path: Path) -> None:
    assert read_weight_map(tmp_path) is None


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    shard(tmp_path, "one.safetensors", a=[1.0, 2.0], unlisted=0.0)
    shard(tmp_path, "parts/two.safetensors", b=3.0)
    index(tmp_path, {"a": "one.safetensors", "b": "parts/two.safetensors"})
    records = read_weight_map(tmp_path) or {}
    assert {name: (record.path.name, np.frombuffer(load(record)).tolist()) for name, record in records.items()} == {
        "a": ("one.safetensors", [1.0, 2.0]),
        "b": ("two.safetensors", [3.0]),
    }


def test_missing_shards_are_counted_and_named(tmp_path: Path) -> None:
    shard(tmp_path, "one.safetensors", a=1.0)
    index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors", "c": "three.safetensors"})
    message = r"lacks 2 of the 3 shards its index names: two\.safetensors, three\.safetensors"
    with pytest.raises(CheckpointNotFoundError, match=message):
        read_weight_map(tmp_path)


@pytest.mark.parametrize("name", ["", ".", "parts", "a\0b"])
def test_a_shard_that_is_no_file_is_missing(name: str, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    index(tmp_path, {"a": name})
    with pytest.raises(CheckpointNotFoundError, match="lacks 1 of the 1 shards"):
        read_weight_map(tmp_path)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "parts/../../outside.safetensors", "..", "..\\outside.safetensors", "a\\b"]
)
def test_a_shard_outside_the_folder_is_not_followed(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    (folder / "parts").mkdir(parents=True)
    shard(tmp_path, "outside.safetensors", a=1.0)
    index(folder, {"a": name})
    with pytest.raises(CheckpointError, match=r"names a file outside itself, .*; it is not followed") as caught:
        read_weight_map(folder)
    assert_one_line(caught.value)


def test_an_absolute_path_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    shard(folder, "own.safetensors", a=1.0)
    index(folder, {"a": str(folder / "own.safetensors")})
    with pytest.raises(CheckpointError, match="names a file outside itself"):
        read_weight_map(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "parts/model.safetensors", "..model", "model..safetensors"])
def test_a_name_inside_the_folder_is_followed(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, name) == tmp_path / name


def test_links_are_followed_as_the_hubs_cache_is_made_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    shard(tmp_path, "blob", a=1.0)
    (folder / SAFETENSORS).symlink_to(tmp_path / "blob")
    assert list(read_weight_map(folder) or {}) == ["a"]


def test_a_tensor_that_its_shard_does_not_hold_is_named(tmp_path: Path) -> None:
    shard(tmp_path, "one.safetensors", a=1.0)
    index(tmp_path, {"a": "one.safetensors", "b": "one.safetensors"})
    with pytest.raises(CheckpointError, match=r"says 'b' is in 'one\.safetensors', and it is not"):
        read_weight_map(tmp_path)


def test_a_corrupt_shard_is_named(tmp_path: Path) -> None:
    shard(tmp_path, "one.safetensors", a=1.0)
    (tmp_path / "two.safetensors").write_bytes(b"rubbish")
    index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(FileFormatError, match=r"two\.safetensors"):
        read_weight_map(tmp_path)


@pytest.mark.parametrize("weight_map", [None, [], "a", {"a": 1}, {"a": None}, {"a": ["one.safetensors"]}])
def test_an_index_without_a_map_is_refused(weight_map: Any, tmp_path: Path) -> None:
    index(tmp_path, weight_map)
    with pytest.raises(FileFormatError, match="has no weight_map from tensor to file name"):
        read_weight_map(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "model.safetensors"])
def test_an_index_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / SAFETENSORS_INDEX).write_text(text)
    with pytest.raises(FileFormatError, match=r"model\.safetensors\.index\.json"):
        read_weight_map(tmp_path)


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
    assert str(caught.value).startswith(f"there is no folder {name!r} here, and no such checkpoint could be had from")
    assert "HF_HUB_OFFLINE" in str(caught.value)


@pytest.mark.parametrize("name", ["a--b", "a..b", "a" * 200])
def test_what_the_hub_takes_for_no_id_fails_in_one_line(name: str, hub: Any) -> None:
    with pytest.raises(CheckpointNotFoundError, match="could be had from the hub") as caught:
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
        (("config.json", "pytorch_model.bin", "training_args.bin"), {"config.json", "pytorch_model.bin"}),
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
    assert str(caught.value).endswith(f"could be had from the hub ({reason})")


def test_read_json_reads_what_is_json(tmp_path: Path) -> None:
    (tmp_path / "any.json").write_text('{"ä": [1, {"b": null}]}', encoding="utf-8")
    assert read_json(tmp_path / "any.json") == {"ä": [1, {"b": None}]}


# -- writing whole or not at all ----------------------------------------------------------------------------------


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


def test_the_file_may_be_read_by_whom_other_new_files_may(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    with atomic_path(tmp_path / "file") as path:
        path.write_text("new")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


KILLED = """
import sys
from pathlib import Path
from modeloutputs.files.checkpoints import atomic_path

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
