"""Outputs as nodes of PyTorch's trees, in Python and in C++."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..arrays import tracing
from .placeholder import NOT_ASKED_FOR, NotAskedFor

if TYPE_CHECKING:
    from ..output import ModelOutput

__all__ = ["register"]


def register(cls: "type[ModelOutput]") -> None:
    """Make an output class a node of PyTorch's trees; our own are also safe for `torch.load`."""
    import torch
    from torch.utils import _pytree as pytree

    tracing.in_compiler_trace = torch.compiler.is_dynamo_compiling

    if NotAskedFor not in pytree.SUPPORTED_NODES:
        pytree.register_pytree_node(
            NotAskedFor,
            lambda _: ([], None),
            lambda _, __: None,
            serialized_type_name="modeloutputs.NotAskedFor",
            flatten_with_keys_fn=lambda _: ([], None),
        )

    def flatten(output: "ModelOutput") -> tuple[list[Any], tuple[str, ...]]:
        return [_marked(value) for value in output.values()], tuple(output.keys())

    def flatten_with_keys(output: "ModelOutput") -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
        return [(pytree.MappingKey(name), _marked(value)) for name, value in output.items()], tuple(output.keys())

    def unflatten(values: Iterable[Any], names: Iterable[str]) -> "ModelOutput":
        return cls.unflatten(names, values)

    pytree.register_pytree_node(
        cls,
        flatten,
        unflatten,
        serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
        to_dumpable_context=list,
        from_dumpable_context=tuple,
        flatten_with_keys_fn=flatten_with_keys,
    )
    if cls.__module__.startswith("modeloutputs."):
        # `torch.load` of our own runs nothing but what stores values; whether a user's class is safe, the user knows.
        torch.serialization.add_safe_globals([cls])  # pyright: ignore[reportUnknownMemberType]


def _marked(value: Any) -> Any:
    """Put that node in place of each None in a tuple of layers, or of steps of layers.

    A tuple of None alone stays: so Keras notes a tree's shape.
    """
    if type(value) not in (tuple, list) or all(item is None for item in value):  # a data loader makes lists of tuples
        return value
    for item in value:
        if item is None or type(item) in (tuple, list):
            return type(value)([NOT_ASKED_FOR if item is None else _marked(item) for item in value])
    return value
