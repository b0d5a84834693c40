"""Sends outputs between processes and writes down what arrives: `python -m tests.machinery.torch_processes FILE`.

For `test_torch.py`, in a process of its own: workers that start from a copy of pytest's would copy its threads' locks.
"""

import sys
from typing import Any

import torch
from torch import multiprocessing
from torch.utils.data import DataLoader, Dataset

from modeloutputs.torch.cache import Cache
from modeloutputs.torch.outputs import CausalLMOutputWithPast

from .torch_models import normal
from .torch_users import Scored

ROWS = 4


def output_of(row: int, *, placeholder: bool = False) -> CausalLMOutputWithPast:
    """Return what a model might return for one row of a dataset."""
    states = (None if placeholder else normal(3, 8, seed=row), normal(3, 8, seed=row + 10))
    cache = Cache([(normal(2, 3, 4, seed=row), normal(2, 3, 4, seed=row + 10))])
    return CausalLMOutputWithPast(logits=normal(3, 5, seed=row), past_key_values=cache, hidden_states=states)


def scored(row: int) -> Scored:
    """Return an output of a user's class."""
    return Scored(scores=normal(3, seed=row), hidden_states=(None, normal(2, seed=row)))


class Rows(Dataset[CausalLMOutputWithPast]):
    """A dataset of outputs."""

    def __init__(self, *, placeholder: bool = False) -> None:
        self.placeholder = placeholder

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> CausalLMOutputWithPast:
        return output_of(row, placeholder=self.placeholder)


def as_it_is(output: CausalLMOutputWithPast) -> CausalLMOutputWithPast:
    """Collate nothing."""
    return output


def echo(received: Any, sent: Any) -> None:
    """Send back what is received until that is None."""
    for output in iter(received.get, None):
        sent.put(output)


def through_queues() -> list[Any]:
    """Return outputs that another process has received and sent back, each with whether its memory is shared."""
    context = multiprocessing.get_context("spawn")
    there, back = context.Queue(), context.Queue()
    process = context.Process(target=echo, args=(there, back), daemon=True)
    process.start()
    returned: list[Any] = []
    for output in (output_of(0, placeholder=True), scored(1)):
        there.put(output)
        arrived = back.get(timeout=180)
        returned.append((arrived, output.to_tuple()[0].is_shared() and arrived.to_tuple()[0].is_shared()))
    there.put(None)
    process.join(60)
    return returned


def main(file: str) -> None:
    """Collect what arrives by each way."""
    torch.save(
        {
            "queues": through_queues(),
            "items": list(DataLoader(Rows(placeholder=True), None, num_workers=1, collate_fn=as_it_is)),
            "converted": list(DataLoader(Rows(placeholder=True), None, num_workers=1)),
            "batches": list(DataLoader(Rows(), batch_size=2, num_workers=1)),
        },
        file,
    )


if __name__ == "__main__":
    main(sys.argv[1])
