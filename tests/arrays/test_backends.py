"""Finding the operations for an array or a framework; moving and converting arrays of any of them."""

from typing import Any

import numpy as np
import pytest

from modeloutputs import InputError, ModelOutput
from modeloutputs.arrays.backends import (
    backend_named,
    get_backend,
    shapes_of,
    to_device,
    to_numpy,
)
from modeloutputs.output.nested import is_array

from ..support.needs import EVERY_BACKEND, needs_jax, needs_tensorflow, needs_torch
from ..support.processes import run_code
from ..support.random_outputs import array

every_kind = pytest.mark.parametrize("kind", EVERY_BACKEND)


class Held(ModelOutput):
    value: Any = None


@every_kind
def test_arrays_are_known_by_their_framework(kind: str):
    made = array(np.ones((2, 3), np.float32), kind)
    assert is_array(made)
    assert get_backend(made) is backend_named(kind)
    assert backend_named(kind).name == kind


def test_other_values_are_not_arrays():
    for value in (None, 1, "f32", [1.0], np.float32, np.ndarray, np.dtype("f4"), (2, 3), {}):
        assert not is_array(value)
    assert is_array(np.float32(1))
    assert is_array(np.ones(2))


@needs_torch
@needs_jax
@needs_tensorflow
def test_arrays_without_values_and_of_users_classes_are_known():
    import jax
    import keras
    import tensorflow as tf
    import torch

    class Mine(torch.Tensor):
        pass

    jax.jit(lambda x: expect(x, "jax"))(np.ones(2))
    tf.function(lambda x: expect(x, "tensorflow"))(tf.ones(2))
    torch.func.vmap(lambda x: expect(x, "torch"))(torch.ones(2))
    for value, kind in (
        (torch.nn.Parameter(torch.ones(2)), "torch"),
        (torch.ones(2).as_subclass(Mine), "torch"),
        (torch.ones(2, device="meta"), "torch"),
        (tf.Variable([1.0]), "tensorflow"),
        (jax.ShapeDtypeStruct((2,), np.float32), "jax"),
        (np.ma.masked_array([1.0]), "numpy"),
    ):
        assert expect(value, kind) is value
    assert is_array(keras.Input((2,)))
    with pytest.raises(
        InputError, match=r"^a keras\.[\w.]+\.KerasTensor is not an array of PyTorch, JAX, TensorFlow or NumPy$"
    ):
        get_backend(keras.Input((2,)))


def expect(value: Any, kind: str) -> Any:
    assert is_array(value)
    assert get_backend(value).name == kind
    return value


def test_an_unknown_framework_is_refused():
    with pytest.raises(
        InputError, match=r"^framework is 'mxnet'; expected one of 'torch', 'jax', 'tensorflow', 'numpy'$"
    ):
        backend_named("mxnet")


def test_nothing_is_imported_for_arrays_of_others():
    code = (
        "import sys, numpy, modeloutputs.ops.concat as b; from modeloutputs.arrays.backends import get_backend;"
        "get_backend(numpy.ones(2)); print(sorted({'torch', 'jax', 'tensorflow'} & sys.modules.keys()))"
    )
    assert run_code(code) == "[]"


# -- values, devices ------------------------------------------------------------------------------------------------


@needs_jax
def test_arrays_without_values_are_described():
    import jax

    message = r"^f32\[2\] of jax has no values that NumPy can represent: "
    with pytest.raises(InputError, match=message):
        jax.eval_shape(to_numpy, jax.ShapeDtypeStruct((2,), np.float32))


def test_arrays_are_cast_between_floating_point_types():
    assert to_device(np.ones(2), "cpu", "float16").dtype == np.float16
    assert to_device(np.arange(2), None, "float16").dtype == np.int64
    with pytest.raises(InputError, match=r"^dtype is 'int8'; to\(\) casts between floating point types only$"):
        to_device(np.ones(2), None, "int8")


@needs_torch
def test_a_missing_device_is_named():
    import torch

    with pytest.raises(
        InputError, match=r"^f32\[2\] of torch on cpu cannot be moved to device='mars', dtype='float16': "
    ):
        to_device(torch.ones(2), "mars", "float16")


@every_kind
def test_shapes_are_told_at_once_and_equal_ones_are_one_object(kind: str):
    arrays = [array(np.ones(shape, np.float32), kind) for shape in ((2, 300), (), (2, 300))]
    get_backend(arrays[0])
    shapes = shapes_of(arrays)
    assert shapes == [(2, 300), (), (2, 300)]
    assert shapes[0] is shapes[2]
    assert shapes_of([np.ones(3), *arrays]) == [(3,), *shapes]
