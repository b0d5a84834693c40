"""Names of weights: which tensor of a checkpoint belongs to which of a model, in both directions; no framework."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["MatchedNames", "canonical_name", "match_names"]

_WRAPPERS = re.compile(r"(^|\.)(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)(?=\.)")


class NameFacts(Protocol):
    """Facts about an architecture's names; see `modeloutputs.architectures.weights.WeightNames`."""

    @property
    def prefix(self) -> str:
        """Name of the base model in a model with a head."""
        ...

    def sources(self, name: str, *, tied: bool) -> tuple[str, ...]:
        """Return the names that a weight may be read from, best first."""
        ...


@dataclass(frozen=True)
class MatchedNames:
    """The result of `match_names`."""

    found: Mapping[str, str]
    """Name in the checkpoint, by name in the model."""
    missing: list[str]
    """Names of the model that the checkpoint lacks."""
    unexpected: list[str]
    """Names of the checkpoint that the model has no place for."""


def canonical_name(name: str) -> str:
    """Return a name without the segments that wrapped modules add, and with today's name of a normalisation's weights.

    `torch.compile` adds `_orig_mod`, activation checkpointing `_checkpoint_wrapped_module`, data parallel training a
    leading `module`; the first BERT checkpoints call a normalisation's weight and bias gamma and beta.

    >>> canonical_name("module.bert._orig_mod.embeddings.LayerNorm.gamma")
    'bert.embeddings.LayerNorm.weight'
    """
    name = _WRAPPERS.sub("", name).removeprefix(".").removeprefix("module.")
    return re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name))


def match_names(
    wanted: Iterable[str], stored: Collection[str], facts: NameFacts, *, has_base: bool, tied: bool
) -> MatchedNames:
    """Find each weight of a model in a checkpoint of the model, of its base model, or of another head.

    Args:
        wanted: names in the model.
        stored: names in the checkpoint.
        facts: of the architecture.
        has_base: the model has a head, and the base model as an attribute.
        tied: the configuration ties the scores to the embeddings.
    """
    by_name = {canonical_name(name): name for name in stored}
    prefix = f"{facts.prefix}."
    is_prefixed = any(name.startswith(prefix) for name in by_name)

    def find(name: str) -> str | None:
        full = name if has_base else f"{prefix}{name}"
        keys = (key if is_prefixed else key.removeprefix(prefix) for key in facts.sources(full, tied=tied))
        return next((by_name[key] for key in keys if key in by_name), None)

    places = {name: find(name) for name in wanted}
    found = {name: place for name, place in places.items() if place is not None}
    unexpected = sorted(set(stored) - set(found.values()))
    return MatchedNames(found, [name for name, place in places.items() if place is None], unexpected)
