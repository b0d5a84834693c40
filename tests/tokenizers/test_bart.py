"""BART's tokenizer: what is its own. That it gives the peer's numbers is tested with all kinds."""

import json
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.tokenizers import BartTokenizer

from .tiny import BART_TOKENS, BY_NAME, TEXTS, assert_same, bytes_bpe, load_peer, write_config, write_json


def test_tokens_stand_around_texts_and_twice_between_two(folders: dict[str, Path]) -> None:
    tokenizer = BartTokenizer.from_pretrained(folders["bart"])
    assert tokenizer("a").tokens() == ["<s>", "a", "</s>"]
    encoding = tokenizer("a", "b", return_token_type_ids=True)
    assert encoding.tokens() == ["<s>", "a", "</s>", "</s>", "b", "</s>"]
    assert encoding.token_type_ids == [0] * 6
    assert tokenizer.cls_token == tokenizer.bos_token == "<s>"
    assert tokenizer.sep_token == tokenizer.eos_token == "</s>"
    assert [tokenizer.convert_ids_to_tokens([i])[0] for i in range(5)] == BART_TOKENS


def inner_tokens(tokenizer: Any, text: str) -> list[str | None]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("named", [{}, {"mask_token": "<mask>"}], ids=["unnamed", "named by its text"])
def test_the_mask_takes_the_space_before_it(named: dict[str, str], tmp_path: Path) -> None:
    """The peer's does where a file says so, as those of the published checkpoints do."""
    tokenizer = BartTokenizer.from_pretrained(write_config(BY_NAME["bart"].write(tmp_path), **named))
    assert inner_tokens(tokenizer, "a <mask> b") == ["a", "<mask>", "Ġb"]
    tokenizer.save_pretrained(tmp_path / "saved")
    for again in (BartTokenizer.from_pretrained(tmp_path / "saved"), load_peer("BartTokenizer", tmp_path / "saved")):
        assert inner_tokens(again, "a <mask> b") == ["a", "<mask>", "Ġb"]


@pytest.mark.parametrize("form", ["files", "tokenizer.json"])
@pytest.mark.parametrize(
    "setting", [{"add_prefix_space": True}, {"trim_offsets": False}, {"add_prefix_space": True, "trim_offsets": False}]
)
def test_settings_give_the_peers_numbers(setting: Any, form: str, tmp_path: Path) -> None:
    folder = BY_NAME["bart"].write(tmp_path)
    if form == "tokenizer.json":
        BartTokenizer.from_pretrained(folder).save_pretrained(folder)
    both = BartTokenizer.from_pretrained(folder, **setting), load_peer("BartTokenizer", folder, **setting)
    for text in TEXTS.values():
        assert_same(both, [text], ["hello there"])
    both[0].save_pretrained(tmp_path / "saved")
    assert_same((BartTokenizer.from_pretrained(tmp_path / "saved"), both[1]), "hello there")


def test_a_setting_leaves_the_others_as_tokenizer_json_has_them(tmp_path: Path) -> None:
    folder = BY_NAME["bart"].write(tmp_path)
    BartTokenizer.from_pretrained(folder, trim_offsets=False).save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    del config["trim_offsets"]
    write_config(tmp_path / "saved", **config)
    tokenizer = BartTokenizer.from_pretrained(tmp_path / "saved", add_prefix_space=True)
    assert tokenizer(" b", return_offsets_mapping=True).offset_mapping == [(0, 0), (0, 2), (0, 0)]
    assert tokenizer("b").tokens() == ["<s>", "Ġb", "</s>"]


def test_another_post_processor_is_left_as_it_is(tmp_path: Path) -> None:
    write_json(bytes_bpe(*BART_TOKENS), tmp_path, add_prefix_space=True)
    assert BartTokenizer.from_pretrained(tmp_path)("a").tokens() == ["Ġa"]
