"""PyTorch's models on the command line: what is not tested through the commands."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs.cli.wings import torch as wing  # noqa: E402
from modeloutputs.torch import TokenClassifierOutput  # noqa: E402


def test_shapes_alone_are_joined_without_memory():
    parts = [wing.keep_shapes(TokenClassifierOutput(logits=torch.ones(size))) for size in ((2, 3, 2), (1, 2, 2))]
    assert {part["logits"].device.type for part in parts} == {"meta"}
    joined = wing.join_shapes(parts)["logits"]
    assert (joined.shape, joined.dtype, joined.device.type) == ((3, 3, 2), torch.float32, "cpu")
    assert joined.untyped_storage().nbytes() == 4


def test_losses_are_summed_in_the_output():
    output = TokenClassifierOutput(logits=torch.ones(1, 2, 3))
    assert wing.add_loss(output, []) is None
    assert "loss" not in output
    assert wing.add_loss(output, [torch.tensor(1.5), torch.tensor(0.25)]) is None
    assert output["loss"].item() == 1.75
    assert list(output) == ["loss", "logits"]
