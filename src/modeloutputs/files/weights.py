"""Names of weights: which tensor of a checkpoint belongs to which of a model, in both directions; no framework."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
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
    stored: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)
    """Name in the checkpoint, by the same without what wrappers add."""


def canonical_name(name: str) -> str:
    """Return a name without the segments that wrapped modules add, and with today's name of a normalisation's weights.

    `torch.compile` adds `_orig_mod`, activation checkpointing `_checkpoint_wrapped_module`, data parallel training a
    leading `module`; the first BERT checkpoints call a normalisation's weight and bias gamma and beta.

    >>> canonical_name("module.bert._orig_mod.embeddings.LayerNorm.gamma")
    'bert.embeddings.LayerNorm.weight'
    """
    name = _WRAPPERS.sub("", name).removeprefix(".").removeprefix("module.")
    return re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name))


def _without_wrapper(by_name: Mapping[str, str], wanted: Collection[str], prefix: str) -> Mapping[str, str]:
    """Take off the path of the model within what a training loop saved, where nothing is found without."""
    plain = dict.fromkeys(name.removeprefix(prefix) for name in wanted)
    if not plain or any(name.removeprefix(prefix) in plain for name in by_name):
        return by_name
    paths = (name.removesuffix(f".{end}") for end in plain for name in by_name if name.endswith(f".{end}"))
    path = next((path.removesuffix(f".{prefix[:-1]}") for path in paths), None)
    inner = {name.removeprefix(f"{path}."): stored for name, stored in by_name.items() if name.startswith(f"{path}.")}
    return inner if path else by_name


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
    wanted = list(wanted)
    prefix = f"{facts.prefix}."
    by_name = _without_wrapper({canonical_name(name): name for name in stored}, wanted, prefix)
    is_prefixed = any(name.startswith(prefix) for name in by_name)

    def find(name: str) -> str | None:
        full = name if has_base else f"{prefix}{name}"
        keys = (key if is_prefixed else key.removeprefix(prefix) for key in facts.sources(full, tied=tied))
        return next((by_name[key] for key in keys if key in by_name), None)

    places = {name: find(name) for name in wanted}
    found = {name: place for name, place in places.items() if place is not None}
    unexpected = sorted(set(stored) - set(found.values()))
    return MatchedNames(found, [name for name, place in places.items() if place is None], unexpected, by_name)
