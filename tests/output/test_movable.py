import collections
import collections.abc
import importlib
import typing
from typing import Any

import numpy as np
import pytest

from modeloutputs import (
    InputError,
    ModelOutput,
    UsageError,
)

from .examples import (
    Moved,
    complete,
    every_framework,
)


def test_moving_casts_floating_point_numbers_only():
    output = Moved(loss=np.ones((), np.float32), table=np.ones(2, np.int64))
    moved = output.to("float16")
    assert (moved.loss.dtype, moved.table.dtype) == (np.float16, np.int64)
    assert moved.table is output.table
    assert output.to("cpu", dtype=np.float64).loss.dtype == np.float64


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        (("int32",), {}, r"^dtype is 'int32'; to\(\) casts between floating point types only$"),
        (("cuda",), {}, "^device is 'cuda'; NumPy arrays are on the cpu only$"),
        (("cpu",), {"device": "cpu"}, r"^to\(\) was given 'cpu' and 'cpu'; pass one device and one dtype$"),
        (("float16",), {"dtype": "float32"}, r"^to\(\) was given 'float16' and 'float32'"),
    ],
)
def test_invalid_moves_are_refused_in_one_line(arguments: Any, named: Any, message: str):
    with pytest.raises((InputError, UsageError), match=message) as caught:
        Moved(loss=np.ones(())).to(*arguments, **named)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["cuda", "gpu:7", "nowhere"])
@pytest.mark.parametrize("framework", ["torch", "jax", "tensorflow"])
def test_a_missing_device_is_refused_in_one_line(framework: str, device: str):
    from ..support.random_outputs import array

    pytest.importorskip(framework, reason=f"{framework} is not installed")
    if device == "cuda" and framework == "torch" and importlib.import_module("torch").cuda.is_available():
        device = "cuda:99"
    with pytest.raises(InputError, match=device) as caught:
        Moved(loss=array(np.ones(2, np.float32), framework)).to(device)
    assert "\n" not in str(caught.value)


def test_arrays_without_values_are_refused_in_one_line():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    with pytest.raises(InputError, match=r"^f32\[2\] of jax has no values that NumPy can represent"):
        jax.jit(lambda x: Moved(loss=x).numpy())(jax.numpy.ones(2))


def test_selecting_leaves_jax_free_to_move_arrays():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    from jaxtyping import Float

    from modeloutputs import select

    rows = type("Rows", (ModelOutput,), {"__annotations__": {"x": Float[jax.Array, "batch"]}})
    free, bound = jax.numpy.arange(3.0), jax.device_put(jax.numpy.arange(3.0), jax.devices()[0])
    assert not select(rows(x=free), [2, 0]).x.committed
    assert select(rows(x=bound), [2, 0]).x.committed
    assert select(rows(x=free), [2, 0]).x.tolist() == [2, 0]


# -- moving outputs of the frameworks ---------------------------------------------------------------------------------


def form(value: Any, *, dtypes: bool = True) -> Any:
    """Return a nested value with classes in place of containers, and element types and shapes in place of arrays."""
    from modeloutputs.arrays.dtypes import dtype_name

    if isinstance(value, collections.abc.Mapping):
        return type(value), {name: form(item, dtypes=dtypes) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value), [form(item, dtypes=dtypes) for item in value]
    return value if value is None else (dtypes and dtype_name(value.dtype), tuple(value.shape))


MOVES: dict[str, Any] = {
    "map": lambda output: output.map(lambda array: array + 0),
    "to nothing": lambda output: output.to(),
    "to the cpu": lambda output: output.to("cpu"),
    "to the first cpu": lambda output: output.to(device="cpu:0", non_blocking=True),
    "to the same dtype": lambda output: output.to(dtype="float32"),
    "cpu": lambda output: output.cpu(),
    "detach": lambda output: output.detach(),
    "numpy": lambda output: output.numpy(),
}


@every_framework
@pytest.mark.parametrize("move", MOVES)
def test_moving_changes_neither_structure_nor_values(class_name: str, kind: str, move: str):
    from modeloutputs.arrays.backends import get_backend

    output = complete(class_name, kind)
    before = form(output)
    moved = MOVES[move](output)
    assert form(moved) == before == form(output)
    assert moved is not output
    assert all(
        get_backend(array).name == ("numpy" if move == "numpy" else kind) for array in moved.to_flat_dict().values()
    )
    assert moved.numpy() == output.numpy()
    if "last_hidden_state" in output:
        assert moved.last_hidden_state is moved.hidden_states[-1]


@every_framework
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_casting_reaches_every_float_and_nothing_else(class_name: str, kind: str, dtype: str):
    import ml_dtypes

    if (kind, dtype) == ("jax", "float64"):
        pytest.skip("JAX has 64 bits only where it is told so before anything else")
    output = complete(class_name, kind)
    moved = output.to(dtype)
    assert form(moved, dtypes=False) == form(output, dtypes=False)
    for name, array in output.numpy().to_flat_dict().items():
        wanted = array.astype(getattr(ml_dtypes, dtype, dtype)) if array.dtype.kind == "f" else array
        found = moved.numpy().to_flat_dict()[name]
        assert found.dtype == wanted.dtype
        assert found.tobytes() == wanted.tobytes()
    assert output.to(dtype, device="cpu").numpy() == output.to("cpu", dtype=dtype).numpy() == moved.numpy()
    assert moved.to("float32").numpy() == output.numpy().to(dtype).to("float32")


def test_pytorch_moves_by_its_own_devices_and_dtypes():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from modeloutputs.torch import Cache

    output = complete("CausalLMOutputWithPast", "torch")
    output.past_key_values = Cache(output.past_key_values)
    moved = output.to(torch.device("meta"), dtype=torch.float16)
    assert {(array.device.type, array.dtype) for array in moved.to_flat_dict().values()} == {("meta", torch.float16)}
    assert type(moved.past_key_values) is Cache
    assert type(output.numpy().past_key_values) is Cache
    assert output.to(torch.float32).logits is output.logits
    assert output.to(torch.float16, device="meta").logits.device.type == "meta"
    ids = output.replace(logits=torch.arange(3)).to(torch.bfloat16)
    assert (ids.logits.dtype, ids.hidden_states[1].dtype) == (torch.int64, torch.bfloat16)


def test_casting_keeps_gradients_and_detaching_ends_them():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = torch.ones(2, requires_grad=True)
    output = Moved(loss=x * 2)
    output.to("float64").loss.sum().backward()
    assert x.grad.tolist() == [2, 2]
    assert not output.detach().loss.requires_grad
    assert output.detach().loss.data_ptr() == output.loss.data_ptr()
    assert output.numpy().loss.tolist() == [2, 2]
    assert output.loss.requires_grad


def test_detaching_under_jaxs_and_tensorflows_gradients():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

    def product(output: Any) -> Any:
        return (output.loss * output.detach().loss).sum()

    gradient = jax.jit(jax.grad(product))(Moved(loss=jax.numpy.array([2.0, 3.0])))
    assert gradient.loss.tolist() == [2, 3]
    x = tf.constant([2.0, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(x * Moved(loss=x).detach().loss)
    assert tape.gradient(total, x).numpy().tolist() == [2, 3]


def test_compilers_move_outputs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

    def move(output: Any) -> Any:
        return output.to("float16").detach().to("cpu", dtype="float32").map(lambda array: array * 2)

    for compiler, values in (
        (lambda f: torch.compile(f, fullgraph=True, backend="eager"), torch.tensor([1.0, 2.5])),
        (jax.jit, jax.numpy.array([1.0, 2.5])),
        (tf.function, tf.constant([1.0, 2.5])),
    ):
        found = compiler(move)(Moved(loss=values, table=(None, values)))
        assert type(found) is Moved
        assert np.asarray(found.loss).tolist() == np.asarray(found.table[1]).tolist() == [2, 5]
        assert found.table[0] is None


@pytest.mark.parametrize(
    "name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
)
def test_numpy_has_small_floats_bit_for_bit(name: str):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import ml_dtypes

    every = torch.arange(1 << 16 if name == "bfloat16" else 1 << 8)
    every = every.to(torch.uint16 if name == "bfloat16" else torch.uint8)
    values = every.view(getattr(torch, name))
    output = Moved(
        loss=values[7], table=(values, values[:0], values.reshape(16, -1).t(), values.reshape(4, -1)[:, ::3])
    )
    found = output.numpy()
    assert {array.dtype for array in found.to_flat_dict().values()} == {np.dtype(getattr(ml_dtypes, name))}
    expected = output.map(lambda array: array.view(every.dtype)).numpy()
    for place, array in found.to_flat_dict().items():
        bits = expected.to_flat_dict()[place]
        assert array.shape == bits.shape
        assert array.tobytes() == bits.tobytes()


def test_accelerate_sends_outputs_to_devices():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    send_to_device = pytest.importorskip("accelerate.utils", reason="accelerate is not installed").send_to_device

    class Own(Moved):
        pass

    batch = {"out": Own(loss=torch.ones(2), table=(None, torch.zeros(1))), "text": "x"}
    for options in ({}, {"non_blocking": True}, {"skip_keys": ["text"]}):
        sent = send_to_device(batch, torch.device("meta"), **options)
        assert type(sent["out"]) is Own
        assert sent["out"].loss.device.type == sent["out"].table[1].device.type == "meta"
        assert sent["out"].table[0] is None


def test_a_subclass_and_what_else_it_holds_stay():
    class Pair(typing.NamedTuple):
        left: Any
        right: Any

    class Own(Moved):
        mode: str = "mean"
        inner: Any = None

    array = np.ones(2, np.float32)
    given = Own(
        loss=array,
        table={"pair": Pair(array, "text"), "none": None, "list": [array, 3]},
        inner=Moved(loss=array),
        mode=None,
    )
    calls: list[Any] = []

    def half(value: Any) -> Any:
        calls.append(value)
        return value / 2

    output = given.map(half)
    assert len(calls) == 1
    assert calls[0] is array
    assert type(output) is Own
    assert list(output) == list(given)
    assert output.mode is None
    assert type(output.table["pair"]) is Pair
    assert output.table["pair"].right == "text"
    assert output.table["none"] is None
    assert type(output.inner) is Moved
    assert output.loss is output.table["pair"].left is output.table["list"][0] is output.inner.loss
    assert output.loss.tolist() == [0.5, 0.5]
    assert given.loss.tolist() == [1, 1]
