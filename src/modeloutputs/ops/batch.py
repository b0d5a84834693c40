"""Batches of outputs: joined, split, chosen from, padded and freed of padding, by the names of their axes.

What is done to an array follows from its field's annotation: `batch` axes hold the rows, `seq`, `past` and `enc_seq`
axes may be padded, others must agree. So every field of every class is treated right, caches and attentions included,
whichever framework's arrays it holds; placeholders for layers that were not asked for stay where they are.

What is of the batch and not of its rows, as a loss is, cannot be divided: `concat` lists the parts' losses one by one,
and the outputs that `select`, `split` and `unpad` return have none.
"""

import itertools
import numbers
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ..arrays import tracing
from ..arrays.backends import get_backend, to_numpy
from ..arrays.base import Backend
from ..arrays.dtypes import can_represent, dtype_name
from ..display.text import shape_of, summary
from ..errors import ContractError, InputError, UsageError, nearest
from ..output import ModelOutput, field_names
from ..output.contract import BATCH_AXIS, PADDABLE_AXES
from ..output.nested import is_array
from .mapping import Leaf, Padding, Walk

__all__ = ["concat", "pad", "select", "split", "unpad"]

Output = TypeVar("Output", bound=ModelOutput)

Side = str | Mapping[str, str]

FILLED_FROM_FRONT = frozenset({"max_length", "new"})
"""Axes whose padding is always on the right: a cache of constant shape, and the tokens that `generate` chose."""

# Logits may be of the last positions of `seq` alone, where a model was told to keep no others.
_AGREEING = PADDABLE_AXES - {"seq"}


# -- operations -----------------------------------------------------------------------------------------------------


def concat(outputs: Iterable[Output], *, side: Side = "right", padding: Padding = None) -> Output:
    """Join outputs of one class into one with the rows of all, in order; shorter ones are padded.

    A loss is no quantity of a row: the parts' losses become one 1-D array, and nothing is averaged. Losses that are
    given row by row, or label by label, are joined as they are.

    Args:
        outputs: with the same fields, and the same layers in them.
        side: "right" or "left", where padding goes; or one of these by axis name, as `{"past": "left"}`. On the left
            for outputs of later calls with a cache, whose `seq` axes are the last ones of `past`. Always on the right
            are `max_length` and `new`, which are filled from the front.
        padding: what padding holds; or that by field. 0 unless passed, but minus infinity in logits over positions,
            which no argmax then chooses.

    Raises:
        UsageError: there is no output, or they are of different classes, fields, layers or frameworks.
        ContractError: axes that cannot be padded differ, or a field names no axes.
    """
    if isinstance(outputs, ModelOutput):
        raise UsageError(f"concat was given one {type(outputs).__name__}; pass a list of outputs")
    outputs = list(outputs)
    sides = _sides(side)
    _check_padding(padding, outputs)
    rows: list[Any] = []

    def join(leaf: Leaf, arrays: list[Any]) -> Any:
        kind = _one_kind(leaf, arrays)
        if leaf.row_axis is None:
            return _listed(kind, leaf, arrays)
        if leaf.axes[leaf.row_axis] != BATCH_AXIS:
            rows.extend(() if rows else [_sizes(output).get(BATCH_AXIS) for output in outputs])
            _check_several(leaf, arrays, rows)
        lefts = {axis: sides(leaf.axes[axis]) for axis in _ragged(leaf, arrays)}
        if not lefts:
            return kind.concat(arrays, leaf.row_axis)
        return kind.pad_and_concat(arrays, leaf.row_axis, lefts, _filling(leaf, arrays[0], padding))

    return Walk(join).outputs(outputs)


def split(output: Output, sizes: int | Sequence[int]) -> list[Output]:
    """Split an output by rows: into parts of these sizes, or of one size, the last smaller where it does not divide.

    The parts share memory with the output where its framework has views.

    Raises:
        InputError: sizes do not add up to the output's rows.
        ContractError: a field names no axes.
    """
    rows = _known_rows(output)
    parts = _sizes_of_parts(sizes, rows)
    starts = itertools.accumulate(parts, initial=0)
    return [_narrow(output, rows, start, start + size) for start, size in zip(starts, parts, strict=False)]


def select(output: Output, rows: Any) -> Output:
    """Return the rows of these indices, in their order: for beams that are reordered, for sorting and sorting back.

    Args:
        output: the output.
        rows: a slice; indices, of which negative ones count from the end and any may repeat; or one boolean for each
            row. Sequences and arrays of any framework are taken; those of an accelerator or under a compiler are not
            searched for indices out of range, and booleans can choose under no compiler.

    Raises:
        InputError: they are no such thing, or a row that there is not.
        ContractError: a field names no axes.
    """
    if isinstance(rows, slice):
        count = _known_rows(output)
        start, stop, step = _bounds(cast("Any", rows), count)
        if step == 1:
            return _narrow(output, count, start, max(start, stop))
        rows = list(range(start, stop, step))
    count = _rows(output)
    wanted = _indices(rows, count)

    def take(leaf: Leaf, arrays: list[Any]) -> Any:
        array, axis = arrays[0], leaf.row_axis
        if axis is None:
            return None
        kind, several = get_backend(array), _several(leaf, array, count)
        if several == 1:
            return kind.take(array, wanted, axis)
        shape = tuple(array.shape)
        taken = kind.take(kind.reshape(array, (*shape[:axis], count, several, *shape[axis + 1 :])), wanted, axis)
        found = -1 if taken.shape[axis] is None else taken.shape[axis] * several
        return kind.reshape(taken, (*shape[:axis], found, *shape[axis + 1 :]))

    return Walk(take).outputs([output])


def pad(output: Output, *, side: Side = "right", padding: Padding = None, **lengths: int) -> Output:
    """Pad axes to these lengths: `pad(output, seq=128, enc_seq=64)`.

    Positions added to `seq` are added to `past` too, unless that is named: they are among the keys. So it is with the
    positions that `generate` returns: those added to `total` on the right are none of the `new` ones.

    Args:
        output: the output.
        side: as in `concat`.
        padding: as in `concat`.
        lengths: by axis name.

    Raises:
        InputError: an axis that the output does not have or that cannot be padded, or is longer already.
        ContractError: a field names no axes.
    """
    sizes = _sizes(output, _AGREEING)
    for name, length in lengths.items():
        lengths[name] = _length(type(output).__name__, name, length, sizes)
    if "seq" in lengths and "past" in sizes and "past" not in lengths:
        lengths["past"] = _known(sizes, "past") + lengths["seq"] - sizes["seq"]
    sides = _sides(side)
    _check_padding(padding, [output])

    def widen(leaf: Leaf, arrays: list[Any]) -> Any:
        array = arrays[0]
        missing = [lengths[name] - sizes[name] if name in lengths else 0 for name in leaf.axes]
        if not any(missing):
            return array
        widths = [
            (count, 0) if count and sides(name) else (0, count) for name, count in zip(leaf.axes, missing, strict=True)
        ]
        return get_backend(array).pad(array, widths, _filling(leaf, array, padding))

    return Walk(widen).outputs([output])


def unpad(output: Output, attention_mask: Any = None, encoder_attention_mask: Any = None) -> list[Output]:
    """Return each row as an output of its own, without padding.

    Args:
        output: the output.
        attention_mask: (batch, keys), 1 at tokens and 0 at padding, wherever it stands; (batch, choices, keys) for
            multiple choice, of which positions stay that any choice uses. Keys are all positions of a decoder, those
            before this call included: `seq` axes are its last ones. Of an encoder-decoder, the decoder's mask. None
            leaves them padded.
        encoder_attention_mask: (batch, enc_seq), of the encoder's positions; None leaves them padded.

    Returns:
        One output for each row, its batch axis 1 long. Where padding was to one side only, they share memory with
        `output` if its framework has views.

    Raises:
        InputError: neither mask is given, or one does not fit the output's axes.
        ContractError: a field names no axes.
    """
    import numpy as np

    if attention_mask is None and encoder_attention_mask is None:
        raise InputError("unpad needs attention_mask, encoder_attention_mask or both")
    rows, sizes = _known_rows(output), _sizes(output, _AGREEING)
    columns = [dict[str, Any]() for _ in range(rows)]
    # How far each row's cache of constant shape is filled, and which tokens `generate` chose, where there are such.
    filled = _array_of(output, _is_cache_index)
    generated = _array_of(output, lambda leaf: leaf.field == "generated" and leaf.axes == (BATCH_AXIS, "total"))
    for given, what, names in (
        (attention_mask, "attention_mask", PADDABLE_AXES - {"enc_seq"}),
        (encoder_attention_mask, "encoder_attention_mask", {"enc_seq"}),
    ):
        if given is None:
            continue
        mask = _mask(given, rows, what)
        lengths = {name: sizes[name] for name in names & sizes.keys()}
        _check_mask(mask, lengths, what)
        for row, tokens in enumerate(mask):
            columns[row] |= {name: tokens[max(len(tokens) - size, 0) :].nonzero()[0] for name, size in lengths.items()}
            if "max_length" in lengths and filled is not None:
                columns[row]["max_length"] = _cached(tokens, int(filled[row]), row)
            if "new" in lengths and generated is not None:
                columns[row]["new"] = np.arange(generated[row].sum())
    return [_without_padding(output, rows, row, columns[row], sizes) for row in range(rows)]


# -- rows -----------------------------------------------------------------------------------------------------------


def _sizes(output: ModelOutput, agreeing: Collection[str] = ()) -> dict[str, Any]:
    """Return how long each axis is, at most, that a field of the output has; None where a run of the graph will tell.

    Raises:
        ContractError: `batch`, or an axis of those in `agreeing`, has one length here and another there.
    """
    sizes: dict[str, Any] = {}

    def see(leaf: Leaf, arrays: list[Any]) -> None:
        for name, size in zip(leaf.axes, arrays[0].shape, strict=True):
            known = sizes.setdefault(name, size)
            if known is None or size is None:
                sizes[name] = size if known is None else known
            elif (name == BATCH_AXIS or name in agreeing) and size != known:
                raise ContractError(
                    f"{type(output).__name__}.{leaf.place}: {name} is {size}, and {known} in the fields before it"
                )
            else:
                sizes[name] = max(size, known)

    Walk(see).outputs([output])
    return sizes


def _rows(output: ModelOutput) -> Any:
    sizes = _sizes(output)
    if BATCH_AXIS not in sizes:
        raise ContractError(
            f"{type(output).__name__} has no field with an axis {BATCH_AXIS!r}: its rows cannot be told apart"
        )
    return sizes[BATCH_AXIS]


def _known_rows(output: ModelOutput) -> int:
    rows = _rows(output)
    if rows is None:
        raise InputError(
            f"how many rows the {type(output).__name__} has is not known before the graph runs; "
            "select with a tensor of indices, or give the function a batch of fixed size"
        )
    return rows


def _several(leaf: Leaf, array: Any, rows: int | None) -> int:
    """Return how many entries of an array each row has: more than one where the axis is `batch*choices`."""
    size, name = array.shape[cast("int", leaf.row_axis)], leaf.axes[cast("int", leaf.row_axis)]
    if name == BATCH_AXIS or rows == 0:
        return 1
    if rows is None or size is None:
        raise InputError(
            f"how many entries of {name} in {leaf.place} each row has is not known before the graph runs; "
            "give the function a batch of fixed size"
        )
    if size % rows:
        raise ContractError(f"{leaf.place} has {size} entries for {rows} rows; expected a multiple")
    return size // rows


def _sizes_of_parts(sizes: Any, rows: int) -> list[int]:
    """Return how many rows each part has."""
    try:
        parts = [operator.index(size) for size in sizes]
    except TypeError:
        size = _integer(sizes)
        if size is None or size < 1:
            raise InputError(
                f"sizes is {summary(sizes)}; expected the rows of each part: one number, 1 or more, or one for each"
            ) from None
        return [min(size, rows - start) for start in range(0, max(rows, 1), size)]
    if sum(parts) != rows or any(part < 0 for part in parts):
        raise InputError(f"sizes {parts} add up to {sum(parts)}; the output has {rows} rows")
    return parts


def _integer(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None


def _narrow(output: Output, rows: int, start: int, stop: int) -> Output:
    def narrow(leaf: Leaf, arrays: list[Any]) -> Any:
        array, axis = arrays[0], leaf.row_axis
        if axis is None:
            return None
        several = _several(leaf, array, rows)
        return get_backend(array).slice_along(array, axis, start * several, stop * several)

    return Walk(narrow).outputs([output])


def _bounds(rows: Any, count: int) -> tuple[int, int, int]:
    try:
        return rows.indices(count)
    except (TypeError, ValueError) as error:
        raise InputError(f"rows is {rows}; {error}") from None


def _indices(rows: Any, count: int | None) -> Any:
    """Return row indices as an integer array: of NumPy where their values are at hand, else as they were given."""
    import numpy as np

    given = rows
    if tracing.in_compiler_trace() and not is_array(rows):
        return _constant_indices(list(rows), count)
    if is_array(rows):
        kind = get_backend(rows)
        if kind.name == "torch" and (tracing.in_compiler_trace() or rows.device.type != "cpu"):
            return _unseen_indices(rows, kind, count)
        try:
            rows = kind.numpy(rows)
        except Exception:  # noqa: BLE001  # a tracer's or symbolic tensor's own error: it has no values yet
            return _unseen_indices(rows, kind, count)
    try:
        found = np.asarray(rows if is_array(rows) else list(rows))
    except (TypeError, ValueError):
        found = np.asarray(None)
    if found.size == 0 and found.ndim == 1 and found.dtype != np.bool_:
        return found.astype(np.int64)
    if found.ndim != 1 or found.dtype.kind not in "iub":
        raise _no_indices(given)
    if found.dtype.kind == "b":
        if count is not None and len(found) != count:
            raise InputError(f"rows has {len(found)} booleans; the output has {count} rows")
        return np.flatnonzero(found)
    if count is None:
        return found.astype(np.int64)
    if found.min() < -count or found.max() >= count:
        raise InputError(f"rows range from {found.min()} to {found.max()}; the output has {count} rows")
    return np.where(found < 0, found + count, found).astype(np.int64)


def _constant_indices(rows: list[Any], count: Any) -> list[int]:
    """Return indices that a compiler knows, without NumPy, which it would trace."""
    if rows and all(isinstance(row, bool) for row in rows):
        if len(rows) != count:
            raise InputError(f"rows has {len(rows)} booleans; the output has {count} rows")
        return [i for i, is_chosen in enumerate(rows) if is_chosen]
    for row in rows:
        if not -count <= row < count:
            raise InputError(f"rows has {row}; the output has {count} rows")
    return [row + count if row < 0 else row for row in rows]


def _unseen_indices(rows: Any, kind: Backend, count: int | None) -> Any:
    """Return indices whose values are not at hand, after a look at what is known of them."""
    name, shape = dtype_name(rows.dtype), shape_of(rows)
    if (shape is not None and len(shape) != 1) or not (name == "bool" or "int" in name):
        raise _no_indices(rows)
    if name != "bool":
        return rows
    if kind.name != "torch":
        raise InputError("rows are booleans without values yet, so how many they choose is not known; pass indices")
    if len(rows) != count:
        raise InputError(f"rows has {len(rows)} booleans; the output has {count} rows")
    return rows.nonzero()[:, 0]


def _no_indices(rows: Any) -> InputError:
    return InputError(f"rows is {summary(rows)}; expected a slice, 1-D indices or one boolean for each row")


# -- joining --------------------------------------------------------------------------------------------------------


def _one_kind(leaf: Leaf, arrays: list[Any]) -> Backend:
    """Return the operations for arrays of one framework, dtype and device; refuse a mixture."""
    kind = get_backend(arrays[0])
    kinds: set[Any] = {type(array) for array in arrays}
    if len(kinds) == 1 == len({kind.joining_key(array) for array in arrays}):
        return kind
    first = kind.joining_key(arrays[0])
    for i, array in enumerate(arrays):
        own = get_backend(array)
        if own.joining_key(array) != first:
            raise UsageError(
                f"{leaf.place} is {kind.describe(arrays[0])} in outputs[0] and "
                f"{own.describe(array)} in outputs[{i}]; bring them together with .to() or convert()"
            )
    return kind


def _ragged(leaf: Leaf, arrays: list[Any]) -> list[int]:
    """Return the axes in which arrays differ, beside their rows; refused where one cannot be padded."""
    shapes = [tuple(array.shape) for array in arrays]
    if len(set(shapes)) == 1 and None not in shapes[0]:
        return []
    ragged: list[int] = []
    for axis, name in enumerate(leaf.axes):
        sizes = [shape[axis] for shape in shapes]
        is_unknown = None in sizes  # before the graph runs
        if axis == leaf.row_axis or (len(set(sizes)) == 1 and not is_unknown):
            continue
        if name in PADDABLE_AXES:
            ragged.append(axis)
        elif not is_unknown:
            other = next(i for i, size in enumerate(sizes) if size != sizes[0])
            raise ContractError(
                f"{leaf.place}: {name} is {sizes[0]} in outputs[0] and {sizes[other]} in outputs[{other}]; "
                f"only {', '.join(sorted(PADDABLE_AXES))} can be padded"
            )
    return ragged


def _check_several(leaf: Leaf, arrays: list[Any], rows: list[Any]) -> None:
    """Refuse `batch*choices` axes that differ in what each row has."""
    several = {i: _several(leaf, arrays[i], count) for i, count in enumerate(rows) if count}
    for i, count in several.items():
        first, expected = next(iter(several.items()))
        if count != expected:
            raise ContractError(
                f"{leaf.place}: {leaf.axes[cast('int', leaf.row_axis)]} has {expected} for each row in "
                f"outputs[{first}] and {count} in outputs[{i}]; only {', '.join(sorted(PADDABLE_AXES))} can be padded"
            )


def _listed(kind: Backend, leaf: Leaf, arrays: list[Any]) -> Any:
    """Join what is not of rows: numbers, and lists of them."""
    rank = len(leaf.axes)
    if rank > 1:
        raise ContractError(
            f"{leaf.place} ({' '.join(leaf.axes)}) has no axis {BATCH_AXIS!r}, so it cannot be joined; drop it first"
        )
    if not rank:
        return kind.stack(arrays)
    return kind.concat([array if len(array.shape) else kind.reshape(array, (1,)) for array in arrays], 0)


# -- padding --------------------------------------------------------------------------------------------------------


def _sides(side: Any) -> Callable[[str], bool]:
    """Return a function that says whether an axis is padded on the left."""
    given: dict[Any, Any] = dict(cast("Mapping[Any, Any]", side)) if isinstance(side, Mapping) else {"": side}
    if any(value not in ("left", "right") for value in given.values()):
        raise InputError(f"side is {side!r}; expected 'left' or 'right', or one of them by axis name")
    known = sorted(PADDABLE_AXES - FILLED_FROM_FRONT)
    for name in given:
        if name and name not in known:
            raise InputError(f"side names {name!r}, no axis whose padding has a side{nearest(name, known)}")
    return lambda name: name not in FILLED_FROM_FRONT and given.get(name, given.get("", "right")) == "left"


def _check_padding(padding: Any, outputs: Sequence[ModelOutput]) -> None:
    if padding is None:
        return
    by_field: dict[Any, Any] = dict(cast("Mapping[Any, Any]", padding)) if isinstance(padding, Mapping) else {}
    for value in by_field.values() if isinstance(padding, Mapping) else (padding,):
        if not isinstance(value, numbers.Real):
            raise InputError(f"padding is {summary(padding)}; expected a number, or one by field")
    known = _fields_within(outputs[:1])
    for name in by_field:
        if name not in known:
            raise InputError(f"padding names {name!r}, which is no field{nearest(name, known)}")


def _names(value: Any) -> tuple[str, ...]:
    return field_names(value) if isinstance(value, ModelOutput) else ()


def _fields_within(value: Any) -> list[str]:
    """Return the fields of an output and of the outputs in it, absent ones included."""
    if isinstance(value, Mapping):
        own = [name for name in _names(value) if not isinstance(cast("Any", value).get(name), ModelOutput)]
        return [*own, *_fields_within(list(cast("Mapping[Any, Any]", value).values()))]
    items = cast("list[Any]", value) if isinstance(value, (list, tuple)) else []
    return [name for item in items for name in _fields_within(item)]


def _filling(leaf: Leaf, array: Any, padding: Padding) -> float:
    """Return what an array's padding holds."""
    value = leaf.padding(padding)
    if not tracing.in_compiler_trace() and not can_represent(array.dtype, value):
        raise InputError(
            f"{leaf.place} is {summary(array)}, which cannot hold a padding of {value}; "
            f"pass padding={{{leaf.field!r}: ...}}"
        )
    return value


def _length(owner: str, name: str, length: Any, sizes: Mapping[str, Any]) -> int:
    """Return the length that an axis is to have, held against that which it has."""
    able = [known for known in sizes if known in PADDABLE_AXES]
    if name not in able:
        raise InputError(f"{owner} has no axis {name!r} that can be padded{nearest(name, able)}")
    wanted = _integer(length)
    if wanted is None:
        raise InputError(f"{name} is to be {summary(length)} long; expected an integer")
    if wanted < _known(sizes, name):
        raise InputError(f"{name} is {sizes[name]} long, and cannot be padded to {wanted}")
    return wanted


def _known(sizes: Mapping[str, Any], name: str) -> int:
    if sizes[name] is None:
        raise InputError(f"how long {name} is, is not known before the graph runs; give the function a fixed length")
    return sizes[name]


# -- freeing of padding ---------------------------------------------------------------------------------------------


def _mask(given: Any, rows: int, what: str) -> Any:
    """Return a mask as booleans (rows, keys)."""
    import numpy as np

    try:
        mask = np.asarray(to_numpy(given) if is_array(given) else given)
    except ValueError:
        mask = np.asarray(None)  # rows of several lengths, or no values yet
    if mask.ndim == 3:
        mask = mask.any(axis=1) if np.isin(mask, (0, 1)).all() else np.asarray(None)
    if mask.ndim != 2 or len(mask) != rows or not np.isin(mask, (0, 1)).all():
        raise InputError(f"{what} is {summary(given)}; expected zeros and ones of shape ({rows}, keys)")
    return mask.astype(bool)


def _check_mask(mask: Any, sizes: dict[str, int], what: str) -> None:
    keys = mask.shape[1]
    whole = [name for name in ("past", "total", "enc_seq") if name in sizes]
    if not whole and "max_length" not in sizes and "seq" in sizes:
        whole = ["seq"]
    for name in whole:
        if sizes[name] != keys:
            raise InputError(f"{what} has {keys} columns; the output's {name} is {sizes[name]} long")
    if keys < sizes.get("seq", 0):
        raise InputError(f"{what} has {keys} columns; the output's seq is {sizes['seq']} long")


def _array_of(output: ModelOutput, is_wanted: Callable[[Leaf], bool]) -> Any:
    """Return the values of the array that is wanted; None where there is none."""
    found: list[Any] = []

    def see(leaf: Leaf, arrays: list[Any]) -> None:
        if is_wanted(leaf):
            found.append(get_backend(arrays[0]).numpy(arrays[0]))

    Walk(see).outputs([output])
    return found[0] if found else None


def _is_cache_index(leaf: Leaf) -> bool:
    return leaf.place.endswith(".cache_index") and leaf.axes == (BATCH_AXIS,)


def _cached(tokens: Any, filled: int, row: int) -> Any:
    """Return which positions of a cache of constant shape are tokens of a row."""
    columns = tokens.nonzero()[0]
    if len(columns) and columns[-1] >= filled:
        # Padding was put before the tokens after the cache was filled, which has its positions in front all the same.
        columns = columns - (len(tokens) - filled)
        if columns[0] < 0:
            raise InputError(
                f"attention_mask has {len(columns)} tokens in row {row}, where its cache has {filled} positions"
            )
    return columns


def _without_padding(
    output: Output, rows: int, row: int, columns: Mapping[str, Any], sizes: Mapping[str, int]
) -> Output:
    def keep(leaf: Leaf, arrays: list[Any]) -> Any:
        array = arrays[0]
        if leaf.row_axis is None:
            return None
        kind, several = get_backend(array), _several(leaf, array, rows)
        array = kind.slice_along(array, leaf.row_axis, row * several, (row + 1) * several)
        if _is_cache_index(leaf) and "max_length" in columns:
            return kind.from_numpy(kind.numpy(array) * 0 + len(columns["max_length"]))
        for axis, name in enumerate(leaf.axes):
            if name in columns:
                kept, absent = columns[name], sizes[name] - array.shape[axis]
                array = _kept(kind, array, axis, kept[kept >= absent] - absent if absent else kept)
        return array

    return Walk(keep).outputs([output])


def _kept(kind: Backend, array: Any, axis: int, columns: Any) -> Any:
    if len(columns) == array.shape[axis]:
        return array
    start, stop = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 0)
    if stop - start == len(columns):
        return kind.slice_along(array, axis, start, stop)
    return kind.take(array, columns, axis)


for _operation in (concat, split, select, pad, unpad):
    # TensorFlow's AutoGraph then leaves them as they are. It would rewrite, for seconds, whatever is called from here.
    _operation.autograph_info__ = None  # pyright: ignore[reportFunctionMemberAccess]
