"""Saving outputs: by value, each array once, whole or not at all; what cannot be saved is named by its place."""

import errno
import itertools
import os
import resource
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open

from modeloutputs import FileWriteError, InputError, ModelOutput, UsageError, load, read_notes, save
from modeloutputs.files import safetensors
from modeloutputs.files.outputs import read_saved

from ...support.compare import assert_values, values
from ...support.kills import is_killed_at, needs_fork
from ...support.needs import FRAMEWORK_PARAMS, needs_jax, needs_torch
from ...support.random_outputs import array
from ...support.saved_files import Custom, Other, again, numbers

into_every_framework = pytest.mark.parametrize("framework", [*FRAMEWORK_PARAMS, "numpy"])


# -- values -----------------------------------------------------------------------------------------------------------


@needs_torch
def test_tensors_of_every_form_are_saved_by_value(tmp_path: Path):
    import torch

    base = torch.arange(24.0).reshape(2, 3, 4)
    waves = torch.complex(base, base + 1)
    forms = {
        "turned": base.transpose(0, 2),
        "cut": base[:, 1:, ::2],
        "expanded": base[:1, :1].expand(5, 3, 4),
        "number": base.sum(),
        "empty": base[:, :0],
        "graph": (torch.ones(2, requires_grad=True) * 2).sum(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "conjugate": waves.conj(),
        "negative": waves.conj().imag,
        "view": waves.imag,
    }
    wanted = {name: tensor.detach().clone().resolve_conj().resolve_neg() for name, tensor in forms.items()}
    loaded = again(Custom(table=forms), tmp_path).table
    for name, tensor in wanted.items():
        assert torch.equal(loaded[name], tensor), name
        assert loaded[name].shape == tensor.shape
        assert not loaded[name].requires_grad


@needs_torch
def test_what_lies_in_the_same_memory_and_is_read_otherwise_is_saved_apart(tmp_path: Path):
    import torch

    waves = torch.complex(torch.arange(6.0), torch.arange(1.0, 7.0))
    pairs = (waves, waves.conj(), waves.imag, waves.conj().imag)
    loaded = again(Custom(states=pairs), tmp_path).states
    for there, tensor in zip(loaded, pairs, strict=True):
        assert_values(there, values(tensor))


def test_numpy_arrays_of_every_form_are_saved_by_value(tmp_path: Path):
    base = numbers(3, 4)
    forms = {
        "turned": base.T,
        "backwards": base[::-1],
        "broadcast": np.broadcast_to(base[:1], (5, 4)),
        "big-endian": base.astype(">f4"),
        "big-endian halves": np.array([1, 300], ">u2"),
        "read-only": np.frombuffer(base.tobytes(), np.float32),
        "number": np.float32(2.5),
        "bfloat16": base.astype(ml_dtypes.bfloat16).T,
    }
    loaded = again(Custom(table=forms), tmp_path).table
    for name, given_array in forms.items():
        wanted = np.asarray(given_array)
        assert_values(loaded[name], wanted.astype(wanted.dtype.newbyteorder("=")), name)


@needs_torch
def test_a_cache_of_our_decoders_comes_back_as_its_tuples(tmp_path: Path):
    from modeloutputs.torch import BaseModelOutputWithPast
    from modeloutputs.torch.cache import Cache

    key = array(numbers(1, 2, 3, 4), "torch")
    original = BaseModelOutputWithPast(last_hidden_state=key[0], past_key_values=Cache([(key, key + 1)]))
    loaded = again(original, tmp_path)
    assert type(loaded.past_key_values) is tuple
    assert loaded == original


# -- one array in several places --------------------------------------------------------------------------------------


@into_every_framework
def test_an_array_in_several_places_is_stored_once_and_comes_back_as_one(framework: str, tmp_path: Path):
    last = array(numbers(2, 3), framework)
    outputs = [Custom(states=(None, last), table={"last": last}), Other(scores=last), Other(scores=[last])]
    loaded = again(outputs, tmp_path)
    with safe_open(tmp_path / "file", "np") as file:
        assert list(file.keys()) == ["0.states.1"]
    first = loaded[0].states[1]
    assert first is loaded[0].table["last"] is loaded[1].scores is loaded[2].scores[0]
    assert_values(first, numbers(2, 3))


@needs_torch
def test_tensors_of_one_memory_are_one_and_views_of_parts_are_not(tmp_path: Path):
    import torch

    both = torch.arange(8.0).reshape(2, 4)
    parts = (both[:, :2], both[:, 2:], both, both.detach(), both.t(), both.view(torch.int32), both[:0], both[:0])
    loaded = again(Custom(states=parts), tmp_path).states
    assert all(torch.equal(there, part) for there, part in zip(loaded, parts, strict=True))
    assert loaded[2] is loaded[3]
    assert len({id(there) for there in loaded}) == 7


# -- files ------------------------------------------------------------------------------------------------------------


def test_any_safetensors_reader_sees_the_tensors_by_their_place(tmp_path: Path):
    save([Custom(states=(None, numbers(2)), table={"a": Other(scores=numbers(3, start=5))})], tmp_path / "file")
    with safe_open(tmp_path / "file", "np") as file:
        np.testing.assert_array_equal(file.get_tensor("0.states.1"), numbers(2))
        np.testing.assert_array_equal(file.get_tensor("0.table.a.scores"), numbers(3, start=5))


def test_notes_are_kept_and_held_to_be_text(tmp_path: Path):
    notes = {"predictions": "[]", "": "\N{SNOWMAN}", "format": "pt"}
    save(Custom(name="n"), tmp_path / "file", notes=notes)
    assert read_saved(tmp_path / "file").notes == notes
    assert load(tmp_path / "file") == Custom(name="n")
    for wrong in ({"modeloutputs": "mine"}, {"number": 3}, {3: "number"}):
        with pytest.raises(
            InputError, match=r"^note .*; notes map names to text, and the name 'modeloutputs' is reserved$"
        ):
            save(Custom(), tmp_path / "file", notes=wrong)  # pyright: ignore[reportArgumentType]


def test_a_path_may_be_text(tmp_path: Path):
    save(Custom(name="n"), os.fspath(tmp_path / "file"))
    assert load(os.fspath(tmp_path / "file")) == Custom(name="n")


# -- values that cannot be saved --------------------------------------------------------------------------------------


def refused(outputs: Any, folder: Path, error: type[Exception] = InputError) -> str:
    """Return why outputs cannot be saved, having seen that nothing was written."""
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(error) as caught:
        save(outputs, folder / "never")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_has_no_place_in_a_file_is_named_by_its_place(tmp_path: Path):
    assert "table.a holds a set; arrays, tuples, dicts and plain" in refused(Custom(table={"a": {1}}), tmp_path)
    assert "1.states.0 holds a object" in refused([Custom(), Custom(states=[object()])], tmp_path)
    assert "table has keys that are not strings" in refused(Custom(table={1: numbers(1)}), tmp_path)
    assert "states is of dtype complex128; a safetensors file" in refused(Custom(states=np.ones(1, "c16")), tmp_path)
    assert "states is of dtype str" in refused(Custom(states=np.array(["a"])), tmp_path)
    assert "states is a masked array" in refused(Custom(states=np.ma.masked_array([1.0], [True])), tmp_path)
    twice = Custom(table={"a.b": numbers(1), "a": {"b": numbers(2)}})
    assert "two arrays are named 'table.a.b': a key that contains dots" in refused(twice, tmp_path, UsageError)
    assert "cannot be written: 'utf-8' codec" in refused(Custom(table={"\udc80": numbers(1)}), tmp_path)
    for value, name in ((None, "NoneType"), ("text", "str"), ({"a": Custom()}, "dict"), (3, "int")):
        assert refused(value, tmp_path) == f"save takes an output or a list of them; got a {name}"
    assert refused([None], tmp_path) == "save takes outputs; got a NoneType"


def test_what_nests_without_end_is_refused(tmp_path: Path):
    endless: list[Any] = []
    endless.append(endless)
    assert "levels deep; it cannot be saved" in refused(Custom(states=endless), tmp_path)
    deep: Any = numbers(1)
    for _ in range(100):
        deep = [deep]
    assert_values(again(Custom(states=deep), tmp_path).states, deep)
    assert "more than 100 levels deep" in refused(Custom(states=[deep]), tmp_path)


def test_a_header_beyond_the_formats_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(safetensors, "_MAX_HEADER", 1000)
    with pytest.raises(InputError, match=r"cannot be written: the header would take 1\d{3} bytes, .* allows 1000$"):
        save(Custom(), tmp_path / "file", notes={"a": "a" * 900})
    assert list(tmp_path.iterdir()) == []


@needs_torch
def test_tensors_without_values_are_refused(tmp_path: Path):
    import torch

    for tensor in (torch.ones(2, device="meta"), torch.eye(3).to_sparse()):
        assert refused(Custom(states=tensor), tmp_path).startswith("states has no values to save: ")
    assert "dtype float8_e4m3fnuz" in refused(Custom(states=torch.ones(2).to(torch.float8_e4m3fnuz)), tmp_path)


@needs_jax
def test_what_jax_holds_no_numbers_of_is_refused(tmp_path: Path):
    import jax

    assert "states has no values to save" in refused(Custom(states=jax.random.key(0)), tmp_path)
    assert "dtype int4" in refused(Custom(states=jax.numpy.ones(2, jax.numpy.int4)), tmp_path)
    jax.jit(lambda value: refused(Custom(states=value), tmp_path) and value)(jax.numpy.ones(2))


def test_a_field_called_as_the_format_calls_its_own_is_refused(tmp_path: Path):
    cls = type("Odd", (ModelOutput,), {"__annotations__": {"__metadata__": Any}, "__module__": __name__})
    assert "'__metadata__' cannot be the name of a tensor" in refused(cls({"__metadata__": numbers(1)}), tmp_path)


# -- saving that fails ------------------------------------------------------------------------------------------------


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path):
    save(Custom(name="old"), tmp_path / "file")
    with pytest.raises(InputError):
        save([Custom(states=numbers(9)), Custom(name=object())], tmp_path / "file")
    assert load(tmp_path / "file") == Custom(name="old")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file_and_is_named(tmp_path: Path):
    save(Custom(name="old"), tmp_path / "file")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # beyond it, writing fails
    try:
        with pytest.raises(FileWriteError, match=rf"^'{tmp_path / 'file'}' cannot be written: .*too large$") as caught:
            save(Custom(states=np.ones(10_000)), tmp_path / "file")
        assert caught.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load(tmp_path / "file") == Custom(name="old")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path):
    save(Custom(), tmp_path / "file")
    for place in (tmp_path / "none" / "new", tmp_path / "file" / "new", tmp_path):
        with pytest.raises(OSError, match=str(tmp_path)):
            save(Custom(states=numbers(2)), place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert load(tmp_path / "file") == Custom()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    folder = tmp_path / "none"
    with pytest.raises(FileNotFoundError, match=rf"^there is no folder '{folder}' to write 'out' into$"):
        save(Custom(states=np.ones(1)), folder / "out")


def test_a_link_is_followed_and_the_mode_of_the_file_kept(tmp_path: Path):
    (tmp_path / "real").touch()
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "out").symlink_to(tmp_path / "real")
    (tmp_path / "links" / "new").symlink_to(tmp_path / "later")
    for name in ("out", "new"):
        save(Custom(name="x"), tmp_path / "links" / name)
        assert (tmp_path / "links" / name).is_symlink()
        assert load(tmp_path / "links" / name) == Custom(name="x")
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "later").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["later", "links", "real"]


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to(os.devnull)
    for name in ("pipe", "null"):
        with pytest.raises(FileWriteError, match=rf"^'{tmp_path}/{name}' is a device, pipe or socket, which is not r"):
            save(Custom(name="x"), tmp_path / name)
    with pytest.raises(FileWriteError, match=rf"^'{tmp_path}' is a folder; pass the path of a file$") as caught:
        save(Custom(name="x"), tmp_path)
    assert caught.value.errno == errno.EISDIR
    assert (tmp_path / "pipe").is_fifo()
    assert Path(os.devnull).is_char_device()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["null", "pipe"]


@needs_fork
def test_a_killed_save_leaves_the_old_file_and_the_next_one_nothing_else(tmp_path: Path):
    save(Custom(name="old"), tmp_path / "file")
    for step in itertools.count():
        killed = is_killed_at(step, lambda: save(Custom(name="new"), tmp_path / "file"))
        assert load(tmp_path / "file") in (Custom(name="old"), Custom(name="new"))
        save(Custom(name="old"), tmp_path / "file")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        if not killed:
            break
    assert step >= 4


def test_notes_are_read_back(tmp_path: Path):
    save([Custom(states=numbers(2))], tmp_path / "file", notes={"model": "tiny", "ü": "\x1b[31m"})
    assert read_notes(tmp_path / "file") == {"model": "tiny", "ü": "\x1b[31m"}
