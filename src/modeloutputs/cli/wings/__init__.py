"""What the command line asks of a framework's models, and the frameworks that it may be asked of.

What goes into a wing are NumPy's arrays, and what comes out are the typed outputs of its framework.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from ...errors import InputError, MissingDependencyError, first_line
from ...frameworks import FRAMEWORKS
from ...output import ModelOutput

__all__ = ["FrameworkName", "Wing", "load_wing"]


class FrameworkName(StrEnum):
    """Values of `--framework`: the names of this library's subpackages and extras."""

    TORCH = "torch"
    FLAX = "flax"
    TENSORFLOW = "tensorflow"


class Wing(Protocol):
    """The models of one framework; a module of this package."""

    LENGTH_STEP: int
    """Many texts are padded to multiples of so many tokens: above 1 where each new shape is compiled, for seconds."""

    def load_task_model(self, task: str, folder: Path) -> Any:
        """Load the model of a task of `run`; a head that the checkpoint lacks is the same in every run.

        Raises:
            CheckpointError: the checkpoint cannot be loaded.
        """
        ...

    def call(
        self, model: Any, inputs: Mapping[str, Any], flags: Mapping[str, bool], labels: Any, num_items: int | None
    ) -> tuple[ModelOutput, Any]:
        """Return a model's output without the loss, and the loss, a scalar; None without labels.

        Args:
            model: what `load_task_model` returned.
            inputs: int64 arrays of NumPy, those that a tokenizer gives.
            flags: `output_hidden_states` and `output_attentions`.
            labels: (texts,), int64 or float32; or None.
            num_items: what the sum of the texts' losses is divided by; None for their number.

        Raises:
            InputError: inputs or labels that the model cannot use.
        """
        ...

    def add_loss(self, output: ModelOutput, losses: Sequence[Any]) -> float | None:
        """Put the sum of the losses of batches into their output; return it where that has no such field."""
        ...

    def keep_shapes(self, output: ModelOutput) -> ModelOutput:
        """Return an output whose arrays have shapes and dtypes and no values, for `join_shapes`."""
        ...

    def join_shapes(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        """Join them as `concat` does; what the result holds takes no memory and can be printed."""
        ...

    def load_language_model(self, folder: Path, /) -> Any:
        """Load the language model that a checkpoint is.

        Raises:
            CheckpointError: the checkpoint cannot be loaded.
        """
        ...

    def generate(
        self,
        model: Any,
        ids: Any,
        mask: Any,
        options: Mapping[str, Any],
        *,
        seed: int | None = None,
        on_tokens: Callable[[Any], object] | None = None,
    ) -> Any:
        """Return the framework's output of `generate`.

        Args:
            model: what `load_language_model` returned.
            ids: (prompts, positions), int64, padded on the left.
            mask: of the same shape, 0 at padding.
            options: of `GenerationSettings`.
            seed: an integer of 64 bits, with or without sign; None to draw other tokens each time.
            on_tokens: called with each step's tokens, (prompts,).

        Raises:
            InputError: an option or a prompt that the model cannot use.
        """
        ...


def load_wing(name: FrameworkName) -> Wing:
    """Import a framework and what runs models with it.

    Raises:
        InputError: there are no models for it.
        MissingDependencyError: it is not installed.
    """
    try:
        if name == FrameworkName.TORCH:
            from . import torch

            return torch
        if name == FrameworkName.FLAX:
            from . import flax

            return flax
    except ImportError as error:
        others = [f" or --framework {other}" for other in _installed() if other != name]
        raise MissingDependencyError(
            f"running a model needs modeloutputs[{name}]{''.join(others)} ({first_line(error)})"
        ) from None
    raise InputError(f"--framework is {name}, which has no models yet; expected torch or flax")


def _installed() -> list[str]:
    """Return the frameworks with models that are there."""
    found = [framework.folder for framework in FRAMEWORKS.values() if framework.is_installed]
    return [name for name in found if name != FrameworkName.TENSORFLOW]
