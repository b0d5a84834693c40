"""Outputs of PyTorch on their way: between devices, processes, datasets, files and other libraries."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor
from torch.nn.parallel import scatter_gather
from torch.utils import _pytree

from modeloutputs import ContractError, ModelOutput
from modeloutputs.torch import outputs
from modeloutputs.torch.cache import Cache
from modeloutputs.torch.outputs import BaseModelOutput, CausalLMOutputWithPast

from ..support.compare import assert_same
from ..support.once import made_once
from .marks import machinery
from .torch_models import WIDTH, filled, finish, normal, scorer, start
from .torch_processes import ROWS, output_of, scored
from .torch_users import Scored

CLASSES = [getattr(outputs, name) for name in outputs.__all__]
every_class = pytest.mark.parametrize("cls", CLASSES, ids=outputs.__all__)


def without_placeholders(output: Any) -> Any:
    return output.replace(hidden_states=tuple(state for state in output.hidden_states if state is not None))


# -- data parallel ----------------------------------------------------------------------------------------------------


class CpuGather:
    """Stands in for what `gather` copies tensors between GPUs with, which refuses those of the CPU.

    How outputs are taken apart and rebuilt around it is Python, and the same on every device.
    """

    @staticmethod
    def apply(_device: int, axis: int, *tensors: Tensor) -> Tensor:
        return torch.cat([tensor.reshape(1) if tensor.dim() == 0 else tensor for tensor in tensors], axis)


class CpuScatter:
    """The same for `scatter`."""

    @staticmethod
    def apply(devices: list[int], _sizes: None, axis: int, tensor: Tensor) -> tuple[Tensor, ...]:
        return tensor.chunk(len(devices), axis)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scatter_gather, "Gather", CpuGather)
    monkeypatch.setattr(scatter_gather, "Scatter", CpuScatter)


@machinery("data parallel")
@pytest.mark.usefixtures("no_gpu")
@every_class
def test_data_parallel_gathers(cls: type[ModelOutput]):
    parts = [filled(cls, seed=seed) for seed in range(3)]
    gathered = scatter_gather.gather(parts, 0)
    assert type(gathered.check()) is cls
    assert_same(gathered, _pytree.tree_map(lambda *leaves: CpuGather.apply(0, 0, *leaves), *parts))
    if "loss" in parts[0]:
        assert gathered.loss.tolist() == [part.loss.item() for part in parts]
    assert type(gathered.get("past_key_values")) in (Cache, type(None))


@machinery("data parallel")
@pytest.mark.usefixtures("no_gpu")
def test_data_parallel_trains():
    module, states = scorer(), normal(4, 5, WIDTH)
    gathered = scatter_gather.gather([module(states[:2]), module(states[2:])], 0)
    assert type(gathered) is Scored
    assert gathered.hidden_states[1] is None
    expected = torch.autograd.grad(module(states).loss, list(module.parameters()))
    gradients = torch.autograd.grad(gathered.loss.mean(), list(module.parameters()))
    torch.testing.assert_close(gradients, expected, atol=1e-6, rtol=0)


@machinery("data parallel")
@pytest.mark.usefixtures("no_gpu")
def test_data_parallel_scatters_outputs_that_are_inputs():
    encoded = filled(BaseModelOutput)
    parts = scatter_gather.scatter(encoded, [0, 1])
    for row, part in enumerate(parts):
        assert_same(part, _pytree.tree_map(lambda leaf: leaf[row : row + 1], encoded))  # noqa: B023


# -- between processes, from datasets, from files ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def arrived(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What arrived from other processes."""
    folder = made_once(tmp_path_factory, "arrived", lambda folder: finish(start("torch_processes", folder / "all.pt")))
    return torch.load(folder / "all.pt", weights_only=False)


@machinery("queues between processes")
def test_queues_carry_outputs_in_shared_memory(arrived: dict[str, Any]):
    (ours, ours_shared), (users, users_shared) = arrived["queues"]
    assert_same(ours, output_of(0, placeholder=True))
    assert_same(users, scored(1))
    assert (type(ours), type(users)) == (CausalLMOutputWithPast, Scored)
    assert ours_shared
    assert users_shared


@machinery("data loading")
def test_workers_load_outputs(arrived: dict[str, Any]):
    assert len(arrived["items"]) == ROWS
    for row, output in enumerate(arrived["items"]):
        assert_same(output, output_of(row, placeholder=True))


@machinery("data loading")
def test_workers_convert_outputs_that_are_not_collated(arrived: dict[str, Any]):
    # PyTorch's conversion makes lists of all tuples; class, placeholders and values stay.
    assert len(arrived["converted"]) == ROWS
    for row, output in enumerate(arrived["converted"]):
        assert type(output) is CausalLMOutputWithPast
        assert type(output.hidden_states) is type(output.past_key_values) is list
        assert output.hidden_states[0] is None
        torch.testing.assert_close(output.to_flat_dict(), output_of(row, placeholder=True).to_flat_dict())


@machinery("data loading")
def test_workers_collate_outputs(arrived: dict[str, Any]):
    assert len(arrived["batches"]) == ROWS // 2
    for i, batch in enumerate(arrived["batches"]):
        rows = [output_of(2 * i), output_of(2 * i + 1)]
        assert type(batch) is CausalLMOutputWithPast
        # PyTorch's collation makes lists of all tuples, which our contract says.
        assert type(batch.hidden_states) is type(batch.past_key_values) is type(batch.past_key_values[0]) is list
        with pytest.raises(ContractError, match="past_key_values: expected a tuple"):
            batch.check()
        tuples = CausalLMOutputWithPast(
            logits=batch.logits,
            past_key_values=Cache(tuple(layer) for layer in batch.past_key_values),
            hidden_states=tuple(batch.hidden_states),
        )
        assert_same(tuples.check(), _pytree.tree_map(lambda *leaves: torch.stack(leaves), *rows))


@machinery("data loading")
def test_collation_refuses_placeholders_as_in_any_tuple():
    for items in ([output_of(0, placeholder=True)] * 2, [{"hidden_states": (None, torch.ones(2))}] * 2):
        with pytest.raises(TypeError, match="NoneType"):
            torch.utils.data.default_collate(items)


@machinery("data loading")
def test_pinned_outputs_keep_their_class(monkeypatch: pytest.MonkeyPatch):
    # Pages are pinned for a GPU that is not here; how outputs are taken apart and rebuilt for it is Python.
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor + 1)
    output = filled(CausalLMOutputWithPast)
    pinned = torch.utils.data._utils.pin_memory.pin_memory(output)
    assert_same(pinned, _pytree.tree_map(lambda leaf: leaf + 1, output))
    assert type(pinned.past_key_values) is Cache


@machinery("save and load")
@every_class
def test_loading_weights_only_restores_our_classes(tmp_path: Path, cls: type[ModelOutput]):
    output = filled(cls)
    torch.save(output, tmp_path / "output.pt")
    loaded = torch.load(tmp_path / "output.pt", weights_only=True)
    assert type(loaded) is cls
    assert_same(loaded, output)


@machinery("save and load")
def test_loading_weights_only_refuses_a_users_class_until_it_is_allowed(tmp_path: Path):
    torch.save(scored(0), tmp_path / "output.pt")
    with pytest.raises(Exception, match="add_safe_globals"):
        torch.load(tmp_path / "output.pt", weights_only=True)
    with torch.serialization.safe_globals([Scored]):
        assert_same(torch.load(tmp_path / "output.pt", weights_only=True), scored(0))


# -- TensorDict -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tensordict() -> ModuleType:
    return pytest.importorskip("tensordict", reason="tensordict is not installed")


@machinery("TensorDict")
def test_tensordicts_are_made_of_flat_outputs(tensordict: ModuleType):
    output = filled(CausalLMOutputWithPast).replace(loss=None)
    made = tensordict.TensorDict(output.to_flat_dict(), batch_size=[2])
    assert list(made.keys()) == list(output.to_flat_dict())
    row = made[1]
    for name, leaf in output.to_flat_dict().items():
        assert torch.equal(row[name], leaf[1])


@machinery("TensorDict")
def test_tensordicts_are_made_of_nested_outputs(tensordict: ModuleType):
    output = without_placeholders(filled(CausalLMOutputWithPast).replace(attentions=None))
    for make in (tensordict.from_any, tensordict.TensorDict.from_any, tensordict.TensorDict.from_dict):
        made = make(output, auto_batch_size=False)
        nested = made.flatten_keys(".")
        assert {name: id(nested[name]) for name in nested.keys()} == {  # noqa: SIM118  # not a mapping's iteration
            name: id(leaf) for name, leaf in output.to_flat_dict().items()
        }


@machinery("TensorDict")
def test_tensordicts_give_outputs_back(tensordict: ModuleType):
    output = filled(CausalLMOutputWithPast)
    changed = tensordict.TensorDict(output.to_flat_dict()) + 1
    leaves = [changed[name] for name in output.to_flat_dict()]
    rebuilt = _pytree.tree_unflatten(leaves, _pytree.tree_structure(output))
    assert_same(rebuilt, _pytree.tree_map(lambda leaf: leaf + 1, output))


# -- accelerate -------------------------------------------------------------------------------------------------------


@pytest.fixture
def accelerate() -> ModuleType:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    return pytest.importorskip("accelerate.utils", reason="accelerate is not installed")


@machinery("accelerate")
def test_accelerate_moves_outputs(accelerate: ModuleType):
    output = filled(CausalLMOutputWithPast)
    moved = accelerate.send_to_device(output, torch.device("meta"))
    assert type(moved) is CausalLMOutputWithPast
    assert _pytree.tree_structure(moved) == _pytree.tree_structure(output)
    assert {leaf.device.type for leaf in _pytree.tree_leaves(moved)} == {"meta"}
    assert [leaf.shape for leaf in _pytree.tree_leaves(moved)] == [leaf.shape for leaf in _pytree.tree_leaves(output)]
    assert accelerate.find_device(output) == torch.device("cpu")


@machinery("accelerate")
def test_accelerate_applies_functions(accelerate: ModuleType):
    output = filled(CausalLMOutputWithPast)
    doubled = accelerate.recursively_apply(lambda leaf: leaf * 2, output)
    assert_same(doubled, _pytree.tree_map(lambda leaf: leaf * 2, output))
    assert type(accelerate.honor_type(output, output.items())) is CausalLMOutputWithPast
    assert accelerate.honor_type(output, output.items()) == output
    shapes = accelerate.operations.get_shape(output)
    assert type(shapes) is CausalLMOutputWithPast
    assert shapes.hidden_states == (None, list(output.hidden_states[1].shape))
    assert accelerate.listify(output).logits == output.logits.tolist()


@machinery("accelerate")
def test_accelerate_pads_arrays_by_flat_name_where_there_are_placeholders(accelerate: ModuleType):
    # It refuses None wherever it meets one, and calls nothing of a container that could leave it out.
    importlib.import_module("accelerate").PartialState()
    output = filled(CausalLMOutputWithPast)
    with pytest.raises(TypeError, match="NoneType"):
        accelerate.pad_across_processes(output, dim=1)
    flat = output.to_flat_dict()
    padded = accelerate.pad_across_processes(flat, dim=1)
    assert list(padded) == list(flat)
    assert all(torch.equal(padded[name], array) for name, array in flat.items())


@machinery("accelerate")
def test_accelerate_concatenates_and_slices(accelerate: ModuleType):
    # It concatenates neither placeholders nor 0-d tensors, and takes the first tensor's rows for the batch.
    parts = [without_placeholders(filled(CausalLMOutputWithPast, seed=seed)) for seed in range(2)]
    parts = [part.replace(loss=None, attentions=None) for part in parts]
    whole = accelerate.concatenate(parts)
    assert_same(whole.check(), _pytree.tree_map(lambda *leaves: torch.cat(leaves), *parts))
    assert accelerate.find_batch_size(whole) == 4
    assert_same(accelerate.slice_tensors(whole, slice(2, 4)), parts[1])


@machinery("accelerate")
def test_accelerate_gathers_and_pads_on_one_process(accelerate: ModuleType):
    output = without_placeholders(filled(CausalLMOutputWithPast)).replace(attentions=None)
    assert accelerate.gather(output) is output
    for same in (accelerate.pad_across_processes(output, dim=1), accelerate.reduce(output)):
        assert_same(same, output)


@machinery("accelerate")
def test_accelerate_converts_what_a_forward_returns(accelerate: ModuleType):
    output = _pytree.tree_map(Tensor.bfloat16, filled(CausalLMOutputWithPast))
    expected = _pytree.tree_map(Tensor.float, output)
    assert_same(accelerate.convert_to_fp32(output), expected)
    assert_same(accelerate.operations.ConvertOutputsToFp32(lambda: output)(), expected)
    assert_same(accelerate.convert_outputs_to_fp32(lambda: output)(), expected)
    assert _pytree.tree_leaves(expected)[0].dtype == torch.float32
