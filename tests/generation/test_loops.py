"""The decoding loops over a decoder in NumPy: where rows end, what follows, which sequences beams find."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from modeloutputs.generation.loops import GenerationResult, beam_search, decode_steps, sample, stream_text
from modeloutputs.generation.prompt import ModelLimits, Prompt
from modeloutputs.generation.settings import GenerationSettings

from ..support.numpy_decoder import NumpyDecoder, hashed, scripted
from ..support.tiny_text import ids_of, spaces_tokenizer, tokenizer

VOCAB = 14
END = 13
TWO_PROMPTS = [[1], [2]]


def prompt_of(
    rows: list[list[int]], settings: GenerationSettings, special: dict[str, list[int]] | None = None
) -> Prompt:
    limits = ModelLimits(VOCAB, 40, {"eos_token_id": [END]} if special is None else special)
    return Prompt.of(np.array(rows), None, settings, limits)


def say(*scripts: list[int], prompts: list[list[int]] = TWO_PROMPTS, **options: Any) -> GenerationResult[Any]:
    """Return what comes of a model that says these tokens."""
    settings = GenerationSettings(**{"max_new_tokens": 8, **options})
    prompt = prompt_of(prompts, settings)
    decoder = NumpyDecoder(scripted(*scripts, start=prompt.length, vocab=VOCAB), prompt, settings)
    result = sample(decoder, prompt, settings)
    assert len(decoder.seen) == result.sequences.shape[1] - prompt.length  # nothing is computed after the last end
    return result


# -- ends -------------------------------------------------------------------------------------------------------------


def test_a_row_ends_with_its_end_token_and_padding_follows():
    found = say([5, END, 6, 7], [8, 9, 10, END], pad_token_id=11)
    assert found.sequences[:, 1:].tolist() == [[5, END, 11, 11], [8, 9, 10, END]]
    assert found.attended[:, 1:].tolist() == [[True, True, False, False], [True, True, True, True]]


def test_the_end_token_pads_where_there_is_no_other():
    found = say([5, END], [8, 9], max_new_tokens=3)
    assert found.sequences[0, 1:].tolist() == [5, END, END]
    assert found.attended[0].tolist() == [True, True, True, False]


def test_the_first_of_several_end_tokens_pads():
    assert say([5, 12], [8, 9], max_new_tokens=3, eos_token_id=[11, 12]).sequences[0, 1:].tolist() == [5, 12, 11]


def test_no_end_token_at_all():
    found = say([END], prompts=[[1]], max_new_tokens=3, eos_token_id=())
    assert found.sequences[0].tolist() == [1, END, END, END]
    assert found.attended.all()


def test_an_end_token_in_the_prompt_ends_nothing():
    assert say([5, 6, END], prompts=[[END, 4, END]]).sequences[0, 3:].tolist() == [5, 6, END]


def test_padding_that_is_generated_is_a_token():
    found = say([5, 3, 6], prompts=[[1]], max_new_tokens=3, pad_token_id=3)
    assert found.sequences[0, 1:].tolist() == [5, 3, 6]
    assert found.attended.all()


def test_padding_of_prompts_is_masked_in_the_result():
    settings = GenerationSettings(max_new_tokens=2)
    mask = np.array([[True, False], [True, True]])
    prompt = Prompt.of(np.array([[4, 0], [5, 6]]), mask, settings, ModelLimits(VOCAB, 40, {}))
    found = sample(NumpyDecoder(hashed(VOCAB), prompt, settings), prompt, settings)
    assert found.sequences[:, :2].tolist() == [[0, 4], [5, 6]]
    assert found.attended.tolist() == [[False, True, True, True], [True, True, True, True]]


def test_criteria_of_callers_end_rows_too():
    """With and without end tokens, in rows of their own and in beams."""
    found = say([5, 6, 8, 9], [8, 9, 6, 9], stopping_criteria=lambda tokens, _: tokens[:, -1] == 6, pad_token_id=11)
    assert found.sequences[:, 1:].tolist() == [[5, 6, 11], [8, 9, 6]]
    assert found.attended.all(1).tolist() == [False, True]
    alone = say([5, 6, 8], prompts=[[1]], eos_token_id=(), stopping_criteria=lambda tokens, _: tokens.shape[1] == 3)
    assert alone.sequences.tolist() == [[1, 5, 6]]
    beams, _, _ = search(TWO_PROMPTS, max_new_tokens=6, stopping_criteria=lambda tokens, _: tokens.shape[1] == 4)
    assert beams.sequences.shape == (2, 4)


# -- each step --------------------------------------------------------------------------------------------------------


def test_steps_are_computed_when_they_are_asked_for():
    settings = GenerationSettings(max_new_tokens=3)
    prompt = prompt_of([[1]], settings)
    decoder = NumpyDecoder(scripted([5, 6, 7], start=1, vocab=VOCAB), prompt, settings)
    steps = decode_steps(decoder, prompt, settings)
    assert len(decoder.seen) == 0
    assert next(steps).tokens.tolist() == [5]
    assert len(decoder.seen) == 1
    assert [step.tokens.tolist() for step in steps] == [[6], [7]]


def test_on_tokens_is_called_at_each_step():
    settings = GenerationSettings(max_new_tokens=6)
    prompt = prompt_of([[1], [2], [3]], settings)
    seen: list[list[int]] = []
    decoder = NumpyDecoder(hashed(VOCAB), prompt, settings)
    found = sample(decoder, prompt, settings, lambda tokens: seen.append(tokens.tolist()))
    assert np.transpose(seen).tolist() == found.sequences[:, 1:].tolist()


def test_scores_are_returned_only_where_asked_for():
    assert say([5], [6], max_new_tokens=2).step_scores == []
    scores = say([5], [6], max_new_tokens=2, output_scores=True).step_scores
    assert [each.argmax(1).tolist() for each in scores] == [[5, 6], [5, 6]]


def test_several_sequences_are_drawn_from_each_prompt():
    generator = np.random.default_rng(0)
    settings = GenerationSettings(max_new_tokens=5, do_sample=True, num_return_sequences=3, generator=generator)
    prompt = prompt_of(TWO_PROMPTS, settings)
    found = sample(NumpyDecoder(hashed(VOCAB), prompt, settings), prompt, settings)
    assert found.sequences[:, 0].tolist() == [1, 1, 1, 2, 2, 2]
    assert len(np.unique(found.sequences, axis=0)) > 2
    assert found.attended.shape == found.sequences.shape


# -- beams ------------------------------------------------------------------------------------------------------------


def search(rows: list[list[int]], **options: Any) -> tuple[GenerationResult[Any], NumpyDecoder, Prompt]:
    settings = GenerationSettings(**{"num_beams": 3, "output_scores": True, **options})
    prompt = prompt_of(rows, settings)
    decoder = NumpyDecoder(hashed(VOCAB), prompt, settings)
    return beam_search(decoder, prompt, settings), decoder, prompt


def best_by_hand(row: list[int], new: int) -> tuple[float, list[int]]:
    """Return the most probable of all sequences of `new` tokens."""
    model = hashed(VOCAB)
    scores: dict[tuple[int, ...], float] = {(): 0.0}
    for _ in range(new):
        logits = {tokens: model(np.array([[*row, *tokens]]))[0] for tokens in scores}
        scores = {
            (*tokens, token): score + logits[tokens][token] - float(np.log(np.exp(logits[tokens]).sum()))
            for tokens, score in scores.items()
            for token in range(VOCAB)
        }
    best = max(scores, key=lambda tokens: scores[tokens])
    return scores[best], list(best)


def test_enough_beams_find_the_most_probable_sequence():
    found, _, _ = search(TWO_PROMPTS, num_beams=VOCAB, max_new_tokens=2, eos_token_id=(), length_penalty=0.0)
    for i, row in enumerate(TWO_PROMPTS):
        score, tokens = best_by_hand(row, 2)
        assert found.sequences[i].tolist() == [*row, *tokens]
        assert found.sequences_scores is not None
        assert float(found.sequences_scores[i]) == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("best", [1, 3])
def test_scores_of_tokens_add_up_and_stand_where_their_prefix_was_read(best: int):
    options = {"max_new_tokens": 6, "eos_token_id": [3, 5], "pad_token_id": 0, "length_penalty": 0.0}
    found, decoder, prompt = search(TWO_PROMPTS, num_return_sequences=best, **options)
    assert found.score_rows is not None
    assert found.sequences_scores is not None
    assert len(found.sequences) == 2 * best
    assert not found.attended.all()
    for row, mask, sources, score in zip(
        found.sequences, found.attended, found.score_rows, found.sequences_scores, strict=True
    ):
        total = 0.0
        for step in range(int(mask.sum()) - prompt.length):
            length = prompt.length + step
            assert decoder.seen[step][sources[step]].tolist() == row[:length].tolist()
            total += float(found.step_scores[step][sources[step], row[length]])
        assert total == pytest.approx(float(score), abs=1e-5)
        assert set(row[~mask].tolist()) <= {0}


def test_beams_end_with_stop_strings():
    """The stop string is the text of the best sequence's third token."""
    size = len(tokenizer())
    limits = ModelLimits(size, 40, {})
    model = hashed(size)

    def run(**options: Any) -> list[int]:
        settings = GenerationSettings(max_new_tokens=6, num_beams=3, pad_token_id=0, **options)
        prompt = Prompt.of(np.array([ids_of("hello")]), None, settings, limits)
        found = beam_search(NumpyDecoder(model, prompt, settings), prompt, settings)
        return found.sequences[0, prompt.length :][found.attended[0, prompt.length :]].tolist()

    plain = run()
    text = tokenizer().decode(plain[:3])
    found = run(stop_strings=text, tokenizer=tokenizer(), length_penalty=-9.0)
    assert text in tokenizer().decode(found)
    assert len(found) < len(plain) == 6


def test_nothing_is_computed_for_beams_after_the_last_step():
    _, decoder, _ = search(TWO_PROMPTS, max_new_tokens=4, eos_token_id=())
    assert [tokens.shape for tokens in decoder.seen] == [(6, 1), (6, 2), (6, 3), (6, 4)]


# -- text -------------------------------------------------------------------------------------------------------------


def stream(text: str, prompt: list[int], words: Any, mask: list[bool] | None = None, **options: Any) -> list[str]:
    """Return the pieces of a text that a model says."""
    script = words(text)["input_ids"] if isinstance(text, str) else text
    settings = GenerationSettings(**{"max_new_tokens": len(script), **options})
    end = {"eos_token_id": [words.eos_token_id]} if "eos_token_id" not in options else {}
    rows = np.array([prompt])
    limits = ModelLimits(len(words), 999, end)
    checked = Prompt.of(rows, None if mask is None else np.array([mask]), settings, limits)
    decoder = NumpyDecoder(scripted(script, start=len(prompt), vocab=len(words)), checked, settings)
    return list(stream_text(decoder, checked, settings, words))


def test_characters_of_several_tokens_come_whole():
    pieces = stream("a😀中é", ids_of("hello"), tokenizer(), eos_token_id=())
    assert "".join(pieces) == "a😀中é"
    assert len(pieces) == 4


def test_a_stream_leaves_out_special_tokens_and_padded_prompts():
    end = tokenizer().eos_token_id
    prompt = [end, end, *ids_of("hello")]
    pieces = stream([*ids_of(" a b"), end], prompt, tokenizer(), [token != end for token in prompt])
    assert "".join(pieces) == tokenizer().decode(ids_of(" a b"))


def test_a_stream_continues_the_prompt_rather_than_an_empty_text():
    words = spaces_tokenizer()
    prompt, whole = words("hello")["input_ids"], words("hello there a b")["input_ids"]
    script = whole[len(prompt) :]
    assert whole[: len(prompt)] == prompt
    assert words.decode(script)[0] != " "
    assert "".join(stream(script, prompt, words, eos_token_id=())) == " there a b"


# -- no framework -----------------------------------------------------------------------------------------------------

WITHOUT_FRAMEWORKS = """
import sys
sys.modules.update(dict.fromkeys(["torch", "jax", "flax", "tensorflow", "keras"]))  # importing them fails
import numpy as np
from modeloutputs.generation import beams, loops, prompt, settings, special_tokens, stopping
checked = settings.GenerationSettings(max_new_tokens=3)
row = prompt.Prompt.of(np.array([[1, 2]]), None, checked, prompt.ModelLimits(9, 9, {}))
print(stopping.StoppingCriteria(row, checked).can_stop, row.total_length)
"""


def test_no_framework_is_needed():
    done = subprocess.run([sys.executable, "-c", WITHOUT_FRAMEWORKS], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False 5\n", "")
