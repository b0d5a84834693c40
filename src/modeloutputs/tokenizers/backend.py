"""What the `tokenizers` library leaves open: errors as one line, ids that a vocabulary has holes before, token ids."""

import json
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from ..errors import FileFormatError, ModelOutputsError, first_line

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

__all__ = ["MAX_ID", "LibraryErrors", "add_to_vocabulary", "check_id", "highest_id", "place_tokens"]

MAX_ID = 2**24 - 1
"""Highest id that a vocabulary may have. The library walks through all ids up to the highest; the largest vocabularies
published have about a million tokens."""


class LibraryErrors:
    """Turns what the library raises, and its panics, into one of our errors with one line.

    A panic of Rust arrives as `PanicException`, which is no `Exception`, so that nobody catches it by accident.

    Examples:
        >>> with LibraryErrors(FileFormatError, "the file is no tokenizer"):
        ...     raise Exception("missing field `type`")
        Traceback (most recent call last):
        modeloutputs.errors.FileFormatError: the file is no tokenizer: missing field `type`
    """

    __slots__ = ("kind", "what")

    def __init__(self, kind: type[ModelOutputsError], what: str) -> None:
        self.kind = kind
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if error is None or isinstance(error, ModelOutputsError):
            return False
        if isinstance(error, UnicodeEncodeError) or "TextEncodeInput" in str(error):
            raise self.kind(f"{self.what}: one holds a lone surrogate, half a character") from None
        if isinstance(error, Exception):
            raise self.kind(f"{self.what}: {first_line(error)}") from None
        if type(error).__name__ == "PanicException":
            said = str(error).partition("\n")[0]
            raise self.kind(f"{self.what}: the tokenizers library stopped with {said!r}") from None
        return False


def check_id(where: str, token: object, number: Any) -> int:
    """Return a valid id.

    Raises:
        FileFormatError: it is no whole number from 0, or higher than any vocabulary's.
    """
    if type(number) is not int or number < 0:
        raise FileFormatError(f"{where} gives {token!r} the id {number!r}; expected a whole number from 0")
    if number > MAX_ID:
        raise FileFormatError(f"{where} gives {token!r} the id {number}; ids up to {MAX_ID} are supported")
    return number


def highest_id(backend: "Tokenizer") -> int:
    """Return the highest id of a vocabulary, added tokens included, or -1 if it is empty."""
    return max(backend.get_vocab(with_added_tokens=True).values(), default=-1)


def place_tokens(backend: "Tokenizer", ids: Mapping[str, int]) -> "Tokenizer":
    """Return a backend whose vocabulary has tokens at these ids.

    Added tokens get the number of tokens as their id, which another token has already where ids have been left out.
    In the vocabulary itself a token can have any id.

    Raises:
        FileFormatError: the vocabulary is a list, as a Unigram model's, which leaves no ids out.
    """
    from tokenizers import Tokenizer

    state = json.loads(backend.to_str())
    if not isinstance(state["model"]["vocab"], dict):
        token, number = next(iter(ids.items()))
        raise FileFormatError(f"the added token {token!r} has the id {number}, which does not follow the vocabulary")
    state["model"]["vocab"].update(ids)
    return Tokenizer.from_str(json.dumps(state))


def add_to_vocabulary(backend: "Tokenizer", tokens: "Iterable[AddedToken]") -> "Tokenizer":
    """Have the backend keep tokens whole; those that its vocabulary lacks get the ids after the highest, in order.

    A token that the backend keeps whole already stays as it is, except that it becomes special if it is to be.

    Returns:
        The backend, or another one where its vocabulary has left out ids.
    """
    known = {token.content: token.special for token in backend.get_added_tokens_decoder().values()}
    tokens = {token.content: token for token in tokens}.values()
    wanted = [token for token in tokens if token.content not in known or token.special > known[token.content]]
    new = [token.content for token in wanted if backend.token_to_id(token.content) is None]
    if new and highest_id(backend) >= backend.get_vocab_size(with_added_tokens=True):
        backend = place_tokens(backend, {text: i for i, text in enumerate(new, highest_id(backend) + 1)})
    backend.add_tokens(wanted)  # pyright: ignore[reportUnknownMemberType]
    return backend
