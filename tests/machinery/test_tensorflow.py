# ruff: noqa: E402  # what is imported below needs what may be absent
"""Outputs in TensorFlow's own machinery: trees, graphs, gradients, data, SavedModel, replicas."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from tensorflow.python.autograph.impl.api import StagingError
from tensorflow.python.util import nest

from modeloutputs import ModelOutput
from modeloutputs.tensorflow import outputs

from ..support.random_outputs import full
from .marks import machinery
from .tensorflow_models import LABELS, WIDTH, Ranked, Scored, Scorer, normal, run, scored


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer()


@pytest.fixture(scope="module")
def states() -> Any:
    return tf.constant(normal(2, WIDTH))


class Traced:
    """A function in a graph, which counts how often it was traced."""

    def __init__(self, function: Any, **options: Any) -> None:
        self.count = 0

        def counted(*arguments: Any) -> Any:
            self.count += 1
            return function(*arguments)

        self._function = tf.function(counted, autograph=False, **options)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


# -- trees ----------------------------------------------------------------------------------------------------------


@machinery("tree")
def test_nest_maps_over_present_fields_and_keeps_class_and_placeholders():
    output = scored()
    total = tf.nest.map_structure(lambda a, b: a if a is None else a + b, output, output)
    assert type(total) is Scored
    assert list(total) == ["scores", "hidden_states"]
    np.testing.assert_array_equal(total.scores, 2 * output.scores)
    assert total.hidden_states[0] is None
    np.testing.assert_array_equal(total.hidden_states[1], 2 * output.hidden_states[1])


@machinery("tree")
def test_nest_packs_what_it_flattened():
    output = Ranked(loss=3, scores=1, hidden_states=(5, None))
    leaves = tf.nest.flatten(output)
    assert leaves == [5, None, 3, 1]  # as of any mapping, in the order of sorted names
    packed = tf.nest.pack_sequence_as(output, leaves)
    assert packed == output
    assert type(packed) is Ranked
    assert packed.to_tuple() == (3, 1, (5, None))


@machinery("tree")
def test_nest_names_leaves_by_field_and_layer():
    paths = nest.flatten_with_joined_string_paths(Scored(1, 2, (3, 4)))
    assert paths == [("hidden_states/0", 3), ("hidden_states/1", 4), ("loss", 2), ("scores", 1)]


@machinery("tree")
def test_nest_tells_structures_apart_by_the_fields_present():
    tf.nest.assert_same_structure(scored(2), scored(5))
    with pytest.raises(ValueError, match="don't have the same set of keys"):
        tf.nest.assert_same_structure(Scored(1), Scored(1, 2))


@machinery("every class")
@pytest.mark.parametrize("name", outputs.__all__)
def test_every_class_passes_through_nest_and_function_unchanged(name: str):
    cls = getattr(outputs, name)
    output = full(cls)
    same = tf.nest.map_structure(lambda value: value, output)
    traced = tf.function(lambda given: (given, cls(**given)))(output)
    for result in (same, *traced):
        assert type(result) is cls
        assert result == output
        assert list(result) == list(cls.__output_fields__)
        assert result.check() is result


# -- graphs ---------------------------------------------------------------------------------------------------------


@machinery("compile")
@pytest.mark.parametrize("options", [{}, {"jit_compile": True}], ids=["graph", "XLA"])
def test_a_graph_takes_builds_changes_and_returns_outputs(options: dict[str, bool]):
    def change(output: Scored) -> Any:
        later = output.copy()
        later.loss = tf.reduce_sum(output.scores)
        later["scores"] = later[0] * 2
        later.hidden_states = None
        pairs = type(later)((name, -value) for name, value in later.items())
        return later, pairs, later.replace(loss=None), Scored({"scores": later["scores"]}), later.to_tuple(), later[:1]

    output = scored()
    function = tf.function(change, **options)
    for result, expected in zip(function(output), change(output), strict=True):
        assert type(result) is type(expected)
        for value, wanted in zip(tf.nest.flatten(result), tf.nest.flatten(expected), strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert list(function(output)[0]) == ["scores", "loss"]


@machinery("compile")
def test_a_graph_may_not_change_the_output_that_it_was_given():
    def change(output: Scored) -> Scored:
        output.loss = tf.reduce_sum(output.scores)
        return output

    with pytest.raises(ValueError, match="should not modify its Python input arguments"):
        tf.function(change)(scored())


@machinery("compile")
def test_a_graph_is_traced_again_only_for_another_structure():
    function = Traced(lambda output: output.replace(scores=output.scores + 1))
    for seed in range(3):
        function(Scored(tf.constant(normal(2, LABELS, seed=seed))))
    assert function.count == 1
    late = Scored(loss=tf.constant(0.0))
    late.scores = tf.zeros([2, LABELS])
    function(late)
    assert function.count == 2
    result = function(Scored(tf.ones([2, LABELS]), tf.constant(1.0)))
    assert function.count == 2
    assert result == Scored(tf.fill([2, LABELS], 2.0), tf.constant(1.0))


@machinery("compile")
def test_a_graph_of_one_class_does_not_serve_another_with_the_same_fields():
    function = Traced(lambda output: (output, output[0]))
    values = {"scores": tf.constant(1.0), "loss": tf.constant(2.0)}
    for cls, first in ((Scored, 1), (Ranked, 2), (Scored, 1)):
        output, value = function(cls(**values))
        assert type(output) is cls
        assert output == cls(**values)
        assert value == first
    assert function.count == 2


@machinery("compile")
def test_a_graph_for_any_number_of_rows_keeps_the_class():
    function = Traced(lambda output: output.replace(scores=output.scores * 2), reduce_retracing=True)
    for cls in (Scored, Ranked):
        for rows in range(1, 6):
            output = function(cls(scores=tf.ones([rows, LABELS])))
            assert type(output) is cls
            np.testing.assert_array_equal(output.scores, np.full((rows, LABELS), 2, np.float32))
    assert function.count == 4  # per class one for the first number of rows, one for any


@machinery("compile")
def test_a_signature_may_be_an_output(scorer: Scorer):
    for rows in (1, 4):
        output = Scored(tf.constant(normal(rows, LABELS)))
        assert scorer.double(output) == Scored(2 * output.scores)
    with pytest.raises(TypeError, match="has different keys"):
        scorer.double(Scored(tf.zeros([1, LABELS]), tf.constant(0.0)))


@machinery("compile")
def test_which_fields_a_graph_returns_is_for_python_to_say(scorer: Scorer, states: Any):
    function = tf.function(scorer.__call__)
    assert list(function(states)) == ["scores"]
    assert list(function(states, layers=True)) == ["scores", "hidden_states"]
    assert list(function(states, tf.zeros([2, LABELS]))) == ["scores", "loss"]
    assert function(states, layers=(1,)) == scorer(states, layers=(1,))
    assert function(states, layers=(1,)).hidden_states[0] is None


@machinery("compile")
def test_unpacking_is_refused_in_a_graph_too(states: Any):
    def unpack(states: Any) -> Any:
        scores, loss = Scored(states, states)
        return scores + loss

    with pytest.raises(StagingError, match=r"unpack out\.to_tuple\(\) instead"):
        tf.function(unpack)(states)


@machinery("shapes without values")
def test_a_concrete_function_says_which_class_it_returns(scorer: Scorer):
    concrete = scorer.nested.get_concrete_function()
    assert type(concrete.structured_outputs) is Scored
    shapes = tf.nest.map_structure(lambda spec: spec.shape.as_list(), concrete.structured_outputs.to_flat_dict())
    assert shapes == {
        "scores": [None, LABELS],
        "hidden_states.0": [None, WIDTH],
        "hidden_states.1": [None, WIDTH],
    }


# -- control flow ---------------------------------------------------------------------------------------------------


@machinery("control flow")
def test_branches_and_loops_return_outputs():
    @tf.function
    def branch(large: Any, output: Scored) -> Scored:
        return tf.cond(large, lambda: output.replace(scores=output.scores * 2), lambda: output)

    @tf.function
    def loop(output: Scored) -> Scored:
        body = lambda i, output: (i + 1, output.replace(scores=output.scores * 2))  # noqa: E731
        return tf.while_loop(lambda i, _: i < 3, body, (tf.constant(0), output))[1]

    output = Scored(tf.constant([1.0, 2.0]), hidden_states=(tf.constant(5.0),))
    assert branch(tf.constant(True), output) == output.replace(scores=tf.constant([2.0, 4.0]))
    assert branch(tf.constant(False), output) == output
    assert loop(output) == output.replace(scores=tf.constant([8.0, 16.0]))


def branch_on_tensor(large: Any, output: Scored) -> Scored:
    if large:
        output = output.replace(scores=output.scores * 2)
    return output


def change_in_loop(count: Any, scores: Any) -> Scored:
    output = Scored(scores)
    for _ in tf.range(count):
        output.scores = output.scores * 2
    return output


def rebuild_in_loop(count: Any, output: Scored) -> Scored:
    for _ in tf.range(count):
        output = output.replace(scores=output.scores * 2)
    return output


@machinery("control flow")
def test_autograph_branches_on_tensors_and_changes_outputs_in_loops():
    output = Scored(tf.constant([1.0, 2.0]))
    assert tf.function(branch_on_tensor)(tf.constant(True), output) == Scored(tf.constant([2.0, 4.0]))
    assert tf.function(change_in_loop)(tf.constant(3), output.scores) == Scored(tf.constant([8.0, 16.0]))


@machinery("control flow")
def test_autograph_rebuilds_outputs_in_loops():
    output = Scored(tf.constant([1.0, 2.0]))
    assert tf.function(rebuild_in_loop)(tf.constant(3), output) == Scored(tf.constant([8.0, 16.0]))


@machinery("control flow")
def test_a_field_that_depends_on_a_tensor_is_refused_by_name():
    def sometimes(large: Any, scores: Any) -> Scored:
        output = Scored(scores)
        if large:
            output.loss = tf.reduce_sum(scores)
        return output

    with pytest.raises(ValueError, match=r"'output\.loss' is None at the end of the else branch"):
        tf.function(sometimes)(tf.constant(True), tf.ones(2))


@machinery("map (vmap)")
def test_maps_and_scans_over_rows_return_stacked_outputs():
    rows = tf.constant(normal(3, WIDTH))
    expected = Scored(2 * rows, hidden_states=(rows,))
    assert tf.vectorized_map(lambda row: Scored(2 * row, hidden_states=(row,)), rows) == expected
    spec = tf.TensorSpec([WIDTH])
    mapped = tf.map_fn(
        lambda row: Scored(2 * row, hidden_states=(row,)),
        rows,
        fn_output_signature=Scored(spec, hidden_states=(spec,)),
    )
    assert mapped == expected
    assert tf.vectorized_map(lambda output: output.replace(scores=output.scores / 2), expected) == Scored(
        rows, hidden_states=(rows,)
    )
    sums = tf.scan(lambda total, row: Scored(total.scores + row), rows, initializer=Scored(tf.zeros([WIDTH])))
    assert type(sums) is Scored
    np.testing.assert_allclose(sums.scores, np.cumsum(rows, 0), rtol=1e-5)


# -- gradients ------------------------------------------------------------------------------------------------------


@machinery("gradient")
def test_gradients_flow_through_an_output(scorer: Scorer, states: Any):
    with tf.GradientTape() as tape:
        output = scorer(states, tf.zeros([2, LABELS]))
    gradient = tape.gradient(output.loss, scorer.weight)
    expected = tf.transpose(tf.tanh(states)) @ output.scores * 2 / (2 * LABELS)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@machinery("gradient")
def test_an_output_is_a_target_and_a_source():
    x = tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = Scored(x * 2, hidden_states=(x * 3, x**2))
    np.testing.assert_array_equal(tape.gradient(output, x), [2 + 3 + 2, 2 + 3 + 4])

    source = Scored(x, hidden_states=(x, x))
    source = tf.nest.map_structure(tf.identity, source)
    with tf.GradientTape() as tape:
        tape.watch(source)
        value = tf.reduce_sum(source.scores**2) + tf.reduce_sum(source.hidden_states[1] * 5)
    gradient = tape.gradient(value, source)
    assert type(gradient) is Scored
    np.testing.assert_array_equal(gradient.scores, [2, 4])
    assert gradient.hidden_states[0] is None
    np.testing.assert_array_equal(gradient.hidden_states[1], [5, 5])


@machinery("gradient")
def test_gradients_of_an_output_stay_beside_their_variables():
    variables = Scored(scores=tf.Variable(1.0), loss=tf.Variable(2.0), hidden_states=tf.Variable(3.0))
    with tf.GradientTape() as tape:
        value = variables.scores * 5 + variables.hidden_states * 7  # not of loss, which lies between them when sorted
    gradients = tf.nest.flatten(tape.gradient(value, variables))
    assert [None if gradient is None else float(gradient) for gradient in gradients] == [7, None, 5]


@machinery("gradient")
def test_forward_mode_returns_tangents_as_an_output():
    x = tf.constant([1.0, 2.0])
    with tf.autodiff.ForwardAccumulator(x, tf.constant([1.0, 0.5])) as forward:
        output = Scored(x**2, hidden_states=(x * 3,))
    assert forward.jvp(output) == Scored(tf.constant([2.0, 2.0]), hidden_states=(tf.constant([3.0, 1.5]),))


@machinery("activation checkpointing")
def test_what_is_recomputed_for_the_gradient_returns_an_output(scorer: Scorer, states: Any):
    labels = tf.ones([2, LABELS])

    def gradient(forward: Any) -> Any:
        with tf.GradientTape() as tape:
            output = forward(states)
        assert type(output) is Scored
        return tape.gradient(output.loss, scorer.weight)

    plain = gradient(lambda states: scorer(states, labels))
    np.testing.assert_allclose(gradient(tf.recompute_grad(lambda states: scorer(states, labels))), plain, rtol=1e-6)


@machinery("modules (tf.Module)")
def test_variables_in_an_output_are_a_modules_own():
    class Holder(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.initial = Scored(tf.Variable([1.0, 2.0]), hidden_states=(tf.Variable(3.0),))

        @tf.function
        def add(self, value: Any) -> Scored:
            self.initial.scores.assign_add(value)
            return tf.nest.map_structure(lambda variable: variable + 0.0, self.initial)

    holder = Holder()
    assert type(holder.initial) is Scored
    assert {variable.ref() for variable in holder.trainable_variables} == {
        holder.initial.scores.ref(),
        holder.initial.hidden_states[0].ref(),
    }
    assert holder.add(tf.constant([1.0, 1.0])) == Scored(tf.constant([2.0, 3.0]), hidden_states=(tf.constant(3.0),))
    assert holder.initial.scores.numpy().tolist() == [2, 3]


# -- data -----------------------------------------------------------------------------------------------------------


@machinery("data loading")
def test_a_dataset_slices_maps_and_batches_outputs():
    output = Scored(tf.constant(normal(5, LABELS)), hidden_states=(tf.constant(normal(5, WIDTH)),))
    dataset = tf.data.Dataset.from_tensor_slices(output)
    assert dataset.element_spec == Scored(tf.TensorSpec([LABELS]), hidden_states=(tf.TensorSpec([WIDTH]),))
    rows = list(dataset)
    assert {type(row) for row in rows} == {Scored}
    np.testing.assert_array_equal([row.scores for row in rows], output.scores)

    batches = list(dataset.map(lambda row: row.replace(loss=tf.reduce_sum(row.scores))).batch(2).prefetch(1))
    assert [list(batch) for batch in batches] == [["scores", "loss", "hidden_states"]] * 3
    assert [batch.scores.shape.as_list() for batch in batches] == [[2, LABELS], [2, LABELS], [1, LABELS]]
    np.testing.assert_allclose(tf.concat([batch.loss for batch in batches], 0), np.sum(output.scores, 1), rtol=1e-6)
    assert list(dataset.batch(2).unbatch()) == rows
    assert [type(batch) for batch in dataset.batch(5).as_numpy_iterator()] == [Scored]


@machinery("data loading")
def test_a_dataset_generates_filters_pads_and_reduces_outputs():
    spec = Scored(tf.TensorSpec([None]), tf.TensorSpec([]))
    ragged = [Scored(np.arange(n, dtype=np.float32), np.float32(n)) for n in (1, 3, 2)]
    dataset = tf.data.Dataset.from_generator(lambda: iter(ragged), output_signature=spec)
    assert dataset.element_spec == spec
    padded = next(iter(dataset.filter(lambda output: output.loss > 1).padded_batch(2)))
    assert padded == Scored(tf.constant([[0.0, 1, 2], [0, 1, 0]]), tf.constant([3.0, 2]))
    total = dataset.reduce(Scored(loss=tf.constant(0.0)), lambda sum_, output: Scored(loss=sum_.loss + output.loss))
    assert total == Scored(loss=tf.constant(6.0))


@machinery("data loading")
def test_a_dataset_on_disk_gives_mappings_to_build_outputs_from(tmp_path: Path):
    output = Scored(tf.constant(normal(2, LABELS)), hidden_states=(tf.constant(normal(2, WIDTH)),))
    tf.data.Dataset.from_tensors(output).save(str(tmp_path))
    assert Scored(next(iter(tf.data.Dataset.load(str(tmp_path))))) == output


# -- in a process of its own ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def process(scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = str(tmp_path_factory.mktemp("saved"))
    tf.saved_model.save(scorer, folder, signatures=scorer.flat)
    return run("tensorflow_process", folder)


@machinery("export and reload")
def test_a_saved_model_returns_flat_fields_in_another_process(process: dict[str, Any], scorer: Scorer, states: Any):
    expected = scorer(states, layers=(1,)).to_flat_dict()
    found = process["reloaded"]["flat"]
    assert found.keys() == expected.keys() == {"scores", "hidden_states.1"}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)


@machinery("export and reload")
def test_a_saved_model_returns_what_an_output_is_rebuilt_from(process: dict[str, Any], scorer: Scorer, states: Any):
    assert process["reloaded"]["plain"] == "dict"
    expected = scorer(states, layers=True).to_flat_dict()
    found = process["reloaded"]["output"]
    assert list(found) == list(expected) == ["scores", "hidden_states.0", "hidden_states.1"]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)


@machinery("export and reload")
def test_a_saved_model_takes_an_output(process: dict[str, Any]):
    np.testing.assert_allclose(process["reloaded"]["doubled"], 2 * normal(2, LABELS), rtol=1e-6)


@machinery("export and reload")
def test_a_signature_refuses_fields_that_are_tuples(scorer: Scorer, tmp_path: Path):
    with pytest.raises(ValueError, match="for key 'hidden_states' in the output"):
        tf.saved_model.save(scorer, str(tmp_path), signatures=scorer.nested)


@machinery("data parallel")
def test_replicas_take_and_return_outputs(process: dict[str, Any]):
    replicas = process["replicas"]
    assert replicas["replicas"] == 2
    # batch, output, its two parts, gathered, mean, gradient
    assert replicas["types"] == ["Ranked", "Scored", "Scored", "Scored", "Scored", "Scored", "Ranked"]
    assert replicas["parts"] == [True, True]


@machinery("data parallel")
def test_replicas_gather_and_reduce_outputs(process: dict[str, Any]):
    assert process["replicas"]["gathered"] == [True, True, True]
    assert process["replicas"]["mean"] == [True, True]


@machinery("data parallel")
def test_replicas_have_the_gradients_of_one_process(process: dict[str, Any]):
    assert process["replicas"]["gradients"] == [True, True]


@machinery("data parallel")
def test_a_keras_model_learns_and_predicts_on_replicas(process: dict[str, Any]):
    found = process["keras"]
    assert found["type"] == "Scored"
    np.testing.assert_allclose(*found["losses"], rtol=1e-5)
    assert found["predicted"] == [True, True, True]


@machinery("user's own class")
def test_a_class_may_be_older_than_its_frameworks(process: dict[str, Any]):
    early = process["early"]
    assert early["imported by us"] == []
    assert early["nest"] is True
    assert early["keras"] == [[["scores"], 1], [["hidden_states", 0], 2], [["hidden_states", 1], 3]]
    assert early["function"] == "Early"


@machinery("user's own class")
def test_a_class_may_be_defined_again():
    def again() -> Any:
        return type("Again", (ModelOutput,), {"__annotations__": {"loss": Any}})

    function = tf.function(lambda output: output.copy())
    for cls in (again(), again()):
        assert type(function(cls(loss=tf.constant(1.0)))) is cls


def test_nothing_imports_transformers_or_tf_keras(process: dict[str, Any]):
    assert process["foreign"] == []
