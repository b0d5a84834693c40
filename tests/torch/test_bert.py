"""How the BERT models behave: what they return for which flag and padding, and what they refuse.

What all models have in common is in `test_heads.py`.
"""

# ruff: noqa: E402  # what is imported below needs what may be absent

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

from modeloutputs import InputError, ModelOutput
from modeloutputs.architectures import BertConfig
from modeloutputs.torch import bert, bert_heads

from .tiny import BY_NAME, HEADS, LENGTHS, SIZES, WIDTH, Head, padded_ids, padded_mask, states, token_ids

ENCODER, DECODER, LM = BY_NAME["BertModel, encoder"], BY_NAME["BertModel, decoder"], BY_NAME["BertLMHeadModel"]
LAYERS = SIZES["num_hidden_layers"]
ROWS = len(LENGTHS)
BOTH_FLAGS = {"output_hidden_states": True, "output_attentions": True}

every_head = pytest.mark.parametrize("head", HEADS, ids=[head.name for head in HEADS])
every_decoder = pytest.mark.parametrize("head", [DECODER, LM], ids=["BertModel", "BertLMHeadModel"])
every_loss = pytest.mark.parametrize(
    "head", [head for head in HEADS if head.labels], ids=[head.name for head in HEADS if head.labels]
)


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def base(model: nn.Module) -> bert.BertModel:
    return model if isinstance(model, bert.BertModel) else model.bert  # type: ignore[return-value]


def everything(head: Head) -> dict[str, Any]:
    """Return arguments that make a head fill every field it has."""
    encoder = {"encoder_hidden_states": states(ROWS, 5), "use_cache": True} if head.decodes else {}
    return {**head.inputs(), **head.labels_for(ROWS, WIDTH), **encoder, **BOTH_FLAGS}


def padded(head: Head, side: str) -> dict[str, Any]:
    return head.shaped({"input_ids": padded_ids(LENGTHS, side), "attention_mask": padded_mask(LENGTHS, side)})


def main_field(output: ModelOutput) -> Tensor:
    """Return what a head computes last: logits, or the last state."""
    return next(output[name] for name in ("logits", "start_logits", "last_hidden_state") if name in output)


# -- what is returned -------------------------------------------------------------------------------------------------


@every_head
def test_returns_its_class_with_every_field_as_declared(head: Head) -> None:
    output = head.model()(**everything(head))
    assert type(output) is head.returns
    declared = set(head.returns.__output_fields__) - ({"loss"} if head.labels is None else set())
    assert set(output) == declared
    output.check()


@every_head
def test_without_flags_returns_only_what_is_always_returned(head: Head) -> None:
    output = head.model()(**head.inputs())
    optional = {"loss", "hidden_states", "attentions", "cross_attentions"}
    assert not optional & set(output)
    assert ("past_key_values" in output) == head.decodes
    output.check()


@every_head
def test_states_and_attentions_have_one_entry_a_layer(head: Head) -> None:
    output = head.model()(**head.inputs(), **BOTH_FLAGS)
    assert len(output.hidden_states) == LAYERS + 1
    assert len(output.attentions) == LAYERS
    assert all(isinstance(entry, Tensor) for entry in (*output.hidden_states, *output.attentions))


@every_head
def test_states_run_from_the_embeddings_to_the_last(head: Head) -> None:
    model, inputs = head.model(), head.inputs()
    output = model(**inputs, output_hidden_states=True)
    ids = inputs["input_ids"].flatten(0, -2)
    last = base(model)(ids).last_hidden_state
    close(output.hidden_states[0], base(model).embeddings(ids, None, None, None, 0))
    close(output.hidden_states[-1], last)
    if "last_hidden_state" in output:
        assert output.hidden_states[-1] is output.last_hidden_state


@every_head
def test_attention_rows_sum_to_one(head: Head) -> None:
    for weights in head.model()(**padded(head, "right"), output_attentions=True).attentions:
        close(weights.sum(-1), torch.ones(weights.shape[:-1]))


@every_head
def test_asking_for_more_changes_no_number(head: Head) -> None:
    model, inputs = head.model(), head.inputs()
    close(main_field(model(**inputs, **BOTH_FLAGS)), main_field(model(**inputs)))


@every_head
def test_no_indices_are_no_layers(head: Head) -> None:
    output = head.model()(**head.inputs(), output_hidden_states=[], output_attentions=[])
    assert "hidden_states" not in output
    assert "attentions" not in output


@pytest.mark.parametrize(("flag", "index", "count"), [("output_hidden_states", 3, 3), ("output_attentions", -3, 2)])
def test_a_layer_that_the_model_lacks_is_refused(flag: str, index: int, count: int) -> None:
    with pytest.raises(InputError, match=rf"{flag} asks for layer {index}; this model has -{count} to {count - 1}"):
        ENCODER.model()(**ENCODER.inputs(), **{flag: [index]})


@every_head
def test_configuration_says_what_is_returned_where_the_call_does_not(head: Head) -> None:
    model = head.model(**BOTH_FLAGS, use_cache=False)
    output = model(**head.inputs())
    assert {"hidden_states", "attentions"} <= set(output)
    assert "past_key_values" not in output
    overruled = model(**head.inputs(), output_hidden_states=False, output_attentions=False)
    assert not {"hidden_states", "attentions"} & set(overruled)


@every_head
def test_an_unknown_argument_is_refused(head: Head) -> None:
    with pytest.raises(TypeError, match="output_hidden_state"):
        head.model()(**head.inputs(), output_hidden_state=True)


@every_decoder
def test_cache_is_returned_unless_it_is_off(head: Head) -> None:
    model, inputs = head.model(), head.inputs()
    assert len(model(**inputs).past_key_values) == LAYERS
    assert "past_key_values" not in model(**inputs, use_cache=False)


def test_training_a_language_model_keeps_no_cache_unless_asked() -> None:
    model, arguments = LM.model(), {**LM.inputs(), **LM.labels_for(ROWS, WIDTH)}
    assert "past_key_values" not in model(**arguments)
    assert "past_key_values" in model(**arguments, use_cache=True)


def test_an_encoder_has_no_cache() -> None:
    assert "past_key_values" not in ENCODER.model()(**ENCODER.inputs(), use_cache=True)


def test_without_pooling_layer_nothing_is_pooled() -> None:
    model = bert.BertModel(BertConfig(**SIZES), add_pooling_layer=False)
    output = model(token_ids(2, 3))
    assert list(output) == ["last_hidden_state"]
    output.check()


def test_states_that_are_not_asked_for_are_not_kept_alive() -> None:
    model = ENCODER.model()
    alive: list[weakref.ref[Tensor]] = []
    for layer in model.encoder.layer:
        layer.register_forward_hook(lambda module, arguments, result: alive.append(weakref.ref(result[0])))
    with torch.no_grad():
        output = model(**ENCODER.inputs(), output_hidden_states=[0])
    gc.collect()
    assert [ref() is not None for ref in alive] == [False, True]  # the last is last_hidden_state
    assert alive[-1]() is output.last_hidden_state


def test_attentions_that_are_not_asked_for_are_not_computed() -> None:
    """A layer whose weights nobody wants runs the fused kernel."""
    model, fused = ENCODER.model(), []
    kernel = torch.nn.functional.scaled_dot_product_attention

    def counting(*args: Any, **kwargs: Any) -> Tensor:
        fused.append(args)
        return kernel(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", counting)
        for asked, expected in ((False, LAYERS), ([0], LAYERS - 1), (True, 0)):
            fused.clear()
            model(**ENCODER.inputs(), output_attentions=asked)
            assert len(fused) == expected


# -- inputs -----------------------------------------------------------------------------------------------------------


@every_head
def test_embeddings_may_be_passed_in_place_of_ids(head: Head) -> None:
    model, inputs = head.model(), head.inputs()
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    close(main_field(model(inputs_embeds=embeds)), main_field(model(**inputs)))


@every_head
def test_exactly_one_of_ids_and_embeddings_is_taken(head: Head) -> None:
    model, inputs = head.model(), head.inputs()
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    with pytest.raises(InputError, match="both input_ids and inputs_embeds"):
        model(**inputs, inputs_embeds=embeds)
    with pytest.raises(InputError, match="neither input_ids nor inputs_embeds"):
        model()


@every_head
def test_a_mask_of_ones_is_no_mask(head: Head) -> None:
    model, inputs = head.model(), head.inputs()
    ones = torch.ones_like(inputs["input_ids"])
    assert torch.equal(main_field(model(**inputs, attention_mask=ones)), main_field(model(**inputs)))


@every_head
def test_token_types_are_zero_and_positions_count_where_not_passed(head: Head) -> None:
    model, inputs = head.model(), head.inputs()
    ids = inputs["input_ids"]
    said = model(**inputs, token_type_ids=torch.zeros_like(ids), position_ids=torch.arange(WIDTH).expand_as(ids))
    close(main_field(said), main_field(model(**inputs)))


def test_token_types_and_positions_matter() -> None:
    model, inputs = ENCODER.model(), ENCODER.inputs()
    plain = main_field(model(**inputs))
    assert not torch.allclose(main_field(model(**inputs, token_type_ids=torch.ones(ROWS, WIDTH).long())), plain)
    assert not torch.allclose(main_field(model(**inputs, position_ids=torch.arange(WIDTH).flip(0)[None])), plain)


def test_position_ids_of_one_row_are_those_of_all() -> None:
    model, inputs = ENCODER.model(), ENCODER.inputs()
    one = torch.arange(WIDTH).flip(0)[None]
    expected = main_field(model(**inputs, position_ids=one.expand(ROWS, -1)))
    close(main_field(model(**inputs, position_ids=one)), expected)


@pytest.mark.parametrize("axes", [3, 4])
def test_a_mask_of_each_query_says_everything(axes: int) -> None:
    """Given the causal triangle, an encoder computes what a decoder does, and a decoder adds nothing to it."""
    encoder, decoder = ENCODER.model(), DECODER.model(add_cross_attention=False)
    decoder.load_state_dict(encoder.state_dict())
    mask = torch.ones(ROWS, WIDTH, WIDTH).tril()
    mask = mask[:, None] if axes == 4 else mask
    inputs = ENCODER.inputs()
    expected = main_field(decoder(**inputs))
    close(main_field(encoder(**inputs, attention_mask=mask)), expected)
    close(main_field(decoder(**inputs, attention_mask=torch.ones_like(mask))), main_field(encoder(**inputs)))


def test_ids_may_be_int32() -> None:
    model, ids = ENCODER.model(), token_ids(2, 5)
    assert torch.equal(model(ids.int()).last_hidden_state, model(ids).last_hidden_state)


# -- padding ----------------------------------------------------------------------------------------------------------


def entries(output: ModelOutput) -> Iterator[tuple[str, Tensor]]:
    """Yield the name of each field and each tensor in it."""
    for name, value in output.items():
        for item in [value] if isinstance(value, Tensor) else value:
            yield from ((name, tensor) for tensor in ([item] if isinstance(item, Tensor) else item))


def row_of(head: Head, name: str, value: Tensor, row: int, shown: Tensor) -> Tensor:
    """Return what one sequence of a batch has at its tokens."""
    if name in head.pooled:
        return value.flatten(0, 1)[row] if head.has_choices else value[row]
    if name == "attentions":
        return value[row][:, shown][:, :, shown]
    return value[row][:, shown] if name == "past_key_values" else value[row][shown]


@pytest.mark.parametrize("side", ["left", "right"])
@every_head
def test_a_row_has_the_same_numbers_alone_and_padded_in_a_batch(head: Head, side: str) -> None:
    model = head.model()
    inputs = padded(head, side)
    batch = model(**inputs, **BOTH_FLAGS)
    ids, mask = (inputs[name].flatten(0, -2) for name in ("input_ids", "attention_mask"))
    for row, shown in enumerate(mask.bool()):
        alone = model(**head.shaped({"input_ids": ids[row : row + 1, shown]}, choices=1), **BOTH_FLAGS)
        everything_shown = torch.ones(int(shown.sum()), dtype=torch.bool)
        for (name, found), (_, expected) in zip(entries(batch), entries(alone), strict=True):
            close(row_of(head, name, found, row, shown), row_of(head, name, expected, 0, everything_shown))


# -- decoding ---------------------------------------------------------------------------------------------------------


@every_decoder
def test_attentions_of_a_step_are_those_of_one_call(head: Head) -> None:
    model, inputs = head.model(), head.inputs()
    whole = model(**inputs, output_attentions=True)
    past = model(inputs["input_ids"][:, :5]).past_key_values
    step = model(inputs["input_ids"][:, 5:], past_key_values=past, output_attentions=True)
    step.check()
    for found, expected in zip(step.attentions, whole.attentions, strict=True):
        close(found, expected[:, :, 5:])


# -- cross-attention --------------------------------------------------------------------------------------------------


@every_decoder
def test_without_an_encoder_nothing_attends_to_one(head: Head) -> None:
    output = head.model()(**head.inputs(), output_attentions=True)
    assert "cross_attentions" not in output
    assert [len(layer) for layer in output.past_key_values] == [2] * LAYERS


@every_decoder
def test_encoder_positions_that_are_masked_do_not_exist(head: Head) -> None:
    model, inputs = head.model(), head.inputs()
    encoded, lengths = states(ROWS, 5), (5, 2, 4, 3)
    mask = padded_mask(lengths, "right", 5)
    batch = model(**inputs, encoder_hidden_states=encoded, encoder_attention_mask=mask, output_attentions=True)
    for row, length in enumerate(lengths):
        alone = model(
            inputs["input_ids"][row : row + 1],
            encoder_hidden_states=encoded[row : row + 1, :length],
            output_attentions=True,
        )
        close(main_field(batch)[row], main_field(alone)[0])
        for found, expected in zip(batch.cross_attentions, alone.cross_attentions, strict=True):
            close(found[row, :, :, :length], expected[0])
            assert not found[row, :, :, length:].any()


@every_decoder
def test_each_decoder_position_may_see_other_encoder_positions(head: Head) -> None:
    mask = torch.ones(ROWS, WIDTH, 5).tril()
    output = head.model()(
        **head.inputs(),
        encoder_hidden_states=states(ROWS, 5),
        encoder_attention_mask=mask,
        output_attentions=True,
    )
    for weights in output.cross_attentions:
        assert torch.equal(weights > 0, (mask > 0)[:, None].expand_as(weights))


# -- losses -----------------------------------------------------------------------------------------------------------


def batch_rows(arguments: dict[str, Any], rows: slice) -> dict[str, Any]:
    return {name: value[rows] if isinstance(value, Tensor) else value for name, value in arguments.items()}


@every_loss
def test_losses_of_micro_batches_sum_to_that_of_the_batch(head: Head) -> None:
    model = head.model()
    arguments = {**head.inputs(), **head.labels_for(ROWS, WIDTH)}
    whole = model(**arguments).loss
    counted = model(**arguments, num_items=1).loss / whole
    parts = [model(**batch_rows(arguments, rows), num_items=counted).loss for rows in (slice(1), slice(1, None))]
    if head.cls is not bert_heads.BertForQuestionAnswering:  # there it is the batch's rows, of which one was cut off
        close(counted.round(), counted)
    close(sum(parts), whole)


@every_loss
def test_smoothing_reaches_the_loss(head: Head) -> None:
    model, arguments = head.model(), {**head.inputs(), **head.labels_for(ROWS, WIDTH)}
    if head.variant == "regression":
        with pytest.raises(InputError, match="label_smoothing is for classes"):
            model(**arguments, label_smoothing=0.1)
    else:
        assert model(**arguments, label_smoothing=0.1).loss != model(**arguments).loss


@every_loss
def test_every_weight_is_trained(head: Head) -> None:
    model, arguments = head.model(), everything(head)
    model(**arguments).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_next_sentence_label_is_another_name_for_labels() -> None:
    head = BY_NAME["BertForNextSentencePrediction"]
    model, inputs, labels = head.model(), head.inputs(), head.labels_for(ROWS, WIDTH)["labels"]
    assert model(**inputs, next_sentence_label=labels).loss == model(**inputs, labels=labels).loss
    with pytest.raises(InputError, match="both labels and next_sentence_label were passed"):
        model(**inputs, labels=labels, next_sentence_label=labels)


# -- training ---------------------------------------------------------------------------------------------------------


def training_gradients(model: nn.Module, arguments: dict[str, Any]) -> list[Tensor | None]:
    model.zero_grad()
    torch.manual_seed(0)
    output = model(**arguments)
    (output.loss if "loss" in output else main_field(output).square().mean()).backward()
    return [parameter.grad for parameter in model.parameters()]


def test_nothing_is_checkpointed_in_evaluation() -> None:
    model, calls = ENCODER.model(), []
    model.gradient_checkpointing_enable()
    for i, layer in enumerate(model.encoder.layer):
        layer.register_forward_pre_hook(lambda module, arguments, i=i: calls.append(i))
    training_gradients(model, ENCODER.inputs())
    assert calls == [0, 1]


@every_head
def test_dropout_acts_in_training_and_not_in_evaluation(head: Head) -> None:
    model, inputs = head.model(), head.inputs()
    torch.manual_seed(0)
    noisy = [main_field(model.train()(**inputs)) for _ in range(2)]
    still = [main_field(model.eval()(**inputs)) for _ in range(2)]
    assert not torch.equal(*noisy)
    assert torch.equal(*still)


@pytest.mark.parametrize(
    "name",
    ["BertForTokenClassification", "BertForSequenceClassification, one class", "BertForMultipleChoice"],
)
def test_each_rate_of_dropout_acts_where_it_is_set(name: str) -> None:
    """One rate alone makes training differ from evaluation; none at all, not."""
    head, none = BY_NAME[name], dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    none["classifier_dropout"] = 0.0
    torch.manual_seed(0)
    for rate in (None, *none):
        model = head.model(**{**none, **({} if rate is None else {rate: 0.5})})
        still, noisy = main_field(model(**head.inputs())), main_field(model.train()(**head.inputs()))
        assert torch.allclose(still, noisy, atol=1e-6) == (rate is None)


# -- precision, threads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [{}, BOTH_FLAGS], ids=["fused", "weights"])
@every_head
def test_autocast_stays_finite(head: Head, flags: dict[str, bool]) -> None:
    model = head.model().train()
    arguments = {**padded(head, "left"), **head.labels_for(ROWS, WIDTH), **flags}
    if head.decodes:
        arguments["encoder_hidden_states"] = states(ROWS, 5)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**arguments)
        objective = output.loss if "loss" in output else main_field(output).square().mean()
    objective.backward()
    output.check()
    assert all(tensor.isfinite().all() for _, tensor in entries(output))
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_threads_with_different_flags_do_not_mix() -> None:
    model, ids = ENCODER.model(), [token_ids(2, 5, seed=seed) for seed in (11, 12)]
    flags = [{"output_hidden_states": True}, {"output_attentions": [0]}]
    expected = [model(i, **f) for i, f in zip(ids, flags, strict=True)]
    outputs: list[list[ModelOutput]] = [[], []]
    barrier = threading.Barrier(2)

    def work(which: int) -> None:
        barrier.wait()
        outputs[which].extend(model(ids[which], **flags[which]) for _ in range(20))

    threads = [threading.Thread(target=work, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found) for found in outputs] == [20, 20]
    for which in range(2):
        for output in outputs[which]:
            assert list(output) == list(expected[which])
            close(output.to_tuple(), expected[which].to_tuple())


# -- what is refused, before anything is computed ---------------------------------------------------------------------

IDS = token_ids(2, 5)
ENCODED = states(2, 5)


def held(length: int = 3, layers: int = LAYERS, tensors: int = 2, rows: int = 2) -> Any:
    return tuple(tuple(torch.zeros(rows, 4, length, 8) for _ in range(tensors)) for _ in range(layers))


REFUSED: dict[str, tuple[Head, dict[str, Any], str]] = {
    "ids outside the vocabulary": (ENCODER, {"input_ids": IDS + 99}, "input_ids ranges from .* expected 0 to 98"),
    "ids of one row without its axis": (ENCODER, {"input_ids": IDS[0]}, r"input_ids has shape \(5,\)"),
    "too long": (
        ENCODER,
        {"input_ids": token_ids(1, 41)},
        "41 positions exceed the model's max_position_embeddings of 40",
    ),
    "too long with the cache": (
        DECODER,
        {"input_ids": IDS, "past_key_values": held(36)},
        "5 positions after 36 cached ones exceed",
    ),
    "embeddings of another width": (
        ENCODER,
        {"inputs_embeds": torch.zeros(2, 5, 31)},
        r"inputs_embeds is .* expected .* \(batch, positions, 32\)",
    ),
    "token types outside the table": (
        ENCODER,
        {"input_ids": IDS, "token_type_ids": IDS.clamp(min=2)},
        "token_type_ids ranges",
    ),
    "token types of another shape": (
        ENCODER,
        {"input_ids": IDS, "token_type_ids": torch.zeros(2, 4).long()},
        r"token_type_ids has shape \(2, 4\); expected \(2, 5\)",
    ),
    "positions outside the table": (
        ENCODER,
        {"input_ids": IDS, "position_ids": torch.full((2, 5), 40)},
        "position_ids ranges from 40 to 40; expected 0 to 39",
    ),
    "positions of another shape": (
        ENCODER,
        {"input_ids": IDS, "position_ids": torch.zeros(3, 5).long()},
        r"position_ids has shape \(3, 5\); expected \(2, 5\)",
    ),
    "a mask of another length": (
        ENCODER,
        {"input_ids": IDS, "attention_mask": torch.ones(2, 4)},
        r"attention mask has shape \(2, 4\); expected \(batch, keys\) = \(2, 5\)",
    ),
    "a mask without the cached positions": (
        DECODER,
        {"input_ids": IDS, "attention_mask": torch.ones(2, 5), "past_key_values": held()},
        r"attention mask has shape \(2, 5\); expected \(batch, keys\) = \(2, 8\)",
    ),
    "a cache for an encoder": (
        ENCODER,
        {"input_ids": IDS, "past_key_values": held()},
        "past_key_values was passed to an encoder; set config.is_decoder=True",
    ),
    "a cache of other layers": (DECODER, {"input_ids": IDS, "past_key_values": held(layers=3)}, "has 3 layers"),
    "a cache of another batch": (
        LM,
        {"input_ids": IDS, "past_key_values": held(rows=1)},
        r"past_key_values\[0\]\[0\] has shape \(1, 4, 3, 8\); expected \(2, 4, 3, 8\)",
    ),
    "an encoder for an encoder": (
        ENCODER,
        {"input_ids": IDS, "encoder_hidden_states": ENCODED},
        "encoder_hidden_states was passed to a model without cross-attention; set",
    ),
    "an encoder of another batch": (
        DECODER,
        {"input_ids": IDS, "encoder_hidden_states": ENCODED[:1]},
        r"encoder_hidden_states .* expected .* \(2, positions, 32\)",
    ),
    "an encoder mask of another length": (
        DECODER,
        {"input_ids": IDS, "encoder_hidden_states": ENCODED, "encoder_attention_mask": torch.ones(2, 4)},
        r"attention mask has shape \(2, 4\)",
    ),
    "an encoder mask without an encoder": (
        LM,
        {"input_ids": IDS, "encoder_attention_mask": torch.ones(2, 5)},
        "encoder_attention_mask was passed without encoder_hidden_states; pass both",
    ),
    "another encoder than the cache's": (
        DECODER,
        {"input_ids": IDS, "encoder_hidden_states": ENCODED, "past_key_values": held(tensors=4)},
        "encoder_hidden_states has 5 positions, but past_key_values was made with 3; pass the same",
    ),
    "a start without an end": (
        BY_NAME["BertForQuestionAnswering"],
        {"input_ids": IDS, "start_positions": torch.tensor([1, 2])},
        "only one of start_positions and end_positions was passed",
    ),
    "no choices": (
        BY_NAME["BertForMultipleChoice"],
        {"input_ids": IDS},
        r"multiple-choice model has shape \(2, 5\); expected \(batch, choices, seq\)",
    ),
    "embeddings without choices": (
        BY_NAME["BertForMultipleChoice"],
        {"inputs_embeds": ENCODED},
        r"has shape \(2, 5, 32\); expected \(batch, choices, seq, hidden\)",
    ),
}


@pytest.mark.parametrize(("head", "arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_computed_is_refused_at_once(head: Head, arguments: dict[str, Any], message: str) -> None:
    model = head.model()
    computed: list[nn.Module] = []
    for module in model.modules():
        if not list(module.children()):
            module.register_forward_pre_hook(lambda module, arguments: computed.append(module))
    with pytest.raises(InputError, match=message):
        model(**arguments)
    assert not computed


def test_a_language_model_must_be_a_decoder() -> None:
    with pytest.raises(InputError, match=r"BertLMHeadModel needs config\.is_decoder=True"):
        bert_heads.BertLMHeadModel(BertConfig(**SIZES))


def test_question_answering_has_two_labels() -> None:
    with pytest.raises(InputError, match="num_labels is 3; question answering has 2"):
        bert_heads.BertForQuestionAnswering(BertConfig(**SIZES, num_labels=3))


# -- tied weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertLMHeadModel"])
def test_scores_are_products_with_the_token_embeddings_or_weights_of_their_own(name: str, tied: bool) -> None:
    head = BY_NAME[name]
    model, hidden = head.model(tie_word_embeddings=tied), states(2, 3)
    predictions, table = model.cls.predictions, model.get_input_embeddings().weight
    assert (predictions.decoder.weight is table) == tied
    close(model.cls(hidden), predictions.transform(hidden) @ predictions.decoder.weight.T + predictions.decoder.bias)
    before = main_field(model(**head.inputs()))
    with torch.no_grad():
        predictions.decoder.weight += 1
    assert not torch.allclose(main_field(model(**head.inputs())), before)
    assert model.get_output_embeddings() is predictions.decoder
