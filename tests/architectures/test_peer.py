"""The reference implementation has our defaults, reads what we write and writes what we read."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.architectures import Config

from .cases import Case, every_case, every_variant

COMMON = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")


def peer(case: Case) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    return getattr(transformers, case.name)


def shared(case: Case) -> set[str]:
    return {f.name for f in dataclasses.fields(case.cls)} - {"other", *case.ours_alone} | set(COMMON)


def assert_same(case: Case, ours: Config, theirs: Any) -> None:
    wanted = {name: getattr(theirs, name) for name in shared(case)}
    wanted["dtype"] = None if theirs.dtype is None else str(theirs.dtype).removeprefix("torch.")
    assert {name: getattr(ours, name) for name in shared(case)} == wanted


@every_case
def test_the_defaults_are_the_peers(case: Case) -> None:
    theirs = peer(case)()
    assert_same(case, case.cls(), theirs)
    assert {name for name in case.ours_alone if hasattr(theirs, name)} <= {"rope_scaling"}


@every_case
def test_no_setting_of_the_peer_is_missing(case: Case) -> None:
    theirs = {f.name for f in dataclasses.fields(peer(case))} - {"transformers_version", "architectures"}
    missing = {name for name in theirs if not hasattr(case.cls(), name)} - case.of_the_peer
    # Kept in `other`: of heads that are not ours, of training on several devices, and of memory use.
    assert {name for name in missing if not name.startswith("summary_")} <= {
        "chunk_size_feed_forward",
        "pretraining_tp",
    }


@every_variant
def test_the_peer_reads_what_we_write(case: Case, settings: dict[str, Any], tmp_path: Path) -> None:
    ours = case.cls(**settings)
    ours.save_pretrained(tmp_path)
    assert_same(case, ours, peer(case).from_pretrained(tmp_path))


@every_variant
def test_we_read_what_the_peer_writes(case: Case, settings: dict[str, Any], tmp_path: Path) -> None:
    peer(case)(**copy.deepcopy(settings)).save_pretrained(tmp_path)
    # Beside what the peer reads of it, not what it was given: of BART with two labels it writes none and reads three.
    assert_same(case, case.cls.from_pretrained(tmp_path), peer(case).from_pretrained(tmp_path))


@every_case
def test_nothing_of_the_peers_file_is_lost(case: Case, tmp_path: Path) -> None:
    peer(case)(bos_token_id=7, dtype="float16", architectures=["X"], vendor=1).save_pretrained(tmp_path / "theirs")
    case.cls.from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    theirs, ours = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("theirs", "ours"))
    assert {name for name, value in theirs.items() if value is not None and ours.get(name) != value} == case.of_the_peer
