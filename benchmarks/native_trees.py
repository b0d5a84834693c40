"""Flattening an output and putting it together again, with each framework's own tree functions."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import tensorflow as tf
import torch
import transformers.modeling_outputs as peers
from tensordict import TensorDict
from torch.utils import _cxx_pytree, _pytree

import modeloutputs.flax
import modeloutputs.tensorflow
import modeloutputs.torch
from harness import Row
from native_race import SIZES, race, struct_like, without_loss

__all__ = ["tables"]

There = Callable[[Any], tuple[Any, Any]]
Back = Callable[[Any, Any], Any]


def nested(value: Any) -> Any:
    """Return a tuple as what TensorDict takes: a dict of its items by number."""
    return {str(i): nested(item) for i, item in enumerate(value)} if isinstance(value, tuple) else value


def with_torch(there: There, back: Back) -> list[Row]:
    rows: list[Row] = []
    for what, (name, fill) in SIZES.items():
        fields = fill(torch.ones(2))
        trees = {
            "ours": getattr(modeloutputs.torch, name)(**fields),
            "transformers": getattr(peers, name)(**fields),
            "TensorDict": TensorDict({name: nested(value) for name, value in fields.items()}),
            "tuple": tuple(fields.values()),
            "dict": fields,
        }
        rows.append(compare(what, trees, there, back))
    return rows


def with_jax() -> list[Row]:
    rows: list[Row] = []
    for what, (name, fill) in SIZES.items():
        fields = without_loss(fill(jnp.ones(2)))
        cls = getattr(modeloutputs.flax, f"Flax{name}")
        trees = {"ours": cls(**fields), "flax.struct": struct_like(cls)(**fields)}
        trees |= {"tuple": tuple(fields.values()), "dict": fields}
        back = jax.tree.unflatten
        rows.append(compare(what, trees, jax.tree.flatten, lambda leaves, tree, back=back: back(tree, leaves)))
    return rows


def with_tensorflow() -> list[Row]:
    rows: list[Row] = []
    for what, (name, fill) in SIZES.items():
        fields = fill(tf.ones(2))
        trees = {
            "ours": getattr(modeloutputs.tensorflow, f"TF{name}")(**fields),
            "transformers": getattr(peers, name)(**fields),
            "tuple": tuple(fields.values()),
            "dict": fields,
        }
        flatten, pack = tf.nest.flatten, tf.nest.pack_sequence_as
        rows.append(
            compare(
                what,
                trees,
                lambda tree, flatten=flatten: (flatten(tree), tree),
                lambda leaves, tree, pack=pack: pack(tree, leaves),
            )
        )
    return rows


def compare(what: str, trees: dict[str, Any], there: There, back: Back) -> Row:
    """Race the round trips of trees of the same leaves."""

    def trip(tree: Any) -> Callable[[], Any]:
        return lambda: back(*there(tree))

    for tree in trees.values():
        if type(trip(tree)()) is not type(tree):
            raise RuntimeError(f"{type(tree).__name__} does not come back")
    return race(what, {name: trip(tree) for name, tree in trees.items()}, seconds=0.7).row()


def tables() -> Iterator[tuple[str, list[Row]]]:
    """Return each table's title and lines."""
    yield "torch.utils._pytree", with_torch(_pytree.tree_flatten, _pytree.tree_unflatten)
    yield "torch.utils._cxx_pytree (optree)", with_torch(_cxx_pytree.tree_flatten, _cxx_pytree.tree_unflatten)
    yield "jax.tree", with_jax()
    yield "tf.nest", with_tensorflow()
