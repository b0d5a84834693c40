"""Picks a checkpoint's tokenizer class by what its files say."""

import os
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, nearest
from ..files.checkpoints import find_checkpoint, read_json
from .bart import BartTokenizer
from .base import PreTrainedTokenizer
from .bert import BertTokenizer
from .files import CONFIG_FILE
from .gpt import OpenAIGPTTokenizer
from .gpt2 import GPT2Tokenizer
from .llama import LlamaTokenizer

__all__ = ["load_tokenizer"]

Classes = dict[str, type[PreTrainedTokenizer]]
_CLASSES: tuple[type[PreTrainedTokenizer], ...] = (
    BertTokenizer,
    OpenAIGPTTokenizer,
    GPT2Tokenizer,
    BartTokenizer,
    LlamaTokenizer,
)
_BY_TYPE: Classes = {cls.model_type: cls for cls in _CLASSES}
# The peer saves BART's tokenizer under RoBERTa's name.
_BY_NAME: Classes = {**{cls.__name__: cls for cls in _CLASSES}, "RobertaTokenizer": BartTokenizer}
# Names that other libraries save for whatever tokenizer.json holds.
_ANY = ("PreTrainedTokenizerFast", "TokenizersBackend")


def load_tokenizer(
    name_or_path: str | os.PathLike[str], *, revision: str | None = None, **settings: Any
) -> PreTrainedTokenizer:
    """Load the tokenizer of a checkpoint, of the class that the checkpoint names.

    That is `tokenizer_class` of tokenizer_config.json, with or without "Fast" at its end; where it names none, or one
    that stands for any, the class of config.json's `model_type`.

    Args:
        name_or_path: checkpoint folder or hub id.
        revision: branch, tag or commit, of a hub id.
        **settings: those of the class's `from_pretrained`.

    Raises:
        CheckpointError: the checkpoint names no tokenizer, or one that there is not here.
        CheckpointNotFoundError: no folder, no such id, or no tokenizer's files in it.
        FileFormatError: a file is corrupt.
        InputError: a setting that the class does not have, or of a value that cannot be.
    """
    folder = find_checkpoint(name_or_path, revision, weights=False)
    return _class_of(folder).from_pretrained(folder, **settings)


def _class_of(folder: Path) -> type[PreTrainedTokenizer]:
    name = _entry(folder / CONFIG_FILE, "tokenizer_class")
    if name is not None and name not in _ANY:
        return _look_up(folder, "tokenizer_class", name.removesuffix("Fast"), _BY_NAME)
    kind = _entry(folder / "config.json", "model_type")
    if kind is not None:
        return _look_up(folder, "model_type", kind, _BY_TYPE)
    raise CheckpointError(
        f"{str(folder)!r} does not tell its tokenizer's class, by tokenizer_class in {CONFIG_FILE} or model_type in "
        f"config.json; load it by its class, one of {', '.join(cls.__name__ for cls in _CLASSES)}"
    )


def _entry(path: Path, key: str) -> str | None:
    value = read_json(path).get(key) if path.is_file() else None
    return None if value is None else str(value)


def _look_up(folder: Path, key: str, name: str, classes: Classes) -> type[PreTrainedTokenizer]:
    if name not in classes:
        raise CheckpointError(f"{str(folder)!r} has {key} {name!r}, which there is not here{nearest(name, classes)}")
    return classes[name]
