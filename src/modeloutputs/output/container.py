"""ModelOutput: dataclass, tuple and dict in one. Imports no framework.

The values live in the dictionary itself and, under the same names, in the instance's `__dict__`, so that both
`output["logits"]` and `output.logits` are plain look-ups. Everything that writes goes through `_put`, which keeps
the two and the declared order together; a field that is None is in neither, and its attribute is the class's None.
"""

import copyreg
import dataclasses
import inspect
import keyword
import sys
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, SupportsIndex, cast, dataclass_transform, overload

from .. import pytrees
from ..arrays import tracing
from ..errors import (
    DefinitionError,
    FieldAttributeError,
    FieldIndexError,
    FieldKeyError,
    UsageError,
    nearest,
)
from . import callers
from .nested import flat_arrays, map_arrays

if TYPE_CHECKING:
    from rich.table import Table

_new_object: Callable[..., Any] = copyreg.__newobj__  # type: ignore[attr-defined]  # pickle knows it by this name

__all__ = ["ALWAYS", "ModelOutput", "field_names"]

ALWAYS: Any = None
"""Default of a field that a model always fills: None at run time, yet its annotation needs no `| None`."""

# The dictionary's own methods, beneath those that guard the fields.
_plain: "type[dict[str, Any]]" = dict


@dataclass_transform(field_specifiers=(dataclasses.field, dataclasses.Field))
class ModelOutput(dict[str, Any]):
    """Base of all outputs: annotate fields in a subclass, and instances are dataclass, tuple and dict in one.

    A field holds whatever a model returns under that name, and None where it returned nothing. Fields that are None
    are absent from the tuple view (`output[0]`, `output[:2]`, `to_tuple()`) and the dict view (`output["logits"]`,
    `keys()`, `len`). Order is always that of declaration. Instances are built from keywords, from positions, from one
    mapping of fields, or from one iterable of (name, value) pairs.

    Raises:
        DefinitionError: a subclass declares a field without annotation, with a mutable default, or with the name of
            a method.
        UsageError: unknown or repeated fields in the constructor; unpacking; `|`, `popitem`, `clear`.
        FieldKeyError, FieldAttributeError, FieldIndexError: a field was asked for, or set, that is not there.
    """

    __output_fields__: ClassVar["dict[str, dataclasses.Field[Any]]"] = {}
    """The declared fields, in order. Not `__dataclass_fields__`: that has constants too, and a second
    `@dataclass` writes it anew, without metadata."""

    __output_defaulted__: ClassVar[tuple[str, ...]] = ()
    """Fields whose default is not None: where one is None, the instance says so, for the class does not."""

    __hash__ = None  # type: ignore[assignment]  # mutable, like the dict that it is

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _define(cls)
        pytrees.register(cls)

    def __init__(self, /, *values: Any, **named: Any) -> None:
        # Subclasses get a generated constructor (see `_constructor`); this one serves classes that write their own.
        _build(self, values, named)

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
            raise FieldIndexError(f"{_name(self)} has no field at index {key}; present are {_present(self)}") from None
        except TypeError:
            if isinstance(key, str):
                return _plain.__getitem__(self, key)
            raise FieldKeyError(
                f"{_name(self)} takes a field name, an integer or a slice in [], not {key!r} of {type(key).__name__}"
            ) from None

    def __missing__(self, key: str) -> NoReturn:
        raise FieldKeyError(_why_absent(self, key))

    if not TYPE_CHECKING:  # to a type checker these would say that every name is an attribute, misspelt ones too

        def __getattr__(self, name: str) -> NoReturn:
            raise FieldAttributeError(f"{_name(self)} has no field {name!r}{nearest(name, field_names(self))}")

        def __setattr__(self, name: str, value: Any) -> None:
            if name not in _fields(self):
                nearby = nearest(name, field_names(self))
                raise FieldAttributeError(f"{_name(self)} has no field {name!r} to set{nearby}")
            _put(self, name, value)

        def __delattr__(self, name: str) -> None:
            if name not in _fields(self):
                raise FieldAttributeError(f"{_name(self)} has no field {name!r} to delete")
            _put(self, name, None)

    def __iter__(self) -> Iterator[str]:
        # The caller's frame is asked for here, not in a helper: a compiler can trace neither, only skip both.
        if not tracing.in_compiler_trace() and callers.is_unpacking(sys._getframe(1), self):  # pyright: ignore[reportPrivateUsage]
            raise UsageError(
                f"{_name(self)} iterates over field names, so unpacking it would give strings; "
                "unpack out.to_tuple() instead"
            )
        return _plain.__iter__(self)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields that are not None, in declared order."""
        return tuple(self.values())

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict of the fields that are not None, in declared order."""
        return dict(self.items())

    def to_flat_dict(self) -> dict[str, Any]:
        """Return one level of arrays by their place: "logits", "hidden_states.0", "past_key_values.0.1".

        For exporters and savers that take no nesting. The order is that of fields, layers and what a layer has;
        other leaves are left out.

        Raises:
            UsageError: a key with dots in it gives two arrays the same name.
        """
        return flat_arrays(self)

    def check(self) -> Self:
        """Hold every field against its annotation, axis names bound across all fields; return self.

        Raises:
            ContractError: naming the first field that differs, the axes expected and the shape found.
        """
        from .checking import check

        return check(self)

    # -- writing ------------------------------------------------------------------------------------------------

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in _fields(self):
            raise FieldKeyError(
                f"{_name(self)} has no field {name!r} to set{nearest(name, field_names(self))}"
                if isinstance(name, str)  # pyright: ignore[reportUnnecessaryIsInstance]
                else f"{_name(self)} is assigned by field name, not by {name!r}"
            )
        # The caller's frame is asked for here for the same reason as in `__iter__`.
        if value is None and not tracing.in_compiler_trace() and callers.is_rebuilding(sys._getframe(1)):  # pyright: ignore[reportPrivateUsage]
            _plain.__setitem__(self, name, None)
            self.__dict__[name] = None
            return
        _put(self, name, value)

    def __delitem__(self, name: str) -> None:
        self[name]  # raises with the reason where there is nothing to delete
        _put(self, name, None)

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a field (it becomes None) and return its value, or `default` where it is None already.

        Raises:
            FieldKeyError: the class declares no such field, or it is absent and no default was given.
        """
        if name not in _fields(self) or (not default and name not in self):
            raise FieldKeyError(_why_absent(self, name))
        value = self.get(name, *default)
        _put(self, name, None)
        return value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return a field's value, setting it to `default` first where it is None."""
        if name not in self:
            self[name] = default
        return self.get(name)

    def update(self, /, *changes: Any, **named: Any) -> None:
        """Set several fields at once, from a mapping, pairs or keywords; nothing is set if one is not a field.

        Raises:
            FieldKeyError: a name is not a field of this class.
        """
        new: dict[Any, Any] = dict(*changes, **named)
        for name in new:
            if name not in _fields(self):
                raise FieldKeyError(f"{_name(self)} has no field {name!r} to set{nearest(name, field_names(self))}")
        for name, value in new.items():
            _put(self, name, value)

    def replace(self, /, **changes: Any) -> Self:
        """Return a new output with some fields changed; the others are shared, not copied."""
        return type(self)(**{**{name: getattr(self, name) for name in field_names(self)}, **changes})

    def popitem(self) -> NoReturn:
        """Refused: which field goes would depend on which are present."""
        raise UsageError(f"{_name(self)} does not support popitem(); set the field to None to remove it")

    def clear(self) -> NoReturn:
        """Refused: an output is a result, not a buffer."""
        raise UsageError(f"{_name(self)} does not support clear(); set fields to None to remove them")

    def __or__(self, other: Any) -> NoReturn:
        raise UsageError(f"{_name(self)} does not support |; use out.replace(field=value) for a new output")

    __ror__ = __or__

    def __ior__(self, other: Any) -> NoReturn:
        raise UsageError(f"{_name(self)} does not support |=; use out.update(field=value)")

    # -- moving -------------------------------------------------------------------------------------------------

    def map(self, function: Callable[[Any], Any]) -> Self:
        """Return an output with a function applied to every array, however nested; None and all else stays.

        An array that stands in two places is passed once, and its result stands in both.
        """
        return map_arrays(function, self)

    def to(self, where: Any = None, *, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> Self:
        """Return the output on a device, in a dtype, or both.

        Args:
            where: a device or a dtype, as PyTorch's `to` takes them: of the arrays' framework, or as text.
            device: "cpu", "cuda:1", "gpu:0"; where not passed, arrays stay where they are.
            dtype: for arrays of floating point numbers; others, as token ids, keep theirs.
            non_blocking: let PyTorch copy from pinned memory while the program goes on.

        Raises:
            InputError: there is no such device or dtype for these arrays, or the dtype has no floating point.
            UsageError: a device or dtype was given twice.
        """
        from ..arrays.backends import to_device
        from ..arrays.dtypes import is_dtype

        if where is not None:
            given = dtype if is_dtype(where) else device
            if given is not None:
                raise UsageError(f"to() was given {where!r} and {given!r}; pass one device and one dtype")
            device, dtype = (device, where) if is_dtype(where) else (where, dtype)
        return self.map(lambda array: to_device(array, device, dtype, non_blocking=non_blocking))

    def cpu(self) -> Self:
        """Return the output in the memory of the machine."""
        return self.to(device="cpu")

    def detach(self) -> Self:
        """Return the output without what gradients are computed from; values are shared."""
        from ..arrays.backends import get_backend

        return self.map(lambda array: get_backend(array).detach(array))

    def numpy(self) -> Self:
        """Return the output with NumPy arrays, detached and on the cpu, bit for bit.

        Memory is shared where possible: do not write to what should stay as it is. Element types that NumPy lacks, as
        bfloat16 and float8, are those of ml_dtypes.

        Raises:
            InputError: an array has no values that NumPy could hold, as under a compiler.
        """
        from ..arrays.backends import to_numpy

        return self.map(to_numpy)

    # -- copying, comparing, showing ----------------------------------------------------------------------------

    def copy(self) -> Self:
        """Return a shallow copy: a new output that shares the values."""
        return self.unflatten(self.keys(), self.values())

    __copy__ = copy

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        # What pickle has an instruction for: a new object of the class, then `__setstate__` with its attributes.
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

    def _repr_html_(self) -> str:  # notebooks look for it
        from ..display.html import html

        return html(self)

    def __rich__(self) -> "Table":  # as rich does, when it prints
        from ..display.terminal import table

        return table(self)

    # -- for tree utilities -------------------------------------------------------------------------------------

    @classmethod
    def unflatten(cls, names: Iterable[str], values: Iterable[Any]) -> Self:
        """Rebuild an output from names and values as they are, None and placeholder objects included, unchecked."""
        output = cls.__new__(cls)
        attributes = output.__dict__
        attributes.update(zip(names, values, strict=True))
        _plain.update(output, attributes)
        for name in cls.__output_defaulted__:
            attributes.setdefault(name, None)
        return output


def field_names(output: ModelOutput | type[ModelOutput]) -> tuple[str, ...]:
    """Return all declared fields of an output or its class, in order, whether present or not."""
    return tuple(_fields(output))


def _fields(output: ModelOutput | type[ModelOutput]) -> dict[str, "dataclasses.Field[Any]"]:
    return output.__output_fields__


def _name(value: object) -> str:
    return type(value).__name__


def _present(output: ModelOutput) -> str:
    return ", ".join(f"{i}: {name}" for i, name in enumerate(output.keys())) or "none"


def _why_absent(output: ModelOutput, name: object) -> str:
    if name not in _fields(output):
        return f"{_name(output)} has no field {name!r}{nearest(name, field_names(output))}"
    from .contract import returned_when

    return f"{_name(output)} holds no {name!r}: it is returned when {returned_when(type(output), str(name))}"


def _put(output: ModelOutput, name: str, value: Any) -> None:
    """Set a field in both views at its declared place; None removes it from the tuple and dict views."""
    attributes = output.__dict__
    if value is None:
        _plain.pop(output, name, None)
        if _fields(output)[name].default is None:
            attributes.pop(name, None)
        else:
            attributes[name] = None
        return
    moved = () if name in output else _present_after(output, name)
    _plain.__setitem__(output, name, value)
    attributes[name] = value
    for later in moved:
        _plain.__setitem__(output, later, _plain.pop(output, later))
        attributes[later] = attributes.pop(later)  # pickled as they stand


def _present_after(output: ModelOutput, name: str) -> list[str]:
    names = field_names(output)
    return [later for later in names[names.index(name) + 1 :] if later in output]


# -- building -----------------------------------------------------------------------------------------------------


def _build(output: ModelOutput, values: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Fill an output from whatever its constructor was given: the general and slower way."""
    given = _given(output, values)
    for name, value in named.items():
        if name not in _fields(output):
            raise UsageError(f"{_name(output)} has no field {name!r}{nearest(name, field_names(output))}")
        if value is _NotGiven or value is _fields(output)[name].default:
            continue  # the generated constructor passes on what it was not given
        if name in given:
            raise UsageError(f"{_name(output)} was given {name!r} twice, by position and by keyword")
        given[name] = value
    for name, field in _fields(output).items():
        _put(output, name, given[name] if name in given else _default(field))


class _NotGiven:
    """Default of a parameter whose field has a factory. A class, for those are constants to compilers."""


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _given(output: ModelOutput, values: tuple[Any, ...]) -> dict[str, Any]:
    """Name the positional arguments: fields in order, or one mapping of fields, or one iterable of pairs."""
    names = field_names(output)
    if len(values) == 1 and (pairs := _as_pairs(output, values[0])) is not None:
        return _named_once(output, pairs)
    if len(values) > len(names):
        raise UsageError(f"{_name(output)} takes at most {len(names)} values ({', '.join(names)}), got {len(values)}")
    return dict(zip(names, values, strict=False))


def _as_pairs(output: ModelOutput, value: Any) -> Iterable[tuple[Any, Any]] | None:
    """Return the pairs that a lone argument holds, or None where it is the first field's value."""
    fields = _fields(output)
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return mapping.items() if not mapping or any(name in fields for name in mapping) else None
    if isinstance(value, Iterator):
        return cast("Iterator[tuple[Any, Any]]", value)
    if isinstance(value, (list, tuple, ItemsView)):
        pairs = list(cast("Iterable[Any]", value))
        return pairs if pairs and all(_is_named_pair(pair) for pair in pairs) else None
    return None


def _is_named_pair(value: Any) -> bool:
    return type(value) is tuple and _is_pair(value) and isinstance(value[0], str)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(cast("list[Any]", value)) == 2


def _named_once(output: ModelOutput, pairs: Iterable[Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for pair in pairs:
        if not _is_pair(pair):
            raise UsageError(f"{_name(output)} takes (name, value) pairs, got {_name(pair)}")
        name, value = cast("tuple[Any, Any]", pair)
        if not isinstance(name, str):
            raise UsageError(f"{_name(output)} takes field names as keys, got {name!r} of {type(name).__name__}")
        if name not in _fields(output):
            raise UsageError(f"{_name(output)} has no field {name!r}{nearest(name, field_names(output))}")
        if name in given:
            raise UsageError(f"{_name(output)} was given {name!r} twice")
        given[name] = value
    return given


# -- defining a subclass ------------------------------------------------------------------------------------------


def _define(cls: type[ModelOutput]) -> None:
    """Turn an annotated class into a dataclass whose fields default to None, or refuse it."""
    _refuse_malformed(cls)
    cls.__doc__ = cls.__doc__ or f"{cls.__name__}, a ModelOutput."  # else dataclass spends time on a signature
    try:
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{cls.__name__}: {error}") from None
    own_init = "__init__" in cls.__dict__
    cls.__output_fields__ = {field.name: field for field in _dataclass_fields(cls)}
    for field in _fields(cls).values():
        _default_to_none(cls, field)
    cls.__output_defaulted__ = tuple(name for name, field in _fields(cls).items() if field.default is not None)
    # @dataclass on top leaves alone what a class has in its own dict, so these stay ours under it.
    for method in ("__repr__", "__eq__"):
        if method not in cls.__dict__:
            setattr(cls, method, getattr(cls, method))
    if not own_init:
        cls.__init__ = _constructor(cls)


def _dataclass_fields(cls: type[Any]) -> "tuple[dataclasses.Field[Any], ...]":
    return dataclasses.fields(cls)


def _default_to_none(cls: type[ModelOutput], field: "dataclasses.Field[Any]") -> None:
    if field.default_factory is not dataclasses.MISSING:
        # Kept on the class for a second @dataclass to find; instances always have their own value in front of it.
        setattr(cls, field.name, field)
    elif field.default is dataclasses.MISSING:
        field.default = None
        setattr(cls, field.name, None)


def _refuse_malformed(cls: type[ModelOutput]) -> None:
    annotated = inspect.get_annotations(cls)
    for name, value in cls.__dict__.items():
        if name not in annotated and _looks_like_field(name, value):
            raise DefinitionError(
                f"{cls.__name__}.{name} has a value but no annotation, so it would not be a field; "
                f"write `{name}: Type | None = None`, or `{name}: ClassVar[Type]` for a constant"
            )
        if name not in annotated and name in _fields(cls):
            raise DefinitionError(f"{cls.__name__}.{name} is both an inherited field and a method; rename one of them")
    for name, annotation in annotated.items():
        if "ClassVar" in str(annotation):
            continue
        _refuse_clash(cls, name)
        _refuse_mutable_default(cls, name, cls.__dict__.get(name))


def _looks_like_field(name: str, value: Any) -> bool:
    return not name.startswith("_") and not callable(value) and not hasattr(value, "__get__")


def _refuse_clash(cls: type[ModelOutput], name: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name):  # a class made at run time may say anything
        raise DefinitionError(f"{cls.__name__}: {name!r} cannot be a field's name; it is no identifier")
    for base in cls.__mro__[1:]:
        if name in base.__dict__ and name not in base.__dict__.get("__output_fields__", {}):
            raise DefinitionError(
                f"{cls.__name__}.{name} clashes with {base.__name__}.{name}, which every output has; rename the field"
            )
    own = cls.__dict__.get(name)
    if callable(own) or isinstance(own, (property, classmethod, staticmethod)):
        raise DefinitionError(f"{cls.__name__}.{name} is both a field and a method; rename one of them")


def _refuse_mutable_default(cls: type[ModelOutput], name: str, default: Any) -> None:
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


def _constructor(cls: type[ModelOutput]) -> Callable[..., None]:
    """Write the class's `__init__` out field by field: a loop would cost more than the whole build may.

    What it needs reaches it as closure variables, and its globals are this module's, as in a function written by hand:
    compilers that trace it look names up there. Its own names begin with two underscores, which a class body mangles,
    so that no field can be called like one of them.
    """
    parameters: list[str] = []
    lines: list[str] = []
    closure: dict[str, Any] = {"__cls": cls, "__plain": dict, "__build": _build}
    for name, field in _fields(cls).items():
        default, body = _assignment(name, field, closure)
        parameters.append(f"{name}={default}")
        lines += body
    finish = ["__self.__post_init__()"] if hasattr(cls, "__post_init__") else []
    given = "".join(f"{name!r}: {name}, " for name in _fields(cls))
    body = [
        # A subclass that calls this from a constructor of its own may have more fields than are known here.
        "if __values or __unknown or __self.__class__ is not __cls:",
        f"    __build(__self, __values, {{{given}**__unknown}})",
        *(f"    {line}" for line in finish),
        "    return",
        "__attributes = __self.__dict__",
        *lines,
        *finish,
    ]
    source = "\n".join(
        [
            f"def factory({', '.join(closure)}):",
            f"    def __init__(__self, {', '.join(['*__values', *parameters, '**__unknown'])}):",
            *(f"        {line}" for line in body),
            "    return __init__",
        ]
    )
    namespace: dict[str, Any] = {}
    exec(source, globals(), namespace)
    init = namespace["factory"](**closure)
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
    closure |= {f"__factory_{name}": field.default_factory, "__NotGiven": _NotGiven}
    return "__NotGiven", [f"if {name} is __NotGiven:", f"    {name} = __factory_{name}()", *store]
