"""Rows made of ids: the special tokens around them, learnt from what the backend puts around a text."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from ..errors import InputError
from .arguments import Padding, Truncation, resolve_option
from .encoder import Encoder
from .encoding import BatchEncoding
from .tensors import TensorKind

__all__ = ["Framing"]

_TRUNCATIONS = ("longest_first", "only_first", "only_second")
Part = tuple[Literal["special", "text"], int, int]
"""A special token's id, or which text, and the type id of either."""


class Framing(Encoder):
    """Special tokens around ids, as around texts."""

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Return how many special tokens stand around a text, or around a pair."""
        return self.backend.num_special_tokens_to_add(pair)

    def build_inputs_with_special_tokens(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """Return the ids of a text or a pair with the special tokens that calling the tokenizer puts around them."""
        return [i for i, _, _ in self._framed(token_ids_0, token_ids_1)]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """Return the type ids of such a row: for BERT 0 for the first text, 1 for the second, each with its [SEP]."""
        return [kind for _, kind, _ in self._framed(token_ids_0, token_ids_1)]

    def get_special_tokens_mask(
        self,
        token_ids_0: Sequence[int],
        token_ids_1: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """Return 1 for each special token of such a row, and 0 for the others.

        Args:
            token_ids_0: ids of the first text or, with `already_has_special_tokens`, of the whole row.
            token_ids_1: ids of the second text, if there is one.
            already_has_special_tokens: whether the special tokens are among the ids; all tokens of `all_special_ids`
                count then.

        Raises:
            InputError: a whole row was passed with a second text.
        """
        if not already_has_special_tokens:
            return [mask for _, _, mask in self._framed(token_ids_0, token_ids_1)]
        if token_ids_1 is not None:
            raise InputError("a row that has its special tokens was passed with a second text; pass the row alone")
        special = set(self.all_special_ids)
        return [int(int(i) in special) for i in token_ids_0]

    def _framed(self, first: Sequence[int], second: Sequence[int] | None) -> Iterator[tuple[int, int, int]]:
        """Yield id, type id, and whether it is a special token, for each token of a row."""
        texts = (first, second or ())
        for kind, value, type_id in self._frame(second is not None):
            if kind == "special":
                yield value, type_id, 1
            else:
                yield from ((int(i), type_id, 0) for i in texts[value])

    def _frame(self, pair: bool) -> list[Part]:
        """Return what stands where in a row: each special token, and each text as one part."""
        probe = self._probe()
        encoding = self.backend.encode(probe, probe if pair else None)
        parts: list[Part] = []
        for i, kind, text in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
            part: Part = ("special", i, kind) if text is None else ("text", text, kind)
            if text is None or part not in parts:
                parts.append(part)
        return parts

    def _probe(self) -> str:
        """Return a text that has tokens, in a vocabulary that may lack letters."""
        for text in ("a", *self.get_vocab()):
            if self.backend.encode(text, add_special_tokens=False).ids:
                return text
        raise InputError("the tokenizer has no vocabulary")

    def prepare_for_model(
        self,
        ids: Sequence[int],
        pair_ids: Sequence[int] | None = None,
        add_special_tokens: bool = True,
        *,
        padding: Padding = False,
        truncation: Truncation | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: TensorKind | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
        prepend_batch_axis: bool = False,
    ) -> BatchEncoding:
        """Make a row of ids: truncated, with special tokens around it, padded.

        Args:
            ids, pair_ids: ids of the first text and, if there is one, of the second.
            add_special_tokens, padding, truncation, max_length, pad_to_multiple_of, return_tensors: as in calling the
                tokenizer, as is each `return_...`.
            prepend_batch_axis: whether to return a batch of one row.

        Raises:
            InputError: no length to truncate to, or an invalid option.
        """
        if truncation is None:
            truncation = max_length is not None and padding != "max_length"
        strategy = resolve_option("truncation", truncation, "do_not_truncate", _TRUNCATIONS)
        first, second = list(ids), None if pair_ids is None else list(pair_ids)
        if strategy:
            first, second = self._cut(first, second, strategy, self._limit(max_length), add_special_tokens)
        row = list(self._framed(first, second)) if add_special_tokens else _unframed(first, second)
        wanted: dict[str, tuple[bool | None, list[int]]] = {
            "input_ids": (True, [i for i, _, _ in row]),
            "token_type_ids": (return_token_type_ids, [kind for _, kind, _ in row]),
            "special_tokens_mask": (return_special_tokens_mask, [mask for _, _, mask in row]),
        }
        names = self.model_input_names
        entries: dict[str, Any] = {
            name: values for name, (said, values) in wanted.items() if (name in names if said is None else said)
        }
        batch = {name: [values] for name, values in entries.items()} if prepend_batch_axis else entries
        padded = self.pad(batch, padding, max_length, pad_to_multiple_of, None, return_attention_mask, return_tensors)
        if return_length:
            padded["length"] = len(padded["input_ids"][0] if prepend_batch_axis else padded["input_ids"])
        return padded

    def _cut(
        self, first: list[int], second: list[int] | None, strategy: str, limit: int | None, special: bool
    ) -> tuple[list[int], list[int] | None]:
        if limit is None:
            raise InputError("truncation was asked for, and neither max_length nor the tokenizer names a length")
        room = limit - (self.num_special_tokens_to_add(second is not None) if special else 0)
        lengths = _lengths(len(first), len(second or ()), strategy, max(room, 0))
        for n, text in zip(lengths, (first, second or []), strict=True):
            if len(text) > n < 1 and strategy != "longest_first":
                raise InputError(f"truncation={strategy!r} leaves no text in max_length {limit}; truncate the other")
            text[:] = text[len(text) - n :] if self.truncation_side == "left" else text[:n]
        return first, second


def _lengths(first: int, second: int, strategy: str, room: int) -> tuple[int, int]:
    """Return how much of two texts is kept; of equally long ones, the second keeps what cannot be halved."""
    if first + second <= room:
        return first, second
    if strategy == "only_first":
        return max(room - second, 0), second
    if strategy == "only_second":
        return first, max(room - first, 0)
    shorter, longer = sorted((first, second))
    if shorter > room - shorter:
        shorter, longer = room // 2, room - room // 2
    else:
        longer = room - shorter
    return (longer, shorter) if first > second else (shorter, longer)


def _unframed(first: list[int], second: list[int] | None) -> list[tuple[int, int, int]]:
    return [*((i, 0, 0) for i in first), *((i, 1, 0) for i in second or ())]
