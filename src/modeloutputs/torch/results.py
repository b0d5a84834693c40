"""Results of modules: named tuples within the library, plain tuples without absent parts where hooks see them.

Tools that hook modules, as captum does, expect a tensor or a tuple of tensors. What a hook puts in place of a result is
taken: a tuple, or a tensor alone in place of the states. Parts that it leaves out are those that the module made, so
that steering a layer loses neither its attention weights nor the cache.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import Tensor

from ..errors import InputError

__all__ = ["Made", "as_result", "finished", "nothing_made", "result_of", "trimmed"]

Result = TypeVar("Result", bound=tuple[Any, ...])


class Made:
    """What the modules of one call made beside their states, each until its caller has taken its result.

    It is no list: FSDP and accelerate copy the lists among a module's arguments.
    """

    def __init__(self) -> None:
        self.parts: list[tuple[Any, ...]] = []


def nothing_made() -> Made:
    """Return the record of a new call; compilers follow a function, and not a class, as a field's default."""
    return Made()


def trimmed(*parts: Any) -> tuple[Any, ...]:
    """Return the parts without those at the end that are None.

    >>> trimmed("states", None, None)
    ('states',)
    """
    count = len(parts)
    while parts[count - 1] is None:
        count -= 1
    return parts[:count]


def finished(made: Made, *shown: Any, beside: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """Return a module's result as hooks see it, and note in `made` what there is beside its first part.

    Args:
        made: the record of the call.
        *shown: the first parts.
        beside: the others, which hooks do not see: tools that look at layers want flat tuples of tensors.
    """
    result = trimmed(*shown)
    if len(result) > 1 or any(part is not None for part in beside):
        made.parts.append((*shown, *beside))
    return result


def result_of(cls: type[Result], made: Made, module: Callable[..., Any], *arguments: Any, **options: Any) -> Result:
    """Call a module and return its result as the named tuple `cls`; see the module for what hooks put in its place.

    Raises:
        InputError: as of `as_result`.
    """
    depth = len(made.parts)
    value = module(*arguments, **options)
    if len(made.parts) == depth:
        return as_result(cls, value)
    parts = made.parts[-1]
    del made.parts[depth:]
    if type(value) is cls:  # whole, as nobody but a module of ours returns it
        return value
    kept = as_result(cls, parts)
    return cls(*(own if part is None else part for part, own in zip(as_result(cls, value), kept, strict=True)))


def as_result(cls: type[Result], value: Any) -> Result:
    """Return the tuple that a module returned, or a hook put in its place, as the named tuple `cls`.

    Raises:
        InputError: it is neither a tuple nor a tensor, or has more parts.
    """
    if type(value) is cls:
        return value
    if type(value) is tuple and 0 < len(value) <= len(cls._fields):  # pyright: ignore
        return cls(*value)  # pyright: ignore
    return _checked(cls, value)


def _checked(cls: type[Result], value: Any) -> Result:
    fields: tuple[str, ...] = cast("Any", cls)._fields
    if isinstance(value, Tensor):
        return cls(value)  # pyright: ignore
    if not isinstance(value, tuple) or not 0 < len(cast("tuple[Any, ...]", value)) <= len(fields):
        what = type(cast("Any", value)).__name__
        raise InputError(
            f"a hook or replaced module returned a {what}; expected the states, or a tuple ({', '.join(fields)})"
        )
    return cls(*cast("tuple[Any, ...]", value))
