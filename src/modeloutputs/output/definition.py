"""Turns an annotated class into an output class, or refuses it: its fields, their defaults, its constructor."""

import dataclasses
import inspect
import keyword
from collections.abc import Callable
from typing import Any, cast

from ..errors import DefinitionError
from .building import NotGiven, build
from .fields import fields_of
from .generated import generate

__all__ = ["define"]

_OWN_MODULES = (f"{__package__}.container", f"{__package__}.movable")
"""The modules in which ModelOutput is defined."""


def define(cls: Any) -> None:
    """Make a class a dataclass whose fields default to None, with a constructor of its own.

    Args:
        cls: a new subclass of ModelOutput.

    Raises:
        DefinitionError: a field has no annotation, a mutable default, or the name of a method.
    """
    _refuse_malformed(cls)
    cls.__doc__ = cls.__doc__ or f"{cls.__name__}, a ModelOutput."  # without one, `dataclass` computes a signature
    own_init = "__init__" in cls.__dict__
    try:
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{cls.__name__}: {error}") from None
    cls.__output_fields__ = {field.name: field for field in dataclasses.fields(cls)}
    for field in fields_of(cls).values():
        _default_to_none(cls, field)
    cls.__output_defaulted__ = tuple(name for name, field in fields_of(cls).items() if field.default is not None)
    # A second `@dataclass` replaces methods that are only inherited, so the class gets these as its own.
    for method in ("__repr__", "__eq__"):
        if method not in cls.__dict__:
            setattr(cls, method, getattr(cls, method))
    if not own_init:
        cls.__init__ = _constructor(cls)


def _default_to_none(cls: Any, field: "dataclasses.Field[Any]") -> None:
    if field.default_factory is not dataclasses.MISSING:
        # A second `@dataclass` looks for the field on the class; instances always have a value that hides it.
        setattr(cls, field.name, field)
    elif field.default is dataclasses.MISSING:
        field.default = None
        setattr(cls, field.name, None)


# -- malformed classes ----------------------------------------------------------------------------------------------


def _refuse_malformed(cls: Any) -> None:
    annotated = inspect.get_annotations(cls)
    for name, value in cls.__dict__.items():
        if name not in annotated:
            _refuse_without_annotation(cls, name, value)
    for name, annotation in annotated.items():
        if "ClassVar" not in str(annotation):
            _refuse_clash(cls, name)
            _refuse_mutable_default(cls, name, cls.__dict__.get(name))


def _refuse_without_annotation(cls: Any, name: str, value: Any) -> None:
    if not name.startswith("_") and not callable(value) and not hasattr(value, "__get__"):
        raise DefinitionError(
            f"{cls.__name__}.{name} has a value but no annotation, so it would not be a field; "
            f"write `{name}: Type | None = None`, or `{name}: ClassVar[Type]` for a constant"
        )
    if name in fields_of(cls):
        raise DefinitionError(f"{cls.__name__}.{name} is both an inherited field and a method; rename one of them")


def _refuse_clash(cls: Any, name: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name):  # possible in classes that are made at run time
        raise DefinitionError(f"{cls.__name__}: {name!r} is not an identifier, so it cannot name a field")
    for base in cls.__mro__[1:]:
        if name in base.__dict__ and name not in base.__dict__.get("__output_fields__", {}):
            owner = "ModelOutput" if base.__module__ in _OWN_MODULES else base.__name__
            raise DefinitionError(
                f"{cls.__name__}.{name} clashes with {owner}.{name}, which every output has; rename the field"
            )
    own = cls.__dict__.get(name)
    if callable(own) or isinstance(own, (property, classmethod, staticmethod)):
        raise DefinitionError(f"{cls.__name__}.{name} is both a field and a method; rename one of them")


def _refuse_mutable_default(cls: Any, name: str, default: Any) -> None:
    if isinstance(default, dataclasses.Field):
        field = cast("dataclasses.Field[Any]", default)
        if not field.init:
            raise DefinitionError(f"{cls.__name__}.{name}: field(init=False) is not supported; every field is settable")
        default = field.default
    if default is not dataclasses.MISSING and (type(default).__hash__ is None or hasattr(default, "shape")):
        raise DefinitionError(
            f"{cls.__name__}.{name} has the mutable default {type(default).__name__}, shared by all outputs; "
            "use None or dataclasses.field(default_factory=...)"
        )


# -- the constructor ------------------------------------------------------------------------------------------------


def _constructor(cls: Any) -> Callable[..., None]:
    """Generate the class's `__init__` field by field, because a loop over fields would double the cost of building.

    Its own names begin with two underscores, which a class body mangles, so no field can have one of them.
    """
    closure: dict[str, Any] = {"__cls": cls, "__plain": dict, "__build": build}
    assignments = [_assignment(name, field, closure) for name, field in fields_of(cls).items()]
    parameters = [f"{name}={default}" for name, (default, _) in zip(fields_of(cls), assignments, strict=True)]
    finish = ["__self.__post_init__()"] if hasattr(cls, "__post_init__") else []
    given = "".join(f"{name!r}: {name}, " for name in fields_of(cls))
    body = [
        # A subclass that calls this from a constructor of its own may have more fields than are known here.
        "if __values or __unknown or __self.__class__ is not __cls:",
        f"    __build(__self, __values, {{{given}**__unknown}})",
        *(f"    {line}" for line in finish),
        "    return",
        "__attributes = __self.__dict__",
        *(line for _, lines in assignments for line in lines),
        *finish,
    ]
    init = generate("__init__", ["__self", "*__values", *parameters, "**__unknown"], body, closure)
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__doc__ = f"Build a {cls.__name__} from keywords, positions, one mapping of fields, or one iterable of pairs."
    return init


def _assignment(name: str, field: "dataclasses.Field[Any]", closure: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the source of a parameter's default and of the lines that store it."""
    store = [
        f"if {name} is not None:",
        f"    __plain.__setitem__(__self, {name!r}, {name})",
        f"    __attributes[{name!r}] = {name}",
    ]
    if field.default is None:
        return "None", store
    store += ["else:", f"    __attributes[{name!r}] = None"]
    if field.default_factory is dataclasses.MISSING:
        closure[f"__default_{name}"] = field.default
        return f"__default_{name}", store
    closure |= {f"__factory_{name}": field.default_factory, "__NotGiven": NotGiven}
    return "__NotGiven", [f"if {name} is __NotGiven:", f"    {name} = __factory_{name}()", *store]
