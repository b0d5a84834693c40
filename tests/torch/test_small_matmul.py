"""The product of few rows: the numbers of the plain product, whichever way they are computed, and which way that is."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F
from torch import Tensor

from modeloutputs.torch.small_matmul import MAX_ROWS, MIN_WEIGHT_NUMEL, linear

INPUTS = 512
OUTPUTS = MIN_WEIGHT_NUMEL // INPUTS
"""Of the smallest weight that is worth it."""


def drawn(*shape: int, dtype: "torch.dtype" = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def exact(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute the product in float64, one row of the result being a sum written out."""
    product = (rows.double()[..., None, :] * weight.double()).sum(-1)
    return product if bias is None else product + bias.double()


def assert_right(found: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    expected = exact(rows, weight, bias)
    assert found.shape == expected.shape
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-3)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the products that were computed, in order: `bmm` and `baddbmm` are the narrow ones."""
    computed: list[str] = []

    def count(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Tensor:
            computed.append(name)
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    count(torch, "bmm")
    count(torch, "baddbmm")
    count(F, "linear")
    return computed


# -- numbers ----------------------------------------------------------------------------------------------------------

SHAPES = {
    "smallest weight": (OUTPUTS, INPUTS),
    "one output less": (OUTPUTS - 1, INPUTS),
    "one output more": (OUTPUTS + 1, INPUTS),
    "one input less": (OUTPUTS, INPUTS - 1),
    "a prime vocabulary": (5003, 128),
    "twice a prime": (2 * 2503, 128),
    "BERT's vocabulary": (30522, 32),
    "GPT-2's vocabulary": (50257, 16),
    "Llama's vocabulary": (32000, 32),
    "few outputs": (33, 16384),
    "64 outputs": (64, 8192),
    "one output": (1, MIN_WEIGHT_NUMEL),
    "one input": (MIN_WEIGHT_NUMEL, 1),
}


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES.values(), ids=SHAPES)
def test_product_is_the_sum_written_out(outputs: int, inputs: int, biased: bool, rows: int) -> None:
    weight, given = drawn(outputs, inputs), drawn(rows, inputs, seed=1)
    bias = drawn(outputs, seed=2) if biased else None
    with torch.no_grad():
        assert_right(linear(given, weight, bias), given, weight, bias)


@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("rows", [MAX_ROWS - 1, MAX_ROWS, MAX_ROWS + 1])
def test_product_is_the_same_on_both_sides_of_the_most_rows(rows: int, biased: bool) -> None:
    weight, given = drawn(OUTPUTS, INPUTS), drawn(rows, INPUTS, seed=1)
    bias = drawn(OUTPUTS, seed=2) if biased else None
    with torch.no_grad():
        assert_right(linear(given, weight, bias), given, weight, bias)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (1, 1), (2, 1, 2, 2), (0,), (0, 3), (2, 0)])
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
def test_any_number_of_axes_before_the_last_is_kept(shape: tuple[int, ...], biased: bool) -> None:
    weight, rows = drawn(OUTPUTS, INPUTS), drawn(*shape, INPUTS, seed=1)
    bias = drawn(OUTPUTS, seed=2) if biased else None
    with torch.no_grad():
        assert_right(linear(rows, weight, bias), rows, weight, bias)


LAID_OUT: dict[str, tuple[Tensor, Tensor, Tensor]] = {
    "transposed weight": (drawn(3, INPUTS, seed=1), drawn(INPUTS, OUTPUTS).T, drawn(OUTPUTS, seed=2)),
    "every other row of a weight": (drawn(3, INPUTS, seed=1), drawn(2 * OUTPUTS, INPUTS)[::2], drawn(OUTPUTS, seed=2)),
    "half of a weight": (drawn(3, INPUTS, seed=1), drawn(2 * OUTPUTS, INPUTS)[OUTPUTS:], drawn(OUTPUTS, seed=2)),
    "transposed rows": (drawn(INPUTS, 3, seed=1).T, drawn(OUTPUTS, INPUTS), drawn(OUTPUTS, seed=2)),
    "last position of each row": (drawn(3, 5, INPUTS, seed=1)[:, -1:], drawn(OUTPUTS, INPUTS), drawn(OUTPUTS, seed=2)),
    "one row repeated": (
        drawn(1, INPUTS, seed=1).expand(9, -1),
        drawn(OUTPUTS, INPUTS),
        drawn(OUTPUTS, seed=2),
    ),
    "every other number of a bias": (drawn(3, INPUTS, seed=1), drawn(OUTPUTS, INPUTS), drawn(2 * OUTPUTS, seed=2)[::2]),
    "one number as bias": (drawn(3, INPUTS, seed=1), drawn(OUTPUTS, INPUTS), drawn(1, seed=2).expand(OUTPUTS)),
}


@pytest.mark.parametrize(("rows", "weight", "bias"), LAID_OUT.values(), ids=LAID_OUT)
def test_layout_in_memory_changes_nothing(rows: Tensor, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        assert_right(linear(rows, weight, bias), rows, weight, bias)
        assert_right(linear(rows, weight), rows, weight)


def test_infinite_and_undefined_numbers_stay_in_their_rows() -> None:
    rows = drawn(3, INPUTS, seed=1)
    rows[0, 0], rows[1, 1] = float("inf"), float("nan")
    with torch.no_grad():
        found = linear(rows, drawn(OUTPUTS, INPUTS), drawn(OUTPUTS, seed=2))
    assert found[0].isinf().all()
    assert found[1].isnan().all()
    assert found[2].isfinite().all()


@pytest.mark.parametrize("rows", [1, 3])
def test_result_is_nobody_elses_memory(rows: int) -> None:
    """What adds a residual to it in place must change nothing else."""
    weight, given, bias = drawn(OUTPUTS, INPUTS), drawn(rows, INPUTS, seed=1), drawn(OUTPUTS, seed=2)
    before = [tensor.clone() for tensor in (weight, given, bias)]
    with torch.no_grad():
        linear(given, weight, bias).add_(1)
        linear(given, weight).add_(1)
    assert all(map(torch.equal, (weight, given, bias), before))


# -- which way --------------------------------------------------------------------------------------------------------


def test_few_rows_in_inference_are_narrow_products(products: list[str]) -> None:
    weight, bias = drawn(OUTPUTS, INPUTS), drawn(OUTPUTS)
    for mode in (torch.no_grad, torch.inference_mode):
        for rows in (1, MAX_ROWS):
            with mode():
                linear(drawn(rows, INPUTS), weight)
                linear(drawn(rows, INPUTS), weight, bias)
    assert products == ["bmm", "baddbmm"] * 4


def test_narrow_products_are_about_as_wide_as_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """1024 = 32 · 32 = 16 · 64 = 8 · 128: 64 and 128 are as near to 96, 32 is not."""
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    product = torch.bmm

    def noting(left: Tensor, right: Tensor) -> Tensor:
        shapes.append((tuple(left.shape), tuple(right.shape)))
        return product(left, right)

    monkeypatch.setattr(torch, "bmm", noting)
    with torch.no_grad():
        for outputs in (1024, 768 * 3, 2 * 2503):
            linear(drawn(2, INPUTS), drawn(outputs, INPUTS))
    assert [right[::2] for _, right in shapes] == [(16, 64), (24, 96), (2, 2503)]
    assert all(left == (right[0], 2, INPUTS) and right[1] == INPUTS for left, right in shapes)


PLAIN: dict[str, tuple[Tensor, Tensor]] = {
    "a row too many": (drawn(MAX_ROWS + 1, INPUTS), drawn(OUTPUTS, INPUTS)),
    "too many in all": (drawn(5, 13, INPUTS), drawn(OUTPUTS, INPUTS)),
    "no rows": (drawn(0, INPUTS), drawn(OUTPUTS, INPUTS)),
    "a small weight": (drawn(1, INPUTS), drawn(OUTPUTS - 1, INPUTS)),
    "a prime number of outputs": (drawn(1, 128), drawn(5003, 128)),
    "outputs for one product only": (drawn(1, 16384), drawn(33, 16384)),
    "a transposed weight": (drawn(1, INPUTS), drawn(INPUTS, OUTPUTS).T),
    "float64": (drawn(1, INPUTS, dtype=torch.float64), drawn(OUTPUTS, INPUTS, dtype=torch.float64)),
    "bfloat16": (drawn(1, INPUTS, dtype=torch.bfloat16), drawn(OUTPUTS, INPUTS, dtype=torch.bfloat16)),
    "float16": (drawn(1, INPUTS, dtype=torch.float16), drawn(OUTPUTS, INPUTS, dtype=torch.float16)),
}


@pytest.mark.parametrize(("rows", "weight"), PLAIN.values(), ids=PLAIN)
def test_other_cases_use_the_plain_product(rows: Tensor, weight: Tensor, products: list[str]) -> None:
    bias = drawn(weight.shape[0], seed=2).to(weight.dtype)
    with torch.no_grad():
        without, biased = linear(rows, weight), linear(rows, weight, bias)
    assert products == ["linear", "linear"]
    assert without.dtype == biased.dtype == weight.dtype
    assert torch.equal(without, F.linear(rows, weight))
    assert torch.equal(biased, F.linear(rows, weight, bias))
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-3}.get(weight.dtype, 0.25)  # sums are about 20
    torch.testing.assert_close(biased.double(), exact(rows, weight, bias), rtol=tolerance / 10, atol=tolerance)


def test_gradients_are_those_of_the_plain_product(products: list[str]) -> None:
    found, expected = ([drawn(2, INPUTS), drawn(OUTPUTS, INPUTS, seed=1), drawn(OUTPUTS, seed=2)] for _ in range(2))
    for tensors, product in ((found, linear), (expected, F.linear)):
        for tensor in tensors:
            tensor.requires_grad_()
        product(*tensors).square().sum().backward()
    assert products == ["linear", "linear"]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_autocast_is_left_its_choice(products: list[str]) -> None:
    rows, weight = drawn(2, INPUTS), drawn(OUTPUTS, INPUTS, seed=1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = linear(rows, weight)
    assert products == ["linear"]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact(rows, weight), rtol=0.02, atol=0.5)


def test_a_compiler_is_left_its_choice() -> None:
    torch._dynamo.reset()
    rows, weight, seen = drawn(2, INPUTS), drawn(OUTPUTS, INPUTS, seed=1), []

    def backend(module: Any, inputs: Any) -> Any:
        seen.extend(str(node.target) for node in module.graph.nodes if node.op == "call_function")
        return module

    with torch.no_grad():
        found = torch.compile(linear, fullgraph=True, backend=backend)(rows, weight)
    assert [name.rpartition(" ")[2] for name in seen] == [str(F.linear).rpartition(" ")[2]]
    assert_right(found, rows, weight)


@pytest.mark.parametrize("vectorised", [(0, None), (None, 0), (0, 0)])
def test_vmap_goes_through_it(vectorised: tuple[int | None, int | None]) -> None:
    rows, weight = drawn(3, 2, INPUTS), drawn(3, OUTPUTS, INPUTS, seed=1)
    given = rows if vectorised[0] == 0 else rows[0], weight if vectorised[1] == 0 else weight[0]
    with torch.no_grad():
        found = torch.vmap(linear, in_dims=vectorised)(*given)
    expected = [exact(*(t[i] if d == 0 else t for t, d in zip(given, vectorised, strict=True))) for i in range(3)]
    torch.testing.assert_close(found.double(), torch.stack(expected), rtol=1e-5, atol=1e-3)


class Quantised(torch.Tensor):
    """A weight that knows how it is multiplied, and nothing else."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch._C._nn.linear:
            return torch.full((*args[0].shape[:-1], OUTPUTS), 7.0)
        if func in (Tensor.view, Tensor.transpose, Tensor.reshape, torch.bmm, torch.baddbmm):
            raise NotImplementedError(func)
        return super().__torch_function__(func, types, args, kwargs or {})


def test_weights_of_other_kinds_bring_their_own_product() -> None:
    weight = drawn(OUTPUTS, INPUTS).as_subclass(Quantised)
    with torch.no_grad():
        assert torch.equal(linear(drawn(2, INPUTS), weight), torch.full((2, OUTPUTS), 7.0))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
def test_sparse_weights_are_multiplied_as_pytorch_does(layout: str) -> None:
    dense, rows = drawn(OUTPUTS, INPUTS).relu(), drawn(2, INPUTS, seed=1)
    with torch.no_grad():
        found = linear(rows, getattr(dense, layout)())
    torch.testing.assert_close(found.double(), exact(rows, dense), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, INPUTS // 2), (1, 2 * INPUTS), (2, 3, INPUTS // 2), ()])
def test_rows_of_another_width_are_refused_in_pytorchs_words(shape: tuple[int, ...]) -> None:
    rows, weight = drawn(*shape), drawn(OUTPUTS, INPUTS)
    with torch.no_grad():
        with pytest.raises(RuntimeError) as plain:
            F.linear(rows, weight)
        with pytest.raises(RuntimeError) as found:
            linear(rows, weight)
    assert str(found.value) == str(plain.value)
