"""Text as it is generated: token ids in, piece by piece, and out of each the text that it completes."""

from collections.abc import Iterable
from typing import SupportsIndex

from .base import PreTrainedTokenizer
from .decoding import check_ids, clean_up, split_clean

__all__ = ["TextStream"]

_CONTEXT = 3
"""Tokens kept, to decode the next ones after them. A token has a byte at least, and a character of UTF-8 that lacks one
has 3 at most: what came before 3 tokens cannot change what bytes that follow mean."""
_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """Turns the ids of one growing row into text, without decoding what came before again.

    The pieces of all `push` calls and of `finish`, joined, are `tokenizer.decode` of all ids. That takes holding back:

    - a last character that is U+FFFD, since its missing bytes may come;
    - tokens that stand for one byte, like `<0xE2>` of Llama 2, until another token follows: such a run is decoded as
      U+FFFD throughout, its valid characters too, if it is not valid UTF-8 as a whole.

    For text that continues a prompt, push the prompt's ids first and leave what that returns. A push takes time in the
    number of ids pushed, not of those before.

    Examples:
        >>> from tokenizers import Tokenizer, decoders, models
        >>> backend = Tokenizer(models.BPE({"caf": 0, "Ã": 1, "©": 2}, []))  # the two bytes of é are two tokens
        >>> backend.decoder = decoders.ByteLevel()
        >>> stream = TextStream(PreTrainedTokenizer(backend))
        >>> [stream.push(token) for token in (0, 1, 2)]
        ['caf', '', 'é']
        >>> stream.finish()
        ''
    """

    def __init__(self, tokenizer: PreTrainedTokenizer, *, skip_special_tokens: bool = False) -> None:
        self.tokenizer = tokenizer
        known = tokenizer.added_tokens_decoder.items()
        self._skipped = {i for i, token in known if token.special} if skip_special_tokens else set[int]()
        self._cleans = tokenizer.cleans_up()
        self._start()

    def _start(self) -> None:
        self._context: list[int] = []  # the last ids whose text was returned, all but what is held back
        self._returned = 0  # characters of the context's text that were
        self._bytes: list[int] = []  # a run of byte tokens that may go on
        self._uncleaned = ""  # text whose spaces may still go, where the tokenizer cleans up

    def push(self, ids: SupportsIndex | Iterable[int]) -> str:
        """Return the text that one id, or several, complete; it may be empty. Ids may be those of an array.

        Raises:
            InputError: a negative id.
        """
        ready = self._release(check_ids(ids))
        if not ready:
            return ""
        context = [*self._context, *ready]
        text = self._decode(context)
        held = text.endswith(_INCOMPLETE)
        piece = text[self._returned : len(text) - held]
        self._context = context[-_CONTEXT:]
        self._returned = len(self._decode(self._context)) - held
        return self._clean(piece)

    def finish(self) -> str:
        """Return the rest, incomplete characters as U+FFFD, and be ready for another row."""
        text = self._decode([*self._context, *self._bytes])[self._returned :]
        text = self._clean(text, last=True)
        self._start()
        return text

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def _clean(self, piece: str, last: bool = False) -> str:
        if not self._cleans:
            return piece
        text = self._uncleaned + piece
        ready, self._uncleaned = (text, "") if last else split_clean(text)
        return clean_up(ready)

    def _release(self, ids: list[int]) -> list[int]:
        """Return the ids that can be decoded, bytes held back before them included; hold back those that end them."""
        tokens = zip(ids, self.tokenizer.convert_ids_to_tokens(ids), strict=True)
        kept = [(i, token) for i, token in tokens if token is not None and i not in self._skipped]
        stop = max((n for n, (_, token) in enumerate(kept, start=1) if not _is_byte(token)), default=0)
        ready = [*self._bytes, *(i for i, _ in kept[:stop])] if stop else []
        if stop:
            self._bytes = []
        self._bytes.extend(i for i, _ in kept[stop:])
        return ready


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")
