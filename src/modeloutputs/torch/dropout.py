"""Dropout (Srivastava et al., 2014) whose random bits are drawn for four elements at a time.

On the CPU PyTorch draws a random number for each element, one after the other, which takes a sixth of a training step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .values import has_concrete_values

__all__ = ["draws_in_bulk", "drop"]

_MIN_NUMEL = 2**12
_LEVELS = 2**16


def draws_in_bulk(states: Tensor) -> bool:
    """Return whether `drop` is faster than PyTorch's own for such a tensor, and can be used."""
    return (
        states.dtype == torch.float32
        and states.device.type == "cpu"
        and states.numel() >= _MIN_NUMEL
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()  # pyright: ignore
        and has_concrete_values(states)  # else a transform decides which elements share random numbers
    )


def drop(states: Tensor, probability: float) -> Tensor:
    """Return a tensor with elements set to 0 at random and the others scaled, so that the expected value stays.

    Args:
        states: any shape and floating point dtype.
        probability: of an element to be dropped, which is rounded to a multiple of 2⁻¹⁶ where `draws_in_bulk`.
    """
    dropped = round(probability * _LEVELS)
    if not 0 < dropped < _LEVELS or not draws_in_bulk(states):
        return F.dropout(states, probability)
    count = states.numel()
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    levels = drawn.view(torch.int16)[:count].view(states.shape)
    kept = levels >= dropped - _LEVELS // 2
    return states * torch.where(kept, _LEVELS / (_LEVELS - dropped), 0.0).to(states.dtype)
