"""Arguments and result of a tokenizer call: rows of text in, lists or arrays of any framework out."""

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from ..errors import InputError, MissingDependencyError
from ..frameworks import FRAMEWORKS, NICKNAMES

if TYPE_CHECKING:
    from tokenizers import Encoding

__all__ = [
    "BatchEncoding",
    "Padding",
    "Side",
    "TensorKind",
    "Text",
    "Truncation",
    "as_arrays",
    "check_count",
    "check_side",
    "resolve_option",
    "split_rows",
]

Side = Literal["left", "right"]
Padding = bool | Literal["longest", "max_length", "do_not_pad"]
Truncation = bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"]
TensorKind = Literal["pt", "np", "jax", "tf"]
Text = str | Sequence[str]
"""One text or, with `is_split_into_words`, the words of one."""


class BatchEncoding(dict[str, Any]):
    """Result of a tokenizer call: a dict to pass on as `model(**encoding)`, whose entries are attributes too.

    Examples:
        >>> encoding = BatchEncoding({"input_ids": [1, 2]}, [])
        >>> encoding.input_ids, dict(encoding)
        ([1, 2], {'input_ids': [1, 2]})
    """

    def __init__(self, entries: dict[str, Any], encodings: "list[Encoding]") -> None:
        super().__init__(entries)
        self.encodings = encodings

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this encoding has no {name!r}; it has {', '.join(self)}") from None

    def tokens(self, row: int = 0) -> list[str]:
        """Return the tokens of a row as text, including padding."""
        return self.encodings[row].tokens

    def word_ids(self, row: int = 0) -> list[int | None]:
        """Return for each token of a row the index of its word in the text; None for special tokens."""
        return self.encodings[row].word_ids

    def sequence_ids(self, row: int = 0) -> list[int | None]:
        """Return for each token of a row 0 for the first text and 1 for the second; None for special tokens."""
        return self.encodings[row].sequence_ids

    def to(self, device: Any) -> Self:
        """Move PyTorch tensors to a device; return a new encoding."""
        moved = {name: value.to(device) if hasattr(value, "to") else value for name, value in self.items()}
        return type(self)(moved, self.encodings)


# -- options --------------------------------------------------------------------------------------------------------


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
    if count is not None and (not isinstance(count, int) or count < 1):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"{name} is {count!r}; expected a positive integer or None")


# -- rows in --------------------------------------------------------------------------------------------------------


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


# -- arrays out -----------------------------------------------------------------------------------------------------


def as_arrays(entries: Mapping[str, list[Any]], kind: str) -> dict[str, Any]:
    """Return each entry's rows as one array of int64 (int32 for JAX unless x64 is enabled).

    Raises:
        InputError: rows differ in length, or `kind` is unknown.
        MissingDependencyError: the framework is not installed.
    """
    _check_even([len(row) for row in entries["input_ids"]])
    return {name: _as_array(values, kind) for name, values in entries.items()}


def _check_even(lengths: list[int]) -> None:
    if len(set(lengths)) > 1:
        raise InputError(
            f"rows have {min(lengths)} to {max(lengths)} tokens and cannot be one array; "
            "pass padding=True, and truncation=True to enforce max_length"
        )


def _as_array(values: list[Any], kind: str) -> Any:
    if kind not in NICKNAMES:
        raise InputError(f"return_tensors is {kind!r}; expected one of {', '.join(NICKNAMES)}, or None")
    import numpy as np

    name = NICKNAMES[kind]
    try:
        return _CONVERTERS[name](np.asarray(values, dtype=np.int64))
    except ImportError:
        raise MissingDependencyError(f"return_tensors={kind!r} needs modeloutputs[{FRAMEWORKS[name].folder}]") from None


def _torch_array(array: Any) -> Any:
    import torch

    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]


def _jax_array(array: Any) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(array, dtype=int)  # pyright: ignore[reportUnknownMemberType]  # int32 unless x64 is enabled


def _tensorflow_array(array: Any) -> Any:
    import tensorflow as tf

    return tf.constant(array)


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "torch": _torch_array,
    "numpy": lambda array: array,
    "jax": _jax_array,
    "tensorflow": _tensorflow_array,
}
