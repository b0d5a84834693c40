"""Fine-tunes a Flax BERT on a made task over four devices, as scripts with `TrainState` and `pmap` do.

Texts are random tokens; their class is whether token 5 comes before token 6. Run: `python examples/flax_finetune.py`.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import jax_utils, traverse_util
from flax.training import train_state
from flax.training.common_utils import onehot, shard
from rich.console import Console
from rich.progress import track

from modeloutputs.flax import BertConfig, FlaxBertForSequenceClassification

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
LENGTH, BATCH = 12, 64


def batches(steps: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield batches of texts with their class and, behind half of them, padding."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        ids = rng.integers(7, 40, (BATCH, LENGTH))
        places = np.argsort(rng.random((BATCH, LENGTH - 3)), 1)[:, :2]
        rows = np.arange(BATCH)
        ids[rows, places[:, 0]], ids[rows, places[:, 1]] = 5, 6
        mask = np.ones_like(ids)
        mask[::2, -3:] = 0
        yield {"input_ids": ids, "attention_mask": mask, "labels": (places[:, 0] < places[:, 1]).astype(np.int32)}


def decay_mask(params: Any) -> Any:
    """Return which parameters decay: neither biases nor the scales of normalisations."""
    flat = traverse_util.flatten_dict(params)
    chosen = {path: path[-1] != "bias" and path[-2:] != ("LayerNorm", "scale") for path in flat}
    return traverse_util.unflatten_dict(chosen)


def train_step(state: train_state.TrainState, batch: dict[str, Any], key: Any) -> tuple[Any, Any, Any]:
    """Return the state after one step on one device's part of a batch, the mean loss, and the next key."""
    key, dropout = jax.random.split(key)
    labels = batch.pop("labels")

    def loss_of(params: Any) -> Any:
        logits = state.apply_fn(**batch, params=params, dropout_rng=dropout, train=True)[0]
        return optax.softmax_cross_entropy(logits, onehot(labels, 2)).mean()

    loss, grads = jax.value_and_grad(loss_of)(state.params)
    state = state.apply_gradients(grads=jax.lax.pmean(grads, "batch"))
    return state, jax.lax.pmean(loss, "batch"), key


def accuracy(model: Any, params: Any) -> float:
    """Return the share of new texts whose class is found."""
    right = [
        (model(batch["input_ids"], batch["attention_mask"], params=params).logits.argmax(-1) == batch["labels"]).mean()
        for batch in batches(4, seed=99)
    ]
    return float(np.mean(right))


def main(steps: int = 250) -> float:
    """Train, print the accuracy before and after, save, and load again; return the accuracy after."""
    console = Console()
    model = FlaxBertForSequenceClassification(BertConfig(vocab_size=40, **SIZES), seed=0)
    before = accuracy(model, model.params)
    rules = optax.adamw(optax.linear_schedule(2e-3, 0.0, steps), weight_decay=0.01, mask=decay_mask)
    state = train_state.TrainState.create(apply_fn=model.__call__, params=model.params, tx=rules)
    state, keys = jax_utils.replicate(state), jax.random.split(jax.random.PRNGKey(1), jax.local_device_count())
    step = jax.pmap(train_step, axis_name="batch", donate_argnums=(0,))
    for batch in track(batches(steps, seed=1), "training", total=steps, console=console, transient=True):
        state, loss, keys = step(state, shard(batch), keys)
        loss.block_until_ready()  # devices that share few cores wait for each other for ever if steps overlap
    params = jax.device_get(jax_utils.unreplicate(state.params))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, params=params)
        again = FlaxBertForSequenceClassification.from_pretrained(folder)
    after = accuracy(again, again.params)
    devices = jax.local_device_count()
    console.print(f"accuracy {before:.2f} before, {after:.2f} after {steps} steps on {devices} devices")
    assert jnp.isfinite(after)
    return after


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
