"""Growing a cache: it costs nothing, whatever else is done with the cache, by whomever."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import gc
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, cat
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from modeloutputs.torch.cache import MIN_CAPACITY, Cache, CacheUpdate, PastKeyValues, check_cache

from ..support.torch_caches import (
    HEADS,
    LAYERS,
    LIMIT,
    MODES,
    ROWS,
    WIDTH,
    Layers,
    Mode,
    assert_equal,
    copied,
    every_kind,
    every_mode,
    grown,
    joined,
    keys,
    places,
    with_room,
    without_gradients,
)

# -- growing ----------------------------------------------------------------------------------------------------------


class Allocations(TorchDispatchMode):
    """Bytes of all memory that operations within return, each counted once."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, Any] = {}  # kept, else an address could come up twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.storages[storage.data_ptr()] = storage
        return result

    @property
    def nbytes(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


@without_gradients
def test_growing_writes_behind_what_is_there(mode: Mode) -> None:
    cache = with_room(5, mode)
    started, steps = places(cache), [cache]
    expected = [copied(cache)]
    with mode():
        for _ in range(11):
            steps.append(grown(steps[-1], new := keys(1)))
            expected.append(joined(expected[-1], new))
    assert [places(step) for step in steps] == [started] * 12
    for step, values in zip(steps, expected, strict=True):
        assert_equal(step, values)
    assert steps[-1].length == steps[-1].capacity == 16


@without_gradients
def test_growing_to_a_length_allocates_no_more_than_twice_of_it(mode: Mode) -> None:
    with mode():
        cache = Cache(keys(32))
        new = [keys(1) for _ in range(1024 - 32)]
        expected = [
            [cat(parts, 2) for parts in zip(*tensors, strict=True)] for tensors in zip(cache, *new, strict=True)
        ]
        with Allocations() as allocations:
            for step in new:
                cache = grown(cache, step)
    assert cache.length == 1024
    assert_equal(cache, expected)
    assert cache.nbytes <= allocations.nbytes <= 2 * cache.nbytes


@pytest.mark.parametrize(
    ("past", "new", "limit", "capacity"),
    [
        (1, 1, LIMIT, MIN_CAPACITY),
        (MIN_CAPACITY - 1, 1, LIMIT, MIN_CAPACITY),
        (MIN_CAPACITY, 1, LIMIT, 2 * MIN_CAPACITY),
        (100, 1, LIMIT, 128),
        (100, 28, LIMIT, 128),
        (100, 29, LIMIT, 256),
        (100, 400, LIMIT, 512),
        (100, 1, 101, 101),
        (100, 1, 110, 110),
        (3, 1, 10, 10),
        (3, 1, 3, 4),  # nothing is lost where the limit is too low: models refuse that themselves
    ],
)
def test_room_is_doubled_up_to_the_limit(past: int, new: int, limit: int, capacity: int) -> None:
    with torch.no_grad():
        cache = grown(before := keys(past), after := keys(new), limit=limit)
    assert (cache.length, cache.capacity) == (past + new, capacity)
    assert_equal(cache, joined(before, after))


def test_a_full_buffer_moves_to_one_of_twice_the_size() -> None:
    with torch.no_grad():
        full = grown(with_room(15), keys(1))
        before = copied(full)
        more = grown(full, new := keys(1))
    assert (full.capacity, more.capacity) == (16, 32)
    assert places(full) != places(more)
    assert_equal(more, joined(before, new))
    assert_equal(full, before)


@every_kind
@every_mode
def test_extending_one_prefix_twice_gives_both_their_values(mode: Mode, tensors: int) -> None:
    prefix = with_room(5, tensors=tensors)
    before, news = copied(prefix), [keys(2) for _ in range(3)]
    with mode():
        branches = [grown(prefix, new) for new in news]
        further = [grown(branch, new) for branch, new in zip(branches, reversed(news), strict=True)]
    in_place = [places(branch)[0][:2] == places(prefix)[0][:2] for branch in branches]
    assert in_place == [mode is not torch.enable_grad, False, False]
    for branch, longer, new, other in zip(branches, further, news, reversed(news), strict=True):
        assert_equal(branch, joined(before, new))
        assert_equal(longer, joined(branch, other))
    assert_equal(prefix, before)


def test_a_call_that_keeps_no_cache_leaves_the_room() -> None:
    cache = with_room(5)
    before, seen, own = copied(cache), keys(3), keys(2)
    with torch.no_grad():
        passing = grown(cache, seen, kept=False)
        assert_equal(passing, joined(before, seen))
        after = grown(cache, own)
    assert places(after) == places(cache) != places(passing)
    assert_equal(after, joined(before, own))
    assert_equal(passing, joined(before, seen))


def test_a_call_that_fails_leaves_the_cache_as_it_was() -> None:
    cache = with_room(5)
    before = copied(cache)
    with torch.no_grad():
        broken = CacheUpdate(cache, 2, LIMIT, kept=True)
        broken.append(0, *keys(2)[0])  # and then a layer raised
        again = grown(cache, new := keys(2))
    assert_equal(again, joined(before, new))
    assert_equal(cache, before)


def test_a_first_call_returns_the_keys_it_was_given() -> None:
    with torch.no_grad():
        cache = grown(None, new := keys(5))
    assert type(cache) is Cache
    assert places(cache) == places(new)
    assert cache.capacity == 5


@every_mode
def test_no_positions_may_be_added(mode: Mode) -> None:
    cache = with_room(5)
    before = copied(cache)
    with mode():
        same, longer = grown(cache, keys(0)), grown(cache, new := keys(2))
        again = grown(same, other := keys(2))
    assert_equal(same, before)
    assert_equal(longer, joined(before, new))
    assert_equal(again, joined(before, other))


@every_mode
def test_plain_tuples_and_lists_are_extended_alike(mode: Mode) -> None:
    for past in (keys(5), [list(layer) for layer in keys(5)]):
        before = copied(past)
        with mode():
            assert_equal(grown(cast("PastKeyValues", past), new := keys(1)), joined(before, new))
        assert_equal(past, before)


def test_layers_may_differ_in_heads_and_width() -> None:
    past = [(torch.rand(2, 3, 4, 5),) * 2, (torch.rand(2, 1, 4, 7), torch.rand(2, 1, 4, 6))]
    with torch.no_grad():
        for _ in range(3):
            new = [tuple(torch.rand(*t.shape[:2], 1, t.shape[3]) for t in layer) for layer in past]
            expected = joined(past, new)
            past = grown(cast("PastKeyValues", past), new)
            assert_equal(past, expected)
    assert_equal(past.reorder(torch.tensor([1])), [tuple(tensor[1:] for tensor in layer) for layer in past])


# -- room from the start ----------------------------------------------------------------------------------------------


@without_gradients
def test_room_may_be_made_before_the_first_position(mode: Mode) -> None:
    with mode():
        empty = Cache.with_room(layers=2, batch=3, kv_heads=4, head_dim=8, capacity=100, dtype=torch.float64)
        assert (empty.length, empty.capacity, empty.nbytes) == (0, 100, 0)
        assert [tuple(tensor.shape) for layer in empty for tensor in layer] == [(3, 4, 0, 8)] * 4
        check_cache(empty, 2, (3, 4, 8), torch.float64, torch.device("cpu"))
        first = grown(empty, prompt := keys(60), limit=100)
        last = grown(first, rest := keys(40), limit=100)
        other = grown(empty, rest, limit=100)
    assert first[0][0].data_ptr() == last[0][0].data_ptr() != other[0][0].data_ptr()
    assert_equal(last, joined(prompt, rest))
    assert_equal(other, rest)
    assert_equal(empty, [tuple(tensor[:, :, :0] for tensor in layer) for layer in rest])


def test_room_is_of_the_dtype_and_device_asked_for() -> None:
    cache = Cache.with_room(
        layers=1, batch=1, kv_heads=1, head_dim=1, capacity=4, dtype=torch.bfloat16, device=torch.device("meta")
    )
    assert (cache[0][0].dtype, cache[0][0].device.type) == (torch.bfloat16, "meta")
    assert Cache.with_room(layers=1, batch=1, kv_heads=1, head_dim=1, capacity=4)[0][0].dtype == torch.float32


def test_room_made_before_is_no_hindrance_to_gradients() -> None:
    empty = Cache.with_room(layers=1, batch=3, kv_heads=4, head_dim=8, capacity=10, dtype=torch.float64)
    new = tuple(tensor.requires_grad_() for tensor in keys(2, layers=1)[0])
    sum(tensor.sum() for tensor in grown(empty, [new])[0]).backward()
    assert all(torch.equal(tensor.grad, torch.ones_like(tensor)) for tensor in new)


# -- gradients and modes ----------------------------------------------------------------------------------------------


def gradients(grow: Callable[[Layers, Layers], Layers], past: Layers, new: Layers) -> list[Tensor]:
    leaves = [[tuple(t.detach().clone().requires_grad_() for t in layer) for layer in part] for part in (past, new)]
    found = grow(*leaves)
    weights = [[torch.linspace(-1, 1, t.numel(), dtype=t.dtype).view(t.shape) for t in layer] for layer in found]
    objective = sum((t.sin() * w).sum() for f, w in zip(found, weights, strict=True) for t, w in zip(f, w, strict=True))
    cast("Tensor", objective).backward()
    return [cast("Tensor", t.grad) for part in leaves for layer in part for t in layer]


def test_gradients_reach_past_and_new_keys_as_through_concatenation() -> None:
    past, new = keys(4), keys(2)
    found = gradients(lambda a, b: grown(Cache(cast("PastKeyValues", a)), b), past, new)
    expected = gradients(joined, past, new)
    assert len(found) == 4 * LAYERS
    assert all(map(torch.equal, found, expected))


def test_where_gradients_are_recorded_nothing_is_written_in_place() -> None:
    cache = with_room(5)
    before = copied(cache)
    grew = grown(cache, new := keys(1))
    assert_equal(grew, joined(before, new))
    assert not set(places(grew)[0]) & set(places(cache)[0])
    with torch.no_grad():
        assert places(grown(cache, keys(1))) == places(cache)  # the room is still there


def test_what_autograd_saved_of_a_cache_outlives_its_growth() -> None:
    """The write behind a view must not count as a change of it."""
    cache = with_room(5)
    factor = torch.ones(ROWS, HEADS, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    objective = (cache[0][0] * factor).sum()
    with torch.no_grad():
        after = grown(cache, keys(1))
    assert after[0][0].data_ptr() == cache[0][0].data_ptr()
    objective.backward()
    assert torch.equal(factor.grad, cache[0][0])


def test_a_cache_with_gradients_is_extended_without() -> None:
    leaf = keys(4)[0][0].requires_grad_()
    past = Cache([(leaf * 2, leaf * 3)])
    with torch.no_grad():
        found = grown(past, new := keys(1, layers=1))
    assert not found[0][0].requires_grad
    assert_equal(found, [tuple(t.detach() for t in layer) for layer in joined(past, new)])
    (past[0][0] + past[0][1]).sum().backward()
    assert leaf.grad.unique().tolist() == [5]


@every_kind
@pytest.mark.parametrize("second", MODES.values(), ids=MODES)
@pytest.mark.parametrize("first", MODES.values(), ids=MODES)
def test_a_cache_of_one_mode_is_used_in_another(first: Mode, second: Mode, tensors: int) -> None:
    cache = with_room(5, first, tensors)
    before = copied(cache)
    with second():
        found = grown(cache, new := keys(1))
        values = joined(before, new)
        assert_equal(found, values)
        rows = torch.tensor([2, 0])
        assert_equal(found.reorder(rows), [tuple(tensor[rows] for tensor in layer) for layer in values])
        assert_equal(cache.crop(3), [(*(t[:, :, :3] for t in layer[:2]), *layer[2:]) for layer in before])
    with first():
        third = grown(found, other := keys(2))
        branch = grown(cache, other)
        moved = grown(found.reorder(rows), last := keys(1, 2))
    assert_equal(third, joined(values, other))
    assert_equal(branch, joined(before, other))
    assert_equal(moved, joined([tuple(tensor[rows] for tensor in layer) for layer in values], last))
    assert_equal(found, values)
    assert_equal(cache, before)


def test_a_cache_grown_in_inference_mode_is_copied_once_outside_it() -> None:
    cache = with_room(5, torch.inference_mode)
    with torch.no_grad():
        moved = grown(cache, keys(1))
        further = grown(moved, keys(1))
    assert places(cache) != places(moved) == places(further)
    with torch.inference_mode():
        assert places(grown(further, keys(1))) == places(further)


# -- threads ----------------------------------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int, threading.Barrier], None]) -> None:
    """Run `work(i, barrier)` in as many threads, and raise what any of them raises."""
    raised: list[BaseException] = []
    barrier = threading.Barrier(count)

    def guarded(which: int) -> None:
        try:
            work(which, barrier)
        except BaseException as error:  # noqa: BLE001  # raised again below
            raised.append(error)
            barrier.abort()  # nobody waits for this thread any more

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def test_threads_that_extend_one_prefix_do_not_mix() -> None:
    rounds, threads, steps = 200, 2, 3
    prefixes = [with_room(4 + i % 12) for i in range(rounds)]
    before = [copied(prefix) for prefix in prefixes]
    news = [[[keys(1) for _ in range(steps)] for _ in range(threads)] for _ in range(rounds)]
    found: list[list[Any]] = [[None] * threads for _ in range(rounds)]

    def work(which: int, barrier: threading.Barrier) -> None:
        for i in range(rounds):
            barrier.wait()
            with torch.no_grad():
                cache = prefixes[i]
                for new in news[i][which]:
                    cache = grown(cache, new)
                found[i][which] = cache

    in_threads(threads, work)
    for i in range(rounds):
        assert_equal(prefixes[i], before[i])
        for which in range(threads):
            expected = before[i]
            for new in news[i][which]:
                expected = joined(expected, new)
            assert_equal(found[i][which], expected)
        assert found[i][0][0][0].data_ptr() != found[i][1][0][0].data_ptr()


# -- everything at once -----------------------------------------------------------------------------------------------

Pair = tuple[Cache, list[tuple[Tensor, ...]]]
MODE = st.sampled_from([torch.no_grad, torch.no_grad, torch.inference_mode, torch.enable_grad])


class CacheMachine(RuleBasedStateMachine):
    """Caches beside what they should hold: plain tensors, each in memory of its own."""

    caches = Bundle("caches")

    def __init__(self) -> None:
        super().__init__()
        self.live: list[Pair] = []

    def add(self, cache: Any, expected: Layers) -> Pair:
        assert type(cache) is Cache
        pair = cache, copied(expected)
        self.live.append(pair)
        return pair

    @rule(target=caches, length=st.integers(1, 20), rows=st.integers(1, 3), crossed=st.booleans(), mode=MODE)
    def start(self, length: int, rows: int, crossed: bool, mode: Mode) -> Pair:
        with mode():
            past = keys(length, rows, tensors=4 if crossed else 2)
        return self.add(Cache(past), past)

    @rule(target=caches, rows=st.integers(1, 3), capacity=st.integers(0, 20), mode=MODE)
    def start_with_room(self, rows: int, capacity: int, mode: Mode) -> Pair:
        sizes = {"layers": LAYERS, "batch": rows, "kv_heads": HEADS, "head_dim": WIDTH, "dtype": torch.float64}
        with mode():
            return self.add(Cache.with_room(capacity=capacity, **sizes), keys(0, rows))

    @rule(target=caches, past=caches, length=st.integers(0, 6), slack=st.integers(0, 40), mode=MODE)
    def extend(self, past: Pair, length: int, slack: int, mode: Mode) -> Pair:
        cache, expected = past
        with mode():
            new = keys(length, cache[0][0].shape[0])
            found = grown(cache, new, limit=cache.length + length + slack)
        assert found.length == cache.length + length <= found.capacity
        return self.add(found, joined(expected, new))

    @rule(past=caches, length=st.integers(0, 6), mode=MODE)
    def extend_without_keeping(self, past: Pair, length: int, mode: Mode) -> None:
        cache, expected = past
        with mode():
            new = keys(length, cache[0][0].shape[0])
            assert_equal(grown(cache, new, kept=False), joined(expected, new))

    @rule(past=caches, layers=st.integers(0, LAYERS), mode=MODE)
    def fail(self, past: Pair, layers: int, mode: Mode) -> None:
        with mode():
            new = keys(1, past[0][0][0].shape[0])
            update = CacheUpdate(past[0], 1, LIMIT, kept=True)
            for i in range(layers):
                update.append(i, *new[i])

    @rule(target=caches, past=caches)
    def fork(self, past: Pair) -> Pair:
        return self.add(past[0].fork(), past[1])

    @rule(target=caches, past=caches)
    def tuples(self, past: Pair) -> Pair:
        return self.add(Cache(past[0].to_tuples()), past[1])

    @rule(target=caches, past=caches, data=st.data())
    def crop(self, past: Pair, data: st.DataObject) -> Pair:
        cache, expected = past
        length = data.draw(st.integers(0, cache.length) | st.just(cache.length))
        return self.add(cache.crop(length), [(*(t[:, :, :length] for t in e[:2]), *e[2:]) for e in expected])

    @rule(target=caches, past=caches, data=st.data(), mode=MODE)
    def reorder(self, past: Pair, data: st.DataObject, mode: Mode) -> Pair:
        cache, expected = past
        rows = data.draw(st.lists(st.integers(0, cache[0][0].shape[0] - 1), min_size=1, max_size=3))
        with mode():
            found = cache.reorder(torch.tensor(rows))
        return self.add(found, [tuple(tensor[rows] for tensor in layer) for layer in expected])

    @rule(past=consumes(caches))
    def drop(self, past: Pair) -> None:
        self.live = [pair for pair in self.live if pair is not past]
        gc.collect(0)

    @invariant()
    def every_cache_is_what_it_was(self) -> None:
        for cache, expected in self.live:
            assert_equal(cache, expected)
            assert cache.length == expected[0][0].shape[2] <= cache.capacity


TestEverythingAtOnce = CacheMachine.TestCase
TestEverythingAtOnce.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
