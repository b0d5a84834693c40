"""What a tokenizer call returns: ids and masks by name, and which token stands where in the text."""

from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from ..errors import InputError

if TYPE_CHECKING:
    from tokenizers import Encoding

__all__ = ["BatchEncoding", "CharSpan", "TokenSpan"]


class CharSpan(NamedTuple):
    """Characters of a text, from `start` up to `end`."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens of a row, from `start` up to `end`."""

    start: int
    end: int


class BatchEncoding(dict[str, Any]):
    """Result of a tokenizer call: a dict to pass on as `model(**encoding)`, whose entries are attributes too.

    Methods like `char_to_token` take the row and the position in it, or the position alone for row 0. Those that
    relate tokens and text raise InputError where the encoding was made from ids, not from texts.

    Examples:
        >>> encoding = BatchEncoding({"input_ids": [1, 2]}, [])
        >>> encoding.input_ids, dict(encoding)
        ([1, 2], {'input_ids': [1, 2]})
    """

    def __init__(self, entries: dict[str, Any], encodings: "list[Encoding] | None" = None) -> None:
        super().__init__(entries)
        self.encodings = encodings or []

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this encoding has no {name!r}; it has {', '.join(self)}") from None

    @property
    def data(self) -> dict[str, Any]:
        """The entries."""
        return dict(self)

    @property
    def n_sequences(self) -> int | None:
        """Number of texts in a row, 1 or 2; None if unknown."""
        return self.encodings[0].n_sequences if self.encodings else None

    def to(self, device: Any, *, non_blocking: bool = False) -> Self:
        """Move PyTorch tensors to a device; return a new encoding."""
        options = {"non_blocking": True} if non_blocking else {}
        moved = {name: value.to(device, **options) if hasattr(value, "to") else value for name, value in self.items()}
        return type(self)(moved, self.encodings)

    # -- tokens -----------------------------------------------------------------------------------------------------

    def _row(self, index: int) -> "Encoding":
        if not self.encodings:
            raise InputError("this encoding was not made from texts, and does not know which token stands where in one")
        if not -len(self.encodings) <= index < len(self.encodings):
            raise InputError(f"there is no row {index}; the encoding has {len(self.encodings)}")
        return self.encodings[index]

    def tokens(self, batch_index: int = 0) -> list[str]:
        """Return the tokens of a row as text, including padding."""
        return self._row(batch_index).tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return for each token of a row the index of its word in the text; None for special tokens."""
        return self._row(batch_index).word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return for each token of a row 0 for the first text and 1 for the second; None for special tokens."""
        return self._row(batch_index).sequence_ids

    # -- from tokens to the text --------------------------------------------------------------------------------------

    def _token(self, first: int, second: int | None) -> "tuple[Encoding, int]":
        """Return a row and a token's position in it."""
        row, index = (0, first) if second is None else (first, second)
        encoding = self._row(row)
        if not -len(encoding) <= index < len(encoding):
            raise InputError(f"there is no token {index}; row {row} has {len(encoding)}")
        return encoding, index % len(encoding)

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Return in which text a token is, 0 or 1; None for special tokens."""
        encoding, index = self._token(batch_or_token_index, token_index)
        return encoding.token_to_sequence(index)

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Return the index of a token's word; None for special tokens."""
        encoding, index = self._token(batch_or_token_index, token_index)
        found: Any = encoding.token_to_word(index)
        # the library returns the word, or (text, word)
        return cast("tuple[int, int]", found)[1] if isinstance(found, tuple) else found

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """Return a token's characters in its text; None for special tokens."""
        encoding, index = self._token(batch_or_token_index, token_index)
        found = encoding.token_to_chars(index)
        return None if found is None else _span(CharSpan, found)

    # -- from the text to tokens --------------------------------------------------------------------------------------

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """Return the tokens of a word of the first or the second text; None if it has none, as when it was cut off."""
        row, index = (0, batch_or_word_index) if word_index is None else (batch_or_word_index, word_index)
        found = self._row(row).word_to_tokens(_position("word", index), sequence_index)
        return None if found is None else TokenSpan(*found)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """Return the characters of a word of the first or the second text; None if there is no such word."""
        row, index = (0, batch_or_word_index) if word_index is None else (batch_or_word_index, word_index)
        found = self._row(row).word_to_chars(_position("word", index), sequence_index)
        return None if found is None else CharSpan(*found)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the token that has a character of the first or the second text; None if none has, as for spaces."""
        row, index = (0, batch_or_char_index) if char_index is None else (batch_or_char_index, char_index)
        return self._row(row).char_to_token(_position("character", index), sequence_index)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the word that has a character of the first or the second text; None if none has."""
        row, index = (0, batch_or_char_index) if char_index is None else (batch_or_char_index, char_index)
        return self._row(row).char_to_word(_position("character", index), sequence_index)


def _position(what: str, index: int) -> int:
    if index < 0:
        raise InputError(f"there is no {what} {index}; positions start at 0")
    return index


def _span(kind: type[CharSpan], found: Any) -> CharSpan:
    # the library returns (start, end), or (text, (start, end))
    return kind(*(found[1] if isinstance(found[1], tuple) else found))
