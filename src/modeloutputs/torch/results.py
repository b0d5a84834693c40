"""Results of modules: named tuples within the library, plain tuples without absent parts where hooks see them.

Tools that hook modules, as captum does, expect a tensor or a tuple of tensors.
"""

from typing import Any, TypeVar, cast

from ..errors import InputError

__all__ = ["as_result", "trimmed"]

Result = TypeVar("Result", bound=tuple[Any, ...])


def trimmed(*parts: Any) -> tuple[Any, ...]:
    """Return the parts without those at the end that are None.

    >>> trimmed("states", None, None)
    ('states',)
    """
    count = len(parts)
    while parts[count - 1] is None:
        count -= 1
    return parts[:count]


def as_result(cls: type[Result], value: Any) -> Result:
    """Return the tuple that a module returned, or a hook put in its place, as the named tuple `cls`.

    Raises:
        InputError: it is not a tuple, or has more parts.
    """
    if type(value) is cls:
        return value
    if type(value) is tuple and 0 < len(value) <= len(cls._fields):  # pyright: ignore
        return cls(*value)  # pyright: ignore
    return _checked(cls, value)


def _checked(cls: type[Result], value: Any) -> Result:
    fields: tuple[str, ...] = cast("Any", cls)._fields
    if not isinstance(value, tuple) or not 0 < len(cast("tuple[Any, ...]", value)) <= len(fields):
        what = type(cast("Any", value)).__name__
        raise InputError(f"a hook or replaced module returned a {what}; expected a tuple ({', '.join(fields)})")
    return cls(*cast("tuple[Any, ...]", value))
