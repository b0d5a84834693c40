"""Tokens before and after texts, as `add_bos_token` and `add_eos_token` ask for them, against the peer's."""

from pathlib import Path
from typing import Any

import pytest

from modeloutputs.errors import InputError
from modeloutputs.tokenizers import GPT2Tokenizer, LlamaTokenizer

from .tiny import BY_NAME, LLAMA3_TOKENS, assert_same, load_peer, write_config

FLAGS: list[dict[str, Any]] = [
    {},
    {"add_bos_token": True},
    {"add_bos_token": False},
    {"add_eos_token": True},
    {"add_bos_token": True, "add_eos_token": True},
    {"add_bos_token": False, "add_eos_token": True},
]
every_flag = pytest.mark.parametrize("flags", FLAGS, ids=str)
FRAMED = ["gpt2 files", "gpt2 json", "llama 2", "llama 2, older", "llama 3"]


@every_flag
@pytest.mark.parametrize("name", FRAMED)
def test_flags_that_are_passed_give_the_peers_numbers(
    name: str, flags: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    kind = BY_NAME[name]
    both = kind.both(folders[name], **flags)
    assert_same(both, "hello world")
    assert_same(both, ["hello", ""], ["a b", "c"])
    both[0].save_pretrained(tmp_path)
    for again in kind.both(tmp_path):
        assert again("hello", "a")["input_ids"] == both[1]("hello", "a")["input_ids"]


@every_flag
@pytest.mark.parametrize("name", FRAMED)
def test_flags_in_the_configuration_count_as_they_do_for_the_peer(name: str, flags: Any, tmp_path: Path) -> None:
    """That is, with vocabulary files alone."""
    kind = BY_NAME[name]
    tokens = {"bos_token": LLAMA3_TOKENS[0], "eos_token": LLAMA3_TOKENS[1]} if name == "llama 3" else {}
    both = kind.both(write_config(kind.write(tmp_path), **flags, **tokens))
    assert_same(both, "hello world")
    assert_same(both, ["hello", ""], ["a b", "c"])


def test_what_the_flags_put_in(folders: dict[str, Path]) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(
        folders["gpt2 files"], add_bos_token=True, eos_token="!", add_eos_token=True
    )
    encoding = tokenizer("a", "b", return_token_type_ids=True)
    assert encoding.tokens() == ["<|endoftext|>", "a", "!", "<|endoftext|>", "b", "!"]
    assert encoding.token_type_ids == [0, 0, 0, 1, 1, 1]
    assert tokenizer("a", add_special_tokens=False).tokens() == ["a"]
    with pytest.raises(InputError, match="max_length is 1, and the special tokens of a row alone are 2"):
        tokenizer("a", truncation=True, max_length=1)


def test_one_flag_alone_turns_the_other_off(folders: dict[str, Path]) -> None:
    assert LlamaTokenizer.from_pretrained(folders["llama 2"])("a").tokens() == ["<s>", "▁a"]
    assert LlamaTokenizer.from_pretrained(folders["llama 2"], add_eos_token=True)("a").tokens() == ["▁a", "</s>"]


def test_a_flag_without_its_token_is_refused(tmp_path: Path) -> None:
    BY_NAME["llama 3"].write(tmp_path)
    write_config(tmp_path, bos_token="<nothing>")
    with pytest.raises(InputError) as caught:
        LlamaTokenizer.from_pretrained(tmp_path, add_eos_token=True)
    assert str(caught.value) == (
        "add_eos_token is set, but the tokenizer has no eos_token in its vocabulary; pass eos_token too"
    )
    added = LlamaTokenizer.from_pretrained(tmp_path, add_bos_token=True)
    assert added("a").input_ids[0] == added.bos_token_id == len(added) - 1
    assert load_peer("PreTrainedTokenizerFast", tmp_path)("a")["input_ids"]
