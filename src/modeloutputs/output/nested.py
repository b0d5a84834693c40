"""Nested values: tuples, lists, mappings and outputs of arrays, None and other leaves. Imports no framework.

Everything in the library that descends into a value does so through these functions: `fold` computes bottom up, `walk`
lists what there is, the maps return a value of the same structure.
"""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from ..errors import UsageError

__all__ = [
    "ArrayMemo",
    "children",
    "distinct_arrays",
    "flat_arrays",
    "flat_name",
    "fold",
    "is_array",
    "is_nested",
    "map_arrays",
    "map_leaves",
    "memory_identity",
    "put_by_name",
    "rebuild",
    "walk",
]

Path = tuple[Any, ...]
"""Keys and indices from the outermost value to one within it."""


def is_array(value: Any) -> bool:
    """Return whether a value is an array of some framework; tracers and arrays without values are.

    Classes such as `numpy.float32` have a shape and a dtype too, and so may an output have fields of those names.

    Examples:
        >>> import numpy as np
        >>> is_array(np.zeros(3)), is_array(np.float32), is_array([1.0])
        (True, False, False)
    """
    return not isinstance(value, (type, dict)) and hasattr(value, "shape") and hasattr(value, "dtype")


def is_nested(value: Any) -> bool:
    """Return whether a value holds others: a tuple, list, mapping or output.

    Examples:
        >>> is_nested({"a": 1}), is_nested("text")
        (True, False)
    """
    return isinstance(value, (tuple, list, dict)) or (isinstance(value, Mapping) and not is_array(value))


def children(value: Any) -> list[tuple[Any, Any]]:
    """Return what a nested value holds, each with its key or index; nothing for a leaf.

    Examples:
        >>> children({"a": 1, "b": (2, 3)})
        [('a', 1), ('b', (2, 3))]
        >>> children(("x", None))
        [(0, 'x'), (1, None)]
    """
    if not is_nested(value):
        return []
    if isinstance(value, Mapping):
        return list(cast("Mapping[Any, Any]", value).items())
    return list(enumerate(cast("list[Any]", value)))


def rebuild(like: Any, items: Sequence[Any]) -> Any:
    """Return a nested value of the class and keys of another, holding these items in the order of `children`.

    Outputs skip validation, named tuples keep their class, a `defaultdict` its factory.

    Examples:
        >>> rebuild({"a": 1, "b": 2}, [3, 4])
        {'a': 3, 'b': 4}
    """
    if hasattr(like, "unflatten"):
        return like.unflatten(like.keys(), items)
    if hasattr(like, "_make"):
        return like._make(items)
    if not isinstance(like, Mapping):
        return like.__class__(items)
    entries = dict(zip(cast("Mapping[Any, Any]", like), items, strict=True))
    if isinstance(like, collections.defaultdict):
        return collections.defaultdict(cast("Any", like).default_factory, entries)
    return cast("Any", like).__class__(entries)


def fold(value: Any, on_leaf: Callable[[Any], Any], on_nested: Callable[[Any, list[Any]], Any]) -> Any:
    """Compute something of a nested value from the inside out.

    Args:
        value: the nested value.
        on_leaf: is given each leaf.
        on_nested: is given each tuple, list, mapping or output, and the results of what it holds in order.

    Examples:
        >>> fold({"a": 1, "b": (2, 3)}, lambda leaf: leaf, lambda _, results: sum(results))
        6
    """
    if not is_nested(value):
        return on_leaf(value)
    return on_nested(value, [fold(item, on_leaf, on_nested) for _, item in children(value)])


def map_leaves(function: Callable[[Any], Any], value: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """Return a value of the same structure with a function applied to each leaf.

    Args:
        function: is given each leaf, None included.
        value: the nested value.
        is_leaf: says which nested values are passed whole instead of descending into them.

    Examples:
        >>> map_leaves(abs, {"a": -1, "b": [-2, 3]})
        {'a': 1, 'b': [2, 3]}
    """
    if not is_nested(value) or (is_leaf is not None and is_leaf(value)):
        return function(value)
    return rebuild(value, [map_leaves(function, item, is_leaf) for _, item in children(value)])


def map_arrays(function: Callable[[Any], Any], value: Any) -> Any:
    """Return a value of the same structure with a function applied to each array; other leaves stay.

    An array in two places is passed once, and its result stands in both.

    Examples:
        >>> import numpy as np
        >>> states = np.array([1, 2])
        >>> doubled = map_arrays(lambda array: 2 * array, {"last": states, "all": (states, None)})
        >>> doubled["last"] is doubled["all"][0], doubled["all"][1]
        (True, None)
    """
    memo = ArrayMemo()

    def once(leaf: Any) -> Any:
        return memo.get([leaf], lambda: function(leaf)) if is_array(leaf) else leaf

    return map_leaves(once, value)


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield a value and everything within it, each with its path; an outer value comes before what it holds.

    Examples:
        >>> [path for path, _ in walk({"a": (1, 2)})]
        [(), ('a',), ('a', 0), ('a', 1)]
    """
    yield path, value
    for key, item in children(value):
        yield from walk(item, (*path, key))


def flat_name(prefix: str, key: object) -> str:
    """Return the flat name of an item by the name of the value that holds it and its key or index.

    Examples:
        >>> flat_name("past_key_values.0", 1)
        'past_key_values.0.1'
    """
    return f"{prefix}.{key}" if prefix else str(key)


def put_by_name(arrays: dict[str, Any], name: str, array: Any) -> None:
    """Add an array under its flat name.

    Raises:
        UsageError: another array has that name.
    """
    if name in arrays:
        raise UsageError(f"two arrays are named {name!r}: a key that contains dots looks nested; rename it")
    arrays[name] = array


def flat_arrays(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the arrays of a nested value by flat name, in order; other leaves are left out.

    Args:
        value: the nested value.
        prefix: the name of the value itself, which begins each array's name.

    Raises:
        UsageError: a key that contains dots gives two arrays the same name.

    Examples:
        >>> import numpy as np
        >>> list(flat_arrays({"logits": np.ones(2), "hidden_states": (np.ones(1), None, np.ones(1))}))
        ['logits', 'hidden_states.0', 'hidden_states.2']
    """
    found: dict[str, Any] = {}
    _collect_arrays(value, prefix, found)
    return found


def _collect_arrays(value: Any, name: str, found: dict[str, Any]) -> None:
    # Written out instead of a `walk`: compilers trace into it, and not all of them into generators.
    if is_array(value):
        put_by_name(found, name, value)
    for key, item in children(value):
        _collect_arrays(item, flat_name(name, key), found)


# -- one array in two places ----------------------------------------------------------------------------------------


def distinct_arrays(value: Any) -> list[Any]:
    """Return the arrays of a nested value in order; one in two places is returned once.

    Examples:
        >>> import numpy as np
        >>> states = np.ones(2)
        >>> len(distinct_arrays({"last": states, "all": (np.zeros(2), states)}))
        2
    """
    return list({id(leaf): leaf for _, leaf in walk(value) if is_array(leaf)}.values())


class ArrayMemo:
    """Results by the arrays that they were computed from: one array in two places is one array afterwards too."""

    def __init__(self) -> None:
        self._results: dict[tuple[object, ...], tuple[Sequence[Any], Any]] = {}

    def get(self, arrays: Sequence[Any], compute: Callable[[], Any], *condition: object) -> Any:
        """Return what was computed from exactly these arrays before under the same condition, or compute it."""
        key = (*condition, *map(id, arrays))
        if key not in self._results:
            # The arrays are kept with the result, so that no later one can get the id of one of them.
            self._results[key] = (arrays, compute())
        return self._results[key][1]


def memory_identity(array: Any) -> Any:
    """Return a key that two arrays share if they are the same values in the same memory, read in the same way.

    That is known of PyTorch tensors in one piece of memory; other arrays share it only with themselves.
    """
    if hasattr(array, "data_ptr") and array.device.type != "meta" and array.numel():
        try:
            memory = array.data_ptr(), tuple(array.shape), array.stride(), array.device
        except RuntimeError:
            return id(array)  # sparse tensors and the wrappers of transforms have no single piece of memory
        return *memory, array.dtype, array.is_conj(), array.is_neg()
    return id(array)
