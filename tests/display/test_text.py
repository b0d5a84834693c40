from typing import Any

import numpy as np
import pytest

from modeloutputs import ModelOutput
from modeloutputs.display.text import pformat, summary


class Shown(ModelOutput):
    loss: Any = None
    logits: Any = None
    hidden_states: Any = None


def f32(*shape: int) -> Any:
    return np.zeros(shape, "f4")


def test_an_output_is_one_short_block():
    output = Shown(logits=f32(2, 8, 384), hidden_states=(f32(2, 8, 384),) * 13)
    assert repr(output) == "Shown(\n  logits=f32[2,8,384],\n  hidden_states=13 x f32[2,8,384],\n)"
    assert str(output) == repr(output)


def test_an_output_of_nothing():
    assert repr(Shown()) == "Shown()"


def test_none_is_not_shown():
    assert repr(Shown(loss=f32())) == "Shown(\n  loss=f32[],\n)"


CYCLE: Any = ([],)
CYCLE[0].append(CYCLE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (f32(2, 3), "f32[2,3]"),
        (f32(), "f32[]"),
        (np.zeros(2, "i8"), "i64[2]"),
        (np.zeros(2, bool), "bool[2]"),
        ((), "()"),
        ((f32(2),), "(f32[2],)"),
        ((f32(2), f32(2)), "2 x f32[2]"),
        ((f32(2), f32(3), f32(3)), "(f32[2], 2 x f32[3])"),
        ((None, None, f32(2)), "(2 x None, f32[2])"),
        (((f32(2), f32(2)),) * 6, "6 x (2 x f32[2])"),
        (((f32(2), f32(2), f32(3), f32(3)),) * 6, "6 x (2 x f32[2], 2 x f32[3])"),
        (((f32(2), f32(2)), (f32(3), f32(3))), "((2 x f32[2]), (2 x f32[3]))"),
        (((f32(2), f32(2)), f32(2)), "((2 x f32[2]), f32[2])"),
        (((f32(2),), (f32(2),)), "2 x (f32[2],)"),
        ([f32(2), f32(2)], "2 x f32[2]"),
        ({"a": f32(2), "b": (f32(2),) * 2}, "{a: f32[2], b: 2 x f32[2]}"),
        (3, "3"),
        ("text", "'text'"),
        ("x" * 99, "'" + "x" * 56 + "..."),
        ("line\nline", "'line\\nline'"),
        ({"a\x1b[2J\n": 1, "\u202ec": 2}, "{a\\x1b[2J\\n: 1, \\u202ec: 2}"),
        (CYCLE, "a tuple that holds itself, or is nested too deep"),
    ],
)
def test_a_value_in_one_line(value: Any, text: str):
    assert summary(value) == text


def test_an_output_in_an_output():
    assert repr(Shown(logits=Shown(loss=f32()))) == "Shown(\n  logits={loss: f32[]},\n)"


def test_values_on_request():
    output = Shown(loss=np.array([1.5, 2.5]), logits="l")
    assert pformat(output, values=True) == "Shown(\n  loss=array([1.5, 2.5]),\n  logits='l',\n)"


def test_values_of_several_lines_are_indented():
    assert pformat(Shown(loss=np.eye(2)), values=True, indent=4).splitlines() == [
        "Shown(",
        "    loss=array([[1., 0.],",
        "           [0., 1.]]),",
        ")",
    ]


def test_tensors_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    assert summary(torch.zeros(2, 3)) == "f32[2,3]"
    assert summary(torch.zeros(2, 3, dtype=torch.bfloat16, device="meta")) == "bf16[2,3]"
    assert pformat(Shown(loss=torch.ones(2)), values=True) == "Shown(\n  loss=tensor([1., 1.]),\n)"


def test_arrays_of_jax_and_tracers():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    assert summary(jax.numpy.zeros((2, 3))) == "f32[2,3]"
    seen: list[str] = []
    jax.jit(lambda x: seen.append(summary(x)) or x)(jax.numpy.zeros((2, 3)))
    assert seen == ["f32[2,3]"]


def test_tensors_of_tensorflow():
    tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    assert summary(tensorflow.zeros((2, 3))) == "f32[2,3]"


def test_a_tensor_whose_rank_only_a_run_will_tell():
    tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    seen: list[str] = []
    for spec in (tensorflow.TensorSpec(None, "float32"), tensorflow.TensorSpec([None, 3], "float32")):
        traced = tensorflow.function(lambda x: seen.append(summary(x)) or x, input_signature=[spec], autograph=False)
        traced.get_concrete_function()
    assert seen == ["f32[...]", "f32[None,3]"]
