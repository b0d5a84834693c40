"""Tokenizers made of files one by one, and of vocabularies in memory."""

import json
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.errors import CheckpointNotFoundError, FileFormatError, InputError
from modeloutputs.tokenizers import BartTokenizer, BertTokenizer, GPT2Tokenizer, OpenAIGPTTokenizer, PreTrainedTokenizer

from .tiny import BY_NAME, VOCABULARY, write_vocabulary

TEXT = "Hello worlds, a [MASK] é"


@pytest.mark.parametrize(
    "make",
    [
        lambda path: BertTokenizer(str(path)),
        lambda path: BertTokenizer(path, do_lower_case=True, use_fast=True, verbose=False),
        lambda path: BertTokenizer(vocab_file=path),
        lambda path: BertTokenizer(vocab=str(path), tokenizer_file=None),
        lambda path: BertTokenizer({token: i for i, token in enumerate(VOCABULARY)}),
        lambda path: BertTokenizer(tokenizer_object=BertTokenizer(path).backend),
    ],
)
def test_a_vocabulary_can_be_passed_in_many_ways(make: Any, tmp_path: Path) -> None:
    folder = write_vocabulary(tmp_path)
    expected = BertTokenizer.from_pretrained(folder)
    assert make(folder / "vocab.txt")(TEXT) == expected(TEXT)


def test_settings_go_with_a_file(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path) / "vocab.txt"
    tokenizer = BertTokenizer(path, do_lower_case=False, additional_special_tokens=["<x>"], model_max_length=9)
    assert tokenizer.tokenize("Hello <x>") == ["Hello", "<x>"]
    assert (tokenizer.model_max_length, len(tokenizer)) == (9, len(VOCABULARY) + 1)


@pytest.mark.parametrize(
    ("name", "cls"), [("gpt2 files", GPT2Tokenizer), ("bart", BartTokenizer), ("gpt files", OpenAIGPTTokenizer)]
)
def test_a_byte_pair_encoding_has_two_files(name: str, cls: type[PreTrainedTokenizer], tmp_path: Path) -> None:
    folder = BY_NAME[name].write(tmp_path)
    ids = json.loads((folder / "vocab.json").read_text())
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    files = (folder / "vocab.json", folder / "merges.txt")
    expected = cls.from_pretrained(folder)(TEXT).input_ids
    for made in (
        cls(*files),
        cls(vocab_file=str(files[0]), merges_file=str(files[1])),
        cls(ids, merges),
        cls(vocab=ids, merges=[tuple(merge.split(" ")) for merge in merges]),
    ):
        assert made(TEXT).input_ids == expected
    cls(*files).save_pretrained(tmp_path / "saved")
    assert cls(tmp_path / "saved" / "tokenizer.json")(TEXT).input_ids == expected
    assert cls(tokenizer_file=tmp_path / "saved" / "tokenizer.json")(TEXT).input_ids == expected
    for file, older in zip(files, ("encoder.json", "vocab.bpe"), strict=True):
        file.rename(folder / older)
    assert cls.from_pretrained(folder)(TEXT).input_ids == expected


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda it: BertTokenizer(),
            InputError,
            "a tokenizer needs a vocabulary: pass its files, or load a",
        ),
        (lambda it: BertTokenizer(it / "no.txt"), CheckpointNotFoundError, "there is no file '"),
        (lambda it: BertTokenizer(it), InputError, "is a folder; load a folder with from_pretrained"),
        (lambda it: BertTokenizer(5), InputError, "the vocabulary is int; expected a tokenizers.Tokenizer, a file, a"),
        (lambda it: BertTokenizer({"a": -1}), FileFormatError, "the vocabulary gives 'a' the id -1; expected a whole"),
        (lambda it: GPT2Tokenizer({"a": 0}), CheckpointNotFoundError, "has neither tokenizer.json nor merges.txt"),
        (lambda it: GPT2Tokenizer({"a": 0}, ["a b c"]), FileFormatError, "one of the merges is 'a b c'; expected two"),
        (lambda it: GPT2Tokenizer({"a": 0}, ["a b"]), FileFormatError, "are not a byte-pair encoding: "),
        (lambda it: GPT2Tokenizer({"\ud800": 0}, []), FileFormatError, "half a character"),
        (
            lambda it: BertTokenizer({}, vocab={}),
            InputError,
            "vocab was passed, and the vocabulary by another",
        ),
        (lambda it: BertTokenizer({"a": 0}, lower=True), InputError, "tokenizers have no setting 'lower'"),
    ],
)
def test_what_makes_no_tokenizer_is_refused(make: Any, error: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        make(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
