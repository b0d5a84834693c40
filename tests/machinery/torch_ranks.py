"""What one of two processes does with models in parallel: `python -m tests.machinery.torch_ranks RANK FOLDER`.

For `test_torch_distributed.py`, which holds what is written down here against one process that sees the whole batch.
DeepSpeed is not among the wrappers: it does not install where these tests run, and what is not run is not claimed.
"""

import datetime
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile
from torch.utils._pytree import tree_map

from modeloutputs.torch.outputs import CausalLMOutputWithPast

from ..torch.tiny import BY_NAME
from .torch_models import llama

RANKS, ROWS, LENGTH, STEPS = 2, 4, 7, 2
WHOLE = slice(0, ROWS)


class Trained(nn.Module):
    """One of our models, with a layer that no call uses; returns the output, or the plain tuple of its fields."""

    def __init__(self, *, as_tuple: bool = False) -> None:
        super().__init__()
        self.model, self.unused, self.as_tuple = llama(), nn.Linear(2, 2), as_tuple

    def forward(self, **inputs: Tensor) -> Any:
        """Return loss, logits, cache and two of the three states."""
        output = self.model(**inputs, output_hidden_states=[1, 2], use_cache=True)
        return output.to_tuple() if self.as_tuple else output


def batch(rows: slice) -> dict[str, Tensor]:
    """Return rows of the batch, each with as many labels as any other: means of halves average to that of the whole."""
    head = BY_NAME["LlamaForCausalLM"]
    return {name: value[rows] for name, value in (head.inputs(ROWS, LENGTH) | head.labels_for(ROWS, LENGTH)).items()}


# -- what is differentiated: of an output, or of the tuple of the same fields -----------------------------------------


def loss(output: Any) -> Tensor:
    """Return the loss that the model computed."""
    return output[0]


def loss_and_states(output: Any) -> Tensor:
    """Return it with a penalty on the states, which reaches them through the output alone."""
    return output[0] + sum(state.square().mean() for state in output[-1] if state is not None)


OBJECTIVES: dict[str, Callable[[Any], Tensor]] = {"loss": loss, "loss and states": loss_and_states}


# -- wrappers ---------------------------------------------------------------------------------------------------------


def _ddp(**settings: bool) -> Callable[[Trained], nn.Module]:
    def wrap(model: Trained) -> nn.Module:
        if "find_unused_parameters" not in settings:
            model.unused.requires_grad_(False)
        return DistributedDataParallel(model, **settings)

    return wrap


def _fsdp(dtype: torch.dtype | None = None) -> Callable[[Trained], nn.Module]:
    def wrap(model: Trained) -> nn.Module:
        mesh = init_device_mesh("cpu", (RANKS,))
        for layer in model.model.model.layers:
            fully_shard(layer, mesh=mesh, mp_policy=MixedPrecisionPolicy(param_dtype=dtype))
        policy = MixedPrecisionPolicy(param_dtype=dtype, output_dtype=None if dtype is None else torch.float32)
        return fully_shard(model, mesh=mesh, mp_policy=policy)

    return wrap


WRAPPERS = {
    "DDP": _ddp(),
    "DDP, static graph": _ddp(static_graph=True),
    "DDP, unused parameters": _ddp(find_unused_parameters=True),
    "FSDP2": _fsdp(),
}
MIXED = _fsdp(torch.bfloat16)


# -- training ---------------------------------------------------------------------------------------------------------


def train(model: nn.Module, objective: Callable[[Any], Tensor], rows: slice) -> tuple[Any, dict[str, Tensor]]:
    """Take steps; return the last output and the gradients of the last step, which come after changes by the first."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(**batch(rows))
        objective(output).backward()
        gradients = _gradients(model)
        optimizer.step()
    return tree_map(Tensor.detach, output), gradients


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    named = ((name.removeprefix("module."), parameter.grad) for name, parameter in model.named_parameters())
    # Of what got no gradient some wrappers say zero, others None.
    return {name: _whole(grad).clone() for name, grad in named if grad is not None and "unused" not in name}


def _whole(gradient: Any) -> Tensor:
    return gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient


def peak_bytes(wrap: Callable[[Trained], nn.Module], rows: slice, *, as_tuple: bool) -> int:
    """Return the most that a training step holds at a time beyond what was there before it.

    The least of several: where collectives overlap with what comes after them, a step may hold a buffer for longer.
    """
    model = wrap(Trained(as_tuple=as_tuple))
    for _ in range(STEPS):  # wrappers allocate buffers in their first ones
        loss_and_states(model(**batch(rows))).backward()
    return min(_peak_bytes_of_step(model, rows) for _ in range(6))


def _peak_bytes_of_step(model: nn.Module, rows: slice) -> int:
    distributed.barrier()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        loss_and_states(model(**batch(rows))).backward()
    held = peak = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


# -- gathering --------------------------------------------------------------------------------------------------------


def gathered(rank: int, output: CausalLMOutputWithPast) -> dict[str, Any]:
    """Return what accelerate and PyTorch make of one output from each process."""
    objects: list[Any] = [None] * RANKS
    distributed.all_gather_object(objects, output)
    if importlib.util.find_spec("accelerate") is None:
        return {"objects": objects}
    from accelerate import PartialState, utils

    PartialState(cpu=True)  # finds the group that there is
    # accelerate takes tensors only where others have placeholders.
    plain = output.replace(hidden_states=tuple(state for state in output.hidden_states if state is not None))
    shorter = CausalLMOutputWithPast(logits=plain.logits[:, : LENGTH - rank])
    return {
        "objects": objects,
        "gather": utils.gather(plain),
        "reduce": utils.reduce(plain, "mean"),
        "broadcast": utils.broadcast(tree_map(Tensor.clone, plain)),  # it overwrites what it is given
        "pad_across_processes": utils.pad_across_processes(shorter, dim=1),
    }


# -- one process ------------------------------------------------------------------------------------------------------


def run(rank: int) -> dict[str, Any]:
    """Do everything, on this process's half of the batch."""
    half = ROWS // RANKS
    rows = slice(rank * half, (rank + 1) * half)
    with torch.no_grad():
        output = Trained()(**batch(rows))
    return {
        "trained": {
            (wrapper, objective): train(wrap(Trained()), OBJECTIVES[objective], rows)
            for wrapper, wrap in WRAPPERS.items()
            for objective in OBJECTIVES
        },
        "mixed": train(MIXED(Trained()), loss, rows)[0],
        "peaks": {
            wrapper: tuple(peak_bytes(wrap, rows, as_tuple=as_tuple) for as_tuple in (False, True))
            for wrapper, wrap in WRAPPERS.items()
        },
        "gathered": gathered(rank, output),
    }


def main(rank: int, folder: Path) -> None:
    """Join the other process, over the loopback interface and a file, and write down what came out."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS)}
    timeout = datetime.timedelta(seconds=180)
    store = f"file://{(folder / 'store').absolute()}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS, timeout=timeout)
    torch.save(run(rank), folder / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
