"""Each loss against its formula written out, and the rules that all of them follow."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modeloutputs import InputError
from modeloutputs.architectures.tasks import IGNORED
from modeloutputs.torch import losses

CLASSES = 5
POSITIONS = (4, 6)


def logits(*shape: int, dtype: "torch.dtype" = torch.float64, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (3 * values).to(dtype).requires_grad_()


def labels(count: int = CLASSES, shape: tuple[int, ...] = POSITIONS, ignored: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    chosen = torch.randint(0, count, shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < ignored, IGNORED, chosen)


def token_example() -> tuple[list[Tensor], list[Tensor]]:
    return [logits(*POSITIONS, CLASSES)], [labels()]


def many_classes_example() -> tuple[list[Tensor], list[Tensor]]:
    wanted = labels(2, (4, CLASSES)).double()
    return [logits(4, CLASSES)], [wanted]


def regression_example() -> tuple[list[Tensor], list[Tensor]]:
    return [logits(4, 3)], [logits(4, 3, seed=1).detach()]


def answer_example() -> tuple[list[Tensor], list[Tensor]]:
    starts, ends = torch.tensor([0, 5, -100, 6]), torch.tensor([3, 5, 6, 9])
    return [logits(4, 6), logits(4, 6, seed=2)], [starts, ends]


Loss = Callable[..., Tensor]
Example = Callable[[], tuple[list[Tensor], list[Tensor]]]

EXAMPLES: dict[str, tuple[Loss, Example]] = {
    "cross entropy": (losses.cross_entropy, token_example),
    "causal": (losses.causal_lm_loss, token_example),
    "many classes": (losses.multi_label_loss, many_classes_example),
    "regression": (losses.regression_loss, regression_example),
    "answers": (losses.question_answering_loss, answer_example),
}
SMOOTHED = {name: example for name, example in EXAMPLES.items() if name != "regression"}
every_loss = pytest.mark.parametrize(("loss", "example"), EXAMPLES.values(), ids=EXAMPLES)
every_smoothed_loss = pytest.mark.parametrize(("loss", "example"), SMOOTHED.values(), ids=SMOOTHED)


def gradients(value: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(value, inputs))


# -- formulas ---------------------------------------------------------------------------------------------------------


def log_probability(scores: Tensor, index: int) -> Tensor:
    return scores[index] - torch.log(torch.exp(scores).sum())


def smoothed_term(scores: Tensor, label: int, smoothing: float) -> Tensor:
    """-Σ target log p, where the target is (1 - e) of the label and e shared evenly."""
    uniform = sum(log_probability(scores, i) for i in range(len(scores))) / len(scores)
    return -(1 - smoothing) * log_probability(scores, label) - smoothing * uniform


def mean_of_terms(scores: Tensor, wanted: Tensor, smoothing: float = 0.0) -> Tensor:
    pairs = zip(scores.reshape(-1, scores.shape[-1]), wanted.reshape(-1).tolist(), strict=True)
    terms = [smoothed_term(row, label, smoothing) for row, label in pairs if label != IGNORED]
    return torch.stack(terms).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_is_the_mean_over_counted_positions(smoothing: float) -> None:
    scores, wanted = logits(*POSITIONS, CLASSES), labels()
    found = losses.cross_entropy(scores, wanted, label_smoothing=smoothing)
    torch.testing.assert_close(found, mean_of_terms(scores, wanted, smoothing))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_causal_loss_pairs_each_position_with_the_next_label(smoothing: float) -> None:
    scores, wanted = logits(*POSITIONS, CLASSES), labels()
    expected = mean_of_terms(scores[:, :-1], wanted[:, 1:], smoothing)
    torch.testing.assert_close(losses.causal_lm_loss(scores, wanted, label_smoothing=smoothing), expected)


def test_causal_loss_of_a_perfect_prediction_is_zero() -> None:
    """Scores that name the next token: labels shifted never, or twice, would not fit them."""
    tokens = torch.tensor([[3, 1, 4, 1, 2]])
    scores = torch.zeros(1, 5, CLASSES).scatter_(2, tokens.roll(-1, 1)[..., None], 100.0)
    assert losses.causal_lm_loss(scores, tokens) == 0


def test_causal_loss_does_not_cross_rows() -> None:
    scores, wanted = logits(*POSITIONS, CLASSES), labels(ignored=0)
    rows = [losses.causal_lm_loss(scores[i : i + 1], wanted[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(losses.causal_lm_loss(scores, wanted), torch.stack(rows).mean())


def test_causal_loss_of_one_position_is_zero() -> None:
    assert losses.causal_lm_loss(logits(2, 1, CLASSES), labels(shape=(2, 1), ignored=0)) == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_many_classes_loss_is_the_mean_of_binary_cross_entropies(smoothing: float) -> None:
    (scores,), (wanted,) = many_classes_example()
    counted = wanted != IGNORED
    target = (wanted * (1 - smoothing) + smoothing / 2)[counted]
    p = torch.sigmoid(scores[counted])
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    torch.testing.assert_close(losses.multi_label_loss(scores, wanted, label_smoothing=smoothing), expected)


def test_regression_loss_is_the_mean_squared_difference() -> None:
    (scores,), (wanted,) = regression_example()
    torch.testing.assert_close(losses.regression_loss(scores, wanted), ((scores - wanted) ** 2).mean())


def test_regression_takes_one_value_a_row_as_a_vector_or_a_column() -> None:
    scores, wanted = logits(4, 1), logits(4, seed=1).detach()
    expected = ((scores[:, 0] - wanted) ** 2).mean()
    torch.testing.assert_close(losses.regression_loss(scores, wanted), expected)
    torch.testing.assert_close(losses.regression_loss(scores, wanted[:, None]), expected)


@pytest.mark.parametrize(
    ("columns", "wanted"), [(1, [0, 3, -100]), (1, [[0], [3], [5]]), (2, [[0, 1], [3, 2], [5, 4]])]
)
@pytest.mark.parametrize("configured", [None, "regression"])
def test_integers_are_regressed_to_as_the_peer_does(columns: int, wanted: list[Any], configured: str | None) -> None:
    peer = pytest.importorskip("transformers.loss.loss_utils", reason="transformers is not installed")
    scores, numbers = logits(3, columns), torch.tensor(wanted)
    if configured is None and columns > 1:
        with pytest.raises(InputError, match=r"labels are torch\.int64"):
            losses.sequence_classification_loss(scores, numbers, configured)
        return
    config = SimpleNamespace(num_labels=columns, problem_type=configured)
    expected = peer.ForSequenceClassificationLoss(numbers, scores, config)
    torch.testing.assert_close(losses.sequence_classification_loss(scores, numbers, configured), expected)


@pytest.mark.parametrize("wanted", [[0, 1], "01"])
def test_labels_that_are_no_tensor_are_refused(wanted: Any) -> None:
    for loss in (losses.cross_entropy, losses.multi_label_loss, losses.regression_loss, losses.causal_lm_loss):
        with pytest.raises(InputError, match=r"labels is .*; expected a torch.Tensor"):
            loss(logits(2, 2), wanted)


def test_regression_ignores_no_value() -> None:
    assert losses.regression_loss(torch.zeros(2, 1), torch.tensor([-100.0, 0.0])) == 5000


def test_answer_loss_is_the_mean_of_both_ends_without_truncated_answers() -> None:
    (start, end), (starts, ends) = answer_example()
    expected = (mean_of_terms(start[:2], starts[:2]) + mean_of_terms(end[:2], ends[:2])) / 2
    torch.testing.assert_close(losses.question_answering_loss(start, end, starts, ends), expected)


def test_answer_positions_may_be_columns() -> None:
    (start, end), (starts, ends) = answer_example()
    columns = losses.question_answering_loss(start, end, starts[:, None], ends[:, None])
    assert columns == losses.question_answering_loss(start, end, starts, ends)


@every_loss
def test_gradients_are_those_of_finite_differences(loss: Loss, example: Example) -> None:
    scores, wanted = example()
    assert torch.autograd.gradcheck(lambda *inputs: loss(*inputs, *wanted), scores)


@every_smoothed_loss
def test_gradients_with_smoothing_are_those_of_finite_differences(loss: Loss, example: Example) -> None:
    scores, wanted = example()
    assert torch.autograd.gradcheck(lambda *inputs: loss(*inputs, *wanted, label_smoothing=0.1, num_items=7), scores)


# -- against the peer -------------------------------------------------------------------------------------------------


def test_causal_loss_is_the_peers_with_and_without_num_items() -> None:
    peer = pytest.importorskip("transformers.loss.loss_utils", reason="transformers is not installed")
    scores, wanted = logits(*POSITIONS, CLASSES, dtype=torch.float32), labels()
    for num_items in (None, 11, torch.tensor(11)):
        expected = peer.ForCausalLMLoss(scores, wanted, CLASSES, num_items_in_batch=num_items)
        torch.testing.assert_close(losses.causal_lm_loss(scores, wanted, num_items=num_items), expected)


def test_answer_loss_is_the_peers() -> None:
    peer = pytest.importorskip("transformers.loss.loss_utils", reason="transformers is not installed")
    start, end = logits(4, 6), logits(4, 6, seed=2)
    starts, ends = torch.tensor([0, 5, 2, 6]), torch.tensor([3, 5, 6, 9])
    expected = peer.ForQuestionAnsweringLoss(start, end, starts, ends)
    torch.testing.assert_close(losses.question_answering_loss(start, end, starts, ends), expected)


# -- what is not counted ----------------------------------------------------------------------------------------------


@every_loss
def test_losses_are_scalars(loss: Loss, example: Example) -> None:
    scores, wanted = example()
    assert loss(*scores, *wanted).shape == ()


@pytest.mark.parametrize("num_items", [None, 0, 0.0, torch.tensor(0), 7])
@every_smoothed_loss
def test_where_no_label_counts_loss_and_gradient_are_zero(loss: Loss, example: Example, num_items: Any) -> None:
    scores, wanted = example()
    nothing = [torch.full_like(tensor, IGNORED) for tensor in wanted]
    for smoothing in (0.0, 0.1):
        value = loss(*scores, *nothing, num_items=num_items, label_smoothing=smoothing)
        assert value == 0
        assert not any(gradient.any() for gradient in gradients(value, scores))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_scores_at_ignored_positions_change_nothing(smoothing: float) -> None:
    scores, wanted = logits(*POSITIONS, CLASSES), labels()
    value = losses.cross_entropy(scores, wanted, label_smoothing=smoothing)
    (gradient,) = gradients(value, [scores])
    changed = torch.where((wanted == IGNORED)[..., None], scores + 50, scores)
    assert value == losses.cross_entropy(changed, wanted, label_smoothing=smoothing)
    assert not gradient[wanted == IGNORED].any()


@settings(deadline=None)
@given(st.data())
def test_ignored_positions_count_for_nothing_whatever_their_number(data: st.DataObject) -> None:
    """The loss over any positions is that of just those which are counted."""
    wanted = torch.tensor(data.draw(st.lists(st.sampled_from([-100, 0, 1, 2]), min_size=1, max_size=8)))
    smoothing = data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    scores = logits(len(wanted), 3)
    kept = wanted != IGNORED
    alone = losses.cross_entropy(scores[kept], wanted[kept], label_smoothing=smoothing)
    torch.testing.assert_close(losses.cross_entropy(scores, wanted, label_smoothing=smoothing), alone)


def test_an_empty_batch_has_no_loss() -> None:
    assert losses.cross_entropy(torch.empty(0, 3), torch.empty(0, dtype=torch.long)) == 0
    assert losses.regression_loss(torch.empty(0, 1), torch.empty(0)) == 0


# -- micro-batches ----------------------------------------------------------------------------------------------------


def counted_items(name: str, wanted: list[Tensor]) -> int:
    if name == "regression":
        return wanted[0].numel()
    return int((wanted[0][:, 1:] if name == "causal" else wanted[0]).ne(IGNORED).sum())


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("name", EXAMPLES)
def test_micro_batches_sum_to_the_whole_batch(name: str, as_tensor: bool) -> None:
    loss, example = EXAMPLES[name]
    scores, wanted = example()
    if name == "answers":
        wanted = [torch.tensor([0, 5, -100, 3]), torch.tensor([3, 5, -100, 1])]  # as many starts as ends
    count: Any = counted_items(name, wanted)
    count = torch.tensor(count) if as_tensor else count
    whole = loss(*scores, *wanted)
    rows = (slice(0, 1), slice(1, 4))  # of unequal size: a mean of means would not do
    parts = [loss(*(s[r] for s in scores), *(w[r] for w in wanted), num_items=count) for r in rows]
    torch.testing.assert_close(sum(parts), whole)
    for found, expected in zip(gradients(sum(parts), scores), gradients(whole, scores), strict=True):
        torch.testing.assert_close(found, expected)


# -- dtypes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_loss
def test_half_precision_scores_are_computed_with_in_float32(loss: Loss, example: Example, dtype: "torch.dtype") -> None:
    scores, wanted = example()
    half = [score.detach().to(dtype) for score in scores]
    found = loss(*half, *wanted)
    assert found.dtype == torch.float32
    assert found == loss(*(score.float() for score in half), *wanted)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_labels_of_any_integer_type_are_classes(dtype: "torch.dtype") -> None:
    scores, wanted = logits(*POSITIONS, CLASSES), labels(ignored=0)
    assert losses.cross_entropy(scores, wanted.to(dtype)) == losses.cross_entropy(scores, wanted)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_labels_outside_the_classes_are_refused() -> None:
    for label, expected in ((5, "from 0 to 5; expected 0 to 4, or -100"), (-1, "from -1 to 0; expected 0 to 4")):
        with pytest.raises(InputError, match=f"labels range {expected}"):
            losses.cross_entropy(logits(2, CLASSES), torch.tensor([0, label]))


def test_labels_outside_0_to_1_are_refused() -> None:
    with pytest.raises(InputError, match="labels range from 0 to 2; expected 0 to 1, or -100"):
        losses.multi_label_loss(logits(1, 2), torch.tensor([[0.0, 2.0]]))


def test_negative_answer_positions_are_refused() -> None:
    """A peer moves them to 0, silently: the answer would be the first token."""
    with pytest.raises(InputError, match="range from -1 to 3; expected 0 to 5, or -100"):
        losses.question_answering_loss(logits(2, 6), logits(2, 6), torch.tensor([-1, 3]), torch.tensor([0, 3]))


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.causal_lm_loss])
def test_labels_of_another_shape_are_refused(loss: Loss) -> None:
    with pytest.raises(InputError, match=r"labels have shape \(4, 5\); expected \(4, 6\)"):
        loss(logits(*POSITIONS, CLASSES), labels(shape=(4, 5)))


def test_a_vector_of_labels_for_several_values_is_refused() -> None:
    """Subtracting it would broadcast, and the loss would be of every value with every row."""
    with pytest.raises(InputError, match=r"labels have shape \(3,\); expected \(3, 3\)"):
        losses.regression_loss(logits(3, 3), torch.zeros(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_labels_that_are_not_integers_are_refused(dtype: "torch.dtype") -> None:
    with pytest.raises(InputError, match=rf"labels are {dtype}; expected integer class indices \(labels.long\(\)\)"):
        losses.cross_entropy(logits(2, CLASSES), torch.zeros(2, dtype=dtype))
    with pytest.raises(InputError, match=f"start_positions are {dtype}"):
        losses.question_answering_loss(logits(1, 2), logits(1, 2), torch.zeros(1, dtype=dtype), torch.zeros(1))


@pytest.mark.parametrize("smoothing", [-0.1, 1.5])
@every_smoothed_loss
def test_smoothing_outside_zero_to_one_is_refused(loss: Loss, example: Example, smoothing: float) -> None:
    scores, wanted = example()
    with pytest.raises(InputError, match=f"label_smoothing is {smoothing}; expected 0 to 1"):
        loss(*scores, *wanted, label_smoothing=smoothing)


# -- which loss a classifier of rows has ------------------------------------------------------------------------------

ONE, MANY, VALUE = "single_label_classification", "multi_label_classification", "regression"
CLASS_INDICES = torch.tensor([0, 2, 1])
INDICATORS = torch.tensor([[0.0, 1.0, 1.0]] * 3)
VALUES = torch.tensor([0.5, -1.0, 2.0])


@pytest.mark.parametrize(
    ("configured", "num_labels", "wanted", "message"),
    [
        (ONE, 3, INDICATORS, "labels are torch.float32 of shape .*takes integer class indices"),
        (None, 3, INDICATORS.bool(), "labels are torch.bool"),
        ("regresion", 1, VALUES, "problem_type is 'regresion'; did you mean 'regression'"),
    ],
)
def test_labels_that_fit_no_loss_are_refused(
    configured: str | None, num_labels: int, wanted: Tensor, message: str
) -> None:
    """Which do is the subject of tests/architectures/test_tasks.py."""
    with pytest.raises(InputError, match=message):
        losses.sequence_classification_loss(logits(3, num_labels), wanted, configured)


def test_row_classifiers_have_the_loss_that_is_resolved() -> None:
    scores = logits(3, 3)
    classify = losses.sequence_classification_loss
    assert classify(scores, CLASS_INDICES, None) == losses.cross_entropy(scores, CLASS_INDICES)
    assert classify(scores, INDICATORS, None) == losses.multi_label_loss(scores, INDICATORS)
    assert classify(scores, INDICATORS, VALUE) == losses.regression_loss(scores, INDICATORS)
    smooth = {"label_smoothing": 0.1, "num_items": 6}
    assert classify(scores, CLASS_INDICES, ONE, **smooth) == losses.cross_entropy(scores, CLASS_INDICES, **smooth)
    assert classify(scores, INDICATORS, MANY, **smooth) == losses.multi_label_loss(scores, INDICATORS, **smooth)


def test_a_column_of_class_indices_is_a_vector() -> None:
    scores = logits(3, 3)
    column = losses.sequence_classification_loss(scores, CLASS_INDICES[:, None], None)
    assert column == losses.cross_entropy(scores, CLASS_INDICES)


def test_regression_has_no_smoothing() -> None:
    with pytest.raises(InputError, match="label_smoothing is for classes; leave it out for regression"):
        losses.sequence_classification_loss(logits(3, 1), VALUES, None, label_smoothing=0.1)
