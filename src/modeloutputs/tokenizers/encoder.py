"""From text to ids: tokenizer calls with truncation and padding."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, cast

from ..errors import InputError
from .arguments import CallOptions, Side, Text, check_options, check_side, resolve_option, split_rows
from .backend import LibraryErrors
from .encoding import BatchEncoding
from .padding import Padder
from .settings import Expected
from .tensors import as_arrays

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["Encoder"]

_TRUNCATIONS = ("longest_first", "only_first", "only_second")
_ENCODING = LibraryErrors(InputError, "these texts cannot be encoded")


class Encoder(Padder):
    """Encoding: the half of a tokenizer that turns texts into ids."""

    model_input_names: Sequence[str] = ("input_ids", "attention_mask")
    """Entries that a call returns by default."""
    default_padding_side: ClassVar[Side] = "right"
    own_settings: ClassVar[Mapping[str, Expected]] = {}
    """Settings that are accepted in addition to those of all tokenizers."""

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
        self._additional = []
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
        text: Text | Sequence[Text] | Sequence[tuple[str, str]] | None = None,
        text_pair: Text | Sequence[Text] | None = None,
        text_target: Text | Sequence[Text] | None = None,
        text_pair_target: Text | Sequence[Text] | None = None,
        *,
        max_length: int | None = None,
        max_target_length: int | None = None,
        **options: Unpack[CallOptions],
    ) -> BatchEncoding:
        """Turn texts into ids.

        Args:
            text: one text, a list of texts, or a list of (text, second text) pairs.
            text_pair: the second text, or as many as there are texts.
            text_target, text_pair_target: what a model is to produce: its ids are returned as `labels`, or as
                `input_ids` where no `text` is passed.
            max_length: number of tokens, including special ones; by default the model's limit.
            max_target_length: the same for the target; by default `max_length`.
            **options: see `CallOptions`.

        Returns:
            `input_ids` and the requested entries: (batch, seq) int64 arrays, or lists, flat ones for a single text.

        Raises:
            InputError: no text, a different number of texts and second texts, rows of different length for an array,
                padding without a padding token, words that the tokenizer would glue together, or an invalid option.

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
        if options:
            check_options(options)
        if text_target is None:
            return self._call(text, text_pair, max_length, options)
        limit = max_length if max_target_length is None else max_target_length
        target = self._call(text_target, text_pair_target, limit, options)
        if text is None:
            return target
        encoding = self._call(text, text_pair, max_length, options)
        encoding["labels"] = target["input_ids"]
        return encoding

    def _call(self, text: Any, text_pair: Any, max_length: int | None, options: CallOptions) -> BatchEncoding:
        split, padding = options.get("is_split_into_words", False), options.get("padding", False)
        rows, single = split_rows(text, text_pair, split)
        encodings = self._encode(rows, max_length, options)
        samples: list[int] | None = None
        if options.get("return_overflowing_tokens"):
            parts = [[encoding, *encoding.overflowing] for encoding in encodings]
            samples = [i for i, windows in enumerate(parts) for _ in windows]
            encodings, single = [window for windows in parts for window in windows], False
        side = options.get("padding_side") or self.padding_side
        self._pad_encodings(encodings, padding, max_length, side, options.get("pad_to_multiple_of"))
        entries = self._entries(encodings, options)
        if samples is not None:
            entries["overflow_to_sample_mapping"] = samples
        kind = options.get("return_tensors")
        if kind is not None:
            entries = as_arrays(entries, kind)
        elif single:
            entries = {name: values[0] for name, values in entries.items()}
        return BatchEncoding(entries, encodings)

    def _entries(self, encodings: "list[Encoding]", options: CallOptions) -> dict[str, Any]:
        wanted = {
            "input_ids": True,
            "token_type_ids": options.get("return_token_type_ids"),
            "attention_mask": options.get("return_attention_mask"),
            "special_tokens_mask": options.get("return_special_tokens_mask", False),
            "offset_mapping": options.get("return_offsets_mapping", False),
            "length": options.get("return_length", False),
        }
        names = [name for name, said in wanted.items() if (name in self.model_input_names if said is None else said)]
        return {name: [_ENTRIES[name](encoding) for encoding in encodings] for name in names}

    def encode(self, text: Text, text_pair: Text | None = None, **options: Any) -> list[int]:
        """Return the ids of one text or pair; `options` are those of calling the tokenizer."""
        return self(text, text_pair, **options)["input_ids"]

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False) -> list[str]:
        """Return the tokens of a text or pair, by default without the special tokens around them."""
        return self(text, pair, add_special_tokens=add_special_tokens).tokens()

    def encode_plus(self, text: Text, text_pair: Text | None = None, **options: Any) -> BatchEncoding:
        """Turn one text or pair into ids, as calling the tokenizer does."""
        return self(text, text_pair, **options)

    def batch_encode_plus(self, batch_text_or_text_pairs: Any, **options: Any) -> BatchEncoding:
        """Turn a list of texts or pairs into ids, as calling the tokenizer does."""
        return self(batch_text_or_text_pairs, **options)

    # -- truncation -------------------------------------------------------------------------------------------------

    def _encode(self, rows: list[Any], max_length: int | None, options: CallOptions) -> "list[Encoding]":
        truncation, stride = options.get("truncation"), options.get("stride", 0)
        special, split = options.get("add_special_tokens", True), options.get("is_split_into_words", False)
        if truncation is None:
            truncation = max_length is not None and options.get("padding", False) != "max_length"
        strategy = resolve_option("truncation", truncation, "do_not_truncate", _TRUNCATIONS)
        limit = self._limit(max_length)
        if strategy and limit is None:
            raise InputError("truncation was asked for, and neither max_length nor the tokenizer names a length")
        if strategy:
            self._check_room(cast("int", limit), stride, special, any(isinstance(row, tuple) for row in rows))
        with self._lock, _ENCODING:
            if split:
                self._check_words()
            try:
                if strategy:
                    self.backend.enable_truncation(  # pyright: ignore[reportUnknownMemberType]
                        cast("int", limit), stride=stride, strategy=strategy, direction=self.truncation_side
                    )
                return self.backend.encode_batch(rows, is_pretokenized=split, add_special_tokens=special)
            finally:
                self.backend.no_truncation()

    def _check_room(self, limit: int, stride: int, special: bool, pairs: bool) -> None:
        """Refuse a length that special tokens alone exceed: the Rust library would not truncate at all."""
        added = self.backend.num_special_tokens_to_add(pairs) if special else 0
        if limit < added:
            raise InputError(f"max_length is {limit}, and the special tokens of a row alone are {added}")
        if stride and stride >= limit - added:
            raise InputError(
                f"stride is {stride}, and max_length {limit} leaves {limit - added} tokens of text in a row; "
                "windows advance only where the stride is smaller"
            )

    def _check_words(self) -> None:
        """Refuse words that would be glued together, as a byte-level encoding glues words that bring no space."""
        pair = self.backend.encode_batch([["x", "x"]], is_pretokenized=True, add_special_tokens=False)[0]
        single = self.backend.encode_batch([["x"]], is_pretokenized=True, add_special_tokens=False)[0]
        whole, once = (self.backend.decode(it.ids, skip_special_tokens=False) for it in (pair, single))
        if once.strip() and whole.strip() == once.strip() * 2:
            prefix = "load it with add_prefix_space=True, or " if "add_prefix_space" in self.own_settings else ""
            raise InputError(
                "is_split_into_words was asked for, and this tokenizer would join the words ['x', 'x'] into "
                f"{whole!r}; {prefix}pass ' '.join(words)"
            )


_ENTRIES: "dict[str, Callable[[Encoding], Any]]" = {
    "input_ids": lambda encoding: encoding.ids,
    "token_type_ids": lambda encoding: encoding.type_ids,
    "attention_mask": lambda encoding: encoding.attention_mask,
    "special_tokens_mask": lambda encoding: encoding.special_tokens_mask,
    "offset_mapping": lambda encoding: encoding.offsets,
    "length": len,
}
