"""What `generate` returns: its contract, its parts, and what is done with outputs in general."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import numpy as np

from modeloutputs import select
from modeloutputs.generation.loops import GenerationResult
from modeloutputs.torch import GPT2Config, GPT2LMHeadModel
from modeloutputs.torch.generate_output import stacked_scores

from .tiny import token_ids

SIZES = {"vocab_size": 99, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 20}


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(**SIZES, eos_token_id=None)).eval()


def test_rows_are_selected_with_their_caches(model: GPT2LMHeadModel):
    ids = token_ids(3, 4)
    found = model.generate(ids, max_new_tokens=3, return_dict_in_generate=True, output_scores=True)
    found.check()
    row = select(found, [1])
    row.check()
    assert row.past_key_values[0][0].shape == (1, 2, 6, 8)
    alone = model.generate(ids[1:2], max_new_tokens=3, return_dict_in_generate=True, output_scores=True)
    assert torch.equal(row.sequences, alone.sequences)
    torch.testing.assert_close(row.past_key_values[0][1], alone.past_key_values[0][1], rtol=1e-5, atol=1e-5)


def test_scores_are_stacked_by_the_rows_that_tokens_came_from():
    steps = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])]
    sequences, attended = np.zeros((2, 3), np.int64), np.ones((2, 3), np.bool_)
    device = torch.device("cpu")
    own = stacked_scores(GenerationResult(sequences, attended, steps), device)
    assert own is not None
    assert own[:, :, 0].tolist() == [[1.0, 3.0], [2.0, 4.0]]
    moved = stacked_scores(GenerationResult(sequences, attended, steps, np.array([[1, 1], [0, 1]])), device)
    assert moved is not None
    assert moved[:, :, 0].tolist() == [[2.0, 4.0], [1.0, 4.0]]
    assert stacked_scores(GenerationResult(sequences, attended, []), device) is None
