"""Random outputs, cut, shuffled and padded at random: operations undo each other, and every array is as by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeloutputs import concat, pad, select, split, unpad
from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.output.contract import field_contracts

from ..support.batches import of_rows
from ..support.compare import assert_same, leaves
from ..support.needs import needs
from ..support.random_outputs import class_named, full
from ..support.spec_checks import PAGE

SIZES = {"heads": 2, "enc_heads": 2, "kv_heads": 1, "head_dim": 2, "hidden": 3, "vocab": 4, "labels": 3, "choices": 2}

LAYERED = ("hidden_states", "attentions")


def examples(kind: str) -> int:
    """Return how many outputs to draw: most with NumPy's arrays, because all frameworks share the code above them."""
    return {"numpy": 40, "torch": 10, "jax": 3, "tensorflow": 4}[kind]


def on(kind: str) -> Any:
    return settings(
        deadline=None,
        max_examples=examples(kind),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


every_kind = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=needs(kind if kind != "numpy" else "torch")) for kind in ("numpy", *FRAMEWORKS)]
)


@pytest.fixture(autouse=True, scope="module")
def frameworks() -> None:
    """Import what strategies import, which they may not do: some frameworks draw random numbers then."""
    for framework in FRAMEWORKS.values():
        if framework.is_installed:
            framework.import_outputs()


@dataclass(frozen=True)
class Shape:
    """The class, framework, layers and seed of a random output."""

    class_name: str
    kind: str
    layers: int
    missing: frozenset[int]
    """Layers that are placeholders."""
    absent: frozenset[str]
    seed: int

    def make(self, seed: int = 0, **sizes: int) -> Any:
        """Return an output; a cache of constant shape is filled from the front."""
        cls = class_named(self.class_name)
        output = of_rows(full(cls, self.kind, layers=self.layers, seed=self.seed + seed, **SIZES, **sizes))
        for name, value in output.items():
            if name.endswith(LAYERED):
                output[name] = tuple(None if i in self.missing else item for i, item in enumerate(value))
        return output.replace(**dict.fromkeys(self.absent))


@st.composite
def shapes(draw: st.DrawFn, kind: str) -> Shape:
    framework = (
        draw(st.sampled_from([name for name in FRAMEWORKS if FRAMEWORKS[name].is_installed]))
        if kind == "numpy"
        else kind
    )
    class_name = draw(st.sampled_from(sorted(PAGE[framework])))
    contracts = field_contracts(class_named(class_name))
    optional = [
        contract.name for contract in contracts if contract.returned_when != "always" and contract.name != "loss"
    ]
    layers = draw(st.integers(1, 3))
    return Shape(
        class_name,
        kind,
        layers,
        draw(st.frozensets(st.integers(0, layers - 1))),
        draw(st.frozensets(st.sampled_from(optional), max_size=3)),
        draw(st.integers(0, 1000)),
    )


@st.composite
def cuts(draw: st.DrawFn, rows: int) -> Any:
    """Draw sizes of parts that add up."""
    if rows and draw(st.booleans()):
        return draw(st.integers(1, rows + 1))
    bounds = sorted([0, *draw(st.lists(st.integers(0, rows), max_size=4)), rows])
    return [stop - start for start, stop in pairwise(bounds)]


# -- rows -----------------------------------------------------------------------------------------------------------


@every_kind
def test_split_and_concat_undo_each_other(kind: str):
    @on(kind)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        rows = data.draw(st.integers(0, 5))
        output = data.draw(shapes(kind)).make(batch=rows, seq=data.draw(st.integers(0, 3)))
        parts = split(output, data.draw(cuts(rows)))
        assert_same(concat(parts), output)
        again = split(concat(parts), [len(leaf_of_rows(part)) for part in parts])
        for part, expected in zip(again, parts, strict=True):
            assert_same(part, expected)

    holds()


def leaf_of_rows(output: Any) -> Any:
    """Return an array whose first axis is the rows."""
    name = next(name for name in ("last_hidden_state", "logits", "start_logits") if name in output)
    return output[name]


@every_kind
def test_selecting_rows_is_selecting_them_one_by_one(kind: str):
    @on(kind)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        rows = data.draw(st.integers(1, 5))
        output = data.draw(shapes(kind)).make(batch=rows, seq=2)
        chosen = data.draw(st.lists(st.integers(-rows, rows - 1), min_size=1, max_size=6))
        assert_same(select(output, chosen), concat([select(output, [row]) for row in chosen]))
        kept = data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
        assert_same(select(output, kept), select(output, [row for row in range(rows) if kept[row]]))
        start, stop = (data.draw(st.none() | st.integers(-rows - 1, rows + 1)) for _ in range(2))
        part = slice(start, stop, data.draw(st.sampled_from([None, 1, 2, -1])))
        assert_same(select(output, part), select(output, range(rows)[part]))

    holds()


@every_kind
def test_orders_compose_and_are_undone_by_their_inverse(kind: str):
    @on(kind)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        rows = data.draw(st.integers(1, 6))
        output = data.draw(shapes(kind)).make(batch=rows, seq=2)
        first, second = (np.array(data.draw(st.permutations(range(rows)))) for _ in range(2))
        shuffled = select(output, first)
        assert_same(select(shuffled, np.argsort(first)), output)
        assert_same(select(shuffled, second), select(output, first[second]))

    holds()


# -- padding --------------------------------------------------------------------------------------------------------


def sized(length: int, enc_seq: int) -> dict[str, int]:
    """Return sizes of a first call, in which a cache has no position more than it computes."""
    return {"seq": length, "past": length, "max_length": length, "enc_seq": enc_seq}


@every_kind
def test_unpadding_a_joined_output_gives_its_parts(kind: str):
    @on(kind)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        shape = data.draw(shapes(kind))
        lengths = data.draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=4))
        parts = [shape.make(i, batch=1, **sized(*length)) for i, length in enumerate(lengths)]
        side = data.draw(st.sampled_from(["left", "right"]))
        joined = concat(parts, side=side)
        masks = masks_of(lengths, side)
        rows = unpad(joined, *masks)
        for row, part in zip(rows, parts, strict=True):
            assert_same(row, part)
        assert_same(concat(rows, side=side), joined)
        order = data.draw(st.permutations(range(len(parts))))
        shuffled = unpad(select(joined, order), *(mask[order] for mask in masks))
        for row, i in zip(shuffled, order, strict=True):
            assert_same(row, parts[i])

    holds()


def masks_of(lengths: Sequence[tuple[int, int]], side: str) -> list[Any]:
    masks: list[Any] = []
    for each in zip(*lengths, strict=True):
        place = np.arange(max(each))
        masks.append(np.array([place < n if side == "right" else place >= max(each) - n for n in each], np.int64))
    return masks


@every_kind
def test_padding_anywhere_is_removed(kind: str):
    @on(kind)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        shape = data.draw(shapes(kind))
        rows, length, enc_seq = (data.draw(st.integers(1, n)) for n in (3, 5, 4))
        output = shape.make(batch=rows, **sized(length, enc_seq))
        masks = [
            np.array(data.draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=rows, max_size=rows)))
            for n in (length, enc_seq)
        ]
        named = dict(zip(("attention_mask", "encoder_attention_mask"), masks, strict=True))
        which = data.draw(st.sampled_from([["attention_mask"], ["encoder_attention_mask"], list(named)]))
        found = unpad(output, **{name: named[name] for name in which})
        lengths = {"seq": masks[0], "past": masks[0], "max_length": masks[0], "enc_seq": masks[1]}
        if "attention_mask" not in which:
            lengths = {"enc_seq": masks[1]}
        elif "encoder_attention_mask" not in which:
            del lengths["enc_seq"]
        tagged = tags(shape, rows, length, enc_seq)
        for row in range(rows):
            kept = {name: np.flatnonzero(mask[row]) for name, mask in lengths.items()}
            whole = leaves(output)
            for place, array in leaves(found[row]).items():
                expected = cut_by_hand(place, whole[place], tagged[place], row, rows, kept)
                assert (array is None) == (expected is None)
                assert array is None or np.array_equal(array, expected), place

    holds()


def tags(shape: Shape, rows: int, length: int, enc_seq: int) -> dict[str, list[str]]:
    """Name the axes of each array by what changes when a length does."""
    base = {"batch": rows, **sized(length, enc_seq)}
    shapes_of = {
        name: {place: getattr(a, "shape", None) for place, a in leaves(shape.make(**{**base, **longer})).items()}
        for name, longer in (
            ("", {}),
            ("batch", {"batch": rows + 1}),
            ("seq", {"seq": length + 1, "past": length + 1, "max_length": length + 1}),
            ("enc_seq", {"enc_seq": enc_seq + 1}),
        )
    }
    found: dict[str, list[str]] = {}
    for place, own in shapes_of[""].items():
        found[place] = [] if own is None else [
            next((name for name in ("batch", "seq", "enc_seq") if shapes_of[name][place][axis] != size), "")
            for axis, size in enumerate(own)
        ]  # fmt: skip
    return found


def cut_by_hand(place: str, array: Any, names: Sequence[str], row: int, rows: int, kept: Mapping[str, Any]) -> Any:
    if array is None:
        return None
    if place.endswith("cache_index"):
        return np.array([len(kept["seq"])], array.dtype) if "seq" in kept else array[row : row + 1]
    for axis, name in enumerate(names):
        if name == "batch":
            several = array.shape[axis] // rows
            array = np.take(array, range(row * several, (row + 1) * several), axis)
        elif name in kept:
            array = np.take(array, kept[name], axis)
    return array


@every_kind
def test_padding_in_steps_is_padding_at_once(kind: str):
    @on(kind)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        shape = replace(data.draw(shapes(kind)), missing=frozenset(), absent=frozenset())
        length, more, most = sorted(data.draw(st.lists(st.integers(0, 6), min_size=3, max_size=3)))
        output = shape.make(batch=2, seq=length, past=length + 2, max_length=length + 2)
        how: Any = {
            "side": data.draw(st.sampled_from(["left", "right"])),
            "padding": data.draw(st.sampled_from([None, 0, 1, -2.5])),
        }
        once = pad(output, seq=most, **how)
        assert_same(pad(pad(output, seq=more, **how), seq=most, **how), once)
        assert_same(pad(once, seq=most), once)

    holds()


@every_kind
def test_concat_is_associative(kind: str):
    @on(kind)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        shape = data.draw(shapes(kind))
        parts = [
            shape.make(
                i,
                batch=data.draw(st.integers(0, 2)),
                seq=data.draw(st.integers(0, 3)),
                past=data.draw(st.integers(3, 5)),
                enc_seq=data.draw(st.integers(0, 3)),
                max_length=data.draw(st.integers(3, 5)),
            )
            for i in range(3)
        ]
        side = data.draw(
            st.sampled_from(["left", "right"])
            | st.dictionaries(st.sampled_from(["seq", "past", "enc_seq"]), st.sampled_from(["left", "right"]))
        )
        padding = data.draw(st.sampled_from([None, 0, {"attentions": 1}] if "attentions" in parts[0] else [None, 0]))
        joined = concat(parts, side=side, padding=padding)
        first = concat([concat(parts[:2], side=side, padding=padding), parts[2]], side=side, padding=padding)
        last = concat([parts[0], concat(iter(parts[1:]), side=side, padding=padding)], side=side, padding=padding)
        assert_same(first, joined)
        assert_same(last, joined)

    holds()
