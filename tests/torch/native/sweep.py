"""Forward hooks on each module of a model: how often each fires, and how often its result is used."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..generating import Generator
from ..tiny import Head

Call = Callable[[], Any]


def modules_of(model: nn.Module) -> list[str]:
    """Return the names of all modules but the model itself."""
    return [name for name, _ in model.named_modules() if name]


def uses(model: Any, head: Head, name: str) -> int:
    """Return how many times one call uses a module's result, as the model's description has it."""
    if name in ("shared", "model.shared"):  # the table that encoder and decoder look up, or one that neither has
        return 2 if model.config.tie_word_embeddings else 0
    if name == "classification_head.dropout":  # before each of two layers
        return 2
    layer = re.search(r"(encoder|decoder)?\.?(h|layers)\.\d+\.dropout$", name)
    if layer is None:
        return 1
    crosses = head.cls.__name__.startswith("GPT2") and model.config.add_cross_attention
    crosses = crosses or ("Bart" in head.cls.__name__ and layer[1] != "encoder" and head.cls.__name__ != "BartEncoder")
    return 3 if crosses else 2  # attention, feed-forward and cross-attention share it


def steps(model: Any, generator: Generator, name: str, new_tokens: int) -> int:
    """Return how many times generating `new_tokens` uses a module's result, each prompt read once."""
    if generator.is_seq2seq and name.startswith("model.encoder"):
        return 2 if name.endswith("dropout") and ".layers." in name else 1
    if generator.name == "BartForCausalLM" and ".encoder_attn" in name:
        return 0  # it was given no encoder
    if re.search(r"(encoder_attn\.[kv]_proj|crossattention\.self\.(key|value)|crossattention\.c_attn)$", name):
        return 1  # of the encoder's states, cached
    if name == "model.shared":
        return 1 + new_tokens
    if re.search(r"(h|layers)\.\d+\.dropout$", name):
        return (3 if generator.crosses or generator.is_seq2seq else 2) * new_tokens
    return new_tokens


@contextmanager
def counting(module: nn.Module) -> Iterator[list[int]]:
    """Count a module's calls."""
    calls = [0]

    def count(*_: Any) -> None:
        calls[0] += 1

    handle = module.register_forward_hook(count)
    try:
        yield calls
    finally:
        handle.remove()


@contextmanager
def hooked(module: nn.Module, hook: Callable[..., Any], *, before: bool = False) -> Iterator[None]:
    """Register a forward hook, or a forward pre-hook, for a while."""
    handle = module.register_forward_pre_hook(hook) if before else module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def fired(model: nn.Module, name: str, call: Call) -> int:
    """Return how often a hook on this one module fires in a call."""
    with counting(model.get_submodule(name)) as calls:
        call()
    return calls[0]


# -- hooks that change something ----------------------------------------------------------------------------------


_CHANCE = torch.Generator().manual_seed(9)


def noise(tensor: Tensor) -> Tensor:
    """Return another tensor of the same shape, at random: a softmax or a norm could undo a function of it."""
    if tensor.is_floating_point():
        return tensor + torch.randn(tensor.shape, generator=_CHANCE)
    return 1 - tensor if int(tensor.max()) <= 1 else tensor.flip(-1)


def disturb_output(_module: nn.Module, _inputs: Any, output: Any) -> Any:
    """Return an output with noise, or a tuple of any kind as a plain one with noise on its first tensor."""
    if isinstance(output, Tensor):
        return noise(output)
    if isinstance(output, tuple):
        return (noise(output[0]), *output[1:])
    return output.replace(**{name: noise(value) for name, value in output.items() if isinstance(value, Tensor)})


def disturb_input(_module: nn.Module, inputs: tuple[Any, ...]) -> Any:
    """Return the inputs with noise on the first."""
    return (noise(inputs[0]), *inputs[1:])
