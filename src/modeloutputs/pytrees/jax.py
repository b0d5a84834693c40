"""Outputs as nodes of JAX pytrees, in the files of `jax.export` and in Flax state dicts."""

import importlib
import operator
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import UsageError
from ..output.generated import generate
from ..output.protocol import OutputLike
from . import find

__all__ = ["register", "register_for_export", "register_with_flax"]


def register(cls: type[OutputLike]) -> None:
    """Make an output class a node of JAX pytrees."""
    from jax import tree_util

    names = tuple(cls.__output_fields__)
    keys: list[Any] = [tree_util.GetAttrKey(name) for name in names]

    # As in JAX's own containers, an absent field is None in its place, so `in_axes`, shardings and filters that have
    # None for a field keep the structure of the output.
    children: Callable[[Any], tuple[Any, ...]] = (
        operator.attrgetter(*names) if len(names) > 1 else lambda output: tuple(map(output.get, names))
    )

    unflatten = _unflattener(cls)
    tree_util.register_pytree_with_keys(  # pyright: ignore[reportUnknownMemberType]
        cls,
        lambda output: (tuple(zip(keys, children(output), strict=True)), names),
        unflatten,
        lambda output: (children(output), names),
    )


def _unflattener(cls: type[OutputLike]) -> Callable[[object, Iterable[Any]], OutputLike]:
    """Generate `cls.unflatten` for the fields that are not None: it is part of each call of a compiled function."""
    names = list(cls.__output_fields__)
    values = "".join(f"value_{i}, " for i in range(len(names)))
    body = [
        *([f"{values}= values"] if names else []),
        "output = new(cls)",
        "attributes = output.__dict__",
        *(f"if value_{i} is not None: attributes[{name!r}] = value_{i}" for i, name in enumerate(names)),
        "update(output, attributes)",
        *(f"attributes.setdefault({name!r}, None)" for name in cls.__output_defaulted__),
        "return output",
    ]
    closure = {"cls": cls, "new": cls.__new__, "update": dict[str, Any].update}
    return generate("unflatten", ["_", "values"], body, closure)


def register_for_export(cls: type[OutputLike]) -> None:
    """Let `jax.export` write and read an output class by its name and the names of its fields."""
    import json

    from jax import export

    name = f"{cls.__module__}.{cls.__qualname__}"

    def register_as(written: str) -> None:
        export.register_pytree_node_serialization(
            cls,
            serialized_name=written,
            serialize_auxdata=lambda names: json.dumps(names).encode(),
            deserialize_auxdata=lambda names: tuple(json.loads(names)),
            from_children=lambda aux_data, children: (find(name) or cls).unflatten(aux_data, children),
        )

    try:
        register_as(name)
    except ValueError:  # redefined, as in a notebook; files of either definition are read as the latest
        register_as(_UniqueName(name))


class _UniqueName(str):
    """A name that JAX writes like any other, but that equals no registered one."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other


def register_with_flax(cls: type[OutputLike]) -> None:
    """Let `flax.serialization` handle an output class like its own dataclasses."""
    serialization: Any = importlib.import_module("flax.serialization")

    def to_state(output: OutputLike) -> dict[str, Any]:
        return serialization.to_state_dict(output.to_dict())

    def from_state(output: OutputLike, state: dict[str, Any]) -> OutputLike:
        if state.keys() != output.keys():
            raise UsageError(
                f"the state has {', '.join(state)}, where {cls.__name__} holds {', '.join(output.keys())}; "
                "restore into an output that holds the same fields"
            )
        values: dict[str, Any] = serialization.from_state_dict(output.to_dict(), state)
        return cls.unflatten(values.keys(), values.values())

    serialization.register_serialization_state(cls, to_state, from_state)
