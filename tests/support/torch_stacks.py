"""Stacks of layers in all variants, and the same layers written out in plain functions."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeloutputs.architectures.layers import AttentionPaths, FeedForwardPaths, LayerPaths, LayerSettings
from modeloutputs.torch.attention import PositionEmbeddings
from modeloutputs.torch.layers import Conv1D
from modeloutputs.torch.stack import Stack, StackResult

from ..torch.tiny import padded_mask, randomise, states

LAYERS, ROWS, LENGTH = 3, 3, 6
WIDTH, HEADS, INNER, LIMIT = 32, 4, 37, 40
LENGTHS = (6, 2, 4)
FREQUENCIES = [1.0, 0.3, 0.09, 0.01]
"""For heads of width 8."""

SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "heads": HEADS,
    "intermediate_size": INNER,
    "activation": "gelu",
    "norm_eps": 1e-3,  # large enough to be seen
}
LLAMA: dict[str, Any] = {
    "kv_heads": 2,
    "activation": "silu",
    "rms_norm": True,
    "norm_first": True,
    "gated": True,
    "attention_bias": False,
    "feed_forward_bias": False,
    "causal": True,
}
GPT2: dict[str, Any] = {"norm_first": True, "causal": True, "joint": True, "transposed_weights": True}
VARIANTS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "post-norm, causal": {"causal": True},
    "pre-norm": {"norm_first": True},
    "pre-norm, causal": {"norm_first": True, "causal": True},
    "pre-norm, RMSNorm": {"norm_first": True, "rms_norm": True},
    "post-norm, RMSNorm": {"rms_norm": True},
    "grouped": {"kv_heads": 2},
    "one key for all": {"kv_heads": 1, "causal": True},
    "wide heads": {"head_dim": 12},
    "narrow heads, grouped": {"head_dim": 4, "kv_heads": 2, "causal": True},
    "gated": {"gated": True, "activation": "silu"},
    "gated, no bias": {"gated": True, "activation": "gelu_new", "feed_forward_bias": False},
    "no attention bias": {"attention_bias": False},
    "scales": {"scales": [0.5, None, 2.0]},
    "one matrix, grouped": {"joint": True, "kv_heads": 2},
    "transposed": {"transposed_weights": True},
    "feed-forward modules of the layer": {"flat": True},
    "GPT-2": GPT2,
    "Llama": LLAMA,
    "Llama with biases": {**LLAMA, "attention_bias": True, "feed_forward_bias": True},
}


def paths(*, gated: bool = False, joint: bool = False, flat: bool = False) -> LayerPaths:
    """Return paths of modules.

    Args:
        gated: the feed-forward block has a gate.
        joint: query, key and value are slices of one matrix.
        flat: the feed-forward block's modules are the layer's own.
    """
    names = dict.fromkeys(("query", "key", "value"), "qkv") if joint else {"query": "q", "key": "k", "value": "v"}
    block = "" if flat else "mlp."
    return LayerPaths(
        attention=AttentionPaths(
            **{role: f"attn.{name}" for role, name in names.items()}, output="attn.out", norm="attn_norm"
        ),
        cross_attention=AttentionPaths(
            query="cross.q", key="cross.k", value="cross.v", output="cross.out", norm="cross_norm"
        ),
        feed_forward=FeedForwardPaths(
            up=f"{block}up", down=f"{block}down", norm="mlp_norm", gate=f"{block}gate" if gated else None
        ),
    )


def built(
    layers: int = LAYERS, *, gated: bool = False, joint: bool = False, flat: bool = False, **settings: Any
) -> Stack:
    """Return a stack in evaluation mode, no weight of which is 0 or 1."""
    layout = paths(gated=gated, joint=joint, flat=flat)
    return randomise(Stack.of_layers(LayerSettings(**{**SIZES, **settings}), layout, layers)).eval()


def made(layers: int = LAYERS, **settings: Any) -> Stack:
    """Return the same in float64."""
    return built(layers, **settings).double()


def final_norm() -> nn.Module:
    return randomise(nn.LayerNorm(WIDTH, 1e-3), seed=5).double()


def hidden_states(rows: int = ROWS, length: int = LENGTH, seed: int = 2) -> Tensor:
    return states(rows, length, WIDTH, seed).double()


def run(
    stack: Stack, hidden: Tensor, *, rotary: PositionEmbeddings | None = None, norm: Any = None, **given: Any
) -> StackResult:
    """Check and run one call."""
    call = stack.check(*hidden.shape[:2], LIMIT, **given)
    return stack(hidden, call, position_embeddings=rotary, final_norm=norm)


def everything(stack: Stack, hidden: Tensor, **more: Any) -> StackResult:
    """Run one call that returns all that it can."""
    return run(stack, hidden, output_hidden_states=True, output_attentions=True, use_cache=True, **more)


def close(found: Any, expected: Any, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


# -- the same written out ---------------------------------------------------------------------------------------------


class Expected(NamedTuple):
    """What a stack should return: states from the embeddings on, weights, and keys and values."""

    states: list[Tensor]
    weights: list[Tensor]
    cache: list[tuple[Tensor, Tensor]]


def product(hidden: Tensor, module: Any) -> Tensor:
    """Apply a linear layer of either layout."""
    weight = module.weight.T if isinstance(module, Conv1D) else module.weight
    return F.linear(hidden, weight, module.bias)


def normalised(hidden: Tensor, norm: Any, settings: LayerSettings) -> Tensor:
    if settings.rms_norm:
        return hidden / (hidden.square().mean(-1, keepdim=True) + settings.norm_eps).sqrt() * norm.weight
    centred = hidden - hidden.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + settings.norm_eps).sqrt()
    return scaled * norm.weight + norm.bias


def rotated(heads: Tensor, positions: Tensor | None) -> Tensor:
    """Rotate (B, H, S, D) as complex numbers, whose imaginary parts are the second half of the dimensions."""
    if positions is None:
        return heads
    angles = positions.double()[:, None, :, None] * torch.tensor(FREQUENCIES, dtype=torch.float64)
    turned = torch.complex(*heads.chunk(2, -1)) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], -1)


def projected(layer: Any, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and value (B, heads, S, D)."""
    settings, own = layer.settings, layer.paths.attention
    width, shared = settings.head_dim or settings.hidden_size // settings.heads, settings.kv_heads or settings.heads
    parts = dict.fromkeys((own.query, own.key, own.value))
    heads = torch.cat([product(hidden, layer.get_submodule(path)) for path in parts], -1)
    heads = heads.unflatten(-1, (-1, width)).transpose(1, 2)
    return heads[:, : settings.heads], heads[:, settings.heads : -shared], heads[:, -shared:]


def attended(
    layer: Any, hidden: Tensor, seen: Tensor, scale: float | None = None, positions: Tensor | None = None
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Attend head by head, each with the key that it shares."""
    query, key, value = projected(layer, hidden)
    query, key = rotated(query, positions), rotated(key, positions)
    contexts: list[Tensor] = []
    weights: list[Tensor] = []
    for head in range(query.shape[1]):
        own = head * key.shape[1] // query.shape[1]
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = query[:, head] @ key[:, own].mT * factor
        weights.append(scores.masked_fill(~seen, -torch.inf).softmax(-1))
        contexts.append(weights[-1] @ value[:, own])
    output = layer.get_submodule(layer.paths.attention.output)
    return product(torch.cat(contexts, -1), output), torch.stack(weights, 1), (key, value)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "silu": F.silu,
    "relu": F.relu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
}


def fed_forward(layer: Any, hidden: Tensor) -> Tensor:
    own, act = layer.paths.feed_forward, ACTIVATIONS[layer.settings.activation]
    up = product(hidden, layer.get_submodule(own.up))
    inner = act(up) if own.gate is None else act(product(hidden, layer.get_submodule(own.gate))) * up
    return product(inner, layer.get_submodule(own.down))


def block(layer: Any, hidden: Tensor, norm: str, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Add a block to its input and normalise, before or after."""
    settings, module = layer.settings, layer.get_submodule(norm)
    if settings.norm_first:
        return hidden + function(normalised(hidden, module, settings))
    return normalised(hidden + function(hidden), module, settings)


def written_out(
    stack: Stack, hidden: Tensor, seen: Tensor | None = None, positions: Tensor | None = None, norm: Any = None
) -> Expected:
    """Compute what a stack without cross-attention should return."""
    settings, length = stack.settings, hidden.shape[1]
    if seen is None:
        seen = torch.ones(1, length, length, dtype=torch.bool)
        seen = seen.tril() if settings.causal else seen
    expected = Expected([hidden], [], [])
    for i, layer in enumerate(stack):
        scale = settings.scales[i] if settings.scales else None

        def attend(read: Tensor, layer: Any = layer, scale: float | None = scale) -> Tensor:
            update, weights, key_value = attended(layer, read, seen, scale, positions)
            expected.weights.append(weights)
            expected.cache.append(key_value)
            return update

        hidden = block(layer, hidden, "attn_norm", attend)
        hidden = block(layer, hidden, "mlp_norm", lambda read, layer=layer: fed_forward(layer, read))
        expected.states.append(hidden)
    if norm is not None:
        expected.states[-1] = norm(hidden)
    return expected


def seen_through(mask: Tensor, causal: bool) -> Tensor:
    """Return which keys each query sees; one that sees none, being padding, itself."""
    seen = mask.bool()[:, None, :].expand(-1, mask.shape[1], -1)
    seen = seen.tril() if causal else seen
    return seen | (~seen.any(-1, keepdim=True) & torch.eye(mask.shape[1], dtype=torch.bool))


def mask_of(side: str | None) -> Tensor | None:
    """Return the mask (ROWS, LENGTH) of rows that are padded on one side, or None."""
    return None if side is None else padded_mask(LENGTHS, side, LENGTH)
