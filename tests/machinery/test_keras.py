# ruff: noqa: E402  # what is imported below needs what may be absent
"""Outputs in Keras 3: its trees, models that return them, training, prediction, files; with each of its backends."""

import functools
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
keras = pytest.importorskip("keras", reason="Keras is not installed")

from keras import ops

from modeloutputs import ModelOutput
from modeloutputs.tensorflow import outputs

from ..support.needs import needs_jax, needs_torch
from ..support.once import made_once
from ..support.random_outputs import full
from .marks import machinery
from .tensorflow_keras import (
    LABELS,
    WIDTH,
    Add,
    Scored,
    Scorer,
    TrainedOnDict,
    TrainedOnLogits,
    Twice,
    data,
    functional,
)
from .tensorflow_models import run

pytestmark = [
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="Keras was imported with another backend than TensorFlow"
    ),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),  # Keras' own
]


# -- trees ----------------------------------------------------------------------------------------------------------


@machinery("tree")
def test_keras_trees_map_over_present_fields_and_keep_class_and_placeholders():
    output = Scored(logits=ops.ones(2), hidden_states=(None, ops.zeros(3)))
    mapped = keras.tree.map_structure(lambda a, b: a + b + 1, output, output)
    assert type(mapped) is Scored
    assert mapped == Scored(logits=ops.full((2,), 3.0), hidden_states=(None, ops.ones(3)))
    assert list(mapped) == ["logits", "hidden_states"]


@machinery("tree")
def test_keras_trees_name_leaves_by_field_in_declared_order():
    output = Scored(hidden_states=("c", "d"), logits="b", loss="a")
    assert keras.tree.flatten(output) == ["a", "b", "c", "d"]
    paths = keras.tree.flatten_with_path(output)
    assert paths == [(("loss",), "a"), (("logits",), "b"), (("hidden_states", 0), "c"), (("hidden_states", 1), "d")]
    assert keras.tree.pack_sequence_as(output, keras.tree.flatten(output)) == output
    assert keras.tree.is_nested(output)


@machinery("tree")
def test_keras_trees_rebuild_from_whatever_they_are_given():
    placeholder = object()
    packed = keras.tree.pack_sequence_as(Scored(logits=1, hidden_states=(2, 3)), [placeholder, None, None])
    assert type(packed) is Scored
    assert list(packed.items()) == [("logits", placeholder), ("hidden_states", (None, None))]
    assert keras.tree.traverse(lambda leaf: None, packed).hidden_states == (None, None)
    skeleton = keras.tree.map_structure(lambda _: None, Scored(logits=1, hidden_states=(2, 3)))
    keras.tree.assert_same_structure(skeleton, Scored(logits="a", hidden_states=("b", "c")))
    shapes = Scored(logits=(None, 3), hidden_states=((None, 4), (None, 5)))
    sizes = keras.tree.map_shape_structure(lambda shape: shape[1], shapes)
    assert sizes == Scored(logits=3, hidden_states=(4, 5))


@machinery("tree")
def test_keras_trees_tell_structures_apart_by_class_and_fields_present():
    keras.tree.assert_same_structure(Scored(logits=1), Scored(logits=2))
    for other in (
        Scored(loss=1),
        Scored(loss=1, logits=2),
        {"logits": 1},
        outputs.TFSequenceClassifierOutput(logits=1),
    ):
        with pytest.raises(ValueError, match="ismatch"):
            keras.tree.assert_same_structure(Scored(logits=1), other)
    keras.tree.assert_same_paths(Scored(logits=1, hidden_states=(2,)), {"logits": 1, "hidden_states": (2,)})


@machinery("every class")
@pytest.mark.parametrize("name", outputs.__all__)
def test_every_class_passes_through_keras_trees_unchanged(name: str):
    cls = getattr(outputs, name)
    output = full(cls)
    same = keras.tree.map_structure(lambda leaf: leaf, output)
    assert type(same) is cls
    assert same == output
    assert list(same) == list(cls.__output_fields__)
    leaves = keras.tree.flatten(output)
    assert len(leaves) == len(output.to_flat_dict())
    assert all(leaf is value for leaf, value in zip(leaves, output.to_flat_dict().values(), strict=True))


@machinery("user's own class")
def test_keras_takes_a_class_that_is_defined_again():
    for _ in range(2):
        again = type("Again", (ModelOutput,), {"__annotations__": {"loss": int}})
        assert type(keras.tree.map_structure(str, again(loss=1))) is again


# -- training -------------------------------------------------------------------------------------------------------


class Plain(Scorer):
    """The same model for comparison: what it returns is one tensor."""

    def call(self, states: Any) -> Any:
        return super().call(states).logits


class LossInside(Scorer):
    """Computes its loss itself, of labels that are among its inputs."""

    def call(self, inputs: Any) -> Any:
        output = super().call(inputs["states"])
        output.loss = ops.mean((output.logits - inputs["labels"]) ** 2)
        self.add_loss(output.loss)
        return output


class OwnStep(Scorer):
    """Has a training step of its own."""

    def __init__(self, layers: Any = None) -> None:
        super().__init__(layers)
        self.mean = keras.metrics.Mean("loss")

    def train_step(self, batch: Any) -> Any:
        states, labels = batch
        with tf.GradientTape() as tape:
            output = self(states, training=True)
            output.loss = ops.mean((output.logits - labels) ** 2)
        gradients = tape.gradient(output.loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        self.mean.update_state(output.loss)
        return {"loss": self.mean.result()}


class LossOfOutput(Scorer):
    """Computes its loss of its output."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any) -> Any:
        assert type(y_pred) is Scored
        return ops.mean((y_pred.logits - y) ** 2)


def fitted(model: Any, x: Any, y: Any, **compile_options: Any) -> tuple[list[float], Any]:
    """Train a model and return its losses and what it returns after."""
    model.compile(keras.optimizers.SGD(0.1), **compile_options)
    losses = model.fit(x, y, batch_size=5, epochs=2, shuffle=False, verbose=0).history["loss"]
    return losses, model(x)


X, Y = data()
LOSSES = Scored(logits="mse")

WAYS: dict[str, Any] = {
    "an output of losses": lambda: fitted(Scorer((0, 1)), X, Scored(logits=Y), loss=LOSSES),
    "an output of losses, placeholders": lambda: fitted(Scorer((1,)), X, Scored(logits=Y), loss=LOSSES),
    "an output of losses, XLA": lambda: fitted(Scorer((0, 1)), X, {"logits": Y}, loss=LOSSES, jit_compile=True),
    "compute_loss hands on the logits": lambda: fitted(TrainedOnLogits((0, 1)), X, Y, loss="mse"),
    "compute_loss hands on a dict": lambda: fitted(TrainedOnDict((0, 1)), X, {"logits": Y}, loss={"logits": "mse"}),
    "compute_loss of one's own": lambda: fitted(LossOfOutput((0, 1)), X, Y),
    "train_step of one's own": lambda: fitted(OwnStep((0, 1)), X, Y),
    "add_loss": lambda: fitted(LossInside((0, 1)), {"states": X, "labels": Y}, None),
}
# Which losses go with which fields is found alike without a graph, and faster.
EAGER_WAYS: dict[str, Any] = {
    "one field, one loss": (None, Y, "mse"),
    "one field, an output of targets": (None, Scored(logits=Y), "mse"),
    "one field, an output of losses": (None, Y, LOSSES),
    "targets in a dict": ((0, 1), {"logits": Y}, LOSSES),
    "targets in a dict, placeholders": ((1,), {"logits": Y}, LOSSES),
}


@pytest.fixture(scope="module")
def plain() -> tuple[list[float], Any]:
    losses, logits = fitted(Plain(), X, Y, loss="mse")
    assert losses[1] < losses[0]
    return losses, logits


def assert_learnt_like(plain: tuple[list[float], Any], losses: list[float], output: Any) -> None:
    np.testing.assert_allclose(losses, plain[0], rtol=1e-5)
    assert type(output) is Scored
    np.testing.assert_allclose(output.logits, plain[1], rtol=1e-4, atol=1e-6)


@machinery("training (Keras)")
@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_returns_outputs_learns_what_a_plain_one_learns(way: str, plain: tuple[list[float], Any]):
    assert_learnt_like(plain, *WAYS[way]())


@machinery("training (Keras)")
@pytest.mark.parametrize("way", EAGER_WAYS)
def test_targets_and_losses_find_their_fields(way: str, plain: tuple[list[float], Any]):
    layers, y, loss = EAGER_WAYS[way]
    assert_learnt_like(plain, *fitted(Scorer(layers), X, y, loss=loss, run_eagerly=True))


@machinery("training (Keras)")
@pytest.mark.xfail(
    raises=KeyError,
    reason="Keras asks for isinstance(losses, type(output)), which no plain dict is, beside an OrderedDict either",
)
def test_losses_in_a_plain_dict_without_more(plain: tuple[list[float], Any]):
    assert_learnt_like(plain, *fitted(Scorer((0, 1)), X, {"logits": Y}, loss={"logits": "mse"}, run_eagerly=True))


class Flat(Scorer):
    """Returns one level of tensors, for which Keras has no need to know outputs."""

    def call(self, states: Any) -> Any:
        return super().call(states).to_flat_dict()


@machinery("training (Keras)")
def test_a_model_of_flat_fields_trains_and_is_saved_and_exported(plain: tuple[list[float], Any], tmp_path: Path):
    model = Flat((0, 1))
    losses, output = fitted(model, X, {"logits": Y}, loss={"logits": "mse"})
    np.testing.assert_allclose(losses, plain[0], rtol=1e-5)
    assert list(output) == ["logits", "hidden_states.0", "hidden_states.1"]
    model.save(tmp_path / "flat.keras")
    model.export(str(tmp_path / "exported"), verbose=False)
    read = keras.saving.load_model(tmp_path / "flat.keras", custom_objects={"Flat": Flat})
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    assert read.evaluate(X, {"logits": Y}, verbose=0) == pytest.approx(model.evaluate(X, {"logits": Y}, verbose=0))
    for found in (model.predict(X, batch_size=4, verbose=0), read.predict(X, verbose=0), exported.serve(X)):
        assert found.keys() == output.keys()
        for name, value in output.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6)


@machinery("training (Keras)")
def test_metrics_are_of_the_logits():
    def evaluated(model: Any, y: Any, **options: Any) -> dict[str, float]:
        model.compile("sgd", metrics=["mae"], run_eagerly=True, **options)
        return model.evaluate(X, y, batch_size=4, verbose=0, return_dict=True)

    error = np.asarray(Scorer()(X).logits) - Y
    expected = {"loss": np.mean(error**2), "mae": np.mean(np.abs(error))}
    one_field = evaluated(Scorer(), Scored(logits=Y), loss=Scored(logits="mse"))
    some_fields = evaluated(TrainedOnLogits((0, 1)), Y, loss="mse")
    for found in (one_field, some_fields):
        assert found == pytest.approx(expected, rel=1e-5)


@machinery("training (Keras)")
def test_batches_by_hand_and_datasets_of_outputs_train_a_model():
    model = Scorer((0, 1))
    model.compile(keras.optimizers.SGD(0.1), loss=LOSSES)
    expected = float(np.mean((np.asarray(model(X).logits) - Y) ** 2))
    assert model.test_on_batch(X, Scored(logits=Y)) == pytest.approx(expected, rel=1e-5)
    assert model.train_on_batch(X, Scored(logits=Y)) == pytest.approx(expected, rel=1e-5)
    dataset = tf.data.Dataset.from_tensor_slices((X, Scored(logits=Y))).batch(5)
    loss = model.evaluate(dataset, verbose=0)
    assert loss < expected
    assert model.fit(dataset, shuffle=False, verbose=0).history["loss"][0] < expected
    output = model.predict(dataset.map(lambda x, _: x), verbose=0)
    assert type(output) is Scored
    np.testing.assert_allclose(output.logits, model(X).logits, rtol=1e-5)


@machinery("training (Keras)")
def test_a_model_takes_outputs():
    class Head(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.score = keras.layers.Dense(LABELS)

        def call(self, output: Scored) -> Scored:
            assert type(output) is Scored
            return output.replace(logits=self.score(output.hidden_states[1]), hidden_states=None)

    model = Head()
    model.compile(keras.optimizers.SGD(0.1), loss=Scored(logits="mse"))
    given = Scored(hidden_states=(X, X * 2))
    history = model.fit(given, Scored(logits=Y), batch_size=4, epochs=2, verbose=0).history["loss"]
    assert history[1] < history[0]
    output = model.predict(given, batch_size=4, verbose=0)
    assert type(output) is Scored
    np.testing.assert_allclose(output.logits, model.score(2 * X), rtol=1e-5, atol=1e-6)


# -- prediction -----------------------------------------------------------------------------------------------------


@machinery("prediction (Keras)")
@pytest.mark.parametrize("layers", [None, (0, 1), (1,)], ids=["no states", "all states", "some states"])
def test_predict_returns_one_output_of_concatenated_arrays(layers: Any):
    model = Scorer(layers)
    output, expected = model.predict(X, batch_size=4, verbose=0), model(X)
    assert type(output) is Scored
    assert list(output) == list(expected)
    assert type(output.logits) is np.ndarray
    np.testing.assert_allclose(output.logits, expected.logits, rtol=1e-5)
    for state, wanted in zip(output.hidden_states or (), expected.hidden_states or (), strict=True):
        if wanted is None:
            assert state is None
        else:
            assert type(state) is np.ndarray
            np.testing.assert_allclose(state, wanted, rtol=1e-5)
    batch = model.predict_on_batch(X[:3])
    assert type(batch) is Scored
    np.testing.assert_allclose(batch.logits, expected.logits[:3], rtol=1e-5)


@machinery("prediction (Keras)")
def test_predict_concatenates_what_is_per_row_and_lists_what_is_per_batch():
    class Losses(Scorer):
        def call(self, states: Any) -> Any:
            output = super().call(states)
            output.loss = ops.mean(output.logits)
            output.hidden_states = (ops.mean(output.logits, -1),)
            return output

    output = Losses().predict(X, batch_size=4, verbose=0)
    logits = output.logits
    np.testing.assert_allclose(output.loss, [logits[:4].mean(), logits[4:8].mean(), logits[8:].mean()], rtol=1e-5)
    np.testing.assert_allclose(output.hidden_states[0], logits.mean(-1), rtol=1e-4, atol=1e-6)


# -- functional models ----------------------------------------------------------------------------------------------


@machinery("modules (Keras)")
def test_a_layer_called_with_a_symbol_returns_an_output_of_symbols():
    output = Twice()(keras.Input((WIDTH,)))
    assert type(output) is Scored
    assert list(output) == ["logits", "hidden_states"]
    assert output.hidden_states[0] is None
    for value in (output.logits, output.hidden_states[1]):
        assert isinstance(value, keras.KerasTensor)
        assert value.shape == (None, WIDTH)


@machinery("modules (Keras)")
def test_functional_models_take_pass_on_and_return_outputs():
    model = functional(returns_output=True)
    for output in (model(X), model.predict(X, batch_size=4, verbose=0), keras.models.clone_model(model)(X)):
        assert type(output) is Scored
        np.testing.assert_array_equal(output.logits, 3 * X)
        np.testing.assert_array_equal(output.hidden_states[0], 2 * X)
    inputs = Scored(logits=keras.Input((WIDTH,), name="logits"), hidden_states=(None, keras.Input((WIDTH,))))
    model = keras.Model(inputs, Add()(inputs))
    given = Scored(logits=X, hidden_states=(None, 2 * X))
    np.testing.assert_allclose(model.predict(given, batch_size=4, verbose=0), 3 * X, rtol=1e-6)


@machinery("modules (Keras)")
def test_sequential_and_lambda_layers_return_outputs():
    for model in (
        keras.Sequential([keras.layers.Rescaling(3.0), Twice()]),
        keras.Sequential([keras.Input((WIDTH,)), keras.layers.Lambda(lambda x: Scored(logits=x * 6))]),
    ):
        output = model.predict(X, verbose=0)
        assert type(output) is Scored
        np.testing.assert_allclose(output.logits, 6 * X, rtol=1e-6)
    np.testing.assert_allclose(keras.Sequential([Twice(), Add()])(X), 3 * X, rtol=1e-6)


@machinery("modules (Keras)")
def test_keras_says_shapes_and_calls_without_state():
    model = Scorer((0, 1))
    expected = model(X)
    spec = model.compute_output_spec(keras.KerasTensor((7, WIDTH)))
    assert type(spec) is Scored
    shapes = keras.tree.map_structure(lambda value: value.shape[1], spec)
    assert shapes == Scored(logits=LABELS, hidden_states=(WIDTH, WIDTH))
    output, _ = model.stateless_call(model.trainable_variables, model.non_trainable_variables, X)
    assert type(output) is Scored
    np.testing.assert_array_equal(output.logits, expected.logits)


@machinery("modules (Keras)")
def test_a_layer_of_half_precision_casts_an_outputs_fields():
    class Kinds(keras.layers.Layer):
        def call(self, output: Scored) -> Scored:
            return output

    output = Kinds(dtype="mixed_float16")(Scored(logits=ops.ones((2, 3)), hidden_states=(None, ops.ones(2))))
    assert type(output) is Scored
    assert [output.logits.dtype, output.hidden_states[1].dtype] == [tf.float16, tf.float16]
    assert output.hidden_states[0] is None


# -- operations -----------------------------------------------------------------------------------------------------


@machinery("control flow")
def test_keras_control_flow_returns_outputs():
    x = ops.ones(2)
    double = lambda output: Scored(logits=output.logits * 2)  # noqa: E731
    one, two, eight = (Scored(logits=ops.full((2,), value)) for value in (1.0, 2.0, 8.0))
    assert ops.cond(ops.convert_to_tensor(True), lambda: double(one), lambda: one) == two
    assert ops.switch(1, [lambda output: output, double], one) == two
    assert ops.while_loop(lambda i, _: i < 3, lambda i, output: (i + 1, double(output)), (0, one))[1] == eight
    assert ops.fori_loop(0, 3, lambda _, output: double(output), one) == eight
    assert keras.remat(lambda x: Scored(logits=x * 2))(x) == two


@machinery("map (vmap)")
def test_keras_maps_and_scans_return_stacked_outputs():
    rows = ops.convert_to_tensor(X)
    for mapped in (
        ops.map(lambda row: Scored(logits=2 * row, hidden_states=(row,)), rows),
        ops.vectorized_map(lambda row: Scored(logits=2 * row, hidden_states=(row,)), rows),
    ):
        assert mapped == Scored(logits=2 * rows, hidden_states=(rows,))
    last, sums = ops.scan(
        lambda total, row: (Scored(logits=total.logits + row), Scored(logits=total.logits)),
        Scored(logits=ops.zeros(WIDTH)),
        rows,
    )
    assert (type(last), type(sums)) == (Scored, Scored)
    np.testing.assert_allclose(last.logits, X.sum(0), rtol=1e-4)
    np.testing.assert_allclose(sums.logits[1:], np.cumsum(X, 0)[:-1], rtol=1e-4, atol=1e-6)


@machinery("control flow")
def test_keras_operations_take_the_fields_of_an_output():
    output = Scorer()(X)
    np.testing.assert_allclose(ops.sum(ops.softmax(output.logits), -1), np.ones(len(X)), rtol=1e-5)
    assert ops.shape(output.logits) == (len(X), LABELS)
    array = ops.convert_to_numpy(output.logits)
    assert type(array) is np.ndarray
    np.testing.assert_array_equal(array, output["logits"])


# -- files and other backends ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """A trained model, one whose states are asked for in part, and two functional ones; `sum` returns one tensor."""
    subclassed = TrainedOnDict((0, 1), name="subclassed")
    subclassed.compile("adam", loss={"logits": "mse"})
    subclassed.fit(X, {"logits": Y}, batch_size=5, verbose=0)
    some = Scorer([1])
    some(X)
    return {"subclassed": subclassed, "some": some, "functional": functional(True), "sum": functional(False)}


@pytest.fixture(scope="module")
def fresh(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process of its own finds in the models' files, and in trees if PyTorch's C++ ones were there first."""
    folder = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
    trees = [] if importlib.util.find_spec("torch") is None else ["torch-first", "trees"]
    return run("tensorflow_keras_process", folder, *trees, KERAS_BACKEND="tensorflow")


@machinery("export and reload")
@pytest.mark.parametrize("name", ["subclassed", "some"])
def test_a_model_in_a_file_returns_equal_outputs_in_another_process(
    name: str, models: dict[str, Any], fresh: dict[str, Any]
):
    expected, found = models[name].predict(X, batch_size=4, verbose=0), fresh["files"][name]
    assert found["type"] == "Scored"
    np.testing.assert_allclose(found["logits"], expected.logits, rtol=1e-5)
    for state, wanted in zip(found["hidden_states"], expected.hidden_states, strict=True):
        assert (state is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_allclose(state, wanted, rtol=1e-5)
    assert [state is None for state in fresh["files"]["some"]["hidden_states"]] == [True, False]


@machinery("export and reload")
def test_a_compiled_model_in_a_file_evaluates_in_another_process(models: dict[str, Any], fresh: dict[str, Any]):
    expected = models["subclassed"].evaluate(X, {"logits": Y}, verbose=0)
    assert fresh["files"]["evaluated"] == pytest.approx(expected, rel=1e-5)


@machinery("export and reload")
def test_a_functional_model_in_a_file_passes_outputs_on_and_returns_a_dict(fresh: dict[str, Any]):
    np.testing.assert_allclose(fresh["files"]["sum"], 3 * X, rtol=1e-6)
    found = fresh["files"]["functional"]
    assert found["type"] == "dict"  # Keras writes every mapping as one; `Scored(found)` is the output again
    np.testing.assert_allclose(found["logits"], 3 * X, rtol=1e-6)
    np.testing.assert_allclose(found["hidden_states"], [2 * X], rtol=1e-6)


@machinery("export and reload")
def test_an_exported_model_returns_flat_fields(models: dict[str, Any], tmp_path: Path):
    model = models["some"]
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = keras.InputSpec(shape=(None, WIDTH), dtype="float32")
    archive.add_endpoint("serve", lambda states: model(states).to_flat_dict(), input_signature=[spec])
    archive.write_out(str(tmp_path), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))
    found, expected = loaded.serve(X), model(X).to_flat_dict()
    assert found.keys() == expected.keys() == {"logits", "hidden_states.1"}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)


@pytest.fixture(scope="module")
def jax(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    tasks = ["training"] if importlib.util.find_spec("torch") is None else ["training", "trees"]
    return in_keras_with("jax", tmp_path_factory, *tasks)


def in_keras_with(backend: str, factory: pytest.TempPathFactory, *tasks: str) -> dict[str, Any]:
    """What a process of its own finds with another of Keras' backends."""

    def write(folder: Path) -> None:
        found = run("tensorflow_keras_process", *tasks, KERAS_BACKEND=backend)
        (folder / "found.json").write_text(json.dumps(found))

    return json.loads((made_once(factory, f"keras-{backend}", write) / "found.json").read_text())


@functools.cache
def reference(layers: tuple[int, ...]) -> tuple[list[float], Any]:
    """What the other backends are to learn and predict."""
    model = TrainedOnDict(layers)
    model.compile("sgd", loss={"logits": "mse"})
    losses = model.fit(X, {"logits": Y}, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    return losses, model.predict(X, batch_size=4, verbose=0)


def assert_learnt(found: dict[str, Any], layers: tuple[int, ...]) -> None:
    losses, output = reference(layers)
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-4)
    np.testing.assert_allclose(found["logits"], output.logits, rtol=1e-3, atol=1e-5)
    for state, wanted in zip(found["hidden_states"], output.hidden_states, strict=True):
        assert (state is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_allclose(state, wanted, rtol=1e-3, atol=1e-5)


@needs_jax
@machinery("training (Keras)")
@pytest.mark.parametrize(("states", "layers"), [("all", (0, 1)), ("one", (1,))])
def test_keras_with_jax_trains_and_predicts_with_a_flax_class(
    states: str, layers: tuple[int, ...], jax: dict[str, Any]
):
    assert jax["backend"] == "jax"
    assert jax["training"][states]["type"] == "FlaxSequenceClassifierOutput"
    assert_learnt(jax["training"][states], layers)


@needs_jax
@machinery("training (Keras)")
def test_keras_with_jax_takes_an_output_of_losses(jax: dict[str, Any]):
    np.testing.assert_allclose(jax["training"]["losses by field"], reference((0, 1))[0], rtol=1e-4)


@needs_torch
@machinery("training (Keras)")
@pytest.mark.parametrize(("states", "layers"), [("all", (0, 1)), ("one", (1,))])
def test_keras_with_pytorch_trains_and_predicts(states: str, layers: tuple[int, ...], torch: dict[str, Any]):
    assert torch["backend"] == "torch"
    assert torch["training"][states]["type"] == "Scored"
    assert_learnt(torch["training"][states], layers)


@pytest.fixture(scope="module")
def torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_keras_with("torch", tmp_path_factory, "training")


@needs_torch
@machinery("user's own class")
@pytest.mark.parametrize("first", ["Keras", "PyTorch"])
def test_keras_and_pytorch_share_a_registry_in_any_order(first: str, request: pytest.FixtureRequest):
    if first == "Keras":
        pytest.importorskip("jax", reason="JAX is not installed")
    trees = request.getfixturevalue({"Keras": "jax", "PyTorch": "fresh"}[first])["trees"]
    paths = [["logits"], ["hidden_states", 0], ["hidden_states", 1]]
    assert trees == {
        "imported by us": [],
        **{name: {"kept": [True, True], "paths": paths} for name in ("Early", "Late", "Last")},
    }


def test_nothing_imports_transformers_or_tf_keras(fresh: dict[str, Any]):
    assert fresh["foreign"] == []
