"""The cache that decoders take: a value that costs nothing to grow, whatever else is done with it, by whomever."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import copy
import gc
import io
import pickle
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, cat, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from modeloutputs import InputError
from modeloutputs.torch.cache import MIN_CAPACITY, Cache, CacheUpdate, PastKeyValues, check_cache, past_length

from .tiny import BY_NAME, DECODER, states, token_ids

LAYERS, ROWS, HEADS, WIDTH = 2, 3, 4, 8
LIMIT = 2048

Layers = Sequence[Sequence[Tensor]]
Mode = Callable[[], AbstractContextManager[Any]]

MODES: dict[str, Mode] = {"no_grad": torch.no_grad, "inference": torch.inference_mode, "grad": torch.enable_grad}
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
without_gradients = pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference"])


def held(length: int = 5, rows: int = ROWS, heads: int = HEADS, width: int = WIDTH) -> Tensor:
    return torch.zeros(rows, heads, length, width)


_drawn = 0


def keys(length: int, rows: int = ROWS, layers: int = LAYERS, tensors: int = 2) -> tuple[tuple[Tensor, ...], ...]:
    """Return each layer's key and value, none of whose numbers was returned before."""
    global _drawn

    def next_numbers() -> Tensor:
        global _drawn
        count = rows * HEADS * length * WIDTH
        _drawn += count
        return torch.arange(_drawn - count, _drawn).view(rows, HEADS, length, WIDTH).double()

    return tuple(tuple(next_numbers() for _ in range(tensors)) for _ in range(layers))


def grown(past: PastKeyValues | None, new: Layers, *, limit: int = LIMIT, kept: bool = True) -> Cache:
    """Extend a cache as a model does: layer by layer, the encoder's tensors carried along."""
    update = CacheUpdate(past, new[0][0].shape[2], limit, kept=kept)
    layers = [(*update.append(i, *layer[:2]), *(update.cross(i) or ())) for i, layer in enumerate(new)]
    return cast("Cache", update.finish(layers))


def joined(past: Layers, new: Layers) -> list[tuple[Tensor, ...]]:
    """What extending should give: plain concatenation, in memory of its own."""
    return [
        (*(cat([a, b], 2) for a, b in zip(before[:2], after[:2], strict=True)), *(t.clone() for t in before[2:]))
        for before, after in zip(past, new, strict=True)
    ]


def copied(layers: Layers) -> list[tuple[Tensor, ...]]:
    return [tuple(tensor.clone() for tensor in layer) for layer in layers]


def assert_equal(found: Layers, expected: Layers) -> None:
    assert [len(layer) for layer in found] == [len(layer) for layer in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


def places(layers: Layers) -> list[list[int]]:
    return [[tensor.data_ptr() for tensor in layer] for layer in layers]


def with_room(length: int, mode: Mode = torch.no_grad, tensors: int = 2, rows: int = ROWS) -> Cache:
    """Return a cache that was grown to a length, and so has room behind it."""
    with mode():
        prompt = keys(length - 1, rows)
        crossed = keys(7, rows)
        past = [(*own, *other) for own, other in zip(prompt, crossed, strict=True)] if tensors == 4 else prompt
        return grown(Cache(past), keys(1, rows))


# -- a tuple ----------------------------------------------------------------------------------------------------------


def test_length_is_that_of_the_keys() -> None:
    assert past_length(None) == 0
    assert past_length((OWN, OWN)) == 5
    assert past_length((CROSSED, CROSSED)) == 5
    assert Cache((CROSSED, CROSSED)).length == 5
    assert Cache().length == past_length(()) == 0


def test_it_is_the_tuple_of_tuples() -> None:
    plain = keys(5)
    cache = Cache(plain)
    assert isinstance(cache, tuple)
    assert len(cache) == LAYERS
    assert cache[0] is plain[0]
    assert cache[-1][1] is plain[-1][1]
    assert cache[:1] == plain[:1]
    (key, _), *_ = cache
    assert key is plain[0][0]
    assert [len(layer) for layer in cache] == [2, 2]


def test_it_is_made_of_tuples_and_gives_them_back_without_copying() -> None:
    plain = keys(5)
    given_back = Cache(list(layer) for layer in plain).to_tuples()
    assert type(given_back) is tuple
    assert [type(layer) for layer in given_back] == [tuple, tuple]
    assert places(given_back) == places(plain)
    assert places(with_room(5).to_tuples()) != places(plain)


def test_sizes_are_of_what_is_held_and_of_the_room() -> None:
    cache = Cache(keys(5))
    assert (cache.length, cache.capacity, cache.nbytes) == (5, 5, LAYERS * 2 * ROWS * HEADS * 5 * WIDTH * 8)
    longer = with_room(6)
    assert (longer.length, longer.capacity, longer.nbytes) == (6, 16, LAYERS * 2 * ROWS * HEADS * 6 * WIDTH * 8)
    crossed = with_room(6, tensors=4)
    assert crossed.nbytes == longer.nbytes + LAYERS * 2 * ROWS * HEADS * 7 * WIDTH * 8
    assert (Cache().length, Cache().capacity, Cache().nbytes) == (0, 0, 0)


def test_capacity_is_what_it_can_grow_to_and_not_what_another_can() -> None:
    cache = with_room(6)
    assert cache.crop(6).capacity == 16
    assert cache.crop(5).capacity == 5
    with torch.no_grad():
        after = grown(cache, keys(2))
    assert (cache.capacity, after.capacity) == (6, 16)
    assert cache.fork().capacity == 6


def test_it_prints_in_a_line() -> None:
    assert repr(with_room(5)) == "Cache(2 x (2 x f64[3,4,5,8]))"
    assert repr(Cache((CROSSED, CROSSED))) == "Cache(2 x (2 x f32[3,4,5,8], 2 x f32[3,4,7,8]))"
    assert repr(Cache()) == "Cache(())"


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))])
@pytest.mark.parametrize("tensors", [2, 4])
def test_copies_have_its_values_and_memory_of_their_own(duplicate: Callable[[Cache], Cache], tensors: int) -> None:
    cache = with_room(5, tensors=tensors)
    before, again = copied(cache), duplicate(cache)
    assert type(again) is Cache
    assert_equal(again, before)
    for layer in again:
        for tensor in layer:
            tensor.zero_()
    assert_equal(cache, before)
    with torch.no_grad():
        assert_equal(grown(again, new := keys(1)), joined(again, new))


@pytest.mark.parametrize("write", [pickle.dumps, lambda cache: saved(cache).getvalue()], ids=["pickle", "torch.save"])
def test_copies_are_of_the_values_and_not_of_the_room(write: Callable[[Cache], bytes]) -> None:
    with torch.no_grad():
        room = Cache.with_room(layers=2, batch=3, kv_heads=4, head_dim=8, capacity=5000, dtype=torch.float64)
        cache = grown(room, keys(5))
    assert cache.capacity == 5000
    assert cache.nbytes < len(write(cache)) < cache.nbytes + 4096
    assert cache.nbytes < len(write(cache.crop(2))) + cache.crop(3).nbytes < cache.nbytes + 4096


def saved(value: object) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return file


def test_it_is_loaded_without_running_code() -> None:
    cache = with_room(5)
    loaded = torch.load(saved(cache), weights_only=True)
    assert type(loaded) is Cache
    assert_equal(loaded, cache)


def test_a_shallow_copy_is_the_cache() -> None:
    cache = with_room(5)
    assert copy.copy(cache) is cache


def test_it_is_a_tree_of_its_tensors() -> None:
    cache = with_room(5, tensors=4)
    leaves, form = pytree.tree_flatten(cache)
    assert list(map(id, leaves)) == [id(tensor) for layer in cache for tensor in layer]
    again = pytree.tree_unflatten(leaves, form)
    assert type(again) is Cache
    assert_equal(again, cache)
    halved = pytree.tree_map(lambda tensor: tensor / 2, {"a": [cache]})["a"][0]
    assert type(halved) is Cache
    assert_equal(halved, [tuple(tensor / 2 for tensor in layer) for layer in cache])
    paths = [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(cache)[0]]
    assert paths == [f"[{i}][{j}]" for i in range(LAYERS) for j in range(4)]
    assert pytree.treespec_loads(pytree.treespec_dumps(form)) == form


def test_a_tree_made_again_does_not_take_the_room() -> None:
    cache = with_room(5)
    again = pytree.tree_map(lambda tensor: tensor + 1, cache)
    with torch.no_grad():
        assert_equal(grown(again, new := keys(1)), joined(again, new))
        assert_equal(grown(cache, new), joined(cache, new))


# -- views ------------------------------------------------------------------------------------------------------------

every_kind = pytest.mark.parametrize("tensors", [2, 4], ids=["own", "crossed"])
with_and_without_room = pytest.mark.parametrize("room", [True, False], ids=["room", "no room"])


def cache_of(length: int, room: bool, tensors: int = 2) -> Cache:
    cache = with_room(length, tensors=tensors)
    return cache if room else Cache(copied(cache))


@with_and_without_room
@every_kind
def test_a_fork_shares_memory_and_leaves_the_room(tensors: int, room: bool) -> None:
    cache = cache_of(5, room, tensors)
    fork = cache.fork()
    assert type(fork) is Cache
    assert places(fork) == places(cache)
    theirs, ours = keys(2), keys(2)
    before = copied(cache)
    with torch.no_grad():
        forked, grew = grown(fork, theirs), grown(cache, ours)
    assert (grew[0][0].data_ptr() == cache[0][0].data_ptr()) == room
    assert forked[0][0].data_ptr() != cache[0][0].data_ptr()
    assert_equal(forked, joined(before, theirs))
    assert_equal(grew, joined(before, ours))
    assert_equal(cache, before)


@pytest.mark.parametrize("length", [0, 1, 4, 5])
@with_and_without_room
@every_kind
def test_a_crop_is_the_first_positions(tensors: int, room: bool, length: int) -> None:
    cache = cache_of(5, room, tensors)
    before = copied(cache)
    crop = cache.crop(length)
    expected = [(*(t[:, :, :length] for t in layer[:2]), *layer[2:]) for layer in before]
    assert type(crop) is Cache
    assert crop.length == length
    assert_equal(crop, expected)
    assert places([layer[2:] for layer in crop]) == places([layer[2:] for layer in cache])
    with torch.no_grad():
        first, second = grown(crop, new := keys(2)), grown(cache, other := keys(3))
    assert_equal(first, joined(expected, new))
    assert_equal(second, joined(before, other))
    assert_equal(cache, before)
    assert_equal(crop, expected)


@pytest.mark.parametrize("length", [-1, 6])
def test_a_crop_of_positions_that_there_are_not_is_refused(length: int) -> None:
    with pytest.raises(InputError) as caught:
        with_room(5).crop(length)
    assert str(caught.value) == f"crop({length}) of a cache of 5 positions; expected 0 to 5"


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0, 1], [1, 1, 1], [2], [], [0, 2, 0, 1, 1]])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@with_and_without_room
@every_kind
@every_mode
def test_rows_come_in_the_order_asked_for(
    mode: Mode, tensors: int, room: bool, dtype: "torch.dtype", rows: list[int]
) -> None:
    cache = cache_of(5, room, tensors)
    before = copied(cache)
    with mode():
        found = cache.reorder(torch.tensor(rows, dtype=dtype))
        expected = [tuple(tensor[rows] for tensor in layer) for layer in before]
        assert type(found) is Cache
        assert_equal(found, expected)
        after = grown(found, new := keys(2, len(rows)))
        assert_equal(after, joined(expected, new))
    assert_equal(cache, before)
    assert_equal(found, expected)


def test_reordered_rows_have_as_much_room() -> None:
    cache = with_room(5)
    found = cache.reorder(torch.tensor([1, 0]))
    assert (found.capacity, cache.capacity) == (16, 16)
    with torch.no_grad():
        after = grown(found, keys(11, rows=2))
        full = grown(after, keys(1, rows=2))
    assert places(after) == places(found)
    assert (full.length, full.capacity) == (17, 32)


def test_reordered_rows_carry_gradients() -> None:
    leaf = held().requires_grad_()
    found = Cache([(leaf * 2, leaf)]).reorder(torch.tensor([1, 1]))
    found[0][0].sum().backward()
    assert leaf.grad[:, 0, 0, 0].tolist() == [0, 4, 0]


def test_a_view_that_was_made_to_need_gradients_is_reordered_with_them() -> None:
    cache = with_room(5)
    cache[0][0].requires_grad_()
    cache.reorder(torch.tensor([2, 2, 0]))[0][0].sum().backward()
    assert cache[0][0].grad[:, 0, 0, 0].tolist() == [1, 0, 2]


WRONG_ROWS: dict[str, tuple[Tensor, str]] = {
    "too high": (torch.tensor([0, 3]), "rows range from 0 to 3; the cache's are 0 to 2"),
    "too low": (torch.tensor([-1, 2]), "rows range from -1 to 2; the cache's are 0 to 2"),
    "two axes": (torch.tensor([[0]]), "rows are torch.int64 of shape (1, 1); expected (new batch,) integer indices"),
    "no axis": (torch.tensor(0), "rows are torch.int64 of shape (); expected (new batch,) integer indices"),
    "floats": (torch.tensor([0.0]), "rows are torch.float32 of shape (1,); expected (new batch,) integer indices"),
    "truth values": (
        torch.tensor([True, False, True]),
        "rows are torch.bool of shape (3,); expected (new batch,) integer indices",
    ),
}


@pytest.mark.parametrize(("rows", "message"), WRONG_ROWS.values(), ids=WRONG_ROWS)
@with_and_without_room
def test_rows_that_there_are_not_are_refused(room: bool, rows: Tensor, message: str) -> None:
    with pytest.raises(InputError) as caught:
        cache_of(5, room).reorder(rows)
    assert str(caught.value) == message


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


# -- in models --------------------------------------------------------------------------------------------------------

SELF, BOTH = {**DECODER, "add_cross_attention": False}, DECODER
every_decoder = pytest.mark.parametrize("crossed", [False, True], ids=["self", "crossed"])


def decoder(crossed: bool) -> Any:
    return BY_NAME["BertLMHeadModel"].model(**(BOTH if crossed else SELF))


def first_arguments(crossed: bool) -> dict[str, Tensor]:
    return {"encoder_hidden_states": states(2, 5)} if crossed else {}


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@every_decoder
@every_mode
def test_a_model_decodes_into_one_buffer(mode: Mode, crossed: bool) -> None:
    model, ids = decoder(crossed), token_ids(2, 12)
    whole = model(ids, **first_arguments(crossed)).logits
    with mode():
        output = model(ids[:, :4], **first_arguments(crossed))
        logits, outputs = [output.logits], [output]
        for i in range(4, 12):
            output = model(ids[:, i : i + 1], past_key_values=output.past_key_values)
            logits.append(output.logits)
            outputs.append(output)
    close(cat(logits, 1), whole)
    starts = {places(output.past_key_values)[0][0] for output in outputs[1:]}
    assert len(starts) == (8 if mode is torch.enable_grad else 1)
    for i, output in enumerate(outputs):
        assert type(output.past_key_values) is Cache
        assert output.past_key_values.length == 4 + i
        for layer, last in zip(output.past_key_values, outputs[-1].past_key_values, strict=True):
            assert all(torch.equal(key, later[:, :, : 4 + i]) for key, later in zip(layer[:2], last[:2], strict=True))


@every_decoder
def test_a_model_branches_backs_up_and_reorders(crossed: bool) -> None:
    model, ids, others = decoder(crossed), token_ids(2, 8), token_ids(2, 8, seed=9)
    arguments = first_arguments(crossed)
    with torch.no_grad():
        past = model(ids[:, :5], **arguments).past_key_values
        past = model(ids[:, 5:7], past_key_values=past).past_key_values
        found = {
            "on": model(ids[:, 7:], past_key_values=past),
            "aside": model(others[:, 7:], past_key_values=past),
            "fork": model(others[:, 7:], past_key_values=past.fork()),
            "back": model(others[:, 4:], past_key_values=past.crop(4)),
            "swapped": model(others[:, 7:], past_key_values=past.reorder(torch.tensor([1, 0]))),
        }
        aside, back = cat([ids[:, :7], others[:, 7:]], 1), cat([ids[:, :4], others[:, 4:]], 1)
        swapped = cat([ids.flip(0)[:, :7], others[:, 7:]], 1)
        turned = {name: tensor.flip(0) for name, tensor in arguments.items()}
        close(found["on"].logits, model(ids, **arguments).logits[:, 7:])
        close(found["aside"].logits, model(aside, **arguments).logits[:, 7:])
        close(found["fork"].logits, model(aside, **arguments).logits[:, 7:])
        close(found["back"].logits, model(back, **arguments).logits[:, 4:])
        close(found["swapped"].logits, model(swapped, **turned).logits[:, 7:])


def parameter_gradients(model: nn.Module, objective: Tensor) -> list[Tensor | None]:
    model.zero_grad()
    objective.backward()
    return [parameter.grad for parameter in model.parameters()]


@every_decoder
def test_gradients_through_two_steps_are_those_of_one_pass(crossed: bool) -> None:
    model, ids = decoder(crossed), token_ids(2, 7)
    arguments = first_arguments(crossed)
    whole = parameter_gradients(model, model(ids, **arguments).logits.square().mean())
    first = model(ids[:, :4], **arguments)
    second = model(ids[:, 4:], past_key_values=first.past_key_values)
    found = parameter_gradients(model, cat([first.logits, second.logits], 1).square().mean())
    assert all(gradient is not None for gradient in whole)
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-4)


@every_decoder
@every_mode
def test_a_compiled_model_takes_a_cache(mode: Mode, crossed: bool) -> None:
    assert_compiles("eager", mode, crossed, lambda cache: cache)


@pytest.mark.parametrize("form", [Cache.fork, Cache.to_tuples], ids=["fork", "tuples"])
def test_a_compiled_model_takes_a_cache_without_room(form: Callable[[Cache], PastKeyValues]) -> None:
    assert_compiles("eager", torch.no_grad, True, form)


def test_a_compiled_model_takes_a_cache_through_aot_autograd() -> None:
    assert_compiles("aot_eager", torch.no_grad, True, lambda cache: cache)
    assert_compiles("aot_eager", torch.enable_grad, False, lambda cache: cache)


def assert_compiles(backend: str, mode: Mode, crossed: bool, form: Callable[[Cache], PastKeyValues]) -> None:
    """Two steps in one graph each, on a cache of eager steps; and what they return is taken by an eager step."""
    torch._dynamo.reset()
    model, ids = decoder(crossed), token_ids(2, 9)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    with mode():
        past = model(ids[:, :4], **first_arguments(crossed)).past_key_values
        past = model(ids[:, 4:6], past_key_values=past).past_key_values
        assert past.capacity == (6 if mode is torch.enable_grad else 16)
        before = copied(past)
        first = compiled(ids[:, 6:7], past_key_values=form(past))
        second = compiled(ids[:, 7:8], past_key_values=first.past_key_values)
        third = model(ids[:, 8:], past_key_values=second.past_key_values)
        wanted_first = model(ids[:, 6:7], past_key_values=past)
        wanted_second = model(ids[:, 7:8], past_key_values=wanted_first.past_key_values)
        wanted_third = model(ids[:, 8:], past_key_values=wanted_second.past_key_values)
    for found, wanted in ((first, wanted_first), (second, wanted_second), (third, wanted_third)):
        close(found.logits, wanted.logits)
        close(found.past_key_values, tuple(wanted.past_key_values))
    assert_equal(past, before)


OPERATIONS: dict[str, Callable[[Cache, Tensor], Any]] = {
    "fork": lambda cache, rows: cache.fork(),
    "crop": lambda cache, rows: cache.crop(3),
    "crop to all": lambda cache, rows: cache.crop(5),
    "reorder": lambda cache, rows: cache.reorder(rows),
    "tuples": lambda cache, rows: cache.to_tuples(),
    "made anew": lambda cache, rows: Cache([tuple(tensor * 2 for tensor in layer) for layer in cache]),
    "passed on": lambda cache, rows: cache,
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@with_and_without_room
def test_what_is_done_with_a_cache_can_be_compiled(room: bool, operation: Callable[[Cache, Tensor], Any]) -> None:
    torch._dynamo.reset()
    cache, rows = cache_of(5, room), torch.tensor([2, 2, 0, 1])
    before = copied(cache)
    with torch.no_grad():
        found = torch.compile(operation, fullgraph=True, backend="eager")(cache, rows)
        expected = copied(operation(cache.fork(), rows))
        assert_equal(found, expected)
        first = grown(found, new := keys(2, found[0][0].shape[0]))
        second = grown(cache, other := keys(2))
    assert_equal(first, joined(expected, new))
    assert_equal(second, joined(before, other))


# -- what is refused --------------------------------------------------------------------------------------------------

OWN = (held(), held())
CROSSED = (*OWN, held(7), held(7))


def refusal(past: Any) -> str:
    with pytest.raises(InputError) as caught:
        check_cache(past, LAYERS, (ROWS, HEADS, WIDTH), torch.float32, torch.device("cpu"))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "past", [None, (OWN, OWN), (CROSSED, CROSSED), [list(OWN), list(OWN)], Cache((OWN, OWN)), Cache((CROSSED, CROSSED))]
)
def test_a_cache_of_this_model_and_batch_is_taken(past: Any) -> None:
    check_cache(past, LAYERS, (ROWS, HEADS, WIDTH), torch.float32, torch.device("cpu"))


def test_a_cache_of_other_layers_is_refused() -> None:
    assert refusal((OWN,)) == "past_key_values has 1 layers; this model has 2"
    assert refusal(()) == "past_key_values has 0 layers; this model has 2"
    assert refusal(Cache((OWN,) * 3)) == "past_key_values has 3 layers; this model has 2"


@pytest.mark.parametrize("past", ["ab", b"ab", {0: OWN, 1: OWN}, {OWN, CROSSED}, 2, held(), object(), iter((OWN, OWN))])
def test_what_is_no_tuple_is_refused_by_its_kind(past: Any) -> None:
    kind = type(past).__name__
    assert refusal(past) == (
        f"past_key_values is a {kind}; expected what a call returned, a tuple of tensors per layer"
    )


@pytest.mark.parametrize("layer", [None, "ab", {"key": 1, "value": 2}, torch.zeros(2, ROWS, HEADS, 5, WIDTH)])
def test_a_layer_that_is_no_tuple_is_refused(layer: Any) -> None:
    kind = type(layer).__name__
    assert refusal((OWN, layer)) == f"past_key_values[1] is a {kind}; expected a tuple of tensors"
    assert refusal((layer, OWN)) == f"past_key_values[0] is a {kind}; expected a tuple of tensors"


@pytest.mark.parametrize("entry", [None, "a", 1.0, OWN, held().numpy()])
def test_an_entry_that_is_no_tensor_is_refused(entry: Any) -> None:
    kind = type(entry).__name__
    assert refusal(((held(), entry), OWN)) == f"past_key_values[0][1] is a {kind}; expected a tensor"
    assert refusal((CROSSED, (*OWN, entry, entry))) == f"past_key_values[1][2] is a {kind}; expected a tensor"


def test_layers_with_and_without_an_encoder_in_one_cache_are_refused() -> None:
    assert refusal((OWN, CROSSED)).startswith("past_key_values[1] has 4 tensors; expected 2, or 4 with cross-attention")


@pytest.mark.parametrize("layer", [(), OWN[:1], CROSSED[:3]])
def test_a_layer_with_neither_two_nor_four_tensors_is_refused(layer: Any) -> None:
    message = f"has {len(layer)} tensors; expected 2, or 4 with cross-attention, in all layers"
    assert refusal((OWN, layer)) == f"past_key_values[1] {message}"
    assert refusal((layer, OWN)) == f"past_key_values[0] {message}"


@pytest.mark.parametrize(
    "wrong", [held(4), held(rows=2), held(heads=5), held(width=9), torch.zeros(3), torch.zeros(ROWS, HEADS, 5)]
)
def test_a_tensor_of_another_shape_is_refused_by_its_place(wrong: Tensor) -> None:
    expected = f"past_key_values[1][0] has shape {tuple(wrong.shape)}; expected (3, 4, 5, 8)"
    assert refusal((OWN, (wrong, held()))) == expected
    assert refusal(Cache((OWN, (wrong, held())))) == expected


def test_encoder_keys_have_a_length_of_their_own_and_else_the_same_shape() -> None:
    wrong = (*OWN, held(7, rows=2), held(7))
    assert refusal((wrong, CROSSED)) == "past_key_values[0][2] has shape (2, 4, 7, 8); expected (3, 4, 7, 8)"
    wrong = (*OWN, held(7), held(6))
    assert refusal((CROSSED, wrong)) == "past_key_values[1][3] has shape (3, 4, 6, 8); expected (3, 4, 7, 8)"


def test_a_first_tensor_without_positions_is_refused() -> None:
    assert refusal(((torch.zeros(3), held()), OWN)).startswith("past_key_values[0][0] has shape (3,); expected (3, 4,")


OTHERS: dict[str, tuple[Tensor, str]] = {
    "half precision": (held().half(), "torch.float16 on cpu"),
    "double precision": (held().double(), "torch.float64 on cpu"),
    "integers": (held().long(), "torch.int64 on cpu"),
    "another device": (held().to("meta"), "torch.float32 on meta"),
}


@pytest.mark.parametrize(("wrong", "what"), OTHERS.values(), ids=OTHERS)
def test_a_tensor_of_another_dtype_or_device_is_refused(wrong: Tensor, what: str) -> None:
    expected = f"is {what}; this model's keys are torch.float32 on cpu"
    assert refusal((OWN, (held(), wrong))) == f"past_key_values[1][1] {expected}"
    assert refusal(((held(), wrong), OWN)) == f"past_key_values[0][1] {expected}"


def test_a_grown_cache_of_another_model_or_batch_is_refused() -> None:
    with torch.no_grad():
        cache = grown(Cache((OWN, OWN)), [(held(1), held(1))] * 2)
        check_cache(cache, LAYERS, (ROWS, HEADS, WIDTH), torch.float32, torch.device("cpu"))
    rows = cache.reorder(torch.tensor([0, 1]))
    assert refusal(rows) == "past_key_values[0][0] has shape (2, 4, 6, 8); expected (3, 4, 6, 8)"
    assert refusal(with_room(6)).startswith("past_key_values[0][0] is torch.float64 on cpu; this model's keys are")
    meta = Cache.with_room(layers=2, batch=ROWS, kv_heads=HEADS, head_dim=WIDTH, capacity=4, device="meta")
    assert refusal(meta).startswith("past_key_values[0][0] is torch.float32 on meta; this model's keys are")
    one = Cache.with_room(layers=1, batch=ROWS, kv_heads=HEADS, head_dim=WIDTH, capacity=4)
    assert refusal(one) == "past_key_values has 1 layers; this model has 2"


def test_a_deep_copy_of_a_cache_in_a_graph_holds_its_values_alone() -> None:
    tensor = torch.ones(1, 2, 3, 4, requires_grad=True)
    cache = Cache([(tensor * 2, tensor * 3)])
    copied = copy.deepcopy(cache)
    assert not copied[0][0].requires_grad
    assert torch.equal(copied[0][0], cache[0][0])
    assert torch.equal(copied[0][1], cache[0][1])
