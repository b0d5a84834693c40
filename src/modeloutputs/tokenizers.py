"""Tokenizers over the `tokenizers` library: text in, ids, masks and offsets out, as lists or any framework's arrays."""

import json
import os
import reprlib
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from .checkpoints import atomic_path, find_checkpoint, read_json
from .errors import CheckpointNotFoundError, FileFormatError, InputError, MissingDependencyError, nearest

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["BatchEncoding", "BertTokenizer"]

Side = Literal["left", "right"]
Padding = bool | Literal["longest", "max_length", "do_not_pad"]
Truncation = bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"]
TensorKind = Literal["pt", "np", "jax", "tf"]
Text = str | Sequence[str]
"""One text or, with `is_split_into_words`, the words of one."""


class BatchEncoding(dict[str, Any]):
    """What a tokenizer returns: a dict to pass on as `model(**encoding)`, with its entries as attributes too."""

    def __init__(self, entries: dict[str, Any], encodings: "list[Encoding]") -> None:
        super().__init__(entries)
        self.encodings = encodings

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this encoding has no {name!r}; it has {', '.join(self)}") from None

    def tokens(self, row: int = 0) -> list[str]:
        """Return a row's tokens as text, padding included."""
        return self.encodings[row].tokens

    def word_ids(self, row: int = 0) -> list[int | None]:
        """Return for each token the index of its word in the text, None for special tokens."""
        return self.encodings[row].word_ids

    def sequence_ids(self, row: int = 0) -> list[int | None]:
        """Return for each token whether it is of the first text (0) or the second (1), None for special tokens."""
        return self.encodings[row].sequence_ids

    def to(self, device: Any) -> Self:
        """Move PyTorch tensors to a device; return a new encoding."""
        moved = {name: value.to(device) if hasattr(value, "to") else value for name, value in self.items()}
        return type(self)(moved, self.encodings)


class BertTokenizer:
    """BERT's tokenizer: WordPiece (Devlin et al., 2019, section 3), `[CLS] text [SEP]` or `[CLS] a [SEP] b [SEP]`."""

    model_input_names = ("input_ids", "token_type_ids", "attention_mask")

    def __init__(
        self,
        backend: "Tokenizer",
        *,
        model_max_length: int | None = None,
        padding_side: Side = "right",
        truncation_side: Side = "right",
        special_tokens: dict[str, str] | None = None,
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.model_max_length = model_max_length
        self.padding_side: Side = _check_side("padding_side", padding_side)
        self.truncation_side: Side = _check_side("truncation_side", truncation_side)
        self._special_tokens = {**_SPECIAL_TOKENS, **(special_tokens or {})}
        self._lock = threading.Lock()  # truncation is a setting of the backend, not an argument

    # -- loading and saving -------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, revision: str | None = None, **settings: Any
    ) -> Self:
        """Load from a checkpoint folder or hub id that has tokenizer.json or vocab.txt.

        Args:
            name_or_path: the folder, or the id.
            revision: branch, tag or commit, of a hub id.
            **settings: over those of tokenizer_config.json: `model_max_length`, `padding_side`, `truncation_side`,
                `do_lower_case`, `strip_accents`, `tokenize_chinese_chars`, and special tokens like `pad_token`.

        Raises:
            CheckpointNotFoundError: no folder, no such id, or neither file in it.
            FileFormatError: a file is corrupt.
            InputError: a setting that there is not, or of a value that cannot be.
        """
        _check_settings(settings)
        folder = find_checkpoint(name_or_path, revision, weights=False)
        path = folder / "tokenizer_config.json"
        config = {**(read_json(path) if path.is_file() else {}), **settings}
        special_tokens = {name: _token_text(name, config[name]) for name in _SPECIAL_TOKENS if config.get(name)}
        limit = config.get("model_max_length")
        return cls(
            _read_backend(folder, config, {**_SPECIAL_TOKENS, **special_tokens}),
            model_max_length=limit if isinstance(limit, int) and limit < 10**9 else None,
            padding_side=config.get("padding_side", "right"),
            truncation_side=config.get("truncation_side", "right"),
            special_tokens=special_tokens,
        )

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, vocab.txt and tokenizer_config.json, which other libraries read, each atomically."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        vocabulary = sorted(self.backend.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
        config = {
            "tokenizer_class": type(self).__name__,
            "model_max_length": self.model_max_length or 10**30,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            **{setting: getattr(self.backend.normalizer, ours, default) for setting, ours, default in _NORMALIZATION},
            **self._special_tokens,
        }
        contents = {
            "tokenizer.json": self.backend.to_str(pretty=True),
            "vocab.txt": "".join(f"{token}\n" for token, _ in vocabulary),
            "tokenizer_config.json": json.dumps(config, indent=2, sort_keys=True) + "\n",
        }
        for name, text in contents.items():
            with atomic_path(target / name) as path:
                path.write_text(text, encoding="utf-8")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())  # a lock cannot go to another process

    # -- vocabulary ---------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # cls_token, pad_token_id and their like
        special = self.__dict__.get("_special_tokens", {})
        if name in special:
            return special[name]
        if name.endswith("_id") and name.removesuffix("_id") in special:
            return self.backend.token_to_id(special[name.removesuffix("_id")])
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def __len__(self) -> int:
        return self.backend.get_vocab_size(with_added_tokens=True)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, those added later not counted."""
        return self.backend.get_vocab_size(with_added_tokens=False)

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str | None]:
        """Return the tokens that ids stand for, None for ids outside the vocabulary."""
        return [self.backend.id_to_token(int(i)) if 0 <= i < _MAX_ID else None for i in ids]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """Return the ids of tokens, the unknown token's for those that are none."""
        unknown = self.backend.token_to_id(self._special_tokens["unk_token"])
        ids = [self.backend.token_to_id(token) for token in tokens]
        return [cast("int", unknown) if i is None else i for i in ids]

    def tokenize(self, text: str) -> list[str]:
        """Return the tokens of a text, without special ones."""
        return self(text, add_special_tokens=False).tokens()

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text that ids stand for; ids beyond the vocabulary stand for none.

        Raises:
            InputError: a negative id, such as the -100 of labels that losses ignore.
        """
        numbers = [int(i) for i in ids]
        if min(numbers, default=0) < 0 or max(numbers, default=0) >= _MAX_ID:
            wrong = next(i for i in numbers if not 0 <= i < _MAX_ID)
            raise InputError(f"{wrong} is no token id; leave out ids like -100 before decoding")
        return self.backend.decode(numbers, skip_special_tokens=skip_special_tokens)

    def batch_decode(self, rows: Iterable[Iterable[int]], *, skip_special_tokens: bool = False) -> list[str]:
        """Return the text of each row of ids."""
        return [self.decode(row, skip_special_tokens=skip_special_tokens) for row in rows]

    # -- encoding -----------------------------------------------------------------------------------------------

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
        return_token_type_ids: bool = True,
        return_attention_mask: bool = True,
        return_offsets_mapping: bool = False,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
    ) -> BatchEncoding:
        """Turn texts into ids.

        Args:
            text: one text, a list of texts, or a list of (text, second text) pairs.
            text_pair: the second text, or as many as there are texts.
            padding: True or "longest" to the longest row, "max_length" to that length, False for ragged rows.
            truncation: True or "longest_first", "only_first", "only_second": which text gives way beyond `max_length`;
                where not passed, True if `max_length` is and rows are not padded to it.
            max_length: tokens, special ones included; the model's limit where not passed.
            return_tensors: "pt" (PyTorch), "np" (NumPy), "jax", "tf", or None for lists.
            add_special_tokens: put in [CLS] and [SEP].
            is_split_into_words: a text is a list of words.
            padding_side: "left" or "right", over the tokenizer's own.
            pad_to_multiple_of: round padded lengths up to this.
            return_token_type_ids: return `token_type_ids`, 0 for the first text and 1 for the second.
            return_attention_mask: return `attention_mask`, 1 for tokens and 0 for padding.
            return_offsets_mapping: return `offset_mapping`, each token's (start, end) characters in its text.
            return_special_tokens_mask: return `special_tokens_mask`, 1 for special tokens.
            return_length: return `length`, each row's number of tokens, padding included.

        Returns:
            `input_ids` and what was asked for: (batch, seq) int64 arrays, or lists, flat ones for a single text.

        Raises:
            InputError: no text, texts and pairs of different number, rows of different length for an array, or an
                option that cannot be.
        """
        rows, single = _rows(text, text_pair, is_split_into_words)
        if truncation is None:
            truncation = max_length is not None and padding != "max_length"
        encodings = self._encode(rows, truncation, max_length, add_special_tokens, is_split_into_words)
        self._pad(encodings, padding, max_length, padding_side or self.padding_side, pad_to_multiple_of)
        wanted: dict[str, Callable[[Encoding], Any]] = {"input_ids": lambda e: e.ids}
        if return_token_type_ids:
            wanted["token_type_ids"] = lambda e: e.type_ids
        if return_attention_mask:
            wanted["attention_mask"] = lambda e: e.attention_mask
        if return_special_tokens_mask:
            wanted["special_tokens_mask"] = lambda e: e.special_tokens_mask
        if return_offsets_mapping:
            wanted["offset_mapping"] = lambda e: e.offsets
        if return_length:
            wanted["length"] = lambda e: len(e)
        entries: dict[str, Any] = {name: [get(e) for e in encodings] for name, get in wanted.items()}
        if return_tensors is not None:
            _check_even(encodings)
            entries = {name: _as_array(values, return_tensors) for name, values in entries.items()}
        elif single:
            entries = {name: values[0] for name, values in entries.items()}
        return BatchEncoding(entries, encodings)

    def encode(self, text: Text, text_pair: Text | None = None, **options: Any) -> list[int]:
        """Return the ids of one text or pair; `options` are those of calling the tokenizer."""
        return self(text, text_pair, **options)["input_ids"]

    def _encode(
        self,
        rows: list[Any],
        truncation: Truncation,
        max_length: int | None,
        add_special_tokens: bool,
        is_split_into_words: bool,
    ) -> "list[Encoding]":
        strategy = _option("truncation", truncation, "do_not_truncate", _TRUNCATIONS)
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
        """Return the length to cut off or pad to."""
        _check_count("max_length", max_length)
        return self.model_max_length if max_length is None else max_length

    def _check_room(self, limit: int, pairs: bool) -> None:
        """Refuse a length that special tokens alone exceed: the Rust library would not truncate at all."""
        special = self.backend.num_special_tokens_to_add(pairs)
        if limit < special:
            raise InputError(f"max_length is {limit}, and the special tokens of a row alone are {special}")

    def _pad(
        self,
        encodings: "list[Encoding]",
        padding: Padding,
        max_length: int | None,
        side: Side,
        multiple: int | None,
    ) -> None:
        strategy = _option("padding", padding, "do_not_pad", {"longest": "longest", "max_length": "max_length"})
        _check_side("padding_side", side)
        _check_count("pad_to_multiple_of", multiple)
        if strategy is None:
            return
        length = max(map(len, encodings)) if strategy == "longest" else self._limit(max_length)
        if length is None:
            raise InputError("padding='max_length' was asked for, and neither max_length nor the tokenizer names it")
        length = -(-length // multiple) * multiple if multiple else length
        token, token_id = self._special_tokens["pad_token"], self.pad_token_id
        if token_id is None:
            raise InputError(f"padding was asked for, and the padding token {token!r} is not in the vocabulary")
        for encoding in encodings:
            encoding.pad(  # pyright: ignore[reportUnknownMemberType]
                length, direction=side, pad_id=token_id, pad_type_id=0, pad_token=token
            )


_SPECIAL_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
# How tokenizer_config.json calls what BERT's normalizer does, how the normalizer calls it, and the default.
_NORMALIZATION = (
    ("do_lower_case", "lowercase", True),
    ("strip_accents", "strip_accents", None),
    ("tokenize_chinese_chars", "handle_chinese_chars", True),
)
_SETTINGS = (
    "model_max_length",
    "padding_side",
    "truncation_side",
    *(setting for setting, _, _ in _NORMALIZATION),
    *_SPECIAL_TOKENS,
)
_MAX_ID = 2**32
_TRUNCATIONS = {"longest_first": "longest_first", "only_first": "only_first", "only_second": "only_second"}


def _option(name: str, value: bool | str, off: str, choices: dict[str, str]) -> str | None:
    """Resolve True to the first choice and False to None."""
    if value is True:
        return next(iter(choices.values()))
    if value is False or value == off:
        return None
    if value not in choices:
        raise InputError(f"{name} is {value!r}; expected True, False or one of {', '.join(choices)}")
    return choices[value]


def _check_side(name: str, side: Side) -> Side:
    if side not in ("left", "right"):
        raise InputError(f"{name} is {side!r}; expected 'left' or 'right'")
    return side


def _check_count(name: str, count: int | None) -> None:
    if count is not None and (not isinstance(count, int) or count < 1):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"{name} is {count!r}; expected a positive integer or None")


def _check_settings(settings: dict[str, Any]) -> None:
    for name in settings:
        if name not in _SETTINGS:
            raise InputError(f"tokenizers have no setting {name!r}{nearest(name, _SETTINGS)}")


def _token_text(name: str, token: Any) -> str:
    """Return a special token's text, which tokenizer_config.json gives alone or within a description."""
    text = cast("dict[str, Any]", token).get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise FileFormatError(f"the tokenizer's {name} is {token!r}; expected a text")
    return text


# -- reading files ------------------------------------------------------------------------------------------------


def _read_backend(folder: Path, config: dict[str, Any], special_tokens: dict[str, str]) -> "Tokenizer":
    from tokenizers import Tokenizer

    if (folder / "tokenizer.json").is_file():
        read_json(folder / "tokenizer.json")  # says better than the Rust library what is wrong with a broken file
        try:
            backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # noqa: BLE001  # the Rust library raises bare Exception
            raise FileFormatError(f"{str(folder / 'tokenizer.json')!r} is no tokenizer: {error}") from None
        _set_normalization(backend, config)
        return backend
    if (folder / "vocab.txt").is_file():
        return _wordpiece(_read_vocabulary(folder / "vocab.txt"), config, special_tokens)
    raise CheckpointNotFoundError(f"{str(folder)!r} has neither tokenizer.json nor vocab.txt")


def _set_normalization(backend: "Tokenizer", config: dict[str, Any]) -> None:
    """Have settings that were passed, or that tokenizer_config.json names, win over tokenizer.json, as in the peer."""
    from tokenizers.normalizers import BertNormalizer

    normalizer = backend.normalizer
    if isinstance(normalizer, BertNormalizer):
        for setting, ours, _ in _NORMALIZATION:
            if setting in config:
                setattr(normalizer, ours, config[setting])


def _read_vocabulary(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{str(path)!r} is not a vocabulary in UTF-8: {error}") from None
    return {token.rstrip("\r"): i for i, token in enumerate(lines[:-1] if lines[-1] == "" else lines)}


def _wordpiece(vocabulary: dict[str, int], config: dict[str, Any], special_tokens: dict[str, str]) -> "Tokenizer":
    """Assemble BERT's tokenizer around a vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    lost = [token for token in special_tokens.values() if token not in vocabulary]
    if lost:
        raise FileFormatError(f"the vocabulary lacks the special tokens {', '.join(lost)}")
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=special_tokens["unk_token"]))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    cls, sep = special_tokens["cls_token"], special_tokens["sep_token"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])],
    )
    special = [AddedToken(token, special=True) for token in special_tokens.values()]
    backend.add_special_tokens(special)  # pyright: ignore[reportUnknownMemberType]
    return backend


# -- rows in, arrays out --------------------------------------------------------------------------------------------


def _rows(text: Any, pair: Any, split: bool) -> tuple[list[Any], bool]:
    """Return what the backend encodes, one entry a row, and whether a single text was passed."""
    single, one = _is_one(text, split), "list of words" if split else "string"
    texts = [text] if single else _as_list(text, f"text is {{}}; expected a {one} or a list of such")
    pairs: list[Any] = []
    if pair is not None:
        pairs = [pair] if single else _as_list(pair, "text_pair is {}, text is a list; expected a list too")
    if not texts:
        raise InputError("no text was passed; expected a string or a non-empty list of them")
    if pair is not None and len(pairs) != len(texts):
        raise InputError(f"{len(texts)} texts were passed with {len(pairs)} second texts; pass as many")
    rows = list(zip(texts, pairs, strict=True)) if pair is not None else texts
    for i, row in enumerate(rows):
        if not _is_text(row, split) and not (_is_pair(row) and all(_is_text(part, split) for part in row)):
            raise InputError(f"text {i} is {reprlib.repr(row)}; expected a {one} or a pair of them")
    return [tuple(row) if pair is None and _is_pair(row) and not _is_text(row, split) else row for row in rows], single


def _as_list(texts: Any, message: str) -> list[Any]:
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise InputError(message.format(reprlib.repr(texts)))
    return list(cast("Iterable[Any]", texts))


def _is_one(text: Any, split: bool) -> bool:
    if not split:
        return isinstance(text, str)
    return isinstance(text, (list, tuple)) and all(isinstance(word, str) for word in cast("list[Any]", text))


def _is_text(value: Any, split: bool) -> bool:
    return _is_one(value, split)


def _is_pair(row: Any) -> bool:
    return isinstance(row, (tuple, list)) and len(cast("list[Any]", row)) == 2


def _check_even(encodings: "list[Encoding]") -> None:
    lengths = {len(encoding) for encoding in encodings}
    if len(lengths) > 1:
        raise InputError(
            f"rows have {min(lengths)} to {max(lengths)} tokens and cannot be one array; "
            "pass padding=True, and truncation=True where max_length is to hold"
        )


def _as_array(values: list[Any], kind: str) -> Any:
    if kind not in _ARRAYS:
        raise InputError(f"return_tensors is {kind!r}; expected one of {', '.join(_ARRAYS)}, or None")
    import numpy as np

    try:
        return _ARRAYS[kind](np.asarray(values, dtype=np.int64))
    except ImportError:
        extra = {"pt": "torch", "jax": "flax", "tf": "tensorflow"}[kind]
        raise MissingDependencyError(f"return_tensors={kind!r} needs modeloutputs[{extra}]") from None


def _torch_array(array: Any) -> Any:
    import torch

    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]


def _jax_array(array: Any) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(array, dtype=int)  # pyright: ignore[reportUnknownMemberType]  # int32 unless x64 is enabled


def _tensorflow_array(array: Any) -> Any:
    import tensorflow as tf

    return tf.constant(array)


_ARRAYS: dict[str, Callable[[Any], Any]] = {
    "pt": _torch_array,
    "np": lambda array: array,
    "jax": _jax_array,
    "tf": _tensorflow_array,
}
