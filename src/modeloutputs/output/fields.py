"""The fields of an output: those that its class declares, and the one function that sets a value in all views."""

import dataclasses
from typing import TYPE_CHECKING, Any

from ..errors import nearest

if TYPE_CHECKING:
    from .protocol import OutputLike

__all__ = ["explain_absence", "field_names", "fields_of", "set_field", "unknown_field"]

_plain: type[dict[str, Any]] = dict
"""The dictionary's own methods, beneath those by which outputs guard their fields."""


def fields_of(output: "OutputLike | type[OutputLike]") -> dict[str, "dataclasses.Field[Any]"]:
    """Return the declared fields of an output or its class by name, in order."""
    return output.__output_fields__


def field_names(output: "OutputLike | type[OutputLike]") -> tuple[str, ...]:
    """Return the names of all declared fields of an output or its class, in order, whether present or not.

    Examples:
        >>> from modeloutputs import ModelOutput
        >>> class Scores(ModelOutput):
        ...     loss: float | None = None
        ...     logits: list[float] | None = None
        >>> field_names(Scores(logits=[0.5]))
        ('loss', 'logits')
    """
    return tuple(output.__output_fields__)


def set_field(output: Any, name: str, value: Any) -> None:
    """Set a field in all views at its declared place; None removes it from the tuple and dict views.

    Values are stored twice: in the dictionary itself and, under the same name, in the instance's `__dict__`. Both
    `output["logits"]` and `output.logits` are therefore plain look-ups. A field that is None is in neither, and reading
    its attribute finds the class's None; unless the field's default is another value, which None must hide.
    """
    attributes = output.__dict__
    if value is None:
        _plain.pop(output, name, None)
        if fields_of(output)[name].default is None:
            attributes.pop(name, None)
        else:
            attributes[name] = None
        return
    if name in output:
        _plain.__setitem__(output, name, value)
        attributes[name] = value
        return
    attributes.pop(name, None)  # the None over a default, which may stand before other fields
    _plain.__setitem__(output, name, value)
    attributes[name] = value
    for other in _present_after(output, name):
        _plain.__setitem__(output, other, _plain.pop(output, other))
        attributes[other] = attributes.pop(other)  # pickled in this order


def _present_after(output: Any, name: str) -> list[str]:
    names = field_names(output)
    return [later for later in names[names.index(name) + 1 :] if later in output]


def unknown_field(output: "OutputLike", name: object, purpose: str = "") -> str:
    """Return the error message for a name that the class does not declare, such as "... has no field 'x' to set"."""
    return f"{type(output).__name__} has no field {name!r}{purpose}{nearest(name, field_names(output))}"


def explain_absence(output: "OutputLike", name: object) -> str:
    """Return the error message for a field that is not present: unknown, or not returned by this call."""
    if not isinstance(name, str) or name not in fields_of(output):
        return unknown_field(output, name)
    from .contract import returned_when

    return f"{type(output).__name__} holds no {name!r}: it is returned when {returned_when(type(output), name)}"
