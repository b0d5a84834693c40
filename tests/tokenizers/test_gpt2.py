"""GPT-2's tokenizer: what is its own. That it gives the peer's numbers is tested with all kinds."""

from pathlib import Path
from typing import Any

import pytest

from modeloutputs.tokenizers import GPT2Tokenizer

from .tiny import BY_NAME, TEXTS, assert_same, load_peer, write_config

SOURCES = ("gpt2 files", "gpt2 json")
every_source = pytest.mark.parametrize("source", SOURCES)


@every_source
def test_nothing_is_put_around_texts(source: str, folders: dict[str, Path]) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(folders[source])
    encoding = tokenizer("a b", "c")
    assert encoding.tokens() == ["a", "Ġb", "c"]
    assert list(encoding) == ["input_ids", "attention_mask"]
    assert tokenizer("a b", "c", return_token_type_ids=True).token_type_ids == [0, 0, 1]
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.unk_token_id == 0


@every_source
def test_no_text_is_unknown(source: str, folders: dict[str, Path]) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(folders[source])
    for text in TEXTS.values():
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids) == text
        assert (0 in ids) == ("<|endoftext|>" in text)


@every_source
@pytest.mark.parametrize("where", ["passed", "tokenizer_config.json"])
@pytest.mark.parametrize("prefix", [True, False])
def test_a_first_space_can_be_added(prefix: bool, where: str, source: str, tmp_path: Path) -> None:
    folder = BY_NAME[source].write(tmp_path)
    setting = {"add_prefix_space": prefix}
    if where == "tokenizer_config.json":
        write_config(folder, **setting)
        setting = {}
    both = GPT2Tokenizer.from_pretrained(folder, **setting), load_peer("GPT2Tokenizer", folder, **setting)
    assert both[0].tokenize("a") == (["Ġa"] if prefix else ["a"])
    assert both[0].add_prefix_space is prefix
    for text in TEXTS.values():
        assert_same(both, text)
        if prefix:
            assert_same(both, text.split(), is_split_into_words=True)
    both[0].save_pretrained(tmp_path / "saved")
    for again in (GPT2Tokenizer, load_peer):
        name = () if again is GPT2Tokenizer else ("GPT2Tokenizer",)
        loaded: Any = again.from_pretrained(tmp_path / "saved") if not name else load_peer(*name, tmp_path / "saved")
        assert loaded.tokenize("a b") == both[0].tokenize("a b")


@every_source
@pytest.mark.parametrize("token", ["unk_token", "bos_token", "eos_token"])
def test_a_special_token_that_the_vocabulary_lacks_is_added(token: str, source: str, tmp_path: Path) -> None:
    folder = write_config(BY_NAME[source].write(tmp_path), **{token: "<nothing>"})
    ours, theirs = GPT2Tokenizer.from_pretrained(folder), load_peer("GPT2Tokenizer", folder)
    assert getattr(ours, f"{token}_id") == getattr(theirs, f"{token}_id") == len(ours) - 1 == len(theirs) - 1
    assert_same((ours, theirs), ["a<nothing> b"])


def test_a_padding_token_can_be_passed(folders: dict[str, Path]) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(folders["gpt2 json"], pad_token="<|endoftext|>", padding_side="left")
    encoding = tokenizer(["a", "a b c"], padding=True)
    assert encoding.input_ids[0][:2] == [0, 0]
    assert encoding.attention_mask == [[0, 0, 1], [1, 1, 1]]
    new = GPT2Tokenizer.from_pretrained(folders["gpt2 json"], pad_token="[PAD]")
    assert new(["a", "a b"], padding=True).input_ids[0][-1] == new.pad_token_id == len(tokenizer)
