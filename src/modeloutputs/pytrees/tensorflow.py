"""Outputs as structures of TensorFlow and Keras."""

import importlib
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from .placeholder import NOT_ASKED_FOR, NotAskedFor

if TYPE_CHECKING:
    from ..output import ModelOutput

__all__ = ["register", "register_with_keras"]


def register(cls: "type[ModelOutput]") -> None:
    """Let `tf.function` tell an output class from others with the same fields present."""
    # `tf.nest` knows outputs as mappings, but `tf.function` tells mappings apart by their keys alone: what was traced
    # with one class would serve another with the same fields present, and return the first class.
    try:
        from_value: Any = importlib.import_module("tensorflow.core.function.trace_type").from_value
        mapping: Any = importlib.import_module("tensorflow.core.function.trace_type.default_types").Dict
    except (ImportError, AttributeError):
        return  # a version that has them elsewhere: outputs are mappings to it

    class OutputType(mapping):
        def _has_same_structure(self, other: object) -> bool:
            return isinstance(other, OutputType) and mapping._has_same_structure(self, other)

        def most_specific_common_supertype(self, types: Sequence[object]) -> Any:
            common = mapping.most_specific_common_supertype(self, types)
            return None if common is None else OutputType(common.mapping, cls)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, OutputType) and mapping.__eq__(self, other)

        __hash__ = mapping.__hash__

    def tracing_type(output: "ModelOutput", context: object) -> OutputType:
        return OutputType({name: from_value(value, context) for name, value in output.items()}, cls)

    setattr(cls, "__tf_tracing_type__", tracing_type)  # noqa: B010  # no name that type checkers should see


def register_with_keras(cls: "type[ModelOutput]") -> None:
    """Make an output class a node of Keras' trees."""
    # Of the libraries that Keras walks trees with, `optree` alone must be told: to it a subclass of dict is a leaf.
    # Where Keras uses it, Keras has imported it.
    optree: Any = sys.modules.get("optree")
    if optree is None:
        return

    def flatten_gap(_: NotAskedFor) -> tuple[tuple[()], None]:
        return (), None

    def unflatten_gap(_: None, __: Iterable[Any]) -> NotAskedFor:
        return NOT_ASKED_FOR

    if optree.register_pytree_node.get(NotAskedFor, namespace="keras") is None:
        optree.register_pytree_node(NotAskedFor, flatten_gap, unflatten_gap, namespace="keras")

    def flatten(output: "ModelOutput") -> tuple[Iterable[Any], tuple[str, ...], tuple[str, ...]]:
        names = tuple(output.keys())
        return map(_without_gaps, output.values()), names, names

    def unflatten(names: Iterable[str], values: Iterable[Any]) -> "ModelOutput":
        return cls.unflatten(names, map(_with_gaps, values))

    optree.register_pytree_node(cls, flatten, unflatten, namespace="keras")


def _without_gaps(value: Any) -> Any:
    """Put a node without leaves in place of each None among a tuple's arrays: Keras' `predict` refuses such leaves.

    A tuple of None alone stays, for so Keras notes a tree's shape; and one with integers, for that is an array's.
    """
    if type(value) is not tuple:
        return value
    items = cast("tuple[Any, ...]", value)
    if all(item is None or item is NOT_ASKED_FOR or type(item) is int for item in items):
        return items
    return tuple(NOT_ASKED_FOR if item is None else item for item in items)


def _with_gaps(value: Any) -> Any:
    """Undo that where a tuple holds arrays again; among None the nodes stay, so that the tree keeps its shape."""
    if type(value) is not tuple:
        return value
    items = cast("tuple[Any, ...]", value)
    if all(item is None or item is NOT_ASKED_FOR for item in items):
        return items
    return tuple(None if item is NOT_ASKED_FOR else item for item in items)
