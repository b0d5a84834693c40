"""Chooses the tokenizer class of a checkpoint from its files."""

import os
from pathlib import Path
from typing import Any, cast

from ..errors import CheckpointError, FileFormatError
from ..files.checkpoints import find_checkpoint, read_json
from ..files.folders import check_folder
from .bart import BartTokenizer
from .base import PreTrainedTokenizer
from .bert import BertTokenizer
from .files import TOKENIZER_FILE
from .gpt import OpenAIGPTTokenizer
from .gpt2 import GPT2Tokenizer
from .llama import LlamaTokenizer
from .settings import CONFIG_FILE

__all__ = ["load_tokenizer"]

Class = type[PreTrainedTokenizer]
_CLASSES: tuple[Class, ...] = (BertTokenizer, OpenAIGPTTokenizer, GPT2Tokenizer, BartTokenizer, LlamaTokenizer)
# Kinds that tokenize exactly as one of ours does.
_BY_TYPE: dict[str, Class] = {
    **{cls.model_type: cls for cls in _CLASSES},
    **dict.fromkeys(("distilbert", "electra", "mobilebert"), BertTokenizer),
    "roberta": BartTokenizer,
}
_BY_NAME: dict[str, Class] = {
    **{cls.__name__: cls for cls in _CLASSES},
    **dict.fromkeys(("DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer"), BertTokenizer),
    "RobertaTokenizer": BartTokenizer,
    "CodeLlamaTokenizer": LlamaTokenizer,
}
# Names that other libraries save for any kind of tokenizer.json.
_ANY = ("PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend")


def load_tokenizer(
    name_or_path: str | os.PathLike[str], *, revision: str | None = None, subfolder: str = "", **settings: Any
) -> PreTrainedTokenizer:
    """Load the tokenizer of a checkpoint, as the class that the checkpoint names.

    The class is `tokenizer_class` of tokenizer_config.json or else of config.json, with or without the suffix "Fast";
    if that is missing or generic, the class for `model_type` of config.json. A tokenizer.json of another kind than that
    class, or of a class that there is not here, is read as it stands, by `PreTrainedTokenizer`.

    Args:
        name_or_path: checkpoint folder or hub id.
        revision: branch, tag or commit, of a hub id.
        subfolder: where in the folder or hub id the tokenizer lies.
        **settings: those of the class's `from_pretrained`.

    Raises:
        CheckpointError: there is no tokenizer.json, and the class named is none of ours, or none is named.
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
    folder = find_checkpoint(name_or_path, revision, weights=False, subfolder=subfolder)
    return _class_of(folder).from_pretrained(folder, **settings)


def _class_of(folder: Path) -> Class:
    path = folder / TOKENIZER_FILE
    whole = _algorithm(path) if path.is_file() else None
    found, refusal = _named(folder)
    if found is None:
        if whole is None:
            if not (folder / "config.json").exists():
                check_folder(folder, weights=False)  # an adapter of another model says so
            raise CheckpointError(refusal)
        return PreTrainedTokenizer
    return PreTrainedTokenizer if whole and found.backend_model not in (None, whole) else found


def _named(folder: Path) -> tuple[Class | None, str]:
    """Return the class that a folder names, or None and what to say if there is no tokenizer.json either."""
    supported = f"supported without {TOKENIZER_FILE} are"
    for path in (folder / CONFIG_FILE, folder / "config.json"):
        name = _entry(path, "tokenizer_class")
        if name is not None and name not in _ANY:
            return _BY_NAME.get(name.removesuffix("Fast")), (
                f"{str(folder)!r} has a tokenizer of class {name!r} (tokenizer_class in {path.name}) and no "
                f"{TOKENIZER_FILE}; {supported} {', '.join(sorted(_BY_NAME))}"
            )
    kind = _entry(folder / "config.json", "model_type")
    if kind is not None:
        return _BY_TYPE.get(kind), (
            f"{str(folder)!r} is a {kind!r} model (model_type in config.json) and has no {TOKENIZER_FILE}; "
            f"{supported} the tokenizers of {', '.join(sorted(_BY_TYPE))}"
        )
    return None, (
        f"{str(folder)!r} names no tokenizer class: {CONFIG_FILE} has no tokenizer_class, and config.json no "
        f"model_type; load it with its class, one of {', '.join(cls.__name__ for cls in _CLASSES)}"
    )


def _entry(path: Path, key: str) -> str | None:
    value = read_json(path).get(key) if path.is_file() else None
    if value is not None and not isinstance(value, str):
        raise FileFormatError(f"{key} in {str(path)!r} is {value!r:.80}; expected a text")
    return value


def _algorithm(path: Path) -> str:
    """Return the type of the model in a tokenizer.json, which older files leave to be told by what it holds."""
    model: Any = read_json(path).get("model")
    entries = cast("dict[str, Any]", model) if isinstance(model, dict) else {}
    if isinstance(entries.get("type"), str):
        return entries["type"]
    if "merges" in entries:
        return "BPE"
    return "WordPiece" if "continuing_subword_prefix" in entries else "Unigram" if "unk_id" in entries else "WordLevel"
