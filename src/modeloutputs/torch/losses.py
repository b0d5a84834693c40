"""The loss functions, each formula once. All return a 0-d tensor: the mean over the labels that count.

Everywhere, a label of -100 is not counted; where nothing is counted the loss is 0 and so is its gradient. With
`num_items`, the sum is divided by that instead of by the number counted here, so that the losses of micro-batches add
up to the loss of the whole batch. With `label_smoothing` e, the target is (1 - e) times the label plus e times the
uniform distribution (Szegedy et al., 2016, section 7).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..architectures.checks import Facts
from ..architectures.tasks import (
    IGNORED,
    check_class_indices,
    check_label_smoothing,
    check_probabilities,
    check_shape,
    resolve_problem_type,
)
from ..errors import InputError
from .inputs import facts
from .values import require_tensor, values_on_cpu

__all__ = [
    "NumItems",
    "causal_lm_loss",
    "cross_entropy",
    "multi_label_loss",
    "question_answering_loss",
    "regression_loss",
    "sequence_classification_loss",
]

NumItems = int | float | Tensor


def _mean(total: Tensor, counted: int | Tensor, num_items: NumItems | None) -> Tensor:
    items = counted if num_items is None else num_items
    # Without any item the total is 0, and so is the mean.
    return total / (torch.where(items == 0, 1, items) if isinstance(items, Tensor) else items or 1)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def _described(labels: Tensor, what: str = "labels") -> Facts:
    """Describe labels to the checks, without their bounds."""
    require_tensor(labels, what)
    return facts(labels, with_bounds=False)


def _facts(labels: Tensor) -> Facts:
    """Describe labels to the checks; bounds leave ignored ones out, and are read on the CPU only."""
    described = _described(labels)
    if not values_on_cpu(labels):
        return described
    low, high = torch.where(labels == IGNORED, 0, labels).aminmax()
    return described._replace(bounds=(low.item(), high.item()))


def cross_entropy(
    logits: Tensor, labels: Tensor, *, num_items: NumItems | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean of -log softmax(logits)[label].

    Args:
        logits: (..., classes); computed in float32 at least.
        labels: (...), integers in [0, classes) or -100.
        num_items: what to divide the sum by, instead of the number of labels counted.
        label_smoothing: e in [0, 1].

    Raises:
        InputError: labels of another shape, no integers, or outside the classes; e outside [0, 1].

    Examples:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> cross_entropy(logits, torch.tensor([0, -100]))  # the second row is ignored
        tensor(0.1269)
    """
    classes, described = logits.shape[-1], _facts(labels)
    check_shape(described, tuple(logits.shape[:-1]))
    check_class_indices(described, classes)
    check_label_smoothing(label_smoothing)
    labels = labels.reshape(-1).long()
    flat = _at_least_float32(logits).reshape(-1, classes)
    total = F.cross_entropy(flat, labels, ignore_index=IGNORED, reduction="sum", label_smoothing=label_smoothing)
    return _mean(total, (labels != IGNORED).sum(), num_items)


def causal_lm_loss(
    logits: Tensor, labels: Tensor, *, num_items: NumItems | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the cross entropy of each position's logits with the label of the next position.

    The only place where labels are shifted: pass them aligned with the input tokens.

    Args:
        logits: (batch, seq, vocab).
        labels: (batch, seq); the first column is predicted by nothing.
        num_items: see the module; labels of the first column are not among what is counted.
        label_smoothing: see the module.

    Examples:
        >>> logits = torch.zeros(1, 3, 4)  # all four tokens are equally likely: log 4
        >>> causal_lm_loss(logits, torch.tensor([[0, 1, 2]]))
        tensor(1.3863)
    """
    check_shape(_described(labels), tuple(logits.shape[:-1]))
    shifted = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
    return cross_entropy(logits, shifted, num_items=num_items, label_smoothing=label_smoothing)


def multi_label_loss(
    logits: Tensor, labels: Tensor, *, num_items: NumItems | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean over rows and classes of the binary cross entropy of sigmoid(logits) with the labels.

    Args:
        logits: (batch, classes); computed in float32 at least.
        labels: (batch, classes), floating point in [0, 1], or -100.
        num_items: see the module; counts rows times classes.
        label_smoothing: e moves each label to (1 - e) label + e / 2.

    Raises:
        InputError: labels of another shape or, like e, outside [0, 1].

    Examples:
        >>> multi_label_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))  # log 2
        tensor(0.6931)
    """
    described = _facts(labels)
    check_shape(described, tuple(logits.shape))
    check_probabilities(described)
    check_label_smoothing(label_smoothing)
    logits = _at_least_float32(logits)
    counted = labels != IGNORED
    targets = torch.where(counted, labels, 0.0).to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return _mean(torch.where(counted, losses, 0.0).sum(), counted.sum(), num_items)


def regression_loss(logits: Tensor, labels: Tensor, *, num_items: NumItems | None = None) -> Tensor:
    """Return the mean squared difference. No value is ignored: -100 is a number like others.

    Args:
        logits: (batch, values); computed in float32 at least.
        labels: (batch, values) or, for one value, (batch,); floating point, or integers that count as such.
        num_items: see the module; counts rows times values.

    Raises:
        InputError: labels of another shape.

    Examples:
        >>> regression_loss(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 3.0]))
        tensor(0.5000)
    """
    if logits.shape[-1] == 1 and labels.dim() == 1:
        labels = labels.unsqueeze(-1)
    check_shape(_described(labels), tuple(logits.shape))
    logits = _at_least_float32(logits)
    total = F.mse_loss(logits, labels.to(logits.dtype), reduction="sum")
    return _mean(total, labels.numel(), num_items)


def sequence_classification_loss(
    logits: Tensor,
    labels: Tensor,
    problem_type: str | None,
    *,
    num_items: NumItems | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the loss of a classifier or regressor of rows; see `resolve_problem_type`.

    Args:
        logits: (batch, labels).
        labels: (batch,) or (batch, 1) for one class each, (batch, labels) for several or for regression.
        problem_type: the configuration's, or None.
        num_items: see the module.
        label_smoothing: see the module; not for regression.

    Examples:
        >>> sequence_classification_loss(torch.zeros(1, 2), torch.tensor([1]), None)  # one class: log 2
        tensor(0.6931)
    """
    classes, described = logits.shape[-1], _described(labels)
    if labels.dim() == 2 and labels.shape[1] == 1 and not labels.is_floating_point():
        labels = labels.squeeze(1)  # a column of class indices, as the page's example passes
        described = _described(labels)
    kind = resolve_problem_type(problem_type, classes, described)
    if kind == "single_label_classification":
        return cross_entropy(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
    if kind == "multi_label_classification":
        return multi_label_loss(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
    if label_smoothing:
        raise InputError("label_smoothing is for classes; leave it out for regression")
    return regression_loss(logits, labels, num_items=num_items)


def question_answering_loss(
    start_logits: Tensor,
    end_logits: Tensor,
    start_positions: Tensor,
    end_positions: Tensor,
    *,
    num_items: NumItems | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the mean of the cross entropies of start and end.

    Args:
        start_logits: (batch, seq).
        end_logits: (batch, seq).
        start_positions: (batch,) or (batch, 1). Positions at or beyond seq are not counted: truncation cut that
            answer off.
        end_positions: likewise.
        num_items: see the module; counts rows.
        label_smoothing: see the module.

    Examples:
        >>> scores = torch.zeros(1, 4)
        >>> question_answering_loss(scores, scores, torch.tensor([0]), torch.tensor([2]))
        tensor(1.3863)
    """
    ends = [
        cross_entropy(
            logits,
            _within(positions, logits.shape[-1], what),
            num_items=num_items,
            label_smoothing=label_smoothing,
        )
        for logits, positions, what in (
            (start_logits, start_positions, "start_positions"),
            (end_logits, end_positions, "end_positions"),
        )
    ]
    return (ends[0] + ends[1]) / 2


def _within(positions: Tensor, length: int, what: str) -> Tensor:
    check_class_indices(_described(positions, what), what=what)
    positions = positions.squeeze(-1) if positions.dim() == 2 else positions
    return torch.where(positions >= length, IGNORED, positions)
