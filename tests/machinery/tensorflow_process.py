"""A process of its own: `python -m tests.machinery.tensorflow_process FOLDER` prints, as JSON, what became of outputs.

A class that is defined before TensorFlow and Keras are imported; two replicas; a SavedModel that another process wrote.
"""

# ruff: noqa: E402  # the class comes first: that is what is tested

import contextlib
import json
import sys
from typing import Any

from modeloutputs import ModelOutput


class Early(ModelOutput):
    """Defined before its frameworks are imported."""

    scores: Any = None
    hidden_states: Any = None


IMPORTED_BY_US = sorted({"tensorflow", "keras", "optree", "numpy"} & sys.modules.keys())

import numpy as np
import tensorflow as tf

from .tensorflow_models import LABELS, WIDTH, Ranked, Scored, Scorer, normal

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


def early() -> dict[str, Any]:
    """A class older than its frameworks, in the trees of both, and in a graph that another class was traced for."""
    import keras

    output = Early(1, (2, 3))
    same = tf.function(lambda output: output.copy())
    same(Scored(scores=tf.ones(2)))
    return {
        "imported by us": IMPORTED_BY_US,
        "nest": tf.nest.map_structure(lambda leaf: leaf * 10, output) == Early(10, (20, 30)),
        "keras": [[list(path), leaf] for path, leaf in keras.tree.flatten_with_path(output)],
        "function": type(same(Early(tf.ones(2)))).__name__,
    }


def replicas(strategy: Any) -> dict[str, Any]:
    """A step on two replicas, of which each has half of the rows."""
    with strategy.scope():
        scorer = Scorer()
    rows, labels = normal(4, WIDTH), normal(4, LABELS, seed=3)

    def step(batch: Ranked) -> tuple[Scored, Ranked]:
        with tf.GradientTape() as tape:
            output = scorer(batch.hidden_states[0], batch.scores, layers=True)
        gradient = Ranked(scores=tape.gradient(output.loss, scorer.weight))
        return output, tf.distribute.get_replica_context().all_reduce("MEAN", gradient)

    # What is distributed is an output too.
    given = tf.data.Dataset.from_tensor_slices(Ranked(scores=labels, hidden_states=(rows,))).batch(4)
    batch = next(iter(strategy.experimental_distribute_dataset(given)))
    output, gradient = tf.function(lambda batch: strategy.run(step, (batch,)))(batch)
    parts = strategy.experimental_local_results(output)
    gathered = tf.nest.map_structure(lambda value: strategy.gather(value, 0), output.replace(loss=None))
    mean = strategy.reduce("MEAN", output, axis=None)

    with tf.GradientTape() as tape:
        alone = scorer(rows, labels, layers=True)
    expected = tape.gradient(alone.loss, scorer.weight)
    return {
        "replicas": strategy.num_replicas_in_sync,
        "types": [type(value).__name__ for value in (batch, output, *parts, gathered, mean, gradient)],
        "parts": [close(part.scores, alone.scores[i * 2 : i * 2 + 2]) for i, part in enumerate(parts)],
        "gathered": [
            close(gathered.scores, alone.scores),
            *(close(*states) for states in zip(gathered.hidden_states, alone.hidden_states, strict=True)),
        ],
        "mean": [close(mean.loss, alone.loss), close(mean.scores, (alone.scores[:2] + alone.scores[2:]) / 2)],
        "gradients": [close(value, expected) for value in strategy.experimental_local_results(gradient.scores)],
    }


def keras_on_replicas(strategy: Any) -> dict[str, Any]:
    """What a Keras model learns and predicts on two replicas, beside the same one alone."""
    from .tensorflow_keras import TrainedOnDict, data

    x, y = data(8)

    def learn(scope: contextlib.AbstractContextManager[Any]) -> tuple[list[float], Any]:
        with scope:
            model = TrainedOnDict((0, 1))
            model.compile("sgd", loss={"logits": "mse"})
        losses = model.fit(x, {"logits": y}, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
        return losses, model.predict(x, batch_size=3, verbose=0)

    losses, output = learn(strategy.scope())
    expected_losses, expected = learn(contextlib.nullcontext())
    return {
        "type": type(output).__name__,
        "losses": [losses, expected_losses],
        "predicted": [close(*pair) for pair in zip(tf.nest.flatten(output), tf.nest.flatten(expected), strict=True)],
    }


def close(value: Any, expected: Any) -> bool:
    """Whether two arrays agree, shapes included."""
    return value.shape == expected.shape and bool(np.allclose(value, expected, atol=1e-5))


def reloaded(folder: str) -> dict[str, Any]:
    """What a SavedModel returns here; the values are compared where it was written."""
    loaded: Any = tf.saved_model.load(folder)
    states = tf.constant(normal(2, WIDTH))
    plain = loaded.nested(states)
    output, again = Scored(plain), loaded.double(Scored(tf.constant(normal(2, LABELS))))
    flat = loaded.signatures["serving_default"](states)
    return {
        "plain": type(plain).__name__,
        "flat": {name: value.numpy().tolist() for name, value in flat.items()},
        "output": {name: value.numpy().tolist() for name, value in output.to_flat_dict().items()},
        "doubled": Scored(again).scores.numpy().tolist(),
    }


if __name__ == "__main__":
    both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])  # a second one would mix up its messages with the first's
    results: dict[str, Any] = {
        "early": early(),
        "replicas": replicas(both),
        "keras": keras_on_replicas(both),
        "reloaded": reloaded(sys.argv[1]),
    }
    results["foreign"] = sorted({"transformers", "tf_keras"} & sys.modules.keys())
    sys.stdout.write("\n" + json.dumps(results) + "\n")
