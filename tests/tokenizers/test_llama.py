"""Llama's tokenizers: what is their own. That they give the peer's numbers is tested with all kinds."""

import json
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.errors import CheckpointNotFoundError
from modeloutputs.tokenizers import LlamaTokenizer

from .tiny import BY_NAME, LLAMA3_CONFIG, LLAMA3_TOKENS, load_peer, write_config

TEMPLATE = LLAMA3_CONFIG["chat_template"]


def test_special_tokens_are_as_the_configuration_says(folders: dict[str, Path]) -> None:
    tokenizer = LlamaTokenizer.from_pretrained(folders["llama 3"])
    assert tokenizer.special_tokens_map == {"bos_token": LLAMA3_TOKENS[0], "eos_token": LLAMA3_TOKENS[1]}
    assert tokenizer("a").tokens() == [LLAMA3_TOKENS[0], "a"]
    passed = LlamaTokenizer.from_pretrained(folders["llama 3"], eos_token=LLAMA3_TOKENS[2], pad_token=LLAMA3_TOKENS[1])
    assert (passed.eos_token_id, passed.pad_token_id) == (332, 331)


def test_without_a_configuration_they_are_those_that_tokenizer_json_has(tmp_path: Path) -> None:
    for name, expected in (("llama 2", ["<unk>", "<s>", "</s>"]), ("llama 3", [])):
        folder = tmp_path / name
        folder.mkdir()
        (BY_NAME[name].write(folder) / "tokenizer_config.json").unlink()
        assert list(LlamaTokenizer.from_pretrained(folder).special_tokens_map.values()) == expected


def test_pieces_of_ordinary_text_are_no_special_tokens(tmp_path: Path) -> None:
    """A byte-level vocabulary that merges "<s>"."""
    BY_NAME["llama 3"].write(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["vocab"]["<s>"] = 330
    for i, token in enumerate(content["added_tokens"], start=331):
        token["id"] = i
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    write_config(tmp_path)
    tokenizer = LlamaTokenizer.from_pretrained(tmp_path)
    assert tokenizer.bos_token is None
    assert tokenizer.decode([330], skip_special_tokens=True) == "<s>"


@pytest.mark.parametrize("name", ["llama 2", "llama 2, older", "llama 3"])
def test_rows_are_padded_on_the_left(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = LlamaTokenizer.from_pretrained(folders[name])
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer(["a", "a b c d"], padding=True).attention_mask[0][0] == 0
    write_config(BY_NAME[name].write(tmp_path), padding_side="right")
    assert LlamaTokenizer.from_pretrained(tmp_path).padding_side == "right"


def test_characters_that_llama_2_lacks_are_bytes(folders: dict[str, Path]) -> None:
    tokenizer = LlamaTokenizer.from_pretrained(folders["llama 2"])
    assert tokenizer.tokenize("\u2603") == ["▁", "<0xE2>", "<0x98>", "<0x83>"]
    assert tokenizer.decode(tokenizer("\u2603 a", add_special_tokens=False).input_ids) == "\u2603 a"


@pytest.mark.parametrize("template", [TEMPLATE, [{"name": "default", "template": TEMPLATE}]], ids=["text", "list"])
def test_a_chat_template_survives(template: Any, tmp_path: Path) -> None:
    folder = write_config(BY_NAME["llama 3"].write(tmp_path), **{**LLAMA3_CONFIG, "chat_template": template})
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    expected = template if isinstance(template, str) else {"default": TEMPLATE}
    assert tokenizer.chat_template == expected
    tokenizer.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())["chat_template"] == template
    assert load_peer("PreTrainedTokenizerFast", tmp_path / "saved").chat_template == expected


def test_a_chat_template_of_its_own_file_survives(folders: dict[str, Path], tmp_path: Path) -> None:
    load_peer("PreTrainedTokenizerFast", folders["llama 3"]).save_pretrained(tmp_path)
    assert (tmp_path / "chat_template.jinja").read_text() == TEMPLATE
    tokenizer = LlamaTokenizer.from_pretrained(tmp_path)
    assert tokenizer.chat_template == TEMPLATE
    tokenizer.save_pretrained(tmp_path / "saved")
    assert load_peer("PreTrainedTokenizerFast", tmp_path / "saved").chat_template == TEMPLATE
    changed = LlamaTokenizer.from_pretrained(tmp_path, chat_template="other")
    changed.save_pretrained(tmp_path)
    assert load_peer("PreTrainedTokenizerFast", tmp_path).chat_template == "other"


def test_a_folder_without_either_file_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError) as caught:
        LlamaTokenizer.from_pretrained(tmp_path)
    assert str(caught.value) == f"{str(tmp_path)!r} has neither tokenizer.json nor tokenizer.model"
