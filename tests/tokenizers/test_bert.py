"""BERT's tokenizer against the reference implementation, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeloutputs.errors import CheckpointNotFoundError
from modeloutputs.tokenizers import BertTokenizer

from .tiny import (
    SPECIAL,
    TEXTS,
    VOCABULARY,
    Pair,
    any_text,
    assert_same,
    every_text,
    likely_text,
    peer,
    write_vocabulary,
)


@every_text
def test_a_text_gives_the_peers_numbers(text: str, both: Pair) -> None:
    assert_same(both, text)
    assert_same(both, text, add_special_tokens=False)


@every_text
def test_a_texts_tokens_and_words_are_the_peers(text: str, both: Pair) -> None:
    ours, theirs = both
    assert ours.tokenize(text) == theirs.tokenize(text)
    encoding, expected = ours(text), theirs(text)
    assert encoding.tokens() == expected.tokens()
    assert encoding.word_ids() == expected.word_ids()
    assert encoding.sequence_ids() == expected.sequence_ids()


# Where that implementation knows the final sigma, and drops characters of private use.
OTHERWISE = ("greek", "private")


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in OTHERWISE])
def test_an_implementation_without_the_rust_library_agrees(name: str, minilm: Path) -> None:
    legacy = pytest.importorskip("transformers.models.bert.tokenization_bert_legacy", reason="no older implementation")
    theirs = legacy.BertTokenizerLegacy(str(minilm / "vocab.txt"))
    ours = BertTokenizer.from_pretrained(minilm)
    assert ours.tokenize(TEXTS[name]) == theirs.tokenize(TEXTS[name])


@pytest.fixture(name="tiny_pairs", scope="module")
def fixture_tiny_pairs(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Pair]:
    """Give pairs of tokenizers that lower case and keep it."""
    folder = write_vocabulary(tmp_path_factory.mktemp("cased"), do_lower_case=False)
    return {folder == cased: (BertTokenizer.from_pretrained(cased), peer(cased)) for cased in (folder, minilm)}


@settings(deadline=None, max_examples=100)
@given(text=any_text | likely_text, other=st.none() | any_text | likely_text, lower=st.booleans())
def test_any_texts_give_the_peers_numbers(text: str, other: str | None, lower: bool, tiny_pairs: Any) -> None:
    assert_same(tiny_pairs[lower], [text], other if other is None else [other])


@pytest.mark.parametrize("form", ["vocab.txt", "tokenizer.json"])
@pytest.mark.parametrize("where", ["passed", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("setting", "text", "tokens"),
    [
        ({"do_lower_case": False}, "Hello", ["Hello"]),
        ({"do_lower_case": True}, "Hello", ["hello"]),
        ({"strip_accents": False}, "café", ["café"]),
        ({"strip_accents": True}, "café", ["cafe"]),
        ({"tokenize_chinese_chars": False}, "中中", ["[UNK]"]),
        ({"tokenize_chinese_chars": True}, "中中", ["中", "中"]),
    ],
    ids=str,
)
def test_normalization_is_as_set_whatever_the_file(
    setting: dict[str, bool], text: str, tokens: list[str], where: str, form: str, tmp_path: Path
) -> None:
    folder = write_vocabulary(tmp_path)
    if form == "tokenizer.json":
        BertTokenizer.from_pretrained(folder).save_pretrained(folder)
        (folder / "vocab.txt").unlink()
    if where == "tokenizer_config.json":
        (folder / "tokenizer_config.json").write_text(json.dumps(setting))
        setting = {}
    assert BertTokenizer.from_pretrained(folder, **setting).tokenize(text) == tokens


def test_other_special_tokens_are_taken_from_the_configuration(tmp_path: Path) -> None:
    tokens = ["<pad>", "<unk>", "<s>", "</s>", "<mask>", "a"]
    folder = write_vocabulary(
        tmp_path,
        tokens,
        pad_token="<pad>",
        unk_token=dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
        | {"__type": "AddedToken", "content": "<unk>", "special": True},
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
    )
    ours, theirs = BertTokenizer.from_pretrained(folder), peer(folder)
    assert ours("a b <mask>", "a").input_ids == [2, 5, 1, 4, 3, 5, 3]
    assert_same((ours, theirs), ["a b <mask>", "a"], padding=True)


def test_a_folder_without_either_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"has neither tokenizer\.json nor vocab\.txt"):
        BertTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("lost", [["[PAD]"], ["[CLS]", "[MASK]"], SPECIAL])
def test_a_vocabulary_without_special_tokens(lost: list[str], tmp_path: Path) -> None:
    write_vocabulary(tmp_path, [token for token in VOCABULARY if token not in lost])
    ours, theirs = BertTokenizer.from_pretrained(tmp_path), peer(tmp_path)
    assert ours.all_special_ids == theirs.all_special_ids
    assert {i >= len(VOCABULARY) - len(lost) for i in ours.convert_tokens_to_ids(lost)} == {True}
    assert_same((ours, theirs), ["hello [MASK] c", "a"], padding=True)
    assert ours("☃", add_special_tokens=False).input_ids == [ours.unk_token_id]
