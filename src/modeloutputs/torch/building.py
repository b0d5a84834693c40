"""Builds modules without values while a checkpoint is being loaded, so that none are computed only to be replaced."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["is_loading", "loading", "without_values"]

_LOADING: ContextVar[bool] = ContextVar("_LOADING", default=False)

_FILLS: frozenset[Any] = frozenset(
    {
        *(Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_),
        *(torch.nn.init.normal_, torch.nn.init.uniform_, torch.nn.init.kaiming_uniform_),
    }
)


def is_loading() -> bool:
    """Return whether models are being built to be given a checkpoint's weights."""
    return _LOADING.get()


@contextmanager
def loading() -> Generator[None]:
    """Have models of this library build their own modules without values.

    Modules that a subclass adds are not affected: they keep the values that their constructors give them.
    """
    token = _LOADING.set(True)
    try:
        yield
    finally:
        _LOADING.reset(token)


class _SkipInitialisation(TorchFunctionMode):
    """Leaves new tensors as they are: on the meta device, PyTorch takes seconds to initialise nothing."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in _FILLS:
            return args[0] if args else named["tensor"]  # `torch.nn.init` names its argument
        return func(*args, **named)


@contextmanager
def without_values() -> Generator[None]:
    """Build modules on the meta device."""
    with torch.device("meta"), _SkipInitialisation():
        yield
