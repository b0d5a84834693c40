"""Holds the values of settings against the types that their configuration declares."""

import dataclasses
import functools
import math
import types
from collections.abc import Mapping
from typing import Any, cast, get_args

from ..errors import InputError
from .setting_checks import shown

__all__ = ["check_setting"]

_NAMES: Mapping[Any, str] = {
    bool: "True or False",
    int: "an integer",
    float: "a number from 0",
    str: "a text",
    dict: "a mapping",
    list: "a list",
    type(None): "None",
}


def check_setting(cls: type, name: str, value: Any) -> None:
    """Refuse a value that is not of the type declared for this setting; an integer is a number too, a bool is neither.

    Raises:
        InputError: naming class, setting, value and type.

    Examples:
        >>> from modeloutputs.architectures import BertConfig
        >>> check_setting(BertConfig, "layer_norm_eps", "1e-12")
        Traceback (most recent call last):
        modeloutputs.errors.InputError: BertConfig.layer_norm_eps is '1e-12'; expected a number from 0
    """
    declared = _declared(cls).get(name)
    if declared is not None and not any(_fits(value, kind) for kind in declared):
        expected = " or ".join(_NAMES.get(getattr(kind, "__origin__", kind), str(kind)) for kind in declared)
        raise InputError(f"{cls.__name__}.{name} is {shown(value)}; expected {expected}")


@functools.cache
def _declared(cls: type) -> dict[str, tuple[Any, ...]]:
    """Return the alternatives of each setting's type; one that is only named, as under a future import, is not held."""
    return {
        field.name: get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)
        for field in dataclasses.fields(cls)
        if not isinstance(field.type, str)
    }


def _fits(value: Any, kind: Any) -> bool:
    plain = getattr(kind, "__origin__", kind)
    if kind is Any or not isinstance(plain, type):
        return True
    if plain is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and _is_finite(value)
    if plain is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if plain is list:
        return isinstance(value, list) and all(_fits(item, get_args(kind)[0]) for item in cast("list[Any]", value))
    return isinstance(value, plain)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
