"""Pads outputs and removes their padding, guided by their axis names."""

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ..arrays import tracing
from ..arrays.dtypes import can_represent
from ..display.text import summary
from ..errors import InputError, nearest
from ..output import ModelOutput
from ..output.contract import PADDABLE_AXES
from .lengths import AGREEING_AXES, as_integer, axis_lengths, known_length
from .mapping import FlatOutputs, Leaf, fields_within, skip_autograph

__all__ = ["Padding", "Side", "check_padding", "left_padded", "pad", "padding_value"]

Output = TypeVar("Output", bound=ModelOutput)

Side = str | Mapping[str, str]
"""Of padding: "left" or "right", or one of these by axis name."""

Padding = float | Mapping[str, float] | None
"""The padding value, or values by field; None for those of the class."""

_FILLED_FROM_FRONT = frozenset({"max_length", "new"})
"""Axes whose padding is always on the right: caches of constant shape, and the tokens that `generate` chose."""


@skip_autograph
def pad(output: Output, *, side: Side = "right", padding: Padding = None, **lengths: int) -> Output:
    """Pad axes to these lengths: `pad(output, seq=128, enc_seq=64)`.

    Positions added to `seq` are added to `past` too, unless that is named: they are among the keys. Likewise, positions
    added to `total`, which `generate` returns, are not among the `new` ones if they are added on the right.

    Args:
        output: the output.
        side: as in `concat`.
        padding: as in `concat`.
        lengths: by axis name.

    Raises:
        InputError: an axis is missing from the output, cannot be padded, or is longer already.
        ContractError: a field names no axes.

    Examples:
        >>> from modeloutputs.torch import BaseModelOutput
        >>> import torch
        >>> output = BaseModelOutput(last_hidden_state=torch.ones(2, 3, 16))
        >>> padded = pad(output, seq=5, side="left")
        >>> padded.last_hidden_state[0, :, 0].tolist()
        [0.0, 0.0, 1.0, 1.0, 1.0]
    """
    flat = FlatOutputs([output])
    sizes = axis_lengths(flat, AGREEING_AXES)
    for name, length in lengths.items():
        lengths[name] = _wanted_length(flat.cls.__name__, name, length, sizes)
    if "seq" in lengths and "past" in sizes and "past" not in lengths:
        lengths["past"] = known_length(sizes, "past") + lengths["seq"] - sizes["seq"]
    is_left = left_padded(side)
    check_padding(padding, [output])
    missing = {name: length - sizes[name] for name, length in lengths.items()}
    return flat.map(lambda leaf: _pad_leaf(leaf, missing, is_left, padding))


def _pad_leaf(leaf: Leaf, missing: Mapping[str, int], is_left: Callable[[str], bool], padding: Padding) -> Any:
    counts = [(name, missing.get(name, 0)) for name in leaf.axes]
    if not any(count for _, count in counts):
        return leaf.array
    widths = [(count, 0) if count and is_left(name) else (0, count) for name, count in counts]
    return leaf.backend.pad(leaf.array, widths, padding_value(leaf, padding))


def _wanted_length(owner: str, name: str, length: Any, sizes: Mapping[str, Any]) -> int:
    """Return the length to pad an axis to, checked against the present one."""
    paddable = [known for known in sizes if known in PADDABLE_AXES]
    if name not in paddable:
        raise InputError(f"{owner} has no axis {name!r} that can be padded{nearest(name, paddable)}")
    wanted = as_integer(length)
    if wanted is None:
        raise InputError(f"{name} is {summary(length)}; expected the length to pad to, an integer")
    if wanted < known_length(sizes, name):
        raise InputError(f"{name} is {sizes[name]} long, and cannot be padded to {wanted}")
    return wanted


# -- side and value -------------------------------------------------------------------------------------------------


def left_padded(side: Any) -> Callable[[str], bool]:
    """Return a function that says whether an axis is padded on the left.

    Raises:
        InputError: a side is neither "left" nor "right", or is that of an axis that has no choice.
    """
    given: dict[Any, Any] = dict(cast("Mapping[Any, Any]", side)) if isinstance(side, Mapping) else {"": side}
    if any(value not in ("left", "right") for value in given.values()):
        raise InputError(f"side is {side!r}; expected 'left' or 'right', or one of them by axis name")
    known = sorted(PADDABLE_AXES - _FILLED_FROM_FRONT)
    for name in given:
        if name and name not in known:
            raise InputError(f"side names {name!r}, which is not an axis with a choice of side{nearest(name, known)}")
    return lambda name: name not in _FILLED_FROM_FRONT and given.get(name, given.get("", "right")) == "left"


def check_padding(padding: Any, outputs: Sequence[Any]) -> None:
    """Refuse a padding that is not a number, or one of a field that the outputs lack.

    Raises:
        InputError: it is one of these.
    """
    if padding is None:
        return
    by_field: dict[Any, Any] = dict(cast("Mapping[Any, Any]", padding)) if isinstance(padding, Mapping) else {}
    for value in by_field.values() if isinstance(padding, Mapping) else (padding,):
        if not isinstance(value, numbers.Real):
            raise InputError(f"padding is {summary(padding)}; expected a number, or one by field")
    fields = [pair for output in outputs[:1] for pair in fields_within(output)]
    known = [name for name, value in fields if not isinstance(value, ModelOutput)]
    for name in by_field:
        if name not in known:
            raise InputError(f"padding names {name!r}, which is not a field{nearest(name, known)}")


def padding_value(leaf: Leaf, padding: Padding) -> float:
    """Return the value of a leaf's padding: what the caller says, else what its class says.

    Raises:
        InputError: the array's dtype cannot represent it.
    """
    given = padding.get(leaf.field) if isinstance(padding, Mapping) else padding
    value = leaf.fill if given is None else given
    if not tracing.in_compiler_trace() and not can_represent(leaf.array.dtype, value):
        raise InputError(
            f"{leaf.path} is {summary(leaf.array)}, which cannot hold a padding of {value}; "
            f"pass padding={{{leaf.field!r}: ...}}"
        )
    return value
