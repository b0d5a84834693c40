"""Outputs in the machinery of PyTorch, one process at a time; `test_torch_distributed.py` has that of several."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, func, nn
from torch._dynamo.testing import CompileCounter
from torch.utils import _pytree
from torch.utils.checkpoint import checkpoint

from modeloutputs import ModelOutput
from modeloutputs.torch import outputs
from modeloutputs.torch.cache import Cache
from modeloutputs.torch.outputs import BaseModelOutput, CausalLMOutputWithPast, MaskedLMOutput

from ..support.compare import assert_same
from ..support.processes import run_code
from .marks import machinery
from .torch_models import WIDTH, Layer, Recorded, filled, finish, normal, scorer, start, tokens, with_plain_cache
from .torch_users import Scored

CLASSES = [getattr(outputs, name) for name in outputs.__all__]
every_class = pytest.mark.parametrize("cls", CLASSES, ids=outputs.__all__)


# -- trees ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["_pytree", "_cxx_pytree"])
def pytree(request: pytest.FixtureRequest) -> ModuleType:
    """PyTorch's trees: those written in Python, and those in C++, which need another library."""
    if request.param == "_cxx_pytree":
        pytest.importorskip("optree", reason="optree is not installed")
    return pytest.importorskip(f"torch.utils.{request.param}", reason="optree is too old")


@machinery("tree")
@every_class
def test_trees_take_apart_and_rebuild(pytree: ModuleType, cls: type[ModelOutput]):
    output = filled(cls)
    leaves, spec = pytree.tree_flatten(output)
    assert [id(leaf) for leaf in leaves] == [id(leaf) for leaf in output.to_flat_dict().values()]
    rebuilt = pytree.tree_unflatten(leaves, spec)
    assert type(rebuilt) is cls
    assert rebuilt == output
    assert [type(value) for value in rebuilt.values()] == [type(value) for value in output.values()]


@machinery("tree")
def test_trees_map_over_tensors_alone(pytree: ModuleType):
    output = filled(CausalLMOutputWithPast)
    doubled = pytree.tree_map(lambda leaf: leaf * 2, output)
    assert doubled.hidden_states[0] is None
    assert type(doubled.past_key_values) is Cache
    assert doubled.to_flat_dict().keys() == output.to_flat_dict().keys()
    for name, leaf in output.to_flat_dict().items():
        assert torch.equal(doubled.to_flat_dict()[name], leaf * 2)


@machinery("tree")
def test_trees_are_written_down_and_read_back(pytree: ModuleType):
    output = filled(CausalLMOutputWithPast)
    spec = pytree.tree_structure(output)
    assert pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec
    assert spec != pytree.tree_structure(output.replace(hidden_states=None))


@machinery("tree")
def test_places_in_trees_are_those_in_the_output():
    named, _ = _pytree.tree_flatten_with_path(Scored(scores=1, past_key_values=((2, 3),), hidden_states=(None, 4)))
    expected = {
        "['scores']": 1,
        "['past_key_values'][0][0]": 2,
        "['past_key_values'][0][1]": 3,
        "['hidden_states'][1]": 4,
    }
    assert {_pytree.keystr(path): leaf for path, leaf in named} == expected


# -- a user's own class -----------------------------------------------------------------------------------------------

CLASS_FIRST = """
from modeloutputs import ModelOutput
class Mine(ModelOutput):
    loss: object = None
    states: object = None
import torch
import torch.utils._cxx_pytree as cxx
from torch.utils import _pytree
def build(x):
    return Mine(states=(x, None, x + 1))
x = torch.arange(3.0)
made = {
    "tree": _pytree.tree_map(torch.clone, build(x)),
    "C++ tree": cxx.tree_map(torch.clone, build(x)),
    "compile": torch.compile(build, fullgraph=True, backend="eager")(x),
    "vmap": torch.func.vmap(build)(x),
}
print([name for name, output in made.items() if type(output) is Mine and output == build(x)])
"""


@machinery("user's own class")
def test_a_users_class_works_if_it_is_defined_before_pytorch_is_imported():
    pytest.importorskip("optree", reason="optree is not installed")
    assert run_code(CLASS_FIRST) == "['tree', 'C++ tree', 'compile', 'vmap']"


@machinery("user's own class")
def test_a_users_class_works_if_it_is_defined_last(pytree: ModuleType):
    class Mine(ModelOutput):
        loss: Any = None
        states: Any = None

    def build(x: Tensor) -> Mine:
        return Mine(states=(x, None, x + 1))

    x = torch.arange(3.0)
    torch.compiler.reset()
    for output in (
        pytree.tree_map(torch.clone, build(x)),
        torch.compile(build, fullgraph=True, backend="eager")(x),
        func.vmap(build)(x),
    ):
        assert type(output) is Mine
        assert output == build(x)


# -- compilers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def counter() -> Iterable[CompileCounter]:
    """A compiler that runs what it is given as it is, and counts the graphs."""
    torch.compiler.reset()
    yield CompileCounter()
    torch.compiler.reset()


def rework(given: BaseModelOutput) -> list[Any]:
    """Take, build, index, change and return outputs in every way there is."""
    states = given.last_hidden_state
    output = BaseModelOutput(states * 2, hidden_states=(given.hidden_states[0], None, states + 1))
    output.attentions = (output[0].softmax(-1),)
    output["last_hidden_state"] = output[0] + output["hidden_states"][-1] + output.attentions[0] + output[1][0]
    mapped = _pytree.tree_map(lambda leaf: leaf + 1, output)
    shorter = output.replace(attentions=None)
    shorter.update(last_hidden_state=mapped[:1][0])
    del shorter["hidden_states"]
    flat = {name: leaf * len(output) for name, leaf in output.to_flat_dict().items()}
    return [given, output, mapped, shorter, output.copy(), output.to_tuple(), output.to_dict(), flat]


def example(rows: int) -> BaseModelOutput:
    return BaseModelOutput(normal(rows, 3), (normal(rows, 3, seed=1), None))


@machinery("compile")
def test_compiled_functions_take_build_index_change_and_return_outputs(counter: CompileCounter):
    compiled = torch.compile(rework, fullgraph=True, backend=counter)
    assert_same(compiled(example(2)), rework(example(2)))
    assert counter.frame_count == 1


@machinery("compile, dynamic shapes")
def test_a_marked_axis_compiles_once_for_every_size(counter: CompileCounter):
    compiled = torch.compile(rework, fullgraph=True, backend=counter)
    for rows in (4, 9, 2):
        given = example(rows)
        for leaf in _pytree.tree_leaves(given):
            torch._dynamo.mark_dynamic(leaf, 0)  # an error if the size were made a constant
        assert_same(compiled(given), rework(example(rows)))
    assert counter.frame_count == 1


@machinery("compile, dynamic shapes")
def test_a_model_compiles_once_for_every_size(counter: CompileCounter):
    model = Recorded().eval()
    compiled = torch.compile(model, fullgraph=True, backend=counter, dynamic=True)
    for rows, length in ((2, 7), (3, 9), (4, 5)):
        ids = tokens(rows, length)
        assert_same(compiled(ids), with_plain_cache(model(ids)))
    assert counter.frame_count == 1


@machinery("compile, gradient")
def test_compiled_training_gives_the_same_gradients(counter: CompileCounter):
    gradients = []
    for compiler in (lambda call: call, lambda call: torch.compile(call, fullgraph=True, backend="aot_eager")):
        model = scorer()
        output = compiler(model)(normal(2, 5, WIDTH))
        assert type(output) is Scored
        (output.loss + output.hidden_states[2].square().sum()).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=0)
    assert gradients[0]["query.weight"].abs().max() > 1e-3


# -- export -----------------------------------------------------------------------------------------------------------

BATCH, SEQ, PAST = torch.export.Dim("batch", max=64), torch.export.Dim("seq", max=32), torch.export.Dim("past", max=32)


def past(rows: int, length: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return a cache that a `Scorer` takes."""
    return ((normal(rows, 2, length, WIDTH // 2, seed=5), normal(rows, 2, length, WIDTH // 2, seed=6)),)


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What programs return that were exported here, then loaded and run on another size in a fresh process."""
    folder: Path = tmp_path_factory.mktemp("programs")
    keys = {0: BATCH, 2: PAST}
    cases = {
        "ours": (Recorded([0, -1]), (tokens(2, 5),), (tokens(3, 9),), ({0: BATCH, 1: SEQ},)),
        "user's": (
            scorer(),
            (normal(2, 4, WIDTH), past(2, 3)),
            (normal(5, 3, WIDTH, seed=1), past(5, 6)),
            ({0: BATCH, 1: SEQ}, ((keys, keys),)),
        ),
    }
    for name, (module, inputs, other_inputs, dynamic_shapes) in cases.items():
        program = torch.export.export(module.eval(), inputs, dynamic_shapes=dynamic_shapes)
        torch.export.save(program, folder / f"{name}.pt2")
        torch.save(other_inputs, folder / f"{name}.inputs")
    finish(start("torch_reload", folder))
    return {name: torch.load(folder / f"{name}.output", weights_only=False) for name in cases}


@machinery("export and reload")
def test_exported_programs_return_our_class_in_a_fresh_process(reloaded: dict[str, Any]):
    assert type(reloaded["ours"].check()) is CausalLMOutputWithPast
    assert reloaded["ours"].hidden_states[1] is None
    assert_same(reloaded["ours"], with_plain_cache(Recorded([0, -1]).eval()(tokens(3, 9))), tolerance=1e-5)


@machinery("export and reload")
def test_exported_programs_return_a_users_class_in_a_fresh_process(reloaded: dict[str, Any]):
    assert type(reloaded["user's"]) is Scored
    assert_same(reloaded["user's"], scorer()(normal(5, 3, WIDTH, seed=1), past(5, 6)), tolerance=1e-6)


@machinery("export and reload")
def test_exported_programs_take_outputs(tmp_path: Path):
    class Head(nn.Module):
        def forward(self, states: BaseModelOutput) -> MaskedLMOutput:
            return MaskedLMOutput(logits=states.last_hidden_state + states.hidden_states[0])

    program = torch.export.export(Head(), (example(2),))
    torch.export.save(program, tmp_path / "head.pt2")
    output = torch.export.load(tmp_path / "head.pt2").module()(example(2))
    assert_same(output, Head()(example(2)))


@pytest.fixture
def onnx_session(tmp_path: Path) -> Callable[..., tuple[list[str], Any]]:
    """Exports a module that takes these inputs, its outputs named by their places, for ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")

    def export(module: nn.Module, inputs: dict[str, Any], dynamic_shapes: Any) -> tuple[list[str], Any]:
        names = list(module(*inputs.values()).to_flat_dict())
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(places(inputs)),
            output_names=names,
            dynamic_shapes=dynamic_shapes,
            verbose=False,
        )
        program.save(tmp_path / "model.onnx")
        return names, runtime.InferenceSession(tmp_path / "model.onnx")

    return export


def places(inputs: dict[str, Any]) -> dict[str, Tensor]:
    """Return one level of tensors by their place, as `to_flat_dict` does for outputs."""
    leaves, _ = _pytree.tree_flatten_with_path(inputs)
    return {
        ".".join(str(getattr(key, "key", getattr(key, "idx", None))) for key in path): leaf for path, leaf in leaves
    }


def assert_computes(session: Any, names: list[str], inputs: dict[str, Any], expected: ModelOutput) -> None:
    assert [output.name for output in session.get_outputs()] == names
    computed = session.run(None, {name: tensor.numpy() for name, tensor in places(inputs).items()})
    flat = {name: torch.from_numpy(array) for name, array in zip(names, computed, strict=True)}
    values = {name: leaf.detach() for name, leaf in expected.to_flat_dict().items()}
    torch.testing.assert_close(flat, values, atol=2e-5, rtol=1e-5)


@machinery("ONNX")
def test_onnx_outputs_are_named_by_their_places(onnx_session: Any):
    module = Recorded().eval()
    names, session = onnx_session(module, {"input_ids": tokens(2, 5)}, ({0: BATCH, 1: SEQ},))
    assert names == [
        *("logits", "past_key_values.0.0", "past_key_values.0.1", "past_key_values.1.0", "past_key_values.1.1"),
        *("hidden_states.0", "hidden_states.1", "hidden_states.2", "attentions.0", "attentions.1"),
    ]
    assert_computes(session, names, {"input_ids": tokens(3, 9)}, module(tokens(3, 9)))


@machinery("ONNX")
def test_onnx_names_do_not_depend_on_the_cache_being_an_input(onnx_session: Any):
    # Inputs and outputs share one space of names: the cache that goes in cannot be called like the one that comes out.
    inputs, others = ({"states": normal(n, n + 2, WIDTH), "past": past(n, 3 * n)} for n in (2, 3))
    keys = {0: BATCH, 2: PAST}
    names, session = onnx_session(scorer(), inputs, ({0: BATCH, 1: SEQ}, ((keys, keys),)))
    # The middle state is a placeholder: it has no name, and the others keep theirs.
    assert names == list(scorer()(normal(2, 4, WIDTH)).to_flat_dict())
    assert names[-2:] == ["hidden_states.0", "hidden_states.2"]
    assert_computes(session, names, others, scorer()(*others.values()))


# -- tracing ----------------------------------------------------------------------------------------------------------


class Adapted(nn.Module):
    """A model behind an adapter of its output, for a tracer that knows neither classes nor None."""

    def __init__(self, adapt: Callable[[Any], Any]) -> None:
        super().__init__()
        self.model, self.adapt = Recorded(), adapt

    def forward(self, input_ids: Tensor) -> Any:
        return self.adapt(self.model(input_ids))


def traced(module: nn.Module) -> Any:
    """Trace a module at one size."""
    with warnings.catch_warnings():
        # What the model reads of its inputs, to check and to choose kernels, is traced as constants.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        # The tracer's own check compares names of values too, which differ from trace to trace; values are held below.
        return torch.jit.trace(module.eval(), (tokens(2, 5),), strict=False, check_trace=False)


OTHER_TOKENS = (tokens(4, 5)[2:],)


@machinery("trace")
def test_traced_modules_return_tuples_of_an_output():
    returned = traced(Adapted(lambda output: with_plain_cache(output).to_tuple()))(*OTHER_TOKENS)
    assert_same(returned, with_plain_cache(Recorded().eval()(*OTHER_TOKENS)).to_tuple(), tolerance=1e-5)


@machinery("trace")
def test_traced_modules_return_flat_dicts_of_an_output():
    returned = traced(Adapted(ModelOutput.to_flat_dict))(*OTHER_TOKENS)
    expected = Recorded().eval()(*OTHER_TOKENS).to_flat_dict()
    # A traced dict comes back ordered by name.
    assert returned.keys() == expected.keys()
    torch.testing.assert_close(returned, expected, atol=1e-5, rtol=0)


@machinery("trace")
def test_traced_modules_return_outputs_of_tensors_alone_as_dicts():
    returned = traced(Adapted(lambda output: MaskedLMOutput(output.logits.mean(), output.logits)))(*OTHER_TOKENS)
    logits = Recorded().eval()(*OTHER_TOKENS).logits
    assert type(returned) is dict
    torch.testing.assert_close(returned, {"loss": logits.mean(), "logits": logits}, atol=1e-5, rtol=0)
    # What the tracer makes a dictionary of has values of one type.
    with pytest.raises(RuntimeError, match="must have consistent type"):
        traced(Adapted(lambda output: output))


# -- transforms of functions ------------------------------------------------------------------------------------------


def call(module: nn.Module, parameters: dict[str, Tensor], states: Tensor) -> Scored:
    return func.functional_call(module, parameters, (states,))


@machinery("functional call")
def test_functional_calls_return_outputs():
    module, other = scorer(), scorer(seed=1)
    output = call(module, dict(other.named_parameters()), normal(2, 5, WIDTH))
    assert_same(output, other(normal(2, 5, WIDTH)))
    assert not torch.equal(output.scores, module(normal(2, 5, WIDTH)).scores)


@machinery("map (vmap)")
def test_vmap_over_an_ensemble_stacks_outputs():
    ensemble, states = [scorer(seed) for seed in range(3)], normal(2, 5, WIDTH)
    parameters, _ = func.stack_module_state(ensemble)
    stacked = func.vmap(lambda p: call(ensemble[0], p, states))(parameters)
    expected = [module(states) for module in ensemble]
    assert_same(stacked, _pytree.tree_map(lambda *leaves: torch.stack(leaves), *expected), tolerance=1e-6)
    assert stacked.hidden_states[1] is None


@machinery("map (vmap)")
def test_vmap_maps_over_outputs():
    output = filled(CausalLMOutputWithPast).replace(loss=None)

    def shifted(row: CausalLMOutputWithPast) -> CausalLMOutputWithPast:
        assert row.logits.shape == output.logits.shape[1:]
        return row.replace(logits=row.logits + row.hidden_states[1].sum(), loss=row.logits.sum())

    mapped = func.vmap(shifted)(output)
    sums = output.hidden_states[1].sum((1, 2))[:, None, None]
    assert_same(mapped, output.replace(logits=output.logits + sums, loss=output.logits.sum((1, 2))), tolerance=1e-5)


@machinery("gradient")
def test_gradients_come_with_the_output():
    module, states = scorer(), normal(2, 5, WIDTH)

    def loss(parameters: dict[str, Tensor]) -> tuple[Tensor, Scored]:
        output = call(module, parameters, states)
        return output.loss, output

    gradients, output = func.grad(loss, has_aux=True)(dict(module.named_parameters()))
    assert_same(output, module(states), tolerance=1e-6)
    expected = torch.autograd.grad(module(states).loss, list(module.parameters()))
    torch.testing.assert_close(tuple(gradients.values()), expected, atol=1e-6, rtol=0)


@machinery("gradient")
def test_gradients_by_an_output_are_an_output():
    output = filled(BaseModelOutput)
    gradient = func.grad(lambda o: (o.last_hidden_state**3).sum() + 2 * o.hidden_states[1].sum())(output)
    expected = BaseModelOutput(
        3 * output.last_hidden_state**2,
        (None, torch.full_like(output.hidden_states[1], 2)),
        (None, torch.zeros_like(output.attentions[1])),
    )
    assert_same(gradient, expected, tolerance=1e-5)


@machinery("gradient")
def test_gradients_of_each_row():
    module, states = scorer(), normal(3, 5, WIDTH)
    parameters = dict(module.named_parameters())
    by_row = func.vmap(func.grad(lambda p, row: call(module, p, row[None]).loss), (None, 0))(parameters, states)
    for row in range(3):
        expected = torch.autograd.grad(module(states[row : row + 1]).loss, list(module.parameters()))
        torch.testing.assert_close(tuple(g[row] for g in by_row.values()), expected, atol=1e-6, rtol=0)


@machinery("gradient")
def test_jacobians_and_tangents_of_outputs_are_outputs():
    x = normal(3)

    def squares(x: Tensor) -> BaseModelOutput:
        return BaseModelOutput(x**2, (None, x.sum()[None]))

    assert_same(func.jacrev(squares)(x), BaseModelOutput(torch.diag(2 * x), (None, torch.ones(1, 3))))
    value, tangent = func.jvp(squares, (x,), (torch.ones(3),))
    assert_same(value, squares(x))
    assert_same(tangent, BaseModelOutput(2 * x, (None, torch.full((1,), 3.0))))


# -- activation checkpointing -----------------------------------------------------------------------------------------


def layers_trained(how: Callable[..., Any]) -> tuple[BaseModelOutput, list[Tensor], int]:
    """Call two layers in a way; return the output, the gradients by a loss of all states, and the number of calls."""
    torch.manual_seed(0)
    first, second = Layer(), Layer()
    below = how(first, normal(2, 3, WIDTH).requires_grad_())
    output = how(second, below.last_hidden_state + below.hidden_states[2])
    loss = output.last_hidden_state.square().sum() + output.hidden_states[2].sum() + below.hidden_states[2].sum()
    gradients = torch.autograd.grad(loss, [*first.parameters(), *second.parameters()])
    return output, list(gradients), first.calls + second.calls


@machinery("activation checkpointing")
def test_checkpointed_layers_return_outputs_and_the_same_gradients():
    output, gradients, calls = layers_trained(lambda layer, states: checkpoint(layer, states, use_reentrant=False))
    plain, expected, plain_calls = layers_trained(lambda layer, states: layer(states))
    assert_same(output, plain)
    torch.testing.assert_close(gradients, expected, atol=0, rtol=0)
    assert (calls, plain_calls) == (4, 2)


@machinery("activation checkpointing")
def test_checkpointed_functions_take_outputs():
    torch.manual_seed(0)
    layer, states = Layer(), normal(2, 3, WIDTH)

    def head(below: BaseModelOutput) -> MaskedLMOutput:
        return MaskedLMOutput(logits=below.last_hidden_state * below.hidden_states[2])

    expected = torch.autograd.grad(head(layer(states)).logits.sum(), list(layer.parameters()))
    output = checkpoint(head, layer(states), use_reentrant=False)
    assert_same(output, head(layer(states)))
    assert torch.equal(torch.autograd.grad(output.logits.sum(), list(layer.parameters()))[0], expected[0])


@machinery("activation checkpointing")
def test_reentrant_checkpoints_need_a_flat_tuple():
    # PyTorch's older way sees tensors only where they stand alone or in a tuple: through any dictionary, ours or not,
    # values come but gradients do not. Flat, and put together outside, they come too.
    layer, states = Layer(), normal(2, 3, WIDTH).requires_grad_()
    for function in (layer, lambda states: dict(layer(states))):
        returned = checkpoint(function, states, use_reentrant=True)
        assert torch.equal(returned["last_hidden_state"], layer(states).last_hidden_state)
        assert not returned["last_hidden_state"].requires_grad
    leaves = checkpoint(lambda states: tuple(_pytree.tree_leaves(layer(states))), states, use_reentrant=True)
    output = _pytree.tree_unflatten(leaves, _pytree.tree_structure(layer(states)))
    assert_same(output, layer(states))
    output.last_hidden_state.sum().backward()
    assert torch.equal(states.grad, torch.autograd.grad(layer(states).last_hidden_state.sum(), states)[0])
