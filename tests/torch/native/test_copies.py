"""Models that were copied, pickled, moved or sent to another process compute the same, with packed weights too."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, multiprocessing, nn

from modeloutputs.torch.layers import ACTIVATIONS
from modeloutputs.torch.plain import joint_parameters

from ..tiny import Head
from .cases import BY_NAME, NATIVE_HEADS, arguments, computed, numbers
from .sweep import noise

every_head = pytest.mark.parametrize("head", NATIVE_HEADS, ids=[head.name for head in NATIVE_HEADS])


def saved_and_loaded(model: nn.Module) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES: dict[str, Callable[[Any], Any]] = {
    "torch.save": saved_and_loaded,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("how", COPIES)
@every_head
def test_a_copy_computes_the_same_and_shares_nothing(head: Head, how: str) -> None:
    model = head.model()
    plain = computed(model, head)
    other = COPIES[how](model)
    torch.testing.assert_close(computed(other, head), plain, rtol=0, atol=1e-5)
    tied = [
        len({id(each) for each in dict(m.named_parameters(remove_duplicate=False)).values()}) for m in (model, other)
    ]
    assert tied[0] == tied[1]
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    assert torch.equal(computed(model, head), plain)
    assert not torch.allclose(computed(other, head), plain, atol=1e-3)


ACTIVATED = {
    "BertForMaskedLM": "hidden_act",
    "LlamaForCausalLM": "hidden_act",
    "GPT2LMHeadModel": "activation_function",
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", ACTIVATED)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_copied(activation: str, name: str, how: str) -> None:
    head = BY_NAME[name]
    model = head.model(**{ACTIVATED[name]: activation})
    torch.testing.assert_close(computed(COPIES[how](model), head), computed(model, head), rtol=0, atol=1e-5)


def test_a_copy_of_a_model_in_training_trains_alike() -> None:
    head = BY_NAME["LlamaForCausalLM"]
    model = head.model()
    inputs = {**arguments(head), "labels": arguments(head)["input_ids"]}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model(**inputs).loss.backward()
    optimizer.step()
    other = copy.deepcopy(model)
    losses = []
    for each in (model, other):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        optimizer.zero_grad()
        each(**inputs).loss.backward()
        optimizer.step()
        losses.append(float(each(**inputs).loss))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


# -- another process --------------------------------------------------------------------------------------------------


def _compute(rank: int, model: nn.Module, given: dict[str, Tensor], results: Any) -> None:
    with torch.no_grad():
        results[rank] = numbers(model(**given)).tolist()
        model.get_submodule("model.layers.0.self_attn.k_proj").weight.mul_(2.0)  # the memory is shared
        results[rank + 1] = numbers(model(**given)).tolist()


def test_a_spawned_process_computes_and_shares_the_weights() -> None:
    head = BY_NAME["LlamaForCausalLM"]
    model = head.model().share_memory()
    given, plain = arguments(head), computed(model, head)
    with multiprocessing.get_context("spawn").Manager() as manager:
        results = manager.dict()
        multiprocessing.spawn(_compute, (model, given, results), nprocs=1)
        found = [torch.tensor(results[index], dtype=torch.float64) for index in (0, 1)]
    torch.testing.assert_close(found[0], plain, rtol=0, atol=1e-5)
    torch.testing.assert_close(computed(model, head), found[1], rtol=0, atol=1e-5)
    assert not torch.allclose(found[1], plain, atol=1e-3)


# -- projections that lie end to end in memory ------------------------------------------------------------------------

PACKED = {
    "BertForMaskedLM": ("bert.encoder.layer.0.attention.self", ("query", "key", "value")),
    "LlamaForCausalLM": ("model.layers.1.self_attn", ("q_proj", "k_proj", "v_proj")),
    "LlamaForCausalLM, one key": ("model.layers.0.mlp", ("gate_proj", "up_proj")),
    "BartForConditionalGeneration": ("model.decoder.layers.0.self_attn", ("q_proj", "k_proj", "v_proj")),
}
every_packed = pytest.mark.parametrize("name", PACKED)


def _projections(model: nn.Module, name: str) -> list[nn.Module]:
    path, names = PACKED[name]
    return [model.get_submodule(f"{path}.{each}") for each in names]


def _unpacked(model: Any, head: Head) -> Any:
    """Return a model of the same weights, no two of which lie end to end."""
    other = head.model().to(model.dtype)
    other.load_state_dict(model.state_dict())
    for parameter in other.parameters():
        parameter.data = torch.cat([parameter.data.flatten(), parameter.new_zeros(1)])[:-1].view(parameter.shape)
    return other


def _stepped(model: Any) -> Any:
    head = next(head for head in NATIVE_HEADS if head.cls is type(model))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    given = arguments(head)
    model(**given).to_tuple()[0].square().mean().backward()
    optimizer.step()
    return model


def _foreach_stepped(model: Any) -> Any:
    head = next(head for head in NATIVE_HEADS if head.cls is type(model))
    for _ in range(2):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, foreach=True)
        model(**arguments(head)).to_tuple()[0].square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def _vectorised(model: Any) -> Any:
    values = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(values * 1.5, model.parameters())
    return model


CHANGES: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda model: model,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "double": lambda model: model.double(),
    "to": lambda model: model.to(torch.float64).to(torch.float32),
    "share_memory": lambda model: model.share_memory(),
    "optimizer": _stepped,
    "foreach optimizer": _foreach_stepped,
    "vector_to_parameters": _vectorised,
    "train and eval": lambda model: model.train().eval(),
    "one weight doubled": lambda model: _double_one(model),
    "requires_grad_": lambda model: model.requires_grad_(False),
}


def _double_one(model: Any) -> Any:
    for name, parameter in model.named_parameters():
        if name.endswith(("k_proj.weight", "key.weight")):
            with torch.no_grad():
                parameter.mul_(2.0)
    return model


@pytest.mark.parametrize("change", CHANGES)
@every_packed
def test_packed_weights_are_right_after(change: str, name: str) -> None:
    head = BY_NAME[name]
    model = CHANGES[change](head.model()).eval()
    expected = _unpacked(model, head)
    assert joint_parameters(_projections(expected, name)) is None
    torch.testing.assert_close(computed(model, head), computed(expected, head), rtol=1e-5, atol=1e-5)
    if hasattr(model, "generate"):
        prompt = {"input_ids": arguments(head)["input_ids"], "max_new_tokens": 4}
        assert torch.equal(model.generate(**prompt).sequences, expected.generate(**prompt).sequences)


@pytest.mark.parametrize("change", ["nothing", "deepcopy", "pickle", "double", "to", "optimizer"])
@every_packed
def test_weights_stay_packed_after(change: str, name: str) -> None:
    model = CHANGES[change](BY_NAME[name].model()).eval()
    with torch.no_grad():
        assert joint_parameters(_projections(model, name)) is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_packed
def test_half_precision_is_that_of_unpacked_weights(dtype: torch.dtype, name: str) -> None:
    head = BY_NAME[name]
    model = head.model().to(dtype)
    given = {key: value.to(dtype) if value.is_floating_point() else value for key, value in arguments(head).items()}
    expected = _unpacked(model, head)
    with torch.no_grad():
        torch.testing.assert_close(numbers(model(**given)), numbers(expected(**given)), rtol=0.02, atol=0.05)


@every_packed
def test_a_weight_given_other_memory_is_read_there(name: str) -> None:
    """As optimizers, offloading and loading by assignment do."""
    head = BY_NAME[name]
    model = head.model()
    first = _projections(model, name)[0]
    first.weight.data = noise(first.weight.data)
    torch.testing.assert_close(computed(model, head), computed(_unpacked(model, head), head), rtol=0, atol=1e-5)
    model.load_state_dict({key: value * 1.5 for key, value in model.state_dict().items()}, assign=True)
    model.pack_weights()
    torch.testing.assert_close(computed(model, head), computed(_unpacked(model, head), head), rtol=0, atol=1e-5)


def test_a_state_dict_holds_no_more_than_its_weights(tmp_path: Path) -> None:
    """Views of one storage would be written with all of it, once for each."""
    model = BY_NAME["LlamaForCausalLM"].model()
    torch.save(model.state_dict(), tmp_path / "state.pt")
    size = sum(value.nbytes for value in model.state_dict().values())
    assert (tmp_path / "state.pt").stat().st_size < 1.2 * size + 20_000
