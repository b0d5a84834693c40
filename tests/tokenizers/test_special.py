"""Special tokens as attributes: read, set, saved."""

from pathlib import Path

import pytest

from modeloutputs.errors import InputError
from modeloutputs.tokenizers import BartTokenizer, BertTokenizer, GPT2Tokenizer

from .tiny import BY_NAME, Kind, Pair, load_peer


def test_special_tokens_are_attributes(both: Pair) -> None:
    for name in ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token"):
        assert getattr(both[0], name) == getattr(both[1], name)
        assert getattr(both[0], f"{name}_id") == getattr(both[1], f"{name}_id")
    assert both[0].bos_token is both[0].bos_token_id is both[1].bos_token_id is None


def test_what_is_no_special_token_is_no_attribute(tiny: BertTokenizer) -> None:
    with pytest.raises(AttributeError, match="'BertTokenizer' object has no attribute 'begin_token'"):
        _ = tiny.begin_token  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]


def test_a_padding_token_can_be_set(kind: Kind, folders: dict[str, Path], tmp_path: Path) -> None:
    both = kind.both(folders[kind.name])
    name = "eos_token" if both[0].eos_token else "unk_token"
    for tokenizer in both:
        tokenizer.pad_token = getattr(tokenizer, name)
        tokenizer.padding_side = "left"
    ours, theirs = both
    texts = ["hello", "hello there, world"]
    assert dict(ours(texts, padding=True)) == dict(theirs(texts, padding=True))
    assert ours.pad_token_id == getattr(ours, f"{name}_id") is not None
    ours.save_pretrained(tmp_path)
    for again in kind.both(tmp_path):
        assert again.pad_token == ours.pad_token
        assert dict(again(texts, padding=True)) == dict(ours(texts, padding=True))


def test_a_special_token_can_be_set_by_id_and_taken_away(folders: dict[str, Path]) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(folders["gpt2 json"])
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == (None, None)
    tokenizer.pad_token_id = tokenizer.eos_token_id
    assert tokenizer.pad_token == "<|endoftext|>"
    tokenizer.pad_token = None
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == (None, None)
    tokenizer.pad_token_id = None
    assert tokenizer.special_tokens_map.keys() == {"unk_token", "bos_token", "eos_token"}


def test_an_ordinary_token_that_is_set_becomes_special(folders: dict[str, Path]) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(folders["gpt2 json"])
    size = len(tokenizer)
    assert tokenizer.decode(tokenizer("a#b").input_ids, skip_special_tokens=True) == "a#b"
    tokenizer.mask_token = "#"
    assert tokenizer.decode(tokenizer("a#b").input_ids, skip_special_tokens=True) == "ab"
    assert len(tokenizer) == size


def test_a_described_token_can_be_passed(folders: dict[str, Path]) -> None:
    library = pytest.importorskip("tokenizers")
    mask = library.AddedToken("#", lstrip=True, special=True, normalized=False)
    tokenizer = GPT2Tokenizer.from_pretrained(folders["gpt2 json"], mask_token=mask)
    assert tokenizer.convert_ids_to_tokens(tokenizer("a #b").input_ids) == ["a", "#", "b"]
    assert tokenizer.mask_token == "#"


def test_tokens_that_the_vocabulary_lacks_cannot_be_set(folders: dict[str, Path]) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(folders["gpt2 json"])
    with pytest.raises(InputError) as caught:
        tokenizer.pad_token = "[PAD]"
    assert str(caught.value) == (
        "pad_token is '[PAD]', which is not in the vocabulary; set it to a token that is, "
        "or add it with add_special_tokens and resize the model's embeddings"
    )
    with pytest.raises(InputError, match=r"^pad_token is 5, which is not in the vocabulary"):
        tokenizer.pad_token = 5  # pyright: ignore[reportAttributeAccessIssue]
    for wrong in (9999, -1, 2**40):
        with pytest.raises(InputError, match=rf"^pad_token_id is {wrong}, which is not in the vocabulary$"):
            tokenizer.pad_token_id = wrong
    assert tokenizer.pad_token is None


def test_setting_a_token_of_one_tokenizer_leaves_others(folders: dict[str, Path]) -> None:
    first, second = (GPT2Tokenizer.from_pretrained(folders["gpt2 json"]) for _ in range(2))
    first.pad_token = "!"
    assert second.pad_token is None
    assert GPT2Tokenizer.pad_token.name == "pad_token"


def test_flags_that_a_file_gives_a_token_are_kept(tmp_path: Path) -> None:
    """A mask that does not take the space before it, as the peer makes one of bare files."""
    folder = BY_NAME["bart"].write(tmp_path)
    (folder / "tokenizer_config.json").unlink()
    theirs = load_peer("BartTokenizer", folder)
    theirs.save_pretrained(tmp_path / "saved")
    ours = BartTokenizer.from_pretrained(tmp_path / "saved")
    assert ours.tokenize("a <mask>") == theirs.tokenize("a <mask>") == ["a", "Ġ", "<mask>"]
