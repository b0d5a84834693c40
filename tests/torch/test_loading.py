"""What checkpoints are in the field: other heads, prefixes, tied weights, tensors passed, quantised weights."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import copy
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from safetensors.torch import save_file, save_model

from modeloutputs.architectures import BertConfig
from modeloutputs.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointWarning,
    ConfigWarning,
    InputError,
    ModelOutputsError,
)
from modeloutputs.torch import (
    BartConfig,
    BartForConditionalGeneration,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from modeloutputs.torch.bart import BartDecoder

from ..support.kills import is_killed_at, needs_fork
from ..support.torch_checkpoints import change, checkpoint, configure
from .tiny import BART_SIZES, GPT_SIZES, LLAMA_SIZES, SIZES, randomise

SMALL = {**SIZES, "num_hidden_layers": 1}


def classifier(**settings: Any) -> Any:
    return randomise(BertForSequenceClassification(BertConfig(**SMALL, **settings)))


def assert_same(found: Any, expected: Any) -> None:
    tensors = expected.state_dict()
    assert found.state_dict().keys() == tensors.keys()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


def refusal(cls: Any, *arguments: Any, error: type[Exception] = CheckpointError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        cls.from_pretrained(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- a head for another number of labels --------------------------------------------------------------------------


def test_another_number_of_labels_says_what_to_pass(tmp_path: Path) -> None:
    classifier(num_labels=3).save_pretrained(tmp_path)
    assert refusal(BertForSequenceClassification, tmp_path, num_labels=5) == (
        "the checkpoint's 'classifier.weight' has shape (3, 32), and this model's 'classifier.weight' needs (5, 32); "
        "pass num_labels=3 if that is its size, or ignore_mismatched_sizes=True for a new one"
    )


def test_a_head_of_another_size_is_made_anew_on_request_as_in_the_peer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    old = classifier(num_labels=3)
    old.save_pretrained(tmp_path)
    options = {"num_labels": 5, "ignore_mismatched_sizes": True, "output_loading_info": True}
    message = r"of another shape, new, to be trained: classifier\.weight, classifier\.bias$"
    with pytest.warns(CheckpointWarning, match=message) as caught:
        model, info = BertForSequenceClassification.from_pretrained(tmp_path, **options)
    assert caught[0].filename == __file__
    assert (model.config.num_labels, model.classifier.weight.shape, model.training) == (5, (5, 32), False)
    assert model.classifier.bias.abs().sum() == 0
    assert 0.01 < model.classifier.weight.std() < 0.04
    assert torch.equal(model.bert.pooler.dense.weight, old.bert.pooler.dense.weight)
    _, peer_info = transformers.BertForSequenceClassification.from_pretrained(tmp_path, **options)
    assert info == {name: peer_info[name] for name in info}
    assert info.keys() >= {"missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"}


def test_a_table_of_another_size_says_what_to_pass(tmp_path: Path) -> None:
    classifier().save_pretrained(tmp_path)
    text = refusal(BertForSequenceClassification, tmp_path, vocab_size=98)
    assert text.endswith(
        "is the configuration this checkpoint's? ignore_mismatched_sizes=True takes new values instead"
    )
    with pytest.warns(CheckpointWarning, match="of another shape"):
        model = BertForSequenceClassification.from_pretrained(tmp_path, vocab_size=98, ignore_mismatched_sizes=True)
    assert model(torch.tensor([[1, 2]])).logits.isfinite().all()


# -- what training loops and wrappers put around ------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "model.", "net.encoder_model.", ""])
def test_a_prefix_before_all_names_is_taken_off(prefix: str, tmp_path: Path) -> None:
    for model in (classifier(), randomise(GPT2LMHeadModel(GPT2Config(**{**GPT_SIZES, "n_layer": 1})))):
        folder = tmp_path / type(model).__name__
        model.save_pretrained(folder)
        tensors = {f"{prefix}{name}": tensor.clone() for name, tensor in model.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")
        assert_same(type(model).from_pretrained(folder), model)


def test_a_prefix_before_a_base_model_within_a_larger_module(tmp_path: Path) -> None:
    model = classifier()
    model.config.save_pretrained(tmp_path)
    tensors = {f"model.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    save_file({"loss.weight": torch.ones(2), **tensors}, tmp_path / "model.safetensors")
    with pytest.warns(CheckpointWarning, match=r"not used: .*loss\.weight"):
        assert_same(BertModel.from_pretrained(tmp_path), model.bert)


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model", "module"])
def test_the_state_dict_within_what_a_training_loop_saved_is_read(name: str, tmp_path: Path) -> None:
    model = classifier()
    model.config.save_pretrained(tmp_path)
    content = {"epoch": 3, name: {f"_orig_mod.{key}": value for key, value in model.state_dict().items()}}
    torch.save(content, tmp_path / "pytorch_model.bin")
    assert_same(BertForSequenceClassification.from_pretrained(tmp_path), model)


# -- tied weights under one of their names ------------------------------------------------------------------------

TIED = [
    (BertForMaskedLM, BertConfig(**SMALL), "cls.predictions.decoder.weight"),
    (GPT2LMHeadModel, GPT2Config(**{**GPT_SIZES, "n_layer": 1}), "lm_head.weight"),
    (
        LlamaForCausalLM,
        LlamaConfig(**{**LLAMA_SIZES, "num_hidden_layers": 1, "tie_word_embeddings": True}),
        "lm_head.weight",
    ),
    (BartForConditionalGeneration, BartConfig(**BART_SIZES), "lm_head.weight"),
]


@pytest.mark.parametrize(("cls", "config", "kept"), TIED, ids=[case[0].__name__ for case in TIED])
def test_tied_weights_may_lie_under_the_heads_name_alone(cls: Any, config: Any, kept: str, tmp_path: Path) -> None:
    model = randomise(cls(config))
    model.save_pretrained(tmp_path)
    table = model.state_dict()[kept].data_ptr()
    tensors = {n: t.clone() for n, t in model.state_dict().items() if n == kept or t.data_ptr() != table}
    assert len(tensors) < len(model.state_dict())
    save_file(tensors, tmp_path / "model.safetensors")
    assert_same(cls.from_pretrained(tmp_path), model)
    save_model(model, str(tmp_path / "model.safetensors"))
    assert_same(cls.from_pretrained(tmp_path), model)


# -- tensors and configurations that are passed -------------------------------------------------------------------


def test_tensors_may_be_passed_without_a_folder_as_in_the_peer() -> None:
    model = classifier(num_labels=3)
    again = BertForSequenceClassification.from_pretrained(None, config=model.config, state_dict=model.state_dict())
    assert_same(again, model)
    assert not again.training


def test_tensors_may_be_passed_in_place_of_the_folders(tmp_path: Path) -> None:
    model = classifier(num_labels=3)
    model.config.save_pretrained(tmp_path)  # and no weights
    assert_same(BertForSequenceClassification.from_pretrained(tmp_path, state_dict=model.state_dict()), model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "from_pretrained was passed None; pass a folder or hub id, or config and state_dict"),
        ({"state_dict": {}}, "from_pretrained was passed None; pass a folder or hub id, or config and state_dict"),
        ({"state_dict": [1], "config": BertConfig(**SMALL)}, "state_dict is a list; expected a mapping from names to"),
        ({"state_dict": {"w": 1}, "config": BertConfig(**SMALL)}, "state_dict has a int under 'w'; expected a tensor"),
    ],
)
def test_what_is_passed_without_a_folder_is_checked(options: dict[str, Any], message: str) -> None:
    assert refusal(BertModel, None, error=InputError, **options).startswith(message)


def test_configurations_of_the_peer_are_taken_everywhere(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    peer = transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL, num_labels=3)).eval()
    ids = torch.tensor([[1, 5, 9, 2]])
    for model in (
        BertForSequenceClassification.from_pretrained(None, config=peer.config, state_dict=peer.state_dict()),
        BertForSequenceClassification(peer.config).eval(),
        BertForSequenceClassification(config=peer.config).eval(),
    ):
        model.load_state_dict(peer.state_dict())
        assert model.bert.config is model.config
        assert isinstance(model.config, BertConfig)
        torch.testing.assert_close(model(ids).logits, peer(ids).logits, rtol=0, atol=1e-5)


def test_a_subfolder(tmp_path: Path) -> None:
    model = classifier()
    model.save_pretrained(tmp_path / "parts" / "text")
    assert_same(BertForSequenceClassification.from_pretrained(tmp_path, subfolder="parts/text"), model)
    text = refusal(BertModel, tmp_path, subfolder="other", error=CheckpointNotFoundError)
    assert text == f"'{tmp_path}' has no subfolder 'other'"
    assert "names a file outside itself" in refusal(BertModel, tmp_path / "parts", subfolder="../parts")


def test_parts_of_bart_take_the_same_options(tmp_path: Path) -> None:
    model = randomise(BartForConditionalGeneration(BartConfig(**BART_SIZES)))
    model.save_pretrained(tmp_path / "sub")
    part = BartDecoder.from_pretrained(tmp_path, subfolder="sub", torch_dtype=torch.float32)
    assert torch.equal(part.layers[0].fc1.weight, model.model.decoder.layers[0].fc1.weight)


@pytest.mark.parametrize("shard_size", [10**9, 20_000])
def test_a_variant_is_saved_and_loaded_by_its_name(shard_size: int, tmp_path: Path) -> None:
    first, second = classifier(), classifier()
    first.save_pretrained(tmp_path)
    second.save_pretrained(tmp_path, variant="fp16", max_shard_size=shard_size)
    assert_same(BertForSequenceClassification.from_pretrained(tmp_path), first)
    assert_same(BertForSequenceClassification.from_pretrained(tmp_path, variant="fp16"), second)
    second.save_pretrained(tmp_path, variant="fp16")
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "model.safetensors", "model.fp16.safetensors",
    }  # fmt: skip
    assert refusal(BertModel, tmp_path, variant="ema", error=CheckpointNotFoundError).startswith(
        f"'{tmp_path}' has no weights: neither model.ema.safetensors, nor its index, nor pytorch_model.ema.bin"
    )


def test_a_state_dict_may_be_saved_in_place_of_the_models_weights(tmp_path: Path) -> None:
    model, other = classifier(), classifier()
    model.save_pretrained(tmp_path, state_dict=other.state_dict())
    assert_same(BertForSequenceClassification.from_pretrained(tmp_path), other)
    with pytest.raises(CheckpointError, match=r"'bert\.embeddings\.word_embeddings\.weight' cannot be saved"):
        model.save_pretrained(tmp_path, state_dict={})


def test_processes_that_are_not_the_main_one_write_nothing(tmp_path: Path) -> None:
    classifier().save_pretrained(tmp_path / "new", is_main_process=False)
    assert not (tmp_path / "new").exists()


# -- what cannot be loaded as it stands ---------------------------------------------------------------------------


def test_eight_bit_weights_with_scales_are_refused_by_their_method_and_without_one_too(tmp_path: Path) -> None:
    name = "encoder.layer.0.output.dense.weight"

    def quantise(tensors: dict[str, Any]) -> None:
        tensors[name] = tensors[name].to(torch.float8_e4m3fn)
        tensors[f"{name}_scale"] = torch.ones(1)

    folder = change(checkpoint(tmp_path), quantise)
    text = refusal(BertModel, folder)
    assert text == (
        f"the checkpoint's '{name}' goes with '{name}_scale': it is quantised or in parts, and only plain weights can "
        "be loaded; use the checkpoint that it was made from"
    )
    configure(folder, quantization_config={"quant_method": "compressed-tensors"})
    assert "are quantised by 'compressed-tensors' (quantization_config of config.json)" in refusal(BertModel, folder)
    assert "are quantised by" in refusal(BertModel, folder, config=BertConfig(**SIZES))


def test_an_adapter_is_told_from_a_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "gpt2"}))
    (tmp_path / "adapter_model.safetensors").touch()
    assert "holds a LORA adapter of 'gpt2' (adapter_config.json), not a whole model" in refusal(BertModel, tmp_path)


def test_more_labels_than_names_load_with_a_warning(tmp_path: Path) -> None:
    model = classifier(num_labels=3)
    model.save_pretrained(tmp_path)
    configure(tmp_path, num_labels=3, id2label={"0": "a", "1": "b"}, label2id=None)
    with pytest.warns(ConfigWarning, match="says num_labels 3 and names 2 labels"):
        assert_same(BertForSequenceClassification.from_pretrained(tmp_path), model)


@pytest.mark.parametrize(
    "sizes",
    [
        {"num_hidden_layers": 10_000}, {"num_hidden_layers": 2**63 - 1}, {"hidden_size": 2**63}, {"vocab_size": 2**40},
        {"max_position_embeddings": 2**31 - 1}, {"num_labels": 10**8, "id2label": None, "label2id": None},
        {"intermediate_size": 2**20}, {"hidden_size": 2**20, "num_attention_heads": 2**20},
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_are_refused_before_anything_is_built(sizes: dict[str, Any], tmp_path: Path) -> None:
    classifier().save_pretrained(tmp_path)
    start = time.perf_counter()
    with pytest.raises((CheckpointError, InputError)) as caught:
        BertForSequenceClassification.from_pretrained(configure(tmp_path, **sizes))
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 2


def test_a_configuration_is_held_against_itself_again_when_a_model_is_built() -> None:
    config = BertConfig(**SMALL)
    config.num_attention_heads = 5
    with pytest.raises(InputError, match="hidden_size 32 cannot be split into num_attention_heads 5"):
        BertModel(config)


# -- a model and its configuration --------------------------------------------------------------------------------


def test_what_was_read_when_the_model_was_built_cannot_be_assigned(tmp_path: Path) -> None:
    config = LlamaConfig(**{**LLAMA_SIZES, "num_hidden_layers": 1})
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    model = LlamaForCausalLM.from_pretrained(tmp_path)
    for one in (model, copy.deepcopy(model)):
        with pytest.raises(InputError, match=r"^rope_scaling was read when a Llama.* was built .*; pass it to from_"):
            one.config.rope_scaling = {"rope_type": "linear", "factor": 2.0}
        one.config.use_cache = False
        one.config.output_hidden_states = True
        assert one(torch.tensor([[1, 2]])).hidden_states is not None


@pytest.mark.parametrize("assign", [{"num_labels": 5}, {"id2label": {i: f"{i}" for i in range(5)}}])
def test_labels_assigned_with_a_new_head_are_saved(assign: dict[str, Any], tmp_path: Path) -> None:
    model = classifier()
    for name, value in assign.items():
        setattr(model.config, name, value)
    with pytest.raises(CheckpointError, match=r"'classifier\.weight' has shape \(2, 32\), but the configuration says"):
        model.save_pretrained(tmp_path)
    model.classifier = torch.nn.Linear(32, 5)
    model.save_pretrained(tmp_path)
    assert BertForSequenceClassification.from_pretrained(tmp_path).config.num_labels == 5


# -- killed while it saves ----------------------------------------------------------------------------------------


@needs_fork
def test_a_model_whose_saving_was_killed_is_the_old_one_or_the_new(tmp_path: Path) -> None:
    old, new = classifier(id2label={0: "old", 1: "older"}), classifier(id2label={0: "new", 1: "newer", 2: "newest"})
    found: list[str] = []
    for step in range(100):
        folder = tmp_path / str(step)
        old.save_pretrained(folder)
        killed = is_killed_at(step, partial(new.save_pretrained, folder), ("replace", "unlink"))
        model = BertForSequenceClassification.from_pretrained(folder)
        assert_same(model, old if model.config.id2label[0] == "old" else new)
        found.append(model.config.id2label[0])
        if not killed:
            break
        old.save_pretrained(folder)
        assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert found == sorted(found, reverse=True)
    assert set(found) == {"old", "new"}


VALUES: list[Any] = [[], {}, "yes", None, -1, 2**63, float("nan"), 10**400, "x" * 5000]


@pytest.mark.parametrize(
    ("cls", "config"),
    [
        (BertForSequenceClassification, BertConfig(**SMALL)),
        (LlamaForCausalLM, LlamaConfig(**{**LLAMA_SIZES, "num_hidden_layers": 1})),
    ],
)
def test_any_value_of_any_setting_of_a_file_loads_or_is_refused_in_one_line(
    cls: Any, config: Any, tmp_path: Path
) -> None:
    cls(config).save_pretrained(tmp_path)
    messages: list[str] = []
    good = json.loads((tmp_path / "config.json").read_text())
    for name in (*good, "quantization_config", "rope_parameters", "torch_dtype"):
        for value in VALUES:
            (tmp_path / "config.json").write_text(json.dumps({**good, name: value}))
            try:
                cls.from_pretrained(tmp_path)(torch.tensor([[1, 2, 3]]), return_dict=True)
            except ModelOutputsError as error:
                messages.append(str(error))
    assert len(messages) > 100
    assert [message for message in messages if "\n" in message or len(message) > 1000] == []


def test_a_vocabulary_smaller_than_the_default_padding_token_builds() -> None:
    model = BartForConditionalGeneration(BartConfig(**{**BART_SIZES, "vocab_size": 1}))
    assert model.model.shared.padding_idx is None
