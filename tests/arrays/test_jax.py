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
