"""Layouts of caches and losses in other frameworks."""

import math
from typing import Any

import numpy as np
import pytest

from modeloutputs import InputError
from modeloutputs.ops.convert import convert

from ..support.compare import assert_values, values
from ..support.conversion_reference import WITH_A_LOSS_OF_THE_BATCH
from ..support.conversions import (
    layer,
    others_than,
)
from ..support.needs import needs_jax, needs_tensorflow, needs_torch
from ..support.random_outputs import array, class_named, framework_of, full


def with_cache(name: str, cache: Any) -> Any:
    kind = framework_of(name).name
    return class_named(name)(last_hidden_state=array(np.ones((2, 1, 4), np.float32), kind), past_key_values=cache)


def cache_of(name: str, cache: Any, to: Any) -> Any:
    return convert(with_cache(name, cache), to).past_key_values


@needs_torch
@needs_tensorflow
def test_keys_and_values_are_stacked_for_tensorflow():
    plain, crossing = layer("torch"), layer("torch", start=50) + layer("torch", length=5, start=90)
    stacks = cache_of("BaseModelOutputWithPastAndCrossAttentions", (plain, crossing), "tensorflow")
    assert type(stacks) is list
    np.testing.assert_array_equal(stacks[0].numpy(), np.stack(values(plain)))
    assert type(stacks[1]) is tuple
    np.testing.assert_array_equal(stacks[1][0].numpy(), np.stack(values(crossing[:2])))
    np.testing.assert_array_equal(stacks[1][1].numpy(), np.stack(values(crossing[2:])))
    back = cache_of("TFBaseModelOutputWithPastAndCrossAttentions", stacks, "torch")
    assert_values(back, (values(plain), values(crossing)))


@needs_torch
@needs_jax
def test_a_cache_of_constant_shape_has_the_same_values():
    layers = (layer("torch"), layer("torch", start=50))
    cache = cache_of("BaseModelOutputWithPast", layers, "jax")
    assert list(cache) == [f"layers.{i}.cached_{what}" for i in (0, 1) for what in ("key", "value")] + ["cache_index"]
    for i in (0, 1):
        for what, states in zip(("key", "value"), layers[i], strict=True):
            for row, head, position in np.ndindex(2, 2, 3):
                there = cache[f"layers.{i}.cached_{what}"][row, position, head]
                np.testing.assert_array_equal(there, states[row, head, position].numpy())
    assert (cache["cache_index"].tolist(), str(cache["cache_index"].dtype)) == ([3, 3], "int32")


@needs_jax
@pytest.mark.parametrize("to", others_than("jax"))
@pytest.mark.parametrize("index", [[4, 4], [4, 1], [0, 0], 4])
def test_unfilled_room_is_not_converted(to: str, index: Any):
    room = np.random.default_rng(0).standard_normal((2, 7, 2, 3), dtype=np.float32)
    cache = {"layers.0.cached_key": room, "layers.0.cached_value": -room, "cache_index": np.array(index, np.int32)}
    arrays = {name: array(part, "jax") for name, part in cache.items()}
    there = values(cache_of("FlaxBaseModelOutputWithPast", arrays, to))
    filled = np.max(index)
    wanted = room.transpose(0, 2, 1, 3)[:, :, :filled]
    np.testing.assert_array_equal(np.stack(there[0]), np.stack([wanted, -wanted]))


@needs_jax
def test_the_layout_changes_between_classes_of_one_framework():
    past = cache_of(
        "FlaxBaseModelOutputWithPastAndCrossAttentions", (layer("jax"),), class_named("FlaxBaseModelOutputWithPast")
    )
    assert past["layers.0.cached_key"].shape == (2, 3, 2, 2)
    again = cache_of("FlaxBaseModelOutputWithPast", past, class_named("FlaxBaseModelOutputWithPastAndCrossAttentions"))
    assert_values(again, (values(layer("jax")),))


@needs_torch
@needs_tensorflow
@needs_jax
def test_a_cache_without_layers():
    assert cache_of("BaseModelOutputWithPast", (), "tensorflow") == []
    static = cache_of("BaseModelOutputWithPast", (), "jax")
    assert list(static) == ["cache_index"]
    assert cache_of("FlaxBaseModelOutputWithPast", static, "torch") == ()


@needs_torch
@needs_tensorflow
def test_the_cache_of_our_decoders_is_converted():
    from modeloutputs.torch.cache import Cache

    grown = Cache([layer("torch")])
    assert_values(cache_of("BaseModelOutputWithPast", grown, "tensorflow"), [np.stack(values(layer("torch")))])
    assert_values(cache_of("BaseModelOutputWithPast", grown, "numpy"), (values(layer("torch")),))


K = np.ones((2, 2, 3, 2), np.float32)

NOT_CACHES = {
    "a layer that is not there": (None, (K, K)),
    "a layer of nothing": ((),),
    "a key alone": ((K,),),
    "three": ((K, K, K),),
    "too few axes": ((K[0], K[0]),),
    "too many axes": ((K[None], K[None]),),
    "one array": K,
    "text": "cache",
    "an object": object(),
}


@needs_torch
@pytest.mark.parametrize("to", others_than("torch"))
@pytest.mark.parametrize("form", NOT_CACHES)
def test_values_that_are_not_a_cache_are_refused(form: str, to: str):
    with pytest.raises(InputError, match=r"^\w+\.past_key_values was given .*; expected keys and values of each layer"):
        cache_of("BaseModelOutputWithPast", NOT_CACHES[form], to)


@needs_jax
@needs_torch
@pytest.mark.parametrize(
    "change",
    [
        {"cache_index": None},
        {"cache_index": 3},
        {"layers.0.cached_value": None},
        {"layers.0.cached_key": K[0]},
        {"layers.7.cached_key": K},
        {"layers.7.cached_key": K, "layers.7.cached_value": K},
        {3: K, 4: K},
    ],
    ids=str,
)
def test_dicts_that_are_not_a_cache_are_refused(change: dict[Any, Any]):
    cache = {"layers.0.cached_key": K, "layers.0.cached_value": K, "cache_index": np.array([1, 1])} | change
    given = {name: value for name, value in cache.items() if value is not None}
    with pytest.raises(
        InputError, match=r"^BaseModelOutputWithPast\.past_key_values was given \{.*'layers\.0\.cached_key'"
    ):
        cache_of("FlaxBaseModelOutputWithPast", given, "torch")


@needs_jax
@needs_torch
def test_a_cache_filled_beyond_its_room_is_refused():
    cache = {"layers.0.cached_key": K, "layers.0.cached_value": K, "cache_index": np.array([1, 9])}
    with pytest.raises(InputError, match=r"cache_index says that 9 positions are filled, but there are 2$"):
        cache_of("FlaxBaseModelOutputWithPast", cache, "torch")


@needs_torch
@needs_jax
@needs_tensorflow
def test_a_cache_that_the_other_layout_cannot_represent_is_refused():
    sliding = (layer("torch"), layer("torch", length=2))
    for what, cache, to in (
        ("layers of two lengths under one index", sliding, "jax"),
        ("values wider than keys", ((layer("torch")[0], layer("torch", width=5)[0]),), "tensorflow"),
        ("values of another type", ((layer("torch")[0], layer("torch")[0].half()),), "tensorflow"),
        ("an encoder's keys", (layer("torch") * 2,), class_named("FlaxBaseModelOutputWithPast")),
        ("an encoder's keys", (layer("torch") * 2,), class_named("TFBaseModelOutputWithPast")),
    ):
        with pytest.raises(
            InputError, match=r"represent this cache: .*; leave it out with drop=\('past_key_values',\)$"
        ):
            pytest.fail(f"{what}: {cache_of('BaseModelOutputWithPast', cache, to)}")
    assert [stack.shape[3] for stack in cache_of("BaseModelOutputWithPast", sliding, "tensorflow")] == [3, 2]


def loss_of(name: str, shape: tuple[int, ...], to: str) -> Any:
    kind, numbers = framework_of(name).name, np.arange(1, 1 + math.prod(shape), dtype=np.float32).reshape(shape)
    output = full(class_named(name), absent=["cross_attentions"]).replace(loss=array(numbers, kind))
    there = convert(output, to).check().loss
    return values(there).tolist()


@needs_torch
@needs_tensorflow
@pytest.mark.parametrize("base", sorted(WITH_A_LOSS_OF_THE_BATCH))
def test_the_loss_of_a_batch_has_an_axis_in_tensorflow_only(base: str):
    assert loss_of(base, (), "tensorflow") == [1.0]
    assert loss_of(f"TF{base}", (1,), "torch") == 1.0


@needs_torch
@needs_tensorflow
@pytest.mark.parametrize("base", sorted(WITH_A_LOSS_OF_THE_BATCH))
def test_the_losses_of_parts_stay_the_losses_of_parts(base: str):
    assert loss_of(base, (3,), "tensorflow") == [1.0, 2.0, 3.0]
    assert loss_of(f"TF{base}", (3,), "torch") == [1.0, 2.0, 3.0]


@needs_torch
@needs_tensorflow
def test_losses_of_labels_or_rows_are_not_losses_of_parts():
    for name, shape, to, message in (
        ("TFTokenClassifierOutput", (3,), "torch", "() or (parts), and f32[3] with the axes (n) cannot"),
        ("TFSequenceClassifierOutput", (2,), "torch", "() or (parts), and f32[2] with the axes (batch) cannot"),
        ("TokenClassifierOutput", (), "tensorflow", "(n), and f32[] with the axes () cannot"),
        ("SequenceClassifierOutput", (2,), "tensorflow", "(batch), and f32[2] with the axes (parts) cannot"),
    ):
        advice = "reduce it first, or " if to == "torch" else ""
        with pytest.raises(InputError) as caught:
            loss_of(name, shape, to)
        said = str(caught.value).partition(".loss has the axes ")[2]
        assert said == f"{message} be reshaped to that; {advice}leave it out with drop=('loss',)"


@needs_torch
@needs_tensorflow
def test_one_label_or_row_has_one_loss():
    assert loss_of("TFTokenClassifierOutput", (1,), "torch") == 1.0


@needs_torch
@needs_jax
def test_flax_has_no_losses():
    with pytest.raises(InputError, match=r"^FlaxTokenClassifierOutput has no field loss; .* with drop=\('loss',\)$"):
        loss_of("TokenClassifierOutput", (), "jax")
