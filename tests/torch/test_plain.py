"""Fast ways around modules: the numbers of the module, and taken only where nobody could tell."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from collections.abc import Callable, Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

from modeloutputs.torch.layers import Conv1D
from modeloutputs.torch.plain import (
    add_residual,
    apply_dropout,
    apply_embedding_row,
    apply_linear,
    apply_linears,
    apply_positions,
    can_modify_in_place,
    has_hooks,
    is_plain,
    joint_parameters,
    pack_linears,
)

from .tiny import randomise, states

WIDTH = 8


class Counted(nn.Linear):
    """A subclass: it may do anything."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 1


def hooked(module: nn.Module) -> None:
    module.register_forward_hook(lambda *_: None)


def prehooked(module: nn.Module) -> None:
    module.register_forward_pre_hook(lambda *_: None)


def watched_backwards(module: nn.Module) -> None:
    module.register_full_backward_hook(lambda *_: None)


def patched(module: nn.Module) -> None:
    module.forward = module.forward  # type: ignore[method-assign]


def parametrised(module: nn.Module) -> None:
    nn.utils.parametrizations.weight_norm(module)


CHANGES = (hooked, prehooked, watched_backwards, patched, parametrised)
every_change = pytest.mark.parametrize("change", CHANGES, ids=[change.__name__ for change in CHANGES])


# -- plain or not -----------------------------------------------------------------------------------------------------


def test_the_frameworks_own_module_is_plain() -> None:
    layer = nn.Linear(2, 2)
    assert is_plain(layer, nn.Linear)
    assert is_plain(layer, nn.Dropout, nn.Linear)
    assert not is_plain(layer, nn.Dropout)
    assert not is_plain(Counted(2, 2), nn.Linear)
    assert not has_hooks(layer)


@every_change
def test_a_module_that_somebody_changed_is_not_plain(change: Callable[[nn.Module], None]) -> None:
    layer = nn.Linear(2, 2)
    change(layer)
    assert not is_plain(layer, nn.Linear)


@pytest.mark.parametrize("register", ["forward_hook", "forward_pre_hook", "full_backward_hook"])
def test_a_global_hook_makes_no_module_plain(register: str) -> None:
    handle = getattr(nn.modules.module, f"register_module_{register}")(lambda *_: None)
    try:
        assert not is_plain(nn.Linear(2, 2), nn.Linear)
        assert has_hooks(nn.Linear(2, 2))
    finally:
        handle.remove()
    assert is_plain(nn.Linear(2, 2), nn.Linear)


@pytest.mark.parametrize("change", [hooked, prehooked, watched_backwards])
def test_hooks_of_modules_within_are_found(change: Callable[[nn.Module], None]) -> None:
    outer = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.ReLU())
    assert not has_hooks(outer)
    change(outer[0][0])
    assert has_hooks(outer)
    assert not has_hooks(outer[1])


def test_only_results_of_plain_modules_that_return_new_tensors_may_be_overwritten() -> None:
    linear, conv, dropout = nn.Linear(2, 2), Conv1D(2, 2), nn.Dropout()
    assert can_modify_in_place(linear, conv, dropout)
    assert not can_modify_in_place(linear, nn.Identity())
    assert not can_modify_in_place(Counted(2, 2))
    hooked(conv)
    assert not can_modify_in_place(linear, conv)


def test_a_residual_is_added_in_place_where_nobody_could_tell() -> None:
    linear, residual = nn.Linear(3, 3), torch.full((3,), 2.0)
    update = torch.ones(3)
    assert add_residual(update, residual, linear) is update
    assert update.tolist() == [3, 3, 3]
    assert residual.tolist() == [2, 2, 2]
    hooked(linear)
    kept = torch.ones(3)
    assert add_residual(kept, residual, linear).tolist() == [3, 3, 3]
    assert kept.tolist() == [1, 1, 1]


def test_a_residual_of_higher_precision_is_kept_so() -> None:
    update, residual = torch.ones(1, dtype=torch.bfloat16), torch.tensor([2.0**-12])
    assert add_residual(update, residual, nn.Linear(1, 1)).item() == 1 + 2.0**-12
    assert update.item() == 1


# -- calls that are left out ------------------------------------------------------------------------------------------


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Name the class of each module that is called."""
    names: list[str] = []
    call = nn.Module.__call__

    def counting(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        names.append(type(self).__name__)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "__call__", counting)
    return names


def test_dropout_is_called_where_it_acts_or_is_watched(called: list[str]) -> None:
    dropout, ones = nn.Dropout(0.5), torch.ones(100)
    assert apply_dropout(dropout.eval(), ones) is ones
    assert not called
    torch.manual_seed(0)
    assert set(apply_dropout(dropout.train(), ones).tolist()) == {0.0, 2.0}
    hooked(dropout)
    assert apply_dropout(dropout.eval(), ones).tolist() == ones.tolist()
    assert called == ["Dropout"] * 2


OUTPUTS = 2**19 // WIDTH
"""Of a weight that is large enough for a product of few rows."""


def test_a_large_plain_linear_layer_is_computed_without_a_call_for_few_rows_in_inference(called: list[str]) -> None:
    for outputs, calls in ((5, ["Linear"]), (OUTPUTS, [])):  # the plain product, and that of few rows
        layer, rows = randomise(nn.Linear(WIDTH, outputs)), states(2, 3, WIDTH)
        expected = rows @ layer.weight.T + layer.bias
        with torch.no_grad():
            torch.testing.assert_close(apply_linear(layer, rows), expected.detach())
        assert called == calls
        called.clear()
        torch.testing.assert_close(apply_linear(layer, rows), expected)  # gradients are recorded
        assert called == ["Linear"]
        called.clear()


@every_change
@torch.no_grad()
def test_a_linear_layer_that_somebody_changed_is_called(change: Callable[[nn.Module], None], called: list[str]) -> None:
    layer, rows = randomise(nn.Linear(WIDTH, 5)), states(2, 3, WIDTH)
    change(layer)
    expected = layer(rows)
    torch.testing.assert_close(apply_linear(layer, rows), expected)
    assert len([name for name in called if "Linear" in name]) == 2


@torch.no_grad()
def test_a_weight_of_another_kind_brings_its_own_product() -> None:
    class Quantised(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch._C._nn.linear:
                return torch.full((*args[0].shape[:-1], OUTPUTS), 7.0)
            return super().__torch_function__(func, types, args, kwargs or {})

    layer = nn.Linear(WIDTH, OUTPUTS)
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Quantised), requires_grad=False)
    assert torch.equal(apply_linear(layer, states(1, 2, WIDTH)), torch.full((1, 2, OUTPUTS), 7.0))
    assert joint_parameters([layer, layer]) is None


# -- embeddings -------------------------------------------------------------------------------------------------------


def table(rows: int = 6, **options: Any) -> nn.Embedding:
    return randomise(nn.Embedding(rows, WIDTH, **options))


@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}, {"max_norm": 0.1}], ids=str)
@pytest.mark.parametrize("start", [0, 2])
@torch.no_grad()
def test_positions_are_rows_of_the_table(start: int, options: dict[str, Any]) -> None:
    module, like = table(**options), torch.zeros(3, 4, WIDTH)
    found = like + apply_positions(module, None, start, like)
    torch.testing.assert_close(found, table(**options)(torch.arange(start, start + 4)).expand(3, -1, -1))
    ids = torch.tensor([[5, 0, 1, 1]])
    assert torch.equal(apply_positions(module, ids, start, like), module(ids))


@pytest.mark.parametrize("options", [{}, {"max_norm": 0.1}], ids=str)
@torch.no_grad()
def test_one_row_of_a_table_is_the_embedding_of_every_position(options: dict[str, Any]) -> None:
    like = torch.zeros(3, 4, WIDTH)
    found = like + apply_embedding_row(table(**options), 1, like)
    torch.testing.assert_close(found, table(**options)(torch.ones(3, 4).long()))


def test_tables_that_are_watched_or_replaced_are_called(called: list[str]) -> None:
    class Offset(nn.Module):
        def forward(self, ids: Tensor) -> Tensor:
            return ids[..., None].float()

    like, watched = torch.zeros(3, 4, 1), nn.Embedding(6, 1)
    hooked(watched)
    for module, name in ((watched, "Embedding"), (Offset(), "Offset")):
        apply_positions(module, None, 1, like)
        apply_embedding_row(module, 1, like)
        assert called == [name] * 2
        called.clear()
    assert (like + apply_positions(Offset(), None, 1, like))[0, :, 0].tolist() == [1, 2, 3, 4]
    assert (like + apply_embedding_row(Offset(), 5, like)).eq(5).all()


# -- several layers of one input --------------------------------------------------------------------------------------


def layers(*outputs: int, bias: bool = True) -> list[nn.Linear]:
    return [randomise(nn.Linear(WIDTH, count, bias=bias), seed=i) for i, count in enumerate(outputs)]


@torch.no_grad()
def test_layers_with_and_without_bias_are_computed_apart() -> None:
    mixed, rows = [*layers(4, bias=False), *layers(4, 4)], states(2, 3, WIDTH)
    pack_linears(mixed)
    assert joint_parameters(mixed) is None
    torch.testing.assert_close(list(apply_linears(mixed, rows)), [layer(rows) for layer in mixed])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [(4, 4, 4), (6, 2, 2), (5,)])
@torch.no_grad()
def test_packed_layers_are_one_product_with_the_same_results(
    outputs: Sequence[int], bias: bool, called: list[str]
) -> None:
    apart, rows = layers(*outputs, bias=bias), states(2, 3, WIDTH)
    expected = [layer(rows) for layer in apart]
    weights = [[p.clone() for p in layer.parameters()] for layer in apart]
    identities = [[id(p) for p in layer.parameters()] for layer in apart]
    assert (joint_parameters(apart) is None) == (len(outputs) > 1)
    pack_linears(apart)
    joint = joint_parameters(apart)
    assert joint is not None
    weight, joined_bias, sizes = joint
    assert sizes == list(outputs)
    assert torch.equal(weight, torch.cat([layer.weight for layer in apart]))
    assert (joined_bias is None) == (not bias)
    assert joined_bias is None or torch.equal(joined_bias, torch.cat([layer.bias for layer in apart]))
    called.clear()
    torch.testing.assert_close(list(apply_linears(apart, rows)), expected)
    assert called == (["Linear"] if len(outputs) == 1 else [])
    assert [[id(p) for p in layer.parameters()] for layer in apart] == identities
    for layer, before in zip(apart, weights, strict=True):
        assert all(map(torch.equal, layer.parameters(), before))


def test_changes_of_a_packed_weight_change_the_product() -> None:
    apart, rows = layers(4, 4), states(2, 3, WIDTH)
    pack_linears(apart)
    with torch.no_grad():
        apart[1].weight += 1
        torch.testing.assert_close(list(apply_linears(apart, rows)), [layer(rows) for layer in apart])
        apart[0].weight = nn.Parameter(torch.zeros(4, WIDTH))
        assert joint_parameters(apart) is None
        torch.testing.assert_close(list(apply_linears(apart, rows)), [layer(rows) for layer in apart])


@every_change
def test_of_packed_layers_each_is_called_where_one_was_changed(change: Callable[[nn.Module], None]) -> None:
    apart, rows, seen = layers(4, 4), states(2, 3, WIDTH), []
    pack_linears(apart)
    change(apart[1])
    apart[1].register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        torch.testing.assert_close(list(apply_linears(apart, rows)), [layer(rows) for layer in apart])
    assert len(seen) == 2


def test_gradients_of_packed_layers_are_each_their_own() -> None:
    apart, plain, rows = layers(4, 4), layers(4, 4), states(2, 3, WIDTH)
    pack_linears(apart)
    for each in (apart, plain):
        torch.cat(list(apply_linears(each, rows)), -1).square().sum().backward()
    for mine, other in zip(apart, plain, strict=True):
        torch.testing.assert_close(mine.weight.grad, other.weight.grad)
        torch.testing.assert_close(mine.bias.grad, other.bias.grad)


UNLIKE: dict[str, Callable[[], list[nn.Module]]] = {
    "another dtype": lambda: [nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 4).double()],
    "another class": lambda: [nn.Linear(WIDTH, 4), Counted(WIDTH, 4)],
    "no values": lambda: [nn.Linear(WIDTH, 4, device="meta"), nn.Linear(WIDTH, 4, device="meta")],
    "transposed": lambda: [Conv1D(WIDTH, 4), Conv1D(WIDTH, 4)],
}


@pytest.mark.parametrize("make", UNLIKE.values(), ids=UNLIKE)
def test_layers_that_are_not_alike_are_left_where_they_are(make: Callable[[], list[nn.Module]]) -> None:
    apart = make()
    before = [[p.data_ptr() for p in layer.parameters()] for layer in apart]
    pack_linears(apart)
    assert [[p.data_ptr() for p in layer.parameters()] for layer in apart] == before


@torch.no_grad()
def test_neighbours_in_two_storages_are_not_one_weight() -> None:
    """Freed memory is handed out again, so two weights may lie end to end by chance."""
    whole = torch.randn(8, WIDTH)
    first, second = layers(4, 4, bias=False)
    first.weight = nn.Parameter(whole[:4])
    second.weight = nn.Parameter(
        torch.frombuffer(whole.numpy().data, dtype=torch.float32, offset=4 * WIDTH * 4).view(4, WIDTH)
    )
    assert second.weight.data_ptr() == first.weight.data_ptr() + first.weight.nbytes
    joint = joint_parameters([first, second])
    assert joint is None or torch.equal(joint[0], whole)
    copy = nn.Parameter(whole[:4].clone())
    first.weight = copy
    assert joint_parameters([first, second]) is None
