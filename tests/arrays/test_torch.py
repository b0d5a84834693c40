"""What holds of PyTorch's tensors alone."""

import importlib

import numpy as np
import pytest

from modeloutputs.arrays.backends import backend_named

from ..support.bits import every_value
from ..support.needs import needs_torch
from ..support.ragged import LEFTS, ragged_parts
from ..support.random_outputs import array

pytestmark = needs_torch


@pytest.mark.parametrize("lefts", LEFTS, ids=str)
@pytest.mark.parametrize("fresh_memory", [0, 1 << 25], ids=["large", "small"])
def test_arrays_are_padded_and_joined_in_any_size_and_in_graphs(
    lefts: dict[int, bool], fresh_memory: int, monkeypatch: pytest.MonkeyPatch
):
    # Large results are made in another way; here all are, or none.
    monkeypatch.setattr(importlib.import_module("modeloutputs.arrays.torch"), "_FRESH_MEMORY", fresh_memory)
    parts, axis, joined = ragged_parts(lefts, -float("inf"))
    for requires_grad in (False, True):
        given = [array(part, "torch").requires_grad_(requires_grad) for part in parts]
        found = backend_named("torch").pad_and_concat(given, axis, lefts, -float("inf"))
        assert found.requires_grad == requires_grad
        assert np.array_equal(found.detach(), joined)


def test_joined_arrays_are_not_views_of_a_part():
    import torch

    parts = [torch.ones(1, 2), torch.ones(1, 3)]
    joined = backend_named("torch").pad_and_concat(parts, 0, {1: False}, 0)
    joined += 1
    assert parts[0].tolist() == [[1, 1]]
    only = backend_named("torch").pad_and_concat([torch.ones(1, 2)], 0, {1: False}, 0)
    assert only.tolist() == [[1, 1]]


def test_indices_in_tensors_may_count_from_the_end():
    import torch

    rows = torch.tensor([-1, 0], dtype=torch.int32)
    assert backend_named("torch").take(torch.arange(6).reshape(3, 2), rows, 0).tolist() == [[4, 5], [0, 1]]


def test_memory_is_shared_with_numpy_where_that_is_safe():
    torch = backend_named("torch")
    values = np.zeros(4, np.float32)
    assert np.shares_memory(torch.numpy(torch.from_numpy(values)), values)
    small = every_value("bfloat16")
    assert np.shares_memory(torch.numpy(torch.from_numpy(small)), small)
    values.flags.writeable = False
    made = torch.from_numpy(values)
    made += 1
    assert values.tolist() == [0] * 4


def test_numpy_gets_values_of_any_kind_of_tensor():
    import torch

    kind = backend_named("torch")
    assert kind.numpy(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
    assert kind.numpy(torch.nn.Parameter(torch.ones(2)) * 2).tolist() == [2, 2]
    assert kind.numpy(torch.tensor([1 + 2j]).conj()).tolist() == [1 - 2j]
    assert kind.numpy(torch.tensor([1 + 2j]).conj().imag).tolist() == [-2]
    assert kind.numpy(torch.arange(6).reshape(2, 3).t()).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert kind.numpy(torch.zeros(2, 0)).shape == (2, 0)
    with torch.inference_mode():
        assert kind.numpy(torch.ones(2)).tolist() == [1, 1]


def test_tensors_that_cannot_be_joined_are_told_apart_by_device():
    import torch

    backend = backend_named("torch")
    assert backend.describe(torch.ones(2, device="meta")) == "f32[2] of torch on meta"
    assert backend.joining_key(torch.ones(2, device="meta")) != backend.joining_key(torch.ones(2))


def test_values_that_cannot_be_read_are_none():
    import torch

    assert backend_named("torch").concrete_values(torch.ones(2, device="meta")) is None


def test_memory_is_exported_where_it_holds_the_values():
    import torch

    backend = backend_named("torch")
    assert backend.exports_dlpack(torch.ones(2, 3))
    assert not backend.exports_dlpack(torch.ones(2, 3).t())
    assert not backend.exports_dlpack(torch.ones(8)[1:])
    assert not backend.exports_dlpack(torch.ones(2, dtype=torch.complex64).conj())
    assert not backend.exports_dlpack(torch.eye(2).to_sparse())


def test_several_padded_axes_and_parts_that_lack_nothing():
    import torch

    first, whole = torch.ones(1, 2, 2, 2, requires_grad=True), torch.ones(1, 2, 3, 3, requires_grad=True)
    weights = torch.arange(36.0).reshape(2, 2, 3, 3)
    joined = backend_named("torch").pad_and_concat([first, whole], 0, {2: False, 3: True}, 9)
    assert joined[0, 0].tolist() == [[9, 1, 1], [9, 1, 1], [9, 9, 9]]
    (joined * weights).sum().backward()
    assert torch.equal(first.grad, weights[:1, :, :2, 1:])
    assert torch.equal(whole.grad, weights[1:])


def test_tensors_of_two_devices_or_kinds_have_no_one_key():
    import torch

    backend = backend_named("torch")
    assert backend.have_one_key([torch.ones(1), torch.ones(2)])
    assert not backend.have_one_key([torch.ones(1), torch.ones(1, device="meta")])
    assert not backend.have_one_key([torch.ones(1), torch.ones(1).half()])
