"""Special tokens: a tokenizer's attributes like `pad_token` and `pad_token_id`, which can be read and set."""

import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, cast, overload

from ..errors import FileFormatError, InputError, ModelOutputsError
from .backend import add_to_vocabulary

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

__all__ = ["SPECIAL_TOKENS", "SpecialTokens", "read_special_token", "read_token"]

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")
"""What tokenizer.json says of a token beside its text."""
_ADVICE = "set it to a token that is, or add it with add_special_tokens and resize the model's embeddings"


class _Token:
    """A special token's text, None where the tokenizer has no such token."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, holder: None, owner: type) -> Self: ...
    @overload
    def __get__(self, holder: "SpecialTokens", owner: type) -> str | None: ...
    def __get__(self, holder: "SpecialTokens | None", owner: type) -> Self | str | None:
        return self if holder is None else holder.special_tokens_map.get(self.name)

    def __set__(self, holder: "SpecialTokens", token: "str | AddedToken | None") -> None:
        holder.set_special_token(self.name, token)


class _TokenId:
    """A special token's id, None where the tokenizer has no such token or its vocabulary lacks it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.token_name = name.removesuffix("_id")

    @overload
    def __get__(self, holder: None, owner: type) -> Self: ...
    @overload
    def __get__(self, holder: "SpecialTokens", owner: type) -> int | None: ...
    def __get__(self, holder: "SpecialTokens | None", owner: type) -> Self | int | None:
        if holder is None:
            return self
        token = holder.special_tokens_map.get(self.token_name)
        return None if token is None else holder.backend.token_to_id(token)

    def __set__(self, holder: "SpecialTokens", number: int | None) -> None:
        token = None if number is None else _token_at(holder.backend, f"{self.token_name}_id", number)
        holder.set_special_token(self.token_name, token)


def _token_at(backend: "Tokenizer", name: str, number: Any) -> str:
    try:
        index = -1 if isinstance(number, bool) else operator.index(number)
    except TypeError:
        raise InputError(f"{name} is {number!r}; expected a token id or None") from None
    token = backend.id_to_token(index) if 0 <= index < 2**32 else None
    if token is None:
        raise InputError(f"{name} is {number}, which is not in the vocabulary")
    return token


class SpecialTokens:
    """Holds which tokens are special.

    Attributes:
        special_tokens_map: the text of each named special token that is set, by its name.
    """

    backend: "Tokenizer"
    special_tokens_map: dict[str, str]
    _additional: list[str]
    _special_ids: frozenset[int]

    bos_token, bos_token_id = _Token(), _TokenId()
    eos_token, eos_token_id = _Token(), _TokenId()
    unk_token, unk_token_id = _Token(), _TokenId()
    sep_token, sep_token_id = _Token(), _TokenId()
    pad_token, pad_token_id = _Token(), _TokenId()
    cls_token, cls_token_id = _Token(), _TokenId()
    mask_token, mask_token_id = _Token(), _TokenId()

    def set_special_token(self, name: str, token: "str | AddedToken | None") -> None:
        """Make a token of the vocabulary the one of this name, or have none; `tokenizer.pad_token = ...` does it.

        Raises:
            InputError: the token is not in the vocabulary: a model would have no embedding for it.
        """
        if token is None:
            self.special_tokens_map.pop(name, None)
        else:
            self.special_tokens_map[name] = self._make_special(name, token)

    def _make_special(self, name: str, token: Any) -> str:
        text = getattr(token, "content", token)
        if not isinstance(text, str) or _lone_surrogate(text) or self.backend.token_to_id(text) is None:
            raise InputError(f"{name} is {text!r}, which is not in the vocabulary; {_ADVICE}")
        self._register([read_special_token(name, token)])
        return text

    def _register(self, tokens: "Iterable[AddedToken]") -> None:
        """Have the backend keep tokens whole, adding those that its vocabulary lacks."""
        self.backend = add_to_vocabulary(self.backend, tokens)
        added = self.backend.get_added_tokens_decoder().items()
        self._special_ids = frozenset(i for i, token in added if token.special)

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens beyond the named ones; can be set to tokens of the vocabulary.

        Raises:
            InputError: on setting, one is not in the vocabulary.
        """
        return list(self._additional)

    @additional_special_tokens.setter
    def additional_special_tokens(self, tokens: "Iterable[str | AddedToken]") -> None:
        self._additional = [self._make_special("one of additional_special_tokens", token) for token in tokens]

    extra_special_tokens = additional_special_tokens
    """The same, under its newer name."""

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """Their ids."""
        return self._ids_of(self._additional)

    @property
    def all_special_tokens(self) -> list[str]:
        """The named special tokens and the additional ones, each once."""
        named = [self.special_tokens_map[name] for name in SPECIAL_TOKENS if name in self.special_tokens_map]
        return list(dict.fromkeys([*named, *self._additional]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return self._ids_of(self.all_special_tokens)

    def _ids_of(self, tokens: list[str]) -> list[int]:
        numbers = map(self.backend.token_to_id, tokens)
        return [number for number in numbers if number is not None]


def _lone_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def read_token(
    name: str, value: Any, *, special: bool = True, error: type[ModelOutputsError] = FileFormatError
) -> "AddedToken":
    """Return the token that a configuration names: its text alone, or a description with its text and flags.

    Args:
        name: what an error calls it.
        value: the text, or the description.
        special: whether it is a special token where the description does not say.
        error: what is raised.

    Raises:
        FileFormatError: it is neither, or its text holds half a character.
    """
    from tokenizers import AddedToken

    if isinstance(value, AddedToken):
        return value
    described = cast("dict[str, Any]", value) if isinstance(value, dict) else {"content": value}
    text = described.get("content")
    if not isinstance(text, str):
        raise error(f"the tokenizer's {name} is {value!r}; expected a text")
    if _lone_surrogate(text):
        raise error(f"the tokenizer's {name} is {text!r}, which holds a lone surrogate, half a character")
    flags = {flag: bool(described[flag]) for flag in _FLAGS if flag in described}
    return AddedToken(text, **{"special": special, "normalized": False, **flags})


def read_special_token(name: str, value: Any, *, error: type[ModelOutputsError] = FileFormatError) -> "AddedToken":
    """Return a special token, as `read_token` does, but special whatever its description says."""
    from tokenizers import AddedToken

    token = read_token(name, value, error=error)
    if token.special:
        return token
    flags = {flag: getattr(token, flag) for flag in _FLAGS}
    return AddedToken(token.content, **{**flags, "special": True})
