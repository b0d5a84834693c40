"""Keras models of somebody who returns outputs of their own; child processes, and other backends, load them too."""

from typing import Any

import keras
import numpy as np
from keras import ops

from modeloutputs import ModelOutput

WIDTH, LABELS = 4, 3


class Scored(ModelOutput):
    """A user's own class: registered nowhere."""

    loss: Any = None
    logits: Any = None
    hidden_states: tuple[Any, ...] | None = None


@keras.saving.register_keras_serializable("modeloutputs-tests")
class Scorer(keras.Model):
    """One hidden layer; `layers` says which of the two states are returned, or None for no states."""

    def __init__(self, layers: Any = None, output: type[ModelOutput] = Scored, **options: Any) -> None:
        super().__init__(**options)
        self.layers_asked = layers
        self.output_class = output
        self.hidden = keras.layers.Dense(WIDTH, "tanh", kernel_initializer=initializer(1))
        self.score = keras.layers.Dense(LABELS, kernel_initializer=initializer(2))

    def build(self, shape: Any) -> None:
        """Build the layers: what is read from a file has weights before it is called."""
        self.hidden.build((None, WIDTH))
        self.score.build((None, WIDTH))
        self.built = True

    def call(self, states: Any) -> Any:
        """Return logits, and states if asked for."""
        output = self.output_class(logits=self.score(self.hidden(states)))
        if self.layers_asked is not None:
            both = (states, self.hidden(states))
            output.hidden_states = tuple(state if i in self.layers_asked else None for i, state in enumerate(both))
        return output

    def get_config(self) -> dict[str, Any]:
        """Return what the constructor takes."""
        return {**super().get_config(), "layers": self.layers_asked}


@keras.saving.register_keras_serializable("modeloutputs-tests")
class TrainedOnLogits(Scorer):
    """Says in two lines what its losses and metrics see; with it, `compile` takes them in any form."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **options: Any) -> Any:
        """Hand the logits to the compiled loss."""
        return super().compute_loss(x, y, y_pred.logits, *rest, **options)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, *rest: Any, **options: Any) -> Any:
        """Hand the logits to the compiled metrics."""
        return super().compute_metrics(x, y, y_pred.logits, *rest, **options)


@keras.saving.register_keras_serializable("modeloutputs-tests")
class TrainedOnDict(Scorer):
    """Shows Keras a plain dictionary, so that losses go by field."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **options: Any) -> Any:
        """Hand a dictionary to the compiled losses."""
        return super().compute_loss(x, y, y_pred.to_dict(), *rest, **options)


@keras.saving.register_keras_serializable("modeloutputs-tests")
class Twice(keras.layers.Layer):
    """A layer that returns an output; the first of its states was not asked for."""

    def call(self, states: Any) -> Scored:
        """Return states, twice as large."""
        return Scored(logits=states * 2, hidden_states=(None, states))


@keras.saving.register_keras_serializable("modeloutputs-tests")
class Add(keras.layers.Layer):
    """A layer that takes an output, or what a file has kept of it: a dict."""

    def call(self, output: Any) -> Any:
        """Return the sum of logits and states."""
        output = Scored(output)
        return output.logits + output.hidden_states[1]


def functional(returns_output: bool) -> Any:
    """Return a functional model in which one layer hands an output to the next."""
    inputs = keras.Input((WIDTH,))
    output = Twice()(inputs)
    total = Add()(output)
    return keras.Model(inputs, Scored(logits=total, hidden_states=(output.logits,)) if returns_output else total)


def initializer(seed: int) -> Any:
    """Return one that fills a layer alike in every process and with every backend."""
    return Normal(seed)


@keras.saving.register_keras_serializable("modeloutputs-tests")
class Normal(keras.initializers.Initializer):
    """NumPy's normal values of a seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return an array of that shape."""
        return ops.convert_to_tensor(normal(*shape, seed=self.seed), dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what the constructor takes."""
        return {"seed": self.seed}


def normal(*shape: int, seed: int = 0) -> Any:
    """Return values that are the same in every process."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def data(rows: int = 10) -> tuple[Any, Any]:
    """Return inputs and targets; ten rows in batches of four leave two for the last."""
    return normal(rows, WIDTH, seed=3), normal(rows, LABELS, seed=4)
