"""The names and layouts that frameworks give to weights, read as PyTorch's.

Flax calls a linear layer's matrix `kernel` and lays it out (in, out), where PyTorch has `weight` (out, in). A
normalisation's `scale` and a table's `embedding` are `weight` in PyTorch. GPT's matrices, (in, out) in PyTorch, are
(out, in) in Flax: every matrix that Flax calls `kernel` is the transpose of PyTorch's.

TensorFlow calls the same weights `bert/encoder/layer_._0/attention/self/query/kernel:0`: slashes separate levels, a
layer and its number stand around `_._`, and what precedes `___` says which head a layer belongs to. A normalisation has
`gamma` and `beta`, a table `embeddings` or `weight`. Only `kernel` is a transpose; GPT's matrices are PyTorch's, and
called `weight`, with biases of shape (1, n).

Names and shapes are those that the models of transformers 4.53.3 write. What a file says of its format is not asked:
the names alone tell, in shards too.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

__all__ = ["Stored", "from_flax", "from_tensorflow", "in_pytorchs_layout"]


class Stored(Protocol):
    """A tensor that lies in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        ...

    def numpy(self) -> Any:
        """Return the tensor as a NumPy array."""
        ...

    def release(self) -> None:
        """Let go of the memory that reading took."""
        ...


class _Reordered(NamedTuple):
    """A tensor that its file holds in another layout."""

    stored: Stored
    is_transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """As PyTorch has it."""
        return tuple(self.stored.shape)[::-1] if self.is_transposed else tuple(self.stored.shape)[1:]

    def numpy(self) -> Any:
        """Return the array, as PyTorch has it."""
        values = self.stored.numpy()
        return values.T if self.is_transposed else values[0]

    def release(self) -> None:
        """Let go of the memory that reading took."""
        self.stored.release()


_FLAX_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}
_TENSORFLOW_LEAVES = {"kernel": "weight", "gamma": "weight", "embeddings": "weight", "beta": "bias"}


def in_pytorchs_layout(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Return a checkpoint's tensors with the names and shapes that PyTorch has for them."""
    if any(name.endswith(":0") for name in tensors):
        return {from_tensorflow(name): _of_tensorflow(name, tensor) for name, tensor in tensors.items()}
    if any(name.rpartition(".")[2] in _FLAX_LEAVES for name in tensors):
        return {from_flax(name): _of_flax(name, tensor) for name, tensor in tensors.items()}
    return dict(tensors)


def from_flax(name: str) -> str:
    """Return PyTorch's name of a weight of Flax, whose path has dots between its levels.

    >>> from_flax("bert.pooler.dense.kernel")
    'bert.pooler.dense.weight'
    """
    path, dot, leaf = name.rpartition(".")
    return f"{path}{dot}{_FLAX_LEAVES.get(leaf, leaf)}"


def _of_flax(name: str, tensor: Stored) -> Stored:
    is_kernel = name.rpartition(".")[2] == "kernel" and len(tensor.shape) == 2
    return _Reordered(tensor, is_transposed=True) if is_kernel else tensor


def from_tensorflow(name: str) -> str:
    """Return PyTorch's name of a weight of TensorFlow.

    >>> from_tensorflow("mlm___cls/predictions/transform/LayerNorm/gamma:0")
    'cls.predictions.transform.LayerNorm.weight'
    >>> from_tensorflow("transformer/h_._0/attn/c_attn/weight:0")
    'transformer.h.0.attn.c_attn.weight'
    >>> from_tensorflow("model.shared/model.shared/embeddings:0")
    'model.shared.weight'
    """
    levels = name.removesuffix(":0").split("/")
    if len(levels) > 2 and levels[0] == levels[1]:  # a layer that lies in no other is its own parent
        del levels[0]
    *path, leaf = (re.sub(r"^.*___", "", level) for level in levels)
    return ".".join((*path, _TENSORFLOW_LEAVES.get(leaf, leaf))).replace("_._", ".")


def _of_tensorflow(name: str, tensor: Stored) -> Stored:
    leaf = name.removesuffix(":0").rpartition("/")[2]
    if leaf == "kernel" and len(tensor.shape) == 2:
        return _Reordered(tensor, is_transposed=True)
    is_row = leaf == "bias" and len(tensor.shape) == 2 and tensor.shape[0] == 1
    return _Reordered(tensor, is_transposed=False) if is_row else tensor
