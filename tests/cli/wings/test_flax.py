"""`--framework flax`: what PyTorch's models give on the same checkpoints, and what is Flax's own."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import functools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

from modeloutputs import load
from modeloutputs.architectures import BartConfig, BertConfig, GPT2Config
from modeloutputs.cli import tasks
from modeloutputs.cli.report import as_json
from modeloutputs.cli.wings import FrameworkName
from modeloutputs.cli.wings import flax as wing
from modeloutputs.flax import (
    FlaxBartForConditionalGeneration,
    FlaxBertForMaskedLM,
    FlaxBertForSequenceClassification,
    FlaxGPT2LMHeadModel,
    FlaxPreTrainedModel,
    FlaxTokenClassifierOutput,
)
from modeloutputs.tokenizers import BartTokenizer, GPT2Tokenizer

from ...support.needs import needs_torch
from ...tokenizers.tiny import BART_TOKENS, bytes_bpe, write_bpe, write_json, write_vocabulary
from ..conftest import Call

SIZES: dict[str, Any] = {
    "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
    "max_position_embeddings": 32, "id2label": {0: "bad", 1: "good", 2: "odd"},
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def fixture_uncompiled() -> Iterator[None]:
    """Models this small are called sooner than compiled; what is compiled all the same is not optimised."""
    quick = "jax_disable_most_optimizations"
    before, compiled = jax.config.read(quick), FlaxPreTrainedModel.jit_calls
    jax.config.update(quick, True)
    FlaxPreTrainedModel.jit_calls = False
    yield
    FlaxPreTrainedModel.jit_calls = compiled
    jax.config.update(quick, before)


def saved(model: Any, folder: Path) -> str:
    """Save a model with weights that make a difference, biases too."""
    rng = np.random.default_rng(0)
    scaled = jax.tree.map(lambda leaf: 8 * leaf + rng.normal(size=leaf.shape).astype(np.float32) / 4, model.params)
    model.save_pretrained(folder, params=scaled)
    return str(folder)


@pytest.fixture(scope="module", name="classifier")
def fixture_classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = write_vocabulary(tmp_path_factory.mktemp("bert"))
    return saved(FlaxBertForSequenceClassification(BertConfig(**SIZES)), folder)


@pytest.fixture(scope="module", name="gpt2")
def fixture_gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = GPT2Tokenizer.from_pretrained(write_json(bytes_bpe("<|endoftext|>"), folder))
    tokenizer.save_pretrained(folder)
    sizes = {"vocab_size": len(tokenizer), "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 40}
    return saved(FlaxGPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)), folder)


@pytest.fixture(scope="module", name="bart")
def fixture_bart(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bart")
    tokenizer = BartTokenizer.from_pretrained(write_bpe(bytes_bpe(*BART_TOKENS), folder))
    tokenizer.save_pretrained(folder)
    sizes = {
        "vocab_size": len(tokenizer), "d_model": 8, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8,
        "max_position_embeddings": 40,
    }  # fmt: skip
    return saved(FlaxBartForConditionalGeneration(BartConfig(**sizes)), folder)


# -- run --------------------------------------------------------------------------------------------------------------

TEXTS = ("hello [MASK] a b", "c")
PAIRS = ("world", "a b c")
RUNS = {
    "features": (),
    "sequence-classification": ("--label", "odd", "--label", "0"),
    "token-classification": (),
    "masked-lm": (),
    "causal-lm": (),
    "next-sentence": ("--label", "1", "--label", "0"),
    "question-answering": (),
    "multiple-choice": ("--label", "1"),
}


@needs_torch
@pytest.mark.parametrize("task", RUNS)
def test_a_task_gives_what_it_gives_in_pytorch(call: Call, tmp_path: Path, task: str):
    import torch

    from modeloutputs.cli.wings import torch as torch_wing

    torch.manual_seed(0)
    names = {0: "start", 1: "end"} if task == "question-answering" else SIZES["id2label"]
    config = BertConfig(**{**SIZES, "id2label": names}, is_decoder=task == "causal-lm")
    model = torch_wing._CLASSES[task](config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8).add_(torch.randn_like(parameter) / 4)
    model.save_pretrained(write_vocabulary(tmp_path))
    texts = TEXTS[:1] if task == "multiple-choice" else TEXTS
    given = [part for text in texts for part in ("--text", text)]
    given += [part for pair in PAIRS for part in ("--text-pair", pair)]
    arguments = ("run", "--model", str(tmp_path), "--task", task, *given, *RUNS[task], "--hidden-states", "--json")
    theirs, ours = (call(*arguments, "--framework", name) for name in ("torch", "flax"))
    assert (theirs.status, theirs.err, ours.status, ours.err) == (0, "", 0, "")
    expected, found = json.loads(theirs.out), json.loads(ours.out)
    assert found["predictions"] == expected["predictions"]
    assert len(found["predictions"]) == len(texts)
    assert found["loss"] == (pytest.approx(expected["loss"], rel=1e-5) if RUNS[task] else None)
    # PyTorch's has the loss as a field, and decoders there return a cache unasked.
    fields = {name: field for name, field in expected["fields"].items() if name not in ("loss", "past_key_values")}
    assert found["fields"] == fields
    assert found["class"].startswith("Flax")


def test_the_loss_is_printed_and_saved_beside_the_output(call: Call, classifier: str, tmp_path: Path):
    out = tmp_path / "out.safetensors"
    arguments = (
        "run",
        "--model",
        classifier,
        "--task",
        "sequence-classification",
        "--text",
        "hello a",
        "--label",
        "odd",
    )
    done = call(*arguments, "--framework", "flax", "--save", str(out))
    output = load(out)
    logits = np.asarray(output["logits"], np.float64)
    expected = np.log(np.exp(logits).sum()) - logits[0, 2]
    best = logits[0].argmax()
    share = np.exp(logits[0, best]) / np.exp(logits).sum()
    assert list(output) == ["logits"]
    assert done.lines[-2:] == [f"loss {expected:.4f}", f"'hello a': {SIZES['id2label'][best]} ({share:.1%})"]
    assert call("show", str(out)).out == done.out
    printed, shown = (
        json.loads(call(*given, "--json").out) for given in ((*arguments, "--framework", "flax"), ("show", str(out)))
    )
    assert shown == printed | {"notes": {}}
    assert printed["loss"] == pytest.approx(expected, rel=1e-6)


def test_many_texts_are_padded_to_few_lengths_and_cut_again(classifier: str, monkeypatch: pytest.MonkeyPatch):
    texts = ["a " * n for n in (1, 3, 20, 9, 21, 28, 40, 5)]
    labels = ["bad", "good", "-100", "0", "1", "2", "0", "1"]
    flags = {"output_hidden_states": True, "output_attentions": True}
    asked = tasks.Asked("sequence-classification", texts, labels=labels, flags=flags)
    whole = tasks.run_task(classifier, asked, FrameworkName.FLAX)
    monkeypatch.setattr(tasks, "MOST_TOKENS", 256)  # a fourth of them with attentions
    shapes: set[tuple[int, ...]] = set()
    called = wing.call

    def recorded(model: Any, inputs: Any, *rest: Any) -> Any:
        shapes.add(inputs["input_ids"].shape)
        return called(model, inputs, *rest)

    monkeypatch.setattr(wing, "call", recorded)
    batched = tasks.run_task(classifier, asked, FrameworkName.FLAX)
    assert shapes == {(2, 32), (4, 16)}
    assert batched.predictions == whole.predictions
    assert batched.loss == pytest.approx(whole.loss, rel=1e-5)
    np.testing.assert_allclose(batched.output["logits"], whole.output["logits"], rtol=0, atol=1e-5)
    assert [state.shape for state in batched.output["hidden_states"]] == [(8, 32, 8)] * 2
    tokens = 5  # of the second text
    pair = (result.output["hidden_states"][1][1, :tokens] for result in (batched, whole))
    np.testing.assert_allclose(*pair, rtol=0, atol=1e-5)
    shown = tasks.run_task(classifier, replace(asked, keep_values=False), FrameworkName.FLAX)
    assert as_json(*shown) == as_json(*batched)
    assert not any(isinstance(value, jax.Array) for value in shown.output.to_flat_dict().values())


def test_shapes_alone_are_joined_without_memory():
    parts = [FlaxTokenClassifierOutput(logits=jax.numpy.ones(size)) for size in ((2, 3, 2), (1, 2, 2))]
    joined = wing.join_shapes([wing.keep_shapes(part) for part in parts])
    assert (joined["logits"].shape, joined["logits"].dtype) == ((3, 3, 2), np.float32)
    assert joined["logits"].device == str(parts[0]["logits"].device)
    assert not isinstance(joined["logits"], jax.Array)


def test_a_head_that_is_missing_is_the_same_in_every_run(call: Call, classifier: str):
    arguments = ("run", "--model", classifier, "--task", "token-classification", "--text", "hello a", "--json")
    first, second = (call(*arguments, "--framework", "flax") for _ in range(2))
    assert first.out == second.out
    assert first.err.startswith("warning: FlaxBertForTokenClassification")


def test_bad_labels_are_one_line(call: Call, classifier: str):
    arguments = ("run", "--model", classifier, "--task", "sequence-classification", "--text", "a", "--label")
    done = call(*arguments, "7", "--framework", "flax")
    assert (done.status, done.err) == (1, "error: labels range from 7 to 7; expected 0 to 2, or -100\n")


# -- generate ---------------------------------------------------------------------------------------------------------


@pytest.fixture(name="generate")
def fixture_generate(call: Call) -> Call:
    return functools.partial(call, "generate")


@pytest.fixture(autouse=True, name="models")
def fixture_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands share models, and with them their compiled loops: tracing one takes longer than all else."""
    monkeypatch.setattr(wing, "load_language_model", load_once)


@functools.cache
def load_once(folder: Path) -> Any:
    model = load_language_model(folder)
    model.jit_calls = True
    return model


load_language_model = wing.load_language_model


@needs_torch
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gpt2", ("--prompt", "hello there", "--prompt", "")),
        ("gpt2", ("--prompt", "hello", "--num-beams", "3", "--length-penalty", "-2")),
        ("bart", ("--prompt", "hello there", "--prompt", "a", "--repetition-penalty", "3")),
    ],
    ids=["greedy", "beams", "encoder-decoder"],
)
def test_the_same_texts_as_in_pytorch(
    generate: Call, kind: str, options: tuple[str, ...], request: pytest.FixtureRequest
):
    arguments = ("--model", request.getfixturevalue(kind), *options, "--max-new-tokens", "7", "--json")
    theirs, ours = (generate(*arguments, "--framework", name) for name in ("torch", "flax"))
    assert (theirs.status, ours.status) == (0, 0), ours.err
    expected, found = json.loads(theirs.out)["results"], json.loads(ours.out)["results"]
    assert [result.pop("score", 0) for result in found] == pytest.approx(
        [result.pop("score", 0) for result in expected], rel=1e-4
    )
    assert found == expected
    assert any(len(set(result["tokens"])) > 1 for result in found)


def test_one_text_is_streamed_and_several_are_a_batch(gpt2: str, generate: Call, monkeypatch: pytest.MonkeyPatch):
    options = ("--model", gpt2, "--framework", "flax", "--max-new-tokens", "7", "--prompt", "hello")
    together = generate(*options, "--prompt", "a b")
    pieces: list[int] = []
    streamed, called = generate(*options), wing.generate

    def interrupted(*arguments: Any, on_tokens: Any, **others: Any) -> Any:
        def counted(tokens: Any) -> None:
            on_tokens(tokens)
            pieces.append(len(tokens))
            if len(pieces) == 3:
                raise KeyboardInterrupt

        return called(*arguments, on_tokens=counted, **others)

    monkeypatch.setattr(wing, "generate", interrupted)
    cut = generate(*options)
    assert together.out.startswith(streamed.out + "\na b")
    assert streamed.err.startswith("7 tokens in ")
    assert (cut.status, cut.err, pieces) == (130, "", [1, 1, 1])
    assert "hello" < cut.out.rstrip("\n") < streamed.out
    assert streamed.out.startswith(cut.out.rstrip("\n"))


def test_a_seed_decides_what_is_drawn(gpt2: str, generate: Call):
    options = ("--model", gpt2, "--framework", "flax", "--prompt", "a", "--do-sample", "--temperature", "5", "--json")

    def drawn(*seed: str) -> Any:
        return json.loads(generate(*options, "--max-new-tokens", "8", *seed).out)["results"][0]["tokens"]

    first = drawn("--seed", "1")
    assert drawn("--seed", "1") == first
    assert drawn("--seed", str(1 + 2**32)) != first  # not only the last 32 bits count
    assert drawn("--seed", str(-(2**63))) != drawn("--seed", str(2**64 - 1))
    assert drawn() != drawn()  # without one each text is another
    ids = np.array([GPT2Tokenizer.from_pretrained(gpt2)("a")["input_ids"]])
    settings = {"max_new_tokens": 8, "do_sample": True, "temperature": 5.0}
    expected = load_once(Path(gpt2)).generate(ids, prng_key=jax.random.PRNGKey(1), **settings)
    assert expected.new_tokens()[0].tolist() == first


def test_the_language_model_is_the_one_that_a_checkpoint_is(bart: str, tmp_path: Path):
    FlaxBertForMaskedLM(BertConfig(**SIZES)).save_pretrained(tmp_path / "bert")
    model = load_language_model(tmp_path / "bert")
    assert (type(model).__name__, model.config.is_decoder) == ("FlaxBertForCausalLM", True)
    assert type(load_language_model(Path(bart))).__name__ == "FlaxBartForConditionalGeneration"
    config = json.loads(Path(bart, "config.json").read_text()) | {"architectures": ["BartForCausalLM"]}
    for name, content in (("config.json", json.dumps(config)), ("model.safetensors", None)):
        target = tmp_path / name
        target.write_bytes(Path(bart, name).read_bytes()) if content is None else target.write_text(content)
    assert type(load_language_model(tmp_path)).__name__ == "FlaxBartForCausalLM"
