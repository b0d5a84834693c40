"""BART: encoder and decoder together; how it behaves as a decoder is in `test_heads.py`."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor

from modeloutputs import CheckpointWarning, InputError
from modeloutputs.torch import BartConfig, BartDecoder, BartEncoder, BartForSequenceClassification
from modeloutputs.torch.bart import shift_right
from modeloutputs.torch.outputs import (
    BaseModelOutputWithCrossAttentions,
    BaseModelOutputWithPastAndCrossAttentions,
)

from .tiny import BART_HEADS, BART_SIZES, BY_NAME, LENGTHS, WIDTH, padded_mask, source_ids, states, token_ids

BASE, LM = BY_NAME["BartModel"], BY_NAME["BartForConditionalGeneration"]
CLASSIFIER, ANSWERS = BY_NAME["BartForSequenceClassification"], BY_NAME["BartForQuestionAnswering"]
DECODER, CAUSAL = BY_NAME["BartDecoder"], BY_NAME["BartForCausalLM"]
SEQ2SEQ = [head for head in BART_HEADS if head.is_seq2seq]
BOTH_FLAGS = {"output_hidden_states": True, "output_attentions": True}
IDS, SOURCE = token_ids(2, 4), source_ids((5, 2))

each = pytest.mark.parametrize("head", SEQ2SEQ, ids=[head.name for head in SEQ2SEQ])


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# -- what the decoder is given ----------------------------------------------------------------------------------------


def test_labels_are_moved_one_to_the_right_behind_the_start_token() -> None:
    config = BartConfig(**BART_SIZES, decoder_start_token_id=7, pad_token_id=3)
    labels = torch.tensor([[10, 11, 12], [10, -100, -100]])
    before = labels.clone()
    assert shift_right(labels, config).tolist() == [[7, 10, 11], [7, 10, 3]]
    assert torch.equal(labels, before)


@pytest.mark.parametrize("name", ["decoder_start_token_id", "pad_token_id"])
def test_without_a_start_or_padding_token_nothing_is_moved(name: str) -> None:
    with pytest.raises(InputError, match=r"is not configured; pass decoder_input_ids"):
        shift_right(IDS, BartConfig(**BART_SIZES, **{name: None}))


@pytest.mark.parametrize("labels", [torch.ones(3).long(), torch.ones(2, 3), torch.ones(1, 2, 3).long()])
def test_labels_that_are_no_rows_of_ids_are_refused(labels: Tensor) -> None:
    with pytest.raises(InputError, match=r"expected ids \(batch, seq\)"):
        LM.model()(SOURCE, labels=labels)


def test_labels_are_what_the_decoder_is_given_where_it_is_given_nothing_else() -> None:
    model, labels = LM.model(), torch.tensor([[10, 11, 12], [10, -100, -100]])
    moved = torch.tensor([[2, 10, 11], [2, 10, 1]])
    close(model(SOURCE, labels=labels).logits, model(SOURCE, decoder_input_ids=moved).logits)
    other = model(SOURCE, decoder_input_ids=IDS[:, :3], labels=labels)
    close(other.logits, model(SOURCE, decoder_input_ids=IDS[:, :3]).logits)


def test_without_either_it_is_the_encoders_input() -> None:
    model = BASE.model()
    moved = torch.cat([torch.full((2, 1), 2), SOURCE[:, :-1]], 1)
    close(model(SOURCE).last_hidden_state, model(SOURCE, decoder_input_ids=moved).last_hidden_state)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_row_has_the_same_numbers_alone_and_padded_in_a_batch(side: str) -> None:
    """Where the decoder is given the encoder's input too: a row then starts where its padding ends."""
    model, ids, mask = BASE.model(), source_ids(LENGTHS, side), padded_mask(LENGTHS, side)
    batch = model(ids, mask)
    for row, shown in enumerate(mask.bool()):
        alone = model(ids[row : row + 1, shown])
        close(batch.last_hidden_state[row, shown], alone.last_hidden_state[0])
        close(batch.encoder_last_hidden_state[row, shown], alone.encoder_last_hidden_state[0])


@each
def test_the_encoders_padding_does_not_exist(head: Any) -> None:
    model, mask = head.model(), padded_mask((WIDTH, 4), "left")
    ids, target = source_ids((WIDTH, 4), "left"), token_ids(2, WIDTH)
    batch = model(ids, mask, decoder_input_ids=target)
    again = model(torch.where(mask == 0, 42, ids), mask, decoder_input_ids=target)
    alone = None if head is CLASSIFIER else model(ids[1:, 3:], decoder_input_ids=target[1:])
    for name in ("logits", "start_logits", "end_logits", "last_hidden_state"):
        if name in batch:
            close(batch[name], again[name])
            if alone is not None:
                close(batch[name][1:], alone[name])


# -- encoder and decoder apart ----------------------------------------------------------------------------------------


@each
def test_what_the_encoder_returned_may_be_passed_in_its_place(head: Any) -> None:
    model, flags = head.model(), {"output_hidden_states": True, "output_attentions": True}
    inputs = head.inputs(2)
    whole = model(**inputs, **flags)
    encoded = model.get_submodule("encoder" if head is BASE else "model.encoder")(inputs["input_ids"], **flags)
    ids = {} if head is CLASSIFIER else {"input_ids": None}
    for passed in (encoded, encoded.to_tuple(), list(encoded.to_tuple())):
        found = model(**{**inputs, **ids, "encoder_outputs": passed}, **flags)
        assert list(found) == list(whole)
        close(found.to_tuple(), whole.to_tuple())


@pytest.mark.parametrize("passed", [(), [], {"last_hidden_state": states(2, 5)}, states(2, 5), (None,), ("x",), 3])
def test_what_no_encoder_returned_is_refused(passed: Any) -> None:
    with pytest.raises(InputError, match=r"encoder_outputs is a \w+ without last_hidden_state; pass what the encoder"):
        BASE.model()(decoder_input_ids=IDS, encoder_outputs=passed)


def test_a_cache_does_for_the_encoder() -> None:
    model = LM.model()
    mask, ids = padded_mask((5, 2), "right", 5), token_ids(2, WIDTH)
    whole = model(SOURCE, mask, decoder_input_ids=ids)
    first = model(SOURCE, mask, decoder_input_ids=ids[:, :4])
    rest = model(attention_mask=mask, decoder_input_ids=ids[:, 4:], past_key_values=first.past_key_values)
    close(rest.logits, whole.logits[:, 4:])
    assert "encoder_last_hidden_state" not in rest
    rest.check()


def test_a_decoder_returns_one_class_with_a_cache_and_another_without() -> None:
    model, encoded = DECODER.model(), states(2, 5)
    assert type(model(IDS, encoder_hidden_states=encoded)) is BaseModelOutputWithPastAndCrossAttentions
    without = model(IDS, encoder_hidden_states=encoded, use_cache=False)
    assert type(without) is BaseModelOutputWithCrossAttentions
    assert type(DECODER.model(use_cache=False)(IDS)) is BaseModelOutputWithCrossAttentions


def test_embeddings_are_shared_unless_they_are_untied() -> None:
    tied, untied = BASE.model(), BASE.model(tie_word_embeddings=False)
    names = {"shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    assert {name for name, _ in tied.named_parameters()} & names == {"shared.weight"}
    assert {name for name, _ in untied.named_parameters()} & names == names
    with torch.no_grad():
        before = untied(SOURCE)
        untied.decoder.embed_tokens.weight.neg_()
        after = untied(SOURCE)
    close(after.encoder_last_hidden_state, before.encoder_last_hidden_state)
    assert not torch.allclose(after.last_hidden_state, before.last_hidden_state, atol=1e-2)


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_may_be_passed_in_place_of_ids(tied: bool) -> None:
    model = BASE.model(tie_word_embeddings=tied)
    whole = model(SOURCE, decoder_input_ids=IDS)
    embeds = {
        "inputs_embeds": model.encoder.get_input_embeddings()(SOURCE),
        "decoder_inputs_embeds": model.decoder.get_input_embeddings()(IDS),
    }
    close(model(**embeds).last_hidden_state, whole.last_hidden_state)
    close(model.get_input_embeddings()(SOURCE), embeds["inputs_embeds"])


def test_embeddings_are_scaled_where_configured() -> None:
    model, plain = (BASE.model(scale_embedding=scale).encoder for scale in (True, False))
    embeds = plain.get_input_embeddings()(SOURCE)
    close(model(SOURCE).last_hidden_state, plain(inputs_embeds=embeds * 32**0.5).last_hidden_state)


@pytest.mark.parametrize("cls", [BartEncoder, BartDecoder])
@pytest.mark.filterwarnings("error")
def test_a_part_that_was_saved_alone_is_loaded_alone(cls: Any, tmp_path: Any) -> None:
    model = BY_NAME[cls.__name__].model()
    model.save_pretrained(tmp_path)
    loaded = cls.from_pretrained(tmp_path)
    assert type(loaded) is cls
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    close(loaded(SOURCE).last_hidden_state, model(SOURCE).last_hidden_state)


def test_a_part_of_a_heads_checkpoint_warns_of_the_head(tmp_path: Any) -> None:
    CLASSIFIER.model().save_pretrained(tmp_path)
    with pytest.warns(CheckpointWarning, match=r"not used: classification_head"):
        BartEncoder.from_pretrained(tmp_path)


def test_encoder_and_decoder_may_differ_in_heads() -> None:
    output = BASE.model(decoder_attention_heads=8)(SOURCE, output_attentions=True)
    assert [output[name][0].shape[1] for name in ("encoder_attentions", "decoder_attentions")] == [4, 8]
    output.check()


# -- the classifier ---------------------------------------------------------------------------------------------------


def test_a_class_is_read_at_the_last_end_of_a_row() -> None:
    model = CLASSIFIER.model()
    ids = torch.tensor([[5, 2, 6, 2, 1, 1], [5, 6, 7, 8, 9, 2], [2, 5, 6, 7, 8, 9]])
    hidden = model.model(ids).last_hidden_state
    expected = model.classification_head(torch.stack([hidden[0, 3], hidden[1, 5], hidden[2, 0]]))
    close(model(ids).logits, expected)


def test_a_row_without_an_end_is_refused() -> None:
    with pytest.raises(InputError, match=r"a row of input_ids has no eos_token_id \(2\)"):
        CLASSIFIER.model()(torch.cat([SOURCE, token_ids(1, 5).clamp(min=5)]))


@pytest.mark.parametrize("settings", [{"eos_token_id": None}, {"eos_token_id": [2, 3]}])
def test_without_one_end_token_there_is_no_class(settings: dict[str, Any]) -> None:
    model = BartForSequenceClassification(BartConfig(**BART_SIZES, **settings))
    with pytest.raises(InputError, match="pass input_ids, and configure one such token"):
        model(SOURCE)


def test_an_end_must_be_a_position_of_the_decoder() -> None:
    model = CLASSIFIER.model()
    for given in ({"decoder_input_ids": IDS[:, :3]}, {"decoder_inputs_embeds": states(2, 6)}):
        with pytest.raises(InputError, match="leave it out, or pass as many positions"):
            model(SOURCE, **given)


def test_an_answer_has_a_start_and_an_end() -> None:
    with pytest.raises(InputError, match="only one of start_positions and end_positions was passed"):
        ANSWERS.model()(SOURCE, start_positions=torch.tensor([1, 2]))


def test_answers_have_two_scores_whatever_the_number_of_labels() -> None:
    model = ANSWERS.model(num_labels=3)
    assert model.qa_outputs.out_features == 2
    output = model(SOURCE)
    close(torch.stack([output.start_logits, output.end_logits], -1), model.qa_outputs(model.model(SOURCE)[0]))


# -- what is refused --------------------------------------------------------------------------------------------------


def held(layers: int = 3, encoder: int = 5, rows: int = 2, tensors: int = 4) -> Any:
    lengths = (3, 3, encoder, encoder)[:tensors]
    return tuple(tuple(torch.zeros(rows, 4, n, 8) for n in lengths) for _ in range(layers))


LONGEST = torch.full((1, 41), 5)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "neither decoder_input_ids, decoder_inputs_embeds nor input_ids was passed"),
    "a decoder's input alone": ({"decoder_input_ids": IDS}, "neither input_ids, inputs_embeds, encoder_outputs nor a"),
    "embeddings alone": ({"inputs_embeds": states(2, 5)}, "neither decoder_input_ids"),
    "ids and embeddings": ({"input_ids": SOURCE, "inputs_embeds": states(2, 5)}, "both input_ids and inputs_embeds"),
    "ids and embeddings of the decoder": (
        {"input_ids": SOURCE, "decoder_input_ids": IDS, "decoder_inputs_embeds": states(2, 4)},
        "both decoder_input_ids and decoder_inputs_embeds",
    ),
    "ids outside the vocabulary": ({"input_ids": SOURCE + 99}, "^input_ids ranges from"),
    "a decoder's ids outside it": ({"input_ids": SOURCE, "decoder_input_ids": IDS + 99}, "^decoder_input_ids ranges"),
    "too long": ({"input_ids": LONGEST}, "41 positions exceed the model's max_position_embeddings of 40"),
    "too long for the decoder": ({"input_ids": SOURCE[:1], "decoder_input_ids": LONGEST}, "41 positions exceed"),
    "a mask of another shape": ({"input_ids": SOURCE, "attention_mask": torch.ones(2, 4)}, "attention mask has shape"),
    "a decoder's mask of another shape": (
        {"input_ids": SOURCE, "decoder_input_ids": IDS, "decoder_attention_mask": torch.ones(2, 5)},
        r"attention mask has shape \(2, 5\); expected \(batch, keys\) = \(2, 4\)",
    ),
    "a decoder's input of another batch": (
        {"input_ids": SOURCE, "decoder_input_ids": IDS[:1]},
        r"encoder_hidden_states is .* of shape \(2, 5, 32\); expected .* \(1, positions, 32\)",
    ),
    "a cache of the encoder's layers": (
        {"input_ids": SOURCE, "decoder_input_ids": IDS, "past_key_values": held(layers=2)},
        "past_key_values has 2 layers; this model has 3",
    ),
    "a cache of another encoder": (
        {"input_ids": SOURCE, "decoder_input_ids": IDS, "past_key_values": held(encoder=4)},
        "encoder_hidden_states has 5 positions, but past_key_values was made with 4",
    ),
    "a cache without an encoder's keys": (
        {"decoder_input_ids": IDS, "past_key_values": held(tensors=2)},
        "neither input_ids, inputs_embeds, encoder_outputs nor a cache",
    ),
    "a cache of another batch": (
        {"input_ids": SOURCE, "decoder_input_ids": IDS, "past_key_values": held(rows=3)},
        r"has shape \(3, 4, 3, 8\); expected \(2, 4, 3, 8\)",
    ),
}


@pytest.mark.parametrize("head", [BASE, LM, ANSWERS], ids=lambda head: head.name)
@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_computed_is_refused_in_one_line(head: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        head.model()(**arguments)
    assert "\n" not in str(caught.value)


def test_a_causal_model_attends_to_an_encoder_only_if_it_is_given_one() -> None:
    model = CAUSAL.model()
    output = model(IDS, output_attentions=True)
    assert "cross_attentions" not in output
    assert {len(layer) for layer in output.past_key_values} == {2}
    assert not torch.allclose(output.logits, model(IDS, encoder_hidden_states=states(2, 5)).logits, atol=1e-2)


@pytest.mark.parametrize("flags", [{}, {"output_attentions": True}, {"output_hidden_states": [-1]}, BOTH_FLAGS])
def test_a_plain_tuple_of_the_encoders_is_taken_for_what_it_holds(flags: dict[str, Any]) -> None:
    model = BASE.model()
    plain, named = (model.encoder(SOURCE, **flags, return_dict=kind) for kind in (False, True))
    found, expected = (
        model(encoder_outputs=encoded, decoder_input_ids=SOURCE, **flags).check() for encoded in (plain, named)
    )
    assert found == expected
