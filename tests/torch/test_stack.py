"""The stack of layers, in all that it can be made of, against the same written out in plain functions."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import math
from collections.abc import Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

from modeloutputs import InputError
from modeloutputs.torch.attention import rotary_cos_sin
from modeloutputs.torch.cache import Cache
from modeloutputs.torch.checkpointing import Checkpointing
from modeloutputs.torch.inputs import positions_from_mask
from modeloutputs.torch.outputs import BaseModelOutput, BaseModelOutputWithPast, Seq2SeqModelOutput
from modeloutputs.torch.stack import Stack, StackResult

from ..support.torch_stacks import (
    FREQUENCIES,
    HEADS,
    INNER,
    LAYERS,
    LENGTH,
    LENGTHS,
    LIMIT,
    LLAMA,
    ROWS,
    VARIANTS,
    WIDTH,
    attended,
    block,
    close,
    everything,
    fed_forward,
    final_norm,
    hidden_states,
    made,
    mask_of,
    run,
    seen_through,
    written_out,
)
from .tiny import padded_mask, states

every_variant = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
every_padding = pytest.mark.parametrize("side", [None, "left", "right"])


# -- values -----------------------------------------------------------------------------------------------------------


@every_padding
@every_variant
def test_a_stack_computes_the_written_out_formulas(settings: dict[str, Any], side: str | None) -> None:
    stack, hidden, mask = made(**settings), hidden_states(), mask_of(side)
    seen = None if mask is None else seen_through(mask, stack.settings.causal)
    shown = torch.ones(ROWS, LENGTH).bool() if mask is None else mask.bool()
    expected = written_out(stack, hidden, seen)
    found = everything(stack, hidden, attention_mask=mask)
    fused = run(stack, hidden, attention_mask=mask)
    assert found.hidden_states is not None
    assert found.attentions is not None
    assert found.past_key_values is not None
    assert found.hidden_states[-1] is found.last_hidden_state
    close(fused.last_hidden_state[shown], expected.states[-1][shown])
    for ours, theirs in zip(found.hidden_states, expected.states, strict=True):
        close(ours[shown], theirs[shown])
    for ours, theirs in zip(found.attentions, expected.weights, strict=True):
        close(ours.transpose(1, 2)[shown], theirs.transpose(1, 2)[shown])
    for ours, theirs in zip(found.past_key_values, expected.cache, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            close(a.transpose(1, 2)[shown], b.transpose(1, 2)[shown])


@every_padding
@pytest.mark.parametrize("settings", [LLAMA, {}, {"kv_heads": 1, "causal": True}], ids=["Llama", "plain", "one key"])
def test_a_rotary_stack_computes_the_written_out_formulas(settings: dict[str, Any], side: str | None) -> None:
    stack, hidden = made(**settings), hidden_states()
    mask = torch.ones(ROWS, LENGTH).long() if side is None else padded_mask(LENGTHS, side, LENGTH)
    positions = positions_from_mask(mask, LENGTH)
    positions = torch.arange(LENGTH)[None] if positions is None else positions
    expected = written_out(stack, hidden, seen_through(mask, stack.settings.causal), positions)
    rotary = rotary_cos_sin(positions, FREQUENCIES, torch.float64)
    shown = mask.bool()
    found = run(stack, hidden, attention_mask=mask, rotary=rotary).last_hidden_state
    close(found[shown], expected.states[-1][shown], 1e-5)  # angles are in float32


@every_variant
def test_weights_are_those_of_its_settings(settings: dict[str, Any]) -> None:
    stack = made(layers=1, **settings)
    made_of = stack.settings
    kv_heads, head_dim = made_of.kv_heads or HEADS, made_of.head_dim or WIDTH // HEADS
    norm = {"weight": (WIDTH,)} if made_of.rms_norm else {"weight": (WIDTH,), "bias": (WIDTH,)}

    def linear(outputs: int, inputs: int, bias: bool) -> dict[str, tuple[int, ...]]:
        weight = (inputs, outputs) if made_of.transposed_weights else (outputs, inputs)
        return {"weight": weight, **({"bias": (outputs,)} if bias else {})}

    heads = {"q": HEADS, "k": kv_heads, "v": kv_heads}
    heads = {"qkv": sum(heads.values())} if settings.get("joint") else heads
    block = "" if settings.get("flat") else "mlp."
    raised = ["gate", "up"] if settings.get("gated") else ["up"]
    expected = {
        **{f"attn.{name}": linear(count * head_dim, WIDTH, made_of.attention_bias) for name, count in heads.items()},
        "attn.out": linear(WIDTH, HEADS * head_dim, made_of.attention_bias),
        "attn_norm": norm,
        **{f"{block}{name}": linear(INNER, WIDTH, made_of.feed_forward_bias) for name in raised},
        f"{block}down": linear(WIDTH, INNER, made_of.feed_forward_bias),
        "mlp_norm": norm,
    }
    assert {name: tuple(parameter.shape) for name, parameter in stack.named_parameters()} == {
        f"0.{part}.{leaf}": shape for part, shapes in expected.items() for leaf, shape in shapes.items()
    }


@every_variant
def test_gradients_are_those_of_the_written_out_formulas(settings: dict[str, Any]) -> None:
    stack, hidden = made(**settings), hidden_states().requires_grad_()
    parameters = [hidden, *stack.parameters()]
    found = torch.autograd.grad(run(stack, hidden).last_hidden_state.sin().sum(), parameters)
    expected = torch.autograd.grad(written_out(stack, hidden).states[-1].sin().sum(), parameters)
    close(found, expected)


@every_variant
def test_nothing_that_is_passed_is_changed(settings: dict[str, Any]) -> None:
    stack, hidden = made(**settings), hidden_states()
    before = hidden.clone()
    with torch.no_grad():
        found = everything(stack, hidden, norm=final_norm())
        kept = [tensor.clone() for tensor in found.hidden_states]
        run(stack, found.last_hidden_state)
    assert torch.equal(hidden, before)
    assert found.hidden_states[0] is hidden
    assert all(map(torch.equal, found.hidden_states, kept))


@pytest.mark.parametrize("norm_first", [False, True])
def test_final_norm_replaces_the_last_state(norm_first: bool) -> None:
    stack, hidden, norm = made(norm_first=norm_first), hidden_states(), final_norm()
    expected = written_out(stack, hidden, norm=norm)
    found = run(stack, hidden, norm=norm, output_hidden_states=True)
    close(found.hidden_states, tuple(expected.states))
    assert found.hidden_states[-1] is found.last_hidden_state
    close(norm(written_out(stack, hidden).states[-1]), found.last_hidden_state)
    for selection, kept in (([-1], [-1]), ([LAYERS], [-1]), ([0, 1], [0, 1]), ([LAYERS - 1], [LAYERS - 1])):
        some = run(stack, hidden, norm=norm, output_hidden_states=selection)
        close(some.last_hidden_state, expected.states[-1])
        assert [i for i, state in enumerate(some.hidden_states) if state is not None] == [
            k % (LAYERS + 1) for k in kept
        ]
        for k in kept:
            close(some.hidden_states[k], expected.states[k])


def test_a_stack_without_layers_is_its_final_norm() -> None:
    stack, hidden, norm = made(layers=0), hidden_states(), final_norm()
    found = run(stack, hidden, norm=norm, output_hidden_states=True)
    assert torch.equal(found.last_hidden_state, norm(hidden))
    assert len(found.hidden_states) == 1
    assert torch.equal(found.hidden_states[0], norm(hidden))


# -- heads ------------------------------------------------------------------------------------------------------------


def repeated_heads(grouped: Stack, kv_heads: int) -> Stack:
    """Return the stack whose heads have each a key of its own, a copy of the one that they share."""
    width = WIDTH // HEADS
    own = [head * kv_heads // HEADS for head in range(HEADS)]
    weights = {
        name: tensor.unflatten(0, (-1, width))[own].flatten(0, 1) if ".k." in name or ".v." in name else tensor
        for name, tensor in grouped.state_dict().items()
    }
    stack = made(causal=True)
    stack.load_state_dict(weights)
    return stack


def head_mask(length: int) -> Tensor:
    """(B, H, Q, K): the heads that share a key do not see the same."""
    mask = torch.ones(ROWS, HEADS, length, length).tril()
    mask[:, 1] = torch.eye(length)
    mask[1, 2, :, 1:] = 0
    return mask


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("with_weights", [False, True], ids=["fused", "weights"])
@pytest.mark.parametrize("length", [1, LENGTH])
@pytest.mark.parametrize("masked", [None, "left", "heads"])
def test_heads_that_share_a_key_are_heads_with_copies_of_it(
    masked: str | None, length: int, with_weights: bool, kv_heads: int
) -> None:
    grouped = made(kv_heads=kv_heads, causal=True)
    repeated, hidden = repeated_heads(grouped, kv_heads), hidden_states(length=length)
    mask = {None: None, "left": padded_mask(LENGTHS, "left", LENGTH)[:, -length:], "heads": head_mask(length)}[masked]
    flags = {"attention_mask": mask, "output_attentions": with_weights}
    found, expected = run(grouped, hidden, **flags), run(repeated, hidden, **flags)
    close(found.last_hidden_state, expected.last_hidden_state)
    close(found.attentions, expected.attentions)


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_shared_keys_are_cached_once(mode: Any, masked: bool, kv_heads: int) -> None:
    grouped = made(kv_heads=kv_heads, causal=True)
    repeated, hidden = repeated_heads(grouped, kv_heads), hidden_states()
    mask = padded_mask(LENGTHS, "left", LENGTH) if masked else torch.ones(ROWS, LENGTH).long()
    with mode():
        expected = everything(repeated, hidden, attention_mask=mask)
        past = None
        for i in range(LENGTH):
            step = run(
                grouped, hidden[:, i : i + 1], attention_mask=mask[:, : i + 1], past_key_values=past, use_cache=True
            )
            past = step.past_key_values
            shown = mask[:, i].bool()
            close(step.last_hidden_state[shown, 0], expected.last_hidden_state[shown, i])
    assert isinstance(past, Cache)
    for ours, theirs in zip(past, expected.past_key_values, strict=True):
        for shared, copies in zip(ours, theirs, strict=True):
            assert shared.shape[1] == kv_heads
            # the values of padding that sees nothing but padding do not matter
            found = shared.repeat_interleave(HEADS // kv_heads, 1).transpose(1, 2)
            close(found[mask.bool()], copies.transpose(1, 2)[mask.bool()])


def test_a_cache_with_a_key_for_each_head_is_refused_where_they_share() -> None:
    stack = made(kv_heads=2, causal=True)
    past = run(repeated_heads(stack, 2), hidden_states(), use_cache=True).past_key_values
    with pytest.raises(InputError) as caught:
        run(stack, hidden_states(length=1), past_key_values=past)
    assert str(caught.value) == "past_key_values[0][0] has shape (3, 4, 6, 8); expected (3, 2, 6, 8)"


# -- decoding ---------------------------------------------------------------------------------------------------------

DECODERS = {name: settings for name, settings in VARIANTS.items() if settings.get("causal")}


@pytest.mark.parametrize("settings", DECODERS.values(), ids=DECODERS)
@pytest.mark.parametrize("side", [None, "left"])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1), (3, 1, 2), (4, 2)], ids=str)
def test_steps_with_rotary_positions_are_one_call(
    sizes: Sequence[int], side: str | None, settings: dict[str, Any]
) -> None:
    settings = {**settings, "head_dim": 8}
    stack, hidden, norm = made(**settings), hidden_states(), final_norm()
    mask = torch.ones(ROWS, LENGTH).long() if side is None else padded_mask(LENGTHS, side, LENGTH)
    positions = positions_from_mask(mask, LENGTH)
    positions = torch.arange(LENGTH)[None] if positions is None else positions
    whole = run(
        stack, hidden, attention_mask=mask, rotary=rotary_cos_sin(positions, FREQUENCIES, torch.float64), norm=norm
    ).last_hidden_state
    past, start = None, 0
    for size in sizes:
        stop = start + size
        with torch.no_grad():
            step = run(
                stack,
                hidden[:, start:stop],
                attention_mask=mask[:, :stop],
                past_key_values=past,
                use_cache=True,
                rotary=rotary_cos_sin(positions[:, start:stop], FREQUENCIES, torch.float64),
                norm=norm,
            )
        shown = mask[:, start:stop].bool()
        close(step.last_hidden_state[shown], whole[:, start:stop][shown])
        past, start = step.past_key_values, stop
    assert start == LENGTH


def test_autocast_keeps_rotary_keys_in_the_dtype_that_steps_expect() -> None:
    stack, hidden = made(**LLAMA).float(), hidden_states().float()
    past: Any = None
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for i in range(LENGTH):
            rotary = rotary_cos_sin(torch.tensor([[i]]), FREQUENCIES, torch.bfloat16)
            step = run(stack, hidden[:, i : i + 1], past_key_values=past, use_cache=True, rotary=rotary)
            past = step.past_key_values
    assert {tensor.dtype for layer in past for tensor in layer} == {torch.bfloat16}
    rotary = rotary_cos_sin(torch.arange(LENGTH)[None], FREQUENCIES, torch.float32)
    expected = run(stack, hidden, rotary=rotary).last_hidden_state[:, -1:]
    torch.testing.assert_close(step.last_hidden_state.float(), expected, atol=0.15, rtol=0.1)  # bf16 has 8 bits


# -- positions and scales ---------------------------------------------------------------------------------------------


def test_rotated_scores_depend_on_distance_alone() -> None:
    stack, hidden = made(**LLAMA), hidden_states()
    found = [
        run(stack, hidden, rotary=rotary_cos_sin(torch.arange(LENGTH)[None] + start, FREQUENCIES, torch.float64))
        for start in (0, 3, 30)
    ]
    for other in found[1:]:
        close(other.last_hidden_state, found[0].last_hidden_state, 1e-5)
    without = run(stack, hidden).last_hidden_state
    assert not torch.allclose(without, found[0].last_hidden_state, atol=1e-3)


def test_rotation_leaves_values_alone() -> None:
    stack, hidden = made(layers=1, **LLAMA), hidden_states()
    rotary = rotary_cos_sin(torch.arange(LENGTH)[None] + 1, FREQUENCIES, torch.float64)
    rotated = run(stack, hidden, rotary=rotary, use_cache=True).past_key_values
    without = run(stack, hidden, use_cache=True).past_key_values
    assert torch.equal(rotated[0][1], without[0][1])
    assert not torch.allclose(rotated[0][0], without[0][0])


def test_each_layer_has_its_scale() -> None:
    """A scale is a factor of the queries."""
    hidden, usual = hidden_states(), 1 / math.sqrt(WIDTH / HEADS)
    plain = made()
    for scales in ([0.5, None, 2.0], [usual] * 3, [None] * 3):
        scaled = made(scales=scales)
        expected = made()
        for layer, scale in zip(expected, scales, strict=True):
            with torch.no_grad():
                factor = 1 if scale is None else scale / usual
                layer.attn.q.weight *= factor
                layer.attn.q.bias *= factor
        for flags in ({}, {"output_attentions": True}):
            found = run(scaled, hidden, **flags).last_hidden_state
            close(found, run(expected, hidden).last_hidden_state)
            assert torch.allclose(found, run(plain, hidden).last_hidden_state) == (scales[0] != 0.5)


@pytest.mark.parametrize("with_weights", [False, True])
def test_cross_attention_has_the_same_scales(with_weights: bool) -> None:
    hidden, encoded = hidden_states(), hidden_states(length=5, seed=8)
    flags = {"encoder_hidden_states": encoded, "output_attentions": with_weights}
    scaled, expected = (made(causal=True, cross_attention=True, scales=scales) for scales in ([0.5] * 3, ()))
    factor = 0.5 * math.sqrt(WIDTH / HEADS)
    with torch.no_grad():
        for layer in expected:
            for query in (layer.attn.q, layer.cross.q):
                query.weight *= factor
                query.bias *= factor
    found, wanted = run(scaled, hidden, **flags), run(expected, hidden, **flags)
    close(found.last_hidden_state, wanted.last_hidden_state)
    close(found.cross_attentions, wanted.cross_attentions)


@pytest.mark.parametrize("norm_first", [False, True])
def test_cross_attention_comes_between_with_a_norm_of_its_own(norm_first: bool) -> None:
    stack = made(layers=1, causal=True, cross_attention=True, norm_first=norm_first)
    hidden, encoded, layer = hidden_states(), hidden_states(length=5, seed=8), stack[0]

    def crossing(hidden: Tensor) -> Tensor:
        module = layer.cross
        query, key, value = (
            each.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for each in (module.q(hidden), module.k(encoded), module.v(encoded))
        )
        context = (query @ key.mT / math.sqrt(WIDTH / HEADS)).softmax(-1) @ value
        return module.out(context.transpose(1, 2).flatten(2))

    triangle = torch.ones(1, LENGTH, LENGTH, dtype=torch.bool).tril()
    expected = block(layer, hidden, "attn_norm", lambda read: attended(layer, read, triangle)[0])
    alone = block(layer, expected, "mlp_norm", lambda read: fed_forward(layer, read))
    expected = block(layer, expected, "cross_norm", crossing)
    expected = block(layer, expected, "mlp_norm", lambda read: fed_forward(layer, read))
    close(run(stack, hidden, encoder_hidden_states=encoded).last_hidden_state, expected)
    close(run(stack, hidden).last_hidden_state, alone)


# -- other people's modules -------------------------------------------------------------------------------------------


class Doubled(nn.Module):
    """Somebody's module in the place of one of ours."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: Tensor) -> Tensor:
        return self.inner(hidden) * 2


@pytest.mark.parametrize("name", ["attn.q", "attn.v", "attn.out", "attn_norm", "mlp.up", "mlp.down", "mlp_norm", "mlp"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_a_module_that_was_replaced_is_used(name: str, mode: Any) -> None:
    """In inference too, where plain modules are not called."""
    replaced, expected = made(), made()
    owner, _, leaf = name.rpartition(".")
    parent = replaced[1].get_submodule(owner)
    setattr(parent, leaf, Doubled(getattr(parent, leaf)))
    target = expected[1].get_submodule("mlp.down" if name == "mlp" else name)
    with torch.no_grad():
        for parameter in target.parameters():
            parameter *= 2
    with mode():
        found = run(replaced, hidden_states()).last_hidden_state
        if name == "mlp.up":  # what is doubled goes through an activation
            assert not torch.allclose(found, run(made(), hidden_states()).last_hidden_state)
        close(found, run(expected, hidden_states()).last_hidden_state)


def test_a_layers_result_may_be_replaced_by_a_hook() -> None:
    stack, hidden = made(causal=True), hidden_states()
    fixed = hidden_states(seed=9)
    stack[0].register_forward_hook(lambda module, inputs, result: (fixed, *result[1:]))
    found = run(stack, hidden, output_hidden_states=True, use_cache=True)
    assert found.hidden_states[1] is fixed
    close(found.last_hidden_state, run(made(causal=True)[1:], fixed).last_hidden_state)


def test_a_slice_is_a_stack_of_some_layers() -> None:
    stack, hidden = made(), hidden_states()
    states = run(stack, hidden, output_hidden_states=True).hidden_states
    shorter = stack[:2]
    assert type(shorter) is Stack
    assert shorter[-1] is stack[1]
    close(run(shorter, hidden, output_hidden_states=True).hidden_states, states[:3])
    close(run(stack[1:], states[1]).last_hidden_state, states[-1])


def test_each_module_is_called_once() -> None:
    stack, calls = made(causal=True, cross_attention=True), []
    for name, module in stack.named_modules():
        module.register_forward_hook(lambda module, inputs, result, name=name: calls.append(name))
    with torch.no_grad():
        run(stack, hidden_states(), encoder_hidden_states=hidden_states(length=5))
    dropouts = {name for name, module in stack.named_modules() if isinstance(module, nn.Dropout)}
    assert sorted(name for name in calls if name not in dropouts) == sorted(
        name for name, _ in stack.named_modules() if name not in dropouts
    )


# -- training, compiling, results -------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [LLAMA, {"norm_first": True}], ids=["Llama", "encoder"])
def test_gradient_checkpointing_changes_no_gradient(settings: dict[str, Any]) -> None:
    stack = made(**settings, dropout=0.1, attention_dropout=0.1).train()
    hidden = hidden_states()
    rotary = rotary_cos_sin(torch.arange(LENGTH)[None], FREQUENCIES, torch.float64)
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        result = everything(stack, hidden, rotary=rotary, checkpointing=Checkpointing() if checkpointing else None)
        objective = result.last_hidden_state.square().sum() + sum(state.sum() for state in result.hidden_states)
        found.append(torch.autograd.grad(objective, list(stack.parameters())))
    close(*found)


@pytest.mark.parametrize("rate", ["dropout", "attention_dropout", "activation_dropout"])
def test_each_rate_of_dropout_acts_in_training_alone(rate: str) -> None:
    stack, hidden = made(**{rate: 0.5}), hidden_states()
    torch.manual_seed(0)
    still, noisy = run(stack, hidden).last_hidden_state, run(stack.train(), hidden).last_hidden_state
    close(still, written_out(stack, hidden).states[-1])
    assert not torch.allclose(still, noisy, atol=1e-3)
    close(run(made().train(), hidden).last_hidden_state, still)


@pytest.mark.parametrize("settings", [LLAMA, {}, {"norm_first": True, "causal": True}], ids=["Llama", "BERT", "GPT"])
def test_compiles_as_one_graph_and_takes_its_own_cache(settings: dict[str, Any]) -> None:
    torch._dynamo.reset()
    stack, hidden, norm = made(layers=1, **settings), hidden_states(), final_norm()
    caches = bool(settings.get("causal"))

    def step(hidden: Tensor, past: Any, start: int) -> StackResult:
        positions = torch.arange(start, start + hidden.shape[1])[None]
        rotary = rotary_cos_sin(positions, FREQUENCIES, torch.float64)
        return run(stack, hidden, rotary=rotary, norm=norm, past_key_values=past, use_cache=caches)

    compiled = torch.compile(step, fullgraph=True, backend="eager")
    with torch.no_grad():
        whole = step(hidden, None, 0).last_hidden_state
        close(compiled(hidden, None, 0).last_hidden_state, whole)
        if caches:
            past = step(hidden[:, :4], None, 0).past_key_values
            past = compiled(hidden[:, 4:5], step(hidden[:, 3:4], past.crop(3), 3).past_key_values, 4).past_key_values
            close(compiled(hidden[:, 5:], past, 5).last_hidden_state, whole[:, 5:])


def test_results_fill_the_fields_that_a_class_has() -> None:
    result = everything(made(causal=True), hidden_states())
    output = result.as_output(BaseModelOutputWithPast)
    assert list(output) == ["last_hidden_state", "past_key_values", "hidden_states", "attentions"]
    assert output.past_key_values is result.past_key_values
    assert list(result.as_output(BaseModelOutput)) == ["last_hidden_state", "hidden_states", "attentions"]
    output.check()
    bare = run(made(causal=True), hidden_states()).as_output(BaseModelOutputWithPast)
    assert list(bare) == ["last_hidden_state"]
    joined = result.as_output(Seq2SeqModelOutput, decoder_hidden_states=result.hidden_states)
    assert list(joined) == ["last_hidden_state", "past_key_values", "decoder_hidden_states"]


# -- what is refused --------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a cache for an encoder": (
        {},
        {"past_key_values": ()},
        "past_key_values was passed to an encoder; set config.is_decoder=True for a decoder",
    ),
    "a cache of other layers": (
        {"causal": True},
        {"past_key_values": ()},
        "past_key_values has 0 layers; this model has 3",
    ),
    "an encoder's keys": (
        {"causal": True},
        {"past_key_values": [[torch.zeros(ROWS, HEADS, 5, 8, dtype=torch.float64)] * 4] * LAYERS},
        "past_key_values holds an encoder's keys, but this model has no cross-attention",
    ),
    "an encoder's states": (
        {"causal": True},
        {"encoder_hidden_states": torch.zeros(ROWS, 5, WIDTH)},
        "encoder_hidden_states was passed to a model without cross-attention; "
        "set config.is_decoder=True and config.add_cross_attention=True",
    ),
    "an encoder's states of another width": (
        {"causal": True, "cross_attention": True},
        {"encoder_hidden_states": torch.zeros(ROWS, 5, WIDTH + 1)},
        f"encoder_hidden_states is torch.float32 of shape (3, 5, 33); expected floating point of shape "
        f"(3, positions, {WIDTH})",
    ),
    "a mask without states": (
        {"causal": True, "cross_attention": True},
        {"encoder_attention_mask": torch.ones(ROWS, 5)},
        "encoder_attention_mask was passed without encoder_hidden_states; pass both",
    ),
    "a layer out of range": (
        {},
        {"output_hidden_states": [LAYERS + 1]},
        "output_hidden_states asks for layer 4; this model has -4 to 3",
    ),
}


@pytest.mark.parametrize(("settings", "given", "message"), REFUSED.values(), ids=REFUSED)
def test_unused_inputs_are_refused(settings: dict[str, Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        made(**settings).check(ROWS, LENGTH, LIMIT, **given)
    assert str(caught.value) == message


def test_more_positions_than_it_can_hold_are_refused() -> None:
    with pytest.raises(InputError, match=f"41 positions exceed the model's max_position_embeddings of {LIMIT}"):
        made().check(ROWS, LIMIT + 1, LIMIT)
    made().check(ROWS, LIMIT, LIMIT)


# -- hooks ------------------------------------------------------------------------------------------------------------

HOOKED = ("attn.out", "attn", "cross.out", "mlp.up", "mlp.down", "mlp")


@pytest.mark.parametrize("name", HOOKED)
@pytest.mark.parametrize("norm_first", [False, True])
def test_the_tensor_that_a_hook_saw_does_not_change_afterwards(name: str, norm_first: bool) -> None:
    stack = made(norm_first=norm_first, causal=True, cross_attention=True)
    encoder = {"encoder_hidden_states": hidden_states(ROWS, 4, seed=7)}
    seen: list[tuple[Tensor, Tensor]] = []

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        tensor = output if isinstance(output, Tensor) else output[0]
        seen.append((tensor, tensor.clone()))

    for layer in stack:
        layer.get_submodule(name).register_forward_hook(look)
    with torch.no_grad():
        run(stack, hidden_states(), **encoder)
    assert len(seen) == LAYERS
    assert all(torch.equal(now, then) for now, then in seen)


@pytest.mark.parametrize("name", ["attn.out", "mlp.down", "mlp.up"])
def test_the_tensor_that_a_hook_returns_is_not_overwritten(name: str) -> None:
    stack = made()
    module = stack[1].get_submodule(name)
    width = module.weight.shape[0]
    fixed = states(ROWS, LENGTH, width, 9).double()
    module.register_forward_hook(lambda module, inputs, output: fixed)
    before = fixed.clone()
    with torch.no_grad():
        first, second = (run(stack, hidden_states()).last_hidden_state for _ in range(2))
    assert torch.equal(fixed, before)
    assert torch.equal(first, second)
