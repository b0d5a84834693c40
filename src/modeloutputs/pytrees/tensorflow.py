"""Outputs as structures of TensorFlow and Keras."""

import importlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, cast

from ..output.protocol import OutputLike
from .placeholder import PLACEHOLDER, Placeholder

__all__ = ["register", "register_with_keras"]


def register(cls: type[OutputLike]) -> None:
    """Let `tf.function` distinguish an output class from others with the same fields present."""
    # `tf.nest` treats outputs as mappings, and `tf.function` compares mappings by their keys alone: a function traced
    # with one class would be reused for another with the same fields present, and return the first class.
    try:
        from_value: Any = importlib.import_module("tensorflow.core.function.trace_type").from_value
        mapping: Any = importlib.import_module("tensorflow.core.function.trace_type.default_types").Dict
    except (ImportError, AttributeError):
        return  # another version of TensorFlow, to which outputs are plain mappings

    class OutputType(mapping):
        def _has_same_structure(self, other: object) -> bool:
            return isinstance(other, OutputType) and mapping._has_same_structure(self, other)

        def most_specific_common_supertype(self, types: Sequence[object]) -> Any:
            common = mapping.most_specific_common_supertype(self, types)
            return None if common is None else OutputType(common.mapping, cls)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, OutputType) and mapping.__eq__(self, other)

        __hash__ = mapping.__hash__

    def tracing_type(output: OutputLike, context: object) -> OutputType:
        return OutputType({name: from_value(value, context) for name, value in output.items()}, cls)

    setattr(cls, "__tf_tracing_type__", tracing_type)  # noqa: B010  # type checkers need not know the name


def register_with_keras(cls: type[OutputLike]) -> None:
    """Make an output class a node of Keras' trees."""
    # Of Keras's tree libraries only `optree` treats a subclass of dict as a leaf. If Keras uses it, it is imported.
    optree: Any = sys.modules.get("optree")
    if optree is None:
        return

    def flatten_placeholder(_: Placeholder) -> tuple[tuple[()], None]:
        return (), None

    def unflatten_placeholder(_: None, __: Iterable[Any]) -> Placeholder:
        return PLACEHOLDER

    if optree.register_pytree_node.get(Placeholder, namespace="keras") is None:
        optree.register_pytree_node(Placeholder, flatten_placeholder, unflatten_placeholder, namespace="keras")

    def flatten(output: OutputLike) -> tuple[Iterable[Any], tuple[str, ...], tuple[str, ...]]:
        names = tuple(output.keys())
        return map(_with_placeholders, output.values()), names, names

    def unflatten(names: Iterable[str], values: Iterable[Any]) -> OutputLike:
        return cls.unflatten(names, map(_without_placeholders, values))

    optree.register_pytree_node(cls, flatten, unflatten, namespace="keras")


def _with_placeholders(value: Any) -> Any:
    """Replace each None among the arrays of a tuple by the placeholder, because `predict` refuses None as a leaf.

    A tuple of nothing but None stays, because Keras represents the shape of a tree so; and one with integers, which is
    the shape of an array.
    """
    if type(value) is not tuple:
        return value
    items = cast("tuple[Any, ...]", value)
    if all(item is None or item is PLACEHOLDER or type(item) is int for item in items):
        return items
    return tuple(PLACEHOLDER if item is None else item for item in items)


def _without_placeholders(value: Any) -> Any:
    """Undo that if a tuple holds arrays; among nothing but None placeholders stay, so the tree keeps its structure."""
    if type(value) is not tuple:
        return value
    items = cast("tuple[Any, ...]", value)
    if all(item is None or item is PLACEHOLDER for item in items):
        return items
    return tuple(None if item is PLACEHOLDER else item for item in items)
