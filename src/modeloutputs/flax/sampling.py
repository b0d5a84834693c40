"""Functions of the next token's scores (rows, vocab): filters, and sampling from what remains.

An excluded token gets -inf. Filters keep the `kept` best tokens in any case. They give the numbers of
`modeloutputs.torch.sampling`, which names the sources of the formulas.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jax import Array

from .libraries import jax, jnp

__all__ = ["EXCLUDED", "FILTERS", "sample_tokens"]

EXCLUDED = float("-inf")


def _temperature(scores: Array, temperature: float, kept: int) -> Array:
    """Divide by the temperature."""
    return scores / temperature


def _top_k(scores: Array, count: int, kept: int) -> Array:
    """Keep the `count` highest scores, and those equal to the last of them."""
    return jnp.where(scores < _lowest_of_best(scores, max(count, kept)), EXCLUDED, scores)


def _top_p(scores: Array, mass: float, kept: int) -> Array:
    """Keep the fewest tokens whose probabilities add up to `mass`."""
    order = jnp.argsort(scores, -1)
    ordered = jnp.take_along_axis(scores, order, -1)
    # From the least probable on, every token up to which the sum leaves the mass to the others.
    dropped = jnp.cumsum(jax.nn.softmax(ordered, -1), -1) <= 1 - mass
    dropped = dropped & (jnp.arange(scores.shape[-1]) < scores.shape[-1] - kept)
    return jnp.where(_back(dropped, order), EXCLUDED, scores)


def _min_p(scores: Array, share: float, kept: int) -> Array:
    """Keep tokens at least `share` times as probable as the most probable one."""
    probabilities = jax.nn.softmax(scores, -1)
    dropped = probabilities < share * probabilities.max(-1, keepdims=True)
    order = jnp.argsort(-scores, -1)  # stable: of equal tokens the first are the best
    best = _back(jnp.broadcast_to(jnp.arange(scores.shape[-1]) < kept, scores.shape), order)
    return jnp.where(dropped & ~best, EXCLUDED, scores)


def _typical_p(scores: Array, mass: float, kept: int) -> Array:
    """Keep the tokens whose information is nearest to the entropy and that add up to `mass`."""
    logs = jax.nn.log_softmax(scores, -1)
    distance = jnp.abs(-logs - _entropy(logs))
    order = jnp.argsort(distance, -1)
    ordered = jnp.take_along_axis(distance, order, -1)
    sums = jnp.cumsum(jnp.exp(jnp.take_along_axis(logs, order, -1)), -1)
    reached = jnp.minimum((sums < mass).sum(1, keepdims=True), scores.shape[-1] - 1)
    dropped = ordered > jnp.take_along_axis(ordered, reached, -1)
    dropped = dropped & (jnp.arange(scores.shape[-1]) >= kept)
    return jnp.where(_back(dropped, order), EXCLUDED, scores)


def _epsilon(scores: Array, cutoff: float, kept: int) -> Array:
    """Keep tokens at least as probable as `cutoff`."""
    return _keep_probable(scores, jax.nn.softmax(scores, -1) < cutoff, kept)


def _eta(scores: Array, cutoff: float, kept: int) -> Array:
    """Keep tokens at least as probable as min(cutoff, sqrt(cutoff) exp(-entropy))."""
    logs = jax.nn.log_softmax(scores, -1)
    least = jnp.minimum(cutoff**0.5 * jnp.exp(-_entropy(logs)), cutoff)
    return _keep_probable(scores, jnp.exp(logs) < least, kept)


FILTERS: Mapping[str, Callable[[Array, Any, int], Array]] = {
    "temperature": _temperature,
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": _min_p,
    "typical_p": _typical_p,
    "epsilon_cutoff": _epsilon,
    "eta_cutoff": _eta,
}
"""By the setting's name, the function of scores, its value and the number of tokens that are kept in any case."""


def _entropy(logs: Array) -> Array:
    """Return the entropy (rows, 1) of log probabilities; an excluded token has probability 0."""
    return -jnp.nansum(jnp.exp(logs) * logs, -1, keepdims=True)


def _keep_probable(scores: Array, dropped: Array, kept: int) -> Array:
    """Exclude what is dropped, but for the best tokens and those equal to the last of them."""
    return jnp.where(dropped & (scores < _lowest_of_best(scores, kept)), EXCLUDED, scores)


def _lowest_of_best(scores: Array, count: int) -> Array:
    return jax.lax.top_k(scores, min(count, scores.shape[-1]))[0][:, -1:]


def _back(ordered: Array, order: Array) -> Array:
    """Return values that are in the order of `order` in the order of tokens."""
    return jnp.take_along_axis(ordered, jnp.argsort(order, -1), -1)


def sample_tokens(key: Any, scores: Array, count: int) -> Array:
    """Sample `count` different tokens of each row (rows, count) with the probabilities softmax(scores).

    One after the other without replacement: the largest of scores with Gumbel noise (Kool et al., 2019, section 2.3).
    """
    noise = jax.random.gumbel(key, scores.shape, scores.dtype)
    return jax.lax.top_k(scores + noise, count)[1]
