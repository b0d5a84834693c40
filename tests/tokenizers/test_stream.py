"""Text of ids as they come: the pieces are the whole's, no character is halved, and no work is done twice."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modeloutputs.errors import InputError
from modeloutputs.tokenizers import BertTokenizer, GPT2Tokenizer, LlamaTokenizer, PreTrainedTokenizer, TextStream

from .tiny import KINDS, TEXTS, chunks, every_text, llama2_bpe


@pytest.fixture(name="tokenizers", scope="module")
def fixture_tokenizers(folders: dict[str, Path]) -> dict[str, PreTrainedTokenizer]:
    return {kind.name: kind.cls.from_pretrained(folders[kind.name]) for kind in KINDS}


def stream(tokenizer: PreTrainedTokenizer, pieces: Any, skip: bool = False) -> list[str]:
    """Return what each push returned, and what finishing did."""
    it = TextStream(tokenizer, skip_special_tokens=skip)
    return [*(it.push(piece) for piece in pieces), it.finish()]


# -- the pieces are the whole's -----------------------------------------------------------------------------------

NAMES = [kind.name for kind in KINDS]


@settings(deadline=None, max_examples=400)
@given(
    name=st.sampled_from(NAMES),
    numbers=st.lists(st.integers(0, 430) | st.integers(0, 10) | st.integers(3, 258), max_size=40),
    sizes=st.lists(st.integers(0, 5), max_size=20),
    skip=st.booleans(),
)
def test_pieces_of_any_ids_are_the_text_of_all(
    name: str, numbers: list[int], sizes: list[int], skip: bool, tokenizers: dict[str, PreTrainedTokenizer]
) -> None:
    tokenizer = tokenizers[name]
    assert "".join(stream(tokenizer, numbers, skip)) == tokenizer.decode(numbers, skip_special_tokens=skip)
    pieces = stream(tokenizer, chunks(numbers, sizes), skip)
    assert "".join(pieces) == tokenizer.decode(numbers, skip_special_tokens=skip)


@settings(deadline=None, max_examples=100)
@given(numbers=st.lists(st.integers(0, 430), max_size=20), form=st.sampled_from(["metaspace", "none"]))
def test_pieces_of_other_decoders_are_the_text_of_all(
    numbers: list[int], form: str, other_decoders: dict[str, PreTrainedTokenizer]
) -> None:
    tokenizer = other_decoders[form]
    assert "".join(stream(tokenizer, numbers)) == tokenizer.decode(numbers)


@pytest.fixture(name="other_decoders", scope="module")
def fixture_other_decoders() -> dict[str, PreTrainedTokenizer]:
    """Give tokenizers that decode each token by itself, the first one otherwise, or that have no decoder."""
    library = pytest.importorskip("tokenizers")
    meta, none = (library.Tokenizer.from_str(llama2_bpe().to_str()) for _ in range(2))
    meta.decoder, none.decoder = library.decoders.Metaspace(), None
    return {"metaspace": LlamaTokenizer(meta), "none": LlamaTokenizer(none)}


BYTES = st.sampled_from(
    [0x00, 0x41, 0x7F, 0x80, 0x98, 0x9F, 0xA0, 0xBF, 0xC0, 0xC3, 0xE2, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xFF]
)
characters = st.characters(codec="utf-8").map(lambda it: list(it.encode()))
bits = st.lists(characters | characters.map(lambda it: it[:-1]) | st.lists(BYTES | st.none(), max_size=3), max_size=20)


@settings(deadline=None, max_examples=300)
@given(bits=bits)
@example(bits=[[0xF0, 0x9F], [0x98], [0x80], [0x80], [0xED], [0xA0], [0x80], [0xEF, 0xBF, 0xBD]])
@example(bits=[[0xFF]] * 30)
def test_pieces_of_any_bytes_are_the_text_of_all(bits: list[Any], tokenizers: dict[str, PreTrainedTokenizer]) -> None:
    """Bytes in any order, valid or not; None is a token that is no single byte."""
    for name, token_of, other in (
        ("llama 2", lambda byte: f"<0x{byte:02X}>", "▁a"),
        ("gpt2 json", byte_token, "<|endoftext|>"),
    ):
        tokenizer = tokenizers[name]
        tokens = [other if byte is None else token_of(byte) for some in bits for byte in some]
        ids = tokenizer.convert_tokens_to_ids(tokens)
        for skip in (True, False):
            assert "".join(stream(tokenizer, ids, skip)) == tokenizer.decode(ids, skip_special_tokens=skip)


def byte_token(byte: int) -> str:
    """Return the character that stands for a byte in GPT-2's vocabulary: its own if that is printable, else another."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return chr(byte) if byte in printable else chr(256 + [it for it in range(256) if it not in printable].index(byte))


@every_text
def test_pieces_of_a_text_are_the_text(text: str, tokenizers: dict[str, PreTrainedTokenizer]) -> None:
    for tokenizer in tokenizers.values():
        ids = tokenizer(text).input_ids
        for skip in (True, False):
            assert "".join(stream(tokenizer, ids, skip)) == tokenizer.decode(ids, skip_special_tokens=skip)


# -- what comes when ----------------------------------------------------------------------------------------------


def test_words_of_llama_come_with_their_spaces_as_soon_as_they_are_there(tokenizers: dict[str, Any]) -> None:
    for name in ("llama 2", "llama 2, older"):
        tokenizer = tokenizers[name]
        ids = tokenizer.convert_tokens_to_ids(["▁a", "▁b", "c", "▁", "▁d"])
        assert stream(tokenizer, ids) == ["a", " b", "c", " ", " d", ""]


def test_pieces_of_bert_and_gpt_are_joined_into_words(tiny: BertTokenizer, tokenizers: dict[str, Any]) -> None:
    assert stream(tiny, tiny("unaffable!", add_special_tokens=False).input_ids) == ["un", "aff", "able", "!", ""]
    gpt = tokenizers["gpt json"]
    words = gpt("hello a b").input_ids
    assert stream(gpt, words)[-3:] == [" a", " b", ""]


@pytest.mark.parametrize("text", ["é", "€", "😀", "👍🏽", "a😀b"])
def test_no_character_is_halved(text: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["gpt2 json"]
    ids = tokenizer.convert_tokens_to_ids([byte_token(byte) for byte in text.encode()])
    pieces = stream(tokenizer, ids)
    assert len(pieces) == len(text.encode()) + 1
    assert [piece for piece in pieces if piece] == [*text]
    assert pieces[-1] == ""


def test_bytes_of_llama_2_wait_for_the_next_token(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["llama 2"]
    ids = tokenizer.convert_tokens_to_ids(["▁a", "<0xE2>", "<0x98>", "<0x83>", "▁b"])
    assert stream(tokenizer, ids) == ["a", "", "", "", "☃ b", ""]
    assert stream(tokenizer, ids[:-1]) == ["a", "", "", "", "☃"]
    assert stream(tokenizer, ids[:-2]) == ["a", "", "", "\ufffd\ufffd"]


def test_special_tokens_can_be_left_out(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["llama 2"]
    ids = tokenizer.convert_tokens_to_ids(["<s>", "▁a", "</s>", "▁b"])
    assert stream(tokenizer, ids, skip=True) == ["", "a", "", " b", ""]
    assert stream(tokenizer, ids) == ["<s>", " a", "</s>", " b", ""]


def test_text_that_continues_a_prompt_has_its_space(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["llama 2"]
    it = TextStream(tokenizer, skip_special_tokens=True)
    assert it.push(tokenizer("a b").input_ids) == "a b"
    assert it.push(tokenizer.convert_tokens_to_ids(["▁c"])) == " c"


def test_a_finished_stream_starts_anew(tokenizers: dict[str, Any]) -> None:
    tokenizer: GPT2Tokenizer = tokenizers["gpt2 json"]
    euro = tokenizer.convert_tokens_to_ids([byte_token(byte) for byte in "€".encode()])
    it = TextStream(tokenizer)
    assert (it.push(euro[:2]), it.finish(), it.finish()) == ("", "\ufffd", "")
    assert (it.push(euro[2]), it.push(euro), it.finish()) == ("", "\ufffd€", "")


def test_ids_may_come_as_any_integers(tokenizers: dict[str, Any]) -> None:
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch", reason="PyTorch is not installed")
    tokenizer = tokenizers["gpt2 json"]
    ids = tokenizer("hello there").input_ids
    for form in (np.array(ids), torch.tensor(ids), iter(ids), tuple(ids)):
        assert TextStream(tokenizer).push(form) == "hello there"
    for form in (np.array(ids), torch.tensor(ids)):
        assert "".join(stream(tokenizer, form)) == "hello there"


@pytest.mark.parametrize("wrong", [-1, -100, 2**32])
def test_numbers_that_are_no_ids_are_refused(wrong: int, tiny: BertTokenizer) -> None:
    it = TextStream(tiny)
    with pytest.raises(InputError, match=f"^{wrong} is not a token id"):
        it.push(wrong)
    assert it.push([99_999]) == ""
    assert it.push(5) == "hello"


# -- no work twice ------------------------------------------------------------------------------------------------


class Counting(LlamaTokenizer):
    """Counts the ids that it decodes."""

    decoded = 0

    def decode(self, token_ids: Any, *options: Any, **named: Any) -> str:
        numbers = list(token_ids)
        self.decoded += len(numbers)
        return super().decode(numbers, *options, **named)


@pytest.mark.parametrize("name", ["llama 2", "llama 3"])
@pytest.mark.parametrize("kind", ["text", "bytes that are no text", "snowmen"])
def test_work_is_in_proportion_to_the_ids(name: str, kind: str, folders: dict[str, Path]) -> None:
    tokenizer = Counting.from_pretrained(folders[name])
    token_of = byte_token if name == "llama 3" else lambda byte: f"<0x{byte:02X}>"
    content = {"text": b"", "bytes that are no text": b"\xff\x80" * 500, "snowmen": "☃".encode() * 500}[kind]
    ids = (
        tokenizer.convert_tokens_to_ids([token_of(byte) for byte in content]) or tokenizer(TEXTS["very long"]).input_ids
    )
    stream(tokenizer, ids)
    assert len(ids) >= 1000
    assert tokenizer.decoded <= 10 * len(ids)
