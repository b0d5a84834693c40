"""What every tokenizer does, over the `tokenizers` library: loading and saving, the vocabulary, ids back to text."""

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
"""What tokenizer_config.json says, and over it the settings that were passed."""
Tokens = dict[str, "AddedToken"]
"""Special tokens by name, like pad_token."""

_MAX_ID = 2**32
_NO_LIMIT = 10**30  # how tokenizer_config.json says that no text is too long
_SHARED_SETTINGS = ("model_max_length", "padding_side", "truncation_side", "chat_template", *SPECIAL_TOKENS)
# Entries of tokenizer_config.json that are not kept: its folder's paths and code, and what is saved otherwise.
_NOT_KEPT = {
    *("auto_map", "name_or_path", "tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file"),
    *("added_tokens_decoder", "tokenizer_class"),
    *_SHARED_SETTINGS,
}


class PreTrainedTokenizer(Encoder):
    """Base of the tokenizers; a subclass states its special tokens, and what its vocabulary files and settings mean.

    Attributes:
        backend: the `tokenizers.Tokenizer` that does the work.
        special_tokens_map: the text of each special token that is set; `pad_token` and its like read and set it.
        model_max_length: the most tokens that the model takes, None where that is not known.
        padding_side, truncation_side: where rows are padded and cut off.
        chat_template: what tokenizer_config.json or chat_template.jinja says, kept for saving and not applied.
        other: further entries of tokenizer_config.json, kept so that saving loses nothing.
    """

    model_type: ClassVar[str] = ""
    """What config.json calls the models that it belongs to."""
    backend_model: ClassVar[str | None] = None
    """The algorithm that a tokenizer.json has to hold, None where any will do."""
    default_special_tokens: ClassVar[Mapping[str, str | dict[str, Any]]] = {}
    """Texts, or descriptions as in tokenizer.json."""
    particular_settings: ClassVar[tuple[str, ...]] = ()
    """What `from_pretrained` takes beyond the settings of all tokenizers."""

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
                `chat_template`, special tokens like `pad_token`, and the class's `particular_settings`.

        Raises:
            CheckpointNotFoundError: no folder, no such id, or no such files in it.
            FileFormatError: a file is corrupt, or another tokenizer's.
            InputError: a setting that there is not, or of a value that cannot be.
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
            other={name: value for name, value in config.items() if name not in _NOT_KEPT},
        )
        tokenizer.model_input_names = tuple(config.get("model_input_names") or cls.model_input_names)
        return tokenizer

    @classmethod
    def _check_settings(cls, settings: Iterable[str]) -> None:
        known = (*_SHARED_SETTINGS, *cls.particular_settings)
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
            cls._adjust(backend, config, tokens)
            return backend, tokens
        tokens = {**cls._default_tokens(), **named}
        backend = cls._assemble(folder, config, tokens)
        add_tokens(backend, folder, config)
        lost = [token.content for token in tokens.values() if backend.token_to_id(token.content) is None]
        if lost:
            raise FileFormatError(f"the vocabulary lacks the special tokens {', '.join(dict.fromkeys(lost))}")
        cls._frame(backend, config, tokens)
        return backend, tokens

    @classmethod
    def _check_model(cls, backend: "Tokenizer", folder: Path) -> None:
        found = type(backend.model).__name__
        if cls.backend_model not in (None, found):
            raise FileFormatError(
                f"{str(folder / TOKENIZER_FILE)!r} holds a tokenizer of type {found}, and {cls.__name__} is of type "
                f"{cls.backend_model}; load it with load_tokenizer, or by the class that it is of"
            )

    # -- what subclasses say ----------------------------------------------------------------------------------------

    @classmethod
    def _assemble(cls, folder: Path, config: Config, tokens: Tokens) -> "Tokenizer":
        """Build a backend from a folder's vocabulary files, all but what `_frame` does.

        Raises:
            CheckpointNotFoundError: there are no such files.
        """
        raise CheckpointNotFoundError(f"{str(folder)!r} has no {TOKENIZER_FILE}; {cls.__name__} loads no other form")

    @classmethod
    def _frame(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        """Have a backend that was just built put special tokens around texts."""

    @classmethod
    def _adjust(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        """Have settings win over tokenizer.json."""

    def _settings(self) -> Config:
        """Return the `particular_settings` as they are, for tokenizer_config.json."""
        return {}

    def _vocabulary_files(self) -> dict[str, str]:
        """Return what is saved beside tokenizer.json, by file name: what `_assemble` reads."""
        return {}

    # -- special tokens ---------------------------------------------------------------------------------------------

    @classmethod
    def _default_tokens(cls) -> Tokens:
        return {name: read_token(name, value) for name, value in cls.default_special_tokens.items()}

    @classmethod
    def _own_tokens(cls, backend: "Tokenizer") -> Tokens:
        """Return the class's special tokens that a backend has."""
        tokens = cls._default_tokens().items()
        return {name: token for name, token in tokens if backend.token_to_id(token.content) is not None}

    @classmethod
    def _named_tokens(cls, config: Config) -> Tokens:
        """Return the special tokens that a configuration names; a text alone has the flags that the class gives it."""
        own = {token.content: token for token in cls._default_tokens().values()}
        named = {name: read_token(name, config[name]) for name in SPECIAL_TOKENS if config.get(name)}
        alone = {name for name in named if isinstance(config[name], str)}
        return {name: own.get(token.content, token) if name in alone else token for name, token in named.items()}

    # -- saving -----------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, the vocabulary files and tokenizer_config.json, which other libraries read too.

        Each file is written atomically. Where the folder has a chat_template.jinja, which readers prefer to
        tokenizer_config.json, it is made to say the same.
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
            **self._settings(),
            **self.special_tokens_map,
        }

    # -- vocabulary -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.backend.get_vocab_size(with_added_tokens=True)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, those added later not counted."""
        return self.backend.get_vocab_size(with_added_tokens=False)

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str | None]:
        """Return the tokens that ids stand for, None for ids outside the vocabulary."""
        return [self.backend.id_to_token(int(i)) if 0 <= i < _MAX_ID else None for i in ids]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """Return the ids of tokens, the unknown token's for those that are none.

        Raises:
            InputError: one is none, and there is no unknown token.
        """
        return [self._id_of(token) for token in tokens]

    def _id_of(self, token: str) -> int:
        number = self.backend.token_to_id(token)
        number = self.unk_token_id if number is None else number
        if number is None:
            raise InputError(f"{token!r} is not in the vocabulary, and the tokenizer has no unk_token to stand for it")
        return number

    # -- back to text -----------------------------------------------------------------------------------------------

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text that ids stand for; ids beyond the vocabulary stand for none.

        Raises:
            InputError: a negative id, such as the -100 of labels that losses ignore.
        """
        return self.backend.decode(check_ids(ids), skip_special_tokens=skip_special_tokens)

    def batch_decode(self, rows: Iterable[Iterable[int]], *, skip_special_tokens: bool = False) -> list[str]:
        """Return the text of each row of ids."""
        return [self.decode(row, skip_special_tokens=skip_special_tokens) for row in rows]


def check_ids(ids: Iterable[int]) -> list[int]:
    """Return ids, of whatever integer type, as a list of Python's.

    Raises:
        InputError: one is negative, or more than the backend can take.
    """
    numbers = [int(i) for i in ids]
    if min(numbers, default=0) < 0 or max(numbers, default=0) >= _MAX_ID:
        wrong = next(i for i in numbers if not 0 <= i < _MAX_ID)
        raise InputError(f"{wrong} is no token id; leave out ids like -100 before decoding")
    return numbers
