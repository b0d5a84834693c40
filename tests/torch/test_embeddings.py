"""Tables of tokens and the scores tied to them: read, replaced, tied again, resized; against transformers."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn

import modeloutputs.torch as ours
from modeloutputs import CheckpointError, InputError

from .peer import peer_class
from .tiny import randomise

VOCAB, IDS = 20, torch.tensor([[3, 4, 5, 2]])
BERT = {"vocab_size": VOCAB, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
GPT = {"vocab_size": VOCAB, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
BART = {
    "vocab_size": VOCAB, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 16,
}  # fmt: skip
DECODER = {"is_decoder": True}
UNTIED = {"tie_word_embeddings": False}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "BERT": ("BertModel", "BertConfig", BERT),
    "BERT masked": ("BertForMaskedLM", "BertConfig", BERT),
    "BERT untied": ("BertForMaskedLM", "BertConfig", {**BERT, **UNTIED}),
    "BERT decoder": ("BertLMHeadModel", "BertConfig", {**BERT, **DECODER}),
    "BERT classes": ("BertForSequenceClassification", "BertConfig", BERT),
    "GPT": ("OpenAIGPTLMHeadModel", "OpenAIGPTConfig", GPT),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", GPT),
    "GPT-2 untied": ("GPT2LMHeadModel", "GPT2Config", {**GPT, **UNTIED}),
    "Llama": ("LlamaForCausalLM", "LlamaConfig", BERT),
    "Llama tied": ("LlamaForCausalLM", "LlamaConfig", {**BERT, "tie_word_embeddings": True}),
    "BART": ("BartForConditionalGeneration", "BartConfig", BART),
    "BART decoder": ("BartForCausalLM", "BartConfig", BART),
    "BART model": ("BartModel", "BartConfig", BART),
}
each = pytest.mark.parametrize("case", CASES)


def built(case: str) -> Any:
    name, config, settings = CASES[case]
    return randomise(getattr(ours, name)(getattr(ours, config)(**settings))).eval()


def peer_of(case: str, model: Any) -> Any:
    name, config, settings = CASES[case]
    peer = peer_class(name)(peer_class(config)(**settings)).eval()
    peer.load_state_dict(model.state_dict(), strict=False)
    peer.tie_weights()
    return peer


def computed(model: Any, ids: Any = IDS) -> Any:
    with torch.no_grad():
        output = model(ids)
    return output["logits"] if "logits" in output else output["last_hidden_state"]


# -- resizing ---------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize(("size", "multiple"), [(VOCAB + 3, None), (VOCAB - 4, None), (VOCAB + 1, 8), (None, 16)])
def test_a_resized_model_computes_what_the_peers_computes(case: str, size: int | None, multiple: int | None) -> None:
    model = built(case)
    peer = peer_of(case, model)
    table, expected = (each.resize_token_embeddings(size, multiple) for each in (model, peer))
    assert table is model.get_input_embeddings()
    assert model.config.vocab_size == peer.config.vocab_size == table.num_embeddings == len(expected.weight)
    # New rows lie around the mean of the old ones, by a part in 30,000 of their spread.
    torch.testing.assert_close(table.weight, expected.weight, atol=1e-4, rtol=0)
    torch.testing.assert_close(computed(model), computed(peer), atol=1e-4, rtol=0)
    newest = torch.tensor([[3, table.num_embeddings - 1, 2]])
    torch.testing.assert_close(computed(model, newest), computed(peer, newest), atol=2e-3, rtol=0)


@each
def test_a_resized_model_is_saved_and_loaded(case: str, tmp_path: Path) -> None:
    model = built(case)
    model.resize_token_embeddings(VOCAB + 3)
    expected = computed(model)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(computed(loaded), expected)
    assert loaded.config.vocab_size == VOCAB + 3


def test_rows_that_stay_keep_their_bits_and_the_table_its_identity() -> None:
    model = built("GPT-2")
    table, old = model.transformer.wte, model.transformer.wte.weight.detach().clone()
    seen: list[int] = []
    table.register_forward_hook(lambda module, inputs, output: seen.append(1))
    assert model.resize_token_embeddings(VOCAB + 5) is table
    assert torch.equal(table.weight[:VOCAB], old)
    computed(model)
    assert seen == [1]


def test_new_rows_lie_around_the_mean_or_are_drawn_like_initial_weights() -> None:
    model = built("GPT-2")
    mean = model.transformer.wte.weight.detach().mean(0)
    model.resize_token_embeddings(VOCAB + 100)
    new = model.transformer.wte.weight.detach()[VOCAB:]
    torch.testing.assert_close(new, mean.expand_as(new), atol=1e-4, rtol=0)
    assert new.std(0).min() > 0
    other = built("GPT-2")
    other.resize_token_embeddings(VOCAB + 500, mean_resizing=False)
    assert other.transformer.wte.weight.detach()[VOCAB:].std().item() == pytest.approx(0.02, rel=0.1)


def test_nothing_is_changed_without_a_size_and_padding_beyond_the_vocabulary_is_none() -> None:
    model = randomise(ours.LlamaModel(ours.LlamaConfig(**BERT, pad_token_id=19)))
    weight = model.embed_tokens.weight
    assert model.resize_token_embeddings().weight is weight
    model.resize_token_embeddings(19)
    assert model.embed_tokens.padding_idx is None


def test_generation_reaches_new_tokens() -> None:
    model = built("GPT-2")
    model.resize_token_embeddings(VOCAB + 2)
    with torch.no_grad():
        model.transformer.ln_f.bias.copy_(100 * model.transformer.wte.weight[VOCAB + 1])
        model.transformer.wte.weight[VOCAB + 1] *= 10
    assert model.generate(IDS, max_new_tokens=2, eos_token_id=()).sequences[0, -2:].tolist() == [VOCAB + 1] * 2


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "20"])
def test_no_size_is_refused(size: Any) -> None:
    with pytest.raises(InputError, match=r"new_num_tokens is .*; expected a positive integer, as len\(tokenizer\)"):
        built("BERT").resize_token_embeddings(size)
    with pytest.raises(InputError, match="pad_to_multiple_of is 0; expected a positive integer"):
        built("BERT").resize_token_embeddings(VOCAB, pad_to_multiple_of=0)


def test_modules_of_others_are_refused_before_anything_is_changed() -> None:
    model = built("GPT-2")
    model.lm_head = nn.Sequential(model.lm_head)
    with pytest.raises(InputError, match=r"vocabulary of a Sequential cannot be resized, only that of an nn\.Linear"):
        model.resize_token_embeddings(VOCAB + 1)
    assert model.config.vocab_size == model.transformer.wte.num_embeddings == VOCAB


# -- reading, replacing, tying ----------------------------------------------------------------------------------------


@each
def test_embeddings_are_where_the_peer_has_them(case: str) -> None:
    model = built(case)
    peer = peer_of(case, model)
    for get in ("get_input_embeddings", "get_output_embeddings"):
        mine, other = getattr(model, get)(), getattr(peer, get)()
        assert (mine is None) == (other is None)
        if mine is not None:
            assert torch.equal(mine.weight, other.weight)


@each
def test_a_table_that_is_put_in_is_used_and_tied(case: str) -> None:
    model, table = built(case), randomise(nn.Embedding(VOCAB, 8), seed=7)
    peer = peer_of(case, model)
    model.set_input_embeddings(table)
    peer.set_input_embeddings(table)
    peer.tie_weights()
    assert model.get_input_embeddings() is table
    torch.testing.assert_close(computed(model), computed(peer))
    scores = model.get_output_embeddings()
    assert scores is None or (scores.weight is table.weight) == model.config.tie_word_embeddings


@each
def test_scores_that_are_put_in_are_used(case: str) -> None:
    model, new = built(case), randomise(nn.Linear(8, VOCAB), seed=7)
    if model.get_output_embeddings() is None:
        with pytest.raises(InputError, match="scores no vocabulary"):
            model.set_output_embeddings(new)
        return
    before = computed(model)
    model.set_output_embeddings(new)
    assert model.get_output_embeddings() is new
    assert not torch.equal(computed(model), before)
    model.tie_weights()
    assert (new.weight is model.get_input_embeddings().weight) == model.config.tie_word_embeddings


@pytest.mark.parametrize("tied", [True, False])
def test_barts_halves_follow_the_table_that_they_share(tied: bool) -> None:
    model = randomise(ours.BartModel(ours.BartConfig(**BART, tie_word_embeddings=tied))).eval()
    tables = {model.encoder.embed_tokens, model.decoder.embed_tokens, model.shared}
    assert len(tables) == (1 if tied else 3)
    before, new = computed(model), randomise(nn.Embedding(VOCAB, 8), seed=7)
    model.shared = new
    assert (model.encoder.embed_tokens is new, model.decoder.embed_tokens is new) == (tied, tied)
    assert torch.equal(computed(model), before) != tied
    model.encoder.embed_tokens = nn.Embedding(VOCAB, 8)
    model.tie_weights()
    assert (model.encoder.embed_tokens is model.shared) == tied


def test_weights_that_are_tied_in_the_configuration_only_are_not_saved(tmp_path: Path) -> None:
    model = built("GPT-2")
    model.transformer.wte = randomise(nn.Embedding(VOCAB, 8), seed=7)
    with pytest.raises(CheckpointError, match=r"'lm_head.weight' and 'transformer.* differ, .*tie_weights\(\)"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    model.tie_weights()
    model.save_pretrained(tmp_path)
