"""Checkpoints of GPT, GPT-2, Llama and BART, from the peer to us and back, older spellings included."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers, which these tests compare with, is not installed")

from safetensors.torch import save_file
from torch import Tensor

import modeloutputs.torch
from modeloutputs import CheckpointError, CheckpointWarning
from modeloutputs.torch import (
    BartForCausalLM,
    BartForConditionalGeneration,
    BartForSequenceClassification,
    BartModel,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaForCausalLM,
    LlamaModel,
    OpenAIGPTLMHeadModel,
    OpenAIGPTModel,
)

from ..torch.peer import assert_same_tensors, peer_class, stored
from ..torch.tiny import BY_NAME, NEW_HEADS, SHARED_HEADS, Head, randomise
from .compare import CONDITIONS, PARTS, TOLERANCE, Pair, output_difference

HEADS = [head for head in NEW_HEADS if head.cls not in PARTS and head.variant not in ("many classes", "regression")]
every_head = pytest.mark.parametrize("head", HEADS, ids=[head.name for head in HEADS])
either_tied = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
ATTENTIONS = next(condition for condition in CONDITIONS if condition.name == "attentions")

State = dict[str, Tensor]


def peer(head: Head, **changes: Any) -> Any:
    """Return the peer's tiny model of random weights."""
    name = head.config.__name__
    config = peer_class(name)(**{**head.sizes, **head.settings, **changes})
    return randomise(peer_class(head.cls.__name__)(config)).eval()


def weights(model: Any) -> State:
    return dict(model.state_dict())


def assert_same(head: Head, ours: Any, theirs: Any) -> None:
    """Hold that both return the same, hidden states and attentions included."""
    pair = Pair(head, ours, theirs)
    assert output_difference(pair, ATTENTIONS.case(pair)) <= TOLERANCE


def quietly(cls: Any, folder: Path, **options: Any) -> Any:
    """Load a checkpoint of which nothing may be warned."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return cls.from_pretrained(folder, **options)


def test_every_public_class_is_among_those_tested() -> None:
    families = ("OpenAIGPT", "GPT2", "Llama", "Bart")
    public = {
        n for n in modeloutputs.torch.__all__ if n.startswith(families) and not n.endswith(("Config", "Tokenizer"))
    }
    assert {head.cls.__name__ for head in HEADS} | {part.__name__ for part in PARTS} | SHARED_HEADS == public


# -- both libraries, in both directions ---------------------------------------------------------------------------


@every_head
@either_tied
def test_peer_checkpoints_are_loaded_and_saved_unchanged(head: Head, tied: bool, tmp_path: Path) -> None:
    theirs = peer(head, tie_word_embeddings=tied)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = quietly(head.cls, tmp_path / "theirs")
    assert_same(head, ours, theirs)
    ours.save_pretrained(tmp_path / "ours")
    assert_same_tensors(stored(tmp_path / "ours"), stored(tmp_path / "theirs"))


@every_head
def test_the_peer_loads_our_checkpoints(head: Head, tmp_path: Path) -> None:
    """Tied or untied as the heads are not: as they are, every pair of models in test_models.py is made so."""
    ours = head.model(tie_word_embeddings=not head.configuration().tie_word_embeddings)
    ours.save_pretrained(tmp_path)
    theirs, info = peer_class(head.cls.__name__).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    state = theirs.eval().state_dict()
    assert_same_tensors({name: state[name] for name in weights(ours)}, weights(ours))
    assert_same(head, ours, theirs)


@every_head
def test_saving_a_loaded_checkpoint_writes_the_same_files(head: Head, tmp_path: Path) -> None:
    head.model().save_pretrained(tmp_path / "first")
    quietly(head.cls, tmp_path / "first").save_pretrained(tmp_path / "second")
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("first", "second"))
    assert first == second


# -- of another head ----------------------------------------------------------------------------------------------

BASES = [
    (OpenAIGPTModel, OpenAIGPTLMHeadModel, ["lm_head.weight"]),
    (GPT2Model, GPT2LMHeadModel, ["lm_head.weight"]),
    (GPT2Model, GPT2ForSequenceClassification, ["score.weight"]),
    (LlamaModel, LlamaForCausalLM, ["lm_head.weight"]),
    (BartModel, BartForConditionalGeneration, ["lm_head.weight"]),
    (
        BartModel,
        BartForSequenceClassification,
        [f"classification_head.{part}.{leaf}" for part in ("dense", "out_proj") for leaf in ("weight", "bias")],
    ),
]
every_base = pytest.mark.parametrize(("base", "head", "new"), BASES, ids=[head.__name__ for _, head, _ in BASES])


def model_of(cls: Any, **settings: Any) -> Any:
    head = next(h for h in NEW_HEADS if h.cls is cls)
    return head.model(tie_word_embeddings=False, **settings)


@every_base
def test_a_base_models_checkpoint_is_a_heads_but_for_the_head(
    base: Any, head: Any, new: list[str], tmp_path: Path
) -> None:
    ours = model_of(base)
    ours.save_pretrained(tmp_path)
    with pytest.warns(CheckpointWarning) as caught:
        loaded = head.from_pretrained(tmp_path)
    assert len(caught) == 1
    assert str(caught[0].message).endswith(f"new, to be trained: {', '.join(new)}")
    assert_same_tensors(weights(loaded.base_model), weights(ours))


@every_base
def test_a_heads_checkpoint_is_a_base_models_too(base: Any, head: Any, new: list[str], tmp_path: Path) -> None:
    ours = model_of(head)
    ours.save_pretrained(tmp_path)
    with pytest.warns(CheckpointWarning) as caught:
        loaded = base.from_pretrained(tmp_path)
    assert len(caught) == 1
    assert str(caught[0].message).endswith(f"in the checkpoint but not used: {', '.join(sorted(new))}")
    assert_same_tensors(weights(loaded), weights(ours.base_model))


@pytest.mark.parametrize("name", [h.name for h in HEADS if h.cls.__name__.endswith(("LMHeadModel", "CausalLM"))])
def test_a_tied_models_base_and_head_load_each_others_without_a_word(name: str, tmp_path: Path) -> None:
    head = BY_NAME[name]
    base = {"OpenAIGPT": OpenAIGPTModel, "GPT2": GPT2Model, "Llama": LlamaModel}
    ours = head.model(tie_word_embeddings=True)
    cls = next((cls for prefix, cls in base.items() if name.startswith(prefix)), BartForCausalLM)
    ours.save_pretrained(tmp_path)
    loaded = quietly(cls, tmp_path)
    loaded.save_pretrained(tmp_path / "base")
    again = quietly(head.cls, tmp_path / "base")
    assert_same_tensors(weights(again), weights(ours))


# -- older spellings ----------------------------------------------------------------------------------------------


def rewritten(
    head: Head, tmp_path: Path, edit: Callable[[State], State], *, old_file: bool = False, **changes: Any
) -> Any:
    """Save the peer's weights under other names and return the peer."""
    theirs = peer(head, **changes)
    theirs.config.save_pretrained(tmp_path)
    state = edit(dict(theirs.state_dict()))
    if old_file:
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        save_file(
            {name: value.clone() for name, value in state.items()}, tmp_path / "model.safetensors", {"format": "pt"}
        )
    return theirs


def with_buffers(state: State) -> State:
    """GPT and GPT-2 files hold the causal triangle, and a number that stood for hidden."""
    layers = {name.partition(".attn.c_attn.weight")[0] for name in state if name.endswith(".attn.c_attn.weight")}
    triangle = torch.ones(1, 1, 40, 40).tril()
    buffers = {f"{layer}.attn.bias": triangle for layer in layers}
    return {**state, **buffers, **{f"{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in layers}}


def without_prefix(state: State) -> State:
    state.pop("lm_head.weight", None)
    return {name.removeprefix("transformer."): value for name, value in state.items()}


def with_frequencies(state: State) -> State:
    return {**state, **{f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(2)}}


@pytest.mark.parametrize("old_file", [True, False], ids=["bin", "safetensors"])
@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("GPT2LMHeadModel", with_buffers),
        ("GPT2LMHeadModel", lambda state: with_buffers(without_prefix(state))),
        ("GPT2Model", with_buffers),
        ("OpenAIGPTLMHeadModel", lambda state: without_prefix(state)),
        ("LlamaForCausalLM", with_frequencies),
        ("BartForConditionalGeneration", lambda state: state),
        ("BartModel", lambda state: state),
        ("BartForCausalLM", lambda state: state),
    ],
)
def test_older_files_are_read_without_a_warning(
    name: str, edit: Callable[[State], State], old_file: bool, tmp_path: Path
) -> None:
    head = BY_NAME[name]
    theirs = rewritten(head, tmp_path, edit, old_file=old_file)
    assert_same(head, quietly(head.cls, tmp_path), theirs)


def test_gpt_files_hold_a_triangle_too(tmp_path: Path) -> None:
    head = BY_NAME["OpenAIGPTLMHeadModel"]

    def with_triangles(state: Any) -> Any:
        return {name: value for name, value in with_buffers(state).items() if "masked" not in name}

    theirs = rewritten(head, tmp_path, with_triangles)
    assert_same(head, quietly(head.cls, tmp_path), theirs)


def test_every_copy_of_barts_embeddings_is_there_in_an_older_file(tmp_path: Path) -> None:
    """The test above would otherwise hold of files that never had one."""
    state = peer(BY_NAME["BartForConditionalGeneration"]).state_dict()
    copies = {f"model.{part}.embed_tokens.weight" for part in ("encoder", "decoder")} | {"lm_head.weight"}
    assert copies <= state.keys()


@pytest.mark.parametrize("kept", ["shared", "decoder.embed_tokens"])
def test_of_barts_copies_one_is_enough(kept: str, tmp_path: Path) -> None:
    head = BY_NAME["BartForConditionalGeneration"]
    tables = re.compile(r"shared|embed_tokens|lm_head|final_logits_bias")
    theirs = rewritten(head, tmp_path, lambda s: {n: v for n, v in s.items() if not tables.search(n) or kept in n})
    ours = quietly(head.cls, tmp_path)
    with torch.no_grad():
        theirs.final_logits_bias.zero_()  # absent, it is zero
    assert_same(head, ours, theirs)


def test_an_untied_checkpoint_of_before_has_one_table_for_encoder_and_decoder(tmp_path: Path) -> None:
    head = BY_NAME["BartForConditionalGeneration"]
    theirs = rewritten(
        head,
        tmp_path,
        lambda state: {n: v for n, v in state.items() if "embed_tokens" not in n},
        tie_word_embeddings=False,
    )
    with torch.no_grad():
        for part in (theirs.model.encoder, theirs.model.decoder):
            part.embed_tokens.weight.copy_(theirs.model.shared.weight)
    assert_same(head, quietly(head.cls, tmp_path), theirs)


# -- BART's parts -------------------------------------------------------------------------------------------------


@either_tied
def test_a_decoder_alone_is_read_from_an_encoder_decoder(tied: bool, tmp_path: Path) -> None:
    theirs = peer(BY_NAME["BartForConditionalGeneration"], tie_word_embeddings=tied, encoder_layers=3)
    theirs.save_pretrained(tmp_path)
    ours = quietly(BartForCausalLM, tmp_path)
    expected = peer_class("BartForCausalLM").from_pretrained(tmp_path)
    with torch.no_grad():  # of tied tables the peer's file has one, under a name that its own decoder does not look for
        expected.model.decoder.embed_tokens.weight.copy_(theirs.model.decoder.embed_tokens.weight)
    assert_same(BY_NAME["BartForCausalLM"], ours, expected.eval())


@pytest.mark.parametrize("cls", PARTS)
@pytest.mark.parametrize("name", ["BartModel", "BartForConditionalGeneration"])
@either_tied
def test_encoder_and_decoder_are_parts_of_any_checkpoint(cls: Any, name: str, tied: bool, tmp_path: Path) -> None:
    theirs = peer(BY_NAME[name], tie_word_embeddings=tied)
    theirs.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)  # an untied model's scores have no place here
        ours = cls.from_pretrained(tmp_path)
    assert type(ours) is cls
    assert not ours.training
    part = getattr(theirs if name == "BartModel" else theirs.model, cls.part)
    assert_same(BY_NAME[cls.__name__], ours, part.eval())


# -- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "loaded"),
    [("GPT2LMHeadModel", OpenAIGPTLMHeadModel), ("LlamaForCausalLM", GPT2Model), ("BartModel", LlamaModel)],
)
def test_another_architectures_checkpoint_is_refused_by_name(saved: str, loaded: Any, tmp_path: Path) -> None:
    BY_NAME[saved].model().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"this checkpoint's model_type is '\w+', and \w+ reads") as caught:
        loaded.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("GPT2LMHeadModel", "transformer.h.1.attn.c_attn.weight"),
        ("LlamaForCausalLM", "model.layers.1.self_attn.k_proj.weight"),
        ("BartForConditionalGeneration", "model.decoder.layers.0.encoder_attn.v_proj.bias"),
        ("OpenAIGPTLMHeadModel", "transformer.positions_embed.weight"),
    ],
)
def test_a_checkpoint_that_lacks_a_weight_is_refused(name: str, lost: str, tmp_path: Path) -> None:
    head = BY_NAME[name]
    rewritten(head, tmp_path, lambda state: {n: v for n, v in state.items() if n != lost})
    with pytest.raises(CheckpointError, match="lacks 1 weights of"):
        head.cls.from_pretrained(tmp_path)
