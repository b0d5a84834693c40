"""The table of round trips, its cells that cost little."""

# what is imported below needs what may be absent

from pathlib import Path

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which these are held against")

import numpy as np

from modeloutputs.architectures.weights import WeightNames
from modeloutputs.files.weights import match_names
from modeloutputs.flax.weights import open_weights

from . import files_table
from .files_table import NAMES, attempt, formats, read_flax, read_torch, summary
from .tiny import models

CELLS = [pytest.param(name, writer, id=f"{title}, {name}") for name in NAMES for title, writer in formats(name)]


@pytest.mark.parametrize(("name", "writer"), CELLS)
def test_every_format_holds_the_weights(name: str, writer: files_table.Writer, tmp_path: Path):
    """Read without building a model, which takes most of the time."""
    model, loaded, _ = models(name)
    writer(name, tmp_path)
    found, expected = open_weights(tmp_path), dict(model.named_parameters())
    names: WeightNames = loaded.weight_names
    tied = loaded.config.tie_word_embeddings
    matched = match_names(expected, found, names, has_base=loaded._has_base, tied=tied)
    assert [name for name in matched.missing if not names.is_optional(name)] == []
    repeated = names.repeats(tied=True)
    assert [name for name in matched.unexpected if not names.is_ignored(name) and name not in repeated] == []
    for name, place in matched.found.items():
        np.testing.assert_array_equal(found[place].numpy(), expected[name].detach().numpy(), err_msg=name)


@pytest.mark.parametrize("title", ["safetensors, TensorFlow's layout", "flax_model.msgpack shards"])
def test_cells_are_differences_or_refusals(title: str, tmp_path: Path):
    name = "FlaxGPT2Model"
    files_table.FORMATS[title](name, tmp_path)
    assert read_flax(name, tmp_path) == 0
    refused = attempt(read_torch, name, tmp_path)
    assert isinstance(refused, str)
    assert refused.startswith("Checkpoint")


def test_a_cell_says_which_models_fail():
    assert summary({}) == "-"
    assert summary({"a": 0.0, "b": 0.0}) == "0"
    assert summary({"a": 1e-7, "b": "ValueError: no", "c": 2.0}) == "1.0e-07; no: b; other numbers: c"
    assert summary({"a": "ValueError: no"}) == "no"
    assert summary({"a": 2.0}) == "other numbers"
    assert files_table.difference({"a": np.zeros(2)}, {"a": np.zeros(3)}) == np.inf
    assert files_table.difference({"a": np.zeros(2)}, {"b": np.zeros(2)}) == np.inf
    assert files_table.difference({"a": np.zeros(2)}, {"a": np.array([0.0, -3.0])}) == 3
