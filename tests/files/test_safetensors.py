"""The safetensors format: mapping what the format's own library writes, and writing what it reads."""

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors_numpy

from modeloutputs.errors import CheckpointNotFoundError, FileFormatError, InputError, ModelOutputsError
from modeloutputs.files.safetensors import map_safetensors, nbytes, write_safetensors

from ..support.mappings import mapped_ranges, needs_proc
from ..support.needs import needs_torch

Tensors = dict[str, "np.ndarray[Any, Any]"]
on_files = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?", "C64": "<c8",
    "BF16": ml_dtypes.bfloat16, "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}  # fmt: skip
arrays = st.sampled_from(list(DTYPES)[:13]).flatmap(
    lambda dtype: stn.arrays(DTYPES[dtype], stn.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
names = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: name != "__metadata__")
files = st.dictionaries(names, arrays, min_size=1, max_size=5)  # the library writes no file of metadata alone
notes = st.dictionaries(names, names, max_size=2)


def file_of(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """Write a file with this header, which need not be valid."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def refusal(path: Path) -> str:
    """Return why a file is refused: one line that names it."""
    with pytest.raises(FileFormatError) as caught:
        map_safetensors(path)
    assert isinstance(caught.value, ModelOutputsError)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def every_dtype() -> Tensors:
    """Return an array of random bits of each dtype: NaNs with payloads and negative zeros included."""
    bits = np.random.default_rng(0).integers(0, 256, 48, np.uint8)
    return {
        code: (bits & 1 if code == "BOOL" else bits).view(np.dtype(dtype)).reshape(2, -1)
        for code, dtype in DTYPES.items()
    }


# -- reading ------------------------------------------------------------------------------------------------------


@on_files
@given(tensors=files, metadata=notes)
def test_a_file_written_by_the_library_is_mapped(tensors: Tensors, metadata: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "any.safetensors"
    path.write_bytes(safetensors_numpy.save(tensors, metadata))
    mapped = map_safetensors(path)
    assert mapped.metadata == metadata
    assert mapped.tensors.keys() == tensors.keys()
    for name, array in tensors.items():
        tensor = mapped.tensors[name]
        assert (tensor.name, tensor.path, tensor.nbytes) == (name, path, array.nbytes)
        assert (np.dtype(DTYPES[tensor.dtype]), tensor.shape) == (array.dtype, array.shape)
        assert path.read_bytes()[tensor.start : tensor.stop] == bytes(tensor.buffer()) == array.tobytes()
        assert (tensor.numpy().dtype, tensor.numpy().shape) == (array.dtype, array.shape)
        assert tensor.numpy().tobytes() == array.tobytes()


def test_every_dtype_comes_back_bit_by_bit(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "file", every_dtype(), {})
    mapped = map_safetensors(tmp_path / "file").tensors
    for code, array in every_dtype().items():
        assert mapped[code].dtype == code
        assert mapped[code].numpy().dtype == array.dtype
        assert mapped[code].numpy().tobytes() == array.tobytes()


def test_a_file_without_tensors_is_read(tmp_path: Path) -> None:
    assert map_safetensors(file_of(tmp_path / "none", {"__metadata__": {"a": "b"}})) == ({}, {"a": "b"})


@needs_proc
def test_arrays_are_the_file_itself_as_long_as_they_live(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "file", {"a": np.arange(6.0)}, {})
    array = map_safetensors(tmp_path / "file").tensors["a"].numpy()
    assert any(array.ctypes.data in found for found in mapped_ranges(tmp_path / "file"))
    del array
    assert mapped_ranges(tmp_path / "file") == []


def test_arrays_can_be_written_to_and_the_file_stays(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "file", {"a": np.arange(6.0)}, {})
    content = (tmp_path / "file").read_bytes()
    tensor = map_safetensors(tmp_path / "file").tensors["a"]
    tensor.numpy()[:] = 7
    assert tensor.numpy().tolist() == [7.0] * 6
    assert (tmp_path / "file").read_bytes() == content


@pytest.mark.parametrize("code", ["F64", "F32", "BF16", "C64", "U8"])
def test_a_buffer_is_aligned_wherever_other_writers_place_tensors(code: str, tmp_path: Path) -> None:
    array = every_dtype()[code]
    entry = {"dtype": code, "shape": array.shape, "data_offsets": [0, array.nbytes]}
    for spaces in range(8):
        header = json.dumps({"w": entry}).encode() + b" " * spaces
        tensor = map_safetensors(file_of(tmp_path / "file", header, array.tobytes())).tensors["w"]
        assert np.frombuffer(tensor.buffer(), np.uint8).ctypes.data % array.itemsize == 0
        assert tensor.numpy().flags.aligned
        assert tensor.numpy().flags.writeable
        assert tensor.numpy().tobytes() == array.tobytes()


def test_a_shape_beyond_numpys_limits_is_refused_when_the_array_is_made(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}
    tensor = map_safetensors(file_of(tmp_path / "file", {"w": entry})).tensors["w"]
    with pytest.raises(FileFormatError, match=r"^'.*file' gives tensor 'w' an invalid shape \(0, 4611"):
        tensor.numpy()


# -- files that are refused ---------------------------------------------------------------------------------------

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
        library: Any = safetensors_numpy.load(path.read_bytes())
    except (SafetensorError, KeyError, ValueError):
        library = None
    try:
        mapped = map_safetensors(path).tensors
    except FileFormatError:
        refusal(path)
        assert library is None
        return
    assert sum(tensor.nbytes for tensor in mapped.values()) < path.stat().st_size
    for name, array in (library or {}).items():
        assert mapped[name].numpy().tobytes() == array.tobytes()


def test_a_file_that_is_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    content = safetensors_numpy.save(SAMPLE)
    for length in range(len(content)):
        (tmp_path / "cut").write_bytes(content[:length])
        refusal(tmp_path / "cut")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
EIGHT = b"\0" * 8


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "corrupt safetensors header"),
        (b"not json", "corrupt safetensors header"),
        (b'{"a": {"dtype": "F32"}, "a": {"dtype": "F32"}}', "corrupt safetensors header: it has 'a' twice"),
        (b'{"a": {"dtype": "F32", "dtype": "F16"}}', "corrupt safetensors header: it has 'dtype' twice"),
        (b"\xff\xfe\xfd", "corrupt safetensors header"),
        (b"[1, 2]", "corrupt safetensors header: not a JSON object"),
        (b"[" * 100_000, "corrupt safetensors header"),
        (b'{"a": ' + b"9" * 5000 + b"}", "corrupt safetensors header"),
        ({"__metadata__": 3}, "corrupt safetensors header: __metadata__ is not a JSON object"),
        ({"w": 3}, "has an invalid entry for tensor 'w'"),
        ({"w": None}, "has an invalid entry for tensor 'w'"),
        ({"w": [1]}, "has an invalid entry for tensor 'w'"),
        ({"w": {}}, "has an invalid entry for tensor 'w' (KeyError('dtype'))"),
        ({"w": {**ENTRY, "dtype": "F31"}}, "has an invalid entry for tensor 'w' (KeyError('F31'))"),
        ({"w": {**ENTRY, "dtype": ["F32"]}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "dtype": None}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "shape": 2}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "shape": "2"}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "shape": [2.0]}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "shape": [True, 2]}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "shape": [-1, -2]}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "shape": [float("inf")]}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "shape": [0, 2**63]}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "shape": [1] * 65}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "shape": [2**62] * 64}}, "gives tensor 'w' 8 bytes, and F32 of shape"),
        ({"w": {**ENTRY, "data_offsets": [0]}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "data_offsets": [0, 8, 8]}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "data_offsets": [-8, 0]}}, "has an invalid entry for tensor 'w'"),
        ({"w": {**ENTRY, "data_offsets": [8, 0]}}, "gives tensor 'w' -8 bytes, and F32 of shape (2,) takes 8"),
        ({"w": {**ENTRY, "data_offsets": [0, 4]}}, "gives tensor 'w' 4 bytes, and F32 of shape (2,) takes 8"),
        ({"w": {**ENTRY, "data_offsets": [4, 12]}}, "is truncated: 'w' ends at byte"),
        ({"w": {**ENTRY, "data_offsets": [2**62, 2**62 + 8]}}, "is truncated: 'w' ends at byte"),
        ({"w": ENTRY, "v": ENTRY}, "is corrupt: tensor 'v' should start at byte"),
        ({"w": {**ENTRY, "shape": [1], "data_offsets": [4, 8]}}, "is corrupt: tensor 'w' should start at byte"),
        ({"w": {**ENTRY, "shape": [1], "data_offsets": [0, 4]}}, "is corrupt: its tensors end at byte"),
        ({}, "is corrupt: its tensors end at byte"),
    ],
)
def test_an_invalid_header_is_refused(header: Any, message: str, tmp_path: Path) -> None:
    said = refusal(file_of(tmp_path / "wrong.safetensors", header, EIGHT))
    assert message in said
    assert len(said) < 5000  # no header is repeated in full


@pytest.mark.parametrize("length", [1000, 100_000_001, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_not_read(length: int, tmp_path: Path) -> None:
    path = file_of(tmp_path / "long.safetensors", {"w": ENTRY}, EIGHT, length=length)
    assert "is not a safetensors file, or its header is truncated" in refusal(path)


def test_an_empty_file_a_git_lfs_pointer_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.touch()
    assert "is not a safetensors file: it is empty" in refusal(path)
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 90868376\n")
    assert refusal(path).endswith("is a Git LFS pointer, not the file itself; run `git lfs pull` first")
    for missing in (tmp_path / "nothing", tmp_path):
        with pytest.raises(CheckpointNotFoundError, match=f"^there is no file '{missing}'$"):
            map_safetensors(missing)


# -- writing ------------------------------------------------------------------------------------------------------


@on_files
@given(tensors=files, metadata=notes)
def test_the_library_reads_what_is_written(tensors: Tensors, metadata: dict[str, str], tmp_path: Path) -> None:
    write_safetensors(tmp_path / "file", tensors, metadata)
    with safe_open(tmp_path / "file", "np") as file:
        assert (file.metadata() or {}) == metadata
        assert set(file.keys()) == tensors.keys()
        for name, array in tensors.items():
            found = file.get_tensor(name)
            assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_the_file_is_the_librarys_byte_for_byte_and_its_tensors_are_aligned(tmp_path: Path) -> None:
    tensors = {
        "b": np.arange(3, dtype="<f4"), "a": np.arange(5, dtype="i1"), "ä": np.arange(2, dtype="<f8"),
        "c": np.zeros((0, 2), "<f8"), "d": np.array(2.5, "<f4"), "e": np.arange(3, dtype="<f2"),
    }  # fmt: skip
    write_safetensors(tmp_path / "file", tensors, {"format": "np"})
    assert (tmp_path / "file").read_bytes() == safetensors_numpy.save(tensors, {"format": "np"})
    assert all(
        tensor.start % tensors[name].itemsize == 0
        for name, tensor in map_safetensors(tmp_path / "file").tensors.items()
    )


def test_numpy_arrays_of_every_layout_are_written_by_value(tmp_path: Path) -> None:
    base = np.arange(12, dtype="<f4").reshape(3, 4)
    layouts = {
        "transposed": base.T, "reversed": base[::-1], "broadcast": np.broadcast_to(base[:1], (5, 4)),
        "big-endian": base.astype(">f4"), "strided": base[:, ::2], "scalar": np.float32(2.5),
    }  # fmt: skip
    write_safetensors(tmp_path / "file", layouts, {})
    for name, tensor in map_safetensors(tmp_path / "file").tensors.items():
        wanted = np.asarray(layouts[name], "<f4")
        assert (tensor.shape, tensor.nbytes) == (wanted.shape, nbytes(name, layouts[name]))
        np.testing.assert_array_equal(tensor.numpy(), wanted)


@needs_torch
def test_tensors_of_pytorch_are_written_by_value(tmp_path: Path) -> None:
    import torch

    waves = torch.complex(torch.arange(6.0), torch.arange(1.0, 7.0))
    tensors = {
        "transposed": torch.arange(6.0).reshape(2, 3).t(),
        "bfloat16": torch.arange(6.0).bfloat16()[::2],
        "float8": torch.ones(3).to(torch.float8_e5m2),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "conjugate": waves.conj(),
        "negative": waves.conj().imag,
    }
    write_safetensors(tmp_path / "file", tensors, {"format": "pt"})
    with safe_open(tmp_path / "file", "pt") as file:
        for name, tensor in tensors.items():
            found, wanted = file.get_tensor(name), tensor.detach().clone().resolve_conj().resolve_neg()
            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
            assert found.view(torch.uint8).tolist() == wanted.contiguous().view(torch.uint8).tolist()


@pytest.mark.parametrize(("layout", "allowed"), [("contiguous", 0), ("transposed", 1)])
def test_at_most_one_array_is_copied_at_a_time(layout: str, allowed: int, tmp_path: Path) -> None:
    size = 1_000_000
    tensors = {str(i): np.zeros((1000, size // 8000)) for i in range(8)}
    if layout == "transposed":
        tensors = {name: array.T for name, array in tensors.items()}
    tracemalloc.start()
    try:
        write_safetensors(tmp_path / "file", tensors, {})
        assert tracemalloc.get_traced_memory()[1] < (allowed + 0.5) * size
    finally:
        tracemalloc.stop()


def test_dtypes_that_the_format_lacks_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^w is of dtype complex128; a safetensors file holds float64, float32, "):
        write_safetensors(tmp_path / "file", {"w": np.ones(1, "c16")}, {})
    with pytest.raises(InputError, match=r"^w is of dtype float8_e4m3fnuz; "):
        nbytes("w", np.ones(1, ml_dtypes.float8_e4m3fnuz))
