"""Outputs of models in parallel: two processes, each with half of the batch, against one that sees the whole."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("this build of PyTorch has no gloo", allow_module_level=True)

from torch.utils._pytree import tree_leaves, tree_structure

from modeloutputs.torch.cache import Cache
from modeloutputs.torch.outputs import CausalLMOutputWithPast

from ..support.once import made_once
from .marks import machinery
from .torch_models import finish, start
from .torch_ranks import LENGTH, OBJECTIVES, RANKS, ROWS, WHOLE, WRAPPERS, Trained, batch, train

DDP = [name for name in WRAPPERS if name.startswith("DDP")]
every_objective = pytest.mark.parametrize("objective", OBJECTIVES)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What each process wrote down."""

    def run(folder: Path) -> None:
        finish(*(start("torch_ranks", rank, folder) for rank in range(RANKS)))

    folder = made_once(tmp_path_factory, "ranks", run)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(RANKS)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What one process gets that trains on the whole batch, by objective."""
    return {name: train(Trained(), objective, WHOLE) for name, objective in OBJECTIVES.items()}


@pytest.fixture(scope="module")
def output() -> Any:
    """The untrained model's output for the whole batch."""
    with torch.no_grad():
        return Trained()(**batch(WHOLE))


def halves(output: Any, rank: int) -> list[Any]:
    """Return a process's rows of all that has rows."""
    size = ROWS // RANKS
    return [leaf[rank * size : (rank + 1) * size] for leaf in tree_leaves(output) if leaf.dim()]


def assert_trained(ranks: list[Any], alone: Any, wrapper: str, objective: str) -> None:
    whole, expected = alone[objective]
    for rank, written in enumerate(ranks):
        output, gradients = written["trained"][wrapper, objective]
        assert type(output) is CausalLMOutputWithPast
        assert type(output.past_key_values) is Cache
        assert tree_structure(output) == tree_structure(whole)
        rows = [leaf for leaf in tree_leaves(output) if leaf.dim()]
        torch.testing.assert_close(rows, halves(whole, rank), atol=1e-5, rtol=0)
        assert len(gradients) == 21
        torch.testing.assert_close(gradients, expected, atol=1e-5, rtol=0)
    losses = [written["trained"][wrapper, objective][0].loss for written in ranks]
    torch.testing.assert_close(sum(losses) / RANKS, whole.loss, atol=1e-5, rtol=0)


def test_the_two_objectives_differ(alone: dict[str, Any]):
    pairs = zip(alone["loss"][1].values(), alone["loss and states"][1].values(), strict=True)
    assert sum(not torch.allclose(left, right, atol=1e-4) for left, right in pairs) > 10


@machinery("data parallel")
@pytest.mark.parametrize("wrapper", DDP)
@every_objective
def test_ddp_gives_the_gradients_of_one_process(ranks: list[Any], alone: Any, wrapper: str, objective: str):
    assert_trained(ranks, alone, wrapper, objective)


@machinery("sharded data parallel")
@every_objective
def test_fsdp2_gives_the_gradients_of_one_process(ranks: list[Any], alone: Any, objective: str):
    assert_trained(ranks, alone, "FSDP2", objective)


@machinery("sharded data parallel")
def test_fsdp2_casts_outputs(ranks: list[Any], alone: dict[str, Any]):
    for rank, written in enumerate(ranks):
        output = written["mixed"]
        assert type(output) is CausalLMOutputWithPast
        assert {leaf.dtype for leaf in tree_leaves(output)} == {torch.float32}
        whole = alone["loss"][0]
        torch.testing.assert_close(output.logits, halves(whole, rank)[0], atol=0.25, rtol=0)
        assert not torch.equal(output.logits, ranks[rank]["trained"]["FSDP2", "loss"][0].logits)


@machinery("memory of parallel wrappers")
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_parallel_training_takes_no_more_memory_than_with_tuples(ranks: list[Any], wrapper: str):
    for written in ranks:
        with_outputs, with_tuples = written["peaks"][wrapper]
        # Exactly as much but for a few bytes of bookkeeping; the cache, the states or the logits twice would be more.
        assert 50_000 < with_outputs < with_tuples * 1.005


@machinery("gathering objects")
def test_objects_are_gathered(ranks: list[Any], output: Any):
    for written in ranks:
        for rank, part in enumerate(written["gathered"]["objects"]):
            assert type(part) is CausalLMOutputWithPast
            assert type(part.past_key_values) is Cache
            assert part.hidden_states[0] is None
            assert part.loss.shape == ()
            rows = [leaf for leaf in tree_leaves(part) if leaf.dim()]
            torch.testing.assert_close(rows, halves(output, rank), atol=1e-5, rtol=0)


@pytest.fixture
def accelerated(ranks: list[Any]) -> list[dict[str, Any]]:
    """What accelerate made of each process's half, placeholders left out, which its functions refuse."""
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    return [written["gathered"] for written in ranks]


@machinery("accelerate, across processes")
def test_accelerate_gathers(accelerated: list[dict[str, Any]], output: Any):
    losses = torch.stack([part.loss for part in accelerated[0]["objects"]])
    expected = output.replace(loss=losses, hidden_states=output.hidden_states[1:])
    for written in accelerated:
        assert type(written["gather"].check()) is CausalLMOutputWithPast
        assert tree_structure(written["gather"]) == tree_structure(expected)  # Cache and tuples among it
        torch.testing.assert_close(tree_leaves(written["gather"]), tree_leaves(expected), atol=1e-5, rtol=0)


@machinery("accelerate, across processes")
def test_accelerate_reduces_and_broadcasts(accelerated: list[dict[str, Any]], output: Any):
    first, second = ([leaf for leaf in halves(output, rank)] for rank in range(RANKS))  # noqa: C416
    means = [(left + right) / RANKS for left, right in zip(first, second, strict=True)]
    for written in accelerated:
        for name, expected in (("reduce", means), ("broadcast", first)):
            assert type(written[name].check()) is CausalLMOutputWithPast
            assert type(written[name].past_key_values) is Cache
            rows = [leaf for leaf in tree_leaves(written[name]) if leaf.dim()]
            torch.testing.assert_close(rows, expected, atol=1e-5, rtol=0)


@machinery("accelerate, across processes")
def test_accelerate_pads(accelerated: list[dict[str, Any]], output: Any):
    for rank, written in enumerate(accelerated):
        padded = written["pad_across_processes"]
        expected = halves(output, rank)[0].clone()
        expected[:, LENGTH - rank :] = 0
        assert type(padded) is CausalLMOutputWithPast
        torch.testing.assert_close(padded.logits, expected, atol=1e-5, rtol=0)
