"""A training step under DistributedDataParallel: gloo, 2 processes, what the model returns being all that differs."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers.modeling_outputs as peers
from torch.nn.parallel import DistributedDataParallel

from harness import Row, time_in_turn
from modeloutputs.torch import SequenceClassifierOutput
from native_race import summed_up, with_ours_again

__all__ = ["tables"]

PROCESSES, ROUNDS, CALLS = 2, 151, 2
WIDTH, LABELS, LAYERS, BATCH = 64, 4, 3, 8

CONTAINERS: dict[str, Callable[..., Any]] = {
    "ours": SequenceClassifierOutput,
    "transformers": peers.SequenceClassifierOutput,
    "tuple": lambda **fields: tuple(fields.values()),
    "dict": dict,
}
MODES: dict[str, dict[str, bool]] = {
    "a step": {},
    "a step, static_graph": {"static_graph": True},
    "a step, find_unused_parameters": {"find_unused_parameters": True},
}


class Classifier(torch.nn.Module):
    """A few layers that return their loss, logits and states in a container."""

    def __init__(self, container: Callable[..., Any]) -> None:
        super().__init__()
        self.container = container
        self.layers = torch.nn.ModuleList([torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)])
        self.head = torch.nn.Linear(WIDTH, LABELS)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> Any:
        states = [inputs]
        for layer in self.layers:
            states.append(torch.tanh(layer(states[-1])))
        logits = self.head(states[-1])
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return self.container(loss=loss, logits=logits, hidden_states=tuple(states))


def training_step(container: Callable[..., Any], options: dict[str, bool]) -> Callable[[], None]:
    """Return a step of a model of its own, the same in every process."""
    torch.manual_seed(0)
    model = DistributedDataParallel(Classifier(container), **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs, labels = torch.randn(BATCH, WIDTH), torch.randint(LABELS, (BATCH,))

    def step() -> None:
        output = model(inputs, labels)
        loss = output[0] if isinstance(output, tuple) else output["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def work(rank: int, folder: str) -> None:
    """Time all modes in one process of the group; the first writes the medians down."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    times: dict[str, dict[str, float]] = {}
    for mode, options in MODES.items():
        steps = {name: training_step(container, options) for name, container in CONTAINERS.items()}
        # All processes must take the same steps in the same order: their number cannot depend on a clock.
        times[mode] = time_in_turn(with_ours_again(steps), ROUNDS, warmup=5, calls=CALLS)
    if rank == 0:
        (Path(folder) / "times.json").write_text(json.dumps(times))
    dist.barrier()
    dist.destroy_process_group()


def tables() -> Iterator[tuple[str, list[Row]]]:
    """Return the table's title and lines."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (folder,), PROCESSES)
        times = json.loads((Path(folder) / "times.json").read_text())
    rows = [summed_up(mode, medians, ROUNDS).row() for mode, medians in times.items()]
    yield f"DistributedDataParallel, gloo, {PROCESSES} processes", rows
