"""An output of any of the 52 classes, filled with random values of the axes that its class declares."""

import math
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from modeloutputs import ModelOutput
from modeloutputs.frameworks import FRAMEWORKS, Framework
from modeloutputs.output.schema import (
    ArraySchema,
    MappingSchema,
    Schema,
    SequenceSchema,
    TupleSchema,
    options_of,
    schema_of,
)

SIZES = {
    "batch": 2,
    "seq": 3,
    "past": 5,
    "enc_seq": 4,
    "heads": 6,
    "enc_heads": 5,
    "kv_heads": 2,
    "head_dim": 8,
    "hidden": 48,
    "vocab": 10,
    "labels": 7,
    "choices": 9,
    "max_length": 6,
    "n": 11,
}


def framework_of(name: str) -> Framework:
    """Return the framework that a class name of ours is of."""
    return next(framework for framework in reversed(FRAMEWORKS.values()) if name.startswith(framework.prefix))


def class_named(name: str) -> type[ModelOutput]:
    return getattr(framework_of(name).import_outputs(), name)


def array(values: np.ndarray, kind: str) -> Any:
    """Return NumPy values as an array of "torch", "jax", "tensorflow" or "numpy"."""
    if kind == "torch":
        import torch

        return torch.from_numpy(values.copy())
    if kind == "jax":
        import jax.numpy as jnp

        return jnp.asarray(values)
    if kind == "tensorflow":
        import tensorflow as tf

        return tf.constant(values)
    return values


def full(
    cls: type[ModelOutput],
    kind: str | None = None,
    *,
    seed: int = 0,
    layers: int = 2,
    absent: typing.Collection[str] = (),
    **sizes: int,
) -> Any:
    """Return an output of a class with every field filled but those in `absent`.

    Args:
        cls: the class.
        kind: of arrays: "torch", "jax", "tensorflow" or "numpy"; the class's own framework's unless passed.
        seed: of the values.
        layers: entries of each tuple of states, attentions and caches.
        absent: fields to leave None.
        sizes: of axes, by name, where they differ from SIZES.
    """
    maker = _Maker(np.random.default_rng(seed), kind or framework_of(cls.__name__).name, layers, SIZES | sizes)
    return cls(**{name: maker.value(schema) for name, schema in schema_of(cls).items() if name not in absent})


class _Maker:
    def __init__(self, rng: np.random.Generator, kind: str, layers: int, sizes: Mapping[str, int]) -> None:
        self._rng, self._kind, self._layers, self._sizes = rng, kind, layers, sizes

    def value(self, schema: Schema) -> Any:
        schema = options_of(schema)[0]
        if isinstance(schema, TupleSchema):
            return tuple(map(self.value, schema.items))
        if isinstance(schema, SequenceSchema):
            return schema.kind([self.value(schema.item) for _ in range(self._layers)])
        if isinstance(schema, MappingSchema):
            states, index = options_of(schema.item)
            names = [f"layers.{i}.cached_{what}" for i in range(self._layers) for what in ("key", "value")]
            return {name: self.value(states) for name in names} | {"cache_index": self._index(index)}
        return array(self._rng.standard_normal(self._shape(schema), dtype=np.float32), self._kind)

    def _shape(self, schema: Schema) -> list[int]:
        assert isinstance(schema, ArraySchema)
        return list(map(self._size, schema.axes))

    def _index(self, schema: Schema) -> Any:
        filled = min(self._sizes["past"], self._sizes["max_length"])
        return array(np.full(self._shape(schema), filled, np.int32), self._kind)

    def _size(self, axis: str) -> int:
        return math.prod(int(part) if part.isdigit() else self._sizes[part] for part in axis.split("*"))
