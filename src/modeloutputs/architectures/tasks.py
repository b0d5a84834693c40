"""Tasks that heads are trained for: an output class, a loss and labels; and the checks of labels. No framework."""

from dataclasses import dataclass
from typing import Literal

from ..errors import InputError, nearest
from .checks import Facts
from .config import PROBLEM_TYPES

__all__ = [
    "CAUSAL_LM",
    "IGNORED",
    "MASKED_LM",
    "MULTIPLE_CHOICE",
    "NEXT_SENTENCE",
    "QUESTION_ANSWERING",
    "SEQ2SEQ_LM",
    "SEQUENCE_CLASSIFICATION",
    "TOKEN_CLASSIFICATION",
    "Task",
    "check_class_indices",
    "check_label_smoothing",
    "check_probabilities",
    "check_shape",
    "resolve_problem_type",
]

IGNORED = -100
"""The label that is not counted."""


@dataclass(frozen=True)
class Task:
    """The loss of a head, and the arguments that hold its labels."""

    loss: Literal["class", "next token", "problem type", "span"]
    """Cross entropy of each label, of each next token, the loss that fits `problem_type`, or of start and end."""

    labels: tuple[str, ...] = ("labels",)
    """Names of the arguments that hold labels."""


MASKED_LM = Task("class")
CAUSAL_LM = Task("next token")
SEQ2SEQ_LM = Task("class")
NEXT_SENTENCE = Task("class", ("labels", "next_sentence_label"))
SEQUENCE_CLASSIFICATION = Task("problem type")
MULTIPLE_CHOICE = Task("class")
TOKEN_CLASSIFICATION = Task("class")
QUESTION_ANSWERING = Task("span", ("start_positions", "end_positions"))


# -- labels -----------------------------------------------------------------------------------------------------------


def check_shape(labels: Facts, expected: tuple[int, ...], what: str = "labels") -> None:
    """Refuse labels of another shape.

    Raises:
        InputError: naming both shapes.
    """
    if labels.shape != expected:
        raise InputError(f"{what} have shape {labels.shape}; expected {expected}")


def check_class_indices(labels: Facts, classes: int | None = None, what: str = "labels") -> None:
    """Refuse labels that are not integers in [0, classes).

    Args:
        labels: their bounds leave `IGNORED` out.
        classes: number of classes; None if any integer will do.
        what: name of the argument.

    Raises:
        InputError: naming what was found.
    """
    if labels.kind == "floating" or (labels.kind == "other" and "bool" in str(labels.dtype)):
        raise InputError(f"{what} are {labels.dtype}; expected integer class indices (labels.long())")
    if classes is not None and labels.bounds is not None and (labels.bounds[0] < 0 or labels.bounds[1] >= classes):
        low, high = map(int, labels.bounds)
        raise InputError(f"{what} range from {low} to {high}; expected 0 to {classes - 1}, or {IGNORED}")


def check_probabilities(labels: Facts) -> None:
    """Refuse labels outside [0, 1]; their bounds leave `IGNORED` out.

    Raises:
        InputError: naming the range found.
    """
    if labels.bounds is not None and not (labels.bounds[0] >= 0 and labels.bounds[1] <= 1):
        low, high = labels.bounds
        raise InputError(f"labels range from {low:g} to {high:g}; expected 0 to 1, or {IGNORED}")


def check_label_smoothing(label_smoothing: float) -> None:
    """Refuse a label smoothing outside [0, 1].

    Raises:
        InputError: naming the value.
    """
    if not 0 <= label_smoothing <= 1:
        raise InputError(f"label_smoothing is {label_smoothing}; expected 0 to 1")


def resolve_problem_type(problem_type: str | None, num_labels: int, labels: Facts) -> str:
    """Return which of the three losses fits: the configuration's or, without one, the one that the labels imply.

    Args:
        problem_type: the configuration's, or None.
        num_labels: number of scores of each row.
        labels: their shape and dtype.

    Raises:
        InputError: labels that contradict the configuration or fit no loss, one class only, or an unknown type.
    """
    if problem_type is not None and problem_type not in PROBLEM_TYPES:
        raise InputError(f"problem_type is {problem_type!r}{nearest(problem_type, PROBLEM_TYPES)}")
    floating = labels.kind == "floating"
    found = f"labels are {labels.dtype} of shape {labels.shape} for num_labels={num_labels}"
    if problem_type == "regression" or (problem_type is None and num_labels == 1):
        return "regression"  # integers are numbers too
    if problem_type is not None and floating == (problem_type == "single_label_classification"):
        wanted = "integer class indices" if floating else "floating point labels (labels.float())"
        raise InputError(f"{found}, and problem_type={problem_type!r} takes {wanted}")
    if num_labels == 1 and not floating:
        raise InputError(f"{found}: one class is always right; set num_labels=2, or problem_type='regression'")
    if problem_type is not None:
        return problem_type
    if not floating and len(labels.shape) <= 1:
        return "single_label_classification"
    if floating and len(labels.shape) == 2:
        return "multi_label_classification"
    raise InputError(
        f"{found}: pass (batch,) integers for one class each, (batch, {num_labels}) floats for several, "
        "or set config.problem_type"
    )
