"""Element types: the table, their names in every framework, and which numbers each can represent."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from modeloutputs import InputError
from modeloutputs.arrays.backends import backend_named
from modeloutputs.arrays.dtypes import (
    DTYPES,
    SAFETENSORS_DTYPES,
    can_represent,
    dtype_name,
    is_dtype,
    is_floating,
    numpy_dtype,
    short_dtype,
)

from ..support.needs import EVERY_BACKEND, needs_jax

EXTENDED = [name for name, dtype in DTYPES.items() if dtype.from_ml_dtypes]
every_kind = pytest.mark.parametrize("kind", EVERY_BACKEND)


def element_types() -> list[Any]:
    found: list[Any] = ["float16", "bfloat16", "float8_e5m2", "int32", "bool", np.float32, np.dtype("f2"), float]
    found += [ml_dtypes.bfloat16, np.dtype(ml_dtypes.float8_e4m3fn)]
    return found


def test_element_types_are_told_from_devices():
    assert all(map(is_dtype, element_types()))
    for device in ("cpu", "cuda:1", "gpu", "tpu:0", "meta", "intel", "/device:CPU:0", None, 0):
        assert not is_dtype(device)
    assert [dtype_name(dtype) for dtype in element_types()] == [
        "float16",
        "bfloat16",
        "float8_e5m2",
        "int32",
        "bool",
        "float32",
        "float16",
        "float64",
        "bfloat16",
        "float8_e4m3fn",
    ]


@every_kind
@pytest.mark.parametrize("name", ["float16", "float32", "int32", "bool", *EXTENDED[:3]])
def test_element_types_have_one_name_in_every_framework(kind: str, name: str):
    dtype = getattr(ml_dtypes, name) if name in EXTENDED else np.dtype(name)
    made = backend_named(kind).from_numpy(np.ones(2, dtype))
    assert dtype_name(made.dtype) == name
    assert is_dtype(made.dtype)


@needs_jax
def test_element_types_as_jax_exports_them_are_known():
    import jax.numpy as jnp

    assert is_dtype(jnp.float16)
    assert dtype_name(jnp.bfloat16) == "bfloat16"


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("dtype", "held", "not_held"),
    [
        ("float32", [0, 1, -0.1, INF, -INF, NAN, 1e30], [1e300]),
        ("float16", [0, 0.1, -INF], [1e6]),
        ("int64", [0, -100, 2**62, True], [0.5, INF, NAN, 2**64]),
        ("uint8", [0, 255], [256, -1]),
        ("bool", [0, 1, False], [2, -1]),
        ("bfloat16", [0, 0.1, -INF, 1e30], []),
        ("float8_e5m2", [0, 0.1, -INF], [1e6]),
        ("float8_e4m3fn", [0, -8, NAN], [INF, -INF]),
        ("float8_e8m0fnu", [1, 0.5], [0, -INF]),
        ("complex64", [0, 1.5, -INF], []),
    ],
)
def test_numbers_that_a_type_can_represent(dtype: str, held: list[float], not_held: list[float]):
    values = np.zeros(1, getattr(ml_dtypes, dtype) if dtype in EXTENDED else dtype)
    assert [value for value in held if not can_represent(values.dtype, value)] == []
    assert [value for value in not_held if can_represent(values.dtype, value)] == []


def test_types_unknown_to_numpy_are_left_to_their_framework():
    assert can_represent("string", -1)


# -- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DTYPES)
def test_the_table_agrees_with_numpy(name: str):
    dtype = DTYPES[name]
    assert (dtype.name, dtype.numpy.name, dtype.numpy.itemsize * 8) == (name, name, dtype.bits)
    assert numpy_dtype(name) == dtype.numpy
    assert is_floating(dtype.numpy) == (dtype.numpy.kind == "f" or dtype.from_ml_dtypes)


@pytest.mark.parametrize("code", SAFETENSORS_DTYPES)
def test_codes_are_those_that_safetensors_writes(code: str, tmp_path: Path):
    from safetensors.numpy import save_file

    dtype = SAFETENSORS_DTYPES[code]
    if dtype.name == "float8_e8m0fnu":
        pytest.skip("written by safetensors for PyTorch only")
    file = tmp_path / "one.safetensors"
    save_file({"x": np.ones((2, 3), dtype.numpy)}, file)
    header = json.loads(file.read_bytes()[8:].partition(b"}}")[0] + b"}}")
    assert header["x"]["dtype"] == code
    assert header["x"]["data_offsets"] == [0, 6 * dtype.bits // 8]


@pytest.mark.parametrize(
    ("dtype", "short"),
    [(np.float32, "f32"), ("bfloat16", "bf16"), ("uint8", "u8"), (np.dtype("i8"), "i64"), ("complex128", "c128")],
    ids=str,
)
def test_element_types_in_short(dtype: Any, short: str):
    assert short_dtype(dtype) == short


def test_an_invalid_element_type_is_refused():
    with pytest.raises(InputError, match=r"^dtype is 'float17'; expected an element type such as 'float32'"):
        numpy_dtype("float17")
