from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="package")
def quick_compiler() -> Iterator[None]:
    """Compile without optimising: the models of these tests are tiny, and most run once."""
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
