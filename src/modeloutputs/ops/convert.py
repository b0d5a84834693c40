"""Converts outputs between PyTorch, JAX, TensorFlow and NumPy: their class, arrays, and layout of caches and losses.

Arrays change hands by DLPack, which shares their memory if both frameworks can; bytes are never changed. A field that
the other class lacks, or that cannot be brought into its layout, is refused unless it is dropped by name.
"""

from collections.abc import Collection, Mapping
from typing import Any

from ..arrays.backends import backend_named, get_backend
from ..arrays.base import Backend
from ..display.text import summary
from ..errors import InputError, UsageError, first_line, nearest
from ..frameworks import FRAMEWORKS, Framework
from ..output import ModelOutput, field_names
from ..output.nested import map_arrays, map_leaves
from ..output.schema import schema_of
from .layouts import FieldLayout, adapt_cache, adapt_loss
from .mapping import fields_within

__all__ = ["check_names", "convert", "convert_fields", "counterpart"]

_NEAREST = {
    "BaseModelOutputWithCrossAttentions": "BaseModelOutputWithPastAndCrossAttentions",
    "BaseModelOutputWithPoolingAndCrossAttentions": "BaseModelOutputWithPooling",
    "CausalLMOutput": "CausalLMOutputWithCrossAttentions",
    "CausalLMOutputWithPast": "CausalLMOutputWithCrossAttentions",
}
"""For classes that not every framework has, the one that has all fields they always hold, and most of the others."""


def convert(output: ModelOutput, to: str | type[ModelOutput], *, drop: Collection[str] = ()) -> Any:
    """Return an output as its counterpart in another framework, with that framework's arrays.

    Memory is shared if both frameworks can, so neither side should be written to afterwards. Gradients do not cross.
    A class that is not one of this library's stays. If a framework lacks the counterpart, the class that holds most of
    its fields stands in: `CausalLMOutput` becomes `FlaxCausalLMOutputWithCrossAttentions`. Outputs within the output
    are converted likewise.

    Args:
        output: the output.
        to: "torch", "jax", "tensorflow", or "numpy", which keeps the class; or an output class of this library.
        drop: fields to leave out, of the output and of those within it.

    Raises:
        InputError: the other class lacks a field that is not dropped, or has another layout for a loss or cache that
            this one does not fit; the other framework lacks the element type; JAX would lose precision.
        MissingDependencyError: the framework is not installed.
        UsageError: it is not an output.

    Examples:
        >>> from modeloutputs.torch import BaseModelOutput
        >>> import torch
        >>> output = BaseModelOutput(last_hidden_state=torch.ones(1, 2, 4), attentions=(torch.ones(1, 3, 2, 2),))
        >>> type(convert(output, "numpy").last_hidden_state).__name__
        'ndarray'
        >>> list(convert(output, "numpy", drop=["attentions"]))
        ['last_hidden_state']
    """
    if not isinstance(output, ModelOutput):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"convert takes one output; got a {type(output).__name__}")
    check_names("drop", drop, {name for name, _ in fields_within(output)}, type(output).__name__)
    if isinstance(to, type):
        target, backend = to, backend_named(_framework_of(to.__module__, to.__name__).name)
    else:
        backend = backend_named(to)
        target = _counterpart_or_same(type(output), backend)
    return convert_fields(_without(output, drop), target, backend, type(output), drop)


def check_names(argument: str, names: Collection[str], known: Collection[str], owner: str) -> None:
    """Refuse names that are not fields, and one name instead of a collection of them.

    Raises:
        InputError: there is such a name.
    """
    if isinstance(names, str):
        raise InputError(f"{argument} is the text {names!r}; pass the names of fields, as in ({names!r},)")
    for name in names:
        if name not in known:
            raise InputError(f"{owner} has no field {name!r}, named in {argument}{nearest(name, sorted(known))}")


def _without(output: ModelOutput, drop: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in output.items() if name not in drop}


def _counterpart_or_same(cls: type[ModelOutput], backend: Backend) -> type[ModelOutput]:
    return (counterpart(cls.__module__, cls.__name__, backend.name) if backend.name in FRAMEWORKS else None) or cls


def counterpart(module: str, name: str, framework: str) -> type[ModelOutput] | None:
    """Return the class of a framework that corresponds to a class of this library; None for any other class.

    Raises:
        MissingDependencyError: the framework is not installed.
    """
    own = next((known for known in FRAMEWORKS.values() if known.module == module), None)
    if own is None:
        return None
    base, outputs = name.removeprefix(own.prefix), FRAMEWORKS[framework].import_outputs()
    prefix = FRAMEWORKS[framework].prefix
    found = getattr(outputs, prefix + base, None) or getattr(outputs, prefix + _NEAREST.get(base, base), None)
    return found if isinstance(found, type) and issubclass(found, ModelOutput) else None


def _framework_of(module: str, name: str) -> Framework:
    for framework in FRAMEWORKS.values():
        if framework.module == module:
            return framework
    raise InputError(f"{name} is not one of this library's classes; pass the framework to convert to instead")


def convert_fields(
    fields: Mapping[str, Any],
    target: type[ModelOutput],
    backend: Backend,
    source: type[ModelOutput] | None = None,
    drop: Collection[str] = (),
) -> Any:
    """Return an output of a class from fields that may have the layout of another, with arrays of `backend`.

    Args:
        fields: values by name.
        target: the class.
        backend: the operations of its framework.
        source: the class that the fields are of, if that is known.
        drop: fields to leave out of the outputs within.

    Raises:
        InputError: as `convert`.
    """
    lacking = [name for name in fields if name not in field_names(target)]
    if lacking:
        raise InputError(
            f"{target.__name__} has no field {', '.join(lacking)}; leave these out with drop={tuple(lacking)!r}"
        )
    moved = map_arrays(lambda array: _move(array, backend), dict(fields))
    moved = map_leaves(lambda value: _convert_inner(value, backend, drop), moved, lambda v: isinstance(v, ModelOutput))
    if source is not target:
        for name, adapt in (("loss", adapt_loss), ("past_key_values", adapt_cache)):
            if name in moved:
                own = None if source is None else schema_of(source)[name]
                layout = FieldLayout(f"{target.__name__}.{name}", schema_of(target)[name], own, backend)
                moved[name] = adapt(moved[name], layout)
    names = [name for name in field_names(target) if name in moved]
    return target.unflatten(names, [moved[name] for name in names])


def _convert_inner(value: Any, backend: Backend, drop: Collection[str]) -> Any:
    """Convert an output within another, whose arrays are of `backend` by now, to the class that goes with them."""
    if not isinstance(value, ModelOutput):
        return value
    cls = type(value)
    return convert_fields(_without(value, drop), _counterpart_or_same(cls, backend), backend, cls, drop)


# -- arrays ---------------------------------------------------------------------------------------------------------


def _move(array: Any, backend: Backend) -> Any:
    own = get_backend(array)
    if own is backend:
        return array
    array = own.detach(array)
    if backend.name != "numpy" and own.exports_dlpack(array):
        try:
            return backend.from_dlpack(array)
        except InputError:
            raise
        except Exception:  # noqa: BLE001  # each framework has its own error for an element type that the other lacks
            pass
    try:
        return backend.from_numpy(_plain(own.numpy(array), backend))
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # likewise for arrays without values, or of an unknown type
        raise InputError(f"{own.describe(array)} cannot be converted to {backend.name}: {first_line(error)}") from None


def _plain(values: Any, backend: Backend) -> Any:
    """Return NumPy's values as the other framework accepts them; usually they are unchanged."""
    import numpy as np

    if isinstance(values, np.ma.MaskedArray):
        raise InputError(f"{summary(values)} is masked, which {backend.name} does not support; fill it first")
    values = np.asarray(values)  # TensorFlow, and NumPy's reductions, return a single number as a scalar
    return values if backend.name == "numpy" else values.astype(values.dtype.newbyteorder("="), copy=False)
