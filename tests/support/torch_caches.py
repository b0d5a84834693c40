"""Caches for tests: keys that are all different, growing them as a model does, and what that should give."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import pytest
import torch
from torch import Tensor, cat

from modeloutputs.torch.cache import Cache, CacheUpdate, PastKeyValues

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


every_kind = pytest.mark.parametrize("tensors", [2, 4], ids=["own", "crossed"])
with_and_without_room = pytest.mark.parametrize("room", [True, False], ids=["room", "no room"])


def cache_of(length: int, room: bool, tensors: int = 2) -> Cache:
    cache = with_room(length, tensors=tensors)
    return cache if room else Cache(copied(cache))


OWN = (held(), held())
CROSSED = (*OWN, held(7), held(7))
