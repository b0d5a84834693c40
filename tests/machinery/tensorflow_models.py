"""What somebody writes who has never heard of trees: output classes of their own, and a module that returns them.

Child processes import it too, so that what they build is of the same class.
"""

import json
from typing import Any

import numpy as np
import tensorflow as tf

from modeloutputs import ModelOutput

from ..support.processes import python

WIDTH, LABELS = 4, 3


class Scored(ModelOutput):
    """A user's own class: registered nowhere."""

    scores: Any = None
    loss: Any = None
    hidden_states: tuple[Any, ...] | None = None


class Ranked(ModelOutput):
    """Another with the same fields, in another order."""

    loss: Any = None
    scores: Any = None
    hidden_states: tuple[Any, ...] | None = None


class Scorer(tf.Module):
    """One layer; which fields it returns is for Python to say, not for the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(normal(WIDTH, LABELS, seed=1))

    def __call__(self, states: Any, labels: Any = None, *, layers: bool | tuple[int, ...] = False) -> Scored:
        """Return scores; a loss if labels are given, and the states of all layers, or of some, if asked for."""
        output = Scored(tf.tanh(states) @ self.weight)
        if labels is not None:
            output.loss = tf.reduce_mean((output.scores - labels) ** 2)
        if layers:
            asked = (0, 1) if layers is True else layers
            output.hidden_states = tuple(
                state if layer in asked else None for layer, state in enumerate((states, tf.tanh(states)))
            )
        return output

    @tf.function(input_signature=[tf.TensorSpec([None, WIDTH])])
    def nested(self, states: Any) -> Scored:
        """Return an output whose states are a tuple."""
        return self(states, layers=True)

    @tf.function(input_signature=[tf.TensorSpec([None, WIDTH])])
    def flat(self, states: Any) -> dict[str, Any]:
        """Return what the signature of a SavedModel may return: one level of tensors."""
        return self(states, layers=(1,)).to_flat_dict()

    @tf.function(input_signature=[Scored(tf.TensorSpec([None, LABELS]))])
    def double(self, output: Scored) -> Scored:
        """Take an output."""
        return output.replace(scores=output.scores * 2)


def normal(*shape: int, seed: int = 0) -> Any:
    """Return values that are the same in every process."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def scored(rows: int = 2) -> Scored:
    """Return an output of which the first layer's states were not asked for."""
    return Scored(tf.constant(normal(rows, LABELS)), hidden_states=(None, tf.constant(normal(rows, WIDTH, seed=2))))


def run(module: str, *arguments: object, **environment: str) -> Any:
    """Run a module of this folder in a process of its own and return what it prints in its last line, as JSON."""
    printed = python("-m", f"{__package__}.{module}", *arguments, OMP_NUM_THREADS="1", **environment)
    return json.loads(printed.splitlines()[-1])
