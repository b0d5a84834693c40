"""Settings of tokenizers: their types, in files and passed; older and rarer ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.errors import FileFormatError, InputError, ModelOutputsError
from modeloutputs.tokenizers import BertTokenizer, GPT2Tokenizer, LlamaTokenizer, PreTrainedTokenizer, load_tokenizer

from .tiny import BY_NAME, VOCABULARY, load_peer, peer, write_config, write_vocabulary

FLAG = "expected true or false"
WRONG: list[tuple[str, Any, str]] = [
    *[("do_lower_case", value, FLAG) for value in ("yes", 7, 1, [], {}, 0.0)],
    ("strip_accents", "no", FLAG),
    ("tokenize_chinese_chars", {}, FLAG),
    ("clean_up_tokenization_spaces", "true", FLAG),
    ("split_special_tokens", 1, FLAG),
    *[("padding_side", value, "expected 'left' or 'right'") for value in (7, [], {}, "top", True)],
    ("truncation_side", {}, "expected 'left' or 'right'"),
    *[("model_max_length", value, "expected a positive number of tokens") for value in ("x", True, -1, 0, [], {})],
    ("max_len", "512", "expected a positive number of tokens"),
    ("model_input_names", 5, "expected a list of names"),
    ("model_input_names", [5], "expected a list of names"),
    ("chat_template", 5, "expected a template, or a list of templates with their names"),
    ("chat_template", [{"name": "x"}], "expected a template, or a list of templates with their names"),
    ("additional_special_tokens", "[X]", "expected a list of tokens"),
    ("additional_special_tokens", [5], "expected a text"),
    ("extra_special_tokens", 5, "expected a list of tokens, or tokens by name"),
    ("extra_special_tokens", {"image": []}, ""),
    *[("eos_token", value, "") for value in (5, ["a"], {"content": 5}, {"lstrip": True}, True)],
    *[(name, "\ud800", "half a character") for name in ("eos_token", "pad_token", "image_token")],
    ("additional_special_tokens", ["a\udfff"], "half a character"),
    ("eos_token", {"content": "\ud800"}, "half a character"),
]


def refuses(error: type[ModelOutputsError], message: str, folder: Path, **settings: Any) -> str:
    with pytest.raises(error) as caught:
        BertTokenizer.from_pretrained(folder, **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("name", "value", "message"), WRONG, ids=[f"{name}={value!a}" for name, value, _ in WRONG])
def test_a_setting_of_the_wrong_type_is_named(name: str, value: Any, message: str, tmp_path: Path) -> None:
    if (name, value) == ("extra_special_tokens", {"image": []}):
        assert BertTokenizer.from_pretrained(write_vocabulary(tmp_path, **{name: value})).all_special_ids
        return
    said = refuses(FileFormatError, message, write_vocabulary(tmp_path, **{name: value}))
    assert name in said or "special token" in said
    if name != "image_token":
        (tmp_path / "tokenizer_config.json").unlink()
        refuses(InputError, message, tmp_path, **{name: value})
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({name: value}))
    (tmp_path / "tokenizer_config.json").unlink(missing_ok=True)
    refuses(FileFormatError, message, tmp_path)


@pytest.mark.parametrize(
    "described", [{"20": {"content": "\ud800"}}, {"²": "x"}, {"99999999999": "x"}, {"20": 5}, [], "x", {"20": {}}]
)
def test_added_tokens_of_the_wrong_type_are_named(described: Any, tmp_path: Path) -> None:
    refuses(FileFormatError, "", write_vocabulary(tmp_path, added_tokens_decoder=described))


def test_none_stands_for_the_default(tmp_path: Path) -> None:
    names = ("do_lower_case", "strip_accents", "padding_side", "model_max_length", "chat_template", "eos_token")
    nothing = dict.fromkeys((*names, "additional_special_tokens", "model_input_names", "truncation_side"))
    ours = BertTokenizer.from_pretrained(write_vocabulary(tmp_path, **nothing))
    assert ours.tokenize("Hello") == ["hello"]
    assert (ours.padding_side, ours.truncation_side, ours.model_max_length) == ("right", "right", None)


@pytest.mark.parametrize(("value", "limit"), [(512, 512), (512.0, 512), (1e30, None), (10**30, None)])
@pytest.mark.parametrize("name", ["model_max_length", "max_len"])
def test_a_limit_has_two_names(name: str, value: Any, limit: int | None, tmp_path: Path) -> None:
    assert BertTokenizer.from_pretrained(write_vocabulary(tmp_path, **{name: value})).model_max_length == limit
    assert BertTokenizer.from_pretrained(write_vocabulary(tmp_path), **{name: value}).model_max_length == limit


# -- special tokens that lie beside a vocabulary ---------------------------------------------------------------------


@pytest.mark.parametrize("where", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("name", ["additional_special_tokens", "extra_special_tokens"])
def test_additional_special_tokens_stand_in_a_vocabulary(name: str, where: str, tmp_path: Path) -> None:
    folder = write_vocabulary(tmp_path, ["[PAD]", "[NAME]", *VOCABULARY[1:]])
    described = {
        "__type": "AddedToken",
        "content": "[LOC]",
        "lstrip": True,
        "normalized": False,
        "single_word": False,
        "rstrip": False,
    }
    (folder / where).write_text(json.dumps({name: ["[NAME]", described]}))
    ours, theirs = BertTokenizer.from_pretrained(folder), peer(folder)
    cls, sep = ours.cls_token_id, ours.sep_token_id
    assert ours("[NAME] hello").input_ids == theirs("[NAME] hello")["input_ids"] == [cls, 1, 6, sep]
    assert ours("hello [LOC]").input_ids == theirs("hello [LOC]")["input_ids"] == [cls, 6, len(VOCABULARY) + 1, sep]
    assert ours.additional_special_tokens == ["[NAME]", "[LOC]"]
    assert ours.decode(ours("[NAME] hello").input_ids, skip_special_tokens=True) == "hello"
    ours.save_pretrained(tmp_path / "saved")
    for lost in ("special_tokens_map.json", "tokenizer.json"):
        (tmp_path / "saved" / lost).unlink(missing_ok=True)
        again = BertTokenizer.from_pretrained(tmp_path / "saved")
        assert again.additional_special_tokens == ["[NAME]", "[LOC]"]
        assert again("[NAME] hello [LOC]").input_ids == ours("[NAME] hello [LOC]").input_ids


@pytest.mark.parametrize(
    "config", [{"image_token": "[IMG]"}, {"extra_special_tokens": {"image_token": "[IMG]"}}], ids=["own", "by name"]
)
def test_special_tokens_under_names_of_their_own(config: Any, tmp_path: Path) -> None:
    ours, theirs = BertTokenizer.from_pretrained(write_vocabulary(tmp_path, **config)), peer(tmp_path)
    assert ours("a [IMG]").input_ids == theirs("a [IMG]")["input_ids"]
    assert ours.decode(ours("a [IMG]").input_ids, skip_special_tokens=True) == "a"
    ours.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()).get("image_token") == config.get("image_token")


@pytest.mark.parametrize("form", ["gpt2 files", "gpt2 json"])
def test_new_special_tokens_at_loading_come_after_the_vocabulary(form: str, tmp_path: Path) -> None:
    folder = BY_NAME[form].write(tmp_path)
    tokens = {"bos_token": "<|startoftext|>", "pad_token": "<|pad|>"}
    ours, theirs = GPT2Tokenizer.from_pretrained(folder, **tokens), load_peer("GPT2Tokenizer", folder, **tokens)
    assert (ours.bos_token_id, ours.pad_token_id) == (theirs.bos_token_id, theirs.pad_token_id) == (340, 341)
    text = "<|startoftext|>a b<|pad|>"
    assert ours(text).input_ids == theirs(text)["input_ids"]
    ours.save_pretrained(tmp_path / "saved")
    for again in (GPT2Tokenizer.from_pretrained(tmp_path / "saved"), load_peer("GPT2Tokenizer", tmp_path / "saved")):
        assert again(text)["input_ids"] == ours(text).input_ids
        assert again.pad_token_id == 341


def test_what_other_calls_pass_has_no_effect(tmp_path: Path) -> None:
    folder = write_config(BY_NAME["llama 3"].write(tmp_path), tokenizer_class="PreTrainedTokenizerFast")
    assert LlamaTokenizer.from_pretrained(folder, use_fast=False, verbose=True, trust_remote_code=True)("a").input_ids
    assert type(load_tokenizer(folder, use_fast=True)) is PreTrainedTokenizer
