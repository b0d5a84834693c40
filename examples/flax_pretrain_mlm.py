"""Pre-trains a Flax BERT on masked tokens, its parameters spread over four devices by rules about their paths.

Texts count on from a random start. The loss of one device, computed
beside that of four for the first step, is the same. Run: `python examples/flax_pretrain_mlm.py`.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

import re
import sys
from typing import Any

import jax
import numpy as np
import optax
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console
from rich.progress import track

from modeloutputs.flax import BertConfig, FlaxBertForMaskedLM
from modeloutputs.flax.losses import cross_entropy

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
VOCAB, MASK, LENGTH, BATCH = 32, 3, 16, 32

RULES = (
    (r"(query|key|value|intermediate/dense)/kernel", PartitionSpec(None, "model")),
    (r"(query|key|value|intermediate/dense)/bias", PartitionSpec("model")),
    (r"(attention/output/dense|\d/output/dense)/kernel", PartitionSpec("model", None)),
    (r"word_embeddings/embedding", PartitionSpec("model", None)),
    (r".*", PartitionSpec()),
)
"""Tensor parallel: columns of the first product of each block and rows of the second lie on one device."""


def shardings(params: Any, mesh: Mesh) -> Any:
    """Return where each parameter lies: by the first rule that its path matches."""
    flat = traverse_util.flatten_dict(params)
    found = {path: next(spec for rule, spec in RULES if re.search(rule, "/".join(path))) for path in flat}
    return traverse_util.unflatten_dict({path: NamedSharding(mesh, spec) for path, spec in found.items()})


def batch_of(rng: np.random.Generator) -> tuple[Any, Any]:
    """Return texts with masks in them, and labels, which are -100 at what is not masked."""
    ids = 4 + (rng.integers(0, VOCAB, (BATCH, 1)) + np.arange(LENGTH)) % (VOCAB - 4)
    masked = rng.random(ids.shape) < 0.15
    return np.where(masked, MASK, ids).astype(np.int32), np.where(masked, ids, -100).astype(np.int32)


def main(steps: int = 200) -> tuple[float, float]:
    """Train, and print the first and last losses; return them."""
    console = Console()
    model = FlaxBertForMaskedLM(BertConfig(vocab_size=VOCAB, max_position_embeddings=LENGTH, **SIZES), seed=0)
    mesh = Mesh(np.array(jax.devices()), ("model",))
    rules = optax.adam(3e-3)

    def loss_of(params: Any, ids: Any, labels: Any, key: Any) -> Any:
        return cross_entropy(model(ids, params=params, dropout_rng=key, train=True).logits, labels)

    def train_step(params: Any, moments: Any, ids: Any, labels: Any, key: Any) -> tuple[Any, ...]:
        key, dropout = jax.random.split(key)
        loss, grads = jax.value_and_grad(loss_of)(params, ids, labels, dropout)
        updates, moments = rules.update(grads, moments, params)
        return optax.apply_updates(params, updates), moments, key, loss

    rng, key = np.random.default_rng(0), jax.random.PRNGKey(0)
    single = jax.device_put(model.params, jax.devices()[0])
    spread = jax.device_put(model.params, shardings(model.params, mesh))
    first = batch_of(rng)
    losses = [float(jax.jit(loss_of)(params, *first, key)) for params in (single, spread)]
    console.print(f"loss {losses[0]:.6f} on one device, {losses[1]:.6f} over {len(jax.devices())}")
    np.testing.assert_allclose(*losses, rtol=1e-5)
    step, moments, last = jax.jit(train_step, donate_argnums=(0, 1)), jax.jit(rules.init)(spread), []
    for _ in track(range(steps), "training", console=console, transient=True):
        spread, moments, key, loss = step(spread, moments, *batch_of(rng), key)
        last.append(float(loss))
    end = float(np.mean(last[-10:]))
    console.print(f"loss {losses[0]:.2f} at first, {end:.2f} after {steps} steps")
    return losses[0], end


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
