"""Predictions in words, from NumPy's arrays: numbers by hand, special cases."""

from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from modeloutputs import InputError
from modeloutputs.architectures import BertConfig
from modeloutputs.cli import predictions
from modeloutputs.cli.predictions import Example

NAMES = {0: "bad", 1: "good", 2: "odd"}


class Tokenizer:
    mask_token, mask_token_id = "[MASK]", 9

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str | None]:
        return ["abcd"[i] if i < 4 else None for i in ids]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def example(texts: list[str], encoding: Any = None, config: dict[str, Any] | None = None, **fields: Any) -> Any:
    output = {name: np.asarray(value) for name, value in fields.items()}
    return Example(output, encoding, Tokenizer(), BertConfig(id2label=NAMES, **config or {}), texts)  # pyright: ignore


def encoded(ids: list[list[int]], **rows: list[Any]) -> Any:
    encodings = [SimpleNamespace(**dict(zip(rows, values, strict=True))) for values in zip(*rows.values(), strict=True)]
    return SimpleNamespace(input_ids=np.array(ids), attention_mask=(np.array(ids) != 0) * 1, encodings=encodings)


def test_the_likeliest_class_of_a_row():
    logits = np.log([[0.25, 0.5, 0.25], [0.125, 0.125, 0.75]])
    assert predictions.predict_rows(example(["a", "b"], logits=logits)) == ["'a': good (50.0%)", "'b': odd (75.0%)"]
    # Whatever a framework computes in, and however large the logits are.
    large = np.array([[0, 3e38, 0]], ml_dtypes.bfloat16)
    assert predictions.predict_rows(example(["a"], logits=large)) == ["'a': good (100.0%)"]


def test_every_class_above_one_half_where_there_may_be_many():
    logits = np.array([[0.0, np.log(3), 1000.0], [-1000.0, 0.0, -1.0]])
    several = {"problem_type": "multi_label_classification"}
    lines = predictions.predict_rows(example(["a", "b"], config=several, logits=logits))
    assert lines == ["'a': good (75.0%), odd (100.0%)", "'b': none"]


def test_a_number_is_shown_as_it_is():
    assert predictions.predict_rows(example(["a"], logits=[[2.5]])) == ["'a': 2.5000"]


def test_sentences_and_choices():
    follows = example(["a"], logits=np.log([[0.8, 0.2]]))
    assert predictions.predict_next_sentence(follows) == ["'a': the second follows with 80.0%"]
    choices = example(["a"], logits=np.log([[0.1, 0.6, 0.3]]))
    assert predictions.predict_choice(choices) == ["'a': choice 1 (60.0%)"]


def test_the_norm_of_a_vector():
    assert predictions.predict_features(example(["a"], pooler_output=[[3.0, 4.0]])) == [
        "'a': pooled vector of norm 5.000"
    ]


def test_classes_of_tokens_that_are_not_special():
    encoding = encoded([[1, 2, 3]], tokens=[["[CLS]", "x", "y"]], special_tokens_mask=[[1, 0, 0]])
    logits = [[[9, 0, 0], [0, 0, 1], [1, 0, 0]]]
    assert predictions.predict_tokens(example(["x y"], encoding, logits=logits)) == ["x/odd y/bad"]


def test_the_five_likeliest_tokens_at_each_mask_and_after_a_text():
    shares = np.array([0.3, 0.05, 0.25, 0.08, 0.22, 0.1])
    logits = np.zeros((2, 3, 6))
    logits[0, 1] = logits[1, 2] = np.log(shares)
    encoding, texts = encoded([[1, 9, 0], [1, 2, 3]]), ["x", "y"]
    top = "a (30.0%), c (25.0%), id 4 (22.0%), id 5 (10.0%), d (8.0%)"
    masked = predictions.predict_masks(example(texts, encoding, logits=logits))
    assert masked == [f"'x': {top}", "'y': no [MASK] in it to predict"]
    assert predictions.predict_next_token(example(texts, encoding, logits=logits)) == [f"'x': {top}", f"'y': {top}"]


def test_an_answer_ends_within_the_passage_and_not_before_it_starts():
    encoding = encoded([[5, 6, 7, 8]], sequence_ids=[[0, 1, 1, 1]])
    # The best start is in the question, and the best end before the best start of the passage.
    fields = {"start_logits": [[9.0, 0.0, 2.0, 1.0]], "end_logits": [[9.0, 5.0, 0.0, 4.0]]}
    assert predictions.predict_span(example(["q"], encoding, **fields)) == ["'q': 7 8"]
    with pytest.raises(InputError, match="takes the question as --text and the passage as --text-pair"):
        predictions.predict_span(example(["q"], encoded([[5]], sequence_ids=[[0]]), **fields))
