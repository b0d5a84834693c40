"""Calling a tokenizer: pairs, batches, padding, truncation against the reference implementation; what it refuses."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeloutputs.errors import InputError, UsageError
from modeloutputs.tokenizers import BertTokenizer, GPT2Tokenizer

from .tiny import (
    BATCH,
    BY_NAME,
    KINDS,
    OTHERS,
    TEXTS,
    VOCABULARY,
    Kind,
    Pair,
    any_text,
    assert_same,
    every_text,
    likely_text,
    peer,
    write_vocabulary,
)


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


def test_encode_gives_ids_alone(both: Pair) -> None:
    ours, theirs = both
    assert ours.encode("Hello world", "a") == theirs.encode("Hello world", "a")
    assert ours.encode("hello", add_special_tokens=False) == theirs.encode("hello", add_special_tokens=False)


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


def test_a_padding_token_that_the_vocabulary_lacks_is_added(tmp_path: Path) -> None:
    BertTokenizer.from_pretrained(write_vocabulary(tmp_path)).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "<nothing>"}')
    tokenizer = BertTokenizer.from_pretrained(tmp_path)
    assert tokenizer("a").input_ids == [2, VOCABULARY.index("a"), 3]
    assert tokenizer(["a", "a b"], padding=True).input_ids[0][-1] == tokenizer.pad_token_id == len(VOCABULARY)


@pytest.mark.parametrize("padding", [True, "longest"])
@pytest.mark.parametrize("texts", ["a", ["a", "b"]])
def test_padding_without_a_padding_token_is_refused(padding: Any, texts: Any, folders: dict[str, Path]) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(folders["gpt2 json"])
    with pytest.raises(InputError) as caught:
        tokenizer(texts, padding=padding)
    assert str(caught.value) == (
        "padding was asked for, and the tokenizer has no padding token; set one, such as "
        "tokenizer.pad_token = '<|endoftext|>', or pass pad_token to from_pretrained"
    )


# -- every kind against the peer's --------------------------------------------------------------------------------


@every_text
def test_a_text_gives_the_peers_numbers(text: str, pair: Pair) -> None:
    for special in (True, False):
        assert_same(pair, text, add_special_tokens=special)
    ours, theirs = pair
    assert ours.tokenize(text) == theirs.tokenize(text)
    assert dict(ours(text)) == dict(theirs(text))
    assert ours(text).word_ids() == theirs(text).word_ids()


@settings(deadline=None, max_examples=50)
@given(text=any_text | likely_text, other=st.none() | any_text | likely_text, name=st.sampled_from([*BY_NAME]))
def test_any_text_gives_the_peers_numbers(text: str, other: str | None, name: str, pairs: dict[str, Pair]) -> None:
    assert_same(pairs[name], [text], other if other is None else [other])


@pytest.fixture(name="pairs", scope="module")
def fixture_pairs(folders: dict[str, Path]) -> dict[str, Pair]:
    return {kind.name: kind.both(folders[kind.name], **kind.pad) for kind in KINDS}


def test_pairs_and_batches_give_the_peers_numbers(pair: Pair) -> None:
    assert_same(pair, BATCH)
    assert_same(pair, BATCH, OTHERS)
    assert_same(pair, "Hello, world!", "hello")
    ours, theirs = (tokenizer("Hello, world!", "hello").sequence_ids() for tokenizer in pair)
    assert ours == theirs


@pytest.mark.parametrize("side", ["left", "right", None])
@pytest.mark.parametrize(
    "options",
    [
        {"padding": True},
        {"padding": True, "pad_to_multiple_of": 8},
        {"padding": "max_length", "max_length": 60},
        {"padding": "max_length", "max_length": 6, "truncation": True},
        {"padding": True, "max_length": 8, "truncation": True},
    ],
    ids=str,
)
def test_padding_either_side_gives_the_peers_numbers(
    options: dict[str, Any], side: Any, kind: Kind, pair: Pair
) -> None:
    if side is None and kind.name.startswith("llama") and kind.peer != "LlamaTokenizer":
        side = "left"  # the peer's class for any tokenizer.json pads on the right
    assert_same(pair, BATCH, padding_side=side, **options)
    assert_same(pair, BATCH, OTHERS, padding_side=side, **options)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("strategy", ["longest_first", "only_first"])
def test_truncation_of_either_side_gives_the_peers_numbers(
    side: Any, strategy: Any, kind: Kind, folders: dict[str, Path]
) -> None:
    pair = kind.both(folders[kind.name], truncation_side=side)
    long = ["Hello, world! This is a test. " * 5, "中文 😀 " * 9]
    assert_same(pair, long, truncation=strategy, max_length=7)
    assert_same(pair, long, ["a", "hello"], truncation=strategy, max_length=19)


def test_split_words_give_the_peers_numbers(pair: Pair) -> None:
    words, others = ["Hello,", "wörld", "", "unaffable", "中文"], ["a", "b!"]
    if pair[0].backend.decode(pair[1]([["x", "x"]], is_split_into_words=True)["input_ids"][0]) == "xx":
        with pytest.raises(InputError) as caught:
            pair[0](words, is_split_into_words=True)
        advice = "" if pair[0].model_type == "llama" else "load it with add_prefix_space=True, or "
        assert str(caught.value) == (
            "is_split_into_words was asked for, and this tokenizer would join the words ['x', 'x'] into 'xx'; "
            f"{advice}pass ' '.join(words)"
        )
        return
    assert_same(pair, words, is_split_into_words=True)
    assert_same(pair, [words, others], [others, words], is_split_into_words=True)


def test_what_is_returned_is_what_the_class_or_the_configuration_says(folders: dict[str, Path]) -> None:
    for kind in KINDS:
        names = ["input_ids", *(["token_type_ids"] if kind.name == "bert" else []), "attention_mask"]
        assert list(kind.cls.from_pretrained(folders[kind.name])("a")) == names


def test_a_configuration_can_name_what_is_returned(tmp_path: Path) -> None:
    write_vocabulary(tmp_path, model_input_names=["input_ids", "attention_mask"])
    tokenizer = BertTokenizer.from_pretrained(tmp_path)
    assert dict(tokenizer("a")) == dict(peer(tmp_path)("a")) == {"input_ids": [2, 17, 3], "attention_mask": [1, 1, 1]}
    assert tokenizer("a", return_token_type_ids=True).token_type_ids == [0, 0, 0]


# -- windows, targets, options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [0, 2])
@pytest.mark.parametrize("side", ["right", "left"])
def test_what_is_cut_off_comes_as_further_rows_as_in_the_peer(
    side: Any, stride: int, kind: Kind, folders: dict[str, Path]
) -> None:
    pair = kind.both(folders[kind.name], **kind.pad, truncation_side=side, padding_side="right")
    long = ["Hello, world! This is a test. " * 3, "a", "a b c " * 9]
    options: Any = {"max_length": 11, "stride": stride, "return_overflowing_tokens": True}
    assert_same(pair, long, truncation=True, padding=True, **options)
    assert_same(pair, long[0], truncation=True, **options)
    assert_same(pair, long, ["hello"] * 3, truncation="only_first", **{**options, "max_length": 16})
    ours, theirs = (it(long, truncation=True, **options, return_offsets_mapping=True) for it in pair)
    assert ours.overflow_to_sample_mapping == theirs["overflow_to_sample_mapping"]
    for row in range(len(ours.input_ids)):
        assert ours.word_ids(row) == theirs.word_ids(row)
        assert ours.char_to_token(row, 3) == theirs.char_to_token(row, 3)


def test_windows_as_arrays(tiny: BertTokenizer) -> None:
    options: Any = {"truncation": True, "max_length": 4, "stride": 1, "padding": True, "return_tensors": "np"}
    encoding = tiny(["a b c a b c", "a"], return_overflowing_tokens=True, **options)
    assert encoding.overflow_to_sample_mapping.tolist() == [0, 0, 0, 0, 0, 1]
    assert encoding.input_ids.shape == (6, 4)


def test_a_target_becomes_labels_as_in_the_peer(pair: Pair) -> None:
    options: Any = {"truncation": True, "max_length": 6}
    both = [it(["hello world, a", "a"], text_target=["a b c a b c", "b"], **options) for it in pair]
    assert dict(both[0]) == dict(both[1])
    assert "labels" in both[0]
    both = [it(text_target="a b c a b c", max_target_length=3, **options) for it in pair]
    assert dict(both[0]) == dict(both[1])
    assert len(both[0].input_ids) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": -1}, "stride is -1; expected a number of tokens from 0"),
        ({"stride": True}, "stride is True; expected a number of tokens from 0"),
        (
            {"stride": 2, "max_length": 4, "truncation": True},
            "stride is 2, and max_length 4 leaves 2 tokens of text in",
        ),
        ({"max_length": True}, "max_length is True; expected a positive integer or None"),
        ({"return_offset_mapping": True}, "calling a tokenizer has no option 'return_offset_mapping'; did you mean"),
    ],
)
def test_further_options_that_cannot_be(options: Any, message: str, tiny: BertTokenizer) -> None:
    with pytest.raises((InputError, UsageError)) as caught:
        tiny("a b c", **options)
    assert str(caught.value).startswith(message)


def test_words_are_taken_apart_where_a_space_is_put_before_each(folders: dict[str, Path]) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(folders["gpt2 json"], add_prefix_space=True)
    ids = tokenizer(["the", "cat"], is_split_into_words=True).input_ids
    assert tokenizer.decode(ids) == " the cat"


def test_special_tokens_in_a_text_can_be_split(kind: Kind, folders: dict[str, Path], tmp_path: Path) -> None:
    both = kind.both(folders[kind.name], split_special_tokens=True)
    token = both[0].all_special_tokens[0]
    assert_same(both, f"a{token} b")
    both[0].save_pretrained(tmp_path)
    for again in kind.both(tmp_path):
        assert again(f"a{token} b")["input_ids"] == both[0](f"a{token} b").input_ids
