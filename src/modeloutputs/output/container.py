"""ModelOutput: dataclass, tuple and dict in one. Imports no framework.

How the three views are kept in agreement is in `fields`, how an instance is built in `building`, and how an annotated
class becomes an output class in `definition`.
"""

import copyreg
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, SupportsIndex, cast, dataclass_transform, overload

from .. import pytrees
from ..arrays import tracing
from ..errors import FieldAttributeError, FieldIndexError, FieldKeyError, UsageError
from . import callers
from .building import build
from .definition import define
from .fields import explain_absence, field_names, fields_of, set_field, unknown_field
from .movable import Movable
from .nested import flat_arrays

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ALWAYS", "ModelOutput"]

ALWAYS: Any = None
"""Default of a field that a model always fills: None at run time, yet its annotation needs no `| None`."""

# The dictionary's own methods. Not imported: Python calls methods of imported names by a slower instruction.
_plain: type[dict[str, Any]] = dict

_new_object: Callable[..., Any] = copyreg.__newobj__  # type: ignore[attr-defined]  # pickle knows it by this name


@dataclass_transform(field_specifiers=(dataclasses.field, dataclasses.Field))
class ModelOutput(dict[str, Any], Movable):
    """Base of all outputs: annotate fields in a subclass, and instances are dataclass, tuple and dict in one.

    A field holds whatever a model returns under that name, and None if the model does not return it. Fields that are
    None are absent from the tuple view (`output[0]`, `output[:2]`, `to_tuple()`) and the dict view (`output["logits"]`,
    `keys()`, `len`). Order is always that of declaration. Instances are built from keywords, from positions, from one
    mapping of fields, or from one iterable of (name, value) pairs.

    Raises:
        DefinitionError: a subclass declares a field without annotation, with a mutable default, or with the name of
            a method.
        UsageError: unknown or repeated fields in the constructor; unpacking; `|`, `popitem`, `clear`.
        FieldKeyError, FieldAttributeError, FieldIndexError: a field that is read or set does not exist, or a field
            that is read is absent.

    Examples:
        >>> class Scores(ModelOutput):
        ...     loss: float | None = None
        ...     logits: list[float] | None = None
        >>> output = Scores(logits=[0.25, 0.75])
        >>> output.logits is output["logits"] is output[0]
        True
        >>> output.loss = 0.5
        >>> output.to_tuple()
        (0.5, [0.25, 0.75])
        >>> output["los"]
        Traceback (most recent call last):
        modeloutputs.errors.FieldKeyError: Scores has no field 'los'; did you mean 'loss'?
    """

    __output_fields__: ClassVar["dict[str, dataclasses.Field[Any]]"] = {}
    """The declared fields, in order. Not `__dataclass_fields__`, which includes constants and which a second
    `@dataclass` replaces, losing metadata."""

    __output_defaulted__: ClassVar[tuple[str, ...]] = ()
    """Fields whose default is not None. An instance where such a field is None has that None as an attribute."""

    __hash__ = None  # type: ignore[assignment]  # mutable, like the dict that it is

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        define(cls)
        pytrees.register(cls)

    def __init__(self, /, *values: Any, **named: Any) -> None:
        # Subclasses have generated constructors; this one is for classes that write their own.
        build(self, values, named)

    # -- reading ------------------------------------------------------------------------------------------------

    @overload
    def __getitem__(self, key: slice) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, key: str | SupportsIndex) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        if type(key) is str:
            return _plain.__getitem__(self, key)
        try:
            return tuple(self.values())[key]
        except IndexError:
            present = ", ".join(f"{i}: {name}" for i, name in enumerate(self.keys())) or "none"
            name = type(self).__name__
            raise FieldIndexError(f"{name} has no field at index {key}; present are {present}") from None
        except TypeError:
            if isinstance(key, str):
                return _plain.__getitem__(self, key)
            expected = f"{type(self).__name__} takes a field name, an integer or a slice in []"
            raise FieldKeyError(f"{expected}, not {key!r} of {type(key).__name__}") from None

    def __missing__(self, key: str) -> NoReturn:
        raise FieldKeyError(explain_absence(self, key))

    if not TYPE_CHECKING:  # type checkers would take these to mean that every name is an attribute

        def __getattr__(self, name: str) -> NoReturn:
            raise FieldAttributeError(unknown_field(self, name))

        def __setattr__(self, name: str, value: Any) -> None:
            if name not in fields_of(self):
                raise FieldAttributeError(unknown_field(self, name, " to set"))
            set_field(self, name, value)

        def __delattr__(self, name: str) -> None:
            if name not in fields_of(self):
                raise FieldAttributeError(unknown_field(self, name, " to delete"))
            set_field(self, name, None)

    def __iter__(self) -> Iterator[str]:
        # The caller's frame is inspected here, not in a helper: a compiler can trace neither, only skip both.
        if not tracing.in_compiler_trace() and callers.is_unpacking(sys._getframe(1), self):  # pyright: ignore[reportPrivateUsage]
            raise UsageError(
                f"{type(self).__name__} iterates over field names, so unpacking it would give strings; "
                "unpack out.to_tuple() instead"
            )
        return _plain.__iter__(self)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields that are not None, in declared order.

        Examples:
            >>> class Scores(ModelOutput):
            ...     loss: float | None = None
            ...     logits: list[float] | None = None
            >>> Scores(logits=[1.0]).to_tuple()
            ([1.0],)
        """
        return tuple(self.values())

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict of the fields that are not None, in declared order.

        Examples:
            >>> class Scores(ModelOutput):
            ...     loss: float | None = None
            ...     logits: list[float] | None = None
            >>> Scores(logits=[1.0]).to_dict()
            {'logits': [1.0]}
        """
        return dict(self.items())

    def to_flat_dict(self) -> dict[str, Any]:
        """Return the arrays of the output by flat name: "logits", "hidden_states.0", "past_key_values.0.1".

        This is for exporters and writers that take no nesting. The order is that of fields, layers and the items of a
        layer; None and other values that are not arrays are left out.

        Raises:
            UsageError: a key that contains dots gives two arrays the same name.

        Examples:
            >>> import numpy as np
            >>> class States(ModelOutput):
            ...     hidden_states: tuple[np.ndarray | None, ...] | None = None
            >>> list(States(hidden_states=(None, np.ones(2), np.ones(2))).to_flat_dict())
            ['hidden_states.1', 'hidden_states.2']
        """
        return flat_arrays(self)

    def check(self) -> Self:
        """Check every field against its annotation, axis names bound across all fields, and return the output.

        Raises:
            ContractError: naming the first field that differs, the axes expected and the shape found.

        Examples:
            >>> import numpy as np
            >>> from jaxtyping import Float
            >>> class Scores(ModelOutput):
            ...     logits: Float[np.ndarray, "batch labels"]
            >>> Scores(logits=np.ones((2, 3))).check().logits.shape
            (2, 3)
        """
        from .checking import check

        return check(self)

    # -- writing ------------------------------------------------------------------------------------------------

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise FieldKeyError(f"{type(self).__name__} is assigned by field name, not by {name!r}")
        if name not in fields_of(self):
            raise FieldKeyError(unknown_field(self, name, " to set"))
        # The caller's frame is inspected here for the same reason as in `__iter__`.
        if value is None and not tracing.in_compiler_trace() and callers.is_rebuilding(sys._getframe(1)):  # pyright: ignore[reportPrivateUsage]
            _plain.__setitem__(self, name, None)
            self.__dict__[name] = None
            return
        set_field(self, name, value)

    def __delitem__(self, name: str) -> None:
        self[name]  # raises with the reason if the field is absent
        set_field(self, name, None)

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a field (it becomes None) and return its value, or `default` if it is None already.

        Raises:
            FieldKeyError: the class declares no such field, or it is absent and no default was given.

        Examples:
            >>> class Scores(ModelOutput):
            ...     loss: float | None = None
            >>> output = Scores(loss=0.5)
            >>> output.pop("loss"), output.pop("loss", 0.0), output.loss
            (0.5, 0.0, None)
        """
        if name not in fields_of(self) or (not default and name not in self):
            raise FieldKeyError(explain_absence(self, name))
        value = self.get(name, *default)
        set_field(self, name, None)
        return value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return a field's value, setting it to `default` first if it is None.

        Raises:
            FieldKeyError: the class declares no such field.

        Examples:
            >>> class Scores(ModelOutput):
            ...     loss: float | None = None
            >>> output = Scores()
            >>> output.setdefault("loss", 0.5), output.setdefault("loss", 1.0)
            (0.5, 0.5)
        """
        if name not in self:
            self[name] = default
        return self.get(name)

    def update(self, /, *changes: Any, **named: Any) -> None:
        """Set several fields at once, from a mapping, pairs or keywords; all of them or none.

        Raises:
            FieldKeyError: a name is not a field of this class.

        Examples:
            >>> class Scores(ModelOutput):
            ...     loss: float | None = None
            ...     logits: list[float] | None = None
            >>> output = Scores(loss=0.5)
            >>> output.update({"loss": None}, logits=[1.0])
            >>> output.to_dict()
            {'logits': [1.0]}
        """
        new: dict[Any, Any] = dict(*changes, **named)
        for name in new:
            if name not in fields_of(self):
                raise FieldKeyError(unknown_field(self, name, " to set"))
        for name, value in new.items():
            set_field(self, name, value)

    def replace(self, /, **changes: Any) -> Self:
        """Return a new output with some fields changed; the others are shared, not copied.

        Raises:
            UsageError: a name is not a field of this class.

        Examples:
            >>> class Scores(ModelOutput):
            ...     loss: float | None = None
            ...     logits: list[float] | None = None
            >>> Scores(loss=0.5).replace(logits=[1.0]).to_tuple()
            (0.5, [1.0])
        """
        return type(self)(**{**{name: getattr(self, name) for name in field_names(self)}, **changes})

    def popitem(self) -> NoReturn:
        """Refused, because which field it removes would depend on which are present."""
        raise UsageError(f"{type(self).__name__} does not support popitem(); set the field to None to remove it")

    def clear(self) -> NoReturn:
        """Refused, because an output is a result, not a buffer."""
        raise UsageError(f"{type(self).__name__} does not support clear(); set fields to None to remove them")

    def __or__(self, other: Any) -> NoReturn:
        name = type(self).__name__
        raise UsageError(f"{name} does not support |; use out.replace(field=value) for a new output")

    __ror__ = __or__

    def __ior__(self, other: Any) -> NoReturn:
        raise UsageError(f"{type(self).__name__} does not support |=; use out.update(field=value)")

    # -- copying, comparing, showing ----------------------------------------------------------------------------

    def copy(self) -> Self:
        """Return a shallow copy: a new output that shares the values.

        Examples:
            >>> class Scores(ModelOutput):
            ...     logits: list[float] | None = None
            >>> output = Scores(logits=[1.0])
            >>> output.copy() is output, output.copy().logits is output.logits
            (False, True)
        """
        return self.unflatten(self.keys(), self.values())

    __copy__ = copy

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        # Pickle has an instruction for this form: a new object of the class, then `__setstate__` with its attributes.
        return _new_object, (type(self),), self.__dict__

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        _plain.update(self, attributes)
        for name in self.__output_defaulted__:
            if attributes.get(name) is None:
                _plain.pop(self, name, None)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return False
        from .equality import equal

        return equal(self.to_dict(), cast("ModelOutput", other).to_dict())

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        from ..display.text import pformat

        return pformat(self)

    def _repr_html_(self) -> str:  # notebooks call it
        from ..display.html import html

        return html(self)

    def __rich__(self) -> "Table":  # rich calls it
        from ..display.terminal import table

        return table(self)

    # -- for tree utilities -------------------------------------------------------------------------------------

    @classmethod
    def unflatten(cls, names: Iterable[str], values: Iterable[Any]) -> Self:
        """Rebuild an output from names and values as they are, None and placeholder objects included, unchecked.

        Examples:
            >>> class Scores(ModelOutput):
            ...     logits: list[float] | None = None
            >>> Scores.unflatten(["logits"], [[1.0]]).logits
            [1.0]
        """
        output = cls.__new__(cls)
        attributes = output.__dict__
        attributes.update(zip(names, values, strict=True))
        _plain.update(output, attributes)
        for name in cls.__output_defaulted__:
            attributes.setdefault(name, None)
        return output
