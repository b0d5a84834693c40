"""Tells `for name in output` from `a, b = output`: one gives names, the other is the trap that outputs refuse.

CPython only: the instruction that the calling frame is executing says which it is. Elsewhere (another
interpreter, a compiler that traces the call) the answer is "not unpacking" and dictionary behaviour stands.
"""

import opcode
import sys
from types import FrameType

__all__ = ["in_compiler_trace", "is_unpacking"]

_UNPACKING = frozenset(
    opcode.opmap[name]
    for name in (
        "UNPACK_SEQUENCE",  # a, b = output
        "UNPACK_EX",  # a, *rest = output
        "LIST_EXTEND",  # f(x, *output), [*output]
        "SET_UPDATE",  # {*output}
        "CALL_FUNCTION_EX",  # f(*output)
    )
    if name in opcode.opmap
)


def in_compiler_trace() -> bool:
    """Whether a compiler is tracing the call; `trees` puts PyTorch's own answer here once that is imported."""
    return False


def is_unpacking(frame: FrameType) -> bool:
    """Whether the instruction that `frame` is executing unpacks an iterable."""
    return sys.implementation.name == "cpython" and frame.f_code.co_code[frame.f_lasti] in _UNPACKING
