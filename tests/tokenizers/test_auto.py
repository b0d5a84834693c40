"""Which class `load_tokenizer` picks."""

import json
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.errors import CheckpointError, CheckpointNotFoundError, FileFormatError, InputError
from modeloutputs.tokenizers import (
    BartTokenizer,
    BertTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    OpenAIGPTTokenizer,
    PreTrainedTokenizer,
    load_tokenizer,
)

from .tiny import BY_NAME, Kind, load_peer, write_config

CLASSES = {
    "bert": BertTokenizer,
    "gpt2 json": GPT2Tokenizer,
    "bart": BartTokenizer,
    "gpt files": OpenAIGPTTokenizer,
    "llama 3": LlamaTokenizer,
}
MODEL_TYPES = {"bert": "bert", "gpt2 json": "gpt2", "bart": "bart", "gpt files": "openai-gpt", "llama 3": "llama"}
every_class = pytest.mark.parametrize("name", CLASSES)


def make(folder: Path, name: str, model_type: str | None = None, **config: Any) -> Path:
    write_config(BY_NAME[name].write(folder), **config)
    if model_type is not None:
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


@every_class
@pytest.mark.parametrize("fast", ["", "Fast"])
def test_the_class_is_the_one_that_the_tokenizers_configuration_names(name: str, fast: str, tmp_path: Path) -> None:
    folder = make(tmp_path, name, "unheard", tokenizer_class=CLASSES[name].__name__ + fast)
    assert type(load_tokenizer(folder)) is CLASSES[name]


@every_class
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"tokenizer_class": "TokenizersBackend"},
        {"tokenizer_class": None},
    ],
)
def test_or_else_the_one_of_the_model(name: str, config: Any, tmp_path: Path) -> None:
    assert type(load_tokenizer(make(tmp_path, name, MODEL_TYPES[name], **config))) is CLASSES[name]


def test_what_is_saved_here_and_by_the_peer_tells_its_class(
    kind: Kind, folders: dict[str, Path], tmp_path: Path
) -> None:
    kind.cls.from_pretrained(folders[kind.name]).save_pretrained(tmp_path / "ours")
    assert type(load_tokenizer(tmp_path / "ours")) is kind.cls
    load_peer(kind.peer, folders[kind.name]).save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "config.json").write_text(json.dumps({"model_type": kind.cls.model_type}))
    assert type(load_tokenizer(tmp_path / "theirs")) is kind.cls


def test_settings_are_passed_on(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = make(tmp_path, "gpt2 json", "gpt2")
    assert load_tokenizer(str(folder), pad_token="<|endoftext|>").pad_token_id == 0
    with pytest.raises(InputError, match="tokenizers have no setting 'pad_tokn'; did you mean 'pad_token'"):
        load_tokenizer(folder, pad_tokn="x")


SUPPORTED = "supported without tokenizer.json are "


@pytest.mark.parametrize(
    ("config", "model_type", "message"),
    [
        (
            {"tokenizer_class": "BertJapaneseTokenizer"},
            "bert",
            f"has a tokenizer of class 'BertJapaneseTokenizer' (tokenizer_class in tokenizer_config.json) and no "
            f"tokenizer.json; {SUPPORTED}BartTokenizer, BertTokenizer",
        ),
        (
            {},
            "t5",
            f"is a 't5' model (model_type in config.json) and has no tokenizer.json; {SUPPORTED}the tokenizers of bart",
        ),
        (
            {},
            None,
            "names no tokenizer class: tokenizer_config.json has no tokenizer_class, and config.json no ",
        ),
        ({"tokenizer_class": "TokenizersBackend"}, None, "model_type; load it with its class, one of BertTokenizer, "),
    ],
)
def test_a_class_that_there_is_not_is_refused(
    config: Any, model_type: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_tokenizer(make(tmp_path, "bert", model_type, **config))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "did you mean" not in str(caught.value)


def test_a_class_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"^tokenizer_class in .*tokenizer_config\.json' is 5; expected a text$"):
        load_tokenizer(make(tmp_path, "bert", tokenizer_class=5))


@pytest.mark.parametrize("name", ["T5Tokenizer", "PreTrainedTokenizer", "Qwen2Tokenizer", None])
def test_a_tokenizer_json_of_any_kind_is_read_as_it_stands(name: str | None, tmp_path: Path) -> None:
    """Where its class is another library's, or generic."""
    tokenizer = load_tokenizer(make(tmp_path, "gpt2 json", "unheard", tokenizer_class=name, eos_token="!"))
    assert type(tokenizer) is PreTrainedTokenizer
    assert tokenizer("Hello!").input_ids == load_peer("PreTrainedTokenizerFast", tmp_path)("Hello!")["input_ids"]


def test_the_configuration_of_the_model_can_name_the_class(tmp_path: Path) -> None:
    folder = make(tmp_path, "bert")
    (folder / "config.json").write_text('{"model_type": "gpt2", "tokenizer_class": "BertTokenizer"}')
    assert type(load_tokenizer(folder)) is BertTokenizer


def test_the_file_tells_where_the_model_has_another_kind(tmp_path: Path) -> None:
    """A BERT with a byte-pair encoding."""
    tokenizer = load_tokenizer(make(tmp_path, "gpt2 json", "bert"))
    assert type(tokenizer) is PreTrainedTokenizer
    assert tokenizer.tokenize("Hello there") == load_peer("PreTrainedTokenizerFast", tmp_path).tokenize("Hello there")


@pytest.mark.parametrize(
    ("other", "name", "cls"),
    [
        ("CodeLlamaTokenizer", "llama 2", LlamaTokenizer),
        ("CodeLlamaTokenizerFast", "llama 3", LlamaTokenizer),
        ("RobertaTokenizerFast", "bart", BartTokenizer),
        ("DistilBertTokenizer", "bert", BertTokenizer),
    ],
)
def test_classes_of_the_same_kind_under_another_name(other: str, name: str, cls: type, tmp_path: Path) -> None:
    assert type(load_tokenizer(make(tmp_path, name, tokenizer_class=other))) is cls


def test_a_tokenizer_may_lie_in_a_subfolder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    make(tmp_path / "inner", "bert", "bert")
    for load in (load_tokenizer, BertTokenizer.from_pretrained):
        assert load(tmp_path, subfolder="inner")("hello").input_ids == [2, 5, 3]


def test_folders_that_hold_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="there is no folder"):
        load_tokenizer(tmp_path / "missing")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(CheckpointNotFoundError, match=r"has neither tokenizer\.json nor vocab\.json and merges\.txt$"):
        load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"config\.json' is not valid JSON"):
        load_tokenizer(tmp_path)


def test_an_adapter_of_another_model_says_so(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "gpt2"}')
    with pytest.raises(CheckpointError, match="holds a LORA adapter of 'gpt2'"):
        load_tokenizer(tmp_path)
