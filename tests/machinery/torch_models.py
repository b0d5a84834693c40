"""Modules that return outputs, inputs for them, and child processes that run modules of this folder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modeloutputs import ModelOutput
from modeloutputs.torch.cache import Cache
from modeloutputs.torch.outputs import BaseModelOutput, CausalLMOutputWithPast

from ..support.random_outputs import full
from ..torch.tiny import BY_NAME
from .torch_users import Scored

WIDTH, HEADS = 8, 2


class Scorer(nn.Module):
    """One layer of attention with a cache; of its three states the middle one was not asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.score = nn.Linear(WIDTH, 3)

    def forward(self, states: Tensor, past_key_values: tuple[tuple[Tensor, Tensor], ...] | None = None) -> Scored:
        """Score each of `states` (batch, seq, WIDTH)."""
        query, key, value = (_split(layer(states)) for layer in (self.query, self.key, self.value))
        if past_key_values is not None:
            past_key, past_value = past_key_values[0]
            key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
        mixed = ((query @ key.mT).softmax(-1) @ value).transpose(1, 2).flatten(2)
        scores = self.score(mixed)
        return Scored(scores.square().mean(), scores, ((key, value),), (states, None, mixed))


def _split(states: Tensor) -> Tensor:
    return states.unflatten(-1, (HEADS, -1)).transpose(1, 2)


class Layer(nn.Module):
    """A layer that returns an output and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.calls = 0

    def forward(self, states: Tensor) -> BaseModelOutput:
        """Return the state after the activation as the last one, and that before it among the others."""
        self.calls += 1
        raised = self.linear(states)
        return BaseModelOutput(raised.tanh(), (states, None, raised))


class Recorded(nn.Module):
    """One of our models, asked for all that it can return but some layers."""

    def __init__(self, layers: Any = True) -> None:
        super().__init__()
        self.model, self.layers = llama(), layers

    def forward(self, input_ids: Tensor, past_key_values: Any = None) -> CausalLMOutputWithPast:
        """Return logits, cache, states and attentions."""
        flags = {"output_hidden_states": self.layers, "output_attentions": True, "use_cache": True}
        return self.model(input_ids, past_key_values=past_key_values, **flags)


def llama() -> Any:
    """Return a tiny model that is the same in every process."""
    return BY_NAME["LlamaForCausalLM"].model()


def tokens(rows: int, length: int) -> Tensor:
    """Return ids for it; those of fewer rows are the first of those of more."""
    return BY_NAME["LlamaForCausalLM"].inputs(rows, length)["input_ids"]


def scorer(seed: int = 0) -> Scorer:
    """Return a user's module that is the same in every process."""
    torch.manual_seed(seed)
    return Scorer().eval()


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return values that are the same in every process."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def start(module: str, *arguments: Any) -> subprocess.Popen[str]:
    """Start a module of this folder in a process of its own."""
    command = [sys.executable, "-m", f"{__package__}.{module}", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen[str], seconds: float = 300) -> None:
    """Wait for processes; where one fails or takes longer, end the others, for they may wait for it in turn."""
    try:
        for process in processes:
            _, errors = process.communicate(timeout=seconds)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.wait()


def filled(cls: type[ModelOutput], *, seed: int = 0) -> Any:
    """Return an output of a class with every field, its cache ours, and the first state or attention not asked for."""
    output = full(cls, seed=seed)
    for name, value in output.items():
        if name == "past_key_values":
            output[name] = Cache(value)
        elif type(value) is tuple:
            output[name] = (None, *value[1:])
    return output


def with_plain_cache(output: Any) -> Any:
    """Return the output with its cache as plain tuples: what a compiler that traces a model's call returns."""
    return output.replace(past_key_values=output.past_key_values.to_tuples())
