"""One of two processes that shard models by layer class: `python -m tests.torch.native.fsdp_ranks RANK FOLDER`."""

import datetime
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from modeloutputs import CheckpointError
from modeloutputs.torch.bert import BertLayer
from modeloutputs.torch.layer import Layer

from ..tiny import Head
from .cases import BY_NAME, arguments

RANKS, STEPS = 2, 2
HEADS = ("BertForSequenceClassification, one class", "GPT2LMHeadModel, alone", "LlamaForCausalLM")


def inputs(head: Head) -> dict[str, Any]:
    """Return the same batch for every process, so that mean gradients are those of one."""
    given = arguments(head)
    labels = torch.tensor([0, 2]) if "logits" in head.pooled else given["input_ids"]
    return {**given, "labels": labels}


def train(model: nn.Module, given: dict[str, Any]) -> tuple[float, dict[str, Tensor]]:
    """Take steps; return the last loss and the weights, whole."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = torch.zeros(())
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model(**given).loss
        loss.backward()
        optimizer.step()
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return float(loss.detach()), get_model_state_dict(model, options=options)


def _run(head: Head, folder: Path) -> dict[str, Any]:
    model: Any = head.model()
    mesh = init_device_mesh("cpu", (RANKS,))
    layers = [module for module in model.modules() if isinstance(module, (Layer, BertLayer))]
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    loss, state = train(model, inputs(head))
    try:
        model.save_pretrained(folder / "sharded")
        refusal = None
    except CheckpointError as error:
        refusal = str(error)
    bricks = [module for module in layers[0].modules() if not list(module.children()) and list(module.parameters())]
    plain = all(type(brick).__module__.startswith(("torch.nn.", "modeloutputs.")) for brick in bricks)
    return {"layers": len(layers), "plain bricks": plain, "loss": loss, "state": state, "refusal": refusal}


def main(rank: int, folder: Path) -> None:
    """Join the other process, over the loopback interface and a file, and write down what came out."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS)}
    store = f"file://{(folder / 'store').absolute()}"
    timeout = datetime.timedelta(seconds=120)
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS, timeout=timeout)
    torch.save({name: _run(BY_NAME[name], folder) for name in HEADS}, folder / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
