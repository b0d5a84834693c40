"""What every tokenizer does: ids back to text, the vocabulary, loading and saving, here and with the peer."""

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeloutputs.errors import CheckpointNotFoundError, FileFormatError, InputError
from modeloutputs.tokenizers import BatchEncoding, BertTokenizer, GPT2Tokenizer, LlamaTokenizer, PreTrainedTokenizer
from modeloutputs.tokenizers.special import SPECIAL_TOKENS

from ..support.processes import run_code
from .tiny import BATCH, BY_NAME, EVERYTHING, SPECIAL, TEXTS, Kind, Pair, every_text, load_peer, peer, write_vocabulary


@every_text
@pytest.mark.parametrize("skip", [True, False])
def test_decoding_gives_the_peers_text(text: str, skip: bool, both: Pair) -> None:
    ours, theirs = both
    ids = ours(text).input_ids
    assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)


def test_decoding_a_batch_gives_the_peers_texts(both: Pair) -> None:
    ours, theirs = both
    ids = ours(BATCH, padding=True).input_ids
    assert ours.batch_decode(ids) == theirs.batch_decode(ids)
    assert ours.batch_decode(np.array(ids), skip_special_tokens=True) == theirs.batch_decode(
        ids, skip_special_tokens=True
    )
    assert ours.batch_decode([]) == []


def test_ids_beyond_the_vocabulary_stand_for_nothing(tiny: BertTokenizer) -> None:
    assert tiny.decode([5, 99_999, 6]) == "hello world"
    assert tiny.convert_ids_to_tokens([5, 99_999, -100, 2**40, 0]) == ["hello", None, None, None, "[PAD]"]


@pytest.mark.parametrize("wrong", [-100, -1, 2**32, 2**70])
def test_numbers_that_are_no_ids_are_refused_when_decoding(wrong: int, tiny: BertTokenizer) -> None:
    with pytest.raises(InputError, match=f"^{wrong} is not a token id; remove ids like -100 before decoding$"):
        tiny.decode([5, wrong, 6])


def test_tokens_and_ids_are_each_others(both: Pair) -> None:
    ours, theirs = both
    assert (len(ours), ours.vocab_size) == (len(theirs), theirs.vocab_size)
    tokens = ["[CLS]", "hello", "no such token", "##s"]
    ids = ours.convert_tokens_to_ids(tokens)
    assert ids == theirs.convert_tokens_to_ids(tokens)
    assert ours.convert_ids_to_tokens(ids) == ["[CLS]", "hello", "[UNK]", "##s"]


@pytest.mark.parametrize("only", [None, "vocab.txt", "tokenizer.json"])
def test_what_is_saved_tokenizes_the_same_here_and_in_the_peer(only: str | None, both: Pair, tmp_path: Path) -> None:
    ours, _ = both
    ours.save_pretrained(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert {path.name for path in folder.iterdir()} == {"tokenizer.json", "vocab.txt", "tokenizer_config.json"}
    if only is not None:
        (folder / ({"vocab.txt", "tokenizer.json"} - {only}).pop()).unlink()
    again, theirs = BertTokenizer.from_pretrained(folder), peer(folder)
    for text in TEXTS.values():
        expected = ours(text)
        assert again(text) == expected
        assert dict(theirs(text)) == dict(expected)
    assert again.model_max_length == ours.model_max_length
    assert (again.padding_side, again.truncation_side) == (ours.padding_side, ours.truncation_side)


def test_settings_are_saved(tmp_path: Path) -> None:
    folder = write_vocabulary(tmp_path / "first")
    settings_ = {"padding_side": "left", "truncation_side": "left", "model_max_length": 7, "strip_accents": False}
    BertTokenizer.from_pretrained(folder, **settings_).save_pretrained(tmp_path / "second")
    ours, theirs = BertTokenizer.from_pretrained(tmp_path / "second"), peer(tmp_path / "second")
    for tokenizer in (ours, theirs):
        assert (tokenizer.padding_side, tokenizer.truncation_side) == ("left", "left")
        assert tokenizer.model_max_length == 7
        assert tokenizer.tokenize("café") == ["café"]


def test_saving_replaces_what_is_there(tmp_path: Path) -> None:
    BertTokenizer.from_pretrained(write_vocabulary(tmp_path / "first")).save_pretrained(tmp_path / "both")
    second = BertTokenizer.from_pretrained(write_vocabulary(tmp_path / "second", [*SPECIAL, "other"]))
    second.save_pretrained(tmp_path / "both")
    assert BertTokenizer.from_pretrained(tmp_path / "both").vocab_size == 6
    assert len(list((tmp_path / "both").iterdir())) == 3


def test_padding_and_truncation_that_a_file_sets_are_off_until_asked_for(minilm: Path) -> None:
    assert json.loads((minilm / "tokenizer.json").read_text())["padding"] is not None
    assert len(BertTokenizer.from_pretrained(minilm)("a").input_ids) == 3


@pytest.mark.parametrize("limit", [None, 10**30, 10**9])
def test_a_length_that_means_none_is_none(limit: int | None, tmp_path: Path) -> None:
    folder = write_vocabulary(tmp_path, model_max_length=limit)
    assert BertTokenizer.from_pretrained(folder).model_max_length is None


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_tokenizers_and_encodings_can_be_copied_and_sent(duplicate: Callable[[Any], Any], tiny: BertTokenizer) -> None:
    encoding = tiny(BATCH, padding=True)
    assert duplicate(tiny)(BATCH, padding=True) == encoding
    other = duplicate(encoding)
    assert isinstance(other, BatchEncoding)
    assert other == encoding
    assert other.tokens(2) == encoding.tokens(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding_sid": "left"}, "tokenizers have no setting 'padding_sid'; did you mean 'padding_side'?"),
        ({"lowercase": True}, "tokenizers have no setting 'lowercase'"),
        ({"padding_side": "top"}, "padding_side is 'top'; expected 'left' or 'right'"),
        ({"truncation_side": "middle"}, "truncation_side is 'middle'; expected 'left' or 'right'"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        BertTokenizer.from_pretrained(write_vocabulary(tmp_path), **options)
    assert str(caught.value).startswith(message)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="there is no folder"):
        BertTokenizer.from_pretrained(tmp_path / "missing")


# -- every kind against the peer's --------------------------------------------------------------------------------


@every_text
def test_decoding_gives_the_peers_text_for_every_kind(text: str, pair: Pair) -> None:
    ours, theirs = pair
    ids = ours(text).input_ids
    for skip in (True, False):
        assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)


def test_vocabularies_and_special_tokens_are_the_peers(pair: Pair) -> None:
    ours, theirs = pair
    assert (len(ours), ours.vocab_size) == (len(theirs), theirs.vocab_size)
    assert ours.special_tokens_map == theirs.special_tokens_map
    for name in SPECIAL_TOKENS:
        assert getattr(ours, name) == getattr(theirs, name)
        assert getattr(ours, f"{name}_id") == getattr(theirs, f"{name}_id")


def same_ids(first: Any, second: Any) -> None:
    for text in TEXTS.values():
        assert dict(first([text], [text], **EVERYTHING)) == dict(second([text], [text], **EVERYTHING))
        assert dict(first(text)) == dict(second(text))
        ids = first(text)["input_ids"]
        assert first.decode(ids, skip_special_tokens=True) == second.decode(ids, skip_special_tokens=True)


FILES = {
    "bert": {"vocab.txt"},
    "gpt2 files": {"vocab.json", "merges.txt"},
    "bart": {"vocab.json", "merges.txt"},
    "gpt files": {"vocab.json", "merges.txt"},
}


def test_what_is_saved_the_peer_loads(kind: Kind, folders: dict[str, Path], tmp_path: Path) -> None:
    ours = kind.cls.from_pretrained(folders[kind.name], **kind.pad)
    ours.save_pretrained(tmp_path)
    again, theirs = kind.both(tmp_path)
    same_ids(ours, again)
    same_ids(ours, theirs)
    assert again.special_tokens_map == theirs.special_tokens_map == ours.special_tokens_map


@pytest.mark.parametrize("name", FILES)
def test_the_vocabulary_files_that_are_saved_are_enough(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    kind = BY_NAME[name]
    ours = kind.cls.from_pretrained(folders[name], **kind.pad)
    ours.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.json", "tokenizer_config.json", *FILES[name]}
    (tmp_path / "tokenizer.json").unlink()
    same_ids(ours, kind.cls.from_pretrained(tmp_path))


def test_what_the_peer_saves_is_loaded(kind: Kind, folders: dict[str, Path], tmp_path: Path) -> None:
    theirs = load_peer(kind.peer, folders[kind.name], **kind.pad)
    theirs.save_pretrained(tmp_path)
    ours = kind.cls.from_pretrained(tmp_path)
    same_ids(ours, theirs)
    assert ours.special_tokens_map == theirs.special_tokens_map
    ours.save_pretrained(tmp_path / "again")
    same_ids(ours, load_peer(kind.peer, tmp_path / "again"))


@pytest.mark.parametrize("side", ["left", "right"])
def test_settings_are_saved_for_every_kind(side: Any, kind: Kind, folders: dict[str, Path], tmp_path: Path) -> None:
    sides = {"padding_side": side, "truncation_side": side}
    kind.cls.from_pretrained(folders[kind.name], model_max_length=9, **sides).save_pretrained(tmp_path)
    for tokenizer in kind.both(tmp_path):
        assert (tokenizer.padding_side, tokenizer.truncation_side, tokenizer.model_max_length) == (side, side, 9)


def test_entries_that_nothing_reads_are_kept(tmp_path: Path) -> None:
    folder = write_vocabulary(
        tmp_path / "first", clean_up_tokenization_spaces=True, unheard=[5], auto_map={"x": "y"}, name_or_path="/x"
    )
    tokenizer = BertTokenizer.from_pretrained(folder)
    assert tokenizer.other == {"unheard": [5]}
    tokenizer.save_pretrained(tmp_path / "second")
    saved = json.loads((tmp_path / "second" / "tokenizer_config.json").read_text())
    assert saved["clean_up_tokenization_spaces"] is True
    assert saved["unheard"] == [5]
    assert not {"auto_map", "name_or_path"} & saved.keys()


def test_a_tokenizer_can_be_made_of_a_backend_alone(folders: dict[str, Path]) -> None:
    loaded = GPT2Tokenizer.from_pretrained(folders["gpt2 json"])
    made = GPT2Tokenizer(loaded.backend, padding_side="left", special_tokens={"pad_token": "!"})
    assert made.special_tokens_map == {**loaded.special_tokens_map, "pad_token": "!"}
    assert made(["a", "a a"], padding=True).attention_mask == [[0, 1], [1, 1]]
    assert made.decode(made("a!").input_ids, skip_special_tokens=True) == "a"


def test_the_base_loads_any_tokenizer_json(folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = PreTrainedTokenizer.from_pretrained(folders["llama 3"])
    assert tokenizer("a b").input_ids == LlamaTokenizer.from_pretrained(folders["llama 3"])("a b").input_ids
    with pytest.raises(
        CheckpointNotFoundError, match=r"has no tokenizer\.json; PreTrainedTokenizer loads no other form$"
    ):
        PreTrainedTokenizer.from_pretrained(write_vocabulary(tmp_path))


def test_another_algorithm_is_refused_by_name(tiny: BertTokenizer, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path)
    with pytest.raises(FileFormatError) as caught:
        GPT2Tokenizer.from_pretrained(tmp_path)
    assert str(caught.value).endswith(
        "tokenizer.json' holds a tokenizer of type WordPiece, but GPT2Tokenizer needs BPE; "
        "load it with load_tokenizer, or with its own class"
    )


def test_a_token_that_is_none_has_no_id_without_an_unknown_token(folders: dict[str, Path]) -> None:
    tokenizer = LlamaTokenizer.from_pretrained(folders["llama 3"])
    with pytest.raises(InputError, match=r"'no such' is not in the vocabulary, and the tokenizer has no unk_token"):
        tokenizer.convert_tokens_to_ids(["a", "no such"])
    assert tokenizer.convert_tokens_to_ids(["<|end_of_text|>"]) == [tokenizer.eos_token_id]


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("gpt2 json", {"do_lower_case": True}, "tokenizers have no setting 'do_lower_case'"),
        ("llama 2", {"add_prefix_space": True}, "tokenizers have no setting 'add_prefix_space'"),
        ("gpt json", {"add_bos": True}, "tokenizers have no setting 'add_bos'"),
        ("gpt2 json", {"add_bos": True}, "tokenizers have no setting 'add_bos'; did you mean 'add_bos_token'?"),
    ],
)
def test_settings_are_those_of_the_class(name: str, setting: Any, message: str, folders: dict[str, Path]) -> None:
    with pytest.raises(InputError) as caught:
        BY_NAME[name].cls.from_pretrained(folders[name], **setting)
    assert str(caught.value).startswith(message)


def test_importing_tokenizers_loads_no_library() -> None:
    libraries = {"tokenizers", "torch", "numpy", "transformers"}
    code = f"import sys, modeloutputs.tokenizers; print({libraries} & {{*sys.modules}})"
    assert run_code(code) == "set()"
