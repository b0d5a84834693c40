"""Makes every output class a tree node of each framework that is, or later gets, imported. Imports none itself."""

import importlib
import importlib.machinery
import operator
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from . import _unpacking
from .errors import UsageError

if TYPE_CHECKING:
    from .output import ModelOutput

__all__ = ["find", "register"]

_classes: "list[type[ModelOutput]]" = []


def register(cls: "type[ModelOutput]") -> None:
    """Register an output class with the frameworks imported so far, and with those imported later."""
    _classes.append(cls)
    for framework, registrar in _REGISTRARS.items():
        if _is_imported(framework):
            registrar(cls)


def find(name: str) -> "type[ModelOutput] | None":
    """Return the output class of that `module.qualname`, the latest where a notebook has defined it again."""
    matches = [cls for cls in _classes if f"{cls.__module__}.{cls.__qualname__}" == name]
    return matches[-1] if matches else None


def _is_imported(framework: str) -> bool:
    module = sys.modules.get(framework)
    spec = getattr(module, "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


def _register_with_torch(cls: "type[ModelOutput]") -> None:
    import torch
    from torch.utils import _pytree as pytree

    _unpacking.in_compiler_trace = torch.compiler.is_dynamo_compiling

    if _NotAskedFor not in pytree.SUPPORTED_NODES:
        pytree.register_pytree_node(
            _NotAskedFor,
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
    if cls.__module__.startswith(f"{__package__}."):
        # `torch.load` of our own runs nothing but what stores values; whether a user's class is safe, the user knows.
        torch.serialization.add_safe_globals([cls])  # pyright: ignore[reportUnknownMemberType]


class _NotAskedFor:
    """In PyTorch's trees the place of a layer that was not asked for: a node without leaves, rebuilt as None.

    None itself is a leaf there, and one that `vmap`, `grad` and all that map over tensors refuse.
    """


_NOT_ASKED_FOR = _NotAskedFor()


def _marked(value: Any) -> Any:
    """Put that node in place of each None in a tuple of layers, or of steps of layers.

    A tuple of None alone stays: so Keras notes a tree's shape.
    """
    if type(value) not in (tuple, list) or all(item is None for item in value):  # a data loader makes lists of tuples
        return value
    for item in value:
        if item is None or type(item) in (tuple, list):
            return type(value)([_NOT_ASKED_FOR if item is None else _marked(item) for item in value])
    return value


def _register_with_jax(cls: "type[ModelOutput]") -> None:
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


def _register_with_jax_export(cls: "type[ModelOutput]") -> None:
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


def _register_with_flax(cls: "type[ModelOutput]") -> None:
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


def _register_with_tensorflow(cls: "type[ModelOutput]") -> None:
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


def _register_with_keras(cls: "type[ModelOutput]") -> None:
    # Of the libraries that Keras walks trees with, `optree` alone must be told: to it a subclass of dict is a leaf.
    # Where Keras uses it, Keras has imported it.
    optree: Any = sys.modules.get("optree")
    if optree is None:
        return

    def flatten_gap(_: _NotAskedFor) -> tuple[tuple[()], None]:
        return (), None

    def unflatten_gap(_: None, __: Iterable[Any]) -> _NotAskedFor:
        return _NOT_ASKED_FOR

    if optree.register_pytree_node.get(_NotAskedFor, namespace="keras") is None:
        optree.register_pytree_node(_NotAskedFor, flatten_gap, unflatten_gap, namespace="keras")

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
    if all(item is None or item is _NOT_ASKED_FOR or type(item) is int for item in items):
        return items
    return tuple(_NOT_ASKED_FOR if item is None else item for item in items)


def _with_gaps(value: Any) -> Any:
    """Undo that where a tuple holds arrays again; among None the nodes stay, so that the tree keeps its shape."""
    if type(value) is not tuple:
        return value
    items = cast("tuple[Any, ...]", value)
    if all(item is None or item is _NOT_ASKED_FOR for item in items):
        return items
    return tuple(None if item is _NOT_ASKED_FOR else item for item in items)


_REGISTRARS: "dict[str, Callable[[type[ModelOutput]], None]]" = {
    "torch": _register_with_torch,
    "jax": _register_with_jax,
    "jax.export": _register_with_jax_export,
    "flax.serialization": _register_with_flax,
    "tensorflow": _register_with_tensorflow,
    "keras": _register_with_keras,
}


class _ImportWatcher:
    """Sees the import of a framework coming and has all output classes registered once it is done."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _REGISTRARS:
            return None
        spec = self._find_without_me(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Any", _NotifyingLoader(spec.loader))
        return spec

    def _find_without_me(self, fullname: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path)) is not None:
                return spec
        return None


class _NotifyingLoader:
    """Executes a module with its own loader, puts that loader back, then registers the output classes."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        for cls in _classes:
            _REGISTRARS[module.__name__](cls)


sys.meta_path.insert(0, _ImportWatcher())
