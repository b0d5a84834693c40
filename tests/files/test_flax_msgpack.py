"""Files as Flax's own serialization writes them."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

serialization = pytest.importorskip("flax.serialization", reason="Flax is not installed")

from modeloutputs import CheckpointNotFoundError, FileFormatError  # noqa: E402
from modeloutputs.files import flax_msgpack  # noqa: E402
from modeloutputs.files.flax_msgpack import (  # noqa: E402
    map_flax_checkpoint,
    map_flax_msgpack,
    stale_flax_weights,
    write_flax_weights,
)
from modeloutputs.files.replacing import replace_together  # noqa: E402

TREE = {
    "a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "0": {"bias": np.zeros(0, np.float16)}},
    "b": np.array(2.5, ml_dtypes.bfloat16),
}
FLAT = {"a.kernel": TREE["a"]["kernel"], "a.0.bias": TREE["a"]["0"]["bias"], "b": TREE["b"]}


def equal(found: Any, expected: Any = FLAT) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert found[name].numpy().dtype == array.dtype
        np.testing.assert_array_equal(found[name].numpy(), array)
        found[name].release()
        np.testing.assert_array_equal(found[name].numpy(), array)


def test_trees_that_flax_writes_are_read(tmp_path: Path):
    (tmp_path / "flax_model.msgpack").write_bytes(serialization.to_bytes(TREE))
    equal(map_flax_checkpoint(tmp_path))


def test_arrays_in_pieces_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 8)
    (tmp_path / "flax_model.msgpack").write_bytes(serialization.to_bytes({"a": TREE["a"]}))
    equal(map_flax_checkpoint(tmp_path), {name: FLAT[name] for name in ("a.kernel", "a.0.bias")})


def test_shards_are_read_together(tmp_path: Path):
    for i, part in enumerate(({"a": TREE["a"]}, {"b": TREE["b"]}), start=1):
        (tmp_path / f"flax_model-0000{i}-of-00002.msgpack").write_bytes(serialization.to_bytes(part))
    names = {"a/kernel": 1, "a/0/bias": 1, "b": 2}
    listed = ", ".join(f'"{name}": "flax_model-0000{i}-of-00002.msgpack"' for name, i in names.items())
    (tmp_path / "flax_model.msgpack.index.json").write_text(f'{{"weight_map": {{{listed}}}}}')
    equal(map_flax_checkpoint(tmp_path))


def test_a_folder_without_such_files_has_none(tmp_path: Path):
    assert map_flax_checkpoint(tmp_path) is None
    with pytest.raises(CheckpointNotFoundError, match="there is no file"):
        map_flax_msgpack(tmp_path / "flax_model.msgpack")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (serialization.to_bytes(TREE)[:-3], "truncated or no tree of Flax arrays"),
        (b"", "is not a file of Flax arrays: it is empty"),
        (b"\x93\x01\x02\x03", "it holds no map"),
        (b"\x81\xa1a\x01", "the leaf 'a' is a int, not an array"),
        (serialization.to_bytes({"a": "text"}), "the leaf 'a' is a str, not an array"),
        (serialization.to_bytes({"a": np.array(1j)}), "the array 'a' has dtype complex128"),
        (b"\xdf\xff\xff\xff\xff", "a value goes on to byte 6, and the data end at 5"),
        (b"\x81\xa1a" * 5000, "truncated or no tree"),
        (b"\x81\x01\x01", "a name is 1"),
        (b"\x81\xa1a\xc7\x02\x01\x93\x90", "truncated or no tree"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
    ],
)
def test_what_is_no_tree_of_arrays_is_refused(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "flax_model.msgpack"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        map_flax_msgpack(path)


# -- writing --------------------------------------------------------------------------------------------------------


def written(folder: Path, limit: int = 10**9) -> list[str]:
    tensors = {name.replace(".", "/"): array for name, array in FLAT.items()}
    with replace_together(folder, stale=stale_flax_weights) as files:
        write_flax_weights(files, tensors, limit)
    return sorted(path.name for path in folder.iterdir())


def restored(path: Path) -> Any:
    return serialization.msgpack_restore(path.read_bytes())


def test_flax_reads_what_is_written(tmp_path: Path):
    assert written(tmp_path) == ["flax_model.msgpack"]
    found = restored(tmp_path / "flax_model.msgpack")
    np.testing.assert_array_equal(found["a"]["kernel"], TREE["a"]["kernel"])
    assert found["a"]["0"]["bias"].shape == (0,)
    assert found["b"].dtype == ml_dtypes.bfloat16
    assert found["b"] == 2.5


def test_large_arrays_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flax_msgpack, "_CHUNK", 8)
    written(tmp_path)
    assert (tmp_path / "flax_model.msgpack").read_bytes().count(b"__msgpack_chunked_array__") == 1
    np.testing.assert_array_equal(restored(tmp_path / "flax_model.msgpack")["a"]["kernel"], TREE["a"]["kernel"])
    equal(map_flax_checkpoint(tmp_path))


def test_shards_have_an_index_of_paths(tmp_path: Path):
    names = [f"flax_model-0000{i}-of-00002.msgpack" for i in (1, 2)]
    assert written(tmp_path, 24) == [*names, "flax_model.msgpack.index.json"]
    index = json.loads((tmp_path / "flax_model.msgpack.index.json").read_text())
    assert index == {
        "metadata": {"total_size": 26},
        "weight_map": {"a/kernel": names[0], "a/0/bias": names[0], "b": names[1]},
    }
    equal(map_flax_checkpoint(tmp_path))


def test_no_weights_of_an_earlier_checkpoint_stay(tmp_path: Path):
    kept = {"flax_model-best.msgpack", "pytorch_model.bin"}
    for name in ("model.safetensors", *kept):
        (tmp_path / name).touch()
    assert set(written(tmp_path, 24)) - kept == set(written(tmp_path / "new", 24))
    assert set(written(tmp_path)) == {"flax_model.msgpack", *kept, "new"}
    (tmp_path / "flax_model.msgpack.index.json").write_text("{")
    assert set(written(tmp_path)) == {"flax_model.msgpack", *kept, "new"}
