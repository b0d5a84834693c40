"""What each field must look like: named axes, checked at run time, and when a model returns it.

A field's annotation is its contract, in jaxtyping's notation: `Float[Tensor, "batch seq hidden"]`. Axis names mean
the same in every class:

=========  ==========================================================================
batch      rows of the batch
seq        positions computed in this call
past       positions that keys are held for: those before this call and those of it
enc_seq    positions of the encoder's output
heads      attention heads; `kv_heads` where keys and values have heads of their own
enc_heads  attention heads of the encoder
head_dim   width of one head
hidden     width of the hidden states
vocab      entries of the vocabulary
labels     classes of a classifier
choices    alternatives of one multiple-choice row
n          labels that count towards a loss, where there is one loss for each
parts      of a batch that was concatenated or gathered: one loss for each
max_length positions that a Flax cache of constant shape has room for
total, new positions that `generate` returns, and those of them that it chose
=========  ==========================================================================
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..display.text import summary
from ..errors import ContractError

if TYPE_CHECKING:
    from .container import ModelOutput

__all__ = [
    "LENGTHS",
    "NEVER_CHOSEN",
    "ROWS",
    "FieldContract",
    "annotations",
    "axes_of",
    "check",
    "field_contracts",
    "fitting",
    "item_annotations",
    "resembles",
    "returned_when",
]

Output = TypeVar("Output", bound="ModelOutput")

NEVER_CHOSEN = {"padding": -math.inf}
"""Metadata of a field whose padding no argmax may choose and no softmax may count: logits over positions."""

# What fills a field, where the class does not say otherwise (see `when`).
_RETURNED_WHEN = {
    "loss": "labels are passed",
    "past_key_values": "use_cache=True",
    "hidden_states": "output_hidden_states=True",
    "decoder_hidden_states": "output_hidden_states=True",
    "encoder_hidden_states": "output_hidden_states=True",
    "attentions": "output_attentions=True",
    "decoder_attentions": "output_attentions=True",
    "encoder_attentions": "output_attentions=True",
    "cross_attentions": "output_attentions=True and the model attends to an encoder",
    "encoder_last_hidden_state": "the encoder's states are known",
}


def returned_when(cls: "type[ModelOutput]", name: str) -> str:
    """Say what makes a model return a field: a flag, labels, or "always"."""
    stated = cls.__output_fields__[name].metadata.get("returned_when") or _RETURNED_WHEN.get(name)
    return stated or ("the model has it" if _may_be_absent(cls, name) else "always")


def _may_be_absent(cls: "type[ModelOutput]", name: str) -> bool:
    try:
        return _is_optional(annotations(cls)[name])
    except ContractError:
        return True  # that an annotation cannot be resolved is for `check` to say, not for `output[name]`


@dataclass(frozen=True)
class FieldContract:
    """One field of an output class, as a reader wants to know it."""

    name: str
    axes: str
    returned_when: str


def field_contracts(cls: "type[ModelOutput]") -> list[FieldContract]:
    """Return the contract of each field of an output class, in declared order."""
    return [
        FieldContract(name, _axes(annotation), returned_when(cls, name))
        for name, annotation in annotations(cls).items()
    ]


def check(output: Output) -> Output:
    """Hold every present field of an output against its annotation and return the output.

    Axis names are bound across all fields: a `batch` of 2 in `logits` is a `batch` of 2 in every hidden state.
    Never run implicitly in a forward pass.

    Raises:
        ContractError: naming the first field that differs, what was expected and what was found.
    """
    from jaxtyping import jaxtyped  # pyright: ignore[reportUnknownVariableType]

    hints = annotations(type(output))
    bound: dict[str, int] = {}
    with jaxtyped("context"):
        for name, value in output.items():
            # `hidden_states | None` is what callers may see; a value that is present is held to the rest.
            fault = _field_fault(value, _without_none(hints[name]), name, bound)
            if fault is not None:
                raise ContractError(f"{type(output).__name__}.{fault}")
    return output


@functools.cache
def annotations(cls: "type[ModelOutput]") -> dict[str, Any]:
    """Return the annotation of each field of an output class, in declared order.

    Raises:
        ContractError: one refers to a name that cannot be found.
    """
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, AttributeError, SyntaxError) as error:
        raise ContractError(f"{cls.__name__}: an annotation cannot be resolved ({error}); import that name") from None
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]


# -- which axes a value has -----------------------------------------------------------------------------------------

LENGTHS = frozenset({"seq", "past", "enc_seq", "total", "new", "max_length"})
"""Axes that differ in length from text to text, and so may be padded."""

ROWS = "batch"
"""The axis whose entries are the rows of a batch; `batch*choices` holds several entries for each."""


def fitting(annotation: Any, value: Any) -> Any:
    """Return which alternative of a union fits a value by its structure and number of axes; else the annotation."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    options = [option for option in typing.get_args(annotation) if option is not type(None)]
    return next((option for option in options if resembles(option, value)), options[0])


def resembles(annotation: Any, value: Any) -> bool:
    """Whether a value has the structure of an annotation: its tuples, lists, mappings and numbers of axes."""
    annotation = fitting(annotation, value)
    items = item_annotations(annotation, value)
    if items is not None:
        children = list(cast("Any", value).values() if isinstance(value, Mapping) else value)
        return all(child is None or resembles(item, child) for item, child in zip(items, children, strict=True))
    return hasattr(value, "shape") and axes_of(annotation, len(value.shape)) is not None


def item_annotations(annotation: Any, value: Any) -> list[Any] | None:
    """Return the annotation of each item of a tuple, list or mapping; None where the annotation is of no such value."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (tuple, list) and isinstance(value, (tuple, list)):
        length = len(cast("list[Any]", value))
        if origin is list or arguments[1:] == (...,):
            return [arguments[0]] * length
        return list(arguments) if length == len(arguments) else None
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return [arguments[1]] * len(cast("Mapping[Any, Any]", value))
    return None


def axes_of(annotation: Any, rank: int) -> tuple[str, ...] | None:
    """Return the axis names of an array annotation, as many as `rank`; None where it names none, or not so many.

    An axis of any number (`...`, `*rest`) gives a `_` for each that there is.
    """
    written: str | None = getattr(annotation, "dim_str", None)
    if written is None:
        return None
    names = written.split()
    several = [i for i, name in enumerate(names) if name == "..." or name.startswith("*")]
    if several:
        names[several[0] : several[0] + 1] = ["_"] * max(rank - len(names) + 1, 0)
    return tuple(names) if len(names) == rank else None


# -- checking one value against one annotation ----------------------------------------------------------------------


def _field_fault(value: Any, annotation: Any, name: str, bound: dict[str, int]) -> str | None:
    from jaxtyping import AnnotationError

    try:
        return _fault(value, annotation, name, bound)
    except AnnotationError:
        return f"{name}: expected {_axes(annotation)}, computed from axes that no field before it gives"


def _fault(value: Any, annotation: Any, where: str, bound: dict[str, int]) -> str | None:
    """Return what is wrong with a value, or None; axes of arrays that fit are added to `bound`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _union_fault(value, arguments, where, bound)
    if origin is tuple or annotation is tuple:
        return _tuple_fault(value, arguments, where, bound)
    if origin is list:
        return _items_fault(value, list, arguments[0], where, bound)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_fault(value, arguments, where, bound)
    return _leaf_fault(value, annotation, where, bound)


def _union_fault(value: Any, options: tuple[Any, ...], where: str, bound: dict[str, int]) -> str | None:
    faults: list[str] = []
    for option in options:
        fault = _fault(value, option, where, bound)
        if fault is None:
            return None
        if option is not type(None):
            faults.append(fault)
    # The option that went wrong deepest inside the value is the one that was meant.
    return max(faults, key=lambda fault: len(fault.partition(":")[0]), default=f"{where}: nothing fits")


def _tuple_fault(value: Any, arguments: tuple[Any, ...], where: str, bound: dict[str, int]) -> str | None:
    if not arguments or (len(arguments) == 2 and arguments[1] is Ellipsis):
        return _items_fault(value, tuple, arguments[0] if arguments else Any, where, bound)
    if not isinstance(value, tuple) or len(cast("tuple[Any, ...]", value)) != len(arguments):
        return f"{where}: expected a tuple of {len(arguments)}, found {summary(value)}"
    faults = (
        _fault(item, argument, f"{where}[{i}]", bound)
        for i, (item, argument) in enumerate(zip(cast("tuple[Any, ...]", value), arguments, strict=True))
    )
    return next(filter(None, faults), None)


def _items_fault(value: Any, kind: type, item_type: Any, where: str, bound: dict[str, int]) -> str | None:
    if not isinstance(value, kind):
        return f"{where}: expected a {kind.__name__}, found {summary(value)}"
    items = enumerate(cast("list[Any]", value))
    return next(filter(None, (_fault(item, item_type, f"{where}[{i}]", bound) for i, item in items)), None)


def _mapping_fault(value: Any, arguments: tuple[Any, ...], where: str, bound: dict[str, int]) -> str | None:
    if not isinstance(value, Mapping):
        return f"{where}: expected a mapping, found {summary(value)}"
    item_type = arguments[1] if len(arguments) == 2 else Any
    items = cast("Mapping[Any, Any]", value).items()
    return next(filter(None, (_fault(item, item_type, f"{where}[{key!r}]", bound) for key, item in items)), None)


def _leaf_fault(value: Any, annotation: Any, where: str, bound: dict[str, int]) -> str | None:
    axes: str | None = getattr(annotation, "dim_str", None)
    if not isinstance(annotation, type) or _is_instance(value, annotation):
        if axes is not None:
            bound.update(_bindings(axes, tuple(value.shape)))
        return None  # what is no class (Any, a type variable, a literal) promises nothing that can be checked here
    if axes is None:
        return f"{where}: expected {annotation.__name__}, found {summary(value)} of {type(value).__name__}"
    known = ", ".join(f"{axis}={bound[axis]}" for axis in axes.split() if axis in bound)
    expected = f"{_dtype_name(annotation)}[{axes}]" + (f" with {known}" if known else "")
    wrong_type = "" if isinstance(value, _array_type(annotation)) else f" of {type(value).__name__}"
    return f"{where}: expected {expected}, found {summary(value)}{wrong_type}"


def _is_instance(value: Any, annotation: type[Any]) -> bool:
    try:
        return isinstance(value, annotation)
    except TypeError:
        return True  # Any, a TypedDict, a protocol: not for isinstance


def _bindings(axes: str, shape: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    names = axes.split()
    if len(names) == len(shape):
        yield from ((name, size) for name, size in zip(names, shape, strict=True) if name.isidentifier())


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    rest = tuple(option for option in typing.get_args(annotation) if option is not type(None))
    return typing.Union[rest] if rest else annotation  # noqa: UP007  # built at run time from a tuple


def _is_optional(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)


# -- annotations as text --------------------------------------------------------------------------------------------


def _dtype_name(annotation: Any) -> str:
    return annotation.__name__.partition("[")[0]


def _array_type(annotation: Any) -> type[Any]:
    return annotation.array_type


def _axes(annotation: Any) -> str:
    """Write an annotation down for a table: `(batch seq hidden)`, `tuple of (batch seq hidden)`."""
    annotation = _without_none(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _options(list(dict.fromkeys(_axes(option) for option in arguments)))
    if origin is tuple and arguments[-1:] == (...,):
        return f"tuple of {_axes(arguments[0])}"
    if origin is list:
        return f"list of {_axes(arguments[0])}"
    if origin is dict and len(arguments) == 2:
        return f"dict of {_axes(arguments[1])}"
    if origin is tuple:
        runs = ((text, len(list(run))) for text, run in groupby(map(_axes, arguments)))
        return " + ".join(text if count == 1 else f"{count} x {text}" for text, count in runs)
    if hasattr(annotation, "dim_str"):
        return f"({annotation.dim_str})"
    return getattr(annotation, "__name__", str(annotation))


def _options(texts: list[str]) -> str:
    """Join alternatives; where the second only adds to the first, say just what it adds."""
    if len(texts) == 2 and texts[1].startswith(texts[0]):
        return f"{texts[0]} [{texts[1].removeprefix(texts[0]).strip()}]"
    return " or ".join(texts)
