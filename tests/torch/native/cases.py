"""Every model and head as the peer builds it too, for tests that compare names, hooks and tools."""

import dataclasses
import tempfile
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..peer import peer_class
from ..tiny import ALL_HEADS, Head, randomise, states

_SAME_WEIGHTS = ("many classes", "regression")
"""Variants that differ from another in their loss alone."""


def _variant(name: str, variant: str, **settings: Any) -> Head:
    head = next(head for head in ALL_HEADS if head.cls.__name__ == name)
    return dataclasses.replace(head, settings={**head.settings, **settings}, variant=variant)


NATIVE_HEADS = (
    *(head for head in ALL_HEADS if head.variant not in _SAME_WEIGHTS),
    _variant("BertForMaskedLM", "untied", tie_word_embeddings=False),
    _variant("BertLMHeadModel", "untied, alone", tie_word_embeddings=False, add_cross_attention=False),
    _variant("OpenAIGPTLMHeadModel", "untied", tie_word_embeddings=False),
    _variant("GPT2LMHeadModel", "alone", add_cross_attention=False),
    _variant("BartModel", "untied", tie_word_embeddings=False),
    _variant("BartForCausalLM", "untied", tie_word_embeddings=False),
    _variant("LlamaForCausalLM", "one key", num_key_value_heads=1, tie_word_embeddings=True),
)
"""All classes, tied and untied, with cross-attention and without, with grouped keys."""
BY_NAME = {head.name: head for head in NATIVE_HEADS}
PARTS = ("BartEncoder", "BartDecoder")
"""Classes that the peer does not export."""


def native_peer(head: Head) -> Any:
    """Return the peer's model of the same configuration, with random weights."""
    config_class = peer_class(head.config.__name__)
    with tempfile.TemporaryDirectory() as folder:
        head.configuration().save_pretrained(folder)
        config = config_class.from_pretrained(folder)
    name = head.cls.__name__
    if name in PARTS:
        from transformers.models.bart import modeling_bart

        cls = getattr(modeling_bart, name)
    else:
        cls = peer_class(name)
    return randomise(cls(config), seed=1).eval()


@cache
def shared_model(name: str) -> Any:
    """Return the model of a head, one for all tests that leave it as it was."""
    return BY_NAME[name].model()


_BODIES = ("bert", "transformer", "model")
"""What a model with a head calls its model without."""
_LABELS = ("id2label", "label2id", "num_labels", "problem_type", "architectures")


@cache
def _first_with_body() -> dict[Any, str]:
    """Return the first head of each body, by what decides what it computes: classes, sizes, settings, inputs."""
    first: dict[Any, str] = {}
    for head in NATIVE_HEADS:
        first.setdefault(_body_of(head.name), head.name)
    return first


@cache
def _body_of(head_name: str) -> Any:
    model = shared_model(head_name)
    name = next((name for name, _ in model.named_children() if name in _BODIES), "")
    settings = {name: value for name, value in model.config.to_dict().items() if name not in _LABELS}
    return repr(model.get_submodule(name)), repr(settings), tuple(arguments(BY_NAME[head_name]))


def swept_modules(head: Head) -> list[str]:
    """Return the names of the modules to change one at a time, none of them a model's own.

    Within a body they are those of one head alone: heads share its code, and there are 33 of them. Tests that watch all
    modules at once do so in every head.
    """
    names = [name for name, _ in shared_model(head.name).named_modules() if name]
    if _first_with_body()[_body_of(head.name)] == head.name:
        return names
    return [name for name in names if name.partition(".")[0] not in _BODIES or name in _BODIES]


def arguments(head: Head, rows: int = 2, length: int = 5) -> dict[str, Any]:
    """Return token ids and, where the head attends to an encoder, its states."""
    rows = 2 * rows if head.has_choices else rows
    if "logits" in head.pooled and head.is_seq2seq:
        length = max(head.source_lengths[:rows])
    crosses = head.crosses and (
        head.settings.get("add_cross_attention") or head.cls.__name__ in ("BartDecoder", "BartForCausalLM")
    )
    encoder = {"encoder_hidden_states": states(rows, 3)} if crosses else {}
    return {**head.inputs(rows, length), **encoder}


def numbers(output: Any) -> Tensor:
    """Return all tensors of an output, its cache aside, as one vector."""
    tensors = [value for name, value in output.items() if isinstance(value, Tensor) and name != "past_key_values"]
    return torch.cat([tensor.double().flatten() for tensor in tensors])


@torch.no_grad()
def computed(model: nn.Module, head: Head) -> Tensor:
    """Return the numbers that a model of either library returns for the head's inputs."""
    return numbers(model(**arguments(head), return_dict=True))
