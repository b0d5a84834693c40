"""From text to ids: tokenizer calls with truncation and padding."""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ..errors import InputError
from .encoding import (
    BatchEncoding,
    Padding,
    Side,
    TensorKind,
    Text,
    Truncation,
    as_arrays,
    check_count,
    check_side,
    resolve_option,
    split_rows,
)
from .special import SpecialTokens

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["Encoder"]

_TRUNCATIONS = ("longest_first", "only_first", "only_second")
_PADDINGS = ("longest", "max_length")


class Encoder(SpecialTokens):
    """Encoding: the half of a tokenizer that turns texts into ids."""

    model_input_names: Sequence[str] = ("input_ids", "attention_mask")
    """Entries that a call returns by default."""
    default_padding_side: ClassVar[Side] = "right"

    def __init__(
        self,
        backend: "Tokenizer",
        special_tokens: dict[str, str],
        model_max_length: int | None,
        padding_side: Side | None,
        truncation_side: Side,
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.special_tokens_map = special_tokens
        self.model_max_length = model_max_length
        self.padding_side: Side = check_side("padding_side", padding_side or self.default_padding_side)
        self.truncation_side: Side = check_side("truncation_side", truncation_side)
        self._lock = threading.Lock()  # truncation is a setting of the backend, not an argument

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())  # a lock cannot go to another process

    def __call__(
        self,
        text: Text | Sequence[Text] | Sequence[tuple[str, str]],
        text_pair: Text | Sequence[Text] | None = None,
        *,
        padding: Padding = False,
        truncation: Truncation | None = None,
        max_length: int | None = None,
        return_tensors: TensorKind | None = None,
        add_special_tokens: bool = True,
        is_split_into_words: bool = False,
        padding_side: Side | None = None,
        pad_to_multiple_of: int | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_offsets_mapping: bool = False,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
    ) -> BatchEncoding:
        """Turn texts into ids.

        Args:
            text: one text, a list of texts, or a list of (text, second text) pairs.
            text_pair: the second text, or as many as there are texts.
            padding: True or "longest" to the longest row, "max_length" to that length, False for ragged rows.
            truncation: True or "longest_first", "only_first", "only_second": which text is cut to fit `max_length`; by
                default True if `max_length` is passed and rows are not padded to it.
            max_length: number of tokens, including special ones; by default the model's limit.
            return_tensors: "pt" (PyTorch), "np" (NumPy), "jax", "tf", or None for lists.
            add_special_tokens: add the special tokens that the model expects around texts, if any.
            is_split_into_words: whether a text is a list of words.
            padding_side: "left" or "right"; overrides the tokenizer's own.
            pad_to_multiple_of: round padded lengths up to this.
            return_token_type_ids: return `token_type_ids`, 0 for the first text and 1 for the second; like the mask,
                returned by default if `model_input_names` has it.
            return_attention_mask: return `attention_mask`, 1 for tokens and 0 for padding.
            return_offsets_mapping: return `offset_mapping`, each token's (start, end) characters in its text.
            return_special_tokens_mask: return `special_tokens_mask`, 1 for special tokens.
            return_length: return `length`, the number of tokens of each row, including padding.

        Returns:
            `input_ids` and the requested entries: (batch, seq) int64 arrays, or lists, flat ones for a single text.

        Raises:
            InputError: no text, a different number of texts and second texts, rows of different length for an array,
                padding without a padding token, or an invalid option.

        Examples:
            >>> from tokenizers import Tokenizer, models, pre_tokenizers
            >>> from modeloutputs.tokenizers import PreTrainedTokenizer
            >>> backend = Tokenizer(models.WordLevel({"<pad>": 0, "hello": 1, "world": 2}, unk_token="<pad>"))
            >>> backend.pre_tokenizer = pre_tokenizers.Whitespace()
            >>> tokenizer = PreTrainedTokenizer(backend, special_tokens={"pad_token": "<pad>"})
            >>> encoding = tokenizer(["hello world", "hello"], padding=True, return_tensors="np")
            >>> encoding.input_ids.tolist(), encoding.attention_mask.tolist()
            ([[1, 2], [1, 0]], [[1, 1], [1, 0]])
        """
        rows, single = split_rows(text, text_pair, is_split_into_words)
        if truncation is None:
            truncation = max_length is not None and padding != "max_length"
        encodings = self._encode(rows, truncation, max_length, add_special_tokens, is_split_into_words)
        self._pad(encodings, padding, max_length, padding_side or self.padding_side, pad_to_multiple_of)
        wanted = {
            "input_ids": True,
            "token_type_ids": return_token_type_ids,
            "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
        }
        names = [name for name, said in wanted.items() if (name in self.model_input_names if said is None else said)]
        entries: dict[str, Any] = {name: [_ENTRIES[name](encoding) for encoding in encodings] for name in names}
        if return_tensors is not None:
            entries = as_arrays(entries, return_tensors)
        elif single:
            entries = {name: values[0] for name, values in entries.items()}
        return BatchEncoding(entries, encodings)

    def encode(self, text: Text, text_pair: Text | None = None, **options: Any) -> list[int]:
        """Return the ids of one text or pair; `options` are those of calling the tokenizer."""
        return self(text, text_pair, **options)["input_ids"]

    def tokenize(self, text: str) -> list[str]:
        """Return the tokens of a text, without added special tokens."""
        return self(text, add_special_tokens=False).tokens()

    # -- truncation -------------------------------------------------------------------------------------------------

    def _encode(
        self,
        rows: list[Any],
        truncation: Truncation,
        max_length: int | None,
        add_special_tokens: bool,
        is_split_into_words: bool,
    ) -> "list[Encoding]":
        strategy = resolve_option("truncation", truncation, "do_not_truncate", _TRUNCATIONS)
        limit = self._limit(max_length)
        if strategy and limit is None:
            raise InputError("truncation was asked for, and neither max_length nor the tokenizer names a length")
        if strategy and add_special_tokens:
            self._check_room(cast("int", limit), pairs=any(isinstance(row, tuple) for row in rows))
        with self._lock:
            try:
                if strategy:
                    self.backend.enable_truncation(  # pyright: ignore[reportUnknownMemberType]
                        cast("int", limit), strategy=strategy, direction=self.truncation_side
                    )
                return self.backend.encode_batch(
                    rows, is_pretokenized=is_split_into_words, add_special_tokens=add_special_tokens
                )
            except TypeError:  # their types were looked at
                raise InputError(
                    "these texts cannot be encoded: one holds a lone surrogate, half a character"
                ) from None
            except Exception as error:  # noqa: BLE001  # the Rust library raises bare Exception
                raise InputError(f"these texts cannot be encoded: {error}") from None
            finally:
                self.backend.no_truncation()

    def _limit(self, max_length: int | None) -> int | None:
        """Return the length to truncate or pad to."""
        check_count("max_length", max_length)
        return self.model_max_length if max_length is None else max_length

    def _check_room(self, limit: int, pairs: bool) -> None:
        """Refuse a length that special tokens alone exceed: the Rust library would not truncate at all."""
        special = self.backend.num_special_tokens_to_add(pairs)
        if limit < special:
            raise InputError(f"max_length is {limit}, and the special tokens of a row alone are {special}")

    # -- padding ----------------------------------------------------------------------------------------------------

    def _pad(
        self,
        encodings: "list[Encoding]",
        padding: Padding,
        max_length: int | None,
        side: Side,
        multiple: int | None,
    ) -> None:
        strategy = resolve_option("padding", padding, "do_not_pad", _PADDINGS)
        check_side("padding_side", side)
        check_count("pad_to_multiple_of", multiple)
        if strategy is None:
            return
        length = max(map(len, encodings)) if strategy == "longest" else self._limit(max_length)
        if length is None:
            raise InputError("padding='max_length' was asked for, and neither max_length nor the tokenizer names it")
        length = -(-length // multiple) * multiple if multiple else length
        token, token_id = self._padding_token()
        for encoding in encodings:
            encoding.pad(  # pyright: ignore[reportUnknownMemberType]
                length, direction=side, pad_id=token_id, pad_type_id=0, pad_token=token
            )

    def _padding_token(self) -> tuple[str, int]:
        token, token_id = self.pad_token, self.pad_token_id
        if token is None:
            raise InputError(
                "padding was asked for, and the tokenizer has no padding token; set one, "
                f"such as tokenizer.pad_token = {self.eos_token or '<pad>'!r}, or pass pad_token to from_pretrained"
            )
        if token_id is None:
            raise InputError(
                f"padding was asked for, and the padding token {token!r} is not in the vocabulary; "
                "set tokenizer.pad_token to a token that is"
            )
        return token, token_id


_ENTRIES: "dict[str, Callable[[Encoding], Any]]" = {
    "input_ids": lambda encoding: encoding.ids,
    "token_type_ids": lambda encoding: encoding.type_ids,
    "attention_mask": lambda encoding: encoding.attention_mask,
    "special_tokens_mask": lambda encoding: encoding.special_tokens_mask,
    "offset_mapping": lambda encoding: encoding.offsets,
    "length": len,
}
