"""Special tokens around ids, as around texts."""

from typing import Any

import pytest

from modeloutputs.errors import InputError
from modeloutputs.tokenizers import BertTokenizer

from .tiny import Kind, Pair

FIRST, SECOND = "hello world, hello", "a b c a b c"


def test_ids_are_framed_as_texts_are(pair: Pair) -> None:
    ours, theirs = pair
    one, two = (theirs(text, add_special_tokens=False)["input_ids"] for text in (FIRST, SECOND))
    for second, ids in ((None, None), (SECOND, two)):
        expected = theirs(FIRST, second, return_token_type_ids=True, return_special_tokens_mask=True)
        assert ours.build_inputs_with_special_tokens(one, ids) == expected["input_ids"]
        assert ours.create_token_type_ids_from_sequences(one, ids) == expected["token_type_ids"]
        assert ours.get_special_tokens_mask(one, ids) == expected["special_tokens_mask"]
        assert ours.num_special_tokens_to_add(ids is not None) == theirs.num_special_tokens_to_add(ids is not None)
        row = expected["input_ids"]
        assert ours.get_special_tokens_mask(row, already_has_special_tokens=True) == theirs.get_special_tokens_mask(
            row, already_has_special_tokens=True
        )
    assert ours.build_inputs_with_special_tokens([], []) == ours("", "").input_ids


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_length": 9},
        {"truncation": "only_second", "max_length": 11},
        {"padding": "max_length", "max_length": 40},
        {"return_token_type_ids": True, "return_special_tokens_mask": True, "return_length": True},
        {"add_special_tokens": False},
    ],
    ids=str,
)
def test_a_row_is_made_of_ids_as_of_texts(options: Any, pair: Pair) -> None:
    ours = pair[0]
    one, two = (ours(text, add_special_tokens=False).input_ids for text in (FIRST, SECOND))
    for texts, ids in (((FIRST,), (one,)), ((FIRST, SECOND), (one, two))):
        if len(texts) == 1 and options.get("truncation") == "only_second":
            continue
        assert ours.prepare_for_model(*ids, **options) == ours(*texts, **options)
    batch = ours.prepare_for_model(one, prepend_batch_axis=True, return_tensors="np")
    assert batch.input_ids.tolist() == [ours(FIRST).input_ids]


def test_what_cannot_be_framed_is_refused(tiny: BertTokenizer) -> None:
    with pytest.raises(InputError, match="a row that has its special tokens was passed with a second text"):
        tiny.get_special_tokens_mask([1], [1], already_has_special_tokens=True)
    with pytest.raises(InputError, match="truncation='only_second' leaves no text in max_length 4; truncate the other"):
        tiny.prepare_for_model([5] * 9, [5], truncation="only_second", max_length=4)
    with pytest.raises(InputError, match="neither max_length nor the tokenizer names a length"):
        tiny.prepare_for_model([5], truncation=True)


def test_the_older_names_of_a_call(kind: Kind, pair: Pair) -> None:
    ours, theirs = pair
    assert ours.encode_plus(FIRST, SECOND) == ours(FIRST, SECOND)
    assert ours.batch_encode_plus([FIRST, SECOND], padding=True) == ours([FIRST, SECOND], padding=True)
    pairs = [(FIRST, SECOND), (SECOND, FIRST)]
    assert dict(ours.batch_encode_plus(pairs)) == dict(call_in_pairs(theirs, pairs))
    assert ours.tokenize(FIRST, SECOND, add_special_tokens=True) == theirs.tokenize(
        FIRST, SECOND, add_special_tokens=True
    )


def call_in_pairs(theirs: Any, pairs: Any) -> Any:
    return theirs([first for first, _ in pairs], [second for _, second in pairs])
