"""The reference implementation with the same sizes, and what both libraries write and return, held side by side."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from .tiny import HEADS, SIZES, Head, randomise, states

CHECKPOINT_HEADS = [head for head in HEADS if head.variant not in ("many classes", "regression")]
"""Heads whose checkpoints differ; which loss a head has is not in them."""

every_head = pytest.mark.parametrize("head", CHECKPOINT_HEADS, ids=[head.name for head in CHECKPOINT_HEADS])


def peer_class(name: str) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return getattr(transformers, name)


def peer_model(head: Head, **changes: Any) -> Any:
    """Return the peer's tiny model of this head, no weight of which is left at 0 or 1."""
    config = peer_class("BertConfig")(**{**SIZES, **head.settings, **changes})
    return randomise(peer_class(head.cls.__name__)(config)).eval()


def stored(folder: Path) -> dict[str, Tensor]:
    """Return what a folder's safetensors files hold, read by the library of that format."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors.update((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118  # no mapping
    return tensors


def assert_same_tensors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Hold that names, dtypes, shapes and all bits agree."""
    assert found.keys() == expected.keys()
    different = [
        name
        for name, tensor in expected.items()
        if (found[name].dtype, found[name].shape) != (tensor.dtype, tensor.shape)
        or not torch.equal(found[name], tensor)
    ]
    assert not different


@torch.no_grad()
def returned(model: Any, head: Head) -> list[Tensor]:
    """Return the tensors that a model of either library gives for the same input, its cache aside."""
    inputs = head.inputs()
    if head.decodes:
        inputs["encoder_hidden_states"] = states(len(inputs["input_ids"]), 5).to(model.dtype)
    output = model(**inputs, return_dict=True)
    return [value for _, value in output.items() if isinstance(value, Tensor)]


def assert_same_outputs(ours: Any, theirs: Any, head: Head) -> None:
    """Hold that two models in float64 return the same numbers."""
    found, expected = returned(ours, head), returned(theirs, head)
    assert len(found) == len(expected) > 0
    for mine, other in zip(found, expected, strict=True):
        assert mine.dtype == other.dtype == torch.float64
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)
