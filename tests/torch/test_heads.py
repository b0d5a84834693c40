"""How all models and heads behave: in steps, with prefixes, with layers chosen, trained, compiled."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import itertools
import shutil
from collections.abc import Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from modeloutputs import InputError, ModelOutput
from modeloutputs.torch.bert import BertLayer
from modeloutputs.torch.heads import kept_positions
from modeloutputs.torch.layer import Layer

from .tiny import (
    ALL_HEADS,
    BY_NAME,
    LENGTHS,
    NEW_HEADS,
    WIDTH,
    Head,
    padded_ids,
    padded_mask,
    source_ids,
    states,
    token_ids,
)

ROWS = len(LENGTHS)
BOTH_FLAGS = {"output_hidden_states": True, "output_attentions": True}
LANGUAGE_MODELS = [head for head in NEW_HEADS if "LMOutput" in head.returns.__name__]
STEPPING = [head for head in ALL_HEADS if head.steps]
CROSSING = [head for head in STEPPING if head.crosses]


def each(heads: Sequence[Head]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("head", heads, ids=[head.name for head in heads])


every_head, every_decoder, every_language_model = each(ALL_HEADS), each(STEPPING), each(LANGUAGE_MODELS)


def close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def main_field(output: ModelOutput) -> Tensor:
    """Return what a model computes last: logits, or the last state."""
    return next(output[name] for name in ("logits", "start_logits", "last_hidden_state") if name in output)


def stack_flag(output: ModelOutput, name: str) -> Any:
    """Return the decoder's states or attentions, however the output calls them."""
    return output[name] if name in output else output[f"decoder_{name}"]


def tokens(head: Head, ids: Tensor, mask: Tensor | None = None, **more: Any) -> dict[str, Any]:
    """Return a call's arguments, under the names that the model has for them."""
    source = {"source_ids": source_ids(head.source_lengths[: len(ids)])} if head.is_seq2seq else {}
    if head.crosses:
        more = {"encoder_hidden_states": states(len(ids), 5), **more}
    return {**head.shaped({"input_ids": ids, **({} if mask is None else {"attention_mask": mask}), **source}), **more}


def decode(head: Head, model: Any, ids: Tensor, sizes: Sequence[int], mask: Tensor | None = None) -> tuple[Tensor, Any]:
    """Pass a sequence in chunks; return all chunks' numbers, joined, and the last cache."""
    found, past, start = [], None, 0
    for size in sizes:
        end = start + size
        seen = None if mask is None else mask[:, :end]
        output = model(**tokens(head, ids[:, start:end], seen, past_key_values=past, use_cache=True))
        output.check()
        found.append(main_field(output))
        past, start = output.past_key_values, end
    return torch.cat(found, 1), past


_BUILT: dict[str, Any] = {}


def model_of(head: Head) -> Any:
    """Return the head's tiny model, the same one each time: no test changes it."""
    return _BUILT.setdefault(head.name, head.model())


@pytest.fixture(params=[True, False], ids=["no_grad", "grad"])
def recording(request: pytest.FixtureRequest) -> Any:
    """Caches grow in place without gradients, and by concatenation with them."""
    with torch.set_grad_enabled(not request.param):
        yield


# -- decoding ---------------------------------------------------------------------------------------------------------

LONG = 12
PARTITIONS = st.sets(st.integers(1, LONG - 1)).map(
    lambda cuts: [end - start for start, end in itertools.pairwise(sorted({0, LONG, *cuts}))]
)


@settings(deadline=None, max_examples=25)
@given(sizes=PARTITIONS, head=st.sampled_from(STEPPING), padded=st.booleans(), grad=st.booleans(), data=st.data())
def test_any_chunks_give_the_numbers_of_one_call(
    sizes: list[int], head: Head, padded: bool, grad: bool, data: st.DataObject
) -> None:
    assert sum(sizes) == LONG
    model, mask = model_of(head), None
    if padded:
        lengths = data.draw(st.lists(st.integers(1, LONG), min_size=2, max_size=2))
        mask = padded_mask(lengths, "left", LONG)
    ids = token_ids(2, LONG)
    with torch.set_grad_enabled(grad):
        whole = model(**tokens(head, ids, mask, use_cache=True))
        found, past = decode(head, model, ids, sizes, mask)
    shown = torch.ones(2, LONG).bool() if mask is None else mask.bool()
    close(found[shown], main_field(whole)[shown])
    for layer, expected in zip(past, whole.past_key_values, strict=True):
        for mine, theirs in zip(layer[:2], expected[:2], strict=True):
            close(mine.transpose(1, 2)[shown], theirs.transpose(1, 2)[shown])
        close(list(layer[2:]), list(expected[2:]))


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("side", [None, "left", "right"])
@every_decoder
def test_step_by_step_gives_the_numbers_of_one_call(head: Head, side: str | None) -> None:
    model = model_of(head)
    mask = None if side is None else padded_mask(LENGTHS, side)
    ids = token_ids(ROWS, WIDTH) if side is None else padded_ids(LENGTHS, side)
    whole = model(**tokens(head, ids, mask))
    shown = torch.ones(ROWS, WIDTH).bool() if mask is None else mask.bool()
    close(decode(head, model, ids, [1] * WIDTH, mask)[0][shown], main_field(whole)[shown])


@pytest.mark.usefixtures("recording")
@every_decoder
def test_a_prefix_is_extended_twice_and_stays_as_it_was(head: Head) -> None:
    model = model_of(head)
    prefix, ends = token_ids(ROWS, 4), [token_ids(ROWS, 3, seed=seed) for seed in (7, 8)]
    past = model(**tokens(head, prefix, use_cache=True)).past_key_values
    before = [[tensor.clone() for tensor in layer] for layer in past]
    extended = [model(**tokens(head, end, past_key_values=past, use_cache=True)) for end in ends]
    copies = [[[tensor.clone() for tensor in layer] for layer in output.past_key_values] for output in extended]
    more = [model(**tokens(head, prefix[:, :2], past_key_values=o.past_key_values, use_cache=True)) for o in extended]
    for end, output, copy, longer in zip(ends, extended, copies, more, strict=True):
        whole = model(**tokens(head, torch.cat([prefix, end, prefix[:, :2]], 1)))
        close(torch.cat([main_field(output), main_field(longer)], 1), main_field(whole)[:, 4:])
        close([list(layer) for layer in output.past_key_values], copy, 0)
    close([list(layer) for layer in past], before, 0)


@every_decoder
def test_no_position_sees_a_later_one(head: Head) -> None:
    model, ids = model_of(head), token_ids(2, WIDTH)
    changed = ids.clone()
    changed[:, 4:] = 1
    found, expected = (main_field(model(**tokens(head, i)))[:, :4] for i in (ids, changed))
    close(found, expected, 1e-6)


@every_decoder
def test_a_cache_is_used_without_a_new_one_being_kept(head: Head) -> None:
    model, ids = model_of(head), token_ids(ROWS, WIDTH)
    past = model(**tokens(head, ids[:, :4], use_cache=True)).past_key_values
    rest = model(**tokens(head, ids[:, 4:], past_key_values=past, use_cache=False))
    assert "past_key_values" not in rest
    close(main_field(rest), main_field(model(**tokens(head, ids)))[:, 4:])


@pytest.mark.parametrize("again", [True, False])
@each(CROSSING)
def test_the_encoders_keys_are_kept_and_need_not_be_passed_again(head: Head, again: bool) -> None:
    model, ids, mask = model_of(head), token_ids(ROWS, WIDTH), padded_mask((5, 2, 4, 3), "right", 5)
    encoded = {"encoder_hidden_states": states(ROWS, 5), "encoder_attention_mask": mask}
    whole = model(ids, **encoded)
    first = model(ids[:, :4], **encoded, use_cache=True)
    assert {len(layer) for layer in first.past_key_values} == {4}
    more = encoded if again else {"encoder_attention_mask": mask}
    rest = model(ids[:, 4:], past_key_values=first.past_key_values, **more)
    close(main_field(rest), main_field(whole)[:, 4:])


# -- padding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
@each([head for head in ALL_HEADS if not head.is_seq2seq])
def test_tokens_under_the_padding_change_nothing(head: Head, side: str) -> None:
    model, mask, ids = model_of(head), padded_mask(LENGTHS, side), padded_ids(LENGTHS, side)
    changed = torch.where(mask == 0, 42, ids)
    found, expected = (main_field(model(**tokens(head, i, mask))) for i in (ids, changed))
    shown = slice(None) if "logits" in head.pooled else mask.bool()
    close(found[shown], expected[shown], 1e-6)


@each([head for head in ALL_HEADS if not head.is_seq2seq])
def test_a_row_of_nothing_but_padding_is_finite(head: Head) -> None:
    mask = padded_mask((0, 3, 7, 1), "left")
    output = model_of(head)(**tokens(head, token_ids(ROWS, WIDTH), mask, **BOTH_FLAGS))
    assert all(tensor.isfinite().all() for tensor in pytree.tree_leaves(output.to_tuple()))


# -- what is returned -------------------------------------------------------------------------------------------------


@every_head
def test_layers_that_are_not_asked_for_are_placeholders(head: Head) -> None:
    model, inputs = model_of(head), tokens(head, token_ids(ROWS, WIDTH))
    whole = model(**inputs, **BOTH_FLAGS)
    some = model(**inputs, output_hidden_states=[-1, 0], output_attentions=(1,))
    assert list(some) == list(whole)
    if head.name != "BartForConditionalGeneration, scaled, untied":  # see test_bart.py: the contract has one `heads`
        some.check()
    for name in (name for name in whole if name.endswith(("hidden_states", "attentions"))):
        count = len(whole[name])
        asked = {0, count - 1} if name.endswith("hidden_states") else {1}
        assert [entry is not None for entry in some[name]] == [i in asked for i in range(count)]
        for i in asked:
            close(some[name][i], whole[name][i])


@every_head
def test_states_run_from_the_embeddings_to_the_last(head: Head) -> None:
    model, inputs = model_of(head), tokens(head, token_ids(ROWS, WIDTH))
    output = model(**inputs, output_hidden_states=True)
    base = model if "last_hidden_state" in output else None
    if base is not None:
        assert stack_flag(output, "hidden_states")[-1] is output.last_hidden_state
    if head.is_seq2seq:
        assert output.encoder_hidden_states[-1] is output.encoder_last_hidden_state


@every_head
def test_return_dict_false_gives_the_tuple(head: Head) -> None:
    inputs = {**tokens(head, token_ids(ROWS, WIDTH)), **head.labels_for(ROWS, WIDTH), **BOTH_FLAGS}
    expected = head.model()(**inputs).to_tuple()
    for found in (head.model()(**inputs, return_dict=False), head.model(return_dict=False)(**inputs)):
        assert type(found) is tuple
        torch.testing.assert_close(found, expected)


@each([head for head in LANGUAGE_MODELS if head.caches])
def test_training_keeps_no_cache_unless_asked(head: Head) -> None:
    model, inputs = model_of(head), {**tokens(head, token_ids(ROWS, WIDTH)), **head.labels_for(ROWS, WIDTH)}
    assert "past_key_values" not in model(**inputs)
    assert "past_key_values" in model(**inputs, use_cache=True)


@every_language_model
def test_kept_logits_are_the_last_of_all(head: Head) -> None:
    model, inputs = model_of(head), tokens(head, token_ids(ROWS, WIDTH))
    every = model(**inputs).logits
    for count in (1, 3, WIDTH, WIDTH + 5):
        close(model(**inputs, logits_to_keep=count).logits, every[:, -count:])
    assert torch.equal(model(**inputs, logits_to_keep=0).logits, every)


@every_language_model
def test_kept_logits_and_labels_do_not_go_together(head: Head) -> None:
    inputs = {**tokens(head, token_ids(ROWS, WIDTH)), **head.labels_for(ROWS, WIDTH)}
    with pytest.raises(InputError, match="logits_to_keep is 1 with labels, whose loss needs all"):
        model_of(head)(**inputs, logits_to_keep=1)


@pytest.mark.parametrize("count", [-1, 1.5, True, torch.tensor([1]), "1"])
def test_an_invalid_number_of_positions_is_refused(count: Any) -> None:
    with pytest.raises(InputError, match=r"logits_to_keep is .*; expected"):
        kept_positions(states(1, 3), count, None)


@every_language_model
def test_the_loss_is_the_cross_entropy_of_the_next_token(head: Head) -> None:
    """Of an encoder-decoder, that of the label at the same place: its decoder is given them one late."""
    model, inputs = model_of(head), tokens(head, token_ids(ROWS, WIDTH))
    labels = head.labels_for(ROWS, WIDTH)["labels"]
    output = model(**inputs, labels=labels)
    logits, wanted = (output.logits, labels) if head.is_seq2seq else (output.logits[:, :-1], labels[:, 1:])
    scores = logits.log_softmax(-1)
    kept = wanted != -100
    expected = -scores[kept].gather(1, wanted[kept].unsqueeze(1)).mean()
    close(output.loss, expected)


# -- training ---------------------------------------------------------------------------------------------------------


def gradients(model: nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, list[Tensor | None]]:
    model.zero_grad()
    torch.manual_seed(0)
    output = model(**inputs)
    objective = output.loss if "loss" in output else main_field(output).sin().mean()
    objective.backward()
    return objective.detach(), [parameter.grad for parameter in model.parameters()]


@every_head
def test_gradient_checkpointing_changes_no_gradient(head: Head) -> None:
    """Dropout included: layers are computed twice with the same random numbers."""
    model, inputs = head.model().train(), tokens(head, token_ids(ROWS, WIDTH))
    inputs |= head.labels_for(ROWS, WIDTH)
    expected = gradients(model, inputs)
    model.gradient_checkpointing_enable()
    calls: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, (Layer, BertLayer)):
            module.register_forward_pre_hook(lambda module, arguments, name=name: calls.append(name))
    found = gradients(model, inputs)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert len(calls) == 2 * len(set(calls)) > 0  # forward; then backward, which computes each again
    model.gradient_checkpointing_disable()
    calls.clear()
    gradients(model, inputs)
    assert len(calls) == len(set(calls)) > 0


@each(NEW_HEADS)
def test_every_weight_that_takes_part_is_trained(head: Head) -> None:
    model, inputs = head.model(), tokens(head, token_ids(ROWS, WIDTH))
    gradients(model, {**inputs, **head.labels_for(ROWS, WIDTH)})
    left = {name for name, p in model.named_parameters() if p.grad is None}
    untied = head.is_seq2seq and not model.config.tie_word_embeddings
    assert left - {"final_logits_bias"} == ({"model.shared.weight"} if untied else set())


# -- compilers and precision ------------------------------------------------------------------------------------------


COMPILED = ("BertForMultipleChoice", "GPT2ForSequenceClassification, one class", "BartForConditionalGeneration")
"""One of each kind, as tracing takes seconds; language models are among the tests of the cache and the stack."""


@each([BY_NAME[name] for name in COMPILED])
def test_compiles_as_one_graph(head: Head) -> None:
    torch._dynamo.reset()
    model, mask = head.shallow_model(), padded_mask(LENGTHS, "left")
    inputs = tokens(head, padded_ids(LENGTHS, "left"), mask, **BOTH_FLAGS)
    with torch.no_grad():
        found, expected = torch.compile(model, fullgraph=True, backend="eager")(**inputs), model(**inputs)
    assert type(found) is type(expected)
    assert list(found) == list(expected)
    close(pytree.tree_leaves(found.to_tuple()), pytree.tree_leaves(expected.to_tuple()))
    if not head.is_seq2seq or not head.steps:  # steps of the others are among the tests of the stack and the cache
        return
    step = tokens(head, token_ids(ROWS, 2), torch.cat([mask, torch.ones(ROWS, 2).long()], 1))
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        again = compiled(**step, past_key_values=found.past_key_values, use_cache=True)
        wanted = model(**step, past_key_values=expected.past_key_values, use_cache=True)
    close(main_field(again), main_field(wanted))
    close([list(layer) for layer in again.past_key_values], [list(layer) for layer in wanted.past_key_values])


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiles_with_inductor() -> None:
    torch._dynamo.reset()
    head = BY_NAME["BertLMHeadModel"]
    model = head.shallow_model(add_cross_attention=False)
    inputs = {"input_ids": padded_ids(LENGTHS, "left"), "attention_mask": padded_mask(LENGTHS, "left")}
    with torch.no_grad():
        compiled, eager = torch.compile(model, fullgraph=True)(**inputs), model(**inputs)
    close(pytree.tree_leaves(compiled.to_tuple()), pytree.tree_leaves(eager.to_tuple()))


@every_head
def test_half_precision_is_near(head: Head) -> None:
    mask = padded_mask(LENGTHS, "left")
    inputs = tokens(head, padded_ids(LENGTHS, "left"), mask)
    expected = main_field(head.model()(**inputs))
    if "encoder_hidden_states" in inputs:
        inputs["encoder_hidden_states"] = inputs["encoder_hidden_states"].bfloat16()
    output = head.model().bfloat16()(**inputs)
    output.check()
    assert all(t.dtype == torch.bfloat16 and t.isfinite().all() for t in pytree.tree_leaves(output.to_tuple()))
    found = main_field(output)
    shown = slice(None) if "logits" in head.pooled else mask.bool()
    # bf16 has 8 bits; what is compared is as large as 10.
    torch.testing.assert_close(
        found[shown].float(), expected[shown], atol=0.05 * float(expected.detach().abs().max()), rtol=0.1
    )


@each([head for head in ALL_HEADS if not head.is_seq2seq and "logits" not in head.pooled])
def test_a_batch_of_no_rows_is_computed(head: Head) -> None:
    with torch.no_grad():
        assert main_field(model_of(head)(**tokens(head, token_ids(ROWS, WIDTH)[:0]))).shape[:2] == (0, WIDTH)
