"""The product of few rows: the numbers of the plain product, whichever way they are computed, and which way that is."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F
from torch import Tensor

from modeloutputs import InputError
from modeloutputs.torch import products, use_product
from modeloutputs.torch.product_ways import TRANSPOSED_WAYS, WAYS
from modeloutputs.torch.products import (
    MAX_FEW_ROWS,
    Processor,
    Product,
    choose_product,
    convolves_constants,
    linear,
    transposed_linear,
)

from ..support.processes import run_code

INPUTS = 512
OUTPUTS = 1024

PROCESSORS = {
    "AMD with AVX-512": Processor(amd=True, avx512=True),
    "AMD": Processor(amd=True, avx512=False),
    "others": Processor(amd=False, avx512=True),
}


CHOOSE = products._choose.__wrapped__
"""The rule itself, which remembers nothing."""


def set_processor(monkeypatch: pytest.MonkeyPatch, kind: Processor) -> None:
    """Pretend to be on a processor with two threads; what was chosen before is forgotten."""
    monkeypatch.setattr(products, "this_processor", lambda: kind)
    monkeypatch.setattr(products, "_choose", CHOOSE)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)


@pytest.fixture(params=PROCESSORS.values(), ids=PROCESSORS)
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Processor:
    """Each kind of processor in turn."""
    set_processor(monkeypatch, request.param)
    return request.param


@pytest.fixture
def other_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    set_processor(monkeypatch, PROCESSORS["others"])


@pytest.fixture
def forced() -> Iterator[Callable[[str], None]]:
    """`use_product`, undone after the test."""
    yield use_product
    use_product(None)


def drawn(*shape: int, dtype: "torch.dtype" = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def exact(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute the product in float64, in NumPy."""
    product = torch.from_numpy(rows.double().numpy() @ weight.double().numpy().T)
    return product if bias is None else product + bias.double()


def assert_right(found: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    expected = exact(rows, weight, bias)
    assert found.shape == expected.shape
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-3)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the operations that computed products, in order."""
    names: list[str] = []

    def count(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Tensor:
            names.append(name)
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    for owner, name in ((torch, "bmm"), (torch, "baddbmm"), (F, "linear"), (F, "conv2d"), (F, "conv_transpose2d")):
        count(owner, name)
    return names


# -- numbers ----------------------------------------------------------------------------------------------------------

SHAPES = {
    "even sizes": (OUTPUTS, INPUTS),
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
    "one output": (1, 2**18),
    "one input": (2**18, 1),
}


def widths(name: str) -> tuple[int, int]:
    outputs, inputs = SHAPES[name]
    return inputs, outputs


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES.values(), ids=SHAPES)
def test_product_is_the_sum_written_out(
    outputs: int, inputs: int, biased: bool, rows: int, forced: Callable[[str], None]
) -> None:
    weight, given = drawn(outputs, inputs), drawn(rows, inputs, seed=1)
    bias = drawn(outputs, seed=2) if biased else None
    expected = exact(given, weight, bias)
    with torch.no_grad():
        for way in WAYS:
            forced(way)
            found = linear(given, weight, bias)
            assert found.shape == expected.shape
            assert found.is_contiguous()
            torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize(("inputs", "outputs"), [widths(name) for name in SHAPES], ids=SHAPES)
def test_product_with_a_transposed_weight_is_the_sum_written_out(
    outputs: int, inputs: int, biased: bool, rows: int, forced: Callable[[str], None]
) -> None:
    weight, given = drawn(inputs, outputs), drawn(rows, inputs, seed=1)
    bias = drawn(outputs, seed=2) if biased else None
    expected = exact(given, weight.t(), bias)
    with torch.no_grad():
        for way in TRANSPOSED_WAYS:
            forced(way)
            found = transposed_linear(given, weight, bias)
            assert found.shape == expected.shape
            assert found.is_contiguous()
            torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("rows", [4, 5, MAX_FEW_ROWS, MAX_FEW_ROWS + 1, 127, 128, 256])
def test_product_is_the_same_on_both_sides_of_each_boundary_of_the_rule(
    rows: int, biased: bool, processor: Processor
) -> None:
    weight, given = drawn(OUTPUTS, INPUTS), drawn(rows, INPUTS, seed=1)
    bias = drawn(OUTPUTS, seed=2) if biased else None
    with torch.no_grad():
        assert_right(linear(given, weight, bias), given, weight, bias)
        found = transposed_linear(given, weight.t().contiguous(), bias)
        assert_right(found, given, weight, bias)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_set_up_once_takes_any_number_of_rows(transposed: bool, processor: Processor) -> None:
    weight, bias = drawn(OUTPUTS, INPUTS), drawn(OUTPUTS, seed=2)
    product = Product(weight.t().contiguous() if transposed else weight, bias, transposed=transposed)
    with torch.no_grad():
        for rows in (1, 3, 1, 40, 300):
            given = drawn(rows, INPUTS, seed=rows)
            assert_right(product(given), given, weight, bias)


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

CHOICES: dict[tuple[int, int, int, bool], tuple[str, str, str]] = {
    # rows, inputs, outputs, transposed: on AMD with AVX-512, on other AMD, on others
    (1, 768, 3072, False): ("weight_first", "weight_first", "weight_first"),
    (2, 768, 3072, False): ("weight_first", "narrow", "narrow"),
    (2, 384, 1152, False): ("weight_first", "weight_first", "weight_first"),
    (4, 768, 768, False): ("weight_first", "weight_first", "weight_first"),
    (4, 3072, 768, False): ("narrow", "weight_first", "weight_first"),
    (8, 768, 3072, False): ("narrow", "weight_image", "weight_image"),
    (8, 384, 1152, False): ("narrow", "narrow", "narrow"),
    (8, 384, 384, False): ("narrow", "narrow", "narrow"),
    (8, 3072, 768, False): ("narrow", "narrow", "narrow"),
    (16, 3072, 768, False): ("narrow", "weight_image", "weight_image"),
    (3, 768, 50257, False): ("weight_first", "weight_image", "weight_image"),
    (1, 768, 50257, False): ("weight_first", "weight_first", "weight_first"),
    (2, 768, 50257, False): ("weight_first", "weight_image", "weight_image"),
    (4, 768, 50257, False): ("weight_first", "weight_image", "weight_image"),
    (1, 3072, 768, False): ("weight_first", "narrow", "narrow"),
    (3, 384, 1536, False): ("weight_first", "weight_first", "weight_first"),
    (3, 768, 3072, False): ("weight_first", "narrow", "narrow"),
    (16, 1536, 384, False): ("narrow", "narrow", "narrow"),
    (8, 768, 50257, False): ("narrow", "weight_image", "weight_image"),
    (64, 384, 1152, False): ("narrow", "narrow", "narrow"),
    (65, 384, 1152, False): ("narrow", "narrow", "linear"),
    (127, 384, 1152, False): ("narrow", "narrow", "linear"),
    (128, 384, 1152, False): ("rows_image", "narrow", "linear"),
    (129, 384, 1152, False): ("rows_image", "linear", "linear"),
    (256, 768, 768, False): ("rows_image", "narrow", "linear"),
    (383, 768, 3072, False): ("rows_image", "linear", "linear"),
    (384, 768, 3072, False): ("rows_image", "rows_image", "linear"),
    (4096, 384, 1536, False): ("rows_image", "rows_image", "linear"),
    (4096, 1536, 384, False): ("rows_image", "linear", "linear"),
    (4096, 384, 384, False): ("rows_image", "linear", "linear"),
    (4096, 768, 2, False): ("linear", "linear", "linear"),
    (512, 768, 50257, False): ("linear", "linear", "linear"),
    (1, 64, 64, False): ("linear", "linear", "linear"),
    (8, 256, 256, False): ("linear", "linear", "linear"),
    (0, 768, 768, False): ("linear", "linear", "linear"),
    (1, 768, 2304, True): ("input_slices", "input_slices", "input_slices"),
    (3, 768, 2304, True): ("input_slices", "input_slices", "input_slices"),
    (4, 768, 2304, True): ("narrow", "narrow", "narrow"),
    (4, 3072, 768, True): ("narrow", "input_slices", "input_slices"),
    (128, 768, 2304, True): ("narrow", "narrow", "linear"),
    (129, 768, 2304, True): ("linear", "linear", "linear"),
    (256, 3072, 768, True): ("rows_image", "linear", "linear"),
    (512, 768, 2304, True): ("rows_image", "rows_image", "linear"),
}


@pytest.mark.parametrize("case", CHOICES, ids=str)
def test_the_rule_is_the_table_of_what_was_measured(
    case: tuple[int, int, int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, inputs, outputs, transposed = case
    for kind, expected in zip(PROCESSORS.values(), CHOICES[case], strict=True):
        set_processor(monkeypatch, kind)
        assert choose_product(rows, inputs, outputs, transposed=transposed) == expected, kind


def test_what_autograd_records_is_a_convolution_of_many_rows_or_the_frameworks_own(processor: Processor) -> None:
    chosen = {rows: choose_product(rows, 768, 3072, recorded=True) for rows in (1, 8, 64, 128, 1024)}
    many = "rows_image" if processor.convolves_well else "linear"
    assert chosen == {1: "linear", 8: "linear", 64: "linear", 128: many, 1024: many}


def test_a_single_thread_does_without_convolutions(monkeypatch: pytest.MonkeyPatch, processor: Processor) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    chosen = [choose_product(rows, 768, 3072) for rows in (1, 8, 1024)]
    assert chosen == ["narrow", "narrow", "linear"]


def test_forcing_a_way_is_for_what_it_can_compute(forced: Callable[[str], None]) -> None:
    forced("input_slices")
    assert choose_product(1, 768, 768) == "linear"
    assert choose_product(1, 768, 768, transposed=True) == "input_slices"
    forced("rows_image")
    assert choose_product(1, 8, 8) == choose_product(5000, 8, 8, recorded=True) == "rows_image"
    assert [convolves_constants(rows) for rows in (4, 6)] == [True, False]


def test_constants_are_convolved_where_convolutions_are_faster(processor: Processor) -> None:
    convolved = [rows for rows in (1, 64, 127, 128, 130, 4096) if convolves_constants(rows)]
    assert convolved == ([128, 4096] if processor.convolves_well else [])


def test_an_unknown_way_is_refused_and_changes_nothing(forced: Callable[[str], None]) -> None:
    forced("narrow")
    with pytest.raises(InputError, match="the product is 'narow'; did you mean 'narrow'\\?; expected None or one of"):
        use_product("narow")
    assert choose_product(5000, 8, 8) == "narrow"


@pytest.mark.parametrize("vendor", ["AuthenticAMD", "GenuineIntel"])
@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_processors_are_told_apart_by_vendor_and_capability(
    vendor: str, capability: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    described = tmp_path / "cpuinfo"
    described.write_text(f"vendor_id : {vendor}")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(products, "Path", lambda _: described)
    expected = Processor(vendor == "AuthenticAMD" and torch.backends.mkldnn.is_available(), capability == "AVX512")
    assert products.this_processor.__wrapped__() == expected
    described.unlink()  # as where there is no /proc
    monkeypatch.setattr(products.platform, "processor", lambda: f"Family 25, {vendor}")
    assert products.this_processor.__wrapped__() == expected


def test_few_rows_in_inference_read_the_weight_once(computed: list[str], other_processor: None) -> None:
    weight, bias = drawn(OUTPUTS, INPUTS), drawn(OUTPUTS)
    for mode in (torch.no_grad, torch.inference_mode):
        for rows in (1, MAX_FEW_ROWS):
            with mode():
                linear(drawn(rows, INPUTS), weight)
                linear(drawn(rows, INPUTS), weight, bias)
    narrow = ["conv2d", "conv2d"]  # this weight is twice as wide as its rows
    assert computed == ["bmm", "baddbmm", *narrow] * 2


def test_narrow_products_are_about_as_wide_as_the_best(
    monkeypatch: pytest.MonkeyPatch, forced: Callable[[str], None]
) -> None:
    """1024 = 32 · 32 = 16 · 64 = 8 · 128: 64 and 128 are as near to 96, 32 is not."""
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    product = torch.bmm

    def noting(left: Tensor, right: Tensor) -> Tensor:
        shapes.append((tuple(left.shape), tuple(right.shape)))
        return product(left, right)

    monkeypatch.setattr(torch, "bmm", noting)
    forced("narrow")
    with torch.no_grad():
        for outputs in (1024, 768 * 3, 2 * 2503):
            linear(drawn(2, INPUTS), drawn(outputs, INPUTS))
    assert [right[::2] for _, right in shapes] == [(16, 64), (24, 96), (2, 2503)]
    assert all(left == (right[0], 2, INPUTS) and right[1] == INPUTS for left, right in shapes)


@pytest.mark.parametrize(("threads", "outputs", "parts"), [(2, 768, 16), (2, 50257, 29), (2, 50265, 45), (16, 768, 16)])
def test_parts_of_a_weight_are_shared_out_evenly(
    threads: int, outputs: int, parts: int, monkeypatch: pytest.MonkeyPatch, forced: Callable[[str], None]
) -> None:
    shapes: list[tuple[int, ...]] = []
    product = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda left, right: [shapes.append(left.shape), product(left, right)][1])
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    forced("weight_first")
    with torch.no_grad():
        linear(drawn(1, 16), drawn(outputs, 16))
    assert shapes == [(parts, outputs // parts, 16)]


PLAIN: dict[str, tuple[Tensor, Tensor]] = {
    "a row too many": (drawn(MAX_FEW_ROWS + 1, INPUTS), drawn(OUTPUTS, INPUTS)),
    "too many in all": (drawn(5, 13, INPUTS), drawn(OUTPUTS, INPUTS)),
    "no rows": (drawn(0, INPUTS), drawn(OUTPUTS, INPUTS)),
    "a small weight": (drawn(1, INPUTS), drawn(127, INPUTS)),
    "a prime number of outputs": (drawn(1, 128), drawn(5003, 128)),
    "a transposed weight": (drawn(1, INPUTS), drawn(INPUTS, OUTPUTS).T),
    "float64": (drawn(1, INPUTS, dtype=torch.float64), drawn(OUTPUTS, INPUTS, dtype=torch.float64)),
    "bfloat16": (drawn(1, INPUTS, dtype=torch.bfloat16), drawn(OUTPUTS, INPUTS, dtype=torch.bfloat16)),
    "float16": (drawn(1, INPUTS, dtype=torch.float16), drawn(OUTPUTS, INPUTS, dtype=torch.float16)),
}


@pytest.mark.parametrize(("rows", "weight"), PLAIN.values(), ids=PLAIN)
def test_other_cases_use_the_plain_product(
    rows: Tensor, weight: Tensor, computed: list[str], other_processor: None
) -> None:
    bias = drawn(weight.shape[0], seed=2).to(weight.dtype)
    with torch.no_grad():
        without, biased = linear(rows, weight), linear(rows, weight, bias)
    assert computed == ["linear", "linear"]
    assert without.dtype == biased.dtype == weight.dtype
    assert torch.equal(without, F.linear(rows, weight))
    assert torch.equal(biased, F.linear(rows, weight, bias))
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-3}.get(weight.dtype, 0.25)  # sums are about 20
    torch.testing.assert_close(biased.double(), exact(rows, weight, bias), rtol=tolerance / 10, atol=tolerance)


# -- where others compute too -----------------------------------------------------------------------------------------


def gradients(product: Any, rows: int, *, transposed: bool = False) -> list[Tensor]:
    """Return the gradients of rows, weight and bias, of a sum that tells all of them apart."""
    weight = drawn(OUTPUTS, INPUTS, seed=1)
    tensors = [drawn(rows, INPUTS), weight.t().contiguous() if transposed else weight, drawn(OUTPUTS, seed=2)]
    for tensor in tensors:
        tensor.requires_grad_()
    (product(*tensors) * drawn(rows, OUTPUTS, seed=3)).sum().backward()
    return [tensor.grad for tensor in tensors]


def test_gradients_of_few_rows_are_those_of_the_plain_product(computed: list[str], processor: Processor) -> None:
    found, expected = gradients(linear, 2), gradients(F.linear, 2)
    assert computed == ["linear", "linear"]
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("rows", [128, 300])
def test_gradients_of_many_rows_are_those_of_the_plain_product(
    rows: int, computed: list[str], processor: Processor
) -> None:
    found, expected = gradients(linear, rows), gradients(F.linear, rows)
    assert computed == ["conv2d" if processor.convolves_well else "linear", "linear"]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("way", [*WAYS, "input_slices"])
def test_every_way_has_the_gradients_of_the_plain_product(way: str, forced: Callable[[str], None]) -> None:
    forced(way)
    found = gradients(linear, 5), gradients(transposed_linear, 5, transposed=True)
    expected = gradients(F.linear, 5)
    for ours, theirs in zip(found[0], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-3)
    for ours, theirs in zip(found[1], expected, strict=True):
        torch.testing.assert_close(ours if ours.shape == theirs.shape else ours.t(), theirs, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("rows", [2, 200])
def test_autocast_is_left_its_choice(rows: int, computed: list[str], processor: Processor) -> None:
    given, weight = drawn(rows, INPUTS), drawn(OUTPUTS, INPUTS, seed=1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = linear(given, weight)
    assert computed == ["linear"]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact(given, weight), rtol=0.02, atol=0.5)


def functions_of(graph: Any) -> list[str]:
    """Return the last words of the names of what a graph calls."""
    names = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    return [name.rpartition(" ")[2] for name in names]


@pytest.mark.parametrize("rows", [2, 200])
def test_a_compiler_is_left_its_choice(rows: int, processor: Processor) -> None:
    torch._dynamo.reset()
    given, weight, seen = drawn(rows, INPUTS), drawn(OUTPUTS, INPUTS, seed=1), []

    def backend(module: Any, inputs: Any) -> Any:
        seen.extend(functions_of(module.graph))
        return module

    with torch.no_grad():
        found = torch.compile(linear, fullgraph=True, backend=backend)(given, weight)
    assert seen == [str(F.linear).rpartition(" ")[2]]
    assert_right(found, given, weight)


class Linear(torch.nn.Module):
    """Holds a weight, and computes its product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(drawn(OUTPUTS, INPUTS, seed=1))

    def forward(self, rows: Tensor) -> Tensor:
        return linear(rows, self.weight)


@pytest.mark.parametrize("rows", [2, 200])
def test_an_exported_program_holds_the_plain_product(rows: int, processor: Processor) -> None:
    with torch.no_grad():
        program = torch.export.export(Linear(), (drawn(rows, INPUTS),))
    assert functions_of(program.graph) == ["aten.linear.default"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("rows", [2, 200])
def test_a_trace_holds_the_plain_product(rows: int, processor: Processor) -> None:
    with torch.no_grad():
        traced = torch.jit.trace(Linear(), (drawn(rows, INPUTS),), check_trace=False)
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert "aten::linear" in kinds
    assert not kinds & {"aten::bmm", "aten::baddbmm", "aten::conv2d", "aten::_convolution"}


@pytest.mark.parametrize("vectorised", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize("way", [None, *WAYS])
def test_vmap_goes_through_it(
    way: str | None, vectorised: tuple[int | None, int | None], forced: Callable[[str | None], None]
) -> None:
    rows, weight = drawn(3, 2, INPUTS), drawn(3, OUTPUTS, INPUTS, seed=1)
    given = rows if vectorised[0] == 0 else rows[0], weight if vectorised[1] == 0 else weight[0]
    forced(way)
    with torch.no_grad():
        found = torch.vmap(linear, in_dims=vectorised)(*given)
    expected = [exact(*(t[i] if d == 0 else t for t, d in zip(given, vectorised, strict=True))) for i in range(3)]
    torch.testing.assert_close(found.double(), torch.stack(expected), rtol=1e-5, atol=1e-3)


def test_gradients_per_row_of_a_batch_go_through_a_convolution(forced: Callable[[str], None]) -> None:
    """`torch.func.grad` under `vmap`, as those do who clip each row's gradient."""
    weight, rows = drawn(OUTPUTS, INPUTS, seed=1), drawn(3, 2, INPUTS)
    forced("rows_image")
    found = torch.vmap(torch.func.grad(lambda w, r: linear(r, w).square().sum()), in_dims=(None, 0))(weight, rows)
    for i in range(3):
        expected = 2 * exact(rows[i], weight).t() @ rows[i].double()
        torch.testing.assert_close(found[i].double(), expected, rtol=1e-4, atol=1e-1)


RUN = """
import hashlib, torch
from modeloutputs.torch import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel
torch.manual_seed(0)
bert = BertModel(BertConfig(vocab_size=99, hidden_size=256, num_hidden_layers=2, num_attention_heads=4,
                            intermediate_size=1024)).eval()
gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=999, n_embd=256, n_layer=2, n_head=4, eos_token_id=7)).eval()
digest = hashlib.sha256()
with torch.no_grad():
    for rows, length in ((1, 8), (4, 16), (8, 64)):
        digest.update(bert(torch.ones(rows, length, dtype=torch.int64)).last_hidden_state.numpy().tobytes())
        output = gpt2.generate(torch.ones(rows, 4, dtype=torch.int64), max_new_tokens=6, eos_token_id=(),
                               output_scores=True)
        digest.update(output.scores.numpy().tobytes())
print(digest.hexdigest())
"""


def test_two_processes_compute_the_same_bits() -> None:
    first, second = run_code(RUN), run_code(RUN)
    assert len(first) == 64
    assert first == second


def test_the_environment_forces_a_way() -> None:
    code = "from modeloutputs.torch.products import choose_product; print(choose_product(4096, 8, 8))"
    assert run_code(code, MODELOUTPUTS_PRODUCT="narrow") == "narrow"


class Quantised(torch.Tensor):
    """A weight that knows how it is multiplied, and nothing else."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch._C._nn.linear:
            return torch.full((*args[0].shape[:-1], OUTPUTS), 7.0)
        if func in (Tensor.view, Tensor.transpose, Tensor.reshape, torch.bmm, torch.baddbmm, torch.conv2d):
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
