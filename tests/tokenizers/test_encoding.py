"""What a tokenizer returns: a dict with attributes, of lists or of any framework's arrays."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modeloutputs.errors import InputError, MissingDependencyError
from modeloutputs.tokenizers import BatchEncoding, BertTokenizer

from .tiny import EVERYTHING, TEXTS, Pair

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


def test_a_missing_entry_names_those_there_are(tiny: BertTokenizer) -> None:
    with pytest.raises(
        AttributeError, match="this encoding has no 'inputs'; it has input_ids, token_type_ids, attention"
    ):
        _ = tiny("a").inputs


# -- which token stands where ---------------------------------------------------------------------------------------

ALIGNED = ("plain", "accents", "emoji", "runs of spaces", "contractions", "beyond the first plane")


@pytest.mark.parametrize("name", ALIGNED)
def test_tokens_and_text_are_related_as_in_the_peer(name: str, pair: Pair) -> None:
    texts = (["hello a", TEXTS[name]], [TEXTS[name], "hello a"])
    ours, theirs = (tokenizer(*texts) for tokenizer in pair)
    assert ours.n_sequences == theirs.n_sequences == 2
    for row in (0, 1):
        assert ours.tokens(row) == theirs.tokens(row)
        assert ours.word_ids(batch_index=row) == theirs.word_ids(batch_index=row)
        assert ours.sequence_ids(row) == theirs.sequence_ids(row)
        for token in range(len(ours.input_ids[row])):
            assert ours.token_to_chars(row, token) == theirs.token_to_chars(row, token)
            assert ours.token_to_word(row, token) == theirs.token_to_word(row, token)
            assert ours.token_to_sequence(row, token) == theirs.encodings[row].token_to_sequence(token)
        for sequence in (0, 1):
            for at in range(len(texts[sequence][row])):
                for method in ("char_to_token", "char_to_word", "word_to_tokens"):
                    expected = getattr(theirs.encodings[row], method)(at, sequence)
                    assert getattr(ours, method)(row, at, sequence) == expected


def test_the_first_row_may_go_unnamed(tiny: BertTokenizer) -> None:
    encoding = tiny("hello worlds")
    assert encoding.char_to_token(6) == encoding.char_to_token(0, 6) == 2
    assert encoding.token_to_chars(2) == (6, 11)
    assert encoding.token_to_chars(2).start == 6  # pyright: ignore[reportOptionalMemberAccess]
    assert encoding.token_to_chars(0) is None
    assert encoding.word_to_tokens(1) == encoding.word_to_tokens(0, 1) == (2, 4)
    assert encoding.word_to_chars(1) == (6, 12)
    assert encoding.word_to_chars(7) is encoding.word_to_tokens(7) is encoding.char_to_token(5) is None
    assert encoding.token_to_word(-2) == encoding.token_to_word(3) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda it: it.tokens(2), "there is no row 2; the encoding has 1"),
        (lambda it: it.token_to_chars(9), "there is no token 9; row 0 has 3"),
        (lambda it: it.char_to_token(-1), "there is no character -1; positions start at 0"),
        (lambda it: it.word_to_tokens(0, -1), "there is no word -1; positions start at 0"),
        (lambda it: BatchEncoding({"input_ids": [1]}).tokens(), "this encoding was not made from texts"),
    ],
)
def test_positions_that_there_are_not(call: Any, message: str, tiny: BertTokenizer) -> None:
    with pytest.raises(InputError) as caught:
        call(tiny("hello"))
    assert str(caught.value).startswith(message)
