"""Changes of scores in compiled loops, against those of the PyTorch wing for the same tokens."""

from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which these are held against")

import jax.numpy as jnp
import numpy as np
import torch

from modeloutputs.flax.plan import DecodingPlan
from modeloutputs.flax.scores import Limits, SoFar, changed_scores
from modeloutputs.generation.processors import PADDING
from modeloutputs.generation.prompt import ModelLimits, Prompt
from modeloutputs.generation.settings import GenerationSettings
from modeloutputs.torch.scores import TokensSoFar, score_changes

VOCAB, LONGEST = 9, 12
LIMITS = ModelLimits(VOCAB, 100, {})
ENDS = {"eos_token_id": [7, 2]}

CASES: dict[str, dict[str, Any]] = {
    "a penalty": {"repetition_penalty": 1.7},
    "no bigram twice": {"no_repeat_ngram_size": 2},
    "no token twice": {"no_repeat_ngram_size": 1},
    "no trigram of the source": {"encoder_no_repeat_ngram_size": 3},
    "words": {"bad_words_ids": [[1], [3, 4], [5, 6, 1], [0, 4], [7]], **ENDS},
    "no end at first": {"min_new_tokens": 3, **ENDS},
    "no end before a length": {"min_length": 8, **ENDS},
    "never": {"suppress_tokens": [0, 5]},
    "not first": {"begin_suppress_tokens": [1, 2]},
    "ends that are forced": {"forced_eos_token_id": [7, 3], **ENDS},
    "all at once, sampled": {
        "repetition_penalty": 0.8, "no_repeat_ngram_size": 2, "encoder_no_repeat_ngram_size": 2, "do_sample": True,
        "bad_words_ids": [[1, 2]], "min_new_tokens": 2, "suppress_tokens": [8], "temperature": 0.5, "top_k": 4, **ENDS,
    },
}  # fmt: skip


def tokens_of(rng: np.random.Generator, length: int) -> tuple[Any, Any]:
    """Return few different tokens, which repeat, with padding before the second row and, more of it, the third."""
    mask = np.ones((3, length), np.bool_)
    mask[1, :1] = mask[2, :3] = False
    return rng.integers(0, 4, (3, length)), mask


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("added", [0, 3])
def test_scores_change_as_in_the_pytorch_wing(name: str, added: int):
    """The array has room for more, and `added` positions before the prompts."""
    rng = np.random.default_rng(len(name))
    settings = GenerationSettings(**CASES[name], max_new_tokens=6)
    for length in range(6, LONGEST):
        tokens, mask = tokens_of(rng, length)
        scores = rng.normal(size=(3, VOCAB)).astype(np.float32)
        prompt = Prompt.of(tokens[:, :6], mask[:, :6], settings, LIMITS)
        expected = torch.as_tensor(scores)
        for change in score_changes(settings, prompt):
            expected = change(expected, TokensSoFar(torch.as_tensor(tokens), torch.as_tensor(mask).long(), length))
        room = ((0, 0), (added, LONGEST - length))
        arrays = np.pad(tokens, room, constant_values=1), np.pad(mask, ((0, 0), (added, 0)))
        seen = np.pad(arrays[1], ((0, 0), (0, LONGEST - length)), constant_values=True)
        so_far = SoFar(jnp.asarray(arrays[0]), jnp.asarray(seen), added + length, jnp.asarray(prompt.source))
        plan = DecodingPlan.of(settings, prompt, 6 + added, 11)
        limits = Limits(added + prompt.total_length, added + prompt.min_length)
        found = np.asarray(changed_scores(plan, limits, jnp.asarray(scores), so_far))
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6, err_msg=f"{length} tokens")


def test_a_prompt_of_one_token_may_have_forced_what_follows_it():
    settings = GenerationSettings(forced_bos_token_id=4, begin_suppress_tokens=[1], max_new_tokens=4)
    prompt = Prompt.of(np.array([[2]]), None, settings, LIMITS)
    plan, limits = DecodingPlan.of(settings, prompt, 1, 4), Limits(5, 0)
    tokens = jnp.zeros((1, 5), jnp.int32)

    def kept(length: int) -> list[int]:
        so_far = SoFar(tokens, tokens == 0, length, None)
        found = changed_scores(plan, limits, jnp.ones((1, VOCAB)), so_far)
        return np.flatnonzero(np.isfinite(np.asarray(found[0]))).tolist()

    assert kept(1) == [4]
    assert kept(2) == [0, *range(2, VOCAB)]
    assert kept(3) == list(range(VOCAB))


def test_a_callers_function_is_given_tokens_scores_and_their_number():
    seen: list[Any] = []

    def process(tokens: Any, scores: Any, length: Any) -> Any:
        seen.append((tokens.shape, length))
        return scores + 1

    settings = GenerationSettings(logits_processor=process, max_new_tokens=2)
    prompt = Prompt.of(np.array([[2, 3]]), None, settings, LIMITS)
    so_far = SoFar(jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4), bool), 2, None)
    plan = DecodingPlan.of(settings, prompt, 2, 2)
    found = changed_scores(plan, Limits(4, 0), jnp.zeros((1, VOCAB)), so_far)
    assert seen == [((1, 4), 2)]
    assert np.asarray(found).tolist() == [[1.0] * VOCAB]


def test_padding_and_free_room_are_marked():
    so_far = SoFar(jnp.asarray([[5, 6, 7, 8]]), jnp.asarray([[False, True, True, True]]), 3, None)
    assert np.asarray(so_far.marked()).tolist() == [[PADDING, 6, 7, PADDING]]
