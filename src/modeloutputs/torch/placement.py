"""The dtype and device that a model's weights are loaded into."""

import torch

from ..architectures import Config
from ..architectures.setting_checks import shown
from ..errors import InputError, first_line
from .weights import WeightSource

__all__ = ["resolve_device", "resolve_dtype"]


def resolve_dtype(dtype: torch.dtype | str, config: Config, source: WeightSource) -> torch.dtype:
    """Return the dtype of a model's weights.

    Args:
        dtype: a floating point dtype, its name, or "auto": the configuration's, else the one of the checkpoint.
        config: the configuration.
        source: the checkpoint's tensors.

    Raises:
        InputError: not a floating point dtype.
    """
    if isinstance(dtype, str) and dtype == "auto":
        stored = {tensor.dtype for tensor in source.values()}
        floating = [d for d in stored if d.is_floating_point]
        dtype = config.dtype or (floating[0] if len(floating) == 1 else torch.float32)
    resolved = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(resolved, torch.dtype) or not resolved.is_floating_point:
        raise InputError(
            f"dtype is {shown(dtype)}; expected 'auto' or a floating point dtype like 'float32' or 'bfloat16'"
        )
    if resolved.itemsize == 1:
        raise InputError(f"dtype is {resolved}, which stores numbers and computes nothing; pass dtype='bfloat16'")
    return resolved


def resolve_device(device: torch.device | str) -> torch.device:
    """Return a device that can hold weights here, before any are read.

    Raises:
        InputError: the device is unavailable, or has no memory.
    """
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise InputError(f"device is {device!r}, which cannot be used here: {first_line(error)}") from None
    if resolved.type == "meta":
        raise InputError("device is 'meta', which holds no weights; build the model under torch.device('meta') instead")
    return resolved
