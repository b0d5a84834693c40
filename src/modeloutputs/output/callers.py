"""Distinguishes `for name in output` from `a, b = output` by the caller's bytecode; recognises `tf.nest`.

This works in CPython, where the instruction that the calling frame executes tells them apart. In other interpreters,
and while a compiler traces the call, nothing counts as unpacking and outputs iterate as dictionaries do.
There is one false positive: a lazy iterator that iterates outputs while it is itself unpacked, as in
`a, b = map(list, outputs)`; write `a, b = [list(o) for o in outputs]`.
"""

import dis
import opcode
import sys
from types import FrameType

__all__ = ["is_rebuilding", "is_unpacking"]

_UNPACKING = frozenset(
    opcode.opmap[name]
    for name in (
        "UNPACK_SEQUENCE",  # a, b = output
        "UNPACK_EX",  # a, *rest = output
        "LIST_EXTEND",  # f(x, *output), [*output]
        "SET_UPDATE",  # {*output}
    )
    if name in opcode.opmap
)
_CALL_STAR = opcode.opmap.get("CALL_FUNCTION_EX")  # f(*output), but also zip(*outputs), which iterates each
_LOADS = frozenset(
    code
    for name, code in opcode.opmap.items()
    if name.startswith(("LOAD_FAST", "LOAD_NAME", "LOAD_GLOBAL", "LOAD_DEREF"))
)
_BUILDS = frozenset(
    opcode.opmap[name] for name in ("BUILD_LIST", "BUILD_TUPLE", "LIST_TO_TUPLE") if name in opcode.opmap
)


def is_rebuilding(frame: FrameType) -> bool:
    """Return whether the frame is `tf.nest` rebuilding a structure.

    It assigns every value by key, including None, such as a missing gradient. If None removed the field then, the
    rebuilt structure would no longer match the original.
    """
    return frame.f_globals.get("__name__") == "tensorflow.python.util.nest_util"


def is_unpacking(frame: FrameType, iterated: object) -> bool:
    """Return whether the instruction that a frame is executing unpacks the object that is being iterated."""
    if sys.implementation.name != "cpython":
        return False
    instruction = frame.f_code.co_code[frame.f_lasti]
    if instruction == _CALL_STAR:
        return _is_starred(frame, iterated)
    return instruction in _UNPACKING


def _is_starred(frame: FrameType, iterated: object) -> bool:
    """Return whether a call is `f(*output)`, and not one with other starred arguments whose callee iterates the output.

    The instruction before the call loaded or built the starred argument.
    """
    previous = [i for i in dis.get_instructions(frame.f_code) if i.offset < frame.f_lasti and i.opname != "CACHE"][-1]
    if previous.opcode in _BUILDS:
        return False
    if previous.opcode in _LOADS:
        name = previous.argval
        return frame.f_locals.get(name, frame.f_globals.get(name)) is iterated
    return True
