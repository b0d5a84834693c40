"""`modeloutputs generate`, on a tiny GPT-2 and a tiny BART: what is written, when, and what is refused."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import functools
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from typer.testing import CliRunner

from modeloutputs.cli import app
from modeloutputs.tokenizers import BartTokenizer, BertTokenizer, GPT2Tokenizer, LlamaTokenizer, PreTrainedTokenizer
from modeloutputs.torch import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from ..tokenizers.tiny import BART_TOKENS, bytes_bpe, llama2_bpe, write_bpe, write_json, write_vocabulary
from ..torch.tiny import BART_SIZES, GPT_SIZES, LLAMA_SIZES, SIZES, randomise
from .conftest import Call

SUMMARY = re.compile(r"\d+ tokens in \d+\.\d\d s, \d+\.\d tokens/s\n")


def save(folder: Path, model: Any, tokenizer: PreTrainedTokenizer) -> str:
    randomise(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(name="gpt2", scope="module")
def fixture_gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = GPT2Tokenizer.from_pretrained(write_json(bytes_bpe("<|endoftext|>"), folder))
    end = tokenizer.eos_token_id
    config = GPT2Config(**{**GPT_SIZES, "vocab_size": len(tokenizer), "bos_token_id": end, "eos_token_id": end})
    return save(folder, GPT2LMHeadModel(config), tokenizer)


@pytest.fixture(name="bart", scope="module")
def fixture_bart(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bart")
    tokenizer = BartTokenizer.from_pretrained(write_bpe(bytes_bpe(*BART_TOKENS), folder))
    return save(
        folder, BartForConditionalGeneration(BartConfig(**{**BART_SIZES, "vocab_size": len(tokenizer)})), tokenizer
    )


class Recorded(io.StringIO):
    """A stream that keeps what had been written at each flush."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal
        self.flushed: list[str] = []

    def isatty(self) -> bool:
        return self.terminal

    def flush(self) -> None:
        if not self.flushed or self.flushed[-1] != self.getvalue():
            self.flushed.append(self.getvalue())


@pytest.fixture(name="generate")
def fixture_generate(call: Call) -> Call:
    return functools.partial(call, "generate")


def expected(folder: str, prompt: str, **options: Any) -> list[int]:
    model = GPT2LMHeadModel.from_pretrained(folder)
    ids = torch.tensor([GPT2Tokenizer.from_pretrained(folder)(prompt)["input_ids"]])
    return model.generate(ids, **options).new_tokens()[0].tolist()


def text_of(folder: str, ids: list[int]) -> str:
    return GPT2Tokenizer.from_pretrained(folder).decode(ids, skip_special_tokens=True)


# -- what is written --------------------------------------------------------------------------------------------------


def test_a_prompt_and_what_comes_of_it(gpt2: str, generate: Call):
    done = generate("--model", gpt2, "--prompt", "hello there", "--max-new-tokens", "12")
    new = expected(gpt2, "hello there", max_new_tokens=12)
    ids = GPT2Tokenizer.from_pretrained(gpt2)("hello there")["input_ids"]
    assert done.out == text_of(gpt2, [*ids, *new]) + "\n"
    assert done.status == 0
    assert SUMMARY.fullmatch(done.err)
    assert done.err.startswith(f"{len(new)} tokens in ")


def test_the_same_through_typers_runner(gpt2: str):
    result = CliRunner().invoke(app, ["generate", "--model", gpt2, "--prompt", "hello", "--max-new-tokens", "3"])
    assert result.exit_code == 0
    new = expected(gpt2, "hello", max_new_tokens=3)
    assert result.stdout == "hello" + text_of(gpt2, new) + "\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_text_is_written_as_it_comes(gpt2: str, generate: Call, monkeypatch: pytest.MonkeyPatch, terminal: bool):
    stream = Recorded(terminal=terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    generate("--model", gpt2, "--prompt", "hello", "--max-new-tokens", "9", "--repetition-penalty", "3")
    new = expected(gpt2, "hello", max_new_tokens=9, repetition_penalty=3.0)
    prompt = "\x1b[2mhello\x1b[0m" if terminal else "hello"
    assert stream.getvalue() == prompt + text_of(gpt2, new) + "\n"
    assert stream.flushed[0] == prompt
    assert len(stream.flushed) > 4
    assert all(later.startswith(earlier) for earlier, later in zip(stream.flushed, stream.flushed[1:], strict=False))


def test_several_prompts_are_one_batch(gpt2: str, generate: Call):
    done = generate(
        "--model", gpt2, "--prompt", "hello there my friend", "--prompt", "a", "--max-new-tokens", "5"
    )  # fmt: skip
    texts = [
        prompt + text_of(gpt2, expected(gpt2, prompt, max_new_tokens=5)) for prompt in ("hello there my friend", "a")
    ]
    assert done.out == f"{texts[0]}\n\n{texts[1]}\n"
    assert SUMMARY.fullmatch(done.err)


def test_prompts_from_a_file_and_from_standard_input(gpt2: str, generate: Call, tmp_path: Path):
    (tmp_path / "prompts.txt").write_text("hello\n\n  \na b\n", encoding="utf-8")
    options = ("--model", gpt2, "--max-new-tokens", "4")
    typed = generate(*options, "--prompt", "hello", "--prompt", "", "--prompt", "  ", "--prompt", "a b")
    assert generate(*options, "--file", str(tmp_path / "prompts.txt")).out == typed.out
    assert generate(*options, "--file", "-", stdin="hello\n\n  \na b\n").out == typed.out
    assert generate(*options, "--file", "-", stdin="hello").out == generate(*options, "--prompt", "hello").out


def test_json(gpt2: str, generate: Call):
    done = generate("--model", gpt2, "--prompt", "hello", "--prompt", "a", "--max-new-tokens", "5", "--json")
    printed = json.loads(done.out)
    assert printed.keys() == {"results", "seconds"}
    for result, prompt in zip(printed["results"], ("hello", "a"), strict=True):
        new = expected(gpt2, prompt, max_new_tokens=5)
        assert result == {"prompt": prompt, "text": text_of(gpt2, new), "tokens": new}


def test_beams_have_a_score(gpt2: str, generate: Call):
    options = ("--model", gpt2, "--prompt", "hello", "--max-new-tokens", "5", "--num-beams", "3")
    new = expected(gpt2, "hello", max_new_tokens=5, num_beams=3, length_penalty=-2.0)
    (result,) = json.loads(generate(*options, "--length-penalty", "-2", "--json").out)["results"]
    assert result["tokens"] == new
    assert result["score"] < 0
    assert generate(*options, "--length-penalty", "-2").out == "hello" + text_of(gpt2, new) + "\n"


def test_a_seed_decides_what_is_drawn(gpt2: str, generate: Call):
    options = (
        "--model", gpt2, "--prompt", "hello", "--max-new-tokens", "12", "--do-sample", "--temperature", "1.5",
        "--top-k", "200", "--top-p", "0.99", "--min-p", "0.0001",
    )  # fmt: skip
    first = generate(*options, "--seed", "1").out
    assert generate(*options, "--seed", "1").out == first
    assert generate(*options, "--seed", "2").out != first
    new = expected(
        gpt2, "hello", max_new_tokens=12, do_sample=True, temperature=1.5, top_k=200, top_p=0.99, min_p=0.0001,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert first == "hello" + text_of(gpt2, new) + "\n"


def test_stop_ends_a_text(gpt2: str, generate: Call):
    whole = expected(gpt2, "hello", max_new_tokens=20, repetition_penalty=3.0)
    pieces = [text_of(gpt2, [token]) for token in whole]
    stop = next(piece for piece in pieces[2:] if "\N{REPLACEMENT CHARACTER}" not in piece)
    options = ("--model", gpt2, "--prompt", "hello", "--max-new-tokens", "20", "--repetition-penalty", "3")
    (result,) = json.loads(generate(*options, "--stop", "@never@", "--stop", stop, "--json").out)["results"]
    assert result["tokens"] == whole[: pieces.index(stop) + 1]


def test_an_empty_prompt_starts_from_nothing(gpt2: str, generate: Call):
    done = generate("--model", gpt2, "--prompt", "", "--max-new-tokens", "4", "--json")
    end = GPT2Tokenizer.from_pretrained(gpt2).eos_token_id
    model = GPT2LMHeadModel.from_pretrained(gpt2)
    new = model.generate(torch.tensor([[end]]), max_new_tokens=4).new_tokens()[0].tolist()
    assert json.loads(done.out)["results"][0]["tokens"] == new


def test_bart_answers(bart: str, generate: Call):
    model, tokenizer = BartForConditionalGeneration.from_pretrained(bart), BartTokenizer.from_pretrained(bart)
    options = ("--model", bart, "--max-new-tokens", "6")
    texts: list[str] = []
    for prompt in ("hello there", "a b c d e"):
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        assert ids[0, -1] == tokenizer.eos_token_id  # what is read is whole
        new = model.generate(ids, max_new_tokens=6).new_tokens()[0]
        texts.append(tokenizer.decode(new, skip_special_tokens=True) + "\n")
        assert generate(*options, "--prompt", prompt).out == texts[-1]
    assert generate(*options, "--prompt", "hello there", "--prompt", "a b c d e").out == "\n".join(texts)


def test_bert_goes_on_from_an_open_text(generate: Call, tmp_path: Path):
    tokenizer = BertTokenizer.from_pretrained(write_vocabulary(tmp_path))
    folder = save(tmp_path, BertForMaskedLM(BertConfig(**{**SIZES, "vocab_size": len(tokenizer)})), tokenizer)
    done = generate("--model", folder, "--prompt", "hello world", "--max-new-tokens", "3", "--json")
    assert done.status == 0, done.err
    ids = torch.tensor([tokenizer("hello world")["input_ids"][:-1]])  # without [SEP]
    model = BertLMHeadModel.from_pretrained(folder, is_decoder=True)
    assert (
        json.loads(done.out)["results"][0]["tokens"] == model.generate(ids, max_new_tokens=3).new_tokens()[0].tolist()
    )
    (nothing,) = json.loads(generate("--model", folder, "--prompt", "", "--max-new-tokens", "3", "--json").out)[
        "results"
    ]
    first = torch.tensor([[tokenizer.cls_token_id]])
    assert nothing["tokens"] == model.generate(first, max_new_tokens=3).new_tokens()[0].tolist()


def test_llamas_spaces_and_bytes_come_as_they_are(generate: Call, tmp_path: Path):
    tokenizer = LlamaTokenizer.from_pretrained(write_json(llama2_bpe(), tmp_path))
    config = LlamaConfig(**{**LLAMA_SIZES, "vocab_size": len(tokenizer)})
    folder = save(tmp_path, LlamaForCausalLM(config), tokenizer)
    for seed in map(str, range(6)):
        options = ("--model", folder, "--max-new-tokens", "20", "--do-sample", "--seed", seed)
        (result,) = json.loads(generate(*options, "--prompt", "hello", "--json").out)["results"]
        ids = tokenizer("hello")["input_ids"]
        whole = tokenizer.decode([*ids, *result["tokens"]], skip_special_tokens=True)
        assert generate(*options, "--prompt", "hello").out == whole + "\n"
        assert "hello" + result["text"] == whole


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no prompt was given; pass --prompt, or --file with a path or - for standard input"),
        (("--prompt", "a", "--file", "-"), "--file was given together with --prompt; use one of them"),
        (("--file", "/nowhere/at/all"), "'/nowhere/at/all' cannot be read: No such file or directory"),
        (("--file", "-"), "'-' holds no text"),
        (("--prompt", "a", "--top-p", "1.5", "--do-sample"), "top_p is 1.5; expected a number above 0 and at most 1"),
        (("--prompt", "a", "--top-p", "0.5"), "top_p only affects sampling; pass do_sample=True"),
        (("--prompt", "a", "--seed", str(10**23)), f"--seed is {10**23}; expected -9223372036854775808 to 18446"),
        (("--prompt", "a", "--length-penalty", "2"), "length_penalty only affects beam search; pass num_beams"),
        (("--prompt", "a", "--max-new-tokens", "0"), "max_new_tokens is 0; expected a positive integer"),
        (("--prompt", "a", "--max-new-tokens", "99"), "a prompt of 1 and 99 new tokens exceed the model's"),
        (("--prompt", "a", "--prompt", "b", "--num-beams", "0"), "num_beams is 0; expected a positive integer"),
    ],
)
def test_errors_are_one_line(gpt2: str, generate: Call, arguments: tuple[str, ...], message: str):
    done = generate("--model", gpt2, *arguments)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"error: {message}")
    assert done.err.count("\n") == 1


def test_a_model_that_there_is_not(generate: Call, tmp_path: Path):
    done = generate("--model", str(tmp_path), "--prompt", "a")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


def test_settings_are_refused_before_weights_are_read(gpt2: str, generate: Call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(GPT2LMHeadModel, "from_pretrained", lambda *_, **__: pytest.fail("the weights were read"))
    assert generate("--model", gpt2, "--prompt", "a", "--num-beams", "0").status == 1


@pytest.mark.parametrize("after", [0, 3])
def test_ctrl_c_ends_the_line_and_says_nothing(gpt2: str, generate: Call, monkeypatch: pytest.MonkeyPatch, after: int):
    calls: list[int] = []
    decode = GPT2LMHeadModel.decode_step

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return decode(*arguments)

    monkeypatch.setattr(GPT2LMHeadModel, "decode_step", interrupted)
    done = generate("--model", gpt2, "--prompt", "hello", "--max-new-tokens", "9")
    assert (done.status, done.err) == (130, "")
    assert done.out.startswith("hello" if after else "\n")
    assert done.out.endswith("\n")


def test_help_names_every_option():
    shown = CliRunner().invoke(app, ["generate", "--help"], env={"COLUMNS": "200"}).stdout
    for name in (
        "model", "prompt", "file", "max-new-tokens", "num-beams", "do-sample", "temperature", "top-k", "top-p",
        "min-p", "repetition-penalty", "length-penalty", "seed", "stop", "json", "framework",
    ):  # fmt: skip
        assert f"--{name}" in shown
