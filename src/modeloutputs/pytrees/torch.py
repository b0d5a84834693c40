"""Outputs as nodes of PyTorch's trees, in Python and in C++."""

from collections.abc import Iterable
from typing import Any

from ..arrays import tracing
from ..output.protocol import OutputLike
from .placeholder import PLACEHOLDER, Placeholder

__all__ = ["register"]


def register(cls: type[OutputLike]) -> None:
    """Make an output class a node of PyTorch's trees; our own are also safe for `torch.load`."""
    import torch
    from torch.utils import _pytree as pytree

    tracing.in_compiler_trace = torch.compiler.is_dynamo_compiling

    _register_placeholder(pytree)

    def flatten(output: OutputLike) -> tuple[list[Any], tuple[str, ...]]:
        return [_with_placeholders(value) for value in output.values()], tuple(output.keys())

    def flatten_with_keys(output: OutputLike) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
        return [(pytree.MappingKey(name), _with_placeholders(value)) for name, value in output.items()], tuple(
            output.keys()
        )

    def unflatten(values: Iterable[Any], names: Iterable[str]) -> OutputLike:
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
        # Loading our own classes runs only code that stores values; users judge the safety of theirs.
        torch.serialization.add_safe_globals([cls])  # pyright: ignore[reportUnknownMemberType]


def _register_placeholder(pytree: Any) -> None:
    def flatten(_: Placeholder) -> tuple[list[Any], None]:
        return [], None

    def unflatten(_: Iterable[Any], __: None) -> None:
        return None

    if Placeholder not in pytree.SUPPORTED_NODES:
        pytree.register_pytree_node(
            Placeholder,
            flatten,
            unflatten,
            serialized_type_name="modeloutputs.NotAskedFor",  # the name in programs that were exported before
            flatten_with_keys_fn=flatten,
        )


def _with_placeholders(value: Any) -> Any:
    """Replace each None in a tuple of layers, or of steps of layers, by the placeholder.

    A tuple of nothing but None stays, because Keras represents the shape of a tree so.
    """
    if type(value) not in (tuple, list) or all(item is None for item in value):  # a data loader makes lists of tuples
        return value
    for item in value:
        if item is None or type(item) in (tuple, list):
            return type(value)([PLACEHOLDER if item is None else _with_placeholders(item) for item in value])
    return value
