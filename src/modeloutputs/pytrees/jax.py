"""Outputs as nodes of JAX's trees, in what `jax.export` writes and in Flax's state dicts."""

import importlib
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from . import find

if TYPE_CHECKING:
    from ..output import ModelOutput

__all__ = ["register", "register_for_export", "register_with_flax"]


def register(cls: "type[ModelOutput]") -> None:
    """Make an output class a node of JAX's trees."""
    from jax import tree_util

    names = tuple(cls.__output_fields__)
    keys: list[Any] = [tree_util.GetAttrKey(name) for name in names]
    new, update, defaulted = cls.__new__, dict[str, Any].update, cls.__output_defaulted__

    # As JAX has it for its own containers, an absent field is a None in its place: `in_axes`, shardings and filters
    # say None of one field, and are then still of the structure that the output has.
    children: Callable[[ModelOutput], tuple[Any, ...]] = (
        operator.attrgetter(*names) if len(names) > 1 else lambda output: tuple(map(output.get, names))
    )

    def unflatten(_: object, values: Iterable[Any]) -> "ModelOutput":
        # `cls.unflatten` for the fields that are not None, written out: each call of a compiled function waits for it.
        output = new(cls)
        attributes = output.__dict__
        for name, value in zip(names, values):  # noqa: B905  # JAX has counted them; `strict` would take as long again
            if value is not None:
                attributes[name] = value
        update(output, attributes)
        for name in defaulted:
            attributes.setdefault(name, None)
        return output

    tree_util.register_pytree_with_keys(  # pyright: ignore[reportUnknownMemberType]
        cls,
        lambda output: (tuple(zip(keys, children(output), strict=True)), names),
        unflatten,
        lambda output: (children(output), names),
    )


def register_for_export(cls: "type[ModelOutput]") -> None:
    """Let `jax.export` write and read an output class, by its name and its fields' names."""
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
    except ValueError:  # defined again, as in a notebook; what was exported with either is read back as the later
        register_as(_NameAgain(name))


class _NameAgain(str):
    """A name that JAX writes down as it is, but does not take for the same one that it knows already."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other


def register_with_flax(cls: "type[ModelOutput]") -> None:
    """Let `flax.serialization` take an output class as it takes its own dataclasses."""
    serialization: Any = importlib.import_module("flax.serialization")

    def to_state(output: "ModelOutput") -> dict[str, Any]:
        return serialization.to_state_dict(output.to_dict())

    def from_state(output: "ModelOutput", state: dict[str, Any]) -> "ModelOutput":
        if state.keys() != output.keys():
            raise UsageError(
                f"the state has {', '.join(state)}, where {cls.__name__} holds {', '.join(output.keys())}; "
                "restore into an output that holds the same fields"
            )
        values: dict[str, Any] = serialization.from_state_dict(output.to_dict(), state)
        return cls.unflatten(values.keys(), values.values())

    serialization.register_serialization_state(cls, to_state, from_state)
