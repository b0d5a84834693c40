"""Which layers a caller asks for, the same in all frameworks."""

from collections.abc import Sequence

from ..errors import InputError

__all__ = ["LayerSelection", "select_layers"]

LayerSelection = bool | Sequence[int]
"""All, none, or indices of layers."""


def select_layers(selection: LayerSelection, count: int, flag: str) -> list[bool]:
    """Return for each of `count` entries whether it is asked for.

    Args:
        selection: True for all, False for none, or indices; negative ones count from the end.
        count: number of entries: layers, for hidden states one more.
        flag: name of the argument, for the error.

    Raises:
        InputError: an index out of range, or a selection of another type.
    """
    if isinstance(selection, bool):
        return [selection] * count
    if isinstance(selection, str) or not hasattr(selection, "__iter__"):
        raise InputError(f"{flag} is {selection!r}; expected True, False or layer indices such as [0, -1]")
    asked = [False] * count
    for index in selection:
        if isinstance(index, bool) or not hasattr(index, "__index__") or not -count <= index < count:
            raise InputError(f"{flag} asks for layer {index!r}; this model has {-count} to {count - 1}")
        asked[index] = True
    return asked
