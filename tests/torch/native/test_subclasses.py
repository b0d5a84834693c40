"""Users' subclasses: what they add keeps its values through loading, is saved, and is loaded back."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

from modeloutputs import CheckpointError, CheckpointWarning, InputError
from modeloutputs.torch import BertForSequenceClassification, BertModel, LlamaForCausalLM

from ..peer import stored
from ..tiny import Head, randomise
from .cases import BY_NAME, NATIVE_HEADS, arguments, computed


class Extras(nn.Module):
    """What subclasses in these tests add, each with values that no initialisation would give."""

    def add_extras(self, bound: float) -> None:
        self.temperature = nn.Parameter(torch.tensor(0.07))
        self.offsets = nn.Parameter(torch.linspace(-3, 3, 5))
        self.frozen = nn.Parameter(torch.full((2,), 8.0), requires_grad=False)
        self.register_buffer("prototypes", torch.arange(12.0).view(3, 4))
        self.register_buffer("steps", torch.tensor(17))
        self.register_buffer("scratch", torch.full((3,), bound), persistent=False)
        self.projection = nn.Linear(32, 3)
        nn.init.constant_(self.projection.weight, 0.25)
        nn.init.constant_(self.projection.bias, -1.5)
        self.batch_norm = nn.BatchNorm1d(4)
        self.anchors = nn.ParameterList([nn.Parameter(torch.full((2, 2), 6.0))])


def with_extras(cls: Any) -> Any:
    """Return a subclass of a model class with parameters, buffers and modules of its own."""

    class Extended(cls, Extras):
        def __init__(self, config: Any, bound: float = 2.5) -> None:
            super().__init__(config)
            self.add_extras(bound)

    Extended.__name__ = f"My{cls.__name__}"
    return Extended


OWN = {
    "temperature": torch.tensor(0.07),
    "offsets": torch.linspace(-3, 3, 5),
    "frozen": torch.full((2,), 8.0),
    "prototypes": torch.arange(12.0).view(3, 4),
    "steps": torch.tensor(17),
    "projection.weight": torch.full((3, 32), 0.25),
    "projection.bias": torch.full((3,), -1.5),
    "batch_norm.weight": torch.ones(4),
    "batch_norm.bias": torch.zeros(4),
    "batch_norm.running_mean": torch.zeros(4),
    "batch_norm.running_var": torch.ones(4),
    "batch_norm.num_batches_tracked": torch.tensor(0),
    "anchors.0": torch.full((2, 2), 6.0),
}

every_head = pytest.mark.parametrize("head", NATIVE_HEADS, ids=[head.name for head in NATIVE_HEADS])


def assert_own_values(model: nn.Module, expected: dict[str, Tensor]) -> None:
    state = model.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0, msg=name)
    assert torch.equal(model.scratch, torch.full((3,), 2.5))
    assert not model.frozen.requires_grad


@every_head
def test_own_values_stay_where_the_checkpoint_lacks_them_and_nobody_is_warned(head: Head, tmp_path: Path) -> None:
    base = head.model()
    base.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = with_extras(head.cls).from_pretrained(tmp_path)
    assert_own_values(model, OWN)
    torch.testing.assert_close(computed(model, head), computed(base, head), rtol=0, atol=1e-6)


@every_head
def test_own_values_are_saved_and_loaded_back(head: Head, tmp_path: Path) -> None:
    cls = with_extras(head.cls)
    model = randomise(cls(head.configuration())).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name in OWN:
                value.copy_(OWN[name] * 3 + 1)
    model.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = cls.from_pretrained(tmp_path)
    assert_own_values(loaded, {name: value * 3 + 1 for name, value in OWN.items()})
    torch.testing.assert_close(computed(loaded, head), computed(model, head), rtol=0, atol=1e-6)


@pytest.mark.parametrize("part", ["BartEncoder", "BartDecoder"])
def test_a_subclass_of_a_part_reads_a_whole_models_checkpoint(part: str, tmp_path: Path) -> None:
    head = BY_NAME[part]
    whole = BY_NAME["BartForConditionalGeneration"].model()
    whole.save_pretrained(tmp_path)
    model = with_extras(head.cls).from_pretrained(tmp_path, bound=2.5, dropout=0.3)
    assert type(model).__name__ == f"My{part}"
    assert model.config.dropout == 0.3
    assert_own_values(model, OWN)
    inner = whole.model.encoder if part == "BartEncoder" else whole.model.decoder
    torch.testing.assert_close(computed(model, head), computed(inner, head), rtol=0, atol=1e-6)


def test_own_values_of_a_model_made_anew_are_those_of_its_constructor() -> None:
    model = with_extras(BertForSequenceClassification)(BY_NAME["BertModel, encoder"].configuration())
    assert_own_values(model, OWN)


def test_the_plain_class_reads_a_subclasss_checkpoint_and_names_what_it_does_not_use(tmp_path: Path) -> None:
    head = BY_NAME["BertForMaskedLM"]
    with_extras(head.cls)(head.configuration()).save_pretrained(tmp_path)
    with pytest.warns(CheckpointWarning, match=r"not used: .*offsets.*prototypes.*temperature"):
        head.cls.from_pretrained(tmp_path)


def test_a_new_head_within_a_subclass_is_still_named(tmp_path: Path) -> None:
    BY_NAME["BertModel, encoder"].model().save_pretrained(tmp_path)
    with pytest.warns(CheckpointWarning) as caught:
        model = with_extras(BertForSequenceClassification).from_pretrained(tmp_path)
    assert str(caught[0].message).endswith("new, to be trained: classifier.weight, classifier.bias")
    assert_own_values(model, OWN)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_own_values_come_in_the_dtype_asked_for_and_integers_stay(dtype: torch.dtype, tmp_path: Path) -> None:
    head = BY_NAME["BertModel, encoder"]
    head.model().save_pretrained(tmp_path)
    model = with_extras(head.cls).from_pretrained(tmp_path, dtype=dtype)
    assert model.temperature.dtype == model.prototypes.dtype == model.anchors[0].dtype == dtype
    assert model.steps.dtype == model.batch_norm.num_batches_tracked.dtype == torch.int64
    assert torch.equal(model.prototypes, torch.arange(12.0).view(3, 4).to(dtype))


def test_a_wrong_shape_of_ones_own_is_refused_by_name(tmp_path: Path) -> None:
    head = BY_NAME["BertModel, encoder"]
    model = with_extras(head.cls)(head.configuration())
    model.offsets = nn.Parameter(torch.zeros(7))
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"'offsets' has shape \(7,\), and this model's 'offsets' needs \(5,\)"):
        with_extras(head.cls).from_pretrained(tmp_path)


def test_an_older_checkpoint_of_the_subclass_lacks_what_was_added_since(tmp_path: Path) -> None:
    class Older(BertModel):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.bias = nn.Parameter(torch.full((4,), 9.0))

    class Newer(Older):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.gain = nn.Parameter(torch.full((4,), 5.0))

    model = Older(BY_NAME["BertModel, encoder"].configuration())
    with torch.no_grad():
        model.bias.fill_(1.0)
    model.save_pretrained(tmp_path)
    loaded = Newer.from_pretrained(tmp_path)
    assert torch.equal(loaded.bias, torch.ones(4))
    assert torch.equal(loaded.gain, torch.full((4,), 5.0))


class Towers(BertModel):
    """A model with another model of this library, and one of the parent's own modules replaced."""

    def __init__(self, config: Any, *, depth: int = 1) -> None:
        super().__init__(config, add_pooling_layer=False)
        self.side = LlamaForCausalLM(BY_NAME["LlamaForCausalLM"].configuration(num_hidden_layers=depth))
        self.embeddings.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        nn.init.constant_(self.embeddings.position_embeddings.weight, 0.5)


def test_a_model_within_a_subclass_is_initialised_saved_and_loaded(tmp_path: Path) -> None:
    base = BY_NAME["BertModel, encoder"].model()
    base.save_pretrained(tmp_path / "base")
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)  # the pooler is not used
        model = Towers.from_pretrained(tmp_path / "base")
    assert all(not tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert 0.01 < model.side.lm_head.weight.std() < 0.03
    assert torch.equal(model.embeddings.position_embeddings.weight, base.embeddings.position_embeddings.weight)
    model.save_pretrained(tmp_path / "mine")
    loaded = Towers.from_pretrained(tmp_path / "mine")
    assert {name: value.sum() for name, value in loaded.state_dict().items()} == {
        name: value.sum() for name, value in model.state_dict().items()
    }


def test_tied_weights_of_a_model_within_stay_tied(tmp_path: Path) -> None:
    class Both(BertModel):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.decoder = BY_NAME["GPT2LMHeadModel"].cls(BY_NAME["GPT2LMHeadModel"].configuration())
            self.alias = self.embeddings.word_embeddings

    model = Both(BY_NAME["BertModel, encoder"].configuration())
    model.save_pretrained(tmp_path)
    loaded = Both.from_pretrained(tmp_path)
    assert loaded.decoder.lm_head.weight is loaded.decoder.transformer.wte.weight
    assert loaded.alias is loaded.embeddings.word_embeddings
    assert torch.equal(loaded.decoder.lm_head.weight, model.decoder.lm_head.weight)
    assert torch.equal(loaded.alias.weight, model.alias.weight)


# -- options ----------------------------------------------------------------------------------------------------------


def test_the_pooler_may_be_left_out(tmp_path: Path) -> None:
    BY_NAME["BertModel, encoder"].model().save_pretrained(tmp_path)
    with pytest.warns(CheckpointWarning, match=r"not used: pooler\.dense\.bias, pooler\.dense\.weight"):
        model = BertModel.from_pretrained(tmp_path, add_pooling_layer=False)
    assert model.pooler is None
    model.save_pretrained(tmp_path / "without")
    assert not any("pooler" in name for name in stored(tmp_path / "without"))
    assert BertModel.from_pretrained(tmp_path / "without", add_pooling_layer=False).pooler is None


def test_own_options_reach_the_constructor_beside_settings(tmp_path: Path) -> None:
    head = BY_NAME["BertModel, encoder"]
    head.model().save_pretrained(tmp_path)
    model = with_extras(head.cls).from_pretrained(tmp_path, bound=4.5, hidden_dropout_prob=0.3, dtype="float64")
    assert torch.equal(model.scratch, torch.full((3,), 4.5))
    assert model.config.hidden_dropout_prob == 0.3
    with pytest.warns(CheckpointWarning, match="pooler"):
        assert len(Towers.from_pretrained(tmp_path, depth=2, config=head.configuration()).side.model.layers) == 2


def test_a_constructor_that_takes_anything_is_given_it(tmp_path: Path) -> None:
    class Anything(BertModel):
        def __init__(self, config: Any, **options: Any) -> None:
            super().__init__(config)
            self.options = options

    BY_NAME["BertModel, encoder"].model().save_pretrained(tmp_path)
    model = Anything.from_pretrained(tmp_path, colour="red", hidden_dropout_prob=0.2)
    assert model.options == {"colour": "red"}
    assert model.config.hidden_dropout_prob == 0.2


@pytest.mark.parametrize(
    ("option", "nearest"),
    [("add_poling_layer", "add_pooling_layer"), ("hiden_size", "hidden_size"), ("num_label", "num_labels")],
)
def test_unknown_options_are_refused_with_the_nearest(option: str, nearest: str, tmp_path: Path) -> None:
    BY_NAME["BertModel, encoder"].model().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"BertModel has no setting '{option}'.*{nearest}") as refusal:
        BertModel.from_pretrained(tmp_path, **{option: 1})
    assert "\n" not in str(refusal.value)


def test_a_subclass_trains_and_computes_from_its_own_parameters(tmp_path: Path) -> None:
    class Scaled(BertForSequenceClassification):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, *inputs: Any, **options: Any) -> Any:
            output = super().forward(*inputs, **options)
            return output.replace(logits=output.logits * self.scale)

    head = BY_NAME["BertForSequenceClassification, one class"]
    base = head.model()
    base.save_pretrained(tmp_path)
    model = Scaled.from_pretrained(tmp_path)
    torch.testing.assert_close(computed(model, head), 2 * computed(base, head), rtol=1e-5, atol=1e-6)
    model(**arguments(head)).logits.sum().backward()
    assert model.scale.grad is not None
