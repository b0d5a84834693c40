"""A state dict is the peer's: the same names and shapes, loaded strictly in both directions."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn

import modeloutputs.torch as public
from modeloutputs.torch.pretrained import PreTrainedModel

from ...support.needs import needs
from ..tiny import SHARED_HEADS, Head
from .cases import NATIVE_HEADS, computed, native_peer

pytestmark = needs("transformers")

BIASES = frozenset({"cls.predictions.bias", "cls.predictions.decoder.bias"})
"""Untied, the peer keeps the first beside the second, which it adds; here they are one, as both are when tied."""

every_head = pytest.mark.parametrize("head", NATIVE_HEADS, ids=[head.name for head in NATIVE_HEADS])


def test_every_public_model_is_among_those_compared() -> None:
    classes = {value for value in vars(public).values() if isinstance(value, type)}
    classes |= {getattr(public, name) for name in public.__all__ if isinstance(getattr(public, name), type)}
    models = {cls for cls in classes if issubclass(cls, PreTrainedModel) and "PreTrained" not in cls.__name__}
    assert len(models) >= 20
    assert {cls for cls in models if cls.__name__ not in SHARED_HEADS} <= {head.cls for head in NATIVE_HEADS}


@every_head
def test_names_and_shapes_are_the_peers(head: Head) -> None:
    ours = {name: tuple(tensor.shape) for name, tensor in head.model().state_dict().items()}
    theirs = {name: tuple(tensor.shape) for name, tensor in native_peer(head).state_dict().items()}
    assert ours == theirs


@every_head
def test_the_peers_state_is_loaded_strictly(head: Head) -> None:
    ours, theirs = head.model(), native_peer(head)
    result = ours.load_state_dict(theirs.state_dict())
    assert result == ([], [])
    torch.testing.assert_close(computed(ours, head), computed(theirs, head), rtol=0, atol=1e-5)


@every_head
def test_the_peer_loads_ours_strictly(head: Head) -> None:
    ours, theirs = head.model(), native_peer(head)
    result = theirs.load_state_dict(ours.state_dict())
    assert result == ([], [])
    torch.testing.assert_close(computed(ours, head), computed(theirs, head), rtol=0, atol=1e-5)


@every_head
def test_a_state_loaded_by_assignment_is_the_peers_too(head: Head) -> None:
    ours, theirs = head.model(), native_peer(head)
    ours.load_state_dict(theirs.state_dict(), assign=True)
    torch.testing.assert_close(computed(ours, head), computed(theirs, head), rtol=0, atol=1e-5)


@every_head
def test_tied_weights_stand_under_each_name_and_are_one_parameter(head: Head) -> None:
    def aliases(model: nn.Module) -> set[frozenset[str]]:
        names: dict[int, set[str]] = {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            names.setdefault(id(tensor), set()).add(name)
        return {frozenset(group) for group in names.values() if len(group) > 1}

    assert aliases(head.model()) - {BIASES} == aliases(native_peer(head)) - {BIASES}


@every_head
def test_parameters_are_the_peers_in_number_and_trainability(head: Head) -> None:
    ours, theirs = dict(head.model().named_parameters()), dict(native_peer(head).named_parameters())
    assert ours.keys() - BIASES == theirs.keys() - BIASES
    assert all(parameter.requires_grad == theirs[name].requires_grad for name, parameter in ours.items())


@every_head
def test_bricks_are_plain(head: Head) -> None:
    """Modules with parameters of their own are PyTorch's, or the two small ones that it lacks."""
    peers = dict(native_peer(head).named_modules())
    plain = (nn.Linear, nn.Embedding, nn.LayerNorm)
    for name, module in head.model().named_modules():
        own = set(module._parameters) - {"bias"} if name.endswith("predictions") else set(module._parameters)
        if not own:
            continue
        expected = type(peers[name]).__name__
        if type(peers[name]) in plain:
            assert type(module) is type(peers[name]), name
        elif expected == "BartLearnedPositionalEmbedding" or expected == "BartScaledWordEmbedding":
            assert type(module) is nn.Embedding, name
        else:
            assert (expected, type(module).__name__) in {("Conv1D", "Conv1D"), ("LlamaRMSNorm", "RMSNorm")}, name
