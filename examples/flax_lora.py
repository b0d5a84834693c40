"""Trains low-rank changes (Hu et al., 2022, section 4.1) of the matrices that a rule about their paths names.

The model's own parameters stay as they are; the changed ones are passed to each call as `params=`. The task is to go on
counting. Run: `python examples/flax_lora.py`.
"""

import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from rich.console import Console
from rich.progress import track

from modeloutputs.flax import FlaxGPT2LMHeadModel, GPT2Config
from modeloutputs.flax.losses import causal_lm_loss

TARGETS = re.compile(r"(attn/c_attn|mlp/c_fc)/kernel$")
RANK, VOCAB, LENGTH, BATCH = 4, 32, 12, 32


def new_factors(params: Any, key: Any) -> dict[str, tuple[Any, Any]]:
    """Return for the path of each chosen matrix (m, n) its factors (m, r), zeros, and (r, n)."""
    flat = traverse_util.flatten_dict(params, sep="/")
    chosen = {path: value for path, value in flat.items() if TARGETS.search(path)}
    keys = jax.random.split(key, len(chosen))
    return {
        path: (jnp.zeros((value.shape[0], RANK)), jax.random.normal(one, (RANK, value.shape[1])) * 0.1)
        for one, (path, value) in zip(keys, chosen.items(), strict=True)
    }


def changed(params: Any, factors: dict[str, tuple[Any, Any]]) -> Any:
    """Return the parameters with each chosen matrix changed by the product of its factors."""
    flat = dict(traverse_util.flatten_dict(params, sep="/"))
    flat |= {path: flat[path] + left @ right for path, (left, right) in factors.items()}
    return traverse_util.unflatten_dict(flat, sep="/")


def texts(rng: np.random.Generator) -> Any:
    """Return rows that count on from a random start."""
    return ((rng.integers(0, VOCAB, (BATCH, 1)) + np.arange(LENGTH)) % VOCAB).astype(np.int32)


def main(steps: int = 300) -> tuple[float, float]:
    """Train, and print how many parameters are trained and the losses before and after; return these."""
    console = Console()
    config = GPT2Config(vocab_size=VOCAB, n_positions=LENGTH, n_embd=64, n_layer=2, n_head=4)
    model = FlaxGPT2LMHeadModel(config, seed=0)
    factors = new_factors(model.params, jax.random.PRNGKey(1))
    rules = optax.adam(1e-2)

    def loss_of(factors: Any, ids: Any) -> Any:
        return causal_lm_loss(model(ids, params=changed(model.params, factors)).logits, ids)

    @jax.jit
    def train_step(factors: Any, moments: Any, ids: Any) -> tuple[Any, ...]:
        loss, grads = jax.value_and_grad(loss_of)(factors, ids)
        updates, moments = rules.update(grads, moments)
        return optax.apply_updates(factors, updates), moments, loss

    rng, moments, losses = np.random.default_rng(0), rules.init(factors), []
    for _ in track(range(steps), "training", console=console, transient=True):
        factors, moments, loss = train_step(factors, moments, texts(rng))
        losses.append(float(loss))
    trained, all_of_them = (sum(x.size for x in jax.tree.leaves(tree)) for tree in (factors, model.params))
    before, after = losses[0], float(np.mean(losses[-10:]))
    console.print(f"{trained:,} of {all_of_them:,} parameters trained: loss {before:.2f} before, {after:.2f} after")
    ids = model.generate(texts(rng)[:1, :4], params=changed(model.params, factors), max_new_tokens=4).sequences
    console.print(f"after 4 tokens it goes on: {np.asarray(ids)[0].tolist()}")
    return before, after


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
