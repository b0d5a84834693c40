"""Gradient checkpointing: a layer keeps its input alone, and the backward pass computes the rest again."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from ..errors import InputError
from .layer import LayerContext

__all__ = ["Checkpointing"]


@dataclass(frozen=True)
class Checkpointing:
    """Which layers are computed again in the backward pass, and how.

    Raises:
        InputError: `every_n_layers` is no positive integer, or `options` are no mapping.
    """

    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Options of `torch.utils.checkpoint.checkpoint`; `use_reentrant` is off unless set."""
    every_n_layers: int = 1
    """Of so many layers the first; the others keep what they computed."""
    offload: bool = False
    """Keep the inputs in the memory of the CPU until the backward pass."""

    def __post_init__(self) -> None:
        every: Any = self.every_n_layers
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise InputError(f"every_n_layers is {every!r}; expected a positive integer, 1 for all layers")
        if not isinstance(self.options, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"gradient_checkpointing_kwargs is {self.options!r}; "
                "expected options of torch.utils.checkpoint, as {'use_reentrant': False}"
            )

    @property
    def is_reentrant(self) -> bool:
        """Whether a layer's input must itself need a gradient."""
        return bool(self.options.get("use_reentrant", False))

    def covers(self, layer: int) -> bool:
        """Return whether the layer of this index is computed again."""
        return layer % self.every_n_layers == 0

    def call(self, layer: nn.Module, hidden: Tensor, context: LayerContext, with_weights: bool) -> Any:
        """Return `layer(hidden, context, with_weights)`."""

        # Reentrant, gradients reach what is passed as an argument only, and not what the context holds.
        def run(hidden: Tensor, encoder_hidden_states: Tensor | None) -> Any:
            own = context._replace(encoder_hidden_states=encoder_hidden_states)
            return layer(hidden, context=own, with_weights=with_weights)

        saved = torch.autograd.graph.save_on_cpu(pin_memory=hidden.is_cuda) if self.offload else nullcontext()
        with saved:
            options: dict[str, Any] = {"use_reentrant": False, **self.options}
            return cast("Any", checkpoint(run, hidden, context.encoder_hidden_states, **options))
