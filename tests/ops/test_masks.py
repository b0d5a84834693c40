"""Attention masks of several widths joined, so that joined outputs can be taken apart."""

import importlib
from typing import Any

import numpy as np
import pytest

from modeloutputs import InputError, ModelOutput, UsageError, concat, concat_masks, unpad
from modeloutputs.arrays.backends import backend_named, to_numpy

from ..support.needs import FRAMEWORK_PARAMS, needs_torch

LENGTHS = ((3, 1), (5,), (2, 2))


def mask_of(lengths: tuple[int, ...], side: str) -> Any:
    width = max(lengths)
    rows = [[1] * n + [0] * (width - n) for n in lengths]
    return np.asarray([row if side == "right" else row[::-1] for row in rows], np.int32)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["numpy", *FRAMEWORK_PARAMS])
def test_rows_come_one_after_the_other_padded_with_zeros(name: str, side: str):
    backend = backend_named(name)
    joined = concat_masks([backend.from_numpy(mask_of(lengths, side)) for lengths in LENGTHS], side=side)
    assert backend_named(name).name == name
    assert to_numpy(joined).dtype == np.int32
    assert to_numpy(joined).tolist() == mask_of(tuple(n for lengths in LENGTHS for n in lengths), side).tolist()


@needs_torch
@pytest.mark.parametrize("side", ["left", "right"])
def test_what_was_joined_is_taken_apart(side: str):
    import torch

    outputs: Any = importlib.import_module("modeloutputs.torch")
    masks = [torch.from_numpy(mask_of(lengths, side)) for lengths in LENGTHS]
    parts = [outputs.BaseModelOutput(last_hidden_state=torch.randn(*mask.shape, 2)) for mask in masks]
    rows = unpad(concat(parts, side=side), concat_masks(masks, side=side))
    expected = [row for part, mask in zip(parts, masks, strict=True) for row in unpad(part, mask)]
    assert rows == expected


def test_choices_keep_their_axis():
    masks = [np.ones((2, 3, width), bool) for width in (4, 6)]
    joined = concat_masks(masks)
    assert (joined.shape, joined.dtype) == ((4, 3, 6), bool)
    assert joined.sum() == 2 * 3 * (4 + 6)


class Some(ModelOutput):
    mask: Any = None


@pytest.mark.parametrize(
    ("masks", "side", "kind", "message"),
    [
        ([], "right", UsageError, "no masks; pass a list"),
        (np.ones((2, 3)), "right", UsageError, "one mask; pass a list"),
        ([np.ones((2, 3))], "both", InputError, "side is 'both'"),
        ([[[1, 0]]], "right", InputError, r"masks\[0\] is .*; expected an array \(batch, keys\)"),
        ([np.ones(3)], "right", InputError, r"masks\[0\] is f64\[3\]"),
        ([np.ones((1, 2)), np.ones((1, 2), int)], "right", UsageError, r"masks\[1\] is i64\[1,2\] of numpy"),
        ([np.ones((1, 2, 3)), np.ones((1, 4, 3))], "right", UsageError, "rows and keys alone"),
    ],
)
def test_what_cannot_be_joined_is_refused(masks: Any, side: str, kind: type[Exception], message: str):
    with pytest.raises(kind, match=message):
        concat_masks(masks, side=side)
