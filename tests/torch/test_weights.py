"""The table of names, read in both directions, and the ways into a module that it opens."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from modeloutputs.architectures import BertConfig  # noqa: E402
from modeloutputs.errors import CheckpointError, CheckpointNotFoundError, FileFormatError  # noqa: E402
from modeloutputs.torch import BertForMaskedLM, BertForSequenceClassification, BertModel  # noqa: E402
from modeloutputs.torch.weights import (  # noqa: E402
    DTYPES,
    Imported,
    Rename,
    checkpoint_names,
    export_weights,
    import_weights,
    is_copy,
    open_weights,
)

from .peer import assert_same_tensors, every_head, peer_model  # noqa: E402
from .tiny import BY_NAME, NEW_HEADS, SIZES, Head, randomise  # noqa: E402

CPU = torch.device("cpu")


def empty(cls: Any = BertModel, **changes: Any) -> Any:
    """Return a tiny model without memory for its weights."""
    with torch.device("meta"):
        return cls(BertConfig(**{**SIZES, **changes}))


def filled(cls: Any = BertModel, **changes: Any) -> Any:
    return randomise(cls(BertConfig(**{**SIZES, **changes})))


def put(model: Any, source: dict[str, Tensor], dtype: Any = torch.float32) -> Imported:
    return import_weights(model, source, model.renames, model.base_model_prefix, dtype, CPU)


def exported(model: Any) -> dict[str, Tensor]:
    return export_weights(model, model.renames)


def parameters(model: Any) -> dict[str, Tensor]:
    return dict(model.named_parameters())


# -- one table, both directions -----------------------------------------------------------------------------------


@every_head
@pytest.mark.parametrize("tied", [True, False])
def test_the_names_of_checkpoints_are_the_peers_and_no_two_of_ours_share_one(head: Head, tied: bool) -> None:
    ours = [
        name
        for parameter, _ in head.model(tie_word_embeddings=tied).named_parameters()
        for name in checkpoint_names(parameter, head.cls.renames)
    ]
    assert len(set(ours)) == len(ours)
    # Tied weights are stored once; untied, the first of the two biases takes part in nothing.
    repeated = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"} if tied else {"cls.predictions.bias"}
    assert set(ours) == peer_model(head, tie_word_embeddings=tied).state_dict().keys() - repeated


@every_head
def test_a_name_leads_there_and_back(head: Head) -> None:
    model = head.model()
    back = {name: ours for ours in parameters(model) for name in checkpoint_names(ours, model.renames)}
    for ours in parameters(model):
        assert {back[name] for name in checkpoint_names(ours, model.renames)} == {ours}


@every_head
@pytest.mark.parametrize("tied", [True, False])
def test_weights_lead_there_and_back(head: Head, tied: bool) -> None:
    model = head.model(tie_word_embeddings=tied)
    there = exported(model)
    other = empty(head.cls, **head.settings, tie_word_embeddings=tied)
    assert put(other, there) == Imported(missing=[], unexpected=[])
    assert_same_tensors(parameters(other), parameters(model))
    assert_same_tensors(exported(other), there)


@every_head
def test_what_is_exported_has_the_peers_shapes(head: Head) -> None:
    theirs = peer_model(head).state_dict()
    for name, tensor in exported(head.model()).items():
        assert tensor.shape == theirs[name].shape
        assert tensor.is_contiguous()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("up.weight", ("dense.weight",)),
        ("layer.3.up.bias", ("layer.3.dense.bias",)),
        ("up", ("dense",)),
        ("layer.up", ("layer.dense",)),
        ("group.weight", ("group.weight",)),
        ("upper.weight", ("upper.weight",)),
        ("a_up.weight", ("a_up.weight",)),
        ("both.weight", ("one.weight", "two.weight")),
        ("deep.path.weight", ("flat.weight",)),
        ("deepxpath.weight", ("deepxpath.weight",)),
    ],
)
def test_only_whole_parts_of_a_path_are_renamed(name: str, expected: Sequence[str]) -> None:
    renames = (Rename("up", ("dense",)), Rename("both", ("one", "two")), Rename("deep.path", ("flat",)))
    assert checkpoint_names(name, renames) == expected


def test_a_fallback_is_read_where_there_is_one() -> None:
    renames = (Rename("a", ("b",), fallback=("c",)), Rename("d", ("e",)))
    assert checkpoint_names("a", renames) == ("b",)
    assert checkpoint_names("a", renames, fallback=True) == ("c",)
    assert checkpoint_names("d", renames, fallback=True) == ("e",)


# -- spellings of old ---------------------------------------------------------------------------------------------


def test_gamma_and_beta_are_a_norms_weight_and_bias() -> None:
    model = filled(BertForMaskedLM)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in exported(model).items()
    }
    assert sum(name.endswith(("gamma", "beta")) for name in old) == 2 * (2 * SIZES["num_hidden_layers"] + 2)
    other = empty(BertForMaskedLM)
    assert put(other, old) == Imported([], [])
    assert_same_tensors(parameters(other), parameters(model))


def test_gamma_of_anything_else_is_left_alone() -> None:
    source = {**exported(filled()), "adapter.gamma": torch.zeros(1)}
    assert put(empty(), source).unexpected == ["adapter.gamma"]


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
    assert put(other, source) == Imported([], [])
    assert_same_tensors(parameters(other), parameters(model))


@pytest.mark.parametrize(
    ("tied", "stored", "read"),
    [
        (True, "cls.predictions.bias", "cls.predictions.bias"),
        (True, "cls.predictions.decoder.bias", "cls.predictions.bias"),
        (False, "cls.predictions.decoder.bias", "cls.predictions.decoder.bias"),
        (False, "cls.predictions.bias", "cls.predictions.decoder.bias"),
    ],
)
def test_the_bias_of_the_vocabulary_is_read_under_either_name(tied: bool, stored: str, read: str) -> None:
    source = exported(filled(BertForMaskedLM, tie_word_embeddings=tied))
    bias = source.pop(read)
    model = empty(BertForMaskedLM, tie_word_embeddings=tied)
    assert put(model, {**source, stored: bias}) == Imported([], [])
    assert torch.equal(parameters(model)[read], bias)


@pytest.mark.parametrize("tied", [True, False])
def test_of_two_biases_the_one_that_takes_part_is_read(tied: bool) -> None:
    model = filled(BertForMaskedLM, tie_word_embeddings=tied)
    own, other = "cls.predictions.bias", "cls.predictions.decoder.bias"
    own, other = (own, other) if tied else (other, own)
    source = {**exported(model), other: torch.full((SIZES["vocab_size"],), 7.0)}
    loaded = empty(BertForMaskedLM, tie_word_embeddings=tied)
    put(loaded, source)
    assert torch.equal(parameters(loaded)[own], parameters(model)[own])


# -- other architectures ------------------------------------------------------------------------------------------

every_other_head = pytest.mark.parametrize("head", NEW_HEADS, ids=[head.name for head in NEW_HEADS])


@every_other_head
@pytest.mark.parametrize("tied", [True, False])
def test_weights_of_every_architecture_lead_there_and_back(head: Head, tied: bool) -> None:
    model = head.model(tie_word_embeddings=tied)
    there = exported(model)
    with torch.device("meta"):
        other = head.cls(head.configuration(tie_word_embeddings=tied))
    assert put(other, there) == Imported(missing=[], unexpected=[])
    assert_same_tensors(parameters(other), parameters(model))
    assert_same_tensors(exported(other), there)
    assert all(tensor.is_contiguous() for tensor in there.values())


@every_other_head
def test_no_two_weights_of_ours_have_one_name_in_checkpoints(head: Head) -> None:
    model = head.model()
    names = [name for ours in parameters(model) for name in checkpoint_names(ours, model.renames)]
    assert len(set(names)) == len(names) > len(parameters(model)) - 1


def test_a_stack_of_parts_of_different_sizes_is_split_where_they_end() -> None:
    """Llama's keys and values are fewer than its queries."""
    model = BY_NAME["LlamaModel"].model()
    stacked, there = model.layers[1].attention.qkv.weight, exported(model)
    parts = [there[f"layers.1.self_attn.{part}_proj.weight"] for part in "qkv"]
    assert [part.shape for part in parts] == [(32, 32), (16, 32), (16, 32)]
    assert torch.equal(stacked, torch.cat(parts))


def test_matrices_that_checkpoints_hold_transposed_are_turned_and_biases_are_not() -> None:
    model = BY_NAME["GPT2Model"].model()
    there = exported(model)
    assert torch.equal(there["h.1.mlp.c_fc.weight"], model.h[1].feed_forward.up.weight.t())
    assert torch.equal(there["h.1.mlp.c_fc.bias"], model.h[1].feed_forward.up.bias)
    assert there["h.1.attn.c_attn.weight"].shape == (32, 96)


def test_a_transposed_matrix_of_the_other_shape_is_refused() -> None:
    head = BY_NAME["GPT2Model"]
    source = exported(head.model())
    source["h.1.mlp.c_fc.weight"] = source["h.1.mlp.c_fc.weight"].t().contiguous()
    with torch.device("meta"):
        model = head.cls(head.configuration())
    with pytest.raises(CheckpointError, match=r"has shape \(128, 32\), and this model's .* needs \(32, 128\)"):
        put(model, source)


# -- stacks -------------------------------------------------------------------------------------------------------

DECODER = {"is_decoder": True, "add_cross_attention": True}
STACKS = {
    "attention.qkv": ["attention.self.query", "attention.self.key", "attention.self.value"],
    "cross_attention.key_value": ["crossattention.self.key", "crossattention.self.value"],
}


@pytest.mark.parametrize("leaf", ["weight", "bias"])
@pytest.mark.parametrize("ours", STACKS)
def test_a_stack_is_joined_and_split_in_the_order_of_its_names(ours: str, leaf: str) -> None:
    source = exported(filled(**DECODER))
    model = empty(**DECODER)
    put(model, source)
    for layer in range(SIZES["num_hidden_layers"]):
        parts = [source[f"encoder.layer.{layer}.{theirs}.{leaf}"] for theirs in STACKS[ours]]
        assert torch.equal(parameters(model)[f"encoder.layer.{layer}.{ours}.{leaf}"], torch.cat(parts))
    assert_same_tensors(exported(model), source)


def test_a_stack_of_which_a_part_is_missing_is_missing_whole() -> None:
    source = exported(filled())
    del source["encoder.layer.1.attention.self.key.bias"]
    result = put(empty(), source)
    assert result.missing == ["encoder.layer.1.attention.qkv.bias"]
    assert result.unexpected == [f"encoder.layer.1.attention.self.{part}.bias" for part in ("query", "value")]


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
    ],
)
def test_a_wrong_shape_is_refused_before_anything_is_read(name: str, shape: tuple[int, ...], message: str) -> None:
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


def test_what_is_missing_gets_memory_of_the_dtype_asked_for() -> None:
    model = empty(BertForSequenceClassification)
    put(model, exported(filled()), torch.bfloat16)
    assert model.classifier.weight.dtype == torch.bfloat16
    assert model.classifier.weight.device == CPU


# -- files --------------------------------------------------------------------------------------------------------

tensors = st.tuples(st.sampled_from(list(DTYPES.values())), st.lists(st.integers(0, 4), max_size=3)).map(
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


def test_what_is_written_to_a_weight_stays_out_of_the_file(tmp_path: Path) -> None:
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
        ({"model": {"w": torch.zeros(1)}}, "dict"),
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


def test_a_parameter_that_is_not_contiguous_is_exported() -> None:
    model = filled()
    table = torch.randn(SIZES["hidden_size"], SIZES["vocab_size"]).t()
    model.embeddings.word_embeddings.weight = nn.Parameter(table)
    assert torch.equal(exported(model)["embeddings.word_embeddings.weight"], table)
    assert exported(model)["embeddings.word_embeddings.weight"].is_contiguous()
