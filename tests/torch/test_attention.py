"""Attention against the formula written out in loops, under every kind of mask."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, cat

from modeloutputs import InputError
from modeloutputs.architectures.layers import LayerSettings
from modeloutputs.torch.attention import (
    Attention,
    AttentionMask,
    AttentionResult,
    CrossAttention,
    PositionEmbeddings,
    apply_rotary,
    attend,
    build_mask,
    check_mask,
    compute_dtype,
    is_unmasked,
    rotary_cos_sin,
)
from modeloutputs.torch.results import Made, result_of

from ..support.torch_stacks import FREQUENCIES, rotated
from .tiny import padded_mask, randomise, states

ROWS, HEADS, QUERIES, KEYS, WIDTH = 3, 2, 4, 4, 8
HIDDEN = HEADS * WIDTH
LENGTHS = (4, 2, 3)
LIKE = torch.zeros(ROWS, QUERIES, HIDDEN)

Seen = Callable[[int, int, int], bool]
"""Whether, in a row, a query sees a key."""


def projections(queries: int = QUERIES, keys: int = KEYS) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(  # type: ignore[return-value]
        states(ROWS, HEADS * length * WIDTH, 1, seed).view(ROWS, HEADS, length, WIDTH)
        for seed, length in enumerate((queries, keys, keys))
    )


def reference(query: Tensor, key: Tensor, value: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
    """Compute softmax(Q Kᵀ / √D) V, one query at a time, over the keys that it sees and no others."""
    weights = torch.zeros(ROWS, HEADS, query.shape[2], key.shape[2])
    for row in range(ROWS):
        for head in range(HEADS):
            for q in range(query.shape[2]):
                visible = [k for k in range(key.shape[2]) if seen(row, q, k)]
                scores = key[row, head, visible] @ query[row, head, q] / math.sqrt(WIDTH)
                weights[row, head, q, visible] = scores.exp() / scores.exp().sum()
    return torch.einsum("rhqk,rhkd->rhqd", weights, value), weights


def prefix_mask() -> Tensor:
    """(rows, queries, keys): a prefix sees itself, what follows sees all before it; not symmetric."""
    return padded_mask(LENGTHS, "right", KEYS)[:, None, :] | torch.ones(QUERIES, KEYS).tril().long()


def head_mask() -> Tensor:
    """(rows, heads, queries, keys): the second head sees itself alone."""
    return torch.stack([prefix_mask(), torch.eye(KEYS).long().expand(ROWS, -1, -1)], 1)


RIGHT, LEFT = padded_mask(LENGTHS, "right", KEYS), padded_mask(LENGTHS, "left", KEYS)

MASKS: dict[str, tuple[Tensor | None, bool, Seen]] = {
    "none": (None, False, lambda row, q, k: True),
    "all ones": (torch.ones(ROWS, KEYS), False, lambda row, q, k: True),
    "right padding": (RIGHT, False, lambda row, q, k: k < LENGTHS[row]),
    "left padding": (LEFT, False, lambda row, q, k: k >= KEYS - LENGTHS[row]),
    "truth values": (RIGHT.bool(), False, lambda row, q, k: k < LENGTHS[row]),
    "floats": (RIGHT.float(), False, lambda row, q, k: k < LENGTHS[row]),
    "causal": (None, True, lambda row, q, k: k <= q),
    "causal, all ones": (torch.ones(ROWS, KEYS), True, lambda row, q, k: k <= q),
    "causal, right padding": (RIGHT, True, lambda row, q, k: k <= q and k < LENGTHS[row]),
    "of each query": (prefix_mask(), False, lambda row, q, k: k < LENGTHS[row] or k <= q),
    "of each query, causal adds nothing": (prefix_mask(), True, lambda row, q, k: k < LENGTHS[row] or k <= q),
    "of each query, one for all rows": (torch.ones(1, 1, QUERIES, KEYS).tril(), False, lambda row, q, k: k <= q),
}
every_mask = pytest.mark.parametrize(("mask", "causal", "seen"), MASKS.values(), ids=MASKS)


# -- values -----------------------------------------------------------------------------------------------------------


@every_mask
def test_attention_is_the_formula(mask: Tensor | None, causal: bool, seen: Seen) -> None:
    query, key, value = projections()
    context, weights = attend(query, key, value, build_mask(mask, QUERIES, KEYS, LIKE, causal=causal), 0.0, True)
    expected_context, expected_weights = reference(query, key, value, seen)
    torch.testing.assert_close(weights, expected_weights)
    torch.testing.assert_close(context, expected_context)


@every_mask
def test_fused_kernel_and_weights_give_one_context(mask: Tensor | None, causal: bool, seen: Seen) -> None:
    projected, built = projections(), build_mask(mask, QUERIES, KEYS, LIKE, causal=causal)
    fused, no_weights = attend(*projected, built, 0.0, False)
    torch.testing.assert_close(fused, attend(*projected, built, 0.0, True)[0])
    assert no_weights is None


@every_mask
def test_hidden_keys_weigh_exactly_nothing_and_the_others_sum_to_one(
    mask: Tensor | None, causal: bool, seen: Seen
) -> None:
    _, weights = attend(*projections(), build_mask(mask, QUERIES, KEYS, LIKE, causal=causal), 0.0, True)
    assert weights is not None
    grid = torch.tensor([[[seen(r, q, k) for k in range(KEYS)] for q in range(QUERIES)] for r in range(ROWS)])
    assert not weights.masked_select(~grid[:, None].expand_as(weights)).any()
    assert weights.masked_select(grid[:, None].expand_as(weights)).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(ROWS, HEADS, QUERIES))


def test_each_head_may_have_its_own_mask() -> None:
    query, key, value = projections()
    context, weights = attend(query, key, value, build_mask(head_mask(), QUERIES, KEYS, LIKE, causal=False), 0.0, True)
    torch.testing.assert_close(weights[:, 1], torch.eye(KEYS).expand(ROWS, -1, -1))
    torch.testing.assert_close(context[:, 1], value[:, 1])
    assert (weights[:, 0] > 0).equal(prefix_mask() > 0)


@pytest.mark.parametrize("queries", [1, 2])
@pytest.mark.parametrize("side", ["left", "right"])
def test_last_queries_see_all_cached_keys_except_padding(queries: int, side: str) -> None:
    projected = projections(queries)
    mask = padded_mask(LENGTHS, side, KEYS)
    mask[:, -1] = 1
    built = build_mask(mask, queries, KEYS, LIKE[:, :queries], causal=True)
    first = KEYS - queries
    expected = reference(*projected, lambda row, q, k: (bool(mask[row, k]) and k <= first + q) or k == first + q)
    _, weights = attend(*projected, built, 0.0, True)
    shown = mask[:, -queries:].bool()  # a query that is padding itself is nobody's business
    torch.testing.assert_close(weights.transpose(1, 2)[shown], expected[1].transpose(1, 2)[shown])


def test_last_queries_without_padding_see_all_before_them() -> None:
    projected = projections(2)
    _, weights = attend(*projected, build_mask(None, 2, KEYS, LIKE[:, :2], causal=True), 0.0, True)
    torch.testing.assert_close(weights, reference(*projected, lambda row, q, k: k <= q + 2)[1])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_query_that_sees_nothing_stays_finite(causal: bool, with_weights: bool, dtype: "torch.dtype") -> None:
    mask = torch.zeros(ROWS, KEYS)
    projected = [tensor.to(dtype).requires_grad_() for tensor in projections()]
    context, weights = attend(
        *projected, build_mask(mask, QUERIES, KEYS, LIKE.to(dtype), causal=causal), 0.0, with_weights
    )
    context.sum().backward()
    assert context.isfinite().all()
    assert weights is None or weights.isfinite().all()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in projected)


def test_a_query_that_sees_nothing_stays_finite_whatever_its_scores() -> None:
    """In float16 a bias at the very lowest number, added to a low score, would be minus infinity."""
    query, _, value = (tensor.half() for tensor in projections())
    query = torch.full_like(query, 8.0)
    built = build_mask(torch.zeros(ROWS, KEYS), QUERIES, KEYS, LIKE.half(), causal=False)
    context, weights = attend(query, -query, value, built, 0.0, True)
    assert context.isfinite().all()
    assert weights is not None
    assert weights.isfinite().all()


def test_left_padding_under_a_causal_mask_stays_finite() -> None:
    """The queries at the padding see neither padding nor, because it comes later, any token."""
    built = build_mask(LEFT, QUERIES, KEYS, LIKE, causal=True)
    fused, _ = attend(*projections(), built, 0.0, False)
    context, weights = attend(*projections(), built, 0.0, True)
    assert fused.isfinite().all()
    assert weights is not None
    assert weights.isfinite().all()
    tokens = LEFT.bool()
    torch.testing.assert_close(fused.transpose(1, 2)[tokens], context.transpose(1, 2)[tokens])


def test_dropout_acts_on_the_context_and_not_on_the_weights() -> None:
    query, key, value = projections()
    torch.manual_seed(0)
    context, weights = attend(query, key, value, AttentionMask(), 0.5, True)
    expected_context, expected_weights = reference(query, key, value, lambda row, q, k: True)
    torch.testing.assert_close(weights, expected_weights)
    assert not torch.allclose(context, expected_context)


# -- building masks ---------------------------------------------------------------------------------------------------


def test_a_mask_that_hides_nothing_costs_nothing() -> None:
    assert build_mask(torch.ones(ROWS, KEYS), QUERIES, KEYS, LIKE, causal=False) == AttentionMask()
    assert build_mask(torch.ones(ROWS, KEYS), QUERIES, KEYS, LIKE, causal=True) == AttentionMask(causal=True)
    assert build_mask(None, 1, KEYS, LIKE[:, :1], causal=True) == AttentionMask()


def test_is_unmasked_looks_at_values() -> None:
    assert is_unmasked(None)
    assert is_unmasked(torch.ones(2, 3))
    assert not is_unmasked(torch.tensor([[1, 0]]))


def test_bias_has_the_dtype_that_attention_computes_in() -> None:
    bias = build_mask(RIGHT, QUERIES, KEYS, LIKE.half(), causal=False).bias
    assert bias is not None
    assert bias.dtype == torch.float16
    assert bias.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert compute_dtype(LIKE) == torch.bfloat16
    assert compute_dtype(LIKE) == torch.float32


WRONG = {
    "too few keys": torch.ones(ROWS, KEYS - 1),
    "too many keys": torch.ones(ROWS, KEYS + 1),
    "another batch": torch.ones(ROWS - 1, KEYS),
    "one row for all": torch.ones(1, KEYS),
    "no rows": torch.ones(KEYS),
    "queries missing": torch.ones(ROWS, QUERIES - 1, KEYS),
    "queries and keys swapped": torch.ones(ROWS, KEYS, 2),
    "another batch of four axes": torch.ones(ROWS - 1, 1, QUERIES, KEYS),
    "one query for all": torch.ones(ROWS, 1, 1, KEYS),
    "five axes": torch.ones(1, ROWS, 1, QUERIES, KEYS),
}


@pytest.mark.parametrize("mask", WRONG.values(), ids=WRONG)
def test_a_mask_that_fits_nothing_is_refused(mask: Tensor) -> None:
    with pytest.raises(InputError) as caught:
        check_mask(mask, ROWS, QUERIES, KEYS)
    assert str(caught.value) == (
        f"attention mask has shape {tuple(mask.shape)}; expected (batch, keys) = (3, 4), "
        "(batch, seq, keys) = (3, 4, 4) or (batch, heads, seq, keys)"
    )


def test_a_mask_made_to_be_added_is_refused() -> None:
    additive = torch.zeros(3, 1, QUERIES, KEYS).masked_fill(torch.ones(QUERIES, KEYS).triu(1) > 0, -1e9)
    with pytest.raises(InputError, match="attention mask has negative values"):
        check_mask(additive, ROWS, QUERIES, KEYS)


@pytest.mark.parametrize("axes", [(ROWS, KEYS), (ROWS, QUERIES, KEYS), (1, 1, QUERIES, KEYS), (ROWS, 2, QUERIES, KEYS)])
def test_a_mask_that_fits_is_taken(axes: tuple[int, ...]) -> None:
    check_mask(None, ROWS, QUERIES, KEYS)
    check_mask(torch.ones(axes), ROWS, QUERIES, KEYS, heads=2)
    check_mask(torch.ones(axes), ROWS, QUERIES, KEYS)
    if axes[1] == 2:
        with pytest.raises(InputError):
            check_mask(torch.ones(axes), ROWS, QUERIES, KEYS, heads=3)


# -- rotary positions -------------------------------------------------------------------------------------------------

POSITIONS = {
    "one row": torch.arange(6)[None],
    "rows of their own": torch.tensor([[0, 1, 2], [0, 0, 7], [5, 4, 3]]),
    "far": torch.tensor([[4095, 100_000]]),
    "int32": torch.tensor([[2, 3]], dtype=torch.int32),
}


@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rotation_is_a_product_of_complex_numbers(dtype: "torch.dtype", positions: Tensor) -> None:
    cos, sin = rotary_cos_sin(positions, FREQUENCIES, dtype)
    rows, length = positions.shape
    assert cos.shape == sin.shape == (rows, 1, length, 2 * len(FREQUENCIES))
    assert cos.dtype == sin.dtype == dtype
    heads = states(rows, HEADS * length, 8).double().view(rows, HEADS, length, 8)
    found, expected = apply_rotary(heads, (cos.double(), sin.double())), rotated(heads, positions)
    # an angle of 100 000 in float32 is known to 1 / 256
    tolerance = 0.05 if dtype == torch.bfloat16 or int(positions.max()) > 1000 else 1e-5
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


# -- modules ----------------------------------------------------------------------------------------------------------


def split_heads(hidden: Tensor) -> Tensor:
    return hidden.view(ROWS, -1, HEADS, WIDTH).transpose(1, 2)


def merged(context: Tensor) -> Tensor:
    return context.transpose(1, 2).reshape(ROWS, -1, HIDDEN)


UNMASKED = AttentionMask()


@dataclass
class Context:
    """The inputs of one call, of which each test sets what it is about."""

    mask: AttentionMask = UNMASKED
    encoder_mask: AttentionMask = UNMASKED
    encoder_hidden_states: Tensor | None = None
    position_embeddings: PositionEmbeddings | None = None
    past: tuple[Tensor, Tensor] | None = None
    cross: tuple[Tensor, Tensor] | None = None
    has_cache: bool = True
    made: Made = field(default_factory=Made)

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return (key, value) if self.past is None else (cat([self.past[0], key], 2), cat([self.past[1], value], 2))

    def cached_cross(self) -> tuple[Tensor, Tensor] | None:
        return self.cross


def called(module: Attention, hidden: Tensor, context: Context, with_weights: bool = False) -> AttentionResult:
    return result_of(AttentionResult, context.made, module, hidden, context, with_weights)


NAMES = {"query": "q", "key": "k", "value": "v", "output": "out"}


def made(kind: type[Attention] = Attention, names: Mapping[str, str | None] = NAMES, **settings: Any) -> Attention:
    sizes = {"hidden_size": HIDDEN, "heads": HEADS, "intermediate_size": 7, "activation": "relu", "norm_eps": 1e-5}
    return randomise(kind(LayerSettings(**{**sizes, **settings}), 3, **names)).eval()


@pytest.mark.parametrize("with_weights", [False, True])
def test_attention_projects_attends_and_projects(with_weights: bool) -> None:
    module, hidden, context = made(), states(ROWS, QUERIES, HIDDEN), Context()
    query, key, value = (split_heads(layer(hidden)) for layer in (module.q, module.k, module.v))
    expected, expected_weights = reference(query, key, value, lambda row, q, k: True)
    result = called(module, hidden, context, with_weights)
    torch.testing.assert_close(result.hidden, module.out(merged(expected)))
    torch.testing.assert_close(result.key_value, (key, value))
    assert (result.weights is not None) == with_weights
    if with_weights:
        torch.testing.assert_close(result.weights, expected_weights)


def test_an_output_that_another_module_projects_is_left_to_it() -> None:
    names = {**NAMES, "output": None}
    module, hidden = made(names=names), states(ROWS, QUERIES, HIDDEN)
    assert [name for name, _ in module.named_children()] == ["q", "k", "v"]
    whole = made()
    whole.load_state_dict(module.state_dict(), strict=False)
    torch.testing.assert_close(whole(hidden, Context())[0], whole.out(module(hidden, Context())[0]))


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_roles_with_one_name_are_slices_of_one_matrix(transposed: bool, kv_heads: int) -> None:
    settings = {"kv_heads": kv_heads, "transposed_weights": transposed}
    one = made(names={**NAMES, "query": "qkv", "key": "qkv", "value": "qkv"}, **settings)
    apart, hidden = made(**settings), states(ROWS, QUERIES, HIDDEN)
    state, sizes = one.state_dict(), [HIDDEN, kv_heads * WIDTH, kv_heads * WIDTH]
    for leaf, axis in (("weight", int(transposed)), ("bias", 0)):
        parts = state.pop(f"qkv.{leaf}").split(sizes, axis)
        state |= {f"{name}.{leaf}": part for name, part in zip("qkv", parts, strict=True)}
    apart.load_state_dict(state)
    for mode in (torch.no_grad, torch.enable_grad):
        with mode():
            found, expected = (called(module, hidden, Context(), True) for module in (one, apart))
        torch.testing.assert_close(tuple(found), tuple(expected))


def test_packed_projections_compute_the_same_and_stay_parameters() -> None:
    module, hidden = made(), states(ROWS, QUERIES, HIDDEN)
    before, parameters = {name: t.clone() for name, t in module.state_dict().items()}, list(module.parameters())
    with torch.no_grad():
        expected = called(module, hidden, Context(), True)
        module.pack()
        found = called(module, hidden, Context(), True)
    torch.testing.assert_close(tuple(found), tuple(expected))
    assert [id(p) for p in module.parameters()] == [id(p) for p in parameters]
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert module.k.weight.data_ptr() == module.q.weight.data_ptr() + module.q.weight.nbytes


def test_attention_appends_to_the_past_and_leaves_it() -> None:
    module, hidden = made(), states(ROWS, QUERIES, HIDDEN)
    whole, _, (key, value) = called(module, hidden, Context(AttentionMask(causal=True)), False)
    past = (key[:, :, :3].clone(), value[:, :, :3].clone())
    before = tuple(tensor.clone() for tensor in past)
    last, _, kept = called(module, hidden[:, 3:], Context(past=past), False)
    torch.testing.assert_close(last, whole[:, 3:])
    torch.testing.assert_close(kept, (key, value))
    assert all(torch.equal(a, b) for a, b in zip(past, before, strict=True))


def test_queries_and_keys_are_rotated_before_they_are_cached() -> None:
    module, hidden = made(), states(ROWS, QUERIES, HIDDEN)
    embeddings = rotary_cos_sin(torch.arange(QUERIES)[None], FREQUENCIES, torch.float32)
    query, key, value = (split_heads(layer(hidden)) for layer in (module.q, module.k, module.v))
    query, key = apply_rotary(query, embeddings), apply_rotary(key, embeddings)
    found = called(module, hidden, Context(position_embeddings=embeddings), True)
    torch.testing.assert_close(found.key_value, (key, value))
    torch.testing.assert_close(found.weights, reference(query, key, value, lambda row, q, k: True)[1])


def test_cross_attention_takes_its_queries_here_and_its_keys_there() -> None:
    module = made(CrossAttention)
    hidden, encoded = states(ROWS, QUERIES, HIDDEN), states(ROWS, 5, HIDDEN, seed=5)
    key, value = split_heads(module.k(encoded)), split_heads(module.v(encoded))
    mask = padded_mask((5, 2, 3), "right", 5)
    expected, expected_weights = reference(
        split_heads(module.q(hidden)), key, value, lambda row, q, k: bool(mask[row, k])
    )
    context = Context(encoder_mask=build_mask(mask, QUERIES, 5, hidden, causal=False), encoder_hidden_states=encoded)
    found = called(module, hidden, context, True)
    torch.testing.assert_close(found.hidden, module.out(merged(expected)))
    torch.testing.assert_close(found.weights, expected_weights)
    torch.testing.assert_close(found.key_value, (key, value))
    again = Context(encoder_mask=context.encoder_mask, cross=found.key_value)
    torch.testing.assert_close(module(hidden, again)[0], found.hidden)
    assert module.encoder_key_value(again) is found.key_value
    assert module.encoder_key_value(Context()) is None


@pytest.mark.parametrize("with_weights", [False, True])
def test_attention_drops_out_in_training_only(with_weights: bool) -> None:
    module, hidden = made(attention_dropout=0.5), states(ROWS, QUERIES, HIDDEN)
    torch.manual_seed(0)
    noisy = [module.train()(hidden, Context(), with_weights)[0] for _ in range(2)]
    still = [module.eval()(hidden, Context(), with_weights)[0] for _ in range(2)]
    assert not torch.equal(*noisy)
    assert torch.equal(*still)
