"""Padding of rows that are ids already: the peer's numbers, and the peer's collators with our tokenizers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeloutputs.errors import InputError
from modeloutputs.tokenizers import BertTokenizer, GPT2Tokenizer

from .tiny import Kind, Pair, peer, write_vocabulary

TEXTS = ["hello world, hello", "a", "a b c"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "max_length", "max_length": 12},
        {"pad_to_multiple_of": 8},
        {"padding_side": "left"},
        {"padding": False},
        {"return_attention_mask": False},
        {"return_tensors": "np"},
    ],
    ids=str,
)
def test_rows_are_padded_as_the_peers_are(options: Any, pair: Pair) -> None:
    ours, theirs = pair
    options = {"padding_side": "right", **options}
    rows = [dict(theirs(text, return_special_tokens_mask=True)) for text in TEXTS]
    if "return_attention_mask" in options:  # the peer leaves a mask that comes in ragged then
        rows = [{"input_ids": row["input_ids"]} for row in rows]
    for form in (lambda: [dict(row) for row in rows], lambda: {name: [row[name] for row in rows] for name in rows[0]}):
        same(ours.pad(form(), **options), theirs.pad(form(), **options))
    bare = [{"input_ids": row["input_ids"], "labels": i} for i, row in enumerate(rows)]
    same(ours.pad([dict(row) for row in bare], **options), theirs.pad([dict(row) for row in bare], **options))
    same(
        ours.pad(dict(rows[0]), "max_length", 30, padding_side="left"),
        theirs.pad(dict(rows[0]), "max_length", 30, padding_side="left"),
    )


def same(ours: Any, theirs: Any) -> None:
    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, np.ndarray) else value

    assert {name: plain(value) for name, value in ours.items()} == {name: plain(it) for name, it in theirs.items()}
    assert {name: type(value) for name, value in ours.items()} == {name: type(it) for name, it in theirs.items()}


def test_arrays_stay_arrays(tiny: BertTokenizer) -> None:
    rows = [{"input_ids": np.array(tiny(text).input_ids), "labels": 0.5} for text in TEXTS]
    padded = tiny.pad(rows)
    assert padded.input_ids.dtype == padded.attention_mask.dtype == np.int64
    assert padded.labels.dtype == np.float32
    assert padded.input_ids.tolist() == tiny(TEXTS, padding=True).input_ids
    assert padded.labels.tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "a list cannot be padded; expected a mapping or a list of such"),
        ("text", "a str cannot be padded"),
        ([{"labels": 1}], "rows to pad need input_ids; there are labels"),
        ([{"input_ids": [1], "labels": 1}, {"input_ids": [1]}], "some rows have 'labels' and some have not"),
        ({"input_ids": [[1], [1]], "labels": [1]}, "labels has 1 rows, and input_ids 2"),
    ],
)
def test_what_cannot_be_padded_is_refused(inputs: Any, message: str, tiny: BertTokenizer) -> None:
    with pytest.raises(InputError) as caught:
        tiny.pad(inputs)
    assert str(caught.value).startswith(message)


def test_labels_of_different_lengths_are_no_array(tiny: BertTokenizer) -> None:
    rows = [{"input_ids": [1, 2], "labels": [1]}, {"input_ids": [1], "labels": [1, 2]}]
    with pytest.raises(InputError, match=r"^labels has rows of different lengths and cannot be one array$"):
        tiny.pad(rows, return_tensors="np")


def test_padding_needs_a_token(folders: dict[str, Path]) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(folders["gpt2 json"])
    assert tokenizer.pad([{"input_ids": [1]}, {"input_ids": [2]}]).input_ids == [[1], [2]]
    with pytest.raises(InputError, match="the tokenizer has no padding token; set one"):
        tokenizer.pad([{"input_ids": [1]}, {"input_ids": [2, 3]}])


# -- collators ------------------------------------------------------------------------------------------------------


def test_the_peers_padding_collator_takes_our_tokenizers(kind: Kind, folders: dict[str, Path]) -> None:
    pytest.importorskip("torch")
    collator = pytest.importorskip("transformers").DataCollatorWithPadding
    both = kind.both(folders[kind.name], **kind.pad, padding_side="left")
    ours, theirs = (collator(it)([{**it(text), "label": 1} for text in TEXTS]) for it in both)
    assert {name: value.tolist() for name, value in ours.items()} == {name: it.tolist() for name, it in theirs.items()}


def test_the_peers_masking_collator_takes_our_tokenizer(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    collator = pytest.importorskip("transformers").DataCollatorForLanguageModeling
    folder = write_vocabulary(tmp_path)
    batches = []
    for tokenizer in (BertTokenizer.from_pretrained(folder), peer(folder)):
        torch.manual_seed(0)
        batches.append(collator(tokenizer, mlm_probability=0.5)([tokenizer(text) for text in TEXTS]))
    ours, theirs = batches
    assert {name: value.tolist() for name, value in ours.items()} == {name: it.tolist() for name, it in theirs.items()}
    assert (ours["labels"] != -100).any()
