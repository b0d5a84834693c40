"""Base class of all tokenizers, over the `tokenizers` library: how they are made, loaded and saved."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from ..errors import CheckpointNotFoundError, FileFormatError, InputError, nearest
from ..files.checkpoints import find_checkpoint
from ..files.replacing import replace_together
from .backend import LibraryErrors, add_to_vocabulary
from .chat import ChatTemplates
from .decoding import Decoder
from .files import TOKENIZER_FILE, added_tokens, check_added_ids
from .settings import (
    CHAT_TEMPLATE_FILE,
    CONFIG_FILE,
    NO_EFFECT,
    SHARED,
    Config,
    additional_tokens,
    check_types,
    limit_of,
    read_settings,
    templates_of,
)
from .sources import Sources
from .special import SPECIAL_TOKENS, read_special_token, read_token
from .training import Trainable

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

__all__ = ["Config", "PreTrainedTokenizer", "Tokens"]

Tokens = dict[str, "AddedToken"]
"""Special tokens by name, like pad_token."""

_NO_LIMIT = 10**30  # stands for "no limit" in tokenizer_config.json
# Entries of tokenizer_config.json that are dropped: paths, code, and what is saved elsewhere.
_DROPPED = {
    *("auto_map", "name_or_path", "tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file"),
    *("added_tokens_decoder", "tokenizer_class", "special_tokens"),
    *SHARED,
    *NO_EFFECT,
}


class PreTrainedTokenizer(ChatTemplates, Trainable, Decoder):
    """Base of the tokenizers; a subclass declares its special tokens, vocabulary files and settings.

    Attributes:
        backend: the `tokenizers.Tokenizer` that does the work.
        special_tokens_map: the text of each special token that is set; `pad_token` and its like read and set it.
        model_max_length: maximum number of tokens that the model accepts; None if unknown.
        padding_side, truncation_side: the side on which rows are padded and truncated.
        chat_template: a template, or several by name, from tokenizer_config.json or chat_template.jinja; see
            `apply_chat_template`.
        other: all other entries of tokenizer_config.json, kept so that saving loses nothing.
    """

    model_type: ClassVar[str] = ""
    """`model_type` in config.json of the models that use this tokenizer."""
    backend_model: ClassVar[str | None] = None
    """Algorithm required in tokenizer.json; None accepts any."""
    default_special_tokens: ClassVar[Mapping[str, str | dict[str, Any]]] = {}
    """Token texts, or token descriptions as in tokenizer.json."""
    vocabulary_names: ClassVar[tuple[str, ...]] = ()
    """Names that the vocabulary's file can have, where there is no tokenizer.json; merges_names likewise."""
    merges_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, source: Any = None, merges: Any = None, **settings: Any) -> None:
        """Make a tokenizer of a backend or a vocabulary.

        Args:
            source: a `tokenizers.Tokenizer`, tokenizer.json, the vocabulary's file, or ids by token; also as
                `tokenizer_object`, `tokenizer_file`, `vocab_file` or `vocab`.
            merges: of a byte-pair encoding, the file or the pairs; also as `merges_file`.
            **settings: those of `from_pretrained`; `special_tokens`, special tokens by name; `other`, entries to save.

        Raises:
            CheckpointNotFoundError: a file does not exist.
            FileFormatError: a file is corrupt, or belongs to another type of tokenizer.
            InputError: there is no vocabulary, a setting is unknown, or its value is invalid.
        """
        special: Any = settings.pop("special_tokens", None) or {}
        other: Any = settings.pop("other", None) or {}
        sources, passed = Sources.of_arguments(source, merges, {**settings, **special})
        self._check_settings(passed)
        config: Config = {**sources.settings, **passed}
        backend, tokens = self._make_backend(sources, config)
        texts = {name: token.content for name, token in tokens.items()}
        truncation_side = config.get("truncation_side") or "right"
        super().__init__(backend, texts, limit_of(config), config.get("padding_side"), truncation_side)
        extra = additional_tokens(config, FileFormatError)
        self._register([*tokens.values(), *extra])
        self._count_ids()
        self._additional = [token.content for token in extra]
        self.chat_template = templates_of(config.get("chat_template"))
        self.clean_up_tokenization_spaces = bool(config.get("clean_up_tokenization_spaces"))
        self.backend.encode_special_tokens = bool(config.get("split_special_tokens"))
        self.model_input_names = tuple(config.get("model_input_names") or type(self).model_input_names)
        self.other = {**{name: value for name, value in config.items() if name not in _DROPPED}, **other}

    # -- loading ----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, revision: str | None = None, subfolder: str = "", **settings: Any
    ) -> Self:
        """Load from a checkpoint folder or hub id that has tokenizer.json or this tokenizer's vocabulary files.

        Args:
            name_or_path: the folder, or the id.
            revision: branch, tag or commit, of a hub id.
            subfolder: where in the folder or hub id the tokenizer lies.
            **settings: over those of tokenizer_config.json: `model_max_length`, `padding_side`, `truncation_side`,
                `chat_template`, `clean_up_tokenization_spaces`, `split_special_tokens`, `model_input_names`, special
                tokens like `pad_token`, a list of `additional_special_tokens`, and the class's `own_settings`. Special
                tokens that the vocabulary lacks are added after it.

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
        folder = find_checkpoint(name_or_path, revision, weights=False, subfolder=subfolder)
        found = read_settings(folder, {**SHARED, **cls.own_settings})
        return cls(Sources.of_folder(folder, cls.vocabulary_names, cls.merges_names, found), **settings)

    @classmethod
    def _check_settings(cls, settings: Config) -> None:
        known = {**SHARED, **cls.own_settings}
        for name, value in settings.items():
            if name not in known and name not in NO_EFFECT:
                raise InputError(f"tokenizers have no setting {name!r}{nearest(name, known)}")
            if name in SPECIAL_TOKENS and value is not None:
                read_token(name, value, error=InputError)
        check_types(settings, known, InputError)
        additional_tokens(settings, InputError)

    @classmethod
    def _make_backend(cls, sources: Sources, config: Config) -> "tuple[Tokenizer, Tokens]":
        """Return the backend with the special tokens that it is to have, which it may lack as yet."""
        named = cls._named_tokens(config)
        backend = sources.backend()
        if backend is not None:
            cls._check_model(backend, sources)
            tokens = {**cls._own_tokens(backend), **named}
            backend = cls._add_missing(backend, sources, config, tokens)
            cls._apply_settings(backend, config, tokens)
            return backend, tokens
        tokens = {**cls._default_tokens(), **named}
        backend = cls._add_missing(cls._build_backend(sources, config, tokens), sources, config, tokens)
        cls._add_special_tokens(backend, config, tokens)
        return backend, tokens

    @classmethod
    def _add_missing(cls, backend: "Tokenizer", sources: Sources, config: Config, tokens: Tokens) -> "Tokenizer":
        """Add what lies beside a vocabulary, and then the special tokens that it lacks."""
        if sources.tokenizer is None:
            added = dict(sorted(added_tokens(sources.folder, sources.settings).items()))
            backend = add_to_vocabulary(backend, added.values())
            check_added_ids(backend, sources.place, added)
        return add_to_vocabulary(backend, [tokens[name] for name in SPECIAL_TOKENS if name in tokens])

    @classmethod
    def _check_model(cls, backend: "Tokenizer", sources: Sources) -> None:
        found = type(backend.model).__name__
        if cls.backend_model not in (None, found):
            where = repr(str(sources.tokenizer)) if isinstance(sources.tokenizer, Path) else "the backend"
            raise FileFormatError(
                f"{where} holds a tokenizer of type {found}, but {cls.__name__} needs "
                f"{cls.backend_model}; load it with load_tokenizer, or with its own class"
            )

    # -- for subclasses --------------------------------------------------------------------------------------------

    @classmethod
    def _build_backend(cls, sources: Sources, config: Config, tokens: Tokens) -> "Tokenizer":
        """Build a backend from a vocabulary, without special tokens around texts.

        Raises:
            CheckpointNotFoundError: files are missing.
        """
        raise CheckpointNotFoundError(f"{sources.place} has no {TOKENIZER_FILE}; {cls.__name__} loads no other form")

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
        named = {name: read_special_token(name, config[name]) for name in SPECIAL_TOKENS if config.get(name)}
        alone = {name for name in named if isinstance(config[name], str)}
        return {name: own.get(token.content, token) if name in alone else token for name, token in named.items()}

    # -- saving -----------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, the vocabulary files and tokenizer_config.json, which other libraries read too.

        All files are replaced together, or none is. An existing chat_template.jinja in the folder is updated, because
        readers prefer it to tokenizer_config.json.

        Raises:
            FileWriteError: a file cannot be written.
        """
        target = Path(folder)
        with LibraryErrors(InputError, "this tokenizer cannot be saved"):
            contents = {TOKENIZER_FILE: self.backend.to_str(pretty=True), **self._vocabulary_files()}
        contents[CONFIG_FILE] = json.dumps(self._config(), indent=2, sort_keys=True) + "\n"
        if isinstance(self.chat_template, str) and (target / CHAT_TEMPLATE_FILE).is_file():
            contents[CHAT_TEMPLATE_FILE] = self.chat_template
        with replace_together(target) as replacement:
            for name, text in contents.items():
                replacement.path(name).write_text(text, encoding="utf-8", newline="")

    def _config(self) -> Config:
        template = self.chat_template
        if isinstance(template, dict):
            named = cast("dict[str, str]", template)
            template = [{"name": name, "template": text} for name, text in named.items()]
        return {
            **self.other,
            "tokenizer_class": type(self).__name__,
            "model_max_length": self.model_max_length or _NO_LIMIT,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            **({} if template is None else {"chat_template": template}),
            **({"clean_up_tokenization_spaces": True} if self.clean_up_tokenization_spaces else {}),
            **({"split_special_tokens": True} if self.backend.encode_special_tokens else {}),
            **({"additional_special_tokens": self._additional} if self._additional else {}),
            **self._added_beside(),
            **self._saved_settings(),
            **self.special_tokens_map,
        }

    def _added_beside(self) -> Config:
        """Describe the tokens that the vocabulary files lack, for those who read these without tokenizer.json."""
        own = self.backend.get_vocab(with_added_tokens=False) if self._vocabulary_files() else None
        if own is None:
            return {}
        added = self.added_tokens_decoder.items()
        beside: Config = {str(i): token.__getstate__() for i, token in added if token.content not in own}  # pyright: ignore[reportUnknownMemberType]
        return {"added_tokens_decoder": beside} if beside else {}
