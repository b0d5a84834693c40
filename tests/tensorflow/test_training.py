# ruff: noqa: E402  # what is imported below needs what may be absent
"""A Keras model that returns outputs, trained on their fields: compiled in every form, saved, loaded, evaluated."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
keras = pytest.importorskip("keras", reason="Keras is not installed")

from modeloutputs import InputError
from modeloutputs.tensorflow import TFQuestionAnsweringModelOutput
from modeloutputs.tensorflow.training import TrainsOnFields

from ..machinery.tensorflow_keras import LABELS, WIDTH, Scored, Scorer, data

pytestmark = [
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="Keras was imported with another backend than TensorFlow"
    ),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),  # Keras' own
]

X, Y = data()
CLASSES = np.arange(len(X)) % LABELS


@keras.saving.register_keras_serializable("modeloutputs-tests")
class OnLogits(TrainsOnFields, Scorer):
    """Returns logits and states."""


@keras.saving.register_keras_serializable("modeloutputs-tests")
class Spans(TrainsOnFields, keras.Model):
    trained_fields = ("start_logits", "end_logits")

    def __init__(self) -> None:
        super().__init__()
        self.score = keras.layers.Dense(2)

    def call(self, states: Any) -> TFQuestionAnsweringModelOutput:
        scores = self.score(states)
        return TFQuestionAnsweringModelOutput(start_logits=scores[:, :1], end_logits=scores[:, 1:])


def compiled(model: Any, **options: Any) -> Any:
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True, **options)
    return model


def test_losses_metrics_and_class_weights_are_of_the_logits():
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = compiled(OnLogits((0, 1)), loss=entropy, metrics=["accuracy"])
    logits = np.asarray(model(X).logits, np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    losses = -np.log(shares[np.arange(len(X)), CLASSES])
    found = model.evaluate(X, CLASSES, batch_size=4, verbose=0, return_dict=True)
    expected = {"loss": losses.mean(), "accuracy": (logits.argmax(-1) == CLASSES).mean()}
    assert found == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(X, Scored(logits=CLASSES), batch_size=4, verbose=0, return_dict=True) == found
    weights = {0: 1.0, 1: 2.0, 2: 3.0}
    history = model.fit(X, CLASSES, class_weight=weights, batch_size=len(X), verbose=0).history
    assert history["loss"] == [pytest.approx((losses * [weights[int(i)] for i in CLASSES]).mean(), rel=1e-5)]
    assert type(model.predict(X, verbose=0)) is Scored


def test_a_compiled_model_is_saved_at_checkpoints_loaded_evaluated_and_trained_on(tmp_path: Path):
    model = compiled(OnLogits((0, 1)), loss="mse", metrics=["mae"])
    kept = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True)
    history = model.fit(X, Y, validation_data=(X, Y), callbacks=[kept], verbose=0).history
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    loaded.run_eagerly = True
    evaluated = loaded.evaluate(X, Y, verbose=0, return_dict=True)
    assert evaluated == pytest.approx({name: history[f"val_{name}"][0] for name in ("loss", "mae")}, rel=1e-5)
    np.testing.assert_allclose(loaded.predict(X, verbose=0).logits, model(X).logits, rtol=1e-5, atol=1e-6)
    assert loaded.fit(X, Y, epochs=2, verbose=0).history["loss"][1] < evaluated["loss"]


def test_several_fields_have_losses_by_name():
    model = compiled(Spans(), loss={"start_logits": "mse", "end_logits": "mae"})
    output = model(X)
    start, end = Y[:, :1], Y[:, 1:2]
    expected = np.mean((output.start_logits - start) ** 2) + np.mean(np.abs(output.end_logits - end))
    for targets in (
        {"start_logits": start, "end_logits": end},
        TFQuestionAnsweringModelOutput(start_logits=start, end_logits=end),
    ):
        found = model.evaluate(X, targets, batch_size=len(X), verbose=0, return_dict=True)
        assert found["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_a_missing_field_is_named():
    class Other(TrainsOnFields, Scorer):
        trained_fields = ("loss",)

    model = compiled(Other(), loss="mse")
    with pytest.raises(InputError, match=r"y_pred is Scored without 'loss', .* declares loss, logits, hidden_states"):
        model.test_on_batch(np.zeros((2, WIDTH), np.float32), Y[:2])
