"""Weights between checkpoints and modules: which go where, in which form, and what is refused."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import prune

from modeloutputs.architectures import BertConfig
from modeloutputs.arrays.dtypes import SAFETENSORS_DTYPES
from modeloutputs.errors import CheckpointError, CheckpointNotFoundError, FileFormatError
from modeloutputs.files.weights import MatchedNames
from modeloutputs.torch import BertForMaskedLM, BertForSequenceClassification, BertModel
from modeloutputs.torch.building import loading
from modeloutputs.torch.weights import export_weights, import_weights, is_copy, open_weights

from .peer import assert_same_tensors, every_head, peer_model
from .tiny import ALL_HEADS, BY_NAME, SIZES, Head, randomise

CPU = torch.device("cpu")


def empty(cls: Any = BertModel, **changes: Any) -> Any:
    """Return a tiny model without memory for its weights, as they are loaded into."""
    with loading(cls):
        return cls(BertConfig(**{**SIZES, **changes}))


def filled(cls: Any = BertModel, **changes: Any) -> Any:
    return randomise(cls(BertConfig(**{**SIZES, **changes})))


def put(model: Any, source: dict[str, Tensor], dtype: Any = torch.float32) -> MatchedNames:
    tied = model.config.tie_word_embeddings
    return import_weights(model, source, model.weight_names, tied=tied, dtype=dtype, device=CPU)


def exported(model: Any) -> dict[str, Tensor]:
    twice = model.weight_names.stored_twice(tied=model.config.tie_word_embeddings)
    return export_weights(model, {}, repeated=twice)


def parameters(model: Any) -> dict[str, Tensor]:
    return dict(model.named_parameters())


def assert_complete(result: MatchedNames) -> None:
    assert (result.missing, result.unexpected) == ([], [])


# -- names --------------------------------------------------------------------------------------------------------


@every_head
@pytest.mark.parametrize("tied", [True, False])
def test_the_names_and_shapes_that_are_written_are_the_peers(head: Head, tied: bool) -> None:
    theirs = peer_model(head, tie_word_embeddings=tied).state_dict()
    there = exported(head.model(tie_word_embeddings=tied))
    # Tied weights are stored once.
    repeated = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"} if tied else set()
    assert set(there) == theirs.keys() - repeated
    assert all(tensor.shape == theirs[name].shape and tensor.is_contiguous() for name, tensor in there.items())


@pytest.mark.parametrize("head", ALL_HEADS, ids=[head.name for head in ALL_HEADS])
@pytest.mark.parametrize("tied", [True, False])
def test_weights_lead_there_and_back(head: Head, tied: bool) -> None:
    model = head.model(tie_word_embeddings=tied)
    there = exported(model)
    with loading(head.cls):
        other = head.cls(head.configuration(tie_word_embeddings=tied))
    assert all(tensor.is_meta for tensor in other.state_dict().values())
    result = put(other, there)
    assert (result.missing, set(result.unexpected) - {"cls.predictions.decoder.bias", "cls.predictions.bias"}) == (
        [],
        set(),
    )
    assert_same_tensors(dict(other.state_dict()), dict(model.state_dict()))
    assert_same_tensors(exported(other), there)


def test_gamma_and_beta_are_a_norms_weight_and_bias() -> None:
    model = filled(BertForMaskedLM)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in exported(model).items()
    }
    assert sum(name.endswith(("gamma", "beta")) for name in old) == 2 * (2 * SIZES["num_hidden_layers"] + 2)
    other = empty(BertForMaskedLM)
    assert_complete(put(other, old))
    assert_same_tensors(parameters(other), parameters(model))


@pytest.mark.parametrize("prefixed", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_the_base_models_prefix_may_be_there_or_not(head: bool, prefixed: bool) -> None:
    base = exported(filled(BertModel))
    source = {f"bert.{name}": tensor for name, tensor in base.items()} if prefixed else base
    model = empty(BertForSequenceClassification if head else BertModel)
    result = put(model, source)
    assert result.unexpected == []
    assert result.missing == (["classifier.weight", "classifier.bias"] if head else [])
    assert_same_tensors(exported(model.bert if head else model), base)


def test_a_heads_own_weights_have_no_prefix_either_way() -> None:
    model = filled(BertForSequenceClassification)
    source = {name.removeprefix("bert."): tensor for name, tensor in exported(model).items()}
    other = empty(BertForSequenceClassification)
    assert_complete(put(other, source))
    assert_same_tensors(parameters(other), parameters(model))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("stored", ["cls.predictions.bias", "cls.predictions.decoder.bias"])
def test_the_bias_of_the_vocabulary_is_read_under_either_name(tied: bool, stored: str) -> None:
    source = exported(filled(BertForMaskedLM, tie_word_embeddings=tied))
    bias = source.pop("cls.predictions.bias")
    source.pop("cls.predictions.decoder.bias", None)
    model = empty(BertForMaskedLM, tie_word_embeddings=tied)
    assert_complete(put(model, {**source, stored: bias}))
    assert torch.equal(model.cls.predictions.decoder.bias, bias)
    assert model.cls.predictions.bias is model.cls.predictions.decoder.bias


@pytest.mark.parametrize("tied", [True, False])
def test_of_two_biases_the_linear_layers_is_read(tied: bool) -> None:
    """Untied, the peer trains that one and leaves the other at 0."""
    model = filled(BertForMaskedLM, tie_word_embeddings=tied)
    bias, other = model.cls.predictions.decoder.bias, torch.full((SIZES["vocab_size"],), 7.0)
    source = {**exported(model), "cls.predictions.decoder.bias": bias, "cls.predictions.bias": other}
    loaded = empty(BertForMaskedLM, tie_word_embeddings=tied)
    put(loaded, source)
    assert torch.equal(loaded.cls.predictions.decoder.bias, bias)


def test_matrices_that_checkpoints_hold_transposed_are_written_as_they_are() -> None:
    there = exported(BY_NAME["GPT2Model"].model())
    assert there["h.1.mlp.c_fc.weight"].shape == (32, 128)
    assert there["h.1.attn.c_attn.weight"].shape == (32, 96)


# -- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "embeddings.word_embeddings.weight",
            (98, 32),
            r"'embeddings\.word_embeddings\.weight' has shape \(98, 32\), and this model's "
            r"'embeddings\.word_embeddings\.weight' needs \(99, 32\); is the configuration this checkpoint's",
        ),
        ("encoder.layer.0.attention.self.key.bias", (33,), r"has shape \(33,\), .* needs \(32,\)"),
        ("pooler.dense.weight", (), r"has shape \(\), .* needs \(32, 32\)"),
        ("pooler.dense.weight", (32, 32, 1), r"has shape \(32, 32, 1\)"),
        ("encoder.layer.0.output.dense.weight", (37, 32), r"has shape \(37, 32\), .* needs \(32, 37\)"),
    ],
)
def test_a_wrong_shape_is_refused_before_any_weight_is_read(name: str, shape: tuple[int, ...], message: str) -> None:
    model = empty()
    with pytest.raises(CheckpointError, match=message) as caught:
        put(model, {**exported(filled()), name: torch.zeros(shape)})
    assert "\n" not in str(caught.value)
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.complex64])
def test_weights_that_are_not_floating_point_are_refused(dtype: Any) -> None:
    name = "encoder.layer.1.intermediate.dense.weight"
    source = exported(filled())
    with pytest.raises(CheckpointError, match=f"{name!r} holds {dtype}, .*quantised checkpoints cannot be loaded"):
        put(empty(), {**source, name: torch.ones(source[name].shape, dtype=dtype)})


# -- dtypes and placement -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("source", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_are_converted_as_pytorch_does(source: Any, target: Any) -> None:
    stored = {name: tensor.to(source) for name, tensor in exported(filled()).items()}
    model = empty()
    put(model, stored, target)
    assert_same_tensors(exported(model), {name: tensor.to(target) for name, tensor in stored.items()})


def test_frozen_parameters_stay_frozen() -> None:
    model = empty()
    model.embeddings.requires_grad_(False)
    put(model, exported(filled()))
    assert {name for name, p in parameters(model).items() if not p.requires_grad} == {
        name for name in parameters(model) if name.startswith("embeddings.")
    }


def test_missing_weights_get_memory_of_the_dtype_asked_for() -> None:
    model = empty(BertForSequenceClassification)
    put(model, exported(filled()), torch.bfloat16)
    assert model.classifier.weight.dtype == torch.bfloat16
    assert model.classifier.weight.device == CPU


def test_values_that_are_not_missing_memory_are_kept() -> None:
    """A subclass's own modules have values; only those of ours are on the meta device."""
    model = empty()
    model.extra = nn.Linear(2, 2)
    kept = model.extra.weight.detach().clone()
    result = put(model, exported(filled()), torch.float64)
    assert result.missing == []
    assert torch.equal(model.extra.weight, kept.double())


# -- out of a module ----------------------------------------------------------------------------------------------


def expected_of(model: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_segments_that_wrappers_add_are_left_out() -> None:
    model = filled()
    expected, there = expected_of(model), exported(model)
    model.encoder.layer[0] = torch.compile(model.encoder.layer[0])
    model.pooler = torch.compile(model.pooler)
    assert any("_orig_mod" in name for name in model.state_dict())
    assert_same_tensors(export_weights(model, expected), there)
    parallel = nn.DataParallel(model)
    assert_same_tensors(export_weights(parallel, expected), there)


UNSAVABLE: dict[str, tuple[Any, str]] = {
    "pruned": (
        lambda layer: prune.l1_unstructured(layer.dense, "weight", 0.5),
        r"its module is a torch\.nn\.modules\.linear\.Linear, which has no such weight; merge adapters, remove pruning",
    ),
    "parametrised": (
        lambda layer: nn.utils.parametrizations.weight_norm(layer.dense),
        r"its module is a \S+ParametrizedLinear, which",
    ),
    "wrapped": (
        lambda layer: setattr(layer, "dense", nn.Sequential(layer.dense)),
        r"its module is a torch\.nn\.\S+Sequential",
    ),
    "deleted": (lambda layer: delattr(layer, "dense"), "its module is missing, which has no such weight"),
}


@pytest.mark.parametrize(("change", "message"), UNSAVABLE.values(), ids=UNSAVABLE)
def test_a_weight_that_could_not_be_loaded_is_refused(change: Any, message: str) -> None:
    model = filled()
    expected = expected_of(model)
    change(model.encoder.layer[1].output)
    with pytest.raises(
        CheckpointError, match=rf"'encoder\.layer\.1\.output\.dense\.weight' cannot be saved: {message}"
    ) as caught:
        export_weights(model, expected)
    assert "\n" not in str(caught.value)


def test_a_weight_of_another_size_than_the_configuration_says_is_refused() -> None:
    model = filled()
    expected = expected_of(model)
    model.embeddings.word_embeddings = nn.Embedding(120, 32)
    with pytest.raises(
        CheckpointError, match=r"has shape \(120, 32\), but the configuration says \(99, 32\); change model\.config"
    ):
        export_weights(model, expected)


def test_added_modules_and_buffers_are_written_too() -> None:
    model = filled()
    expected = expected_of(model)
    model.extra = nn.Linear(2, 2)
    model.register_buffer("count", torch.ones(1))
    model.register_buffer("scratch", torch.ones(1), persistent=False)
    assert set(export_weights(model, expected)) == {*expected, "extra.weight", "extra.bias", "count"}


def test_a_parameter_that_is_not_contiguous_is_exported() -> None:
    model = filled()
    table = torch.randn(SIZES["hidden_size"], SIZES["vocab_size"]).t()
    model.embeddings.word_embeddings.weight = nn.Parameter(table)
    assert torch.equal(exported(model)["embeddings.word_embeddings.weight"], table)
    assert exported(model)["embeddings.word_embeddings.weight"].is_contiguous()


# -- files --------------------------------------------------------------------------------------------------------

DTYPES = [getattr(torch, dtype.name) for dtype in SAFETENSORS_DTYPES.values() if hasattr(torch, dtype.name)]

tensors = st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)).map(
    lambda pair: torch.randint(0, 2, pair[1]).to(pair[0])
)
names = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: name != "__metadata__")


def same_bits(tensor: Tensor, other: Tensor) -> bool:
    """Compare what PyTorch cannot for every dtype."""
    raw = [t.contiguous().reshape(-1).view(torch.uint8) for t in (tensor, other)]
    return (tensor.dtype, tensor.shape) == (other.dtype, other.shape) and torch.equal(*raw)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.dictionaries(names, tensors, min_size=1, max_size=5))
def test_every_dtype_and_shape_is_read_as_the_formats_own_library_reads_it(
    contents: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(contents, path)
    source, expected = open_weights(tmp_path), load_file(path)
    assert source.keys() == expected.keys()
    assert all(same_bits(source[name], tensor) for name, tensor in expected.items())


def test_tensors_that_the_file_does_not_align_are_read(tmp_path: Path) -> None:
    header = json.dumps(
        {
            "byte": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
            "number": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
        }
    ).encode()
    content = b"\7" + torch.tensor([1.5, -2.0]).numpy().tobytes()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + content)
    assert open_weights(tmp_path)["number"].tolist() == [1.5, -2.0]


def test_writing_to_a_weight_leaves_the_file_alone(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1000)}, tmp_path / "model.safetensors")
    first, second = open_weights(tmp_path), open_weights(tmp_path)
    first["a"].fill_(1.0)
    assert second["a"].sum() == 0
    assert load_file(tmp_path / "model.safetensors")["a"].sum() == 0


def test_each_tensor_has_a_storage_of_its_own_for_torch_save_writes_storages_whole(tmp_path: Path) -> None:
    contents = {"small": torch.zeros(2), "large": torch.zeros(1000), "none": torch.zeros(0)}
    save_file(contents, tmp_path / "model.safetensors")
    sizes = {name: tensor.untyped_storage().nbytes() for name, tensor in open_weights(tmp_path).items()}
    assert sizes == {"small": 8, "large": 4000, "none": 0}


def test_weights_are_read_on_the_cpu_whatever_the_default_device(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    with torch.device("meta"):
        assert open_weights(tmp_path)["a"].device == CPU


def test_safetensors_are_read_before_an_older_file(tmp_path: Path) -> None:
    save_file({"new": torch.zeros(1)}, tmp_path / "model.safetensors")
    torch.save({"old": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert set(open_weights(tmp_path)) == {"new"}
    (tmp_path / "model.safetensors").unlink()
    assert set(open_weights(tmp_path)) == {"old"}


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointNotFoundError, match=r"has no weights: neither model\.safetensors, nor its index, nor"
    ):
        open_weights(tmp_path)


def test_tensors_that_share_memory_in_an_older_file_do_not_share_it_here(tmp_path: Path) -> None:
    table = torch.arange(6.0)
    torch.save({"a": table, "b": table, "c": table[2:]}, tmp_path / "pytorch_model.bin")
    source = open_weights(tmp_path)
    source["a"].zero_()
    assert source["b"].tolist() == table.tolist()
    assert source["c"].tolist() == table[2:].tolist()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ([torch.zeros(1)], "list"),
        (torch.zeros(1), "Tensor"),
        ({"weights": {"w": torch.zeros(1)}}, "dict"),
        ({0: torch.zeros(1)}, "dict"),
        ({"w": 3}, "dict"),
        (None, "NoneType"),
    ],
)
def test_an_older_file_of_anything_but_named_tensors_is_refused(content: Any, kind: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(FileFormatError, match=f"should map names to tensors, and holds something else, a {kind}"):
        open_weights(tmp_path)


def test_a_copy_is_one_only_with_the_same_values() -> None:
    table = torch.arange(4.0)
    source = {"a": table, "same": table.clone(), "other": table + 1, "narrow": table.half(), "short": table[:2]}
    assert [name for name in source if is_copy(source, name, "a")] == ["a", "same", "narrow"]
    assert not is_copy(source, "a", "absent")
