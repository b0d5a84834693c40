"""Arguments of `forward`: options of losses under both their names, and what callers pass in place of tensors."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import inspect
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs import InputError
from modeloutputs.torch import arguments

from .tiny import ALL_HEADS, BY_NAME, Head, token_ids

IDS = token_ids(2, 5)
ENCODING = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
EACH_HEAD = list({head.cls: head for head in ALL_HEADS if head.labels is not None}.values())


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    names = {"bert": "BertModel, encoder", "gpt2": "GPT2LMHeadModel", "bart": "BartForConditionalGeneration"}
    return {key: BY_NAME[name].model() for key, name in names.items()}


# -- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", EACH_HEAD, ids=[head.cls.__name__ for head in EACH_HEAD])
def test_no_parameter_but_labels_is_called_one(head: Head) -> None:
    named = [name for name in inspect.signature(head.cls.forward).parameters if "label" in name]
    assert named == ([] if "Span" in str(head.cls.__mro__) else ["labels"])


def test_both_names_of_the_number_of_items_are_one_option(models: dict[str, Any]) -> None:
    losses = [
        models[kind](IDS, labels=IDS, **{name: 7}).loss
        for kind in ("gpt2", "bart")
        for name in ("num_items", "num_items_in_batch")
    ]
    assert losses[0] == losses[1] != models["gpt2"](IDS, labels=IDS).loss
    assert losses[2] == losses[3] != models["bart"](IDS, labels=IDS).loss
    assert models["gpt2"](IDS, num_items_in_batch=7).logits.shape == (2, 5, 99)
    with pytest.raises(InputError, match="both num_items and num_items_in_batch were passed; they are one argument"):
        models["gpt2"](IDS, labels=IDS, num_items=1, num_items_in_batch=1)


def test_options_are_taken_out_of_the_inputs() -> None:
    inputs = {"num_items_in_batch": 3, "label_smoothing": 0.1, "position_ids": None}
    assert arguments.take_loss_options(inputs) == (3, 0.1)
    assert inputs == {"position_ids": None}
    assert arguments.take_loss_options(inputs) == (None, 0.0)


# -- what is no tensor ------------------------------------------------------------------------------------------------

IDS_LINES = [
    ([[3, 4]], r'input_ids is a list; expected a torch.Tensor: call the tokenizer with return_tensors="pt", or pass '
               r"torch.tensor\(input_ids\)"),
    (np.array([[3, 4]]), r'input_ids is a numpy.ndarray; .* return_tensors="pt"'),
    ("Hello", r'input_ids is the text \'Hello\'; expected a torch.Tensor: model\(\*\*tokenizer\(\'Hello\', '
              r'return_tensors="pt"\)\)'),
    (ENCODING, r"input_ids is a dict of input_ids, attention_mask; pass its entries by name: model\(\*\*inputs\)"),
    (5, "input_ids is a int; expected a torch.Tensor"),
    (IDS[0], r"input_ids has shape \(5,\); expected \(batch, seq\); pass input_ids\[None\] for one row"),
    (IDS.float(), "input_ids is torch.float32; expected int64 or int32"),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["bert", "gpt2", "bart"])
@pytest.mark.parametrize(("given", "line"), IDS_LINES, ids=[line[:24] for _, line in IDS_LINES])
def test_ids_that_are_none_are_answered_in_one_line(models: dict[str, Any], kind: str, given: Any, line: str) -> None:
    if kind == "bart" and isinstance(given, torch.Tensor):
        line = "input_ids"
    with pytest.raises(InputError, match=line) as caught:
        models[kind](given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [[[1] * 5] * 2, np.ones((2, 5), dtype=np.int64), "11111"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [("bert", "attention_mask"), ("bert", "token_type_ids"), ("bert", "position_ids"), ("gpt2", "attention_mask"),
     ("gpt2", "labels"), ("gpt2", "token_type_ids"), ("bart", "attention_mask"), ("bart", "decoder_input_ids"),
     ("bart", "decoder_attention_mask"), ("bart", "labels")],
)  # fmt: skip
def test_other_arguments_are_named(models: dict[str, Any], kind: str, name: str, value: Any) -> None:
    shown = "labels or input_ids|labels" if name == "labels" else name.removeprefix("decoder_")
    with pytest.raises(InputError, match=rf"({shown}) is .*; expected a torch.Tensor") as caught:
        models[kind](IDS, **{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_embeddings_that_are_no_tensor_are_named(models: dict[str, Any], kind: str) -> None:
    with pytest.raises(InputError, match=r"inputs_embeds is a list; expected a torch.Tensor: torch.tensor\("):
        models[kind](inputs_embeds=[[[0.0] * 32]])


@pytest.mark.parametrize("kind", ["bert", "gpt2", "bart"])
def test_ids_of_32_bits_count_as_others(models: dict[str, Any], kind: str) -> None:
    torch.testing.assert_close(models[kind](IDS.int()).to_tuple()[0], models[kind](IDS).to_tuple()[0])
