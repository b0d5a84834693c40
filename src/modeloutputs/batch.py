"""Batches of outputs: joined, split, chosen from, padded and freed of padding, by the names of their axes.

What is done to an array follows from its field's annotation: `batch` axes hold the rows, `seq`, `past` and `enc_seq`
axes may be padded, others must agree. So every field of every class is treated right, caches and attentions included,
whichever framework's arrays it holds; placeholders for layers that were not asked for stay where they are.

What is of the batch and not of its rows, as a loss is, cannot be divided: `concat` lists the parts' losses one by one,
and the outputs that `select`, `split` and `unpad` return have none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from .arrays import Arrays, arrays_of, is_array
from .contract import LENGTHS, ROWS
from .display import summary
from .errors import ContractError, InputError, UsageError, nearest
from .output import ModelOutput
from .walking import Leaf, Padding, Walk

__all__ = ["concat", "pad", "select", "split", "unpad"]

Output = TypeVar("Output", bound=ModelOutput)

Side = str | Mapping[str, str]


# -- operations -----------------------------------------------------------------------------------------------------


def concat(outputs: Iterable[Output], *, side: Side = "right", padding: Padding = None) -> Output:
    """Join outputs of one class into one with the rows of all, in order; shorter ones are padded.

    A loss is no quantity of a row: the parts' losses become one 1-D array, and nothing is averaged. Losses that are
    given row by row, or label by label, are joined as they are.

    Args:
        outputs: with the same fields, and the same layers in them.
        side: "right" or "left", where padding goes; or one of these by axis name, as `{"past": "left"}`.
        padding: what padding holds; or that by field. 0 unless passed, but minus infinity in logits over positions,
            which no argmax then chooses.

    Raises:
        UsageError: there is no output, or they are of different classes, fields, layers or frameworks.
        ContractError: axes that cannot be padded differ, or a field names no axes.
    """
    outputs = list(outputs)
    sides = _sides(side)

    def join(leaf: Leaf, arrays: list[Any]) -> Any:
        kind = _one_kind(leaf, arrays)
        if leaf.row_axis is None:
            return _listed(kind, leaf, arrays)
        lefts = {axis: sides(leaf.axes[axis]) for axis in _ragged(leaf, arrays)}
        if not lefts:
            return kind.concat(arrays, leaf.row_axis)
        return kind.pad_and_concat(arrays, leaf.row_axis, lefts, leaf.padding(padding))

    return Walk(join).outputs(outputs)


def split(output: Output, sizes: int | Sequence[int]) -> list[Output]:
    """Split an output by rows: into parts of these sizes, or of one size, the last smaller where it does not divide.

    The parts share memory with the output where its framework has views.

    Raises:
        InputError: sizes do not add up to the output's rows.
        ContractError: a field names no axes.
    """
    rows = _rows(output)
    if isinstance(sizes, int):
        if sizes < 1:
            raise InputError(f"sizes is {sizes}; expected the rows of each part, 1 or more")
        sizes = [min(sizes, rows - start) for start in range(0, rows, sizes)]
    if sum(sizes) != rows or any(size < 0 for size in sizes):
        raise InputError(f"sizes {list(sizes)} add up to {sum(sizes)}; the output has {rows} rows")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [_narrow(output, rows, start, start + size) for start, size in zip(starts, sizes, strict=True)]


def select(output: Output, rows: Any) -> Output:
    """Return the rows of these indices, in their order: for beams that are reordered, for sorting and sorting back.

    Args:
        output: the output.
        rows: a slice; indices, of which negative ones count from the end and any may repeat; or one boolean for each
            row. Sequences and arrays of any framework are taken; those of an accelerator or under a compiler are not
            searched for indices out of range.

    Raises:
        InputError: they are no such thing, or a row that there is not.
        ContractError: a field names no axes.
    """
    count = _rows(output)
    if isinstance(rows, slice):
        start, stop, step = rows.indices(count)
        if step == 1:
            return _narrow(output, count, start, max(start, stop))
        rows = list(range(start, stop, step))
    wanted = _indices(rows, count)

    def take(leaf: Leaf, arrays: list[Any]) -> Any:
        array, axis = arrays[0], leaf.row_axis
        if axis is None:
            return None
        kind, several = arrays_of(array), _several(leaf, array, count)
        if several == 1:
            return kind.take(array, wanted, axis)
        shape = tuple(array.shape)
        apart = kind.reshape(array, (*shape[:axis], count, several, *shape[axis + 1 :]))
        return kind.reshape(kind.take(apart, wanted, axis), (*shape[:axis], -1, *shape[axis + 1 :]))

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
    sizes = _sizes(output)
    for name, length in lengths.items():
        if name not in sizes:
            raise InputError(f"{type(output).__name__} has no axis {name!r} to pad{nearest(name, sizes)}")
        if length < sizes[name]:
            raise InputError(f"{name} is {sizes[name]} long, and cannot be padded to {length}")
    if "seq" in lengths and "past" in sizes:
        lengths = {"past": sizes["past"] + lengths["seq"] - sizes["seq"], **lengths}
    sides = _sides(side)

    def widen(leaf: Leaf, arrays: list[Any]) -> Any:
        array = arrays[0]
        missing = [lengths.get(name, size) - size for name, size in zip(leaf.axes, array.shape, strict=True)]
        if not any(missing):
            return array
        widths = [
            (count, 0) if count and sides(name) else (0, count) for name, count in zip(leaf.axes, missing, strict=True)
        ]
        return arrays_of(array).pad(array, widths, leaf.padding(padding))

    return Walk(widen).outputs([output])


def unpad(output: Output, attention_mask: Any = None, encoder_attention_mask: Any = None) -> list[Output]:
    """Return each row as an output of its own, without padding.

    Args:
        output: the output.
        attention_mask: (batch, keys), 1 at tokens and 0 at padding, wherever it stands; (batch, choices, keys) for
            multiple choice, of which positions stay that any choice uses. Keys are all positions of a decoder, those
            before this call included: `seq` axes are its last ones. None leaves them padded.
        encoder_attention_mask: (batch, enc_seq), of the encoder's positions; None leaves them padded.

    Returns:
        One output for each row, its batch axis 1 long. Where padding was to one side only, they share memory with
        `output` if its framework has views.

    Raises:
        InputError: neither mask is given, or one does not fit the output's axes.
        ContractError: a field names no axes.
    """
    if attention_mask is None and encoder_attention_mask is None:
        raise InputError("unpad needs attention_mask, encoder_attention_mask or both")
    rows, sizes = _rows(output), _sizes(output)
    columns = [dict[str, Any]() for _ in range(rows)]
    for given, what, names in (
        (attention_mask, "attention_mask", LENGTHS - {"enc_seq"}),
        (encoder_attention_mask, "encoder_attention_mask", {"enc_seq"}),
    ):
        if given is None:
            continue
        mask = _mask(given, rows, what)
        _check_mask(mask, {name: sizes[name] for name in names & sizes.keys()}, what)
        for row, tokens in enumerate(mask):
            columns[row] |= {name: _columns(tokens, name, sizes[name]) for name in names & sizes.keys()}
    return [_without_padding(output, rows, row, columns[row]) for row in range(rows)]


# -- rows -----------------------------------------------------------------------------------------------------------


def _sizes(output: ModelOutput) -> dict[str, int]:
    """Return how long each axis is that a field of the output has."""
    sizes: dict[str, int] = {}

    def see(leaf: Leaf, arrays: list[Any]) -> None:
        sizes.update(zip(leaf.axes, arrays[0].shape, strict=True))

    Walk(see).outputs([output])
    return sizes


def _rows(output: ModelOutput) -> int:
    sizes = _sizes(output)
    if ROWS not in sizes:
        raise ContractError(
            f"{type(output).__name__} has no field with an axis {ROWS!r}: its rows cannot be told apart"
        )
    return sizes[ROWS]


def _several(leaf: Leaf, array: Any, rows: int) -> int:
    """Return how many entries of an array each row has: more than one where the axis is `batch*choices`."""
    size = array.shape[cast("int", leaf.row_axis)]
    if leaf.axes[cast("int", leaf.row_axis)] == ROWS or not rows:
        return 1
    if size % rows:
        raise ContractError(f"{leaf.place} has {size} entries for {rows} rows; expected a multiple")
    return size // rows


def _narrow(output: Output, rows: int, start: int, stop: int) -> Output:
    def narrow(leaf: Leaf, arrays: list[Any]) -> Any:
        array, axis = arrays[0], leaf.row_axis
        if axis is None:
            return None
        several = _several(leaf, array, rows)
        return arrays_of(array).narrow(array, axis, start * several, stop * several)

    return Walk(narrow).outputs([output])


def _indices(rows: Any, count: int) -> Any:
    """Return row indices as an integer array: of NumPy where their values are at hand, else as they were given."""
    import numpy as np

    given = rows
    if is_array(rows):
        kind = arrays_of(rows)
        if kind.name == "torch" and rows.device.type != "cpu":
            return rows
        try:
            rows = kind.numpy(rows)
        except Exception:  # noqa: BLE001  # a tracer's or symbolic tensor's own error: it has no values yet
            return rows
    try:
        found = np.asarray(rows if is_array(rows) else list(rows))
    except (TypeError, ValueError):
        found = np.asarray(None)
    if found.size == 0 and found.ndim == 1 and found.dtype != np.bool_:
        return found.astype(np.int64)
    if found.ndim != 1 or found.dtype.kind not in "iub":
        raise InputError(f"rows is {summary(given)}; expected a slice, 1-D indices or one boolean for each row")
    if found.dtype.kind == "b":
        if len(found) != count:
            raise InputError(f"rows has {len(found)} booleans; the output has {count} rows")
        return np.flatnonzero(found)
    if found.min() < -count or found.max() >= count:
        raise InputError(f"rows range from {found.min()} to {found.max()}; the output has {count} rows")
    return np.where(found < 0, found + count, found).astype(np.int64)


# -- joining --------------------------------------------------------------------------------------------------------


def _one_kind(leaf: Leaf, arrays: list[Any]) -> Arrays:
    """Return the operations for arrays of one framework, dtype and device; refuse a mixture."""
    kind = arrays_of(arrays[0])
    kinds: set[Any] = {type(array) for array in arrays}
    if len(kinds) == 1 == len({_character(array, kind) for array in arrays}):
        return kind
    first = _character(arrays[0], kind)
    for i, array in enumerate(arrays):
        if _character(array, arrays_of(array)) != first:
            raise UsageError(
                f"{leaf.place} is {_described(arrays[0], kind)} in outputs[0] and "
                f"{_described(array, arrays_of(array))} in outputs[{i}]; bring them together with .to() or convert()"
            )
    return kind


def _character(array: Any, kind: Arrays) -> Any:
    return (kind, array.dtype, array.device if kind.name == "torch" else None)


def _described(array: Any, kind: Arrays) -> str:
    return f"{summary(array)} of {kind.name}" + (f" on {array.device}" if kind.name == "torch" else "")


def _ragged(leaf: Leaf, arrays: list[Any]) -> list[int]:
    """Return the axes in which arrays differ, beside their rows; refused where one cannot be padded."""
    shapes = [tuple(array.shape) for array in arrays]
    if len(set(shapes)) == 1:
        return []
    ragged: list[int] = []
    for axis, name in enumerate(leaf.axes):
        sizes = [shape[axis] for shape in shapes]
        if axis == leaf.row_axis or len(set(sizes)) == 1:
            continue
        if name not in LENGTHS:
            other = next(i for i, size in enumerate(sizes) if size != sizes[0])
            raise ContractError(
                f"{leaf.place}: {name} is {sizes[0]} in outputs[0] and {sizes[other]} in outputs[{other}]; "
                f"only {', '.join(sorted(LENGTHS))} can be padded"
            )
        ragged.append(axis)
    return ragged


def _listed(kind: Arrays, leaf: Leaf, arrays: list[Any]) -> Any:
    """Join what is not of rows: numbers, and lists of them."""
    rank = len(leaf.axes)
    if rank > 1:
        raise ContractError(
            f"{leaf.place} ({' '.join(leaf.axes)}) has no axis {ROWS!r}, so it cannot be joined; drop it first"
        )
    return kind.concat(arrays, 0) if rank else kind.stack(arrays)


def _sides(side: Side) -> Callable[[str], bool]:
    """Return a function that says whether an axis is padded on the left."""
    given = {"": side} if isinstance(side, str) else dict(side)
    if not set(given.values()) <= {"left", "right"}:
        raise InputError(f"side is {side!r}; expected 'left' or 'right', or one of them by axis name")
    # A cache of constant shape has its positions in front and room behind them.
    return lambda name: name != "max_length" and given.get(name, given.get("", "right")) == "left"


# -- padding --------------------------------------------------------------------------------------------------------


def _mask(given: Any, rows: int, what: str) -> Any:
    """Return a mask as booleans (rows, keys)."""
    import numpy as np

    mask = np.asarray(arrays_of(given).numpy(given) if is_array(given) else given)
    if mask.ndim == 3:
        mask = mask.any(axis=1)
    if mask.ndim != 2 or len(mask) != rows or not np.isin(mask, (0, 1)).all():
        raise InputError(f"{what} is {summary(given)}; expected zeros and ones of shape ({rows}, keys)")
    return mask.astype(bool)


def _check_mask(mask: Any, sizes: dict[str, int], what: str) -> None:
    keys = mask.shape[1]
    whole = [name for name in ("past", "total", "enc_seq") if name in sizes] or ["seq"] * ("seq" in sizes)
    for name in whole:
        if sizes[name] != keys:
            raise InputError(f"{what} has {keys} columns; the output's {name} is {sizes[name]} long")
    if keys > sizes.get("max_length", keys) or keys < sizes.get("seq", 0):
        raise InputError(f"{what} has {keys} columns, which do not fit seq and max_length of the output")


def _columns(tokens: Any, name: str, size: int) -> Any:
    """Return which positions of an axis are tokens of a row; `seq` and `new` are the last of the mask's columns."""
    return tokens.nonzero()[0] if name == "max_length" else tokens[len(tokens) - size :].nonzero()[0]


def _without_padding(output: Output, rows: int, row: int, columns: dict[str, Any]) -> Output:
    def keep(leaf: Leaf, arrays: list[Any]) -> Any:
        array = arrays[0]
        if leaf.row_axis is None:
            return None
        kind, several = arrays_of(array), _several(leaf, array, rows)
        array = kind.narrow(array, leaf.row_axis, row * several, (row + 1) * several)
        if leaf.place.endswith(".cache_index") and "max_length" in columns:
            return kind.from_numpy(kind.numpy(array) * 0 + len(columns["max_length"]))
        for axis, name in enumerate(leaf.axes):
            if name in columns and len(columns[name]) < array.shape[axis]:
                array = _kept(kind, array, axis, columns[name])
        return array

    return Walk(keep).outputs([output])


def _kept(kind: Arrays, array: Any, axis: int, columns: Any) -> Any:
    start, stop = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 0)
    if stop - start == len(columns):
        return kind.narrow(array, axis, start, stop)
    return kind.take(array, columns, axis)
