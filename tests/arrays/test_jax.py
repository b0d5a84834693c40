"""What holds of JAX's arrays alone."""

import numpy as np
import pytest

from modeloutputs import InputError
from modeloutputs.arrays.backends import backend_named
from modeloutputs.arrays.dtypes import dtype_name

from ..support.needs import needs_jax
from ..support.random_outputs import array

pytestmark = needs_jax


def test_values_never_lose_precision_silently():
    jax = backend_named("jax")
    assert dtype_name(jax.from_numpy(np.array([1, 2])).dtype) == "int32"
    message = r'^JAX would turn (float64|int64) into (float32|int32); set jax.config.update\("jax_enable_x64", True\)'
    for values in (np.array([0.1]), np.array([2**40])):
        with pytest.raises(InputError, match=message):
            jax.from_numpy(values)


def test_slices_outlive_the_array_and_its_donation():
    import jax
    import jax.numpy as jnp

    kind = backend_named("jax")
    whole = jnp.arange(4 * 4096, dtype=jnp.float32).reshape(4, 4096)
    expected = np.array(whole)
    parts = [kind.slice_axes(whole, (slice(i, i + 1),)) for i in range(4)]
    overwritten = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    overwritten(parts[0]).block_until_ready()
    assert np.array_equal(whole, expected)
    overwritten(whole).block_until_ready()
    del whole
    assert all(np.array_equal(part, expected[i : i + 1]) for i, part in enumerate(parts) if i)


@pytest.mark.parametrize("device", ["cpu:7", "cpu:x"])
def test_a_missing_device_is_refused(device: str):
    with pytest.raises(InputError, match=f"^device is '{device}'; JAX has cpu:0"):
        backend_named("jax").to_device(array(np.float32(1), "jax"), device, None, non_blocking=False)


def test_joined_arrays_are_placed_as_their_parts_and_are_their_own():
    import jax
    import jax.numpy as jnp

    kind = backend_named("jax")
    loose = [jnp.ones((1, 2, 64)), jnp.ones((2, 3, 64))]
    committed = [jax.device_put(part, jax.devices()[0]) for part in loose]
    for parts, is_committed in ((loose, False), (committed, True), ([loose[0], committed[1]], True)):
        joined = kind.pad_and_concat(parts, 0, {1: False}, 0)
        assert joined.committed == is_committed
        assert joined.sharding == parts[0].sharding
        assert joined.sum() == 8 * 64
        overwritten = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)(kind.concat(parts[:1], 0))
        assert (float(overwritten.sum()), float(parts[0].sum())) == (-2 * 64, 2 * 64)


def test_traced_arrays_and_random_keys_are_joined_by_jax():
    import jax
    import jax.numpy as jnp

    kind = backend_named("jax")
    outside, weights = jnp.ones((1, 3)), jnp.array([[1.0, 2, 3], [4, 5, 6]])
    grad = jax.jit(jax.grad(lambda x: (kind.pad_and_concat([x, outside], 0, {1: True}, 0) * weights).sum()))
    assert grad(jnp.ones((1, 2))).tolist() == [[2, 3]]
    keys = jax.random.split(jax.random.key(0), 3)
    joined = kind.concat([keys[:1], keys[1:]], 0)
    assert np.array_equal(jax.random.key_data(joined), jax.random.key_data(keys))
