"""What holds of TensorFlow's tensors alone."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from modeloutputs.arrays.backends import backend_named

from ..support.needs import needs_tensorflow

pytestmark = needs_tensorflow


def test_graphs_take_pad_and_join_arrays_of_unknown_sizes():
    import tensorflow as tf

    kind = backend_named("tensorflow")

    @tf.function(input_signature=[tf.TensorSpec([None, None, 2]), tf.TensorSpec([None], tf.int32)])
    def run(x: Any, rows: Any) -> Any:
        joined = kind.pad_and_concat([x, x[:1, 1:]], 0, {1: True}, 5)
        assert joined.shape.as_list() == [None, None, 2]
        return kind.take(x, rows, 1), kind.take(x, np.array([-1]), 0), joined

    x = tf.reshape(tf.range(12.0), [2, 3, 2])
    taken, last, joined = run(x, tf.constant([-1, 0]))
    assert np.array_equal(taken, x.numpy()[:, [2, 0]])
    assert np.array_equal(last, x.numpy()[1:])
    assert joined.numpy()[2].tolist() == [[5, 5], [2, 3], [4, 5]]


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_small_floats_are_padded_without_a_kernel(name: str):
    values = np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, name))
    kind = backend_named("tensorflow")
    found = kind.numpy(kind.pad(kind.from_numpy(values), [(0, 0), (1, 2)], 2))
    assert found.dtype == values.dtype
    assert np.array_equal(found, np.pad(values, [(0, 0), (1, 2)], constant_values=2))
