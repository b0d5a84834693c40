"""Tokens and ids, and tokens that are added: here and in the peer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeloutputs.errors import InputError
from modeloutputs.tokenizers import BertTokenizer, GPT2Tokenizer

from .tiny import SPECIAL, VOCABULARY, Kind, Pair, peer, write_vocabulary


def test_one_token_has_one_id_and_one_id_one_token(pair: Pair) -> None:
    ours, theirs = pair
    token = theirs.pad_token
    assert ours.convert_tokens_to_ids(token) == theirs.convert_tokens_to_ids(token)
    for number in (5, np.int64(5), np.array(5)):
        assert ours.convert_ids_to_tokens(number) == theirs.convert_ids_to_tokens(5)
    assert ours.convert_ids_to_tokens([theirs.pad_token_id, 9], skip_special_tokens=True) == [
        theirs.convert_ids_to_tokens(9)
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda it: it.convert_ids_to_tokens([[5]]), "ids of several rows were passed where one row is expected"),
        (lambda it: it.decode([[5], [6]]), "ids of several rows were passed where one row is expected; batch_decode"),
        (lambda it: it.decode(np.array([[5]])), "ids of several rows were passed"),
        (lambda it: it.decode(None), "None is not a token id; expected an integer or a row of them"),
        (lambda it: it.decode([1.5]), "1.5 is not a token id; expected integers"),
        (lambda it: it.convert_tokens_to_ids(5), "5 is no token; expected a text or a list of texts"),
        (lambda it: it.convert_tokens_to_ids([5]), "5 is no token; expected a text or a list of texts"),
        (lambda it: it.add_tokens([5]), "the tokenizer's new token is 5; expected a text"),
        (lambda it: it.add_tokens("\ud800"), "half a character"),
        (lambda it: it.add_tokens([""]), "a new token is empty"),
        (
            lambda it: it.add_special_tokens({"pad_tokn": "x"}),
            "no special token 'pad_tokn'; did you mean 'pad_token'?",
        ),
        (lambda it: it.add_special_tokens({"additional_special_tokens": "x"}), "is 'x'; expected a list of texts"),
    ],
)
def test_what_is_no_id_or_token_is_refused(call: Any, message: str, tiny: BertTokenizer) -> None:
    with pytest.raises(InputError) as caught:
        call(tiny)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_vocabularies_are_the_peers(pair: Pair) -> None:
    ours, theirs = pair
    assert ours.get_vocab() == ours.vocab == theirs.get_vocab()
    assert ours.get_added_vocab() == theirs.get_added_vocab() == ours.added_tokens_encoder
    assert ours.is_fast
    assert ours.all_special_tokens == theirs.all_special_tokens
    assert ours.all_special_ids == theirs.all_special_ids


def test_tokens_are_added_as_in_the_peer(kind: Kind, folders: dict[str, Path], tmp_path: Path) -> None:
    from tokenizers import AddedToken

    both = kind.both(folders[kind.name])
    size = len(both[0])
    for tokenizer in both:
        assert tokenizer.add_tokens(["New", "zzq", "zzq", AddedToken("[st]", lstrip=True)]) == 3
        assert tokenizer.add_tokens("<sp>", special_tokens=True) == 1
        assert tokenizer.add_tokens(["New"]) == 0
        assert tokenizer.add_special_tokens({"pad_token": "<p>", "additional_special_tokens": ["<one>", "<sp>"]}) == 2
        assert len(tokenizer) == size + 6
    for text in ("a New zzqb <one>c  [st] NEW<sp>", "zzq<p>"):
        ours, theirs = (tokenizer(text, return_offsets_mapping=True) for tokenizer in both)
        assert dict(ours) == dict(theirs)
        for skip in (True, False):
            said = [tokenizer.decode(ours["input_ids"], skip_special_tokens=skip) for tokenizer in both]
            assert said[0] == said[1]
    assert both[0].all_special_tokens == both[1].all_special_tokens
    assert both[0].pad_token_id == both[1].pad_token_id
    both[0].save_pretrained(tmp_path)
    for again in kind.both(tmp_path):
        assert len(again) == size + 6
        assert (
            again("a New zzqb <one>c  [st]<sp><p>")["input_ids"] == both[0]("a New zzqb <one>c  [st]<sp><p>").input_ids
        )
    names = {path.name for path in tmp_path.iterdir()}
    if names != {"tokenizer.json", "tokenizer_config.json"}:  # the vocabulary files alone are enough
        (tmp_path / "tokenizer.json").unlink()
        for again in kind.both(tmp_path):
            assert again("New [st]<sp><p>")["input_ids"] == both[0]("New [st]<sp><p>").input_ids


def test_additional_special_tokens_are_replaced_or_added_to(tiny: BertTokenizer, tmp_path: Path) -> None:
    tokenizer = BertTokenizer.from_pretrained(write_vocabulary(tmp_path), additional_special_tokens=["<a>"])
    assert tokenizer.additional_special_tokens == tokenizer.extra_special_tokens == ["<a>"]
    assert tokenizer.additional_special_tokens_ids == [len(VOCABULARY)]
    tokenizer.add_special_tokens({"extra_special_tokens": ["<b>"]}, replace_extra_special_tokens=False)
    assert tokenizer.additional_special_tokens == ["<a>", "<b>"]
    tokenizer.add_special_tokens({"extra_special_tokens": ["<c>"]})
    assert tokenizer.additional_special_tokens == ["<c>"]
    tokenizer.additional_special_tokens = ["hello"]
    assert tokenizer.decode(tokenizer("hello a").input_ids, skip_special_tokens=True) == "a"
    with pytest.raises(InputError, match="one of additional_special_tokens is 'no such', which is not in"):
        tokenizer.additional_special_tokens = ["no such"]


# -- ids that are left out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "ids"),
    [
        ([*SPECIAL, "a", "a", "b"], {"a": 6, "b": 7}),
        ([*SPECIAL, "a", "", "b"], {"a": 5, "b": 7}),
        ([*SPECIAL, "", "a", "", "", "b"], {"a": 6, "b": 9}),
        ([*SPECIAL, "a ", "b\t", "a", "\u3000"], {"a": 7, "b": 6}),
    ],
    ids=["twice", "blank", "blanks", "trailing"],
)
def test_every_id_of_a_vocabulary_survives(lines: list[str], ids: dict[str, int], tmp_path: Path) -> None:
    folder = write_vocabulary(tmp_path / "first", lines)
    tokenizer, theirs = BertTokenizer.from_pretrained(folder), peer(folder)
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in ids} == ids
    assert tokenizer("a b").input_ids == theirs("a b")["input_ids"] == [2, ids["a"], ids["b"], 3]
    assert len(tokenizer) == len(lines)
    tokenizer.add_tokens(["new"])  # the library alone would give it an id that another token has
    assert tokenizer("b new").input_ids == [2, ids["b"], len(lines), 3]
    tokenizer.save_pretrained(tmp_path / "second")
    for lost in (None, "vocab.txt", "tokenizer.json"):
        if lost is not None:
            tokenizer.save_pretrained(tmp_path / "second")
            (tmp_path / "second" / lost).unlink()
        again = BertTokenizer.from_pretrained(tmp_path / "second")
        assert again("a b new").input_ids == [2, ids["a"], ids["b"], len(lines), 3]
        assert len(again) == len(lines) + 1
        assert peer(tmp_path / "second")("a b")["input_ids"] == [2, ids["a"], ids["b"], 3]


def test_new_special_tokens_come_after_ids_that_are_left_out(folders: dict[str, Path], tmp_path: Path) -> None:
    import json

    loaded = GPT2Tokenizer.from_pretrained(folders["gpt2 json"])
    state = json.loads(loaded.backend.to_str())
    state["model"]["vocab"]["zz"] = 1000
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    tokenizer = GPT2Tokenizer.from_pretrained(tmp_path, pad_token="<|pad|>")
    assert (tokenizer.pad_token_id, len(tokenizer)) == (1001, 1002)
    tokenizer.save_pretrained(tmp_path)
    assert GPT2Tokenizer.from_pretrained(tmp_path)("a<|pad|>").input_ids == tokenizer("a<|pad|>").input_ids
