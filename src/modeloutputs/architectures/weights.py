"""Names of weights in checkpoints, by architecture."""

import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import CheckpointError, CheckpointWarning

__all__ = ["WeightNames", "check_layers", "check_whole", "describe_shapes", "report_missing"]

_NONE = r"(?!)"


@dataclass(frozen=True, kw_only=True)
class WeightNames:
    """Facts about the weight names of one architecture; patterns are regular expressions of names in checkpoints."""

    prefix: str
    """Attribute of the base model in a model with a head, and its prefix in checkpoints."""

    tied: Mapping[str, str] = field(default_factory=dict[str, str])
    """Names whose tensors repeat another's where `tie_word_embeddings` is set, and that other name."""

    always_tied: Mapping[str, str] = field(default_factory=dict[str, str])
    """The same for tensors that are tied whatever the configuration says; others read two where it does not tie."""

    fallbacks: Mapping[str, str] = field(default_factory=dict[str, str])
    """Names to read a weight from where a checkpoint lacks its own, in files that hold one table for several."""

    optional: str = _NONE
    """Weights of the base model that a checkpoint may lack: they are initialised instead."""

    ignored: str = _NONE
    """Names that hold no weights of their own."""

    neutral: str = _NONE
    """Weights whose initial values change nothing: a checkpoint may lack them without a warning."""

    def is_optional(self, name: str) -> bool:
        """Return whether a checkpoint may lack this weight of the base model, named without prefix."""
        return re.match(self.optional, name) is not None

    def is_ignored(self, name: str) -> bool:
        """Return whether a name holds no weights of its own."""
        return re.search(self.ignored, name) is not None

    def is_neutral(self, name: str) -> bool:
        """Return whether the initial value of a weight changes nothing."""
        return re.search(self.neutral, name) is not None

    def sources(self, name: str, *, tied: bool) -> tuple[str, ...]:
        """Return the names that a weight may be read from, best first: the one that it repeats, and others that do.

        Args:
            name: full name of the weight.
            tied: whether `tie_word_embeddings` is set.
        """
        targets = self.repeats(tied=tied)
        root = targets.get(name, name)
        fallback = (self.fallbacks[name],) if name in self.fallbacks else ()
        return (root, *(other for other, target in targets.items() if target == root), *fallback)

    def repeats(self, *, tied: bool) -> Mapping[str, str]:
        """Return names whose tensors repeat another's, and that other name."""
        return {**self.tied, **self.always_tied} if tied else self.always_tied

    def stored_twice(self, *, tied: bool) -> frozenset[str]:
        """Return names to write though they repeat another's, for readers that expect both."""
        return frozenset() if tied else frozenset({*self.always_tied, *self.always_tied.values()})


def report_missing(
    names: WeightNames,
    model: str,
    checkpoint: str,
    missing: Sequence[str],
    *,
    has_base: bool,
    unused: Sequence[str],
    mismatched: Collection[str] = (),
    stacklevel: int,
) -> None:
    """Refuse a checkpoint that lacks weights of the base model; warn of what else it lacks, and of what is not used.

    Args:
        names: of the architecture.
        model: name of the model's class.
        checkpoint: what an error calls the checkpoint.
        missing: weights of the model that the checkpoint lacks.
        has_base: the model has a head, and the base model within it.
        unused: weights of the checkpoint that have no place in the model.
        mismatched: weights of another shape, which are made anew.
        stacklevel: of the warning, counted from the caller.

    Raises:
        CheckpointError: naming the weights.
    """
    base = f"{names.prefix}."
    lost = [
        name
        for name in missing
        if (name.startswith(base) or not has_base) and not names.is_optional(name.removeprefix(base))
    ]
    if lost:
        raise CheckpointError(
            f"{checkpoint} lacks {len(lost)} weights of {model}: {', '.join(lost[:4])}"
            f"{', ...' if len(lost) > 4 else ''}; is it a checkpoint of this architecture and size?"
        )
    new = [name for name in missing if not names.is_neutral(name)]
    parts = [
        *([f"new, to be trained: {', '.join(new)}"] if new else []),
        *([f"of another shape, new, to be trained: {', '.join(mismatched)}"] if mismatched else []),
        *([f"in the checkpoint but not used: {', '.join(unused)}"] if unused else []),
    ]
    if parts:
        warnings.warn(f"{model} from {checkpoint}: {'; '.join(parts)}", CheckpointWarning, stacklevel=stacklevel + 1)


def describe_shapes(name: str, stored: str, found: tuple[int, ...], expected: tuple[int, ...], *, is_head: bool) -> str:
    """Return the message for a tensor of a checkpoint whose shape is not that of a model's weight.

    Args:
        name: of the weight, as checkpoints of PyTorch have it.
        stored: name in the checkpoint.
        found: shape in the checkpoint, in PyTorch's layout.
        expected: shape in the model, in PyTorch's layout.
        is_head: the weight is not the base model's.
    """
    remedy = (
        f"pass num_labels={found[0]} if that is its size, or ignore_mismatched_sizes=True for a new one"
        if is_head and found
        else "is the configuration this checkpoint's? ignore_mismatched_sizes=True takes new values instead"
    )
    return f"the checkpoint's {stored!r} has shape {found}, and this model's {name!r} needs {expected}; {remedy}"


def check_whole(used: Iterable[str], unused: Iterable[str]) -> None:
    """Refuse weights that a checkpoint keeps in parts, as quantised ones with their scales.

    Raises:
        CheckpointError: the name of an unused tensor says that it belongs to a used one.
    """
    names = set(used)
    for name in unused:
        owner = next(
            (name[:end] for end in range(len(name) - 1, 0, -1) if name[end] in "._" and name[:end] in names), ""
        )
        if owner:
            raise CheckpointError(
                f"the checkpoint's {owner!r} goes with {name!r}: it is quantised or in parts, and only plain weights "
                "can be loaded; use the checkpoint that it was made from"
            )


def check_layers(config: Any, checkpoint: str, tensors: int) -> None:
    """Refuse more layers than there are tensors before they are built, which takes time and memory for each.

    Args:
        config: the configuration.
        checkpoint: what an error calls the checkpoint.
        tensors: how many it holds.

    Raises:
        CheckpointError: naming both numbers.
    """
    names = ("encoder_layers", "decoder_layers") if hasattr(config, "decoder_layers") else ("num_hidden_layers",)
    layers = max(getattr(config, name) for name in names)
    if layers > tensors:
        raise CheckpointError(
            f"{checkpoint} holds {tensors} tensors, too few for the {layers} layers of its configuration; is the "
            "configuration this checkpoint's?"
        )
