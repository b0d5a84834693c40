"""Checks of settings against one another and against bounds, for configurations to call once they are built."""

from typing import Any, cast

from ..errors import InputError

__all__ = ["MAX_LAYERS", "MAX_SIZE", "MAX_WIDTH", "SettingChecks", "shown"]

MAX_SIZE, MAX_WIDTH, MAX_LAYERS = 2**31 - 1, 2**20, 10_000
"""Bounds of sizes: what 32 bits number, and what is beyond any model, so that a corrupt file is not taken for one."""


class SettingChecks:
    """Base of configurations; each method names settings, and refuses those whose values cannot be."""

    def require_positive(self, *names: str, most: int = MAX_SIZE) -> None:
        """Refuse a size that is not a positive integer or is beyond a bound, before a layer fails on it.

        Raises:
            InputError: naming the setting and its value.
        """
        for name in names:
            self.check_size(name, getattr(self, name), most)

    def check_size(self, name: str, value: Any, most: int = MAX_SIZE) -> None:
        """Refuse a value that cannot be the size of this name; see `require_positive`."""
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{type(self).__name__}.{name} is {shown(value)}; it must be a positive integer")
        if value > most:
            raise InputError(f"{type(self).__name__}.{name} is {shown(value)}; it must be at most {most}")

    def require_rate(self, *names: str) -> None:
        """Refuse an invalid dropout rate; None is accepted if it is the default.

        Raises:
            InputError: naming the setting and its value.
        """
        for name in names:
            value = getattr(self, name)
            if value is None and getattr(type(self), name) is None:
                continue
            if not (isinstance(value, (int, float)) and 0 <= value <= 1):
                raise InputError(f"{type(self).__name__}.{name} is {shown(value)}; it must be between 0 and 1")

    def require_token_ids(self, vocab_size: int, *names: str) -> None:
        """Refuse a special token beyond the vocabulary; as everywhere in Python, negative ids count from its end.

        The architecture's default is let through: configurations with a smaller vocabulary often leave it as it is,
        and a token that never occurs is one that is not there.

        Raises:
            InputError: naming the setting and its value.
        """
        for name in names:
            value = getattr(self, name)
            if value == getattr(type(self), name):
                continue
            for token in cast("list[Any]", value) if isinstance(value, list) else [value]:
                _check_token_id(name, token, vocab_size)

    def require_divisible(self, name: str, by: str) -> None:
        """Refuse sizes of which the second does not divide the first.

        Raises:
            InputError: naming both and their values.
        """
        size, parts = getattr(self, name), getattr(self, by)
        if size % parts:
            raise InputError(f"{name} {size} cannot be split into {by} {parts}")


def shown(value: Any) -> str:
    """Return how an error shows a value: cut to a bearable length.

    Examples:
        >>> shown("x"), len(shown("x" * 1000))
        ("'x'", 103)
    """
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _check_token_id(name: str, token: Any, vocab_size: int) -> None:
    if token is None:
        return
    if not isinstance(token, int) or isinstance(token, bool):
        raise InputError(f"{name} is {shown(token)}; it must be an integer, the number of a token")
    if not -vocab_size <= token < vocab_size:
        raise InputError(f"{name} is {shown(token)}, beyond a vocabulary of {vocab_size}")
