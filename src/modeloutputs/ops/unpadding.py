"""Removes the padding of each row, guided by an output's axis names and attention masks."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar, cast

from ..arrays.backends import to_numpy
from ..arrays.base import Backend
from ..display.text import summary
from ..errors import InputError
from ..output import ModelOutput
from ..output.contract import BATCH_AXIS, PADDABLE_AXES
from ..output.nested import is_array
from .lengths import AGREEING_AXES, axis_lengths, entries_per_row, known_rows
from .mapping import FlatOutputs, Leaf, skip_autograph

__all__ = ["unpad"]

Output = TypeVar("Output", bound=ModelOutput)

Kept = dict[str, list[Any]]
"""By axis name, for each row the positions that are not padding: 1-D arrays of NumPy, ascending."""


_ENCODER_AXES = frozenset({"enc_seq"})
_DECODER_AXES = PADDABLE_AXES - _ENCODER_AXES


@skip_autograph
def unpad(output: Output, attention_mask: Any = None, encoder_attention_mask: Any = None) -> list[Output]:
    """Return each row as an output of its own, without padding.

    Args:
        output: the output.
        attention_mask: (batch, keys), 1 at tokens and 0 at padding, on either side or both; (batch, choices, keys) for
            multiple choice, where positions stay that any choice uses. Keys are all positions of a decoder, those
            before this call included: `seq` axes are its last ones. Of an encoder-decoder, the decoder's mask. None
            leaves these axes padded.
        encoder_attention_mask: (batch, enc_seq), for the encoder's positions; None leaves them padded.

    Returns:
        One output for each row, with a batch axis of length 1. If padding was on one side only, they share memory with
        `output`, provided its framework has views.

    Raises:
        InputError: neither mask is given, or one does not fit the output's axes.
        ContractError: a field names no axes.

    Examples:
        >>> from modeloutputs.torch import BaseModelOutput
        >>> import torch
        >>> output = BaseModelOutput(last_hidden_state=torch.zeros(2, 4, 16))
        >>> rows = unpad(output, torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]))
        >>> [tuple(row.last_hidden_state.shape) for row in rows]
        [(1, 4, 16), (1, 2, 16)]
    """
    if attention_mask is None and encoder_attention_mask is None:
        raise InputError("unpad needs attention_mask, encoder_attention_mask or both")
    flat = FlatOutputs([output])
    rows, lengths = known_rows(flat), axis_lengths(flat, AGREEING_AXES)
    kept: Kept = {}
    if attention_mask is not None:
        mask = _checked_mask(attention_mask, rows, lengths, "attention_mask", _DECODER_AXES)
        kept |= _token_positions(mask, lengths, _DECODER_AXES) | _front_positions(flat, mask, lengths)
    if encoder_attention_mask is not None:
        mask = _checked_mask(encoder_attention_mask, rows, lengths, "encoder_attention_mask", _ENCODER_AXES)
        kept |= _token_positions(mask, lengths, _ENCODER_AXES)
    return flat.map_several(_Cutter(rows, lengths, kept).cut, rows)


# -- masks ----------------------------------------------------------------------------------------------------------


def _checked_mask(given: Any, rows: int, lengths: Mapping[str, int], what: str, names: Collection[str]) -> Any:
    """Return a mask as booleans (rows, keys), checked against the lengths of the axes that it concerns."""
    import numpy as np

    try:
        mask = np.asarray(to_numpy(given) if is_array(given) else given)
    except ValueError:
        mask = np.asarray(None)  # rows of several lengths, or no values yet
    if mask.ndim == 3:
        mask = mask.any(axis=1) if np.isin(mask, (0, 1)).all() else np.asarray(None)
    if mask.ndim != 2 or len(mask) != rows or not np.isin(mask, (0, 1)).all():
        raise InputError(f"{what} is {summary(given)}; expected zeros and ones of shape ({rows}, keys)")
    _check_keys(mask.shape[1], {name: lengths[name] for name in names if name in lengths}, what)
    return mask.astype(bool)


def _check_keys(keys: int, lengths: Mapping[str, int], what: str) -> None:
    whole = [name for name in ("past", "total", "enc_seq") if name in lengths]
    if not whole and "max_length" not in lengths and "seq" in lengths:
        whole = ["seq"]
    for name in whole:
        if lengths[name] != keys:
            raise InputError(f"{what} has {keys} columns; the output's {name} is {lengths[name]} long")
    if keys < lengths.get("seq", 0):
        raise InputError(f"{what} has {keys} columns; the output's seq is {lengths['seq']} long")


# -- positions to keep ----------------------------------------------------------------------------------------------


def _token_positions(mask: Any, lengths: Mapping[str, int], names: Collection[str]) -> Kept:
    """Return the positions of tokens along each axis: an axis shorter than the mask has its last columns."""
    return {
        name: [tokens[max(len(tokens) - lengths[name], 0) :].nonzero()[0] for tokens in mask]
        for name in names
        if name in lengths
    }


def _front_positions(flat: FlatOutputs[Any], mask: Any, lengths: Mapping[str, int]) -> Kept:
    """Return the positions along axes that are filled from the front, if the output says how far they are."""
    import numpy as np

    kept: Kept = {}
    filled = _values_of(flat, _is_cache_index)
    generated = _values_of(flat, lambda leaf: leaf.field == "generated" and leaf.axes == (BATCH_AXIS, "total"))
    if "max_length" in lengths and filled is not None:
        kept["max_length"] = [_cached_positions(tokens, int(filled[row]), row) for row, tokens in enumerate(mask)]
    if "new" in lengths and generated is not None:
        kept["new"] = [np.arange(row.sum()) for row in generated]
    return kept


def _values_of(flat: FlatOutputs[Any], is_wanted: Callable[[Leaf], bool]) -> Any:
    """Return the values of the first leaf that is wanted; None if there is none."""
    return next((leaf.backend.numpy(leaf.array) for leaf in flat.leaves if is_wanted(leaf)), None)


def _is_cache_index(leaf: Leaf) -> bool:
    return leaf.path.endswith(".cache_index") and leaf.axes == (BATCH_AXIS,)


def _cached_positions(tokens: Any, filled: int, row: int) -> Any:
    """Return the positions of a row's tokens in a cache of constant shape."""
    positions = tokens.nonzero()[0]
    if len(positions) and positions[-1] >= filled:
        # Padding was put before the tokens after the cache was filled, but cached positions stay in front.
        positions = positions - (len(tokens) - filled)
        if positions[0] < 0:
            raise InputError(
                f"attention_mask has {len(positions)} tokens in row {row}, but its cache has {filled} positions"
            )
    return positions


# -- cutting --------------------------------------------------------------------------------------------------------


Cuts = tuple[list[tuple[slice, ...]], list[tuple[int, int, Any]]]
"""The slices of each row; and, where its tokens do not stand side by side, row, axis and positions to take of it."""


class _Cutter:
    """Cuts arrays into rows without padding; the cuts are worked out once for all arrays of one shape and axes."""

    def __init__(self, rows: int, lengths: Mapping[str, int], kept: Kept) -> None:
        self._rows, self._lengths, self._kept = rows, lengths, kept
        self._cuts: dict[Any, Cuts] = {}

    def cut(self, leaf: Leaf) -> list[Any]:
        """Return the value of a leaf in the output of each row."""
        array, backend = leaf.array, leaf.backend
        if leaf.row_axis is None:
            return [None] * self._rows
        if _is_cache_index(leaf) and "max_length" in self._kept:
            return _cache_indices(array, backend, self._kept["max_length"])
        key = leaf.axes, tuple(array.shape)
        if key not in self._cuts:
            self._cuts[key] = self._cuts_of(leaf)
        slices, taken = self._cuts[key]
        parts = backend.slice_each(array, slices)
        for row, axis, positions in taken:
            parts[row] = backend.take(parts[row], positions, axis)
        return parts

    def _cuts_of(self, leaf: Leaf) -> Cuts:
        entries, shape = entries_per_row(leaf, self._rows), leaf.array.shape
        axes = [(axis, name) for axis, name in enumerate(leaf.axes) if name in self._kept]
        last = max([cast("int", leaf.row_axis), *(axis for axis, _ in axes)])
        all_slices: list[tuple[slice, ...]] = []
        taken: list[tuple[int, int, Any]] = []
        for row in range(self._rows):
            slices = [slice(None)] * len(shape)
            slices[cast("int", leaf.row_axis)] = slice(row * entries, (row + 1) * entries)
            for axis, name in axes:
                positions = self._positions(name, row, shape[axis])
                start, stop = (int(positions[0]), int(positions[-1]) + 1) if len(positions) else (0, 0)
                if stop - start == len(positions):
                    slices[axis] = slice(start, stop)
                else:
                    taken.append((row, axis, positions))
            all_slices.append(tuple(slices[: last + 1]))
        return all_slices, taken

    def _positions(self, name: str, row: int, size: int) -> Any:
        """Return the positions to keep along an axis, which may hold the last positions only."""
        positions, absent = self._kept[name][row], self._lengths[name] - size
        return positions[positions >= absent] - absent if absent else positions


def _cache_indices(array: Any, backend: Backend, kept: list[Any]) -> list[Any]:
    """Return for each row how far its cache is filled without padding."""
    import numpy as np

    dtype = backend.numpy(array).dtype
    return [backend.from_numpy(np.full(1, len(positions), dtype)) for positions in kept]
