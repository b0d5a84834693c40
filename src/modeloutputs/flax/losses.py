"""The loss functions, for training steps: Flax outputs hold no loss. All return a 0-d array.

The formulas, and what they count, are those of `modeloutputs.torch.losses`: a label of -100 is not counted, where
nothing is counted loss and gradient are 0, `num_items` is divided by in place of the number counted here, and
`label_smoothing` mixes the label with the uniform distribution (Szegedy et al., 2016, section 7). Labels are checked
where their values are known; in a trace only their shapes and dtypes are.
"""

from typing import Any

import numpy as np

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
from .inputs import facts, has_values
from .libraries import jax, jnp

__all__ = [
    "causal_lm_loss",
    "cross_entropy",
    "multi_label_loss",
    "question_answering_loss",
    "regression_loss",
    "sequence_classification_loss",
]


def _mean(total: Any, counted: Any, num_items: Any) -> Any:
    items = jnp.asarray(counted if num_items is None else num_items)
    # Without any item the total is 0, and so is the mean.
    return total / jnp.where(items == 0, 1, items)


def _at_least_float32(logits: Any) -> Any:
    return jnp.asarray(logits, jnp.promote_types(jnp.asarray(logits).dtype, jnp.float32))


def _described(labels: Any, what: str = "labels") -> Facts:
    """Describe labels to the checks; their bounds leave ignored ones out."""
    if not (hasattr(labels, "shape") and hasattr(labels, "dtype")):
        raise InputError(f"{what} are a {type(labels).__name__}, not an array; pass a NumPy or JAX array")
    described = facts(labels)._replace(bounds=None)
    if not has_values(labels) or not labels.size:
        return described
    counted = np.where(np.asarray(labels) == IGNORED, 0, np.asarray(labels))
    return described._replace(bounds=(counted.min().item(), counted.max().item()))


def cross_entropy(logits: Any, labels: Any, *, num_items: Any = None, label_smoothing: float = 0.0) -> Any:
    """Return the mean of -log softmax(logits)[label].

    Args:
        logits: (..., classes); computed in float32 at least.
        labels: (...), integers in [0, classes) or -100.
        num_items: what to divide the sum by, instead of the number of labels counted.
        label_smoothing: e in [0, 1].

    Raises:
        InputError: labels of another shape, no integers, or outside the classes; e outside [0, 1].

    Examples:
        >>> logits = jnp.array([[2.0, 0.0], [0.0, 0.0]])
        >>> round(float(cross_entropy(logits, np.array([0, -100]))), 4)  # the second row is ignored
        0.1269
    """
    classes, described = logits.shape[-1], _described(labels)
    check_shape(described, tuple(logits.shape[:-1]))
    check_class_indices(described, classes)
    check_label_smoothing(label_smoothing)
    labels = jnp.asarray(labels)
    counted = labels != IGNORED
    log_probabilities = jax.nn.log_softmax(_at_least_float32(logits), -1)
    chosen = jnp.take_along_axis(log_probabilities, jnp.where(counted, labels, 0)[..., None], -1)[..., 0]
    losses = -(1 - label_smoothing) * chosen - label_smoothing * log_probabilities.mean(-1)
    return _mean(jnp.where(counted, losses, 0).sum(), counted.sum(), num_items)


def causal_lm_loss(logits: Any, labels: Any, *, num_items: Any = None, label_smoothing: float = 0.0) -> Any:
    """Return the cross entropy of each position's logits with the label of the next position.

    The only place where labels are shifted: pass them aligned with the input tokens.

    Args:
        logits: (batch, seq, vocab).
        labels: (batch, seq); the first column is predicted by nothing.
        num_items: see the module; labels of the first column are not among what is counted.
        label_smoothing: see the module.
    """
    check_shape(_described(labels), tuple(logits.shape[:-1]))
    return cross_entropy(logits[:, :-1], labels[:, 1:], num_items=num_items, label_smoothing=label_smoothing)


def multi_label_loss(logits: Any, labels: Any, *, num_items: Any = None, label_smoothing: float = 0.0) -> Any:
    """Return the mean over rows and classes of the binary cross entropy of sigmoid(logits) with the labels.

    Args:
        logits: (batch, classes); computed in float32 at least.
        labels: (batch, classes), floating point in [0, 1], or -100.
        num_items: see the module; counts rows times classes.
        label_smoothing: e moves each label to (1 - e) label + e / 2.

    Raises:
        InputError: labels of another shape or, like e, outside [0, 1].
    """
    described = _described(labels)
    check_shape(described, tuple(logits.shape))
    check_probabilities(described)
    check_label_smoothing(label_smoothing)
    logits, labels = _at_least_float32(logits), jnp.asarray(labels)
    counted = labels != IGNORED
    targets = jnp.where(counted, labels, 0).astype(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    losses = jax.nn.softplus(logits) - logits * targets
    return _mean(jnp.where(counted, losses, 0).sum(), counted.sum(), num_items)


def regression_loss(logits: Any, labels: Any, *, num_items: Any = None) -> Any:
    """Return the mean squared difference. No value is ignored: -100 is a number like others.

    Args:
        logits: (batch, values); computed in float32 at least.
        labels: (batch, values) or, for one value, (batch,); floating point, or integers that count as such.
        num_items: see the module; counts rows times values.

    Raises:
        InputError: labels of another shape.
    """
    _described(labels)
    if logits.shape[-1] == 1 and labels.ndim == 1:
        labels = labels[:, None]
    check_shape(_described(labels), tuple(logits.shape))
    logits = _at_least_float32(logits)
    return _mean(((logits - jnp.asarray(labels, logits.dtype)) ** 2).sum(), labels.size, num_items)


def sequence_classification_loss(
    logits: Any, labels: Any, problem_type: str | None, *, num_items: Any = None, label_smoothing: float = 0.0
) -> Any:
    """Return the loss of a classifier or regressor of rows; see `resolve_problem_type`.

    Args:
        logits: (batch, labels).
        labels: (batch,) or (batch, 1) for one class each, (batch, labels) for several or for regression.
        problem_type: the configuration's, or None.
        num_items: see the module.
        label_smoothing: see the module; not for regression.
    """
    classes, described = logits.shape[-1], _described(labels)
    if described.kind != "floating" and described.shape[1:] == (1,):
        labels = labels[:, 0]  # a column of class indices, as the page's example passes
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
    start_logits: Any,
    end_logits: Any,
    start_positions: Any,
    end_positions: Any,
    *,
    num_items: Any = None,
    label_smoothing: float = 0.0,
) -> Any:
    """Return the mean of the cross entropies of start and end.

    Args:
        start_logits: (batch, seq).
        end_logits: (batch, seq).
        start_positions: (batch,) or (batch, 1). Positions at or beyond seq are not counted: truncation cut that
            answer off.
        end_positions: likewise.
        num_items: see the module; counts rows.
        label_smoothing: see the module.
    """
    ends = [
        cross_entropy(
            logits, _within(positions, logits.shape[-1], what), num_items=num_items, label_smoothing=label_smoothing
        )
        for logits, positions, what in (
            (start_logits, start_positions, "start_positions"),
            (end_logits, end_positions, "end_positions"),
        )
    ]
    return (ends[0] + ends[1]) / 2


def _within(positions: Any, length: int, what: str) -> Any:
    check_class_indices(_described(positions, what), what=what)
    positions = positions[:, 0] if positions.ndim == 2 else positions
    return jnp.where(jnp.asarray(positions) >= length, IGNORED, positions)
