"""When the values of a tensor may be looked at: checks and short cuts depend on them, results must not."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

__all__ = ["are_at_hand", "are_known"]

# No public function tells; and `vmap` raises where one of its tensors decides what Python does.
_is_wrapped: Callable[[Tensor], bool] = cast("Any", torch)._C._functorch.is_functorch_wrapped_tensor


def are_known(tensor: Tensor) -> bool:
    """Whether a tensor has values that Python can ask for: not under a compiler, nor in `torch.func.vmap`."""
    if torch.compiler.is_compiling():
        return False
    return not _is_wrapped(tensor)


def are_at_hand(tensor: Tensor) -> bool:
    """Whether a tensor has values, and asking for them stalls no accelerator."""
    return tensor.device.type == "cpu" and tensor.numel() > 0 and are_known(tensor)
