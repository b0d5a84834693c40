"""What a call of a compiled function costs that returns an output, or takes one: the work in it is one addition."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import tensorflow as tf
import torch
import transformers.modeling_outputs as peers

import modeloutputs.flax
import modeloutputs.tensorflow
import modeloutputs.torch
from harness import Row
from native_race import SIZES, Race, race, struct_like, without_loss

__all__ = ["tables"]

RETURNED = ("2 fields", "9 fields, 2 x 13 states")
TUPLE_SHARE = 1.5
"""What returning an output from `jax.jit` may cost, as a multiple of the same tuple."""

Compiler = Callable[[Callable[[Any], Any]], Callable[[Any], Any]]


def called(compiled: Callable[[Any], Any], argument: Any) -> Callable[[], Any]:
    """Return the call, and compile it now."""
    compiled(argument)
    return lambda: compiled(argument)


def with_torch(size: str) -> list[Row]:
    name, fill = SIZES[size]
    ours, peer = getattr(modeloutputs.torch, name), getattr(peers, name)
    x = torch.ones(2)
    # A lambda for each: functions that share their code share their guards, and the last would pay for all.
    functions = {
        "ours": lambda x: ours(**fill(x + 1)),
        "transformers": lambda x: peer(**fill(x + 1)),
        "tuple": lambda x: tuple(fill(x + 1).values()),
        "dict": lambda x: fill(x + 1),
    }
    rows = [returning(size, functions, torch_compile, x).row()]
    if size == RETURNED[0]:
        functions = {
            "ours": lambda tree: tree["logits"] * 2,
            "transformers": lambda tree: tree["logits"] * 2,
            "tuple": lambda tree: tree[1] * 2,
            "dict": lambda tree: tree["logits"] * 2,
        }
        trees = {"ours": ours(**fill(x)), "transformers": peer(**fill(x)), "tuple": (x, x), "dict": fill(x)}
        rows.append(taking(size, functions, torch_compile, trees).row())
    return rows


def torch_compile(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return torch.compile(function, backend="eager", fullgraph=True)


def with_jax(size: str) -> list[Row]:
    name, fill = SIZES[size]
    cls = getattr(modeloutputs.flax, f"Flax{name}")
    struct = struct_like(cls)
    x = jnp.ones(2)
    functions = {
        "ours": lambda x: cls(**without_loss(fill(x + 1))),
        "flax.struct": lambda x: struct(**without_loss(fill(x + 1))),
        "tuple": lambda x: tuple(without_loss(fill(x + 1)).values()),
        "dict": lambda x: without_loss(fill(x + 1)),
    }
    result = returning(size, functions, jax.jit, x)
    rows = [result.row(), result.row("tuple", target=TUPLE_SHARE)]
    if size == RETURNED[0]:
        fields = without_loss(fill(x))
        trees = {"ours": cls(**fields), "flax.struct": struct(**fields), "tuple": (x, x), "dict": fields}
        functions = dict.fromkeys(trees, lambda tree: jax.tree.leaves(tree)[0] * 2)
        rows.append(taking(size, functions, jax.jit, trees).row())
    return rows


def with_tensorflow(size: str) -> list[Row]:
    name, fill = SIZES[size]
    ours, peer = getattr(modeloutputs.tensorflow, f"TF{name}"), getattr(peers, name)
    x = tf.ones(2)
    functions = {
        "ours": lambda x: ours(**fill(x + 1)),
        "transformers": lambda x: peer(**fill(x + 1)),
        "tuple": lambda x: tuple(fill(x + 1).values()),
        "dict": lambda x: fill(x + 1),
    }
    rows = [returning(size, functions, tf_function, x).row()]
    if size == RETURNED[0]:
        trees = {"ours": ours(**fill(x)), "transformers": peer(**fill(x)), "tuple": (x, x), "dict": fill(x)}
        functions = dict.fromkeys(trees, lambda tree: tf.nest.flatten(tree)[0] * 2)
        rows.append(taking(size, functions, tf_function, trees).row())
    return rows


def tf_function(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return tf.function(function, autograph=False)


def returning(size: str, functions: dict[str, Callable[[Any], Any]], compiler: Compiler, x: Any) -> Race:
    """Race compiled functions of one array; each must return the class that it built."""
    torch.compiler.reset()
    for function in functions.values():
        if type(compiler(function)(x)) is not type(function(x)):
            raise RuntimeError("a compiled function returns another class")
    torch.compiler.reset()
    calls = {name: called(compiler(function), x) for name, function in functions.items()}
    return race(f"returning {size}", calls, seconds=1.2)


def taking(size: str, functions: dict[str, Callable[[Any], Any]], compiler: Compiler, trees: dict[str, Any]) -> Race:
    """Race compiled functions of one tree."""
    torch.compiler.reset()
    calls = {name: called(compiler(function), trees[name]) for name, function in functions.items()}
    return race(f"taking {size}", calls, seconds=1.2)


def tables() -> Iterator[tuple[str, list[Row]]]:
    """Return each table's title and lines."""
    yield "Calls of torch.compile(backend='eager')", [row for size in RETURNED for row in with_torch(size)]
    yield "Calls of jax.jit", [row for size in RETURNED for row in with_jax(size)]
    yield "Calls of tf.function", [row for size in RETURNED for row in with_tensorflow(size)]
