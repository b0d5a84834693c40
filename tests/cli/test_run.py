"""`modeloutputs run` on tiny folders: which are taken, many texts, and what is checked before the model runs."""

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs import load  # noqa: E402
from modeloutputs.cli import batches, tasks  # noqa: E402
from modeloutputs.torch import (  # noqa: E402
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from .conftest import Call  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::modeloutputs.CheckpointWarning")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "a", "b", "c"]
SIZES: dict[str, Any] = {
    "vocab_size": 12,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 32,
}


@pytest.fixture(scope="module", name="bert")
def fixture_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(3)
    model = BertForSequenceClassification(BertConfig(**SIZES, id2label={0: "bad", 1: "good", 2: "odd"}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    return folder


def copied(folder: Path, target: Path, **config: Any) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    kept = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(kept | config))
    return target


# -- many texts -------------------------------------------------------------------------------------------------------

TEXTS = ["a b c", "", "hello world a b c a b", "c", "hello", "a " * 20, "b b", "world"]


def run_texts(call: Call, bert: Path, tmp_path: Path, *arguments: str) -> tuple[dict[str, Any], Any]:
    file, saved = tmp_path / "texts.txt", tmp_path / "out.safetensors"
    file.write_text("".join(f"{text}\n" for text in TEXTS))
    done = call("run", "--model", str(bert), "--file", str(file), "--save", str(saved), "--json", *arguments)
    assert (done.status, done.err.count("error")) == (0, 0)
    return json.loads(done.out), load(saved)


def test_batches_give_what_one_batch_gives(call: Call, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    labels = ["good", "0", "odd", "bad", "-100", "1", "2", "good"]
    arguments = ("--task", "sequence-classification", *(part for label in labels for part in ("--label", label)))
    (printed, whole), sizes = run_texts(call, bert, tmp_path, *arguments, "--hidden-states"), []
    assert len(printed["predictions"]) == len(TEXTS)
    assert len({tuple(row) for row in whole.logits.tolist()}) == len(TEXTS)
    monkeypatch.setattr(tasks, "MOST_TOKENS", 24)
    monkeypatch.setattr(tasks, "group_by_length", lambda *given: sizes.append(given) or batches.group_by_length(*given))
    batched, output = run_texts(call, bert, tmp_path, *arguments, "--hidden-states")
    assert len(batches.group_by_length(*sizes[0])) > 2
    assert batched["predictions"] == printed["predictions"]
    assert batched["fields"] == printed["fields"]
    assert batched["loss"] == pytest.approx(printed["loss"], rel=1e-5)
    torch.testing.assert_close(output.logits, whole.logits, rtol=0, atol=1e-5)
    for row, text in enumerate(TEXTS):
        tokens = len(text.split()) + 2
        torch.testing.assert_close(
            output.hidden_states[1][row, :tokens], whole.hidden_states[1][row, :tokens], rtol=0, atol=1e-5
        )


def test_without_a_file_to_save_only_shapes_are_kept(
    call: Call, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _, whole = run_texts(call, bert, tmp_path)
    monkeypatch.setattr(tasks, "MOST_TOKENS", 24)
    output, lines, _ = tasks.run_task(str(bert), tasks.Asked("features", TEXTS, keep_values=False))
    assert {name: value.shape for name, value in output.items()} == {name: value.shape for name, value in whole.items()}
    assert sum(value.untyped_storage().nbytes() for value in output.values()) == 4 * len(output)
    assert [line.partition(":")[0] for line in lines] == [tasks.predictions.quote(text) for text in TEXTS]


@pytest.mark.parametrize("task", ["masked-lm", "causal-lm", "token-classification", "next-sentence"])
def test_every_task_runs_in_batches(call: Call, bert: Path, task: str, monkeypatch: pytest.MonkeyPatch):
    asked = tasks.Asked(task, [f"{text} [MASK]" for text in TEXTS])
    monkeypatch.setattr(tasks, "MOST_TOKENS", 100)
    whole, lines, _ = tasks.run_task(str(bert), asked)
    monkeypatch.setattr(tasks, "MOST_TOKENS", 16)
    output, batched, _ = tasks.run_task(str(bert), asked)
    assert batched == lines
    assert output["logits"].shape == whole["logits"].shape


def test_an_id_that_is_no_token_is_shown_as_one(bert: Path):
    _, (line,), _ = tasks.run_task(str(bert), tasks.Asked("masked-lm", ["a [MASK]"]))
    shown = {part.split(" (")[0] for part in line.partition(": ")[2].split(", ")}
    assert len(shown) == 5
    assert shown <= {*WORDS, "id 10", "id 11"}


# -- which folders ----------------------------------------------------------------------------------------------------


def test_the_tokenizer_is_the_one_that_the_folder_names(call: Call, bert: Path, tmp_path: Path):
    folder = copied(bert, tmp_path / "named")
    for settings, named in (({"tokenizer_class": "BertJapaneseTokenizer"}, "BertJapaneseTokenizer"),):
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        done = call("run", "--model", str(folder), "--text", "hello")
        assert (done.status, done.err.count("\n")) == (1, 1)
        assert named in done.err
    (folder / "tokenizer_config.json").unlink()
    other = copied(bert, tmp_path / "config", tokenizer_class="BertJapaneseTokenizer")
    assert "BertJapaneseTokenizer" in call("run", "--model", str(other), "--text", "hello").err


def test_a_bert_with_bpe_is_cut_by_its_own_tokenizer(call: Call, bert: Path, tmp_path: Path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = copied(bert, tmp_path / "bpe")
    (folder / "vocab.txt").unlink()
    backend = Tokenizer(models.BPE({"h": 0, "e": 1, "l": 2, "o": 3, "he": 4, "ll": 5}, [("h", "e"), ("l", "l")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    done = call("run", "--model", str(folder), "--task", "token-classification", "--text", "hello", "--json")
    assert done.status == 0, done.err
    (line,) = json.loads(done.out)["predictions"]
    assert [pair.partition("/")[0] for pair in line.split()] == ["he", "ll", "o"]


@pytest.mark.parametrize("command", ["run", "generate"])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": {"model_type": "roberta"}}, "is a 'roberta' model (model_type in config.json)"),
        ({"config.json": {"model_type": "t5"}}, "is a 't5' model"),
        ({"config.json": {"model_type": "qwen2"}}, "supported are bart, bert, gpt2, llama, openai-gpt"),
        ({"adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "big"}}, "a LORA adapter of 'big'"),
        (
            {"config.json": {"model_type": "bert", "quantization_config": {"quant_method": "gptq"}}},
            "quantised by 'gptq'",
        ),
        ({"config.json": "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"}, "run `git lfs pull`"),
        ({}, "has no config.json"),
    ],
)
def test_a_folder_that_is_something_else_is_told_in_one_line(
    call: Call, bert: Path, tmp_path: Path, command: str, files: dict[str, Any], message: str
):
    for name, content in files.items():
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    text = "--text" if command == "run" else "--prompt"
    done = call(command, "--model", str(tmp_path), text, "a")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert message in done.err


def test_a_language_model_is_sent_to_generate(call: Call, tmp_path: Path):
    GPT2LMHeadModel(GPT2Config(vocab_size=12, n_embd=8, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    done = call("run", "--model", str(tmp_path), "--text", "a")
    assert done.status == 1
    assert "is a 'gpt2' model, and the tasks of `modeloutputs run` are those of 'bert' models" in done.err


# -- before the model runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--text", "a", "--save", "/no/where/out"), "error: folder '/no/where' does not exist"),
        (("--text", "a", "--save", "{tmp}"), "is a folder; pass the path of a file"),
        (("--text", "a", "--save", "/dev/null"), "is a device, pipe or socket"),
        (("--text", "a", "--max-length", "0"), "error: --max-length is 0; expected the number of tokens"),
        (("--file", "{tmp}/tabs"), "in some lines and not in line 2"),
        (("--file", "{tmp}"), "cannot be read: Is a directory"),
    ],
)
def test_arguments_are_checked_before_the_model_is_loaded(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "tabs").write_text("a\tb\n\nc\td\n")
    monkeypatch.setattr(tasks, "run_task", lambda *_: pytest.fail("the model ran"))
    done = call("run", "--model", "m", *(argument.format(tmp=tmp_path) for argument in arguments))
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert message in done.err
