"""Moves weights between checkpoint files and trees of parameters, which name and lay out some of them otherwise.

Flax calls a linear layer's matrix `kernel` and lays it out (in, out), where a checkpoint of PyTorch has `weight` (out,
in). A normalisation's `scale` and a table's `embedding` are `weight` there. GPT's matrices, (in, out) in PyTorch, are
(out, in) here. So every matrix that is called `kernel` is the transpose of the checkpoint's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..architectures.weights import WeightNames
from ..errors import CheckpointError, CheckpointNotFoundError
from ..files.checkpoints import map_checkpoint
from ..files.flax_msgpack import map_flax_checkpoint
from ..files.weights import MatchedNames, match_names
from .libraries import Path as TreePath
from .libraries import flatten, jnp

__all__ = ["Params", "checkpoint_name", "export_params", "import_params", "open_arrays"]

Params = Mapping[str, Any]
"""A nested tree of parameters."""

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}


def checkpoint_name(path: TreePath) -> str:
    """Return a parameter's name in a checkpoint of PyTorch.

    >>> checkpoint_name(("bert", "pooler", "dense", "kernel"))
    'bert.pooler.dense.weight'
    """
    return ".".join((*path[:-1], _LEAVES.get(path[-1], path[-1])))


class _Transposed(NamedTuple):
    """A tensor that its file has the other way round, to be read as PyTorch has it."""

    stored: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """As PyTorch has it."""
        return tuple(self.stored.shape)[::-1]

    def numpy(self) -> Any:
        """Return the array, as PyTorch has it."""
        return _values(self.stored).T


def open_arrays(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's tensors by name, in PyTorch's names and layouts; most are read when they are used.

    They are those of safetensors files, PyTorch's or Flax's, or else of flax_model.msgpack; whole or in shards.

    Raises:
        CheckpointNotFoundError: there are no weights that can be read here.
        FileFormatError: a file is truncated or corrupt.
    """
    mapped = map_checkpoint(folder)
    if mapped is not None:
        # What a file says of its format is not asked: Flax's names alone tell, in shards too.
        return _in_pytorchs_layout(mapped) if any(_is_flax_name(name) for name in mapped) else dict(mapped)
    arrays = map_flax_checkpoint(folder)
    if arrays is not None:
        return _in_pytorchs_layout(arrays)
    other = " (pytorch_model.bin is read by modeloutputs.torch: load and save it there)"
    raise CheckpointNotFoundError(
        f"{str(folder)!r} has no weights: neither model.safetensors, its index, nor flax_model.msgpack"
        f"{other if any(folder.glob('pytorch_model*.bin')) else ''}"
    )


def _is_flax_name(name: str) -> bool:
    return name.endswith((".kernel", ".embedding", ".scale"))


def _in_pytorchs_layout(arrays: Mapping[str, Any]) -> dict[str, Any]:
    paths = {tuple(name.split(".")): array for name, array in arrays.items()}
    return {
        checkpoint_name(path): _Transposed(array) if _is_transposed(path, tuple(array.shape)) else array
        for path, array in paths.items()
    }


class Imported(NamedTuple):
    """What was found of a model in a checkpoint."""

    params: dict[TreePath, Any]
    matched: MatchedNames


def import_params(
    wanted: Params, source: Mapping[str, Any], facts: WeightNames, *, has_base: bool, tied: bool
) -> Imported:
    """Read a model's parameters from a checkpoint.

    Args:
        wanted: tree with the shapes of the model's parameters.
        source: the checkpoint's tensors.
        facts: names of the architecture.
        has_base: the model has a head, and the base model within it.
        tied: the scores are tied to the embeddings.

    Returns:
        the parameters that the checkpoint has, by path, and how names were matched, under the checkpoint's.

    Raises:
        CheckpointError: a tensor's shape is not the parameter's.
    """
    flat = flatten(wanted)
    paths = {checkpoint_name(path): path for path in flat}
    matched = match_names(paths, source, facts, has_base=has_base, tied=tied)
    for name, stored in matched.found.items():
        _check_shape(paths[name], flat[paths[name]].shape, stored, source[stored])
    found = {paths[name]: _array(paths[name], source[stored]) for name, stored in matched.found.items()}
    return Imported(found, matched)


def _is_transposed(path: TreePath, shape: tuple[int, ...]) -> bool:
    return path[-1] == "kernel" and len(shape) == 2


def _check_shape(path: TreePath, expected: tuple[int, ...], stored: str, found: Any) -> None:
    shape = tuple(found.shape)
    if (shape[::-1] if _is_transposed(path, shape) else shape) != tuple(expected):
        raise CheckpointError(
            f"the checkpoint's {stored!r} has shape {shape}, and this model's {'/'.join(path)!r} needs "
            f"{tuple(expected)}; is the configuration this checkpoint's (num_labels, sizes)?"
        )


def _array(path: TreePath, stored: Any) -> Any:
    values = _values(stored)
    # A copy: JAX would keep the mapping, and a transposed view of it, for a matrix as it is needed here.
    return jnp.array(values.T if _is_transposed(path, values.shape) else values)


def _values(stored: Any) -> Any:
    return stored.numpy() if hasattr(stored, "numpy") else stored


def export_params(params: Params, names: WeightNames, *, tied: bool) -> dict[str, np.ndarray]:
    """Return parameters as a checkpoint of PyTorch holds them, by name; tied ones once.

    Args:
        params: the tree, with arrays of any kind.
        names: of the architecture.
        tied: the scores are tied to the embeddings.
    """
    flat = flatten(params)
    exported: dict[str, np.ndarray] = {}
    repeats = names.repeats(tied=tied)
    for path, value in flat.items():
        array = np.asarray(value)
        name = checkpoint_name(path)
        if repeats.get(name) in {checkpoint_name(other) for other in flat}:
            continue
        exported[name] = np.ascontiguousarray(array.T) if _is_transposed(path, array.shape) else array
    return exported
