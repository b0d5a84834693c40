"""`generate` and `stream` of Flax models: the tokens of the PyTorch wing, whose tests hold them against transformers.

Compiling a loop takes seconds, so that each test has few of them; `test_scores` has every setting.
"""

import copy
from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which these are held against")

import jax
import numpy as np
import torch

import modeloutputs.flax as flax_wing
from modeloutputs.errors import InputError
from modeloutputs.flax import FlaxBertModel, GPT2Config
from modeloutputs.generation.config import GenerationConfig

from ..support.tiny_text import tokenizer
from . import tiny
from .tiny import BY_NAME, CASES, inputs

GENERATORS = [case for case in CASES if hasattr(getattr(flax_wing, case.flax_class).module_class, "next_scores")]
GPT2, BART = "FlaxGPT2LMHeadModel, add_cross_attention", "FlaxBartForConditionalGeneration"
LLAMA = "FlaxLlamaForCausalLM"
IDS = np.random.default_rng(0).integers(3, 40, (3, 5))
MASK = np.array([[1] * 5, [0, 0, 1, 1, 1], [1, 1, 1, 0, 0]])
COMMON: dict[str, Any] = {"eos_token_id": [7, 9, 11], "pad_token_id": 0}
"""Settings of tests that share a compiled loop, of 5 to 8 new tokens."""


def models(name: str) -> tuple[Any, Any, str]:
    """Return a model of each wing; the Flax one compiles, since a loop is compiled in any case."""
    model, ours, folder = tiny.models(name)
    ours = copy.copy(ours)
    ours.jit_calls = True
    return model, ours, folder


def both(name: str, ids: Any = IDS, mask: Any = MASK, **options: Any) -> tuple[Any, Any]:
    """Return the outputs of both wings, those of Flax cut to the length of PyTorch's, which end with the last row."""
    model, ours, _ = models(name)
    given = {key: value for key, value in inputs(BY_NAME[name]).items() if key.startswith("encoder")}
    given |= {key: options.pop(key) for key in ("decoder_input_ids",) if key in options}
    tensors = {key: torch.as_tensor(value) for key, value in given.items()}
    prompts = (None if ids is None else torch.as_tensor(ids), None if mask is None else torch.as_tensor(mask))
    reference = model.generate(*prompts, **tensors, **options)
    return ours.generate(ids, mask, **given, **options), reference


def assert_same(found: Any, reference: Any, total: int) -> None:
    length = reference.sequences.shape[1]
    assert found.sequences.shape[1] == total
    np.testing.assert_array_equal(np.asarray(found.sequences)[:, :length], reference.sequences.numpy())
    np.testing.assert_array_equal(np.asarray(found.attention_mask)[:, :length], reference.attention_mask.numpy())
    np.testing.assert_array_equal(np.asarray(found.generated)[:, :length], reference.generated.numpy())
    assert not np.asarray(found.attention_mask)[:, length:].any()
    assert not np.asarray(found.generated)[:, length:].any()
    if reference.sequences_scores is not None:
        np.testing.assert_allclose(found.sequences_scores, reference.sequences_scores.numpy(), atol=1e-5)
    if reference.scores is not None:  # those of rows that have ended choose nothing
        new = reference.generated.numpy()[:, -reference.scores.shape[1] :, None]
        scores = np.asarray(found.scores)[:, : reference.scores.shape[1]]
        np.testing.assert_allclose(scores * new, reference.scores.numpy() * new, atol=1e-5)
    found.check()


# -- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in GENERATORS])
def test_tokens_are_the_pytorch_wings(case: Any):
    """The second row has padding on the left, the third on the right; with ends, and a length that no bucket has."""
    found, reference = both(case.name, max_new_tokens=7, **COMMON, output_scores=case.name == GPT2)
    assert_same(found, reference, 8 if case.is_seq2seq else 12)


@pytest.mark.parametrize("name", [GPT2, BART])
def test_beams_are_the_pytorch_wings(name: str):
    options = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 8, "pad_token_id": 0}
    found, reference = both(name, **options, eos_token_id=[7, 9], output_scores=True, no_repeat_ngram_size=2)
    assert_same(found, reference, 9 if name == BART else 13)


def test_beams_stop_early():
    options = {"num_beams": 3, "early_stopping": True, "length_penalty": 2.0, "eos_token_id": list(range(3, 15))}
    found, reference = both(LLAMA, **options, max_new_tokens=7, pad_token_id=0)
    assert_same(found, reference, 12)


def test_without_a_cache_the_tokens_are_the_same():
    found, reference = both(LLAMA, max_new_tokens=6, use_cache=False, eos_token_id=())
    assert_same(found, reference, 11)


def test_bart_goes_on_from_a_prompt_of_its_own_and_is_forced():
    start = np.array([[2, 7], [2, 9], [2, 30]])
    found, reference = both(BART, decoder_input_ids=start, max_new_tokens=4, forced_eos_token_id=6, eos_token_id=6)
    assert_same(found, reference, 6)
    assert np.asarray(found.sequences)[:, :2].tolist() == start.tolist()


def test_padding_tokens_are_padding_where_no_mask_is_passed():
    ids = np.where(MASK == 0, 0, IDS)
    found, reference = both(LLAMA, ids, None, max_new_tokens=6, **COMMON)
    assert_same(found, reference, 11)


# -- what comes with the tokens ---------------------------------------------------------------------------------------


STATES: dict[str, Any] = {
    "output_hidden_states": True, "output_attentions": [1], "max_new_tokens": 4, "num_beams": 2,
    "num_return_sequences": 2, "eos_token_id": (), "pad_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", [GPT2, BART])
def test_states_are_those_of_the_finished_sequences(name: str):
    found, reference = both(name, **STATES)
    assert list(found) == [key for key in reference if key != "past_key_values"]
    seen = np.asarray(found.attention_mask)[..., None] != 0
    for ours, theirs in zip(found.hidden_states, reference.hidden_states, strict=True):
        np.testing.assert_allclose(np.asarray(ours) * seen, theirs.numpy() * seen, atol=1e-5)
    assert found.attentions[0] is None
    rows = seen[:, None]
    np.testing.assert_allclose(
        np.asarray(found.attentions[1]) * rows, reference.attentions[1].numpy() * rows, atol=1e-5
    )


def test_encoder_outputs_stand_in_for_the_encoders_input():
    _, ours, _ = models(BART)
    whole = ours.generate(IDS, MASK, **STATES)
    encoded = tiny.models(BART)[1].encode(IDS, MASK)
    found = ours.generate(attention_mask=MASK, encoder_outputs=encoded, **STATES)
    assert found.sequences.tolist() == whole.sequences.tolist()
    np.testing.assert_allclose(found.hidden_states[-1], whole.hidden_states[-1], atol=1e-5)


def test_sequences_alone_where_asked():
    _, ours, _ = models(LLAMA)
    alone = ours.generate(IDS, MASK, return_dict_in_generate=False, max_new_tokens=5, **COMMON)
    assert isinstance(alone, jax.Array)
    assert alone.tolist() == ours.generate(IDS, MASK, max_new_tokens=5, **COMMON).sequences.tolist()


def test_a_key_decides_what_is_sampled_and_params_may_be_passed():
    _, ours, _ = models(LLAMA)
    options = {"max_new_tokens": 5, "do_sample": True, "top_k": 20, "num_return_sequences": 2, "eos_token_id": ()}

    def sampled(seed: int, params: Any = None) -> Any:
        key = jax.random.key(seed)
        return np.asarray(ours.generate(IDS, MASK, prng_key=key, params=params, **options).sequences)

    one, same, other = sampled(1), sampled(1, dict(ours.params)), sampled(2)
    assert one.shape == (6, 10)
    assert (one == same).all()
    assert (one != other).any()
    assert (one[0] != one[1]).any()
    assert (one[::2, :5] == one[1::2, :5]).all()
    assert (one[0, :5] == IDS[0]).all()


# -- Python between steps ---------------------------------------------------------------------------------------------


def ends_at_fives(tokens: Any, _: Any) -> Any:
    return np.asarray(tokens)[:, -1] % 5 == 0


def few(prompt: int, row: Any) -> list[int]:
    return [3 + prompt, int(row[-1]) % 40, int(row[-1]) * 7 % 40]


@pytest.mark.parametrize(
    "options",
    [
        {"stopping_criteria": ends_at_fives, "output_scores": True},
        {"prefix_allowed_tokens_fn": few, "num_beams": 3, "num_return_sequences": 2, "output_scores": True},
    ],
    ids=["criteria", "allowed tokens, beams"],
)
def test_callers_functions_are_asked_between_steps(options: dict[str, Any]):
    found, reference = both(LLAMA, **options, max_new_tokens=6, pad_token_id=0, eos_token_id=8)
    assert_same(found, reference, 11)


def test_a_loop_in_python_gives_the_tokens_of_the_compiled_one_as_they_come():
    _, ours, _ = models(LLAMA)
    seen: list[Any] = []
    options = {"max_new_tokens": 5, **COMMON}
    stepped = ours.generate(IDS, MASK, on_tokens=seen.append, **options)
    assert stepped.sequences.tolist() == ours.generate(IDS, MASK, **options).sequences.tolist()
    assert np.stack(seen, 1).tolist() == np.asarray(stepped.sequences)[:, 5:].tolist()


def test_text_is_streamed_and_ends_at_a_stop_string():
    words = tokenizer()
    _, ours, _ = models(LLAMA)
    options = {"max_new_tokens": 6, "eos_token_id": (), "pad_token_id": 0, "tokenizer": words}
    prompt = IDS[:1]
    whole = "".join(ours.stream(prompt, **options))
    new: list[int] = []
    ours.generate(prompt, on_tokens=lambda tokens: new.append(int(tokens[0])), **options)
    assert whole == words.decode([*prompt[0].tolist(), *new])[len(words.decode(prompt[0].tolist())) :]
    stop = whole[len(whole) // 2]
    stopped = "".join(ours.stream(prompt, stop_strings=stop, **options))
    assert stopped == whole[: whole.index(stop) + 1]


# -- in traces --------------------------------------------------------------------------------------------------------


def test_generate_can_be_traced_with_padding_on_either_side():
    _, ours, _ = models(LLAMA)
    options = {"max_new_tokens": 6, **COMMON}
    traced = jax.jit(lambda params, ids, mask: ours.generate(ids, mask, params=params, **options))
    found, expected = traced(ours.params, IDS, MASK), ours.generate(IDS, MASK, **options)
    for name in ("sequences", "attention_mask", "generated"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
    by_token = jax.jit(lambda ids: ours.generate(ids, **options).sequences)(np.where(MASK == 0, 0, IDS))
    assert by_token[:, 5:].tolist() == expected.sequences[:, 5:].tolist()


def test_what_python_decides_is_refused_in_a_trace():
    _, ours, _ = models(LLAMA)
    with pytest.raises(InputError, match="stopping_criteria was passed in a trace"):
        jax.jit(lambda ids: ours.generate(ids, stopping_criteria=ends_at_fives, pad_token_id=0).sequences)(IDS)


def test_a_compiled_loop_serves_near_lengths_and_other_rows_do_not_see_the_padding():
    _, ours, _ = models(LLAMA)
    long = ours.generate(IDS, MASK, max_new_tokens=7, **COMMON)
    before = len(ours._compiled)
    short = ours.generate(IDS[:, :4], MASK[:, :4], max_new_tokens=5, **COMMON)
    assert len(ours._compiled) == before
    alone = np.concatenate([ours.generate(row[seen != 0][None], max_new_tokens=7, **COMMON).sequences[:, -7:]
                            for row, seen in zip(IDS, MASK, strict=True)])  # fmt: skip
    assert np.asarray(long.sequences)[:, 5:].tolist() == alone.tolist()
    assert short.sequences.shape == (3, 9)


# -- what is kept, and what is refused --------------------------------------------------------------------------------


def test_a_checkpoints_special_tokens_are_used_and_saved(tmp_path: Any):
    _, ours, _ = models(LLAMA)
    first = int(ours.generate(IDS, MASK, max_new_tokens=5, **COMMON).sequences[0, 5])
    config = GenerationConfig(eos_token_id=first, pad_token_id=1)
    ours.save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    again = type(ours).from_pretrained(tmp_path)
    assert again.can_generate()
    assert again.generation_config.to_dict() == config.to_dict()
    assert np.asarray(again.generate(IDS[:1], max_new_tokens=3).attention_mask).sum() == 6
    again.save_pretrained(tmp_path / "copy")
    assert GenerationConfig.from_pretrained(tmp_path / "copy") == config


def test_a_model_that_predicts_no_next_token_says_so():
    bert: Any = FlaxBertModel(BY_NAME["FlaxBertModel"].config(), _do_init=False)
    assert not bert.can_generate()
    with pytest.raises(InputError, match="FlaxBertModel does not predict next tokens"):
        bert.generate(IDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_ids": [[1, 2]]}, "input_ids is a list, not an array"),
        ({"input_ids": {"input_ids": IDS}}, r"input_ids is a dict; unpack what the tokenizer returned"),
        ({"input_ids": np.array([[1, 99]])}, "input_ids ranges from 1 to 99; expected 0 to 39"),
        ({"input_ids": IDS, "attention_mask": MASK[:, :3]}, r"attention_mask has shape \(3, 3\); expected \(3, 5\)"),
        ({"input_ids": IDS, "attention_mask": MASK * 0}, "attention_mask masks a whole prompt"),
        ({"input_ids": IDS, "attention_mask": GenerationConfig()}, "pass settings by name, as generation_config"),
        ({"input_ids": IDS, "num_beam": 3}, "generate has no option 'num_beam'; did you mean 'num_beams'"),
        ({"input_ids": IDS, "encoder_outputs": (1,)}, "takes no encoder_outputs; it takes only a prompt"),
        ({"input_ids": IDS, "inputs": IDS}, "input_ids and inputs were both passed"),
        ({"input_ids": IDS, "num_beams": 2, "on_tokens": print}, "on_tokens was passed with num_beams > 1"),
        ({"input_ids": IDS, "top_p": 1.5}, "top_p is 1.5; expected"),
        ({"input_ids": IDS[:, :0]}, r"the prompt has shape \(3, 0\)"),
        ({"bos_token_id": None}, "input_ids was not passed, and there is no bos_token_id"),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(options: dict[str, Any], message: str):
    _, ours, _ = models("FlaxLlamaForCausalLM, untied")
    ours.config.bos_token_id = None
    with pytest.raises(InputError, match=message) as caught:
        ours.generate(**options)
    assert "\n" not in str(caught.value)


def test_more_positions_than_there_are_are_refused():
    _, ours, _ = models(GPT2)
    with pytest.raises(InputError, match="exceed the model's max_position_embeddings of 24"):
        ours.generate(IDS, max_new_tokens=30)
    assert GPT2Config().n_positions == 1024
