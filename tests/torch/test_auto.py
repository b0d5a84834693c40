"""Each checkpoint's language model, picked by its config.json."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


import modeloutputs.torch as ours
from modeloutputs.errors import CheckpointNotFoundError, CheckpointWarning, InputError
from modeloutputs.torch.auto import load_language_model

from .generating import GENERATORS, Generator, model_of


@pytest.mark.parametrize("generator", GENERATORS, ids=[generator.id for generator in GENERATORS])
def test_the_class_that_wrote_a_checkpoint_reads_it(generator: Generator, tmp_path: Path):
    model, peer = generator.pair()
    for writer in (model, peer):
        writer.save_pretrained(tmp_path / type(writer).__module__)
        loaded = load_language_model(tmp_path / type(writer).__module__)
        assert type(loaded) is type(model)
        assert not loaded.training
        inputs = generator.inputs()
        found, expected = (each.generate(**inputs, max_new_tokens=5).sequences for each in (loaded, model))
        assert torch.equal(found, expected)


def test_options_are_those_of_the_class(tmp_path: Path):
    model_of("GPT2LMHeadModel").save_pretrained(tmp_path)
    loaded = load_language_model(str(tmp_path), dtype="float64", attn_pdrop=0.5)
    assert loaded.dtype == torch.float64
    assert loaded.config.attn_pdrop == 0.5
    with pytest.raises(InputError, match="GPT2LMHeadModel has no setting 'attn_drop'; did you mean 'attn_pdrop'"):
        load_language_model(tmp_path, attn_drop=0.5)


def test_an_encoder_is_made_a_decoder(tmp_path: Path):
    encoder = model_of("BertForMaskedLM")
    encoder.save_pretrained(tmp_path)
    assert not encoder.config.is_decoder
    loaded = load_language_model(tmp_path)
    assert type(loaded) is ours.BertLMHeadModel
    assert loaded.config.is_decoder
    config = ours.BertConfig.from_pretrained(tmp_path, is_decoder=True)
    assert load_language_model(tmp_path, config=config).config is config


def test_a_checkpoint_of_another_head_is_read_with_a_warning(tmp_path: Path):
    model_of("GPT2ForSequenceClassification, one class").save_pretrained(tmp_path)
    with pytest.warns(CheckpointWarning, match="not used: score"):
        assert type(load_language_model(tmp_path)) is ours.GPT2LMHeadModel


def test_a_folder_without_a_configuration(tmp_path: Path):
    with pytest.raises(CheckpointNotFoundError, match=r"has no config\.json"):
        load_language_model(tmp_path)


def test_a_subfolder(tmp_path: Path):
    model_of("GPT2LMHeadModel").save_pretrained(tmp_path / "model")
    assert type(load_language_model(tmp_path, subfolder="model")) is ours.GPT2LMHeadModel
