"""Saving and loading, in GB/s, beside plain safetensors files of the same tensors and beside torch.save."""

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from harness import Row
from modeloutputs import ModelOutput, load, save
from modeloutputs.torch import BaseModelOutput, SequenceClassifierOutput
from native_race import Race, race

__all__ = ["tables"]

SHARE, SHARE_OF_LISTS = 0.97, 1.0
"""Of the speed of plain safetensors, at least: of one large output, and of a list of many small ones."""

Call = Callable[[], object]


def large() -> BaseModelOutput:
    """Return 14 tensors, 210 MB in all: the states of 12 layers, 384 wide, of 76 texts of 128 tokens."""
    states = tuple(torch.randn(76, 128, 384) for _ in range(13))
    return BaseModelOutput(last_hidden_state=torch.randn(76, 128, 384), hidden_states=states)


def many() -> list[SequenceClassifierOutput]:
    """Return 1,000 outputs of 4 small tensors."""

    def small(i: int) -> SequenceClassifierOutput:
        states = (torch.randn(1, 8, 32), torch.randn(1, 8, 32))
        return SequenceClassifierOutput(loss=torch.tensor(float(i)), logits=torch.randn(1, 4), hidden_states=states)

    return [small(i) for i in range(1000)]


def flat(outputs: Any) -> dict[str, torch.Tensor]:
    """Return what a plain file holds: the tensors by their places."""
    if isinstance(outputs, ModelOutput):
        return outputs.to_flat_dict()
    return {f"{i}.{name}": value for i, output in enumerate(outputs) for name, value in output.to_flat_dict().items()}


def plain(outputs: Any) -> Any:
    """Return the same in dicts, as one passes it to torch.save."""
    return outputs.to_dict() if isinstance(outputs, ModelOutput) else [output.to_dict() for output in outputs]


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """Go through all tensors, however nested."""
    if isinstance(value, torch.Tensor):
        yield value
    else:
        items = value.values() if isinstance(value, Mapping) else value
        yield from itertools.chain.from_iterable(map(tensors, items))


def read_through(load: Call) -> Call:
    """Load and look at every number: a file that is only mapped has not been read."""
    return lambda: sum(float(tensor.sum()) for tensor in tensors(load()))


def row_beside(raced: Race, peer: str, target: float, size: int) -> Row:
    """Return the line beside a peer, with the speeds of both."""
    speeds = [speed(size / raced.times[name]) for name in ("ours", peer)]
    return raced.row(peer, target=target, faster=True, note=" beside ".join(speeds))


def speed(bytes_a_second: float) -> str:
    return f"{bytes_a_second / 1e9:.2f} GB/s" if bytes_a_second >= 1e8 else f"{bytes_a_second / 1e6:.1f} MB/s"


def compare(outputs: Any, folder: Path, seconds: float) -> list[Row]:
    """Race saving, then loading, the same outputs."""
    size = sum(tensor.nbytes for tensor in tensors(outputs))
    paths = {name: folder / name for name in ("ours", "safetensors", "torch.save")}
    saving: dict[str, Call] = {
        "ours": lambda: save(outputs, paths["ours"]),
        "safetensors": lambda: save_file(flat(outputs), paths["safetensors"]),
        "torch.save": lambda: torch.save(plain(outputs), paths["torch.save"]),
    }
    loading: dict[str, Call] = {
        "ours": lambda: load(paths["ours"]),
        "safetensors": lambda: load_file(paths["safetensors"]),
        "torch.save": lambda: torch.load(paths["torch.save"]),
    }
    reading = {name: read_through(call) for name, call in loading.items()}
    del loading["torch.save"]  # it reads at once: beside files that are mapped there is nothing to time
    rows: list[Row] = []
    for what, contenders in (("save", saving), ("load and sum", reading), ("load, until there", loading)):
        raced = race(what, contenders, seconds)
        share = SHARE if isinstance(outputs, ModelOutput) else SHARE_OF_LISTS
        rows.append(row_beside(raced, "safetensors", share, size))
        if "torch.save" in contenders:
            rows.append(row_beside(raced, "torch.save", 1.0, size))
    return rows


def folder_in_memory() -> tempfile.TemporaryDirectory[str]:
    """Return a folder in memory where there is one: a disk's own pace would hide what the programs do."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)


def tables() -> Iterator[tuple[str, list[Row]]]:
    """Return each table's title and lines."""
    with folder_in_memory() as folder:
        place = f"files in {Path(folder).parent}"
        yield f"One output of 14 tensors, 210 MB, {place}", compare(large(), Path(folder), seconds=4)
        yield f"A list of 1,000 outputs of 4 small tensors, {place}", compare(many(), Path(folder), seconds=2)
