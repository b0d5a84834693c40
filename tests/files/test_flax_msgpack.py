"""Files as Flax's own serialization writes them."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

serialization = pytest.importorskip("flax.serialization", reason="Flax is not installed")

from modeloutputs import CheckpointNotFoundError, FileFormatError  # noqa: E402
from modeloutputs.files.flax_msgpack import map_flax_checkpoint, read_flax_msgpack  # noqa: E402

TREE = {
    "a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "0": {"bias": np.zeros(0, np.float16)}},
    "b": np.array(2.5, ml_dtypes.bfloat16),
}
FLAT = {"a.kernel": TREE["a"]["kernel"], "a.0.bias": TREE["a"]["0"]["bias"], "b": TREE["b"]}


def equal(found: Any, expected: Any = FLAT) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


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
        read_flax_msgpack(tmp_path / "flax_model.msgpack")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (serialization.to_bytes(TREE)[:-3], "truncated or no tree of Flax arrays"),
        (b"", "truncated or no tree"),
        (b"\x93\x01\x02\x03", "it holds no map"),
        (b"\x81\xa1a\x01", "a leaf is a int, not an array"),
        (b"\x81\x01\x01", "a name is 1|int is not allowed"),
        (b"\x81\xa1a\xc7\x02\x01\x93\x90", "truncated or no tree"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
    ],
)
def test_what_is_no_tree_of_arrays_is_refused(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "flax_model.msgpack"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        read_flax_msgpack(path)
