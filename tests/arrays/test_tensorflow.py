"""What holds of TensorFlow's tensors alone."""

import importlib
import sys
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


# -- joining by NumPy -----------------------------------------------------------------------------------------------


def padded(parts: list[Any], value: float = 0) -> Any:
    return backend_named("tensorflow").pad_and_concat(parts, 0, {1: False}, value)


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse TensorFlow's own join."""
    import tensorflow as tf

    def refuse(*_: Any) -> None:
        raise AssertionError("tf.concat was called")

    monkeypatch.setattr(tf, "concat", refuse)


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize(
    "name", ["float32", "float16", "bfloat16", "float8_e5m2", "int64", "uint8", "bool", "complex64"]
)
def test_eager_tensors_are_joined_by_numpy(name: str):
    import tensorflow as tf

    dtype = getattr(ml_dtypes, name, None) or np.dtype(name)
    first, second = np.ones((1, 2, 3)).astype(dtype), np.ones((2, 4, 3)).astype(dtype)
    joined = padded([tf.constant(first), tf.constant(second)], 1)
    assert isinstance(joined, tf.Tensor)
    assert joined.dtype.name == name
    assert joined.device.endswith("CPU:0")
    assert np.array_equal(joined.numpy(), np.ones((3, 4, 3)).astype(dtype))
    again = padded([tf.constant(first), tf.constant(second)])
    assert np.array_equal(again.numpy()[0, 2:], np.zeros((2, 3)).astype(dtype))


@pytest.mark.usefixtures("no_kernel")
def test_joined_tensors_outlive_their_parts_and_are_their_own():
    import tensorflow as tf

    parts = [tf.ones((1, n, 64)) for n in (3, 5)]
    joined = [padded(parts) for _ in range(20)]
    del parts
    sums = [float(tf.reduce_sum(each)) for each in joined]
    assert sums == [8 * 64.0] * 20
    assert tf.reduce_sum(joined[0] * 2 + joined[1]).numpy() == 3 * 8 * 64


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize("shapes", [((0, 2, 3), (1, 4, 3)), ((1, 0, 3), (1, 4, 3)), ((0, 0, 3), (0, 4, 3))], ids=str)
def test_empty_tensors_are_joined_by_numpy(shapes: tuple[tuple[int, ...], ...]):
    import tensorflow as tf

    joined = padded([tf.ones(shape) for shape in shapes])
    assert joined.shape.as_list() == [sum(shape[0] for shape in shapes), 4, 3]
    assert tf.reduce_sum(joined).numpy() == sum(np.prod(shape) for shape in shapes)


@pytest.mark.parametrize("persistent", [False, True])
def test_gradients_flow_through_joins_under_a_tape(persistent: bool):
    import tensorflow as tf

    first, second = tf.ones((1, 2)), tf.constant([[1.0, 2, 3]])
    with tf.GradientTape(persistent=persistent) as tape:
        tape.watch([first, second])
        loss = tf.reduce_sum(padded([first, second]) * tf.constant([[1.0, 2, 3], [4, 5, 6]]))
    assert [grad.numpy().tolist() for grad in tape.gradient(loss, [first, second])] == [[[1, 2]], [[4, 5, 6]]]


def test_gradients_flow_from_variables_and_forward():
    import tensorflow as tf

    weight = tf.Variable([[1.0, 2]])
    assert padded([weight, tf.ones((1, 3))]).numpy().tolist() == [[1, 2, 0], [1, 1, 1]]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(padded([weight * 3, tf.ones((1, 3))]))
    assert tape.gradient(loss, weight).numpy().tolist() == [[3, 3]]
    x = tf.ones((1, 2))
    with tf.autodiff.ForwardAccumulator(x, tf.constant([[5.0, 7]])) as forward:
        joined = padded([x, tf.ones((1, 3))])
    assert forward.jvp(joined).numpy().tolist() == [[5, 7, 0], [0, 0, 0]]


def test_graphs_join_tensors_of_outside_by_their_own_operations():
    import tensorflow as tf

    outside = [tf.ones((1, 2)), tf.ones((1, 3))]

    @tf.function
    def run(scale: Any) -> Any:
        constant = padded(outside)
        assert not hasattr(constant, "numpy")
        return padded([constant * scale, tf.ones((1, 4))])

    assert run(tf.constant(2.0)).numpy().tolist() == [[2, 2, 0, 0], [2, 2, 2, 0], [1, 1, 1, 1]]


def test_without_a_word_on_tapes_every_join_is_tensorflows(monkeypatch: pytest.MonkeyPatch):
    import tensorflow as tf

    monkeypatch.setitem(sys.modules, "tensorflow.python.eager.record", None)
    monkeypatch.delitem(sys.modules, "modeloutputs.arrays.tensorflow")
    backend = importlib.import_module("modeloutputs.arrays.tensorflow").BACKEND
    first = tf.ones((1, 2))
    with tf.GradientTape() as tape:
        tape.watch(first)
        loss = tf.reduce_sum(backend.pad_and_concat([first, tf.ones((1, 3))], 0, {1: False}, 0))
    assert tape.gradient(loss, first).numpy().tolist() == [[1, 1]]
