"""New vocabularies for tokenizers that otherwise stay as they are, as the peer trains them."""

from pathlib import Path
from typing import Any

import pytest

from modeloutputs.errors import InputError
from modeloutputs.tokenizers import BertTokenizer

from .tiny import CORPUS, Kind

TEXTS = CORPUS[:200]
SIZES = {"bert": 120, "gpt files": 120, "gpt json": 120}


def test_training_gives_the_peers_vocabulary(kind: Kind, folders: dict[str, Path], tmp_path: Path) -> None:
    size = SIZES.get(kind.name, 400)
    options: Any = {"vocab_size": size, "new_special_tokens": ["<new>"]}
    both = kind.both(folders[kind.name], **kind.pad, padding_side="left", model_max_length=77)
    ours, theirs = (it.train_new_from_iterator([TEXTS[:50], TEXTS[50:]], **options) for it in both)
    assert ours.get_vocab().keys() == theirs.get_vocab().keys()  # some of the library's trainers number at random
    assert ours.special_tokens_map == theirs.special_tokens_map
    for text in ("Hello, world! <new> café", "hello there a b"):
        for add in (True, False):
            if add and kind.name == "llama 3":  # in whose post-processor the peer leaves the old ids
                continue
            expected = theirs(text, text, add_special_tokens=add).tokens()
            assert ours(text, text, add_special_tokens=add).tokens() == expected
            assert ours(text, text, add_special_tokens=add).input_ids == ours.convert_tokens_to_ids(expected)
    assert type(ours) is kind.cls
    assert (ours.padding_side, ours.model_max_length) == ("left", 77)
    assert "<new>" in ours.additional_special_tokens
    assert both[0].get_vocab() == both[1].get_vocab() != ours.get_vocab()
    ours.save_pretrained(tmp_path)
    assert kind.cls.from_pretrained(tmp_path)("a <new>").input_ids == ours("a <new>").input_ids


def test_special_tokens_can_be_renamed(tiny: BertTokenizer) -> None:
    new = tiny.train_new_from_iterator(TEXTS, 100, special_tokens_map={"[CLS]": "<s>", "[SEP]": "</s>"})
    assert (new.cls_token, new.sep_token, new.pad_token) == ("<s>", "</s>", "[PAD]")
    ids = new("a").input_ids
    assert (ids[0], ids[-1]) == (new.cls_token_id, new.sep_token_id)
    assert "[CLS]" not in new.get_vocab()


def test_what_cannot_be_trained_on_is_refused(tiny: BertTokenizer) -> None:
    with pytest.raises(InputError, match="a tokenizer cannot be trained on this: ") as caught:
        tiny.train_new_from_iterator([1, 2], 100)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="the tokenizer's new special token is 5; expected a text"):
        tiny.train_new_from_iterator(TEXTS, 100, new_special_tokens=[5])  # pyright: ignore[reportArgumentType]
