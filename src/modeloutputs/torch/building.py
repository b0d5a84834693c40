"""Builds modules without values while a checkpoint is being loaded, so that none are computed only to be replaced."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["is_loading", "loading", "without_values"]

_LOADED: ContextVar[type[nn.Module] | None] = ContextVar("_LOADED", default=None)
_WITHOUT_VALUES: ContextVar[bool] = ContextVar("_WITHOUT_VALUES", default=False)

_FILLS: frozenset[Any] = frozenset(
    {
        *(Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_),
        *(torch.nn.init.normal_, torch.nn.init.uniform_, torch.nn.init.kaiming_uniform_),
    }
)


def is_loading(model: nn.Module) -> bool:
    """Return whether a model is being built to be given a checkpoint's weights."""
    return _WITHOUT_VALUES.get() or type(model) is _LOADED.get()


@contextmanager
def loading(cls: type[nn.Module]) -> Generator[None]:
    """Have a model of this class, and those that its own modules hold, built without values.

    Modules that a subclass adds are not affected, models of this library among them: they keep the values that their
    constructors give them.
    """
    token = _LOADED.set(cls)
    try:
        yield
    finally:
        _LOADED.reset(token)


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
    token = _WITHOUT_VALUES.set(True)
    try:
        with torch.device("meta"), _SkipInitialisation():
            yield
    finally:
        _WITHOUT_VALUES.reset(token)
