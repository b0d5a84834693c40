"""What takes several devices, run by `test_transformations` in one process of its own; prints a line for each check."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import modeloutputs.flax as wing

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
IDS = np.random.default_rng(0).integers(3, 40, (8, 6)).astype(np.int32)
MASK = np.where(np.arange(6) < np.arange(8)[:, None] % 4 + 3, 1, 0)


def difference(ours: Any, reference: Any) -> float:
    """Return the largest difference at tokens."""
    return float(np.abs((np.asarray(ours) - np.asarray(reference)) * MASK[..., None]).max())


def data_parallel(model: Any, expected: Any) -> dict[str, float]:
    """Return the differences of a batch that is spread over four devices."""
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    rows = NamedSharding(mesh, PartitionSpec("batch"))
    run = jax.jit(lambda params, ids, mask: model(ids, mask, params=params).logits)
    placed = run(jax.device_put(model.params, NamedSharding(mesh, PartitionSpec())), *jax.device_put((IDS, MASK), rows))
    assert placed.sharding.spec == PartitionSpec("batch")
    copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), model.params)
    mapped = jax.pmap(lambda params, ids, mask: model(ids, mask, params=params).logits)
    parts = mapped(copies, IDS.reshape(4, 2, 6), MASK.reshape(4, 2, 6))
    each = jax.shard_map(
        lambda params, ids, mask: model(ids, mask, params=params).logits,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec("batch"), PartitionSpec("batch")),
        out_specs=PartitionSpec("batch"),
    )
    return {
        "NamedSharding": difference(placed, expected),
        "pmap": difference(parts.reshape(expected.shape), expected),
        "shard_map": difference(jax.jit(each)(model.params, IDS, MASK), expected),
    }


def generation() -> dict[str, float]:
    """Return at how many places tokens that four devices generate differ."""
    config = wing.GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=4, n_positions=24)
    model: Any = wing.FlaxGPT2LMHeadModel(config)
    options = {"max_new_tokens": 4, "eos_token_id": (), "pad_token_id": 0}
    expected = np.asarray(model.generate(IDS, MASK, **options).sequences)
    copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), model.params)
    mapped = jax.pmap(lambda params, ids, mask: model.generate(ids, mask, params=params, **options).sequences)
    found = np.asarray(mapped(copies, IDS.reshape(4, 2, 6), MASK.reshape(4, 2, 6))).reshape(expected.shape)
    mesh = Mesh(np.array(jax.devices()), ("model",))
    spread = {"kernel": PartitionSpec(None, "model"), "embedding": PartitionSpec("model")}
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.device_put(leaf, NamedSharding(mesh, spread.get(path[-1].key, PartitionSpec()))),
        model.params,
    )
    sharded = np.asarray(model.generate(IDS, MASK, params=params, **options).sequences)
    return {"generate in pmap": float((found != expected).sum()), "sharded": float((sharded != expected).sum())}


def examples() -> dict[str, float]:
    """Return what the examples for several devices give, at their smallest."""
    folder = Path(__file__).parents[2] / "examples"

    def main(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.main

    first, last = main("flax_pretrain_mlm")(40)
    return {"fine-tuned": main("flax_finetune")(80), "masked tokens at first": first, "masked tokens": last}


def run() -> None:
    """Make all checks, and print them as JSON."""
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # or devices that share few cores wait for each other
    model: Any = wing.FlaxBertForMaskedLM(wing.BertConfig(vocab_size=40, max_position_embeddings=8, **SIZES))
    model.jit_calls = False
    found = data_parallel(model, model(IDS, MASK).logits)
    found |= generation()
    found |= examples() if "--examples" in sys.argv else {}
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    run()
