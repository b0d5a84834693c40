"""Output classes as tree nodes of PyTorch, JAX and TensorFlow, whichever is imported first."""

from pathlib import Path
from typing import Any

import pytest

from modeloutputs import ModelOutput

from ..support.needs import is_installed, needs, needs_jax, needs_torch
from ..support.processes import run_code


class Masked(ModelOutput):
    loss: Any = None
    logits: Any = None
    hidden_states: Any = None


needs_any = pytest.mark.skipif(not (is_installed("torch") or is_installed("jax")), reason="neither is installed")


# -- imports --------------------------------------------------------------------------------------------------------

REPORT = """
import sys
print(sorted({"torch", "jax", "tensorflow", "numpy", "jaxtyping"} & sys.modules.keys()))
"""


def test_the_core_imports_no_framework():
    assert run_code("import modeloutputs" + REPORT) == "[]"


def test_the_test_above_can_fail():
    assert "numpy" in run_code("import modeloutputs, numpy" + REPORT)


CLASS_ = """
import modeloutputs
class Mine(modeloutputs.ModelOutput):
    a: int | None = None
    b: int | None = None
"""
TREES = {
    "torch": """
from torch.utils import _pytree
leaves, spec = _pytree.tree_flatten([Mine(b=2, a=1), Mine(b=3)])
print(leaves, [type(out).__name__ for out in _pytree.tree_unflatten(leaves, spec)])
""",
    "jax": """
leaves, spec = jax.tree.flatten([Mine(b=2, a=1), Mine(b=3)])
print(leaves, [type(out).__name__ for out in jax.tree.unflatten(spec, leaves)])
""",
}
ORDERS = {
    "class first": "{cls}import {framework}\n",
    "framework first": "import {framework}\n{cls}",
    "library, framework, class": "import modeloutputs\nimport {framework}\n{cls}",
    "submodule of the framework": "{cls}import {framework}.nn\nimport {framework}\n",
}


@pytest.mark.parametrize("framework", ["torch", "jax", "tensorflow"])
def test_a_users_class_is_registered_whatever_is_imported_first(framework: str, tmp_path: Path):
    """One process runs all orders: of a framework that is a stand-in, which can be imported again."""
    (tmp_path / framework).mkdir()
    (tmp_path / framework / "__init__.py").touch()
    (tmp_path / framework / "nn.py").touch()
    orders = [order.format(cls=CLASS_, framework=framework) for order in ORDERS.values()]
    code = f"""
import sys
for order in {orders!r}:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("modeloutputs", {framework!r})]:
        del sys.modules[name]
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "_ImportWatcher"]
    from modeloutputs import pytrees
    registered = []
    pytrees._registrar = lambda framework: lambda cls: registered.append((framework, cls.__name__))
    exec(order)
    print(registered.count(({framework!r}, "Mine")))
"""
    assert run_code(code, cwd=tmp_path).split() == ["1"] * len(orders)


@needs_any
def test_every_framework_knows_a_class_defined_before_its_import():
    names = [name for name in TREES if is_installed(name)]
    printed = run_code("".join([CLASS_, *(f"import {name}\n" for name in names), *(TREES[name] for name in names)]))
    assert printed.split("\n") == ["[1, 2, 3] ['Mine', 'Mine']"] * len(names)


def test_the_watcher_puts_the_loader_back(tmp_path: Path):
    (tmp_path / "torch.py").write_text("seen = __loader__, __spec__.loader")
    code = (
        "from modeloutputs import pytrees as trees\n"
        "trees._registrar = lambda framework: lambda cls: None\n"
        "import torch\n"
        "loaders = {type(loader).__name__ for loader in (torch.__loader__, torch.__spec__.loader, *torch.seen)}\n"
        "print(loaders)"
    )
    assert run_code(code, cwd=tmp_path) == "{'SourceFileLoader'}"


def test_a_framework_whose_import_fails_fails_as_it_would_without_us(tmp_path: Path):
    (tmp_path / "torch.py").write_text("raise ImportError('broken build')")
    code = (
        "import sys, modeloutputs\n"
        "try:\n    import torch\nexcept ImportError as error:\n    print(error, 'torch' in sys.modules)"
    )
    assert run_code(code, cwd=tmp_path) == "broken build False"


def test_a_framework_that_is_not_installed_is_not_found():
    code = (
        "import sys, modeloutputs\n"
        "sys.path[:] = [path for path in sys.path if 'site-packages' not in path]\n"
        "import importlib.util; print(importlib.util.find_spec('jax'))"
    )
    assert run_code(code) == "None"


@needs_torch
def test_looking_for_a_framework_does_not_import_it():
    code = (
        "import sys, modeloutputs, importlib.util as util; print(util.find_spec('torch').name, 'torch' in sys.modules)"
    )
    assert run_code(code) == "torch False"


# -- PyTorch --------------------------------------------------------------------------------------------------------


@needs_torch
def test_pytorch_maps_over_the_present_fields_and_keeps_the_class():
    from torch.utils import _pytree

    mapped = _pytree.tree_map(lambda leaf: leaf * 10, Masked(hidden_states=(2, 3), loss=1))
    assert type(mapped) is Masked
    assert list(mapped.items()) == [("loss", 10), ("hidden_states", (20, 30))]
    assert mapped.logits is None


@needs_torch
def test_pytorch_unflattens_whatever_it_is_given():
    from torch.utils import _pytree

    _, spec = _pytree.tree_flatten(Masked(loss=1, logits=2))
    placeholder = object()
    assert _pytree.tree_unflatten([placeholder, None], spec)["loss"] is placeholder
    assert list(_pytree.tree_unflatten([placeholder, None], spec).items()) == [("loss", placeholder), ("logits", None)]


@needs_torch
def test_pytorch_names_leaves_by_field():
    from torch.utils import _pytree

    leaves, _ = _pytree.tree_flatten_with_path(Masked(logits=1, hidden_states=(2,)))
    assert [_pytree.keystr(path) for path, _ in leaves] == ["['logits']", "['hidden_states'][0]"]


@needs_torch
def test_pytorch_specs_are_equal_where_the_same_fields_are_present():
    from torch.utils import _pytree

    assert _pytree.tree_structure(Masked(loss=1)) == _pytree.tree_structure(Masked(loss=2))
    assert _pytree.tree_structure(Masked(loss=1)) != _pytree.tree_structure(Masked(logits=1))


@needs_torch
def test_pytorch_specs_survive_being_written_down():
    from torch.utils import _pytree

    spec = _pytree.tree_structure(Masked(loss=1, hidden_states=(2, 3)))
    assert _pytree.treespec_loads(_pytree.treespec_dumps(spec)) == spec


@needs_torch
def test_a_class_may_be_defined_again():
    from torch.utils import _pytree

    for _ in range(2):
        again = type("Again", (ModelOutput,), {"__annotations__": {"loss": int}})
        assert type(_pytree.tree_map(str, again(loss=1))) is again


def compiled(function: Any) -> Any:
    import torch

    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend="eager")


def build(x: Any) -> Any:
    return Masked(logits=x + 1, hidden_states=(x, x * 2))


def build_every_way(x: Any) -> Any:
    return Masked(x, x + 1), Masked({"loss": x}), Masked([("logits", x)]), Masked((k, x) for k in ("loss", "logits"))


def index(x: Any) -> Any:
    output = build(x)
    same = output[0] + output["logits"] + output.logits
    return same, output[-1][1], output[:1], output.to_tuple(), output.get("loss")


def mutate(x: Any) -> Any:
    output = build(x)
    output.loss = x.sum()
    output["logits"] = output["logits"] * 2
    output.hidden_states = None
    output.update(hidden_states=(x,))
    del output["loss"]
    return output


def iterate(x: Any) -> Any:
    output = build(x)
    names = [name for name in output] + [name for name, _ in output.items()]  # noqa: C416
    return names, sum(value for value in output.values() if not isinstance(value, tuple)), "loss" in output, len(output)


def rebuild(x: Any) -> Any:
    output = build(x)
    return type(output)((name, value) for name, value in output.items()), output.replace(loss=x), output.copy()


@needs_torch
@pytest.mark.parametrize("function", [build, build_every_way, index, mutate, iterate, rebuild])
def test_pytorch_compiles_in_one_graph(function: Any):
    import torch

    x = torch.arange(3.0)
    assert repr(compiled(function)(x)) == repr(function(x))
    assert Masked(logits=compiled(function)(x)) == Masked(logits=function(x))


@needs_torch
def test_pytorch_compiles_defaults_and_post_init():
    import dataclasses

    import torch

    class Rich(ModelOutput):
        mode: str = "mean"
        notes: list[str] = dataclasses.field(default_factory=list)
        loss: Any = None

        def __post_init__(self) -> None:
            self.notes.append(self.mode)

    output = compiled(lambda x: Rich(loss=x))(torch.ones(2))
    assert output == Rich(loss=torch.ones(2))
    assert output.notes == ["mean"]


@needs_torch
def test_pytorch_takes_an_output_into_a_compiled_function():
    import torch

    doubled = compiled(lambda output: output.replace(logits=output.logits * 2))(build(torch.arange(3.0)))
    assert type(doubled) is Masked
    assert doubled.logits.tolist() == [2, 4, 6]


@needs_torch
@pytest.mark.parametrize("strict", [False, True])
def test_pytorch_exports_a_module_that_returns_an_output(strict: bool):
    import torch

    class Tiny(torch.nn.Module):
        def forward(self, x: Any) -> Masked:
            return build(x)

    x = torch.arange(3.0)
    output = torch.export.export(Tiny(), (x,), strict=strict).module()(x)
    assert type(output) is Masked
    assert output == build(x)


@needs_torch
def test_pytorch_maps_and_differentiates_functions_of_outputs():
    import torch

    batched = torch.func.vmap(lambda x: build(x))(torch.ones(4, 3))
    assert batched.logits.shape == (4, 3)
    gradient = torch.func.grad(lambda output: output.logits.sum())(Masked(logits=torch.ones(2)))
    assert gradient == Masked(logits=torch.ones(2))


# -- JAX ------------------------------------------------------------------------------------------------------------


@needs_jax
def test_jax_maps_over_the_present_fields_and_keeps_the_class():
    import jax

    mapped = jax.tree.map(lambda leaf: leaf * 10, Masked(hidden_states=(2, 3), loss=1))
    assert type(mapped) is Masked
    assert list(mapped.items()) == [("loss", 10), ("hidden_states", (20, 30))]


@needs_jax
def test_jax_unflattens_whatever_it_is_given():
    import jax

    _, spec = jax.tree.flatten(Masked(loss=1, logits=2))
    placeholder = object()
    assert list(jax.tree.unflatten(spec, [placeholder, 0]).items()) == [("loss", placeholder), ("logits", 0)]


@needs_jax
def test_jax_specs_are_equal_where_the_same_fields_are_present():
    import jax

    late = Masked(logits=2)
    late.loss = 1
    assert jax.tree.structure(late) == jax.tree.structure(Masked(loss=3, logits=4))
    assert hash(jax.tree.structure(late)) == hash(jax.tree.structure(Masked(loss=3, logits=4)))
    assert jax.tree.structure(late) != jax.tree.structure(Masked(loss=3))


@needs_jax
def test_jax_names_leaves_by_field():
    import jax

    leaves, _ = jax.tree_util.tree_flatten_with_path(Masked(logits=1, hidden_states=(2,)))
    assert [jax.tree_util.keystr(path) for path, _ in leaves] == [".logits", ".hidden_states[0]"]


@needs_jax
def test_jax_compiles_maps_and_differentiates_functions_of_outputs():
    import jax
    import jax.numpy as jnp

    output = jax.jit(build)(jnp.arange(3.0))
    assert type(output) is Masked
    assert output.logits.tolist() == [1, 2, 3]
    assert jax.vmap(build)(jnp.ones((4, 3))).logits.shape == (4, 3)
    gradient = jax.grad(lambda output: output.logits.sum())(Masked(logits=jnp.ones(2)))
    assert gradient == Masked(logits=jnp.ones(2))


# -- TensorFlow -----------------------------------------------------------------------------------------------------


@needs("tensorflow")
def test_tensorflow_nests_know_outputs_as_mappings():
    import tensorflow

    mapped = tensorflow.nest.map_structure(lambda leaf: leaf * 10, Masked(hidden_states=(2, 3), loss=1))
    assert type(mapped) is Masked
    assert list(mapped.items()) == [("loss", 10), ("hidden_states", (20, 30))]
