"""What holds of NumPy's arrays alone."""

import numpy as np
import pytest

from modeloutputs import InputError
from modeloutputs.arrays.backends import backend_named
from modeloutputs.arrays.numpy import FOR_SHARING


def test_the_cpu_is_the_only_device():
    values = np.ones(2)
    assert backend_named("numpy").to_device(values, "cpu", None, non_blocking=False) is values
    with pytest.raises(InputError, match=r"^device is 'cuda'; NumPy arrays are on the cpu only$"):
        backend_named("numpy").to_device(values, "cuda", None, non_blocking=False)


def test_every_value_of_padding_is_written_as_it_is():
    numpy = backend_named("numpy")
    parts = [np.ones((1, 1), np.float32), np.ones((2, 3), np.float32)]
    for value in (0.0, -0.0, 2.5, -np.inf, np.nan):
        joined = numpy.pad_and_concat(parts, 0, {1: False}, value)
        assert joined[0].tobytes() == np.array([1, value, value], np.float32).tobytes()
        assert joined[1:].tolist() == [[1, 1, 1]] * 2
    truths = numpy.pad_and_concat([np.ones((1, 1), bool), np.ones((1, 2), bool)], 0, {1: True}, True)
    assert truths.tolist() == [[True, True]] * 2


def test_parts_may_be_empty_and_their_shapes_given():
    numpy = backend_named("numpy")
    parts = [np.ones((2, 0)), np.ones((0, 3)), np.ones((1, 2))]
    expected = [[0, 0, 0], [0, 0, 0], [0, 1, 1]]
    for shapes in (None, [(2, 0), (0, 3), (1, 2)]):
        assert numpy.pad_and_concat(parts, 0, {1: True}, 0, shapes).tolist() == expected


def test_results_to_share_begin_where_frameworks_take_memory_over():
    parts = [np.full((1, n, 3), n, np.float16) for n in (2, 5)]
    for value in (0, 7):
        shared = FOR_SHARING.pad_and_concat(parts, 0, {1: False}, value)
        assert shared.ctypes.data % 64 == 0
        assert np.array_equal(shared, backend_named("numpy").pad_and_concat(parts, 0, {1: False}, value))
    joined = FOR_SHARING.concat(parts, 1)
    assert joined.ctypes.data % 64 == 0
    assert joined[0, :, 0].tolist() == [2] * 2 + [5] * 5
    assert joined.dtype == np.float16
