"""A tokenizer's vocabulary: tokens and their ids, and tokens added to it."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, cast, overload

from ..errors import InputError, nearest
from .backend import highest_id
from .special import SPECIAL_TOKENS, SpecialTokens, read_special_token, read_token

if TYPE_CHECKING:
    from tokenizers import AddedToken

__all__ = ["Vocabulary", "as_index", "as_row"]

_ADDITIONAL = ("additional_special_tokens", "extra_special_tokens")
_MAX_ID = 2**32


class Vocabulary(SpecialTokens):
    """Tokens by id and ids by token."""

    _ids: int
    is_fast = True
    """Whether it stands on the `tokenizers` library, as those do that other libraries call fast: always."""

    def __len__(self) -> int:
        """Return the number of embeddings that a model needs: the highest id plus 1, added tokens included.

        That is the number of tokens, unless ids are left out, as those of lines that a vocab.txt has twice.
        """
        return max(self.backend.get_vocab_size(with_added_tokens=True), self._ids)

    def __bool__(self) -> bool:
        return True

    @property
    def vocab_size(self) -> int:
        """Number of tokens, without those added later."""
        return self.backend.get_vocab_size(with_added_tokens=False)

    def get_vocab(self) -> dict[str, int]:
        """Return the id of each token, added ones included."""
        return self.backend.get_vocab(with_added_tokens=True)

    @property
    def vocab(self) -> dict[str, int]:
        """What `get_vocab` returns."""
        return self.get_vocab()

    def get_added_vocab(self) -> dict[str, int]:
        """Return the ids of the tokens that are kept whole, special ones included, in the order of the ids."""
        return {token.content: i for i, token in sorted(self.added_tokens_decoder.items())}

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """What `get_added_vocab` returns."""
        return self.get_added_vocab()

    @property
    def added_tokens_decoder(self) -> "dict[int, AddedToken]":
        """The tokens that are kept whole, special ones included, with their flags, by id."""
        return self.backend.get_added_tokens_decoder()

    # -- conversion -------------------------------------------------------------------------------------------------

    @overload
    def convert_ids_to_tokens(self, ids: SupportsIndex, *, skip_special_tokens: bool = False) -> str | None: ...
    @overload
    def convert_ids_to_tokens(
        self, ids: Iterable[SupportsIndex], *, skip_special_tokens: bool = False
    ) -> list[str | None]: ...
    def convert_ids_to_tokens(
        self, ids: SupportsIndex | Iterable[SupportsIndex], *, skip_special_tokens: bool = False
    ) -> str | list[str | None] | None:
        """Return the token of an id, or the tokens of several; None for ids outside the vocabulary.

        Raises:
            InputError: something else than an integer or a row of integers.
        """
        single = as_index(ids)
        if single is not None:
            return self._token_of(single)
        skipped = self._special_ids if skip_special_tokens else frozenset[int]()
        return [self._token_of(i) for i in as_row(ids) if i not in skipped]

    def _token_of(self, number: int) -> str | None:
        return self.backend.id_to_token(number) if 0 <= number < _MAX_ID else None

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...  # pyright: ignore[reportOverlappingOverload]  # a str is an iterable of str
    @overload
    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]: ...
    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> int | list[int]:
        """Return the id of a token, or the ids of several; the unknown token's for tokens outside the vocabulary.

        Raises:
            InputError: a token is not in the vocabulary, and the tokenizer has no unknown token.
        """
        if isinstance(tokens, str):
            return self._id_of(tokens)
        if not isinstance(tokens, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"{tokens!r} is no token; expected a text or a list of texts")
        return [self._id_of(token) for token in tokens]

    def _id_of(self, token: Any) -> int:
        if not isinstance(token, str):
            raise InputError(f"{token!r} is no token; expected a text or a list of texts")
        try:
            number = self.backend.token_to_id(token)
        except UnicodeEncodeError:  # half a character is in no vocabulary
            number = None
        number = self.unk_token_id if number is None else number
        if number is None:
            raise InputError(f"{token!r} is not in the vocabulary, and the tokenizer has no unk_token")
        return number

    # -- adding -----------------------------------------------------------------------------------------------------

    def add_tokens(
        self, new_tokens: "str | AddedToken | Sequence[str | AddedToken]", special_tokens: bool = False
    ) -> int:
        """Add tokens, which are then kept whole; those that the vocabulary lacks get the ids after its highest.

        A model needs `resize_token_embeddings(len(tokenizer))` then.

        Args:
            new_tokens: one or several, as texts or with flags.
            special_tokens: whether they are special: skipped in decoding, never normalized.

        Returns:
            How many the vocabulary lacked.

        Raises:
            InputError: a token is no text, or is empty.

        Examples:
            >>> from tokenizers import Tokenizer, models
            >>> from modeloutputs.tokenizers import PreTrainedTokenizer
            >>> tokenizer = PreTrainedTokenizer(Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")))
            >>> tokenizer.add_tokens(["b", "new"]), len(tokenizer)
            (1, 3)
        """
        from tokenizers import AddedToken

        several = [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else list(new_tokens)
        size = len(self)
        self._register([self._new_token(token, special_tokens) for token in several])
        self._count_ids()
        return len(self) - size

    def _new_token(self, token: Any, special: bool) -> "AddedToken":
        if special:
            described = read_special_token("new token", token, error=InputError)
        elif isinstance(token, str):
            described = read_token(
                "new token", {"content": token, "normalized": True, "special": False}, error=InputError
            )
        else:
            described = read_token("new token", token, special=False, error=InputError)
        if not described.content:
            raise InputError("a new token is empty; expected a text of one character at least")
        return described

    def add_special_tokens(
        self, special_tokens_dict: "Mapping[str, Any]", replace_extra_special_tokens: bool = True
    ) -> int:
        """Set special tokens by name, adding those that the vocabulary lacks.

        Args:
            special_tokens_dict: tokens by names like "pad_token", and "additional_special_tokens" (or
                "extra_special_tokens") with a list.
            replace_extra_special_tokens: whether that list takes the place of the one there is; those left out stay
                in the vocabulary, and special.

        Returns:
            How many the vocabulary lacked.

        Raises:
            InputError: an unknown name, or a token that is no text.
        """
        named: dict[str, AddedToken] = {}
        additional: list[AddedToken] | None = None
        for name, value in special_tokens_dict.items():
            if name in _ADDITIONAL:
                additional = [self._new_token(token, special=True) for token in _as_list(name, value)]
            elif name in SPECIAL_TOKENS:
                named[name] = self._new_token(value, special=True)
            else:
                raise InputError(f"there is no special token {name!r}{nearest(name, (*SPECIAL_TOKENS, *_ADDITIONAL))}")
        added = self.add_tokens([*named.values(), *(additional or ())], special_tokens=True)
        self.special_tokens_map.update({name: token.content for name, token in named.items()})
        if additional is not None:
            kept = [] if replace_extra_special_tokens else self._additional
            self._additional = list(dict.fromkeys([*kept, *(token.content for token in additional)]))
        return added

    def _count_ids(self) -> None:
        """Look up once how many embeddings the vocabulary needs."""
        self._ids = highest_id(self.backend) + 1


def _as_list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{name} is {value!r}; expected a list of texts")
    return list(cast("list[Any]", value))


def as_index(value: Any) -> int | None:
    """Return a single integer, a 0-d array's too, or None for anything else."""
    if isinstance(value, (list, tuple)) or getattr(value, "ndim", 0):
        return None  # an array of one element says that it is an index
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_row(ids: Any) -> list[int]:
    """Return a row of integers.

    Raises:
        InputError: it is something else; where it is a list of rows, with what to do.
    """
    try:
        return [operator.index(i) for i in ids]
    except TypeError:
        pass
    if hasattr(ids, "__iter__") and not isinstance(ids, str):
        first = next((i for i in ids if as_index(i) is None), None)
        if hasattr(first, "__iter__") and not isinstance(first, str):
            raise InputError("ids of several rows were passed where one row is expected; batch_decode takes several")
        raise InputError(f"{first!r} is not a token id; expected integers")
    raise InputError(f"{ids!r} is not a token id; expected an integer or a row of them")
