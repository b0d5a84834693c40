"""Names of weights: the place of each in a checkpoint, whatever wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from modeloutputs.files.weights import MatchedNames, canonical_name, match_names


@dataclass(frozen=True)
class Facts:
    """An architecture whose weight `head.w` is tied to `base.table`."""

    prefix: str = "base"
    tied: Mapping[str, str] = field(default_factory=lambda: {"head.w": "base.table"})
    fallbacks: Mapping[str, str] = field(default_factory=lambda: {"base.copy": "base.table"})

    def sources(self, name: str, *, tied: bool) -> tuple[str, ...]:
        targets = self.tied if tied else {}
        root = targets.get(name, name)
        repeats = (other for other, target in targets.items() if target == root)
        return (root, *repeats, *((self.fallbacks[name],) if name in self.fallbacks else ()))


def match(wanted: list[str], stored: list[str], *, has_base: bool = True, tied: bool = False) -> MatchedNames:
    return match_names(wanted, stored, Facts(), has_base=has_base, tied=tied)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encoder.weight", "encoder.weight"),
        ("module.encoder.weight", "encoder.weight"),
        ("encoder.module.weight", "encoder.module.weight"),
        ("_orig_mod.encoder.weight", "encoder.weight"),
        ("module._orig_mod.encoder.weight", "encoder.weight"),
        ("_orig_mod.module.encoder.weight", "encoder.weight"),
        ("encoder._orig_mod.layer._checkpoint_wrapped_module.0.weight", "encoder.layer.0.weight"),
        ("_fsdp_wrapped_module.encoder._fsdp_wrapped_module.weight", "encoder.weight"),
        ("my_orig_mod.weight", "my_orig_mod.weight"),
        ("encoder._orig_mod", "encoder._orig_mod"),
        ("a.LayerNorm.gamma", "a.LayerNorm.weight"),
        ("a.LayerNorm.beta", "a.LayerNorm.bias"),
        ("LayerNorm.gamma", "LayerNorm.weight"),
        ("adapter.gamma", "adapter.gamma"),
        ("LayerNorm.gamma.weight", "LayerNorm.gamma.weight"),
    ],
)
def test_a_name_is_freed_of_wrappers_and_old_spellings(name: str, expected: str) -> None:
    assert canonical_name(name) == expected
    assert canonical_name(expected) == expected


def test_names_that_are_the_same_are_matched_and_the_others_listed() -> None:
    found = match(["base.a", "base.b", "head.w"], ["base.a", "head.w", "other.x", "more"])
    assert found == MatchedNames({"base.a": "base.a", "head.w": "head.w"}, ["base.b"], ["more", "other.x"])


def test_a_checkpoint_of_the_base_model_lacks_the_prefix() -> None:
    found = match(["base.a", "head.w"], ["a"])
    assert found == MatchedNames({"base.a": "a"}, ["head.w"], [])
    found = match(["a"], ["base.a", "head.w"], has_base=False)
    assert found == MatchedNames({"a": "base.a"}, [], ["head.w"])
    assert match(["a"], ["a"], has_base=False) == MatchedNames({"a": "a"}, [], [])


def test_a_name_with_the_prefix_is_not_looked_for_without_it() -> None:
    """A checkpoint has one form or the other."""
    found = match(["base.a", "base.b"], ["base.a", "b"])
    assert found == MatchedNames({"base.a": "base.a"}, ["base.b"], ["b"])


def test_wrapped_and_old_names_are_found_under_the_name_in_the_file() -> None:
    stored = ["module._orig_mod.base.LayerNorm.gamma"]
    assert match(["base.LayerNorm.weight"], stored).found == {"base.LayerNorm.weight": stored[0]}


@pytest.mark.parametrize(
    ("stored", "tied", "place"),
    [
        (["base.table"], True, "base.table"),
        (["head.w"], True, "head.w"),
        (["base.table", "head.w"], True, "base.table"),
        (["base.table", "head.w"], False, "base.table"),
        (["head.w"], False, None),
    ],
)
def test_a_tied_weight_is_read_under_either_name(stored: list[str], tied: bool, place: str | None) -> None:
    found = match(["base.table"], stored, tied=tied)
    assert found.found.get("base.table") == place
    assert found.missing == ([] if place else ["base.table"])
    assert found.unexpected == sorted(set(stored) - {place})


@pytest.mark.parametrize(
    ("stored", "place"),
    [(["base.copy", "base.table"], "base.copy"), (["base.table"], "base.table"), (["table"], "table")],
)
def test_a_fallback_is_read_where_there_is_no_other(stored: list[str], place: str) -> None:
    assert match(["base.copy"], stored).found == {"base.copy": place}


def test_nothing_is_found_in_nothing() -> None:
    assert match([], []) == MatchedNames({}, [], [])
    assert match(["a"], [], has_base=False) == MatchedNames({}, ["a"], [])
