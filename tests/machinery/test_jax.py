"""Outputs in the machinery of JAX and Flax: what has to hold for users who have never heard of registering a tree."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import json
import os
from pathlib import Path
from typing import Any

import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")

import jax.numpy as jnp
import numpy as np
from jax import export, lax

from modeloutputs import ModelOutput
from modeloutputs.flax import outputs

from ..support.once import made_once
from ..support.processes import python
from ..support.random_outputs import class_named, full
from .jax_models import STATES, WEIGHT, WIDTH, Scored, close, normal, partly, score, twice, weight_gradient
from .marks import machinery

every_class = pytest.mark.parametrize("class_name", outputs.__all__)


# -- trees ----------------------------------------------------------------------------------------------------------


@machinery("tree")
def test_leaves_are_named_by_field():
    output = Scored(cache={"key": 1}, scores=2, hidden_states=(None, 3))
    names = {".scores": 2, ".cache['key']": 1, ".hidden_states[1]": 3}
    for with_path in (jax.tree_util.tree_leaves_with_path, lambda tree: jax.tree_util.tree_flatten_with_path(tree)[0]):
        assert {jax.tree_util.keystr(path): leaf for path, leaf in with_path(output)} == names
    path = jax.tree_util.tree_leaves_with_path(output)[0][0]
    assert jax.tree_util.keystr(path, simple=True) == "scores"
    assert jax.tree.map(lambda *_: 0, output) == jax.tree_util.tree_map_with_path(lambda *_: 0, output)


@machinery("tree")
def test_structure_depends_on_the_fields_that_are_present_and_on_nothing_else():
    late = Scored(hidden_states=(1, None))
    late.scores = 2
    late.loss = 3
    late.loss = None
    structure = jax.tree.structure(Scored(scores=4, hidden_states=(5, None)))
    assert jax.tree.structure(late) == structure
    assert hash(jax.tree.structure(late)) == hash(structure)
    assert jax.tree.structure(Scored({"hidden_states": (1, None), "scores": 1})) == structure
    for other in (Scored(scores=4), Scored(loss=1, scores=4, hidden_states=(5, None)), {"scores": 4}):
        assert jax.tree.structure(other) != structure
    assert jax.tree.structure(score(WEIGHT, STATES)) != structure


class Strict(ModelOutput):
    """Refuses what tracers pass."""

    scores: Any = None
    mode: str | None = "mean"

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        if not isinstance(self.scores, jax.Array):
            raise TypeError(f"scores are {self.scores!r}")


@machinery("tree")
def test_unflatten_validates_nothing():
    structure = jax.tree.structure(Strict(scores=jnp.ones(2)))
    placeholder = object()
    rebuilt = jax.tree.unflatten(structure, [placeholder, 0])
    assert rebuilt.to_dict() == {"scores": placeholder, "mode": 0}
    empty = jax.tree.unflatten(structure, [None, None])
    assert (type(empty), len(empty), empty.scores, empty.mode) == (Strict, 0, None, None)
    with pytest.raises(ValueError, match="Too few leaves"):
        jax.tree.unflatten(structure, [1])


@machinery("tree")
def test_absent_fields_stay_absent():
    mapped = jax.tree.map(lambda leaf: leaf * 10, Scored(scores=2, hidden_states=(None, 3)))
    assert type(mapped) is Scored
    assert mapped.to_dict() == {"scores": 20, "hidden_states": (None, 30)}
    assert mapped.loss is None
    assert list(mapped.__dict__) == ["scores", "hidden_states"]  # what is pickled
    summed = jax.tree.map(lambda one, other: one + other, mapped, Scored(scores=1, hidden_states=(None, 1)))
    assert summed.to_dict() == {"scores": 21, "hidden_states": (None, 31)}
    with pytest.raises(ValueError, match="None"):
        jax.tree.map(lambda one, other: one + other, mapped, mapped.replace(loss=1))


@machinery("tree")
def test_leaves_mapped_to_none_make_way_for_others():
    output = Scored(loss=1, scores=2.5, hidden_states=(3, None))
    whole = jax.tree.map(lambda leaf: leaf if isinstance(leaf, int) else None, output)
    rest = jax.tree.map(lambda leaf: None if isinstance(leaf, int) else leaf, output)
    assert (whole.to_dict(), rest.to_dict()) == (
        {"loss": 1, "hidden_states": (3, None)},
        {"scores": 2.5, "hidden_states": (None, None)},
    )
    joined = jax.tree.map(lambda a, b: b if a is None else a, whole, rest, is_leaf=lambda leaf: leaf is None)
    assert joined == output


@machinery("tree")
def test_outputs_of_trees_and_trees_of_outputs_turn_into_each_other():
    rows = [Scored(loss=1, scores=2), Scored(loss=3, scores=4)]
    together = jax.tree.transpose(jax.tree.structure([0, 0]), jax.tree.structure(rows[0]), rows)
    assert together.to_dict() == {"loss": [1, 3], "scores": [2, 4]}
    assert jax.tree.transpose(jax.tree.structure(rows[0]), jax.tree.structure([0, 0]), together) == rows
    assert jax.tree.reduce(lambda one, other: one + other, rows) == 10


@machinery("tree")
def test_replace_makes_a_new_output():
    output = score(WEIGHT, STATES)
    replaced = output.replace(loss=jnp.zeros(()), hidden_states=None)
    assert (replaced.loss, list(replaced)) == (0, ["loss", "scores"])
    assert output.loss > 0
    assert replaced.scores is output.scores
    compiled = jax.jit(lambda output: output.replace(scores=output.scores + 1, hidden_states=None))(output)
    assert compiled == output.replace(scores=output.scores + 1, hidden_states=None)


@machinery("every class")
@every_class
def test_every_class_is_unchanged_by_jit_vmap_and_map(class_name: str):
    output = partly(class_name)
    for transform in (jax.jit, jax.vmap, lambda function: lambda tree: jax.tree.map(function, tree)):
        returned = transform(lambda value: value)(output)
        assert type(returned) is class_named(class_name)
        assert list(returned) == list(output)
        assert returned == output
        assert jax.tree.structure(returned) == jax.tree.structure(output)


# -- compiled functions ---------------------------------------------------------------------------------------------


@machinery("compile")
def test_compiled_functions_take_and_return_outputs():
    output = jax.jit(score)(WEIGHT, STATES)
    assert close(output, score(WEIGHT, STATES))
    assert (list(output), output.cache) == (["loss", "scores", "hidden_states"], None)
    assert [state is None for state in output.hidden_states] == [False, True, False]
    assert close(jax.jit(twice)(output), twice(output))
    read = jax.jit(lambda output: (output.loss, output["scores"], output[-1][2], output.get("cache"), len(output)))
    assert jax.tree.structure(read(output)) == jax.tree.structure((0, 0, 0, None, 0))
    assert read(output)[2].tolist() == output.hidden_states[2].tolist()


@machinery("compile")
def test_outputs_are_built_and_changed_within_compiled_functions():
    @jax.jit
    def changed(output: Any) -> Any:
        output.scores = output.scores + 1
        output["loss"] = output["loss"] * 2
        output.update(cache={"key": output.loss})
        del output["hidden_states"]
        return output, type(output)((name, value) for name, value in output.items())

    given = score(WEIGHT, STATES)
    for output in changed(given):
        assert close(output, Scored(loss=given.loss * 2, scores=given.scores + 1, cache={"key": given.loss * 2}))
    assert list(given) == ["loss", "scores", "hidden_states"]


@machinery("compile")
def test_only_another_structure_is_traced_again():
    traced: list[list[str]] = []

    @jax.jit
    def total(output: Any) -> Any:
        traced.append(list(output))
        return sum(jax.tree.leaves(output))

    output = Scored(loss=jnp.ones(2), scores=jnp.ones(2))
    late = Scored(scores=jnp.zeros(2))
    late.loss = jnp.ones(2)
    assert [total(each).tolist() for each in (output, late, output.copy(), jax.jit(twice)(output))] == [
        [2, 2],
        [1, 1],
        [2, 2],
        [4, 4],
    ]
    assert traced == [["loss", "scores"]]
    total(output.replace(loss=None))
    total(output.replace(hidden_states=(None, output.loss)))
    total(output.replace(hidden_states=(output.loss, None)))
    assert traced[1:] == [["scores"], *[["loss", "scores", "hidden_states"]] * 2]


@machinery("compile")
def test_outputs_pass_ahead_of_time_compilation_and_donation():
    given = Scored(scores=jnp.arange(3.0), hidden_states=(None, jnp.ones(3)))
    compiled = jax.jit(twice).lower(given).compile()
    assert compiled(given) == twice(given)
    with pytest.raises(TypeError, match="compiled with"):
        compiled(given.replace(loss=jnp.ones(3)))
    donated = jax.jit(twice, donate_argnums=0)(jax.tree.map(jnp.copy, given))
    assert donated == twice(given)


@machinery("shapes without values")
def test_shapes_has_concrete_values_without_computing():
    shapes = jax.eval_shape(score, WEIGHT, STATES)
    assert shapes == score(WEIGHT, STATES).replace(
        loss=jax.ShapeDtypeStruct((), jnp.float32),
        scores=jax.ShapeDtypeStruct((4,), jnp.float32),
        hidden_states=(state := jax.ShapeDtypeStruct((4, WIDTH), jnp.float32), None, state),
    )
    assert jax.eval_shape(twice, shapes) == shapes
    assert list(jax.make_jaxpr(twice, return_shape=True)(shapes)[1]) == ["loss", "scores", "hidden_states"]


# -- vmap -----------------------------------------------------------------------------------------------------------


@machinery("map (vmap)")
def test_vmap_takes_and_returns_outputs():
    by_row = jax.vmap(score, in_axes=(None, 0))(WEIGHT, STATES)
    whole = score(WEIGHT, STATES)
    assert close(by_row.replace(loss=None), whole.replace(loss=None))
    assert by_row.loss.shape == (4,)
    assert close(jax.vmap(twice)(by_row), twice(by_row))


@machinery("map (vmap)")
def test_vmap_axes_are_said_by_field():
    given = Scored(loss=jnp.array(2.0), scores=jnp.arange(3.0), hidden_states=(None, jnp.arange(6.0).reshape(2, 3)))

    def mapped(axes: Any) -> Any:
        function = jax.vmap(lambda row: row.loss * (row.scores + row.hidden_states[1]), in_axes=(axes,))
        return function(given).tolist()

    rows = [[0.0, 6.0], [4.0, 10.0], [8.0, 14.0]]
    assert mapped(Scored(loss=None, scores=0, hidden_states=(None, 1))) == rows
    assert mapped(Scored(scores=0, hidden_states=1)) == rows
    # As in jax-ml/jax#26053: an axis for each field, then None for some.
    axes = jax.tree.map(lambda _: 0, given)
    axes.loss = None
    axes.hidden_states = (None, 1)
    assert mapped(axes) == rows
    axes.hidden_states = None
    axes.loss = None
    assert jax.vmap(lambda row: row.scores + row.hidden_states[1][0], in_axes=(axes,))(given).tolist() == [
        [0.0, 1.0, 2.0],
        [1.0, 2.0, 3.0],
        [2.0, 3.0, 4.0],
    ]
    with pytest.raises(ValueError, match="in_axes"):
        mapped({"scores": 0})


@machinery("map (vmap)")
def test_vmap_axes_of_what_is_returned_are_said_by_field():
    axes = Scored(loss=None, scores=1, hidden_states=(0, None, 1))
    function = jax.vmap(
        lambda row: Scored(loss=jnp.array(1.0), scores=row, hidden_states=(row, None, row)), out_axes=axes
    )
    output = function(STATES)
    assert output.loss == 1
    assert output.scores.tolist() == STATES.T.tolist()
    assert [state.tolist() for state in output.hidden_states if state is not None] == [
        STATES.tolist(),
        STATES.T.tolist(),
    ]


@machinery("map (vmap)")
def test_vmap_builds_placeholders_of_classes_that_validate():
    # As in jax-ml/jax#12319, where a constructor met `object()`.
    given = Strict(scores=STATES, mode=None)
    assert jax.vmap(lambda row: row.scores.sum(), in_axes=(Strict.unflatten(["scores"], [0]),))(given).shape == (4,)
    returned = jax.vmap(lambda row: Strict(scores=row, mode=None))(STATES)
    assert type(returned) is Strict
    assert returned == given


# -- gradients ------------------------------------------------------------------------------------------------------


@machinery("gradient")
def test_gradients_pass_through_a_function_that_returns_an_output():
    gradient = jax.grad(lambda weight: score(weight, STATES).loss)(WEIGHT)
    assert np.allclose(gradient, weight_gradient(), atol=1e-6)

    def loss(weight: Any) -> Any:
        output = score(weight, STATES)
        return output.loss, output

    (value, output), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(WEIGHT)
    assert close(output, score(WEIGHT, STATES))
    assert value == output.loss
    assert np.allclose(gradient, weight_gradient(), atol=1e-6)


@machinery("gradient")
def test_the_gradient_with_respect_to_an_output_is_an_output():
    given = Scored(scores=jnp.arange(3.0), hidden_states=(None, jnp.ones(2)))
    gradient = jax.grad(lambda output: (output.scores**2).sum() + output.hidden_states[1].sum() * 3)(given)
    assert gradient == Scored(scores=jnp.array([0.0, 2.0, 4.0]), hidden_states=(None, jnp.array([3.0, 3.0])))


@machinery("gradient")
def test_derivatives_forward_backward_and_written_by_hand_keep_the_class():
    output, tangent = jax.jvp(lambda weight: score(weight, STATES), (WEIGHT,), (jnp.zeros_like(WEIGHT),))
    assert close(output, score(WEIGHT, STATES))
    assert close(tangent, twice(jax.tree.map(jnp.zeros_like, output)))
    _, backward = jax.vjp(lambda weight: score(weight, STATES), WEIGHT)
    (gradient,) = backward(tangent.replace(loss=jnp.ones(())))
    assert np.allclose(gradient, weight_gradient(), atol=1e-6)

    @jax.custom_vjp
    def total(output: Any) -> Any:
        return output.scores.sum()

    total.defvjp(lambda output: (total(output), output), lambda output, over: (twice(output),))
    given = Scored(scores=jnp.arange(3.0), hidden_states=(None, jnp.ones(2)))
    assert jax.grad(total)(given) == twice(given)


@machinery("activation checkpointing")
def test_checkpointed_functions_take_and_return_outputs():
    def layer(weight: Any, output: Any) -> Any:
        return score(weight, output.hidden_states[0])

    def loss(layer: Any, weight: Any) -> Any:
        return layer(weight, Scored(hidden_states=(STATES, None))).loss

    gradient = jax.jit(jax.grad(lambda weight: loss(jax.checkpoint(layer), weight)))(WEIGHT)
    assert np.allclose(gradient, weight_gradient(), atol=1e-6)
    names = str(jax.make_jaxpr(jax.grad(lambda weight: loss(jax.checkpoint(layer), weight)))(WEIGHT))
    assert "checkpoint" in names or "remat" in names


# -- control flow ---------------------------------------------------------------------------------------------------


@machinery("control flow")
def test_scan_carries_and_stacks_outputs():
    def step(carried: Any, row: Any) -> Any:
        carried = carried.replace(scores=carried.scores + row, hidden_states=(None, row))
        return carried, Scored(scores=row * 2, hidden_states=(None, carried.scores))

    last, stacked = lax.scan(step, Scored(scores=jnp.zeros(WIDTH), hidden_states=(None, jnp.zeros(WIDTH))), STATES)
    assert close(last, Scored(scores=STATES.sum(0), hidden_states=(None, STATES[-1])))
    assert close(stacked, Scored(scores=STATES * 2, hidden_states=(None, STATES.cumsum(0))))
    outputs_again, _ = lax.scan(lambda sums, row: (sums + row.scores, None), jnp.zeros(WIDTH), stacked)
    assert np.allclose(outputs_again, STATES.sum(0) * 2, atol=1e-6)
    assert close(lax.map(twice, stacked), twice(stacked))


@machinery("control flow")
def test_branches_return_outputs():
    def choose(large: Any) -> Any:
        return lax.cond(large, twice, lambda output: output, Scored(scores=STATES))

    assert jax.jit(choose)(True) == twice(Scored(scores=STATES))
    assert jax.jit(choose)(False) == Scored(scores=STATES)
    switched = lax.switch(1, [lambda: Scored(scores=STATES), lambda: Scored(scores=STATES * 3)])
    assert switched == Scored(scores=STATES * 3)
    with pytest.raises(TypeError, match=r"loss"):  # a branch that returns more than the other is told which field
        lax.cond(True, lambda: Scored(scores=STATES), lambda: Scored(scores=STATES, loss=STATES))


@machinery("control flow")
def test_loops_carry_outputs():
    start = Scored(loss=jnp.zeros((), jnp.int32), scores=jnp.ones(2))
    ended = lax.while_loop(
        lambda output: output.loss < 3,
        lambda output: Scored(loss=output.loss + 1, scores=output.scores * 2),
        start,
    )
    assert ended == Scored(loss=jnp.array(3, jnp.int32), scores=jnp.array([8.0, 8.0]))
    assert lax.fori_loop(0, 3, lambda _, output: twice(output), Scored(scores=jnp.ones(2))).scores.tolist() == [8, 8]


# -- devices --------------------------------------------------------------------------------------------------------


@machinery("devices")
def test_outputs_move_between_devices_and_host():
    output = score(WEIGHT, STATES)
    put = jax.device_put(output, jax.devices()[0])
    assert put == output
    assert jax.block_until_ready(put) is put
    fetched = jax.device_get(output)
    assert {type(leaf) for leaf in jax.tree.leaves(fetched)} == {np.ndarray}
    assert fetched.scores.tolist() == output.scores.tolist()
    assert type(fetched) is Scored


@pytest.fixture(scope="module")
def on_two_devices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `jax_devices` returned, by function, and what `score` returns on one device."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"

    def write(folder: Path) -> None:
        (folder / "printed.json").write_text(python("-m", f"{__package__}.jax_devices", XLA_FLAGS=flags))

    return json.loads((made_once(tmp_path_factory, "two devices", write) / "printed.json").read_text())


def held_on_two_devices(printed: dict[str, Any], function: str, **more: Any) -> None:
    class_name, values = printed[function]
    assert class_name == "Scored"
    expected = score(WEIGHT, STATES).replace(**more)
    assert list(values) == list(expected)
    found = Scored(values | {"hidden_states": tuple(values["hidden_states"])})
    arrays = jax.tree.map(jnp.asarray, found, is_leaf=lambda value: isinstance(value, list))
    assert close(arrays, expected)


@machinery("data parallel")
@pytest.mark.parametrize("function", ["pmap", "pmap_of_an_output"])
def test_pmap_gives_what_one_device_gives(on_two_devices: dict[str, Any], function: str):
    held_on_two_devices(on_two_devices, function)


@machinery("data parallel")
@pytest.mark.parametrize("function", ["shard_map", "shard_map_of_an_output"])
def test_shard_map_gives_what_one_device_gives(on_two_devices: dict[str, Any], function: str):
    held_on_two_devices(on_two_devices, function)


@machinery("data parallel")
@pytest.mark.parametrize("function", ["shardings_of_jit", "device_put"])
def test_shardings_are_said_by_field(on_two_devices: dict[str, Any], function: str):
    held_on_two_devices(on_two_devices, function)


@machinery("data parallel")
def test_two_devices_give_the_gradient_of_one(on_two_devices: dict[str, Any]):
    held_on_two_devices(on_two_devices, "gradient", cache={"weight": weight_gradient()})


# -- export ---------------------------------------------------------------------------------------------------------

EXPORTED = ("FlaxBaseModelOutputWithPast", "FlaxCausalLMOutputWithCrossAttentions", "FlaxSeq2SeqModelOutput")


def exported(given: Any) -> bytes:
    return bytes(export.export(jax.jit(twice))(given).serialize())


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Per class, whether a function of outputs of it returned the right one in a fresh process."""
    folder = tmp_path_factory.mktemp("exported")
    for name in EXPORTED:
        (folder / name).write_bytes(exported(full(class_named(name))))
    (folder / "Scored").write_bytes(exported(score(WEIGHT, normal(5, WIDTH, seed=1))))
    return dict(line.split() for line in python("-m", f"{__package__}.jax_reload", folder).splitlines())


@machinery("export and reload")
@pytest.mark.parametrize("class_name", [*EXPORTED, "Scored"])
def test_exported_functions_return_outputs_in_a_fresh_process(reloaded: dict[str, str], class_name: str):
    assert reloaded[class_name] == "True"


@machinery("export and reload")
@every_class
def test_functions_of_every_class_are_exported_and_read_back(class_name: str):
    given = partly(class_name)
    back = export.deserialize(bytearray(exported(given)))
    assert back.out_tree == jax.tree.structure(given)
    assert back.in_tree == jax.tree.structure(((given,), {}))


@machinery("export and reload")
def test_functions_of_outputs_are_exported_for_any_batch():
    rows = export.symbolic_shape("batch, 4")
    shapes = Scored(scores=jax.ShapeDtypeStruct(rows, jnp.float32), hidden_states=(None, STATES))
    function = export.deserialize(export.export(jax.jit(twice))(shapes).serialize()).call
    for size in (1, 3):
        given = Scored(scores=normal(size, 4), hidden_states=(None, STATES))
        assert function(given) == twice(given)


@machinery("export and reload")
def test_a_class_that_is_defined_again_is_exported_too():
    definitions = [type("Again", (ModelOutput,), {"__annotations__": {"scores": Any}}) for _ in range(3)]
    files = [exported(cls(scores=STATES)) for cls in definitions]
    for file in files:  # what was exported with an earlier definition is an output of the latest
        back = export.deserialize(bytearray(file))
        assert back.out_tree == jax.tree.structure(definitions[-1](scores=0))
        assert back.call(definitions[-1](scores=STATES)) == definitions[-1](scores=STATES * 2)


@machinery("export and reload")
def test_a_field_that_a_class_has_gained_is_absent_from_what_was_exported_before():
    file = exported(type("Growing", (ModelOutput,), {"__annotations__": {"scores": Any}})(scores=STATES))
    grown = type("Growing", (ModelOutput,), {"__annotations__": {"loss": Any, "scores": Any}})
    returned = export.deserialize(bytearray(file)).call(grown(scores=STATES))
    assert returned == grown(scores=STATES * 2)


# -- a user's own class ---------------------------------------------------------------------------------------------

CLASS = """
import modeloutputs
class Mine(modeloutputs.ModelOutput):
    loss: object = None
    scores: object = None
"""
EXPORT = """
import pathlib, sys
file = pathlib.Path(sys.argv[1])
if not file.exists():
    file.write_bytes(export.export(jax.jit(lambda output: output))(Mine(scores=1.0)).serialize())
returned = export.deserialize(bytearray(file.read_bytes())).call(Mine(scores=2.0))
mapped = jax.vmap(lambda output: output.replace(loss=output.scores))(Mine(scores=jax.numpy.arange(2)))
print(type(returned).__name__, returned.to_dict(), mapped.loss, *jax.tree_util.tree_leaves_with_path(Mine(loss=1)))
"""
ORDERS = {
    "class first": f"{CLASS}import jax\nfrom jax import export\n",
    "JAX first": f"import jax\n{CLASS}from jax import export\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orders")


@machinery("user's own class")
@pytest.mark.parametrize("order", ORDERS)
def test_a_users_class_needs_no_registration_whatever_is_imported_first(order: str, folder: Path):
    printed = python("-c", ORDERS[order] + EXPORT, folder / "exported")  # the first writes, the others read it
    assert printed == "Mine {'scores': Array(2., dtype=float32)} [0 1] ((GetAttrKey(name='loss'),), 1)"


@machinery("user's own class")
def test_subclasses_and_defaults_of_a_users_class():
    class Wider(Strict):
        notes: Any = None

    given = Wider(scores=STATES, mode=None, notes={"row": jnp.ones(4)})
    returned = jax.jit(twice)(given)
    assert type(returned) is Wider
    assert returned.to_dict().keys() == {"scores", "notes"}
    assert returned.mode is None  # and not the default
    assert returned == twice(given)
    pair = jax.vmap(lambda output: (output, Scored(cache={"inner": output})))(given)
    assert type(pair[1].cache["inner"]) is Wider


@machinery("user's own class")
def test_a_class_of_one_field_and_a_class_of_none():
    class One(ModelOutput):
        scores: Any = None

    class Empty(ModelOutput):
        pass

    assert jax.jit(twice)(One(scores=STATES)) == One(scores=STATES * 2)
    assert jax.jit(twice)(One()) == One()
    assert type(jax.jit(lambda: Empty())()) is Empty
