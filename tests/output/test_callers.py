import sys
from collections.abc import Callable, Iterator

import pytest

from modeloutputs import ModelOutput
from modeloutputs.output.callers import is_unpacking


class Probe:
    """Asked for its iterator, it notes whether the frame that asks is unpacking it."""

    def __init__(self) -> None:
        self.unpacked: list[bool] = []

    def __iter__(self) -> Iterator[int]:
        self.unpacked.append(is_unpacking(sys._getframe(1), self))
        return iter((1, 2))

    def keys(self) -> list[str]:
        return []

    def __getitem__(self, key: str) -> int:
        raise KeyError(key)


def take(*values: object, **named: object) -> None:
    pass


def pair(probe: Probe) -> None:
    _, _ = probe


def rest(probe: Probe) -> None:
    _, *_ = probe


def nested(probe: Probe) -> None:
    for _, _ in [probe]:
        pass


def loop(probe: Probe) -> None:
    for _ in probe:
        pass


def delegate(probe: Probe) -> None:
    def generator() -> Iterator[int]:
        yield from probe

    list(generator())


def extend(probe: Probe) -> None:
    [0].extend(probe)


def extend_in_place(probe: Probe) -> None:
    values = [0]
    values += probe


@pytest.mark.parametrize(
    "unpack",
    [
        pair,
        rest,
        nested,
        lambda probe: take(*probe),
        lambda probe: take(1, *probe),
        lambda probe: take(*probe, named=1),
        lambda probe: [*probe],
        lambda probe: (1, *probe),
        lambda probe: {*probe},
    ],
)
def test_unpacking_is_seen(unpack: Callable[[Probe], None]):
    probe = Probe()
    unpack(probe)
    assert probe.unpacked == [True]


@pytest.mark.parametrize(
    "iterate",
    [
        loop,
        delegate,
        extend,
        extend_in_place,
        list,
        sorted,
        lambda probe: zip(probe, strict=True),
        lambda probe: [value for value in probe],  # noqa: C416
        lambda probe: take(value for value in probe),
        lambda probe: 3 in list(probe),
    ],
)
def test_iterating_is_not_taken_for_unpacking(iterate: Callable[[Probe], None]):
    probe = Probe()
    iterate(probe)
    assert probe.unpacked == [False]


@pytest.mark.parametrize("spread", [lambda probe: take(**probe), lambda probe: {**probe}])
def test_spreading_a_mapping_asks_for_no_iterator(spread: Callable[[Probe], None]):
    probe = Probe()
    spread(probe)
    assert probe.unpacked == []


def test_many_names_before_the_instruction_do_not_hide_it():
    lines = [f"name_{i} = {i}" for i in range(300)]
    probe = Probe()
    exec("\n".join([*lines, "a, b = probe"]), {"probe": probe})
    assert probe.unpacked == [True]


def test_another_interpreter_keeps_dictionary_behaviour(monkeypatch: pytest.MonkeyPatch):
    class Pair(ModelOutput):
        a: int
        b: int

    monkeypatch.setattr(sys.implementation, "name", "pypy")
    first, second = Pair(1, 2)  # pyright: ignore[reportAssignmentType]
    assert (first, second) == ("a", "b")
