"""Arguments of a tokenizer call: options by name, and rows of text in the form that the backend takes."""

import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypedDict, cast

from ..errors import InputError, UsageError, nearest
from .tensors import TensorKind

__all__ = [
    "CallOptions",
    "Padding",
    "Side",
    "Text",
    "Truncation",
    "check_count",
    "check_options",
    "check_side",
    "resolve_option",
    "split_rows",
]

Side = Literal["left", "right"]
Padding = bool | Literal["longest", "max_length", "do_not_pad"]
Truncation = bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"]
Text = str | Sequence[str]
"""One text or, with `is_split_into_words`, the words of one."""


class CallOptions(TypedDict, total=False):
    """Options of a tokenizer call."""

    padding: Padding
    """True or "longest" to the longest row, "max_length" to that length, False (the default) for ragged rows."""
    truncation: Truncation | None
    """True or "longest_first", "only_first", "only_second": which text is cut to fit `max_length`; by default True if
    `max_length` is passed and rows are not padded to it."""
    stride: int
    """With `return_overflowing_tokens`, how many tokens a window has in common with the one before; 0 by default."""
    return_tensors: TensorKind | None
    """"pt" (PyTorch), "np" (NumPy), "jax", "tf", or None for lists."""
    add_special_tokens: bool
    """Add the special tokens that the model expects around texts, if any; True by default."""
    is_split_into_words: bool
    """Whether a text is a list of words."""
    padding_side: Side | None
    """"left" or "right"; overrides the tokenizer's own."""
    pad_to_multiple_of: int | None
    """Round padded lengths up to this."""
    return_token_type_ids: bool | None
    """Return `token_type_ids`, 0 for the first text and 1 for the second; like the mask, returned by default if
    `model_input_names` has it."""
    return_attention_mask: bool | None
    """Return `attention_mask`, 1 for tokens and 0 for padding."""
    return_overflowing_tokens: bool
    """Return what truncation cuts off as further rows, the windows over a long text, and
    `overflow_to_sample_mapping`, which text each row is of."""
    return_offsets_mapping: bool
    """Return `offset_mapping`, each token's (start, end) characters in its text."""
    return_special_tokens_mask: bool
    """Return `special_tokens_mask`, 1 for special tokens."""
    return_length: bool
    """Return `length`, the number of tokens of each row, including padding."""
    verbose: bool
    """Has no effect."""


_OPTIONS = CallOptions.__annotations__


def check_options(options: CallOptions) -> None:
    """Refuse options that calling a tokenizer does not have, and a stride that is no number.

    Raises:
        UsageError: an unknown option.
        InputError: the stride is negative, or no integer.
    """
    if not options.keys() <= _OPTIONS.keys():
        name = next(name for name in options if name not in _OPTIONS)
        raise UsageError(f"calling a tokenizer has no option {name!r}{nearest(name, _OPTIONS)}")
    stride: Any = options.get("stride", 0)
    if not isinstance(stride, int) or isinstance(stride, bool) or stride < 0:
        raise InputError(f"stride is {stride!r}; expected a number of tokens from 0")


def resolve_option(name: str, value: bool | str, off: str, choices: Iterable[str]) -> str | None:
    """Return the chosen strategy: the first for True, None for False and `off`.

    Raises:
        InputError: an unknown option.
    """
    names = list(choices)
    if value is True:
        return names[0]
    if value is False or value == off:
        return None
    if value not in names:
        raise InputError(f"{name} is {value!r}; expected True, False or one of {', '.join(names)}")
    return value


def check_side(name: str, side: Side) -> Side:
    """Return a valid side.

    Raises:
        InputError: it is neither "left" nor "right".
    """
    if side not in ("left", "right"):
        raise InputError(f"{name} is {side!r}; expected 'left' or 'right'")
    return side


def check_count(name: str, count: int | None) -> None:
    """Check an optional number of tokens.

    Raises:
        InputError: it is neither None nor a positive integer.
    """
    if count is not None and (type(count) is not int or count < 1):
        raise InputError(f"{name} is {count!r}; expected a positive integer or None")


# -- rows of text ------------------------------------------------------------------------------------------------


def split_rows(text: Any, pair: Any, split: bool) -> tuple[list[Any], bool]:
    """Return the backend's input, one entry a row, and whether a single text was passed.

    Args:
        text: one text, a list of texts, or a list of pairs.
        pair: the second text, or as many as there are texts, or None.
        split: whether a text is a list of words.

    Raises:
        InputError: the texts have the wrong types, are empty, or differ in number from the second texts.
    """
    single, one = _is_text(text, split), "list of words" if split else "string"
    texts = [text] if single else _as_list(text, f"text is {{}}; expected a {one} or a list of such")
    if not texts:
        raise InputError("no text was passed; expected a string or a non-empty list of them")
    if pair is None:
        rows = [tuple(row) if _is_pair(row) and not _is_text(row, split) else row for row in texts]
    else:
        rows = _join(
            texts, [pair] if single else _as_list(pair, "text_pair is {}, text is a list; expected a list too")
        )
    for i, row in enumerate(rows):
        _check_row(i, row, one, split)
    return rows, single


def _join(texts: list[Any], pairs: list[Any]) -> list[Any]:
    if len(pairs) != len(texts):
        raise InputError(f"{len(texts)} texts were passed with {len(pairs)} second texts; pass as many")
    return list(zip(texts, pairs, strict=True))


def _check_row(index: int, row: Any, one: str, split: bool) -> None:
    if not _is_text(row, split) and not (_is_pair(row) and all(_is_text(part, split) for part in row)):
        raise InputError(f"text {index} is {reprlib.repr(row)}; expected a {one} or a pair of them")


def _as_list(texts: Any, message: str) -> list[Any]:
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise InputError(message.format(reprlib.repr(texts)))
    return list(cast("Iterable[Any]", texts))


def _is_text(text: Any, split: bool) -> bool:
    if not split:
        return isinstance(text, str)
    return isinstance(text, (list, tuple)) and all(isinstance(word, str) for word in cast("list[Any]", text))


def _is_pair(row: Any) -> bool:
    return isinstance(row, (tuple, list)) and len(cast("list[Any]", row)) == 2
