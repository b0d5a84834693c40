"""Modules built while a checkpoint is loaded: ours without values, a subclass's own with theirs."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

from modeloutputs.architectures import BertConfig
from modeloutputs.torch import BertModel
from modeloutputs.torch.building import is_loading, loading, without_values

from .tiny import SIZES, randomise, token_ids


class Scaled(BertModel):
    """A model with a parameter, a buffer and a module of its own."""

    def __init__(self, config: BertConfig, factor: float = 3.0) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.full((2,), factor))
        self.register_buffer("steps", torch.arange(3))
        self.extra = nn.Linear(4, 4)
        nn.init.constant_(self.extra.weight, 0.5)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class Plain(BertModel):
    """A model that notes whether it was being loaded when it was built."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.was_loading = is_loading(self)


def test_loading_ends_with_its_block() -> None:
    assert not Plain(BertConfig(**SIZES)).was_loading
    with loading(Plain):
        assert Plain(BertConfig(**SIZES)).was_loading
        with loading(Scaled):
            assert not Plain(BertConfig(**SIZES)).was_loading
        assert Plain(BertConfig(**SIZES)).was_loading
    with pytest.raises(KeyError), loading(Plain):
        raise KeyError
    assert not Plain(BertConfig(**SIZES)).was_loading


def test_a_model_that_a_subclass_adds_is_built_with_values() -> None:
    class Holder(BertModel):
        def __init__(self, config: BertConfig) -> None:
            super().__init__(config)
            self.side = BertModel(config)

    with loading(Holder):
        model = Holder(BertConfig(**SIZES))
    assert all(parameter.is_meta == (not name.startswith("side.")) for name, parameter in model.named_parameters())


def test_our_modules_have_no_values_while_loading_and_a_subclasss_own_have() -> None:
    with loading(Scaled):
        model = Scaled(BertConfig(**SIZES))
    own = {"scale", "extra.weight", "extra.bias"}
    assert {name for name, parameter in model.named_parameters() if not parameter.is_meta} == own
    assert model.scale.tolist() == [3, 3]
    assert model.steps.tolist() == [0, 1, 2]
    assert model.extra.weight.eq(0.5).all()


@pytest.mark.parametrize("fill", ["normal_", "uniform_", "zero_"])
def test_without_values_nothing_is_drawn(fill: str) -> None:
    before = torch.get_rng_state()
    with without_values():
        made = torch.empty(3)
        assert getattr(made, fill)() is made
        layer, table = nn.Linear(2, 3), nn.Embedding(4, 5, padding_idx=0)
        nn.init.kaiming_uniform_(tensor=layer.weight)
    assert {made.device.type, layer.weight.device.type, table.weight.device.type} == {"meta"}
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.empty(1).device.type == "cpu"
    assert nn.init.zeros_(torch.empty(2)).tolist() == [0, 0]


def test_values_of_a_subclass_stay_where_the_checkpoint_lacks_them(tmp_path: Path) -> None:
    base = randomise(BertModel(BertConfig(**SIZES)))
    base.save_pretrained(tmp_path)
    model = Scaled.from_pretrained(tmp_path, factor=7.0)
    assert model.scale.tolist() == [7, 7]
    assert model.steps.tolist() == [0, 1, 2]
    assert model.extra.weight.eq(0.5).all()
    ids = token_ids(2, 5)
    assert torch.equal(model(ids).last_hidden_state, base.eval()(ids).last_hidden_state)


def test_values_of_a_subclass_are_saved_and_loaded(tmp_path: Path) -> None:
    model = randomise(Scaled(BertConfig(**SIZES)))
    model.steps += 5
    model.save_pretrained(tmp_path)
    again = Scaled.from_pretrained(tmp_path)
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))
    assert again.state_dict().keys() == model.state_dict().keys()


def test_dtype_and_device_reach_a_subclasss_own_parameters(tmp_path: Path) -> None:
    randomise(BertModel(BertConfig(**SIZES))).save_pretrained(tmp_path)
    model = Scaled.from_pretrained(tmp_path, dtype="bfloat16")
    floating: list[Tensor] = [*model.parameters()]
    assert {tensor.dtype for tensor in floating} == {torch.bfloat16}
    assert model.steps.dtype == torch.int64
    assert model.scale.requires_grad
