"""`generate` and `stream`: tokens, scores, masks and states as those of transformers, and what they refuse."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import copy
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers, which these tests compare with, is not installed")

from torch import Tensor

from modeloutputs.errors import FileFormatError, InputError
from modeloutputs.torch import BertLMHeadModel, GenerateOutput, GPT2LMHeadModel, LlamaForCausalLM

from ..support.tiny_text import tokenizer
from .generating import (
    BY_ID,
    DECODERS,
    GENERATORS,
    MANY_ENDS,
    Generator,
    counted_calls,
    model_of,
    text_ids,
    text_model,
)
from .peer import peer_class
from .tiny import padded_mask, states, token_ids

SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "repeating less": {"repetition_penalty": 1.3},
    "beams": {"num_beams": 3},
    "several": {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 2.0},
    "early": {"num_beams": 3, "early_stopping": True},
    "never early": {"num_beams": 2, "early_stopping": "never", "length_penalty": 0.5},
    "short": {"num_beams": 3, "length_penalty": -1.0},
    "all": {"num_beams": 3, "num_return_sequences": 3, "repetition_penalty": 1.2, "length_penalty": 0.0},
}


def assert_same_as_peer(generator: Generator, inputs: dict[str, Any], pair: tuple[Any, Any], **settings: Any) -> Any:
    mine, other = pair
    options = {"max_new_tokens": 14, **settings}
    found = mine.generate(**inputs, **options)
    expected = other.generate(
        **inputs, **options, do_sample=False, return_dict_in_generate=True, output_scores="num_beams" in settings
    )
    assert found.sequences.tolist() == expected.sequences.tolist()
    if "num_beams" in settings:
        torch.testing.assert_close(found.sequences_scores, expected.sequences_scores, rtol=1e-5, atol=1e-5)
    else:
        assert found.sequences_scores is None
    found.check()
    return found


# -- tokens, as the peer chooses them ---------------------------------------------------------------------------------


# Settings are the same for all models: each of them with two models, and each model with two of them.
EVERY_SETTING = ("GPT2LMHeadModel", "BartForConditionalGeneration")
CASES = [
    pytest.param(generator, options, id=f"{name}-{generator.id}")
    for generator in GENERATORS
    for name, options in SETTINGS.items()
    if generator.id in EVERY_SETTING or name in ("repeating less", "all")
]


@pytest.mark.parametrize(("generator", "settings"), CASES)
def test_tokens_and_scores_are_the_peers(generator: Generator, settings: dict[str, Any]):
    pair, inputs = generator.pair(), generator.inputs()
    if generator.id in EVERY_SETTING:
        assert_same_as_peer(generator, inputs, pair, **settings, pad_token_id=3)
    ended = assert_same_as_peer(generator, inputs, pair, **settings, eos_token_id=MANY_ENDS, pad_token_id=3)
    if settings.get("num_beams", 1) == 1 or settings.get("length_penalty", 1) < 0:
        assert not ended.generated[:, -14:].all(), "no row ended early, and the test says nothing of ends"


def test_special_tokens_of_the_checkpoint_are_used():
    inputs = (generator := BY_ID["GPT2LMHeadModel"]).inputs()
    pair = generator.pair(eos_token_id=MANY_ENDS)
    found = assert_same_as_peer(generator, inputs, pair)
    assert (found.attention_mask == 0).any()
    assert set(found.sequences[:, 7:][~found.generated[:, 7:]].tolist()) == {3}


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}])
def test_bart_goes_on_from_a_prompt_of_its_own(settings: dict[str, Any]):
    generator = BY_ID["BartForConditionalGeneration"]
    start = token_ids(3, 4, 90, seed=5)
    start[:, 0] = 7  # the peer puts the start token before what does not start with it
    inputs = {**generator.inputs(), "decoder_input_ids": start}
    found = assert_same_as_peer(generator, inputs, generator.pair(), **settings, eos_token_id=MANY_ENDS, pad_token_id=3)
    times = settings.get("num_return_sequences", 1)
    assert torch.equal(found.sequences[::times, :4], inputs["decoder_input_ids"])
    assert not found.generated[:, :4].any()


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}])
@pytest.mark.parametrize("new", [1, 2, 6])
def test_forced_tokens_come(settings: dict[str, Any], new: int, monkeypatch: pytest.MonkeyPatch):
    generator = BY_ID["BartForConditionalGeneration"]
    pair = generator.pair(forced_eos_token_id=55, eos_token_id=55)
    monkeypatch.setattr(pair[0].generation_config, "forced_bos_token_id", 44)
    monkeypatch.setattr(pair[1].generation_config, "forced_bos_token_id", 44)
    found = assert_same_as_peer(generator, generator.inputs(), pair, **settings, max_new_tokens=new)
    assert (found.sequences[:, 1] == (55 if new == 1 else 44)).all()
    assert (found.sequences[:, new] == 55).any()


def test_encoder_outputs_stand_for_its_inputs():
    generator = BY_ID["BartForConditionalGeneration"]
    model, inputs = generator.pair()[0], generator.inputs()
    expected = model.generate(**inputs, max_new_tokens=6).sequences
    encoded = model.model.encoder(**inputs)
    for given in (encoded, encoded.to_tuple()):
        found = model.generate(encoder_outputs=given, attention_mask=inputs["attention_mask"], max_new_tokens=6)
        assert torch.equal(found.sequences, expected)


# -- padding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generator", "side", "beams"),
    [
        *((generator, "right", 1) for generator in DECODERS),
        (BY_ID["GPT2LMHeadModel"], "left", 1),
        (BY_ID["GPT2LMHeadModel"], "right", 3),
        (BY_ID["LlamaForCausalLM"], "left", 3),
    ],
    ids=lambda value: getattr(value, "id", None),
)
def test_a_row_goes_on_as_if_it_were_alone(generator: Generator, side: str, beams: int):
    model, inputs = generator.pair()[0], generator.inputs(padded=False)
    lengths = (7, 3, 5)
    mask = padded_mask(lengths, side, 7)
    options = {"max_new_tokens": 9, "repetition_penalty": 1.1, "num_beams": beams, "eos_token_id": MANY_ENDS}
    together = model.generate(**{**inputs, "attention_mask": mask}, **options, pad_token_id=3)
    assert together.attention_mask[:, :7].tolist() == padded_mask(lengths, "left", 7).tolist()
    for i in range(3):
        row = {name: value[i : i + 1] for name, value in inputs.items()}
        shown = row["input_ids"][:, mask[i] == 1]
        alone = model.generate(**{**row, "input_ids": shown, "attention_mask": None}, **options, pad_token_id=3)
        kept = together.sequences[i][together.attention_mask[i] == 1]
        assert kept.tolist() == alone.sequences[0][alone.attention_mask[0] == 1].tolist()
        assert together.new_tokens()[i].tolist() == alone.new_tokens()[0].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_encoders_padding_changes_nothing(side: str):
    generator = BY_ID["BartForConditionalGeneration"]
    model = generator.pair()[0]
    ids, lengths = generator.inputs()["input_ids"], (7, 3, 5)
    mask = padded_mask(lengths, side, 7)
    together = model.generate(ids, mask, max_new_tokens=9)
    for i in range(3):
        alone = model.generate(ids[i : i + 1, mask[i] == 1], max_new_tokens=9)
        assert together.new_tokens()[i].tolist() == alone.new_tokens()[0].tolist()


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32])
def test_a_mask_may_have_any_dtype(dtype: torch.dtype):
    model, mask = model_of("LlamaForCausalLM"), padded_mask((5, 3), "right", 5)
    ids = token_ids(2, 5)
    found, expected = (model.generate(ids, each, max_new_tokens=4) for each in (mask.to(dtype), mask))
    assert found.sequences.tolist() == expected.sequences.tolist()
    assert found.attention_mask.dtype == torch.int64


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}])
def test_ids_may_be_int32(options: dict[str, Any]):
    model, ids = model_of("GPT2LMHeadModel"), token_ids(2, 5)
    settings = {"max_new_tokens": 4, "repetition_penalty": 1.2, **options}
    found, expected = (model.generate(each, **settings).sequences for each in (ids.int(), ids))
    assert found.tolist() == expected.tolist()


# -- what is returned -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generator", [BY_ID[name] for name in EVERY_SETTING], ids=EVERY_SETTING)
def test_masks_tell_prompt_continuation_and_padding(generator: Generator):
    model, inputs = generator.pair()[0], generator.inputs()
    found = model.generate(**inputs, max_new_tokens=10, eos_token_id=MANY_ENDS, pad_token_id=3)
    start = 1 if generator.is_seq2seq else 7
    assert torch.equal(found.generated, (found.attention_mask == 1) & (torch.arange(found.sequences.shape[1]) >= start))
    assert torch.equal(
        found.attention_mask[:, :start],
        torch.ones(3, 1, dtype=torch.int64) if start == 1 else inputs["attention_mask"],
    )
    for row, mask, new in zip(found.sequences[:, start:], found.generated[:, start:], found.new_tokens(), strict=True):
        ends = [i for i, token in enumerate(row.tolist()) if token in MANY_ENDS]
        length = ends[0] + 1 if ends else len(row)
        assert new.tolist() == row[:length].tolist()
        assert mask.tolist() == [i < length for i in range(len(row))]
        assert row[length:].tolist() == [3] * (len(row) - length)


def test_scores_of_greedy_choices_are_those_of_the_tokens():
    model, ids = model_of("GPT2LMHeadModel"), token_ids(2, 5)
    found = model.generate(ids, max_new_tokens=6, output_scores=True)
    assert found.scores.shape == (2, 6, 99)
    assert torch.equal(found.scores.argmax(-1), found.sequences[:, 5:])
    logits = model(found.sequences).logits[:, 4:-1]
    torch.testing.assert_close(found.scores, logits.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "BartForConditionalGeneration"])
@pytest.mark.parametrize("times", [1, 3])
def test_scores_of_beams_add_up_to_those_of_the_sequences(name: str, times: int):
    generator = BY_ID[name]
    model, inputs = generator.pair()[0], generator.inputs()
    options = {"num_beams": 3, "num_return_sequences": times, "length_penalty": 0.0}
    found = model.generate(
        **inputs, max_new_tokens=8, output_scores=True, eos_token_id=MANY_ENDS, pad_token_id=3, **options
    )
    new = found.generated[:, -found.scores.shape[1] :]
    tokens = found.sequences[:, -found.scores.shape[1] :]
    assert found.scores.shape == (3 * times, new.shape[1], 99)
    chosen = found.scores.gather(2, tokens[:, :, None])[:, :, 0].masked_fill(~new, 0.0)
    torch.testing.assert_close(chosen.sum(1), found.sequences_scores, rtol=1e-5, atol=1e-5)
    penalised = model.generate(
        **inputs, max_new_tokens=8, eos_token_id=MANY_ENDS, pad_token_id=3, **{**options, "length_penalty": -100.0}
    )
    assert (penalised.generated.sum(1) <= found.generated.sum(1)).all()


def peer_states(generator: Generator, peer: Any, inputs: dict[str, Any], found: GenerateOutput) -> Any:
    """Return what one call of the peer gives for finished sequences, attention weights included."""
    peer.set_attn_implementation("eager")
    flags = {"output_hidden_states": True, "output_attentions": True, "return_dict": True}
    mask = found.attention_mask
    try:
        if generator.is_seq2seq:
            return peer(**inputs, decoder_input_ids=found.sequences, decoder_attention_mask=mask, **flags)
        more = {name: value for name, value in inputs.items() if name.startswith("encoder")}
        if generator.pads_left:
            more["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        return peer(found.sequences, attention_mask=mask, **more, **flags)
    finally:
        peer.set_attn_implementation("sdpa")


@pytest.mark.parametrize(
    ("generator", "beams"),
    [*((generator, 1) for generator in GENERATORS), *((BY_ID[name], 2) for name in EVERY_SETTING)],
    ids=lambda value: getattr(value, "id", None),
)
def test_states_are_those_of_one_call_of_the_peer(generator: Generator, beams: int):
    (model, peer), inputs = generator.pair(), generator.inputs()
    found = model.generate(
        **inputs,
        max_new_tokens=6,
        num_beams=beams,
        eos_token_id=MANY_ENDS,
        pad_token_id=3,
        output_hidden_states=True,
        output_attentions=True,
    )
    found.check()
    with torch.no_grad():
        theirs = peer_states(generator, peer, inputs, found)
    kept, prefix = found.attention_mask == 1, "decoder_" if generator.is_seq2seq else ""
    assert_same_layers(found.hidden_states, theirs[f"{prefix}hidden_states"], kept)
    assert_same_layers(found.attentions, theirs[f"{prefix}attentions"], kept)
    assert found.hidden_states[0].shape[1] == found.attentions[0].shape[2] == found.sequences.shape[1]
    crosses = generator.crosses or generator.is_seq2seq
    assert (found.cross_attentions is not None) == crosses
    if crosses:
        assert_same_layers(found.cross_attentions, theirs["cross_attentions"], kept)
    if generator.is_seq2seq:
        read = inputs["attention_mask"] == 1
        assert_same_layers(found.encoder_hidden_states, theirs["encoder_hidden_states"], read)
        assert_same_layers(found.encoder_attentions, theirs["encoder_attentions"], read)
        assert_same_layers((found.encoder_last_hidden_state,), (theirs["encoder_last_hidden_state"],), read)


def assert_same_layers(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], kept: Tensor) -> None:
    assert len(found) == len(expected)
    for mine, other in zip(found, expected, strict=True):
        if mine.dim() == 4:  # (batch, heads, queries, keys): what a kept query sees
            mine, other = mine.transpose(1, 2), other.transpose(1, 2)
        torch.testing.assert_close(mine[kept], other[kept], rtol=1e-5, atol=1e-5)


def test_layers_may_be_chosen():
    model, ids = model_of("GPT2LMHeadModel"), token_ids(2, 5)
    whole = model.generate(ids, max_new_tokens=3, output_hidden_states=True, output_attentions=True)
    found = model.generate(ids, max_new_tokens=3, output_hidden_states=[-1], output_attentions=[0])
    assert found.hidden_states[:2] == (None, None)
    torch.testing.assert_close(found.hidden_states[2], whole.hidden_states[2])
    assert found.attentions[1] is None
    torch.testing.assert_close(found.attentions[0], whole.attentions[0])
    assert model.generate(ids, max_new_tokens=3).hidden_states is None


def test_each_of_several_sequences_has_its_prompts_states():
    generator = BY_ID["GPT2LMHeadModel, crossing"]
    model, inputs = generator.pair()[0], generator.inputs()
    torch.manual_seed(0)
    found = model.generate(
        **inputs, max_new_tokens=4, do_sample=True, num_return_sequences=2, output_hidden_states=True
    )
    assert found.sequences.shape[0] == found.hidden_states[0].shape[0] == 6
    more = {name: inputs[name].repeat_interleave(2, 0) for name in ("encoder_hidden_states", "encoder_attention_mask")}
    again = model(found.sequences, found.attention_mask, **more, output_hidden_states=True)
    kept = found.attention_mask == 1
    assert_same_layers(found.hidden_states, again.hidden_states, kept)


# -- as it comes ------------------------------------------------------------------------------------------------------


def test_pieces_of_a_stream_are_the_text_of_the_tokens():
    model, ids = text_model(), text_ids("hello there")
    expected = tokenizer().decode(
        model.generate(ids, max_new_tokens=20, repetition_penalty=1.5).new_tokens()[0], skip_special_tokens=True
    )
    pieces = list(model.stream(ids, tokenizer=tokenizer(), max_new_tokens=20, repetition_penalty=1.5))
    assert "".join(pieces) == expected
    assert len(pieces) > 3


def test_a_stream_draws_as_generate_does():
    model, ids = text_model(), text_ids("hello there")
    drawn = model.generate(ids, max_new_tokens=9, do_sample=True, generator=torch.Generator().manual_seed(4))
    options = {"max_new_tokens": 9, "do_sample": True, "generator": torch.Generator().manual_seed(4)}
    assert "".join(model.stream(ids, tokenizer=tokenizer(), **options)) == tokenizer().decode(
        drawn.new_tokens()[0], skip_special_tokens=True
    )


@pytest.mark.parametrize("recorded", [True, False])
def test_gradient_mode_is_the_callers_between_pieces(recorded: bool):
    with torch.set_grad_enabled(recorded):
        for _ in text_model().stream(text_ids("hello"), tokenizer=tokenizer(), max_new_tokens=4, eos_token_id=()):
            assert torch.is_grad_enabled() == recorded
        assert torch.is_grad_enabled() == recorded


def test_a_stream_of_an_encoder_decoder_records_no_gradients():
    model = model_of("BartForConditionalGeneration")
    seen: list[bool] = []
    handle = model.model.encoder.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    list(model.stream(token_ids(1, 5), tokenizer=tokenizer(), max_new_tokens=2))
    handle.remove()
    assert seen == [False]


def test_on_tokens_is_called_at_each_step():
    seen: list[list[int]] = []
    ids = token_ids(3, 5)
    found = model_of("GPT2LMHeadModel").generate(
        ids, max_new_tokens=9, eos_token_id=MANY_ENDS, on_tokens=lambda tokens: seen.append(tokens.tolist())
    )
    assert torch.tensor(seen).T.tolist() == found.sequences[:, 5:].tolist()


class Recorder:
    """A streamer that keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def put(self, value: Tensor) -> None:
        self.seen.append(value.tolist())

    def end(self) -> None:
        self.seen.append("end")


@pytest.mark.parametrize("name", EVERY_SETTING)
def test_streamers_are_given_what_the_peer_gives_them(name: str):
    generator, recorders = BY_ID[name], (Recorder(), Recorder())
    for model, recorder in zip(generator.pair(), recorders, strict=True):
        options = {"eos_token_id": MANY_ENDS, "pad_token_id": 3, "max_new_tokens": 8}
        model.generate(**generator.inputs(), **options, streamer=recorder)
    assert recorders[0].seen == recorders[1].seen
    assert recorders[0].seen[-1] == "end"


def test_a_streamer_ends_whatever_happens():
    def fail(_: Tensor) -> None:
        raise KeyError("x")

    model, recorder = model_of("GPT2LMHeadModel"), Recorder()
    with pytest.raises(KeyError):
        model.generate(token_ids(1, 5), streamer=recorder, on_tokens=fail)
    assert recorder.seen[0] == token_ids(1, 5).tolist()
    assert recorder.seen[-1] == "end"


# -- what it leaves alone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_is(training: bool):
    model = model_of("LlamaForCausalLM").train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ids = token_ids(2, 5)
    kept = ids.clone()
    found = model.generate(ids, max_new_tokens=3, num_beams=2, output_hidden_states=True)
    assert model.training == training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(ids, kept)
    assert not found.hidden_states[0].requires_grad
    assert torch.is_grad_enabled()


def test_sequences_can_be_trained_on():
    model = model_of("GPT2LMHeadModel")
    found = model.generate(token_ids(2, 5), max_new_tokens=3)
    assert not found.sequences.is_inference()
    model(found.sequences, labels=found.sequences).loss.backward()
    assert model.transformer.wte.weight.grad is not None


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "BartForConditionalGeneration"])
@pytest.mark.parametrize("beams", [1, 3])
def test_inference_mode_changes_nothing(name: str, beams: int):
    model, ids = model_of(name), token_ids(2, 5)
    expected = model.generate(ids, max_new_tokens=5, num_beams=beams).sequences
    with torch.inference_mode():
        assert torch.equal(model.generate(ids, max_new_tokens=5, num_beams=beams).sequences, expected)


@pytest.mark.parametrize("beams", [1, 2])
def test_bfloat16_models_generate(beams: int):
    model = model_of("LlamaForCausalLM").to(torch.bfloat16)
    options = {"max_new_tokens": 4, "output_scores": True, "output_hidden_states": True}
    found = model.generate(token_ids(2, 5), padded_mask((5, 3), "left", 5), num_beams=beams, **options)
    found.check()
    assert found.scores.dtype == torch.float32
    assert found.hidden_states[0].dtype == torch.bfloat16


def test_double_precision_is_kept():
    found = model_of("GPT2LMHeadModel").double().generate(token_ids(1, 5), max_new_tokens=2, output_scores=True)
    assert found.scores.dtype == torch.float64


def test_flags_of_the_configuration_do_not_disturb():
    model, ids = model_of("GPT2LMHeadModel"), token_ids(2, 5)
    expected = model.generate(ids, max_new_tokens=3, output_hidden_states=True)
    for flag in ("output_attentions", "output_hidden_states"):
        setattr(model.config, flag, True)
    model.config.return_dict = model.config.use_cache = False
    assert model.generate(ids, max_new_tokens=3, output_hidden_states=True) == expected


def test_sequences_alone_where_the_peers_flag_says_so():
    model, ids = model_of("GPT2LMHeadModel"), token_ids(2, 5)
    found = model.generate(ids, max_new_tokens=3, return_dict_in_generate=False)
    assert torch.equal(found, model.generate(ids, max_new_tokens=3, return_dict_in_generate=True).sequences)


def test_arguments_of_one_call_for_libraries_that_wrap_it():
    model, ids = model_of("GPT2LMHeadModel"), token_ids(2, 5)
    cache = model(ids[:, :3], use_cache=True).past_key_values
    found = model.prepare_inputs_for_generation(ids, past_key_values=cache, attention_mask=None, use_cache=True)
    assert torch.equal(found["input_ids"], ids[:, 3:])
    assert torch.allclose(model(**found).logits, model(ids).logits[:, 3:], atol=1e-5)
    encoded = model_of("BartForConditionalGeneration").prepare_inputs_for_generation(ids, encoder_outputs=5)
    assert torch.equal(encoded["decoder_input_ids"], ids)
    assert encoded["encoder_outputs"] == 5


def test_peft_generates_with_an_adapter_of_its_kind_for_language_models():
    peft = pytest.importorskip("peft", reason="peft is not installed")
    ids, settings = token_ids(2, 5), {"max_new_tokens": 4, "eos_token_id": ()}
    plain = model_of("LlamaForCausalLM").generate(ids, **settings)
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], r=2, init_lora_weights=False)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(model_of("LlamaForCausalLM"), config).eval()
    found = adapted.generate(input_ids=ids, **settings, output_scores=True)
    logits = adapted(found.sequences).logits[:, 4:-1].detach()
    torch.testing.assert_close(found.scores, logits, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits, model_of("LlamaForCausalLM")(found.sequences).logits[:, 4:-1])
    with adapted.disable_adapter():
        assert torch.equal(adapted.generate(input_ids=ids, **settings).sequences, plain.sequences)


# -- how much ---------------------------------------------------------------------------------------------------------


def test_one_new_token():
    model, ids = model_of("GPT2LMHeadModel"), token_ids(2, 5)
    found = model.generate(ids, max_new_tokens=1)
    assert found.sequences[:, 5].tolist() == model(ids).logits[:, -1].argmax(-1).tolist()


def test_as_many_as_there_is_room_for_by_default():
    model = model_of("GPT2LMHeadModel")  # 40 positions
    options: dict[str, Any] = {"eos_token_id": ()}
    # The last token is chosen and read by nothing, so it needs no position, unless its states are asked for.
    assert model.generate(token_ids(1, 30), **options).sequences.shape == (1, 41)
    assert model.generate(token_ids(1, 30), **options, output_hidden_states=True).hidden_states[0].shape[1] == 40
    assert model.generate(token_ids(1, 40), **options).sequences.shape == (1, 41)
    assert model_of("BartForConditionalGeneration").generate(token_ids(1, 9), **options).sequences.shape == (1, 41)


# -- special tokens of checkpoints ------------------------------------------------------------------------------------


def test_special_tokens_are_used_and_all_other_settings_kept(tmp_path: Path):
    folder, again, plain = tmp_path / "one", tmp_path / "two", model_of("GPT2LMHeadModel")
    plain.save_pretrained(folder)
    assert not (folder / "generation_config.json").exists()
    ids = token_ids(3, 5)
    ends = plain.generate(ids, max_new_tokens=9, eos_token_id=()).sequences[:, 6].tolist()
    said = {"eos_token_id": ends, "pad_token_id": 3, "do_sample": True, "num_beams": 4, "max_length": 6}
    said |= {"bos_token_id": None, "no_repeat_ngram_size": 3, "made_up": [1.5], "transformers_version": "4.31.0"}
    (folder / "generation_config.json").write_text(json.dumps(said))
    model = GPT2LMHeadModel.from_pretrained(folder)
    assert model.generation_config.to_dict() == said
    found = model.generate(ids, max_new_tokens=9)
    explicit = plain.generate(ids, max_new_tokens=9, eos_token_id=ends, pad_token_id=3)
    assert torch.equal(found.sequences, explicit.sequences)
    assert found.sequences.shape[1] <= 7
    assert torch.equal(model.generate(ids, max_new_tokens=9).sequences, found.sequences)  # nothing is sampled
    early = plain.generate(ids, max_length=6, eos_token_id=ends, pad_token_id=3, num_beams=4, no_repeat_ngram_size=3)
    with pytest.warns(UserWarning, match="generation_config sets made_up"):  # not sampled, though the file says so
        asked = model.generate(ids, generation_config=folder, do_sample=False)
    assert torch.equal(asked.sequences, early.sequences)
    model.save_pretrained(again)
    assert json.loads((again / "generation_config.json").read_text()) == said


def test_the_peer_reads_the_special_tokens_that_we_keep(tmp_path: Path):
    generator = BY_ID["LlamaForCausalLM"]
    model, _ = generator.pair()
    model.save_pretrained(tmp_path / "plain")
    (tmp_path / "plain" / "generation_config.json").write_text(json.dumps({"eos_token_id": MANY_ENDS}))
    LlamaForCausalLM.from_pretrained(tmp_path / "plain").save_pretrained(tmp_path / "kept")
    peer = peer_class("LlamaForCausalLM").from_pretrained(tmp_path / "kept")
    assert peer.generation_config.eos_token_id == MANY_ENDS
    mine = LlamaForCausalLM.from_pretrained(tmp_path / "kept")
    assert_same_as_peer(generator, generator.inputs(), (mine, peer), pad_token_id=3)
    peer.generation_config.eos_token_id = [11, 12]
    peer.save_pretrained(tmp_path / "theirs")
    assert LlamaForCausalLM.from_pretrained(tmp_path / "theirs").generation_config.eos_token_id == [11, 12]


def test_settings_of_the_model_that_were_set_in_python_count():
    model, ids = model_of("GPT2LMHeadModel"), token_ids(2, 5)
    model.generation_config.max_new_tokens = 4
    model.generation_config.eos_token_id = -1
    assert model.generate(ids).sequences.shape == (2, 9)
    assert model.generate(ids, max_new_tokens=2).sequences.shape == (2, 7)
    copied = copy.deepcopy(model)
    copied.generation_config = {"num_beams": 3, "max_new_tokens": 3}
    assert copied.generate(ids).sequences_scores is not None
    assert model.generation_config.num_beams is None
    copied.generation_config = None
    assert copied.generation_config.to_dict() == {}


def test_the_peer_loads_the_settings_that_we_save(tmp_path: Path):
    model = BY_ID["GPT2LMHeadModel"].pair()[0]
    model.save_pretrained(tmp_path)
    said = {"num_beams": 4, "no_repeat_ngram_size": 3, "early_stopping": True, "eos_token_id": [7, 9]}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    GPT2LMHeadModel.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    config = peer_class("GPT2LMHeadModel").from_pretrained(tmp_path / "again").generation_config
    assert {name: getattr(config, name) for name in said} == said


def test_a_corrupt_file_is_refused_when_it_is_read(tmp_path: Path):
    model_of("GPT2LMHeadModel").save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": "end"}')
    with pytest.raises(FileFormatError, match="has eos_token_id 'end'; expected a token id or a list of them"):
        GPT2LMHeadModel.from_pretrained(tmp_path)


# -- what is refused --------------------------------------------------------------------------------------------------

IDS, TWO = token_ids(1, 5), token_ids(2, 5)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"input_ids": IDS, "num_beam": 2}, "no option 'num_beam'; did you mean 'num_beams'?"),
    "empty": ({"input_ids": IDS[:, :0]}, r"the prompt has shape \(1, 0\); expected at least one row and one token"),
    "no rows": ({"input_ids": IDS[:0]}, r"the prompt has shape \(0, 5\)"),
    "flat": ({"input_ids": IDS[0]}, r"input_ids has shape \(5,\); expected \(batch, seq\)"),
    "not integers": ({"input_ids": IDS.float()}, "input_ids is torch.float32; expected int64"),
    "beyond": ({"input_ids": IDS + 90}, "input_ids ranges from .*; expected 0 to 98"),
    "mask": ({"input_ids": IDS, "attention_mask": torch.ones(1, 4)}, r"attention_mask has shape \(1, 4\); expected"),
    "hidden": (
        {"input_ids": TWO, "attention_mask": torch.tensor([[1] * 5, [0] * 5])},
        "attention_mask masks a whole prompt",
    ),
    "full": ({"input_ids": token_ids(1, 41)}, "a prompt of 41 and 1 new tokens exceed .* of 40; shorten"),
    "streamer": ({"input_ids": IDS, "num_beams": 2, "streamer": Recorder()}, "streamer was passed with num_beams > 1"),
    "length": (
        {"input_ids": IDS, "max_length": 5},
        "max_length is 5, and the prompt has 5 positions",
    ),
    "far": ({"input_ids": IDS, "max_length": 50}, "a prompt of 5 and 45 new tokens exceed .* of 40; shorten"),
    "words": ({"input_ids": IDS, "bad_words_ids": [[1, 99]]}, "bad_words_ids is 99; expected 0 to 98"),
    "suppressed": ({"input_ids": IDS, "suppress_tokens": [-1]}, "suppress_tokens is -1; expected 0 to 98"),
    "nothing left": ({"input_ids": IDS, "suppress_tokens": list(range(99))}, "suppress_tokens holds the whole vocab"),
    "forced": ({"input_ids": IDS, "forced_eos_token_id": 99}, "forced_eos_token_id is 99; expected 0 to 98"),
    "groups": ({"input_ids": IDS, "num_beam_groups": 2}, "num_beam_groups is 2, but groups of beams are not searched"),
    "on_tokens": ({"input_ids": IDS, "num_beams": 2, "on_tokens": print}, "on_tokens was passed with num_beams > 1"),
    "decoder's": ({"input_ids": IDS, "decoder_input_ids": IDS}, "GPT2LMHeadModel takes no decoder_input_ids"),
    "no cross-attention": ({"input_ids": IDS, "encoder_hidden_states": states(1, 3)}, "takes no encoder_hidden_states"),
    "layers": ({"input_ids": IDS, "output_hidden_states": [9]}, "output_hidden_states asks for layer 9"),
    "attentions": ({"input_ids": IDS, "output_attentions": [2]}, "output_attentions asks for layer 2"),
}


def assert_refused(model: Any, options: dict[str, Any], message: str) -> None:
    with counted_calls(model) as calls, pytest.raises(InputError, match=message) as raised:
        model.generate(**options)
    assert "\n" not in str(raised.value)
    assert not calls


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_before_anything_is_computed(options: dict[str, Any], message: str):
    assert_refused(plain_gpt2(), options, message)


def plain_gpt2() -> GPT2LMHeadModel:
    return BY_ID["GPT2LMHeadModel"].pair()[0]


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "OpenAIGPTLMHeadModel", "GPT2LMHeadModel"])
@pytest.mark.parametrize("given", ["encoder_hidden_states", "encoder_outputs", "decoder_input_ids"])
def test_decoders_refuse_what_they_have_no_use_for(name: str, given: str):
    assert_refused(BY_ID[name].pair()[0], {"input_ids": IDS, given: states(1, 3)}, f"{name} takes no {given}")


def test_encoder_decoders_refuse_what_they_have_no_use_for():
    model = model_of("BartForConditionalGeneration")
    with pytest.raises(InputError, match="BartForConditionalGeneration takes no encoder_hidden_states"):
        model.generate(IDS, encoder_hidden_states=states(1, 3))


BART_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "mask": ({"input_ids": IDS, "attention_mask": torch.ones(1, 4)}, r"attention mask has shape \(1, 4\)"),
    "rows": ({"input_ids": TWO, "decoder_input_ids": IDS}, "has 1 rows, the encoder's states 2"),
    "flat": ({"input_ids": IDS, "decoder_input_ids": IDS[0]}, r"has shape \(5,\); expected \(batch, seq\)"),
    "beyond": ({"input_ids": IDS, "decoder_input_ids": IDS + 90}, "ranges from"),
    "long": ({"input_ids": token_ids(1, 41)}, "41 positions exceed"),
    "long target": ({"input_ids": IDS, "max_new_tokens": 41}, "a prompt of 1 and 41 new tokens exceed"),
}


@pytest.mark.parametrize(("options", "message"), BART_REFUSED.values(), ids=BART_REFUSED.keys())
def test_encoder_decoders_refuse_too(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message) as raised:
        model_of("BartForConditionalGeneration").generate(**options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("ids", "options"),
    [(TWO, {}), (IDS, {"num_beams": 2}), (IDS, {"num_return_sequences": 2, "do_sample": True})],
    ids=["rows", "beams", "several"],
)
def test_a_stream_is_of_one_text(ids: Tensor, options: dict[str, Any]):
    with pytest.raises(InputError, match="stream yields a single text; pass one prompt, num_beams=1 and"):
        plain_gpt2().stream(ids, tokenizer=tokenizer(), **options)  # at once, before a piece is asked for


def test_a_stream_checks_its_options_at_once():
    with pytest.raises(InputError, match=r"no option .topp.; did you mean .top_p.\?"):
        plain_gpt2().stream(IDS, tokenizer=tokenizer(), topp=0.5)


def test_bert_must_be_a_decoder():
    with pytest.raises(InputError, match="is_decoder"):
        BertLMHeadModel(type(model_of("BertLMHeadModel").config)())
