"""Settings that change scores: tokens and scores as those of transformers, greedy, with beams and in samples."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers, which these tests compare with, is not installed")

from torch import Tensor

from modeloutputs.errors import InputError
from modeloutputs.torch.scores import criteria_met

from .generating import BY_ID, model_of
from .tiny import padded_mask, token_ids

ENDS = [7, 11, 12, 13, 53, 17, 19, *range(20, 36)]
SETTINGS: dict[str, dict[str, Any]] = {
    "n-grams": {"no_repeat_ngram_size": 2},
    "unigrams": {"no_repeat_ngram_size": 1},
    "long n-grams": {"no_repeat_ngram_size": 20},
    "n-grams of the input": {"encoder_no_repeat_ngram_size": 1},
    "bigrams of the input": {"encoder_no_repeat_ngram_size": 2},
    "words": {"bad_words_ids": [[token] for token in range(60)]},
    "suppressed": {"suppress_tokens": list(range(0, 98, 2))},
    "suppressed first": {"begin_suppress_tokens": list(range(1, 98))},
    "new tokens before the end": {"min_new_tokens": 6, "eos_token_id": ENDS},
    "positions before the end": {"min_length": 11, "eos_token_id": ENDS},
    "positions in all": {"max_length": 12, "max_new_tokens": None},
    "forced": {"forced_bos_token_id": 44, "forced_eos_token_id": [55]},
    "all": {
        "no_repeat_ngram_size": 3,
        "repetition_penalty": 1.3,
        "min_length": 9,
        "suppress_tokens": [5],
        "bad_words_ids": [[60], [77, 80], [80, 91]],
        "begin_suppress_tokens": [12],
        "eos_token_id": ENDS,
    },
}
CASES = [
    *(("GPT2LMHeadModel", name) for name in SETTINGS),
    *(("BartForConditionalGeneration", name) for name in SETTINGS),
    *(("LlamaForCausalLM", name) for name in ("n-grams", "positions before the end", "all")),
]


def generated(name: str, options: dict[str, Any], **changes: Any) -> tuple[Any, Any]:
    """Return what both libraries generate, with scores."""
    generator = BY_ID[name]
    mine, other = generator.pair()
    # Without padding: the peer counts padding tokens as tokens of n-grams.
    inputs = generator.inputs(padded=False)
    inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])
    options = {"max_new_tokens": 10, "pad_token_id": 3, "output_scores": True, **options, **changes}
    found = mine.generate(**inputs, **options)
    return found, other.generate(**inputs, **options, return_dict_in_generate=True)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(("name", "setting"), CASES)
def test_tokens_and_scores_are_the_peers(name: str, setting: str, beams: int):
    found, expected = generated(name, {**SETTINGS[setting], "num_beams": beams, "do_sample": False})
    assert found.sequences.tolist() == expected.sequences.tolist()
    if beams > 1:
        torch.testing.assert_close(found.sequences_scores, expected.sequences_scores, rtol=1e-5, atol=1e-5)
    else:
        torch.testing.assert_close(found.scores, torch.stack(expected.scores, 1), rtol=1e-5, atol=1e-5)


def test_words_of_several_tokens_do_not_come():
    """Each is a pair or triple of tokens that comes without the setting."""
    model, ids = BY_ID["GPT2LMHeadModel"].pair()[0], token_ids(2, 5)
    plain = model.generate(ids, max_new_tokens=6, eos_token_id=()).sequences[0, 5:].tolist()
    words = [plain[:2], plain[2:5], [*ids[0, -1:].tolist(), plain[0]]]
    found, expected = generated("GPT2LMHeadModel", {"bad_words_ids": words, "do_sample": False})
    assert found.sequences.tolist() == expected.sequences.tolist()
    barred = model.generate(ids, max_new_tokens=6, eos_token_id=(), bad_words_ids=words).sequences[0, 4:].tolist()
    for word in words:
        assert all(barred[i : i + len(word)] != word for i in range(len(barred)))


@pytest.mark.parametrize("setting", ["n-grams", "bigrams of the input", "words", "positions before the end", "all"])
def test_padding_is_no_token_of_sequences(setting: str):
    model, ids = BY_ID["GPT2LMHeadModel"].pair()[0], token_ids(2, 7)
    ids[1, :3] = ids[1, 3]  # what stands under the padding would count, were it looked at
    options = {"max_new_tokens": 9, "eos_token_id": (), "pad_token_id": 3, **SETTINGS[setting]}
    options.pop("min_length", None)  # it counts padding, as the peer's does
    together = model.generate(ids, padded_mask((7, 4), "left", 7), **options)
    alone = model.generate(ids[1:, 3:], **options)
    assert together.new_tokens()[1].tolist() == alone.new_tokens()[0].tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0, "temperature": 0.7},
        {"typical_p": 0.6},
        {"epsilon_cutoff": 0.02},
        {"eta_cutoff": 0.5},
        {"typical_p": 0.9, "min_p": 0.02, "top_k": 20, "top_p": 0.9, "epsilon_cutoff": 0.01, "eta_cutoff": 0.02},
    ],
    ids=lambda options: "-".join(options),
)
@pytest.mark.parametrize("beams", [1, 2])
def test_filters_leave_the_peers_scores(options: dict[str, Any], beams: int):
    found, expected = generated("GPT2LMHeadModel", {"top_k": 0, **options}, do_sample=True, num_beams=beams)
    assert found.scores[:, 0].isneginf().any() == ("temperature" not in options)
    torch.testing.assert_close(found.scores[:, 0], expected.scores[0][::beams], rtol=1e-5, atol=1e-5)


# -- what callers add -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "BartForConditionalGeneration"])
def test_functions_of_callers_are_given_tokens_and_scores_as_the_peers_are(name: str, beams: int):
    seen: list[list[Tensor]] = []

    def first(tokens: Tensor, scores: Tensor) -> Tensor:
        seen.append([tokens.clone(), scores.clone()])
        return scores.flip(-1)

    def second(tokens: Tensor, scores: Tensor) -> Tensor:
        return scores.index_fill(1, tokens[:, -1], float("-inf"))

    options = {"logits_processor": [first, second], "repetition_penalty": 1.2, "num_beams": beams, "do_sample": False}
    found, expected = generated(name, options)
    assert found.sequences.tolist() == expected.sequences.tolist()
    half = len(seen) // 2
    for (tokens, scores), (their_tokens, their_scores) in zip(seen[:half], seen[half:], strict=True):
        assert tokens.tolist() == their_tokens.tolist()
        torch.testing.assert_close(scores, their_scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("returned", [None, torch.zeros(2, 5), 3.0])
def test_a_function_that_returns_no_scores_is_refused(returned: Any):
    with pytest.raises(InputError, match=r"logits_processor returned .*; expected scores of shape \(2, 99\)"):
        model_of("GPT2LMHeadModel").generate(token_ids(2, 5), logits_processor=lambda _t, _s: returned)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}])
def test_only_allowed_tokens_follow_a_prefix(options: dict[str, Any]):
    def allowed(prompt: int, tokens: Tensor) -> list[int]:
        return [(int(tokens[-1]) * 7 + prompt + step) % 97 for step in (1, 5, 9)]

    found, expected = generated("GPT2LMHeadModel", {**options, "prefix_allowed_tokens_fn": allowed, "do_sample": False})
    assert found.sequences.tolist() == expected.sequences.tolist()


@pytest.mark.parametrize("returned", [[], [99], [-1]])
def test_no_token_to_follow_a_prefix(returned: list[int]):
    with pytest.raises(InputError, match=r"prefix_allowed_tokens_fn returned .*; expected at least one token, 0 to 98"):
        model_of("GPT2LMHeadModel").generate(token_ids(1, 5), prefix_allowed_tokens_fn=lambda _i, _t: returned)


@pytest.mark.parametrize("scores", ["nan", "-inf", "inf"])
def test_scores_that_are_no_distribution(scores: str):
    with pytest.raises(InputError, match="there is nothing to sample from: a row's scores are nan, infinite, or -inf"):
        model_of("GPT2LMHeadModel").generate(
            token_ids(2, 5), do_sample=True, logits_processor=lambda _t, given: torch.full_like(given, float(scores))
        )


def test_without_settings_nothing_is_done_in_a_step():
    from modeloutputs.generation.prompt import Prompt
    from modeloutputs.generation.settings import GenerationSettings
    from modeloutputs.torch.scores import score_changes

    prompt = Prompt(np.array([[1, 2]]), None, 5, [7])
    assert score_changes(GenerationSettings(), prompt) == []
    assert score_changes(GenerationSettings(do_sample=True, num_beams=3, top_k=0), prompt) == []


# -- when to stop -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("each", [True, False])
def test_criteria_of_callers_end_rows_as_the_peers_do(each: bool, beams: int):
    def criterion(tokens: Tensor, _scores: Any, **_: Any) -> Tensor:
        met = (tokens[:, -1] % 2 == 0) if each else (tokens[:, -1] % 2 == 0).any().expand(len(tokens))
        return met & (tokens.shape[1] > 8)

    generator = BY_ID["GPT2LMHeadModel"]
    mine, other = generator.pair()
    inputs = generator.inputs(padded=False)
    options = {"max_new_tokens": 12, "pad_token_id": 3, "num_beams": beams, "do_sample": False}
    from transformers import StoppingCriteriaList

    expected = other.generate(**inputs, **options, stopping_criteria=StoppingCriteriaList([criterion]))
    for given in (criterion, [criterion], StoppingCriteriaList([criterion])):
        found = mine.generate(**inputs, **options, stopping_criteria=given)
        assert found.sequences.tolist() == expected.tolist()
    assert not found.generated[:, 9:].all() or found.sequences.shape[1] < 19


def test_what_criteria_return():
    tokens, scores = token_ids(3, 5), torch.zeros(3, 99)
    assert criteria_met([lambda _t, _s: False, lambda _t, _s: True], tokens, scores).tolist() == [True] * 3
    rows = [lambda _t, _s: torch.tensor([True, False, False]), lambda _t, _s: [False, False, True]]
    assert criteria_met(rows, tokens, scores).tolist() == [True, False, True]
    for wrong in (None, torch.ones(2), "yes"):
        with pytest.raises(InputError, match=r"a stopping criterion returned .*; expected True, False or one of them"):
            criteria_met([lambda _t, _s, wrong=wrong: wrong], tokens, scores)


def test_criteria_are_given_the_scores_of_the_step():
    seen: list[Any] = []
    model = model_of("GPT2LMHeadModel")
    options = {"max_new_tokens": 3, "eos_token_id": (), "output_scores": True}
    found = model.generate(token_ids(2, 5), stopping_criteria=lambda _t, scores: bool(seen.append(scores)), **options)
    assert all(torch.equal(scores, found.scores[:, i]) for i, scores in enumerate(seen))
    assert len(seen) == 3
