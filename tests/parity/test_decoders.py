"""GPT, GPT-2, Llama and BART against transformers: every head under every way to call it, its losses and gradients."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import copy

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers, which these tests compare with, is not installed")

from modeloutputs.torch import row_chunks

from ..torch.tiny import BY_NAME, NEW_HEADS, WIDTH
from .compare import (
    CONDITIONS,
    EXACT,
    TOLERANCE,
    Condition,
    Pair,
    beams_difference,
    in_float64,
    loss_and_gradient_difference,
    output_difference,
    random_pair,
    without_attentions_and_cache,
)

CALLS = [(head.name, condition) for head in NEW_HEADS for condition in CONDITIONS if condition.applies(head)]
every_head = pytest.mark.parametrize("pair", [head.name for head in NEW_HEADS], indirect=True, scope="module")


def called(calls: list[tuple[str, Condition]]) -> pytest.MarkDecorator:
    """Parametrise a test by a pair of models and a way to call them."""
    ids = [f"{name}-{condition.name}" for name, condition in calls]
    return pytest.mark.parametrize(("pair", "condition"), calls, indirect=["pair"], ids=ids, scope="module")


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest) -> Pair:
    return random_pair(BY_NAME[request.param])


@called(CALLS)
def test_returns_what_the_peer_returns(pair: Pair, condition: Condition) -> None:
    assert output_difference(pair, condition.case(pair)) <= TOLERANCE


# The peer computes Llama's norms, angles and softmax in float32 whatever the dtype: test_llama.py has a reference.
@called([call for call in CALLS if not call[0].startswith("Llama")])
def test_formulas_are_the_peers_beyond_rounding(pair: Pair, condition: Condition) -> None:
    exact = in_float64(pair)
    assert output_difference(exact, condition.case(exact)) <= EXACT


@called([call for call in CALLS if not call[1].in_steps])
def test_blocks_of_rows_return_what_the_peer_returns(
    pair: Pair, condition: Condition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a batch so large that it is worked through in blocks; here each is one row."""
    monkeypatch.setattr(row_chunks, "CHUNK_TOKENS", WIDTH)
    assert output_difference(pair, without_attentions_and_cache(condition.case(pair), pair.head)) <= TOLERANCE


@every_head
def test_loss_and_every_gradient_are_the_peers(pair: Pair) -> None:
    loss, gradient = loss_and_gradient_difference(pair)
    assert loss <= TOLERANCE
    assert gradient <= TOLERANCE


@every_head
def test_beams_find_what_the_peers_find(pair: Pair) -> None:
    difference = beams_difference(pair)
    assert (difference is None) == (not hasattr(pair.ours, "generate"))
    assert difference is None or difference <= TOLERANCE


@every_head
def test_one_changed_weight_shows(pair: Pair) -> None:
    changed = copy.deepcopy(pair)
    with torch.no_grad():
        layer = f"1.{changed.ours.layer_paths.feed_forward.down}.weight"
        next(p for name, p in changed.ours.named_parameters() if name.endswith(layer))[0] += 0.1
    assert output_difference(changed, CONDITIONS[0].case(changed)) > TOLERANCE
