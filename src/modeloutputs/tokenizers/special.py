"""Special tokens: a tokenizer's attributes like `pad_token` and `pad_token_id`, which can be read and set."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, cast, overload

from ..errors import FileFormatError, InputError

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

__all__ = ["SPECIAL_TOKENS", "SpecialTokens", "read_token", "register"]

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS = (
    "lstrip",
    "rstrip",
    "single_word",
    "normalized",
    "special",
)  # what tokenizer.json says of a token beside its text


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

    def __set__(self, holder: "SpecialTokens", token: str | None) -> None:
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
        token = holder.backend.id_to_token(number) if number is not None and 0 <= number < 2**32 else None
        if number is not None and token is None:
            raise InputError(f"{self.token_name}_id is {number}, which is not in the vocabulary")
        holder.set_special_token(self.token_name, token)


class SpecialTokens:
    """Holds which tokens are special. `special_tokens_map` has the text of each that is set, by its name."""

    backend: "Tokenizer"
    special_tokens_map: dict[str, str]

    bos_token, bos_token_id = _Token(), _TokenId()
    eos_token, eos_token_id = _Token(), _TokenId()
    unk_token, unk_token_id = _Token(), _TokenId()
    sep_token, sep_token_id = _Token(), _TokenId()
    pad_token, pad_token_id = _Token(), _TokenId()
    cls_token, cls_token_id = _Token(), _TokenId()
    mask_token, mask_token_id = _Token(), _TokenId()

    def set_special_token(self, name: str, token: str | None) -> None:
        """Make a token of the vocabulary the one of this name, or have none; `tokenizer.pad_token = ...` does it.

        Raises:
            InputError: the token is not in the vocabulary: a model would have no embedding for it.
        """
        if token is None:
            self.special_tokens_map.pop(name, None)
        elif not isinstance(token, str) or self.backend.token_to_id(token) is None:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"{name} is {token!r}, which is not in the vocabulary; set it to a token that is")
        else:
            self.special_tokens_map[name] = token
            register(self.backend, [token])


def register(backend: "Tokenizer", tokens: "Iterable[str | AddedToken]") -> None:
    """Have the backend keep tokens whole and know them as special; those that it keeps already are left as they are.

    A token that the vocabulary lacks is left out: the backend would give it a new id, which no model knows.
    """
    from tokenizers import AddedToken

    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    new = [AddedToken(it, special=True, normalized=False) if isinstance(it, str) else it for it in tokens]
    wanted = {token.content: token for token in new if backend.token_to_id(token.content) is not None}
    backend.add_special_tokens(  # pyright: ignore[reportUnknownMemberType]
        [token for text, token in wanted.items() if text not in known]
    )


def read_token(name: str, value: Any, *, special: bool = True) -> "AddedToken":
    """Return the token that a configuration names: its text alone, or a description with its text and flags.

    Args:
        name: what an error calls it.
        value: the text, or the description.
        special: whether it is a special token where the description does not say.

    Raises:
        FileFormatError: it is neither.
    """
    from tokenizers import AddedToken

    if isinstance(value, AddedToken):
        return value
    described = cast("dict[str, Any]", value) if isinstance(value, dict) else {"content": value}
    text = described.get("content")
    if not isinstance(text, str):
        raise FileFormatError(f"the tokenizer's {name} is {value!r}; expected a text")
    flags = {flag: bool(described[flag]) for flag in _FLAGS if flag in described}
    return AddedToken(text, **{"special": special, "normalized": False, **flags})
