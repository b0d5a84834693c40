"""One library's side of `flax_models.py`: runs a case when it is told to, in a process of its own.

`python flax_worker.py LIBRARY FOLDER`; LIBRARY is "ours", "original" (transformers 4.53.3's Flax classes, in an
environment of its own) or "torch" (our PyTorch models). A case's name on a line of standard input gives a line with the
seconds that it took; the first time includes what is compiled.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CORES = 2
NEW_TOKENS = {"toy": (64,), "gpt2": (8, 40)}


def encoded(rows: int, length: int) -> tuple[Any, Any]:
    """Return random ids and a mask that hides nothing, as a tokenizer returns for rows of one length."""
    ids = np.random.default_rng(0).integers(1000, 30000, (rows, length)).astype(np.int32)
    return ids, np.ones_like(ids)


def jax_cases(library: Any, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return the cases of a library with Flax classes."""
    import jax

    bert: Any = library.FlaxBertModel.from_pretrained(folder / "minilm")
    jitted = jax.jit(lambda params, ids, mask: bert(ids, mask, params=params)[0])
    large, small = encoded(32, 128), encoded(1, 8)
    cases: dict[str, Callable[[], Any]] = {
        "32 x 128 jitted": lambda: jax.block_until_ready(jitted(bert.params, *large)),
        "1 x 8 jitted": lambda: jax.block_until_ready(jitted(bert.params, *small)),
        "1 x 8 eager": lambda: jax.block_until_ready(bert(*small)[0]),
        "32 x 128 eager": lambda: jax.block_until_ready(bert(*large)[0]),
        "training step": training_case(library, folder),
    }
    ids = np.arange(3, 11, dtype=np.int32)[None]
    for name, counts in NEW_TOKENS.items():
        model: Any = library.FlaxGPT2LMHeadModel.from_pretrained(folder / name)
        for new in counts:
            cases[f"{name} {new}"] = generating(model, ids, new)
    return cases


def generating(model: Any, ids: Any, new: int) -> Callable[[], Any]:
    """Return a call that goes on from a prompt by so many tokens."""
    options = {"max_new_tokens": new, "do_sample": False, "pad_token_id": 0, "eos_token_id": 7}

    def run() -> None:
        sequences = np.asarray(model.generate(ids, **options).sequences)
        assert not (sequences[:, ids.shape[1] :] == 7).any()  # an end, after which there would be less to do

    return run


def training_case(library: Any, folder: Path) -> Callable[[], Any]:
    """Return a step of fine-tuning a classifier, with dropout and AdamW."""
    import jax
    import optax

    model: Any = library.FlaxBertForSequenceClassification.from_pretrained(folder / "minilm", num_labels=2)
    ids, mask = encoded(8, 128)
    labels = np.arange(8) % 2
    rules = optax.adamw(2e-5)
    state: list[Any] = [model.params, rules.init(model.params), jax.random.PRNGKey(0)]

    @jax.jit
    def step(params: Any, moments: Any, key: Any) -> tuple[Any, ...]:
        key, now = jax.random.split(key)

        def loss_of(params: Any) -> Any:
            logits = model(ids, mask, params=params, dropout_rng=now, train=True)[0]
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, moments = rules.update(jax.grad(loss_of)(params), moments, params)
        return optax.apply_updates(params, updates), moments, key

    def run() -> None:
        state[:] = jax.block_until_ready(step(*state))

    return run


def torch_cases(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return those of the cases that our PyTorch models have."""
    import torch

    import modeloutputs.torch as library

    torch.set_num_threads(CORES)
    bert: Any = library.BertModel.from_pretrained(folder / "minilm").eval()
    cases: dict[str, Callable[[], Any]] = {}
    for name, (rows, length) in {"32 x 128 eager": (32, 128), "1 x 8 eager": (1, 8)}.items():
        given = [torch.as_tensor(array).long() for array in encoded(rows, length)]
        cases[name] = lambda given=given: call_without_grad(bert, given)
    ids = torch.arange(3, 11)[None]
    for name, counts in NEW_TOKENS.items():
        model: Any = library.GPT2LMHeadModel.from_pretrained(folder / name).eval()
        for new in counts:
            cases[f"{name} {new}"] = generating(model, ids, new)
    return cases


def call_without_grad(model: Any, given: Any) -> Any:
    """Return the output, computed for inference."""
    import torch

    with torch.inference_mode():
        return model(*given)


def main(library: str, folder: Path) -> None:
    """Make the cases, and run them as they are asked for."""
    warnings.simplefilter("ignore")
    if hasattr(os, "sched_setaffinity"):  # the same number of cores for each library
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    if library == "torch":
        cases = torch_cases(folder / "torch")
    elif library == "ours":
        import modeloutputs.flax

        cases = jax_cases(modeloutputs.flax, folder / "flax")
    else:
        import transformers

        transformers.logging.set_verbosity_error()
        cases = jax_cases(transformers, folder / "flax")
    print("\t".join(cases), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        cases[line.strip()]()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
