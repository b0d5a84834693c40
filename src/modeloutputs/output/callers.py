"""Distinguishes `for name in output` from `a, b = output` by the caller's bytecode; recognises `tf.nest`.

CPython only: the instruction that the calling frame is executing says which it is. Elsewhere (another
interpreter, a compiler that traces the call) the answer is "not unpacking" and dictionary behaviour stands.
One pattern is taken for unpacking though it is none: a lazy iterator that iterates outputs while itself being unpacked,
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
    """Whether it is TensorFlow, putting a tree together again, that assigns a field.

    It assigns each value that the tree has by key, None too: a gradient that there is not, say. Where that removed the
    field, the tree would have one place less than the one that it is held beside.
    """
    return frame.f_globals.get("__name__") == "tensorflow.python.util.nest_util"


def is_unpacking(frame: FrameType, iterated: object) -> bool:
    """Whether the instruction that `frame` is executing unpacks what is being iterated."""
    if sys.implementation.name != "cpython":
        return False
    instruction = frame.f_code.co_code[frame.f_lasti]
    if instruction == _CALL_STAR:
        return _is_starred(frame, iterated)
    return instruction in _UNPACKING


def _is_starred(frame: FrameType, iterated: object) -> bool:
    """Tell `f(*output)` from a call of other starred arguments whose callee iterates the output, by what was loaded."""
    previous = [i for i in dis.get_instructions(frame.f_code) if i.offset < frame.f_lasti and i.opname != "CACHE"][-1]
    if previous.opcode in _BUILDS:
        return False
    if previous.opcode in _LOADS:
        name = previous.argval
        return frame.f_locals.get(name, frame.f_globals.get(name)) is iterated
    return True
