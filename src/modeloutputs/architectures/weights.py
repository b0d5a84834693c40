"""Names of weights in checkpoints, by architecture."""

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import CheckpointError, CheckpointWarning

__all__ = ["WeightNames", "report_missing"]

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
