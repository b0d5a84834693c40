from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from modeloutputs.output.equality import equal


class Unwilling:
    """Refuses to be compared, as tracers do."""

    def __eq__(self, other: object) -> bool:
        raise TypeError

    __hash__ = None  # pyright: ignore[reportAssignmentType]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1, True),
        (1, 2, False),
        (None, None, True),
        (None, 0, False),
        ("a", "a", True),
        ((1, 2), (1, 2), True),
        ((1, 2), (1, 2, 3), False),
        ((1, 2), [1, 2], False),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, OrderedDict(a=1), False),
        ({"a": 1}, [("a", 1)], False),
        (float("nan"), float("nan"), False),
        (Unwilling(), Unwilling(), False),
    ],
)
def test_nested_values(left: Any, right: Any, same: bool):
    assert equal(left, right) is same
    assert equal(right, left) is same


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (np.ones(2), np.ones(2), True),
        (np.ones(2), np.array([1.0, 2.0]), False),
        (np.ones((1, 2)), np.ones((2, 1)), False),
        (np.ones((1, 2)), np.ones(2), False),
        (np.ones(2, "f4"), np.ones(2, "f8"), False),
        (np.ones(0), np.ones(0), True),
        (np.ones(0), np.ones((0, 3)), False),
        (np.float32(1), np.float32(1), True),
        (np.float32(1), 1.0, False),
        (np.array([np.nan]), np.array([np.nan]), False),
        (np.array(["a"]), np.array(["a"]), True),
        ([np.ones(2), {"a": np.ones(2)}], [np.ones(2), {"a": np.ones(2)}], True),
        ([np.ones(2), {"a": np.ones(2)}], [np.ones(2), {"a": np.zeros(2)}], False),
    ],
)
def test_arrays_of_numpy(left: Any, right: Any, same: bool):
    assert equal(left, right) is same
    assert equal(right, left) is same


def test_a_value_equals_itself_even_where_it_holds_nan():
    value = np.array([np.nan])
    assert equal(value, value)
    assert equal([value], (value,)) is False
    assert equal((value, Unwilling), (value, Unwilling))


def test_an_array_of_arrays_does_not_raise():
    ragged = np.array([np.ones(2), np.ones(3)], dtype=object)
    assert equal(ragged, np.array([np.ones(2), np.ones(3)], dtype=object)) is False


def torch_pairs() -> list[Any]:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    return [
        (torch.ones(2), torch.ones(2), True),
        (torch.ones(2), torch.zeros(2), False),
        (torch.ones(2), torch.ones(3), False),
        (torch.ones(2), torch.ones(2, 1), False),
        (torch.ones(2), torch.ones(2).half(), False),
        (torch.ones(2), np.ones(2, "f4"), False),
        (torch.ones(()), 1.0, False),
        (torch.tensor(float("nan")), torch.tensor(float("nan")), False),
        (torch.ones(2, requires_grad=True), torch.ones(2), True),
        (torch.ones(2, device="meta"), torch.ones(2, device="meta"), False),
        (torch.ones(2), torch.ones(2, device="meta"), False),
        (torch.ones(2).bfloat16(), torch.ones(2).bfloat16(), True),
    ]


@pytest.mark.parametrize("index", range(12))
def test_tensors_of_pytorch(index: int):
    left, right, same = torch_pairs()[index]
    assert equal(left, right) is same
    assert equal(right, left) is same


def test_tensors_on_different_devices_are_compared():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    assert equal(torch.ones(2), torch.ones(2, device="cuda"))
    assert not equal(torch.ones(2, device="cuda"), torch.zeros(2))


def test_arrays_of_jax():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    assert equal(jax.numpy.ones(2), jax.numpy.ones(2)) is True
    assert equal(jax.numpy.ones(2), jax.numpy.zeros(2)) is False
    assert equal(jax.numpy.ones(2), np.ones(2, "f4")) is False


def test_tracers_of_jax_equal_only_themselves():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    seen: list[bool] = []
    jax.jit(lambda x: seen.extend([equal(x, x), equal(x, x + 0)]) or x)(jax.numpy.ones(2))
    assert seen == [True, False]


def test_tensors_of_tensorflow():
    tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    constant = tensorflow.constant
    assert equal(constant([1, 2]), constant([1, 2])) is True
    assert equal(constant([1, 2]), constant([1, 3])) is False
    assert equal(constant(1.0), constant(1.0)) is True
    assert equal(constant([1, 2]), constant([1.0, 2.0])) is False


def test_tensors_of_unknown_rank_do_not_raise():
    tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    seen: list[bool] = []

    @tensorflow.function(input_signature=[tensorflow.TensorSpec(None)])
    def compare(x: Any) -> Any:
        seen.extend([equal(x, x), equal(x, x + 0)])
        return x

    compare(tensorflow.ones(2))
    assert seen == [True, False]


def test_classes_with_a_shape_and_a_dtype_are_compared_as_values():
    assert equal(np.float32, np.float32)
    assert equal(np.float32, np.float64) is False
    assert equal({"dtype": np.float32}, {"dtype": np.float64}) is False


def test_an_error_of_any_kind_means_different():
    class Broken:
        def __eq__(self, other: object) -> bool:
            raise LookupError("never")

        __hash__ = None

    assert equal(Broken(), Broken()) is False
