"""A forward hook on any module fires each time its result is used, and what the hook returns counts."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import functools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

from modeloutputs.torch.bart_heads import BartDecoderWrapper
from modeloutputs.torch.pretrained import PreTrainedModel

from ...support.needs import needs
from ..generating import GENERATORS, Generator
from ..tiny import Head
from .cases import NATIVE_HEADS, arguments, computed, shared_model, swept_modules
from .sweep import counting, disturb_input, disturb_output, fired, hooked, modules_of, steps, uses

every_head = pytest.mark.parametrize("head", NATIVE_HEADS, ids=[head.name for head in NATIVE_HEADS])
every_generator = pytest.mark.parametrize("generator", GENERATORS, ids=[each.id for each in GENERATORS])
NEW_TOKENS = 3


def _counts(model: Any, names: Sequence[str], call: Any) -> dict[str, int]:
    """Return how often a hook fires that is registered on one module at a time, by name."""
    return {name: fired(model, name, call) for name in names}


def _counts_at_once(model: Any, call: Any) -> dict[str, int]:
    """Return how often hooks fire that are registered on all modules, by name."""
    with ExitStack() as stack:
        counts = {name: stack.enter_context(counting(model.get_submodule(name))) for name in modules_of(model)}
        call()
    return {name: count[0] for name, count in counts.items()}


def _expected(model: Any, head: Head) -> dict[str, int]:
    return {name: uses(model, head, name) for name in modules_of(model)}


# -- hooks that watch -----------------------------------------------------------------------------------------------


@every_head
def test_a_hook_on_any_module_fires_once_for_each_use(head: Head) -> None:
    model, names = shared_model(head.name), swept_modules(head)
    expected = {name: uses(model, head, name) for name in names}
    assert _counts(model, names, lambda: computed(model, head)) == expected


@every_head
def test_hooks_on_all_modules_fire_and_change_nothing(head: Head) -> None:
    model = shared_model(head.name)
    plain = computed(model, head)
    results: list[Tensor] = []
    assert _counts_at_once(model, lambda: results.append(computed(model, head))) == _expected(model, head)
    torch.testing.assert_close(results[0], plain, rtol=0, atol=1e-5)


@every_head
def test_hooks_fire_in_training_and_where_layers_are_computed_again(head: Head) -> None:
    model = shared_model(head.name)
    expected = _expected(model, head)
    try:
        model.train()
        assert _counts_at_once(model, lambda: model(**arguments(head))) == expected
        model.gradient_checkpointing_enable()
        assert _counts_at_once(model, lambda: model(**arguments(head))) == expected  # the second time is in backward
    finally:
        model.gradient_checkpointing_disable()
        model.eval()


@every_head
def test_backward_hooks_fire_for_each_module_with_a_gradient(head: Head) -> None:
    model = head.model()
    seen: dict[str, int] = dict.fromkeys(modules_of(model), 0)
    for name in seen:

        def hook(_module: nn.Module, _inputs: Any, _outputs: Any, name: str = name) -> None:
            seen[name] += 1

        model.get_submodule(name).register_full_backward_hook(hook)
    output = model(**arguments(head))
    total = sum(value.sum() for _, value in output.items() if isinstance(value, Tensor) and value.requires_grad)
    total.backward()
    # PyTorch has no backward hooks of modules that return dictionaries, as models do.
    silent = (PreTrainedModel, BartDecoderWrapper)
    expected = [name for name in seen if uses(model, head, name) and not isinstance(model.get_submodule(name), silent)]
    assert [name for name, count in seen.items() if count] == expected


@every_head
def test_gradients_with_hooks_are_those_without(head: Head) -> None:
    model = head.model()

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        output = model(**arguments(head))
        sum(value.square().sum() for _, value in output.items() if isinstance(value, Tensor)).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    for name in modules_of(model):
        model.get_submodule(name).register_forward_hook(lambda *_: None)
        model.get_submodule(name).register_full_backward_hook(lambda *_: None)
    torch.testing.assert_close(gradients(), plain, rtol=1e-4, atol=1e-4)


def test_a_hook_on_all_modules_of_the_process_sees_every_module() -> None:
    head = next(head for head in NATIVE_HEADS if head.name == "BertForMaskedLM")
    model = shared_model(head.name)
    names = {id(module): name for name, module in model.named_modules()}
    seen: list[str] = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(names[id(module)]))
    try:
        computed(model, head)
    finally:
        handle.remove()
    assert sorted(seen) == sorted(names.values())


# -- hooks that change something --------------------------------------------------------------------------------------


@every_head
def test_what_a_hook_returns_counts(head: Head) -> None:
    model = shared_model(head.name)
    plain = computed(model, head)
    unchanged: list[str] = []
    for name in swept_modules(head):
        with hooked(model.get_submodule(name), disturb_output):
            if torch.allclose(computed(model, head), plain, rtol=0, atol=1e-4):
                unchanged.append(name)
    assert unchanged == [name for name in swept_modules(head) if uses(model, head, name) == 0]


@every_head
def test_what_a_hook_changes_before_a_module_counts(head: Head) -> None:
    model = shared_model(head.name)
    plain = computed(model, head)
    unchanged: list[str] = []
    for name in swept_modules(head):
        with hooked(model.get_submodule(name), disturb_input, before=True):
            if torch.allclose(computed(model, head), plain, rtol=0, atol=1e-4):
                unchanged.append(name)
    assert unchanged == [name for name in swept_modules(head) if uses(model, head, name) == 0]


@every_head
def test_the_result_after_hooks_is_the_result_before(head: Head) -> None:
    model = shared_model(head.name)
    plain = computed(model, head)
    for name in modules_of(model):
        with hooked(model.get_submodule(name), disturb_output):
            pass
    assert torch.equal(computed(model, head), plain)


# -- in generation ----------------------------------------------------------------------------------------------------


def _generated(model: Any, inputs: Mapping[str, Any], **options: Any) -> Any:
    return model.generate(**inputs, max_new_tokens=NEW_TOKENS, eos_token_id=[], output_scores=True, **options)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
@every_generator
@needs("transformers")
def test_hooks_fire_at_every_step_of_generation(generator: Generator, options: dict[str, Any]) -> None:
    model, _ = generator.pair()
    inputs = generator.inputs()
    expected = {name: steps(model, generator, name, NEW_TOKENS) for name in modules_of(model)}
    # One hook at a time in the greedy loop alone: a step is the same code whoever chooses the tokens.
    alone = not options
    generate = functools.partial(_generated, model, inputs, **options)
    assert (_counts(model, list(expected), generate) if alone else _counts_at_once(model, generate)) == expected


@every_generator
@needs("transformers")
def test_what_a_hook_returns_counts_in_generation(generator: Generator) -> None:
    model, _ = generator.pair()
    inputs = generator.inputs()
    plain = _generated(model, inputs).scores[:, -1]
    unchanged: list[str] = []
    for name in modules_of(model):
        with hooked(model.get_submodule(name), disturb_output):
            if torch.allclose(_generated(model, inputs).scores[:, -1], plain, rtol=0, atol=1e-4):
                unchanged.append(name)
    assert unchanged == [name for name in modules_of(model) if steps(model, generator, name, NEW_TOKENS) == 0]


@every_generator
@needs("transformers")
def test_generation_with_hooks_on_all_modules_is_generation_without(generator: Generator) -> None:
    model, _ = generator.pair()
    inputs = generator.inputs()
    plain = _generated(model, inputs)
    handles = [module.register_forward_hook(lambda *_: None) for module in model.modules()]
    try:
        watched = _generated(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    assert torch.equal(watched.sequences, plain.sequences)
    torch.testing.assert_close(watched.scores, plain.scores, rtol=0, atol=1e-4)
