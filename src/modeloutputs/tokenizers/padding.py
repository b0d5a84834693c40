"""Padding: rows of different lengths made one length, those of a call and those that are ids already."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..errors import InputError
from .arguments import Padding, Side, check_count, check_side, resolve_option
from .encoding import BatchEncoding
from .tensors import TensorKind, as_arrays, kind_of
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Encoding

__all__ = ["Padder"]

_PADDINGS = ("longest", "max_length")
Rows = dict[str, list[Any]]


class Padder(Vocabulary):
    """Brings rows to one length."""

    model_input_names: Sequence[str]
    model_max_length: int | None
    padding_side: Side
    pad_token_type_id = 0

    def pad(
        self,
        encoded_inputs: Any,
        padding: Padding = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: Side | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: TensorKind | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad rows that are ids already, as a collator does with the rows of a dataset.

        `input_ids`, `attention_mask` (made if it is missing), `token_type_ids` and `special_tokens_mask` are padded; an
        entry of one number a row, such as a label, is taken as it is.

        Args:
            encoded_inputs: rows as a list of mappings, or a mapping of lists of rows, or one row's mapping.
            padding, max_length, pad_to_multiple_of, padding_side, return_tensors: as in calling the tokenizer; arrays
                that come in go out as arrays of the same framework.
            return_attention_mask: whether to return `attention_mask`; by default, if `model_input_names` has it.
            verbose: has no effect.

        Raises:
            InputError: rows have no input_ids or different entries; there is no padding token; an invalid option.

        Examples:
            >>> from tokenizers import Tokenizer, models
            >>> from modeloutputs.tokenizers import PreTrainedTokenizer
            >>> backend = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1}, unk_token="<pad>"))
            >>> tokenizer = PreTrainedTokenizer(backend, pad_token="<pad>")
            >>> tokenizer.pad([{"input_ids": [1, 1]}, {"input_ids": [1]}])
            {'input_ids': [[1, 1], [1, 0]], 'attention_mask': [[1, 1], [1, 0]]}
        """
        rows, single = _as_rows(encoded_inputs)
        kind = return_tensors or kind_of(rows["input_ids"])
        rows = {name: [_as_list(value) for value in values] for name, values in rows.items()}
        if "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask:
            rows.setdefault("attention_mask", [[1] * len(row) for row in rows["input_ids"]])
        lengths = list(map(len, rows["input_ids"]))
        length = self._length(lengths, padding, max_length, pad_to_multiple_of)
        if length is not None and any(n < length for n in lengths):
            side = check_side("padding_side", padding_side or self.padding_side)
            rows = self._fill(rows, length, side)
        if kind is not None and not single:
            return BatchEncoding(as_arrays(rows, kind))
        if single:
            entries: dict[str, Any] = {name: values[0] for name, values in rows.items()}
            return BatchEncoding(entries if kind is None else as_arrays(entries, kind, rows=False))
        return BatchEncoding(rows)

    def _fill(self, rows: Rows, length: int, side: Side) -> Rows:
        fillers = {
            "input_ids": self._padding_token()[1],
            "attention_mask": 0,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
        }

        def fill(row: list[Any], filler: int) -> list[Any]:
            missing = [filler] * (length - len(row))
            return [*missing, *row] if side == "left" else [*row, *missing]

        return {
            name: [fill(row, fillers[name]) for row in values] if name in fillers else values
            for name, values in rows.items()
        }

    def _length(self, lengths: list[int], padding: Padding, max_length: int | None, multiple: int | None) -> int | None:
        """Return the length to pad to, None for none."""
        strategy = resolve_option("padding", padding, "do_not_pad", _PADDINGS)
        check_count("pad_to_multiple_of", multiple)
        if strategy is None:
            return None
        length = max(lengths) if strategy == "longest" else self._limit(max_length)
        if length is None:
            raise InputError("padding='max_length' was asked for, and neither max_length nor the tokenizer names it")
        return -(-length // multiple) * multiple if multiple else length

    def _limit(self, max_length: int | None) -> int | None:
        """Return the length to truncate or pad to."""
        check_count("max_length", max_length)
        return self.model_max_length if max_length is None else max_length

    def _pad_encodings(
        self,
        encodings: "list[Encoding]",
        padding: Padding,
        max_length: int | None,
        side: Side,
        multiple: int | None,
    ) -> None:
        check_side("padding_side", side)
        length = self._length(list(map(len, encodings)), padding, max_length, multiple)
        if length is None:
            return
        token, token_id = self._padding_token()
        for encoding in encodings:
            encoding.pad(  # pyright: ignore[reportUnknownMemberType]
                length, direction=side, pad_id=token_id, pad_type_id=self.pad_token_type_id, pad_token=token
            )

    def _padding_token(self) -> tuple[str, int]:
        token, token_id = self.pad_token, self.pad_token_id
        if token is None or token_id is None:
            raise InputError(
                "padding was asked for, and the tokenizer has no padding token; set one, "
                f"such as tokenizer.pad_token = {self.eos_token or '<pad>'!r}, or pass pad_token to from_pretrained"
            )
        return token, token_id


def _as_rows(inputs: Any) -> tuple[Rows, bool]:
    """Return each entry's rows, and whether a single row was passed."""
    if isinstance(inputs, Mapping):
        entries = cast("Mapping[str, Any]", inputs)
    else:
        several = isinstance(inputs, Sequence) and not isinstance(inputs, str)
        examples: list[Any] = list(cast("Sequence[Any]", inputs)) if several else []
        if not examples or not all(isinstance(example, Mapping) for example in examples):
            raise InputError(
                f"a {_kind(cast('object', inputs))} cannot be padded; expected a mapping or a list of such"
            )
        missing: list[str] = [name for example in examples for name in {*examples[0]} ^ {*example}]
        if missing:
            raise InputError(f"some rows have {missing[0]!r} and some have not; expected the same entries in all")
        entries = {str(name): [example[name] for example in examples] for name in examples[0]}
    ids: Any = entries.get("input_ids")
    if ids is None or not len(ids):
        raise InputError(f"rows to pad need input_ids; there are {', '.join(map(str, entries)) or 'no entries'}")
    single = not isinstance(ids[0], (list, tuple)) and not getattr(ids[0], "ndim", 0)
    rows: Rows = {name: [value] if single else list(value) for name, value in entries.items()}
    uneven = next((name for name, values in rows.items() if len(values) != len(rows["input_ids"])), None)
    if uneven is not None:
        raise InputError(f"{uneven} has {len(rows[uneven])} rows, and input_ids {len(rows['input_ids'])}")
    return rows, single


def _kind(value: object) -> str:
    return type(value).__name__


def _as_list(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__array__"):  # TensorFlow's
        return value.__array__().tolist()
    return list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value
