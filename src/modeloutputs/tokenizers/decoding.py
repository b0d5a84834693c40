"""From ids to text."""

import re
from collections.abc import Iterable
from typing import Any, SupportsIndex

from ..errors import InputError
from .backend import LibraryErrors
from .vocabulary import Vocabulary, as_index, as_row

__all__ = ["Decoder", "check_ids", "clean_up", "split_clean"]

_MAX_ID = 2**32
_DECODING = LibraryErrors(InputError, "these ids cannot be decoded")
_CLEANED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""What loses its spaces, in this order: WordPiece leaves one on either side of punctuation."""


class Decoder(Vocabulary):
    """Decoding: the half of a tokenizer that turns ids into text."""

    clean_up_tokenization_spaces: bool = False
    """Whether decoding takes out the spaces before punctuation and in English contractions."""

    def decode(
        self,
        token_ids: SupportsIndex | Iterable[SupportsIndex],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """Return the text of token ids; ids outside the vocabulary are skipped.

        Args:
            token_ids: one id, or a row of them, as a list or any array.
            skip_special_tokens: whether special tokens are left out.
            clean_up_tokenization_spaces: whether "don ' t ." becomes "don't."; by default the tokenizer's setting of
                this name. It has no effect on byte-pair encodings, whose spaces are the text's own.

        Raises:
            InputError: an id is negative, such as -100 in labels, or there are several rows.

        Examples:
            >>> from tokenizers import Tokenizer, models
            >>> from modeloutputs.tokenizers import PreTrainedTokenizer
            >>> backend = Tokenizer(models.WordLevel({"hello": 0, "world": 1}, unk_token="hello"))
            >>> PreTrainedTokenizer(backend).decode([0, 1, 99])
            'hello world'
        """
        ids = check_ids(token_ids)
        if skip_special_tokens:  # the library itself overlooks special tokens that are normalized
            ids = [i for i in ids if i not in self._special_ids]
        with _DECODING:
            text = self.backend.decode(ids, skip_special_tokens=skip_special_tokens)
        if clean_up_tokenization_spaces is False or not self.cleans_up(clean_up_tokenization_spaces):
            return text
        return clean_up(text)

    def cleans_up(self, asked: bool | None = None) -> bool:
        """Return whether decoding cleans up, where it was asked for or, by default, by the tokenizer's setting."""
        wanted = bool(self.clean_up_tokenization_spaces) if asked is None else asked
        return wanted and type(self.backend.model).__name__ != "BPE"

    def batch_decode(
        self,
        sequences: Iterable[Iterable[SupportsIndex]],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """Return the text of each row of ids; the options are those of `decode`."""
        return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in sequences]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Return the text of tokens."""
        decoder = self.backend.decoder
        with _DECODING:
            return " ".join(tokens) if decoder is None else decoder.decode(tokens)


def check_ids(ids: Any) -> list[int]:
    """Return one id, or a row of them, of any integer type as a list of Python integers.

    Raises:
        InputError: an id is negative, or exceeds the range of the backend; something is no integer.
    """
    single = as_index(ids)
    numbers = as_row(ids) if single is None else [single]
    if numbers and (min(numbers) < 0 or max(numbers) >= _MAX_ID):
        wrong = next(i for i in numbers if not 0 <= i < _MAX_ID)
        raise InputError(f"{wrong} is not a token id; remove ids like -100 before decoding")
    return numbers


def clean_up(text: str) -> str:
    """Take out the spaces before punctuation and in contractions of English.

    Examples:
        >>> clean_up("i don ' t know , she ' s here .")
        "i don't know, she's here."
    """
    for spaced in _CLEANED:
        text = text.replace(spaced, spaced.strip())
    return text


def split_clean(text: str) -> tuple[str, str]:
    """Return the part of a growing text that cleaning up changes alone, and the rest, which what follows may change.

    Examples:
        >>> split_clean("i don ' t")
        ('i don', " ' t")
    """
    # Whatever loses a space begins with one, and only " ' " has another one in it; " n ' t" becomes " n't" on the way.
    spaces = [match.start() for match in re.finditer("(?<=[^ '])(?<! n) ", text)]
    at = spaces[-1] if spaces else 0
    return text[:at], text[at:]
