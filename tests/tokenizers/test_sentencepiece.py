"""SentencePiece's tokenizer.model: the ids that SentencePiece itself gives, and files that are none."""

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeloutputs.errors import FileFormatError
from modeloutputs.tokenizers import LlamaTokenizer, load_tokenizer

from .tiny import CORPUS, TEXTS, any_text, write_config

library = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")

KINDS: dict[str, dict[str, Any]] = {
    "as Llama 2": {"model_type": "bpe", "byte_fallback": True, "remove_extra_whitespaces": False},
    "bpe": {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc"},
    "unigram": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc", "byte_fallback": True},
    "no space before": {"model_type": "bpe", "add_dummy_prefix": False, "byte_fallback": True},
}


@pytest.fixture(name="trained", scope="module", params=KINDS)
def fixture_trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Give a model of SentencePiece, and our tokenizer of the same file."""
    options: dict[str, Any] = {
        "normalization_rule_name": "identity",
        "character_coverage": 0.98,
        **KINDS[request.param],
    }
    file = io.BytesIO()
    texts = [*CORPUS, "a  b   c    d"] * 2
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=file,
        vocab_size=900,
        hard_vocab_limit=False,
        minloglevel=3,
        **options,
    )
    folder = tmp_path_factory.mktemp("sentencepiece")
    (folder / "tokenizer.model").write_bytes(file.getvalue())
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return library.SentencePieceProcessor(model_proto=file.getvalue()), load_tokenizer(folder)


def same(trained: tuple[Any, Any], text: str) -> None:
    theirs, ours = trained
    assert ours.encode(text, add_special_tokens=False) == theirs.encode(text), text


def ordinary(text: str) -> bool:
    # SentencePiece takes these for what they stand for inside
    return not any(it in text for it in ("\0", "▁", "<s>", "</s>", "<unk>", "<0x"))


def test_texts_get_the_ids_that_sentencepiece_gives_them(trained: tuple[Any, Any]) -> None:
    for text in (*TEXTS.values(), "a  b", "   lead", "trail   ", "a\nb", "x" * 50, "aaaa aaa"):
        if (
            ordinary(text) and len(text) < 200
        ):  # in long runs of one letter, a unigram's best cut is a matter of rounding
            same(trained, text)


likely = st.lists(st.sampled_from(["a", "b", "he", "llo", " ", "  ", "the", "re", "é", "中", "1"]), max_size=12).map(
    "".join
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=(any_text | likely).filter(ordinary))
def test_any_texts_do(text: str, trained: tuple[Any, Any]) -> None:
    same(trained, text)


def test_what_decoding_gives_is_the_text(trained: tuple[Any, Any]) -> None:
    theirs, ours = trained
    for text in ("hello there", "a  b", "Café", "3.14 x"):
        ids = theirs.encode(text)
        assert ours.decode([ours.bos_token_id, *ids], skip_special_tokens=True) == theirs.decode(ids)


def test_special_tokens_stand_where_llama_has_them(trained: tuple[Any, Any], tmp_path: Path) -> None:
    theirs, ours = trained
    assert ours("a").input_ids == [theirs.bos_id(), *theirs.encode("a")]
    assert (ours.bos_token, ours.eos_token, ours.unk_token) == ("<s>", "</s>", "<unk>")
    assert ours.encode("a</s>", add_special_tokens=False) == [*theirs.encode("a"), theirs.eos_id()]
    ours.save_pretrained(tmp_path)
    again = LlamaTokenizer.from_pretrained(tmp_path)
    for text in TEXTS.values():
        assert again(text).input_ids == ours(text).input_ids
        assert again.decode(again(text).input_ids) == ours.decode(ours(text).input_ids)


@pytest.fixture(name="simple", scope="module")
def fixture_simple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=file, vocab_size=700, hard_vocab_limit=False, minloglevel=3,
        **{**KINDS["as Llama 2"], "normalization_rule_name": "identity", "character_coverage": 0.98},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("simple")
    (folder / "tokenizer.model").write_bytes(file.getvalue())
    return folder


def test_user_defined_symbols_are_tokens_of_the_text(tmp_path: Path) -> None:
    file = io.BytesIO()
    options = {**KINDS["as Llama 2"], "user_defined_symbols": ["<sep>"], "character_coverage": 0.98}
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=file,
        vocab_size=700,
        hard_vocab_limit=False,
        minloglevel=3,
        **options,
    )
    (tmp_path / "tokenizer.model").write_bytes(file.getvalue())
    ours, theirs = LlamaTokenizer.from_pretrained(tmp_path), library.SentencePieceProcessor(model_proto=file.getvalue())
    assert ours.encode("hello<sep>", add_special_tokens=False) == theirs.encode("hello<sep>")
    ids = ours("hello<sep> there").input_ids
    assert ours.convert_tokens_to_ids("<sep>") in ids
    assert "<sep>" in ours.decode(ids, skip_special_tokens=True)


def test_the_settings_beside_it_count(simple: Path, tmp_path: Path) -> None:
    plain = LlamaTokenizer(simple / "tokenizer.model")
    both = LlamaTokenizer(vocab_file=str(simple / "tokenizer.model"), add_bos_token=False, add_eos_token=True)
    assert both("a").input_ids == [*plain("a").input_ids[1:], both.eos_token_id]
    (tmp_path / "tokenizer.model").write_bytes((simple / "tokenizer.model").read_bytes())
    newer = LlamaTokenizer.from_pretrained(write_config(tmp_path, legacy=False))
    assert plain.tokenize("a</s>b") == ["▁a", "</s>", "▁b"]
    assert newer.tokenize("a</s>b") == ["▁a", "</s>", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a SentencePiece model: it has no piece for what is unknown"),
        (b"\xff" * 30, "is not a SentencePiece model: a number has no end"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a Git LFS pointer"),
        (b"\x0a\x05\x0a\x03<s>", None),
        (b"\x0a\x05\x0a\x03<s", "is not a SentencePiece model: a field is cut off"),
        (b"IQ== 0\nIg== 1\n", "is not a SentencePiece model"),
    ],
    ids=["empty", "noise", "pointer", "one piece", "cut off", "tiktoken"],
)
def test_files_that_are_no_model(content: bytes, message: str | None, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    if message is None:
        assert len(LlamaTokenizer.from_pretrained(tmp_path)) >= 1
        return
    with pytest.raises(FileFormatError) as caught:
        LlamaTokenizer.from_pretrained(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_of_words_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=file, vocab_size=40, model_type="word", minloglevel=3,
        hard_vocab_limit=False,
    )  # fmt: skip
    (tmp_path / "tokenizer.model").write_bytes(file.getvalue())
    with pytest.raises(
        FileFormatError, match=r"is a SentencePiece model of words or characters; BPE and unigram are read$"
    ):
        LlamaTokenizer.from_pretrained(tmp_path)
