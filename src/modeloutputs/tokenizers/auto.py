"""Chooses the tokenizer class of a checkpoint from its files."""

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
# Names that other libraries save for any kind of tokenizer.json.
_ANY = ("PreTrainedTokenizerFast", "TokenizersBackend")


def load_tokenizer(
    name_or_path: str | os.PathLike[str], *, revision: str | None = None, **settings: Any
) -> PreTrainedTokenizer:
    """Load the tokenizer of a checkpoint, as the class that the checkpoint names.

    The class is `tokenizer_class` of tokenizer_config.json, with or without the suffix "Fast"; if that is missing or
    generic, the class for `model_type` of config.json.

    Args:
        name_or_path: checkpoint folder or hub id.
        revision: branch, tag or commit, of a hub id.
        **settings: those of the class's `from_pretrained`.

    Raises:
        CheckpointError: the checkpoint names no tokenizer class, or an unknown one.
        CheckpointNotFoundError: the folder or hub id does not exist, or has no tokenizer files.
        FileFormatError: a file is corrupt.
        InputError: a setting is unknown to the class, or its value is invalid.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "config.json").write_text('{"model_type": "bert"}')
        ...     _ = Path(folder, "vocab.txt").write_text("[UNK]\\n[CLS]\\n[SEP]\\n[PAD]\\n[MASK]\\nhello\\n")
        ...     tokenizer = load_tokenizer(folder, model_max_length=16)
        >>> type(tokenizer).__name__, tokenizer.encode("hello")
        ('BertTokenizer', [1, 5, 2])
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
        f"{str(folder)!r} names no tokenizer class: {CONFIG_FILE} has no tokenizer_class, and config.json no "
        f"model_type; load it with its class, one of {', '.join(cls.__name__ for cls in _CLASSES)}"
    )


def _entry(path: Path, key: str) -> str | None:
    value = read_json(path).get(key) if path.is_file() else None
    return None if value is None else str(value)


def _look_up(folder: Path, key: str, name: str, classes: Classes) -> type[PreTrainedTokenizer]:
    if name not in classes:
        raise CheckpointError(f"{str(folder)!r} has an unknown {key}, {name!r}{nearest(name, classes)}")
    return classes[name]
