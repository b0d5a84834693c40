"""The one table of element types: names, sizes, codes in files, and how each is written in short.

An element type goes by NumPy's name for it ("float32", "bfloat16") in every framework. Types that NumPy itself lacks
are those of ml_dtypes.
"""

import functools
import math
import re
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

__all__ = [
    "DTYPES",
    "SAFETENSORS_DTYPES",
    "DType",
    "can_represent",
    "dtype_name",
    "invalid_dtype",
    "is_dtype",
    "is_floating",
    "numpy_dtype",
    "short_dtype",
]


@dataclass(frozen=True)
class DType:
    """One element type."""

    name: str
    """In NumPy or ml_dtypes: "float32", "bfloat16"."""

    bits: int
    code: str | None = None
    """In the header of a safetensors file; None where the format has no such type."""

    from_ml_dtypes: bool = False

    @functools.cached_property
    def numpy(self) -> Any:
        """The `numpy.dtype`."""
        import ml_dtypes
        import numpy as np

        return np.dtype(getattr(ml_dtypes, self.name) if self.from_ml_dtypes else self.name)


DTYPES: dict[str, DType] = {
    dtype.name: dtype
    for dtype in (
        DType("float64", 64, "F64"),
        DType("float32", 32, "F32"),
        DType("float16", 16, "F16"),
        DType("bfloat16", 16, "BF16", from_ml_dtypes=True),
        DType("float8_e4m3fn", 8, "F8_E4M3", from_ml_dtypes=True),
        DType("float8_e5m2", 8, "F8_E5M2", from_ml_dtypes=True),
        DType("float8_e4m3fnuz", 8, from_ml_dtypes=True),
        DType("float8_e5m2fnuz", 8, from_ml_dtypes=True),
        DType("float8_e8m0fnu", 8, "F8_E8M0", from_ml_dtypes=True),
        DType("int64", 64, "I64"),
        DType("int32", 32, "I32"),
        DType("int16", 16, "I16"),
        DType("int8", 8, "I8"),
        DType("uint64", 64, "U64"),
        DType("uint32", 32, "U32"),
        DType("uint16", 16, "U16"),
        DType("uint8", 8, "U8"),
        DType("bool", 8, "BOOL"),
        DType("complex64", 64, "C64"),
        DType("complex128", 128),
    )
}
"""Element types by name."""

SAFETENSORS_DTYPES: dict[str, DType] = {dtype.code: dtype for dtype in DTYPES.values() if dtype.code}
"""Element types by their code in a safetensors header."""

_NAME = re.compile(r"(bfloat|float|int|uint|complex)\d|bool$")


def is_dtype(value: Any) -> bool:
    """Return whether a value is an element type of any framework, or the name of one."""
    if isinstance(value, str):
        return _NAME.match(value) is not None
    # torch.dtype, tensorflow.DType, NumPy's Float32DType and dtype[bfloat16]; or numpy.float32, jax.numpy.float32
    return "dtype" in type(value).__name__.lower() or isinstance(value, type)


def dtype_name(dtype: Any) -> str:
    """Return the name of an element type of any framework: "float32", "bfloat16".

    Examples:
        >>> import numpy as np
        >>> dtype_name(np.float16), dtype_name(np.ones(2).dtype), dtype_name("bfloat16")
        ('float16', 'float64', 'bfloat16')
    """
    if isinstance(dtype, str):
        return dtype
    if isinstance(dtype, type):
        import numpy as np

        dtype = np.dtype(dtype)
    return getattr(dtype, "name", None) or str(dtype).removeprefix("torch.")


def short_dtype(dtype: Any) -> str:
    """Return an element type in short.

    Examples:
        >>> [short_dtype(name) for name in ("float32", "bfloat16", "uint8", "complex64", "bool")]
        ['f32', 'bf16', 'u8', 'c64', 'bool']
    """
    return _shortened(dtype_name(dtype))


@functools.lru_cache(maxsize=64)
def _shortened(name: str) -> str:
    return name.replace("float", "f").replace("uint", "u").replace("int", "i").replace("complex", "c")


def is_floating(dtype: Any) -> bool:
    """Return whether an element type of any framework is a real floating point type."""
    return "float" in dtype_name(dtype)


def numpy_dtype(dtype: Any) -> Any:
    """Return the `numpy.dtype` for an element type of any framework, or for a name.

    Raises:
        InputError: NumPy and ml_dtypes have no such type.
    """
    import numpy as np

    name = dtype_name(dtype)
    try:
        return DTYPES[name].numpy if name in DTYPES else np.dtype(name)
    except TypeError:
        raise invalid_dtype(dtype) from None


def invalid_dtype(dtype: object) -> InputError:
    """Return the error for an invalid element type."""
    return InputError(f"dtype is {dtype!r}; expected an element type such as 'float32' or 'bfloat16'")


def can_represent(dtype: Any, value: float) -> bool:
    """Return whether an element type can represent a number, exactly or rounded.

    Rounding changes neither zero into another number nor a finite number into infinity. Types unknown to NumPy are
    left to their framework to judge: True.

    Examples:
        >>> can_represent("float16", 0.1), can_represent("float16", 1e6), can_represent("int8", 0.5)
        (True, False, False)
    """
    return _can_represent(dtype_name(dtype), value)


@functools.lru_cache(maxsize=256)
def _can_represent(name: str, value: float) -> bool:
    import numpy as np

    try:
        dtype = numpy_dtype(name)
    except InputError:
        return True
    try:
        with np.errstate(all="ignore"):
            held: Any = np.asarray(value).astype(dtype)
    except OverflowError:
        return False
    if dtype.kind in "iub":
        return bool(held == value)
    got = float(held.real)
    return (got == 0) == (value == 0) and math.isinf(got) == math.isinf(value) and math.isnan(got) == math.isnan(value)
