"""The cache that decoders take, as a value: a tuple of tensors, copied, cropped, reordered and compiled."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor
from torch.utils import _pytree as pytree

from modeloutputs import InputError
from modeloutputs.torch.cache import Cache, past_length

from ..support.torch_caches import (
    CROSSED,
    HEADS,
    LAYERS,
    OWN,
    ROWS,
    WIDTH,
    Mode,
    assert_equal,
    cache_of,
    copied,
    every_kind,
    every_mode,
    grown,
    held,
    joined,
    keys,
    places,
    with_and_without_room,
    with_room,
)

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


def test_a_deep_copy_of_a_cache_in_a_graph_holds_its_values_alone() -> None:
    tensor = torch.ones(1, 2, 3, 4, requires_grad=True)
    cache = Cache([(tensor * 2, tensor * 3)])
    copied = copy.deepcopy(cache)
    assert not copied[0][0].requires_grad
    assert torch.equal(copied[0][0], cache[0][0])
    assert torch.equal(copied[0][1], cache[0][1])


# -- views ------------------------------------------------------------------------------------------------------------


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
