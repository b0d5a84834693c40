"""Base class of all tokenizers, over the `tokenizers` library: loading, saving, vocabulary, decoding."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..errors import CheckpointNotFoundError, FileFormatError, InputError, nearest
from ..files.atomic import atomic_path
from ..files.checkpoints import find_checkpoint
from .encoder import Encoder
from .encoding import Side
from .files import CHAT_TEMPLATE_FILE, CONFIG_FILE, TOKENIZER_FILE, add_tokens, read_settings, read_tokenizer
from .special import SPECIAL_TOKENS, read_token, register

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

__all__ = ["Config", "PreTrainedTokenizer", "Tokens", "check_ids"]

Config = dict[str, Any]
"""Entries of tokenizer_config.json, overridden by settings that were passed."""
Tokens = dict[str, "AddedToken"]
"""Special tokens by name, like pad_token."""

_MAX_ID = 2**32
_NO_LIMIT = 10**30  # stands for "no limit" in tokenizer_config.json
_SHARED_SETTINGS = ("model_max_length", "padding_side", "truncation_side", "chat_template", *SPECIAL_TOKENS)
# Entries of tokenizer_config.json that are dropped: paths, code, and what is saved elsewhere.
_DROPPED = {
    *("auto_map", "name_or_path", "tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file"),
    *("added_tokens_decoder", "tokenizer_class"),
    *_SHARED_SETTINGS,
}


class PreTrainedTokenizer(Encoder):
    """Base of the tokenizers; a subclass declares its special tokens, vocabulary files and settings.

    Attributes:
        backend: the `tokenizers.Tokenizer` that does the work.
        special_tokens_map: the text of each special token that is set; `pad_token` and its like read and set it.
        model_max_length: maximum number of tokens that the model accepts; None if unknown.
        padding_side, truncation_side: the side on which rows are padded and truncated.
        chat_template: from tokenizer_config.json or chat_template.jinja; kept for saving, not applied.
        other: all other entries of tokenizer_config.json, kept so that saving loses nothing.
    """

    model_type: ClassVar[str] = ""
    """`model_type` in config.json of the models that use this tokenizer."""
    backend_model: ClassVar[str | None] = None
    """Algorithm required in tokenizer.json; None accepts any."""
    default_special_tokens: ClassVar[Mapping[str, str | dict[str, Any]]] = {}
    """Token texts, or token descriptions as in tokenizer.json."""
    own_settings: ClassVar[tuple[str, ...]] = ()
    """Settings that `from_pretrained` accepts in addition to those of all tokenizers."""

    def __init__(
        self,
        backend: "Tokenizer",
        *,
        model_max_length: int | None = None,
        padding_side: Side | None = None,
        truncation_side: Side = "right",
        special_tokens: "Mapping[str, str | AddedToken] | None" = None,
        chat_template: Any = None,
        other: Mapping[str, Any] | None = None,
    ) -> None:
        tokens = {**self._own_tokens(backend), **(special_tokens or {})}
        texts = {name: token if isinstance(token, str) else token.content for name, token in tokens.items()}
        super().__init__(backend, texts, model_max_length, padding_side, truncation_side)
        register(backend, tokens.values())
        self.chat_template = chat_template
        self.other = dict(other or {})

    # -- loading ----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, revision: str | None = None, **settings: Any
    ) -> Self:
        """Load from a checkpoint folder or hub id that has tokenizer.json or this tokenizer's vocabulary files.

        Args:
            name_or_path: the folder, or the id.
            revision: branch, tag or commit, of a hub id.
            **settings: over those of tokenizer_config.json: `model_max_length`, `padding_side`, `truncation_side`,
                `chat_template`, special tokens like `pad_token`, and the class's `own_settings`.

        Raises:
            CheckpointNotFoundError: the folder or hub id does not exist, or has no tokenizer files.
            FileFormatError: a file is corrupt, or belongs to another type of tokenizer.
            InputError: a setting is unknown, or its value is invalid.

        Examples:
            >>> import tempfile
            >>> from pathlib import Path
            >>> from modeloutputs.tokenizers import BertTokenizer
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     _ = Path(folder, "vocab.txt").write_text("[UNK]\\n[CLS]\\n[SEP]\\n[PAD]\\n[MASK]\\nhello\\n")
            ...     tokenizer = BertTokenizer.from_pretrained(folder)
            >>> tokenizer("Hello").input_ids
            [1, 5, 2]
        """
        cls._check_settings(settings)
        folder = find_checkpoint(name_or_path, revision, weights=False)
        config: Config = {**read_settings(folder), **settings}
        backend, tokens = cls._read_backend(folder, config)
        limit = config.get("model_max_length")
        tokenizer = cls(
            backend,
            model_max_length=limit if isinstance(limit, int) and limit < 10**9 else None,
            padding_side=config.get("padding_side"),
            truncation_side=config.get("truncation_side") or "right",
            special_tokens=tokens,
            chat_template=config.get("chat_template"),
            other={name: value for name, value in config.items() if name not in _DROPPED},
        )
        tokenizer.model_input_names = tuple(config.get("model_input_names") or cls.model_input_names)
        return tokenizer

    @classmethod
    def _check_settings(cls, settings: Iterable[str]) -> None:
        known = (*_SHARED_SETTINGS, *cls.own_settings)
        for name in settings:
            if name not in known:
                raise InputError(f"tokenizers have no setting {name!r}{nearest(name, known)}")

    @classmethod
    def _read_backend(cls, folder: Path, config: Config) -> "tuple[Tokenizer, Tokens]":
        named = cls._named_tokens(config)
        if (folder / TOKENIZER_FILE).is_file():
            backend = read_tokenizer(folder / TOKENIZER_FILE)
            cls._check_model(backend, folder)
            tokens = {**cls._own_tokens(backend), **named}
            cls._apply_settings(backend, config, tokens)
            return backend, tokens
        tokens = {**cls._default_tokens(), **named}
        backend = cls._build_backend(folder, config, tokens)
        add_tokens(backend, folder, config)
        lost = [token.content for token in tokens.values() if backend.token_to_id(token.content) is None]
        if lost:
            raise FileFormatError(f"the vocabulary lacks the special tokens {', '.join(dict.fromkeys(lost))}")
        cls._add_special_tokens(backend, config, tokens)
        return backend, tokens

    @classmethod
    def _check_model(cls, backend: "Tokenizer", folder: Path) -> None:
        found = type(backend.model).__name__
        if cls.backend_model not in (None, found):
            raise FileFormatError(
                f"{str(folder / TOKENIZER_FILE)!r} holds a tokenizer of type {found}, but {cls.__name__} needs "
                f"{cls.backend_model}; load it with load_tokenizer, or with its own class"
            )

    # -- for subclasses --------------------------------------------------------------------------------------------

    @classmethod
    def _build_backend(cls, folder: Path, config: Config, tokens: Tokens) -> "Tokenizer":
        """Build a backend from the vocabulary files in a folder, without special tokens around texts.

        Raises:
            CheckpointNotFoundError: the files are missing.
        """
        raise CheckpointNotFoundError(f"{str(folder)!r} has no {TOKENIZER_FILE}; {cls.__name__} loads no other form")

    @classmethod
    def _add_special_tokens(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        """Make a newly built backend put special tokens around texts."""

    @classmethod
    def _apply_settings(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        """Apply settings that override tokenizer.json."""

    def _saved_settings(self) -> Config:
        """Return the current `own_settings`, for tokenizer_config.json."""
        return {}

    def _vocabulary_files(self) -> dict[str, str]:
        """Return the files saved beside tokenizer.json, by name: those that `_build_backend` reads."""
        return {}

    # -- special tokens ---------------------------------------------------------------------------------------------

    @classmethod
    def _default_tokens(cls) -> Tokens:
        return {name: read_token(name, value) for name, value in cls.default_special_tokens.items()}

    @classmethod
    def _own_tokens(cls, backend: "Tokenizer") -> Tokens:
        """Return those special tokens of the class that are in the backend's vocabulary."""
        tokens = cls._default_tokens().items()
        return {name: token for name, token in tokens if backend.token_to_id(token.content) is not None}

    @classmethod
    def _named_tokens(cls, config: Config) -> Tokens:
        """Return the special tokens named in a configuration; a plain text gets the flags that the class gives it."""
        own = {token.content: token for token in cls._default_tokens().values()}
        named = {name: read_token(name, config[name]) for name in SPECIAL_TOKENS if config.get(name)}
        alone = {name for name in named if isinstance(config[name], str)}
        return {name: own.get(token.content, token) if name in alone else token for name, token in named.items()}

    # -- saving -----------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, the vocabulary files and tokenizer_config.json, which other libraries read too.

        Each file is written atomically. An existing chat_template.jinja in the folder is updated, because readers
        prefer it to tokenizer_config.json.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        contents = {
            TOKENIZER_FILE: self.backend.to_str(pretty=True),
            **self._vocabulary_files(),
            CONFIG_FILE: json.dumps(self._config(), indent=2, sort_keys=True) + "\n",
        }
        if isinstance(self.chat_template, str) and (target / CHAT_TEMPLATE_FILE).is_file():
            contents[CHAT_TEMPLATE_FILE] = self.chat_template
        for name, text in contents.items():
            with atomic_path(target / name) as path:
                path.write_text(text, encoding="utf-8", newline="")

    def _config(self) -> Config:
        return {
            **self.other,
            "tokenizer_class": type(self).__name__,
            "model_max_length": self.model_max_length or _NO_LIMIT,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            **({} if self.chat_template is None else {"chat_template": self.chat_template}),
            **self._saved_settings(),
            **self.special_tokens_map,
        }

    # -- vocabulary -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.backend.get_vocab_size(with_added_tokens=True)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, without those added later."""
        return self.backend.get_vocab_size(with_added_tokens=False)

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str | None]:
        """Return the tokens of ids; None for ids outside the vocabulary."""
        return [self.backend.id_to_token(int(i)) if 0 <= i < _MAX_ID else None for i in ids]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """Return the ids of tokens; the id of the unknown token for tokens outside the vocabulary.

        Raises:
            InputError: a token is not in the vocabulary, and the tokenizer has no unknown token.
        """
        return [self._id_of(token) for token in tokens]

    def _id_of(self, token: str) -> int:
        number = self.backend.token_to_id(token)
        number = self.unk_token_id if number is None else number
        if number is None:
            raise InputError(f"{token!r} is not in the vocabulary, and the tokenizer has no unk_token")
        return number

    # -- decoding --------------------------------------------------------------------------------------------------

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of token ids; ids outside the vocabulary are skipped.

        Raises:
            InputError: an id is negative, such as -100 in labels.

        Examples:
            >>> from tokenizers import Tokenizer, models
            >>> backend = Tokenizer(models.WordLevel({"hello": 0, "world": 1}, unk_token="hello"))
            >>> PreTrainedTokenizer(backend).decode([0, 1, 99])
            'hello world'
        """
        return self.backend.decode(check_ids(ids), skip_special_tokens=skip_special_tokens)

    def batch_decode(self, rows: Iterable[Iterable[int]], *, skip_special_tokens: bool = False) -> list[str]:
        """Return the text of each row of ids."""
        return [self.decode(row, skip_special_tokens=skip_special_tokens) for row in rows]


def check_ids(ids: Iterable[int]) -> list[int]:
    """Return ids of any integer type as a list of Python integers.

    Raises:
        InputError: an id is negative, or exceeds the range of the backend.
    """
    numbers = [int(i) for i in ids]
    if min(numbers, default=0) < 0 or max(numbers, default=0) >= _MAX_ID:
        wrong = next(i for i in numbers if not 0 <= i < _MAX_ID)
        raise InputError(f"{wrong} is not a token id; remove ids like -100 before decoding")
    return numbers
