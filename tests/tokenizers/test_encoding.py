"""What a tokenizer returns: a dict with attributes, of lists or of any framework's arrays."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modeloutputs.errors import InputError, MissingDependencyError
from modeloutputs.tokenizers import BertTokenizer

from .tiny import EVERYTHING

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
