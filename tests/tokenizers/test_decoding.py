"""From ids to text: special tokens left out, spaces cleaned up; the same piece by piece."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeloutputs.tokenizers import BertTokenizer, GPT2Tokenizer, LlamaTokenizer, TextStream
from modeloutputs.tokenizers.decoding import clean_up, split_clean

from .tiny import BY_NAME, LLAMA2_CONFIG, SPECIAL, llama2_older_bpe, load_peer, peer, write_config, write_vocabulary

WORDS = ["don", "'", "t", ".", "i", "m", "?", "!", ",", "she", "s", "n", "ve"]
TEXT = "don't. i'm, she's? i've! ' don n't ' ' ."


@pytest.fixture(name="cleaning", scope="module")
def fixture_cleaning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cleaning")
    return write_vocabulary(folder, [*SPECIAL, *WORDS], clean_up_tokenization_spaces=True)


def test_spaces_are_cleaned_up_as_in_the_peer(cleaning: Path, tmp_path: Path) -> None:
    ours, theirs = BertTokenizer.from_pretrained(cleaning), peer(cleaning)
    ids = ours(TEXT).input_ids
    assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)
    assert ours.batch_decode([ids, ids[:4]]) == theirs.batch_decode([ids, ids[:4]])
    for asked in (True, False):
        said = [it.decode(ids, clean_up_tokenization_spaces=asked) for it in (ours, theirs)]
        assert said[0] == said[1]
    assert ours.decode(ours("don't").input_ids, skip_special_tokens=True) == "don't"
    ours.save_pretrained(tmp_path)
    assert BertTokenizer.from_pretrained(tmp_path).clean_up_tokenization_spaces
    off = BertTokenizer.from_pretrained(tmp_path, clean_up_tokenization_spaces=False)
    assert off.decode(ours("don't").input_ids, skip_special_tokens=True) == "don ' t"


def test_spaces_of_a_byte_pair_encoding_are_the_texts_own(folders: dict[str, Path]) -> None:
    ours, theirs = BY_NAME["gpt2 json"].both(folders["gpt2 json"], clean_up_tokenization_spaces=True)
    ids = ours("a . b").input_ids
    assert ours.decode(ids) == theirs.decode(ids) == "a . b"


def test_a_stream_cleans_up_as_decoding_does(cleaning: Path) -> None:
    tokenizer = BertTokenizer.from_pretrained(cleaning)
    ids = tokenizer(TEXT).input_ids
    stream = TextStream(tokenizer, skip_special_tokens=True)
    pieces = [stream.push(i) for i in ids]
    assert "".join([*pieces, stream.finish()]) == tokenizer.decode(ids, skip_special_tokens=True)
    assert any(pieces)


@given(st.text(alphabet=" '.?!,ntmsvrex", max_size=30), st.integers(0, 30))
def test_a_text_can_be_cleaned_up_in_parts(text: str, at: int) -> None:
    ready, rest = split_clean(text[:at])
    assert ready + rest == text[:at]
    assert clean_up(ready) + clean_up(rest + text[at:]) == clean_up(text)


def test_special_tokens_that_are_normalized_are_left_out(tmp_path: Path) -> None:
    """As of Yi and Vicuna, where the library itself overlooks them."""
    state = json.loads(llama2_older_bpe().to_str())
    for token in state["added_tokens"]:
        token["normalized"] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    tokenizer = LlamaTokenizer.from_pretrained(write_config(tmp_path, **LLAMA2_CONFIG))
    ids = [*tokenizer("hello").input_ids, tokenizer.eos_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "hello"
    assert tokenizer.convert_ids_to_tokens(ids, skip_special_tokens=True) == ["▁hello"]
    stream = TextStream(tokenizer, skip_special_tokens=True)
    assert "".join([*map(stream.push, [i for i in ids if i is not None]), stream.finish()]) == "hello"


def test_one_id_is_decoded(folders: dict[str, Path]) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(folders["gpt2 json"])
    theirs = load_peer("GPT2Tokenizer", folders["gpt2 json"])
    assert tokenizer.decode(5) == theirs.decode(5) == tokenizer.decode([5])
    tokens = ["a", "Ġb", "Ã", "©"]
    assert tokenizer.convert_tokens_to_string(tokens) == theirs.convert_tokens_to_string(tokens) == "a bé"
