"""Whether a value is a tensor, and its values can be read without breaking a trace or stalling a device.

Checks and shortcuts depend on it; results must not.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ..architectures.checks import describe_other
from ..errors import InputError

__all__ = ["has_concrete_values", "require_tensor", "values_on_cpu"]

# PyTorch has no public function for this; and `vmap` raises where one of its tensors decides a Python branch.
_is_wrapped: Callable[[Tensor], bool] = cast("Any", torch)._C._functorch.is_functorch_wrapped_tensor


def has_concrete_values(tensor: Tensor) -> bool:
    """Return whether Python can read a tensor's values: not under a compiler, nor in `torch.func.vmap`."""
    if torch.compiler.is_compiling():
        return False
    return not _is_wrapped(tensor)


def values_on_cpu(tensor: Tensor) -> bool:
    """Return whether a tensor has values that can be read without waiting for an accelerator."""
    return tensor.device.type == "cpu" and tensor.numel() > 0 and has_concrete_values(tensor)


def require_tensor(value: object, what: str) -> None:
    """Refuse an argument that is no tensor, as what a tokenizer returns without `return_tensors`.

    Raises:
        InputError: naming the argument, what it is and what to do.
    """
    if not isinstance(value, Tensor):
        raise InputError(describe_other(value, what, kind="torch.Tensor", tensors="pt", convert="torch.tensor"))
