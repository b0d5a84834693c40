"""Moves weights between checkpoint files and trees of parameters, which name and lay out some of them otherwise.

How is said in `files.layouts`. Tensors are copied one by one, and the memory that their file took is let go of, so that
loading takes little more than the parameters.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..architectures.weights import WeightNames, check_whole, describe_shapes
from ..arrays.backends import to_numpy
from ..errors import CheckpointError, CheckpointNotFoundError, MissingDependencyError
from ..files.checkpoints import map_checkpoint, variant_name
from ..files.flax_msgpack import map_flax_checkpoint
from ..files.folders import describe_missing_weights
from ..files.layouts import Stored, from_flax, in_pytorchs_layout
from ..files.weights import MatchedNames, match_names
from .libraries import Path as TreePath
from .libraries import flatten, jax, jnp

__all__ = ["Imported", "Params", "checkpoint_name", "export_params", "import_params", "open_weights"]

Params = Mapping[str, Any]
"""A nested tree of parameters."""

_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def checkpoint_name(path: TreePath) -> str:
    """Return a parameter's name in a checkpoint of PyTorch.

    >>> checkpoint_name(("bert", "pooler", "dense", "kernel"))
    'bert.pooler.dense.weight'
    """
    return from_flax(".".join(path))


# -- where weights come from ----------------------------------------------------------------------------------------


def open_weights(folder: Path, variant: str | None = None) -> dict[str, Stored]:
    """Return a checkpoint's tensors by name, in PyTorch's names and layouts; most are read when they are used.

    They are those of safetensors files in the layout of any framework, else of flax_model.msgpack, else of
    pytorch_model.bin; whole or in shards.

    Args:
        folder: of the checkpoint.
        variant: part of the names of the files, as "fp16" in model.fp16.safetensors.

    Raises:
        CheckpointNotFoundError: there are no weights, or a shard is missing.
        FileFormatError: a file is truncated, corrupt, or holds more than tensors.
        MissingDependencyError: only pytorch_model.bin is there, and PyTorch is not.
    """
    mapped: Mapping[str, Stored] | None = map_checkpoint(folder, variant)
    if mapped is None and variant is None:
        mapped = map_flax_checkpoint(folder)
    return _read_pickled(folder, variant) if mapped is None else in_pytorchs_layout(mapped)


class _Held:
    """A tensor of PyTorch, held until it is released."""

    def __init__(self, tensor: Any) -> None:
        self.shape: tuple[int, ...] = tuple(tensor.shape)
        self._tensor: Any = tensor

    def numpy(self) -> Any:
        return to_numpy(self._tensor)

    def release(self) -> None:
        self._tensor = None


def _read_pickled(folder: Path, variant: str | None) -> dict[str, Stored]:
    names = [variant_name(name, variant) for name in _PICKLED]
    found = next((name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise CheckpointNotFoundError(describe_missing_weights(folder, variant, also=("flax_model.msgpack",)))
    try:
        from ..pickled import read_pickled
    except ImportError:
        raise MissingDependencyError(
            f"{str(folder)!r} has its weights as {found} alone, which only PyTorch can read; install "
            "modeloutputs[torch], or save the checkpoint as safetensors where that is installed"
        ) from None
    return {name: _Held(tensor) for name, tensor in read_pickled(folder, variant)}


# -- into trees -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imported:
    """What was found of a model in a checkpoint."""

    params: dict[TreePath, Any]
    """By path."""
    matched: MatchedNames
    """How names were matched, under the checkpoint's."""
    mismatched: list[str]
    """Weights that have another shape in the checkpoint, and are left out."""


def import_params(
    wanted: Params,
    source: Mapping[str, Stored],
    facts: WeightNames,
    *,
    has_base: bool,
    tied: bool,
    ignore_mismatched_sizes: bool = False,
) -> Imported:
    """Read a model's parameters from a checkpoint; its tensors cannot be read again afterwards.

    All shapes are checked before the first tensor is read.

    Args:
        wanted: tree with the shapes of the model's parameters.
        source: the checkpoint's tensors, in PyTorch's layout.
        facts: names of the architecture.
        has_base: the model has a head, and the base model within it.
        tied: the scores are tied to the embeddings.
        ignore_mismatched_sizes: treat a tensor of another shape as if it were not there.

    Raises:
        CheckpointError: a tensor's shape is not the parameter's, or it is quantised.
    """
    flat = flatten(wanted)
    paths = {checkpoint_name(path): path for path in flat}
    matched = match_names(paths, source, facts, has_base=has_base, tied=tied)
    check_whole(matched.found.values(), matched.unexpected)
    mismatched: list[str] = []
    for name, stored in matched.found.items():
        expected = _shape_in_pytorch(paths[name], flat[paths[name]])
        found = tuple(source[stored].shape)
        if found != expected and not ignore_mismatched_sizes:
            is_head = has_base and not name.startswith(f"{facts.prefix}.")
            raise CheckpointError(describe_shapes(name, stored, found, expected, is_head=is_head))
        if found != expected:
            mismatched.append(name)
    places = {paths[name]: stored for name, stored in matched.found.items() if name not in mismatched}
    return Imported(_read(places, source), matched, mismatched)


def _read(places: Mapping[TreePath, str], source: Mapping[str, Stored]) -> dict[TreePath, Any]:
    """Return parameters by path, in the order of `places`, which say under what name each is stored."""
    uses = Counter(places.values())
    params: dict[TreePath, Any] = dict.fromkeys(places)
    # The largest first: while one is copied it takes memory twice, which is then less than all will take.
    for path in sorted(places, key=lambda path: -math.prod(source[places[path]].shape)):
        stored = places[path]
        params[path] = _array(path, stored, source[stored])
        uses[stored] -= 1
        if not uses[stored]:
            params[path].block_until_ready()  # else what is still being copied would be read from the file again
            source[stored].release()
    return params


def _is_transposed(path: TreePath, shape: tuple[int, ...]) -> bool:
    return path[-1] == "kernel" and len(shape) == 2


def _shape_in_pytorch(path: TreePath, wanted: Any) -> tuple[int, ...]:
    shape = tuple(wanted.shape)
    return shape[::-1] if _is_transposed(path, shape) else shape


def _array(path: TreePath, name: str, stored: Stored) -> Any:
    values = stored.numpy()
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise CheckpointError(
            f"the checkpoint's {name!r} holds {values.dtype}, not floating point numbers; "
            "quantised checkpoints cannot be loaded"
        )
    # A copy: JAX would keep the mapping of a file. `jnp.array` would copy twice.
    return jax.device_put(values.T if _is_transposed(path, values.shape) else values, may_alias=False)


def export_params(params: Params, names: WeightNames, *, tied: bool) -> dict[str, np.ndarray]:
    """Return parameters as a checkpoint of PyTorch holds them, by name; tied ones once, and none of them copied.

    Args:
        params: the tree, with arrays of any kind.
        names: of the architecture.
        tied: the scores are tied to the embeddings.
    """
    flat = {checkpoint_name(path): (path, value) for path, value in flatten(params).items()}
    repeats = names.repeats(tied=tied)
    exported: dict[str, np.ndarray] = {}
    for name, (path, value) in flat.items():
        if repeats.get(name) not in flat:
            array = np.asarray(value)
            exported[name] = array.T if _is_transposed(path, array.shape) else array
    return exported
