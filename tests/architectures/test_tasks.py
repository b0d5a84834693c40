"""Which loss a head has, and the checks of labels, on descriptions of labels alone."""

import pytest

from modeloutputs import InputError
from modeloutputs.architectures import tasks
from modeloutputs.architectures.checks import Facts
from modeloutputs.architectures.tasks import (
    IGNORED,
    Task,
    check_class_indices,
    check_label_smoothing,
    check_probabilities,
    check_shape,
    resolve_problem_type,
)

ONE, MANY, VALUE = "single_label_classification", "multi_label_classification", "regression"


def integers(*shape: int, bounds: tuple[float, float] | None = None) -> Facts:
    return Facts(shape, "int64", "index", bounds)


def floats(*shape: int, bounds: tuple[float, float] | None = None) -> Facts:
    return Facts(shape, "float32", "floating", bounds)


BOOLEANS = Facts((3, 3), "bool", "other")
SHORTS = Facts((3,), "int16", "other")

RESOLVED = [
    (None, 3, integers(3), ONE),
    (None, 3, SHORTS, ONE),
    (None, 3, floats(3, 3), MANY),
    (None, 1, floats(3), VALUE),
    (None, 1, floats(3, 1), VALUE),
    (ONE, 3, integers(3), ONE),
    (MANY, 3, floats(3, 3), MANY),
    (MANY, 1, floats(3, 1), MANY),
    (VALUE, 1, floats(3), VALUE),
    (VALUE, 3, floats(3, 3), VALUE),
    (VALUE, 1, integers(3), VALUE),
    (VALUE, 3, integers(3, 3), VALUE),
    (None, 1, integers(3), VALUE),
]


@pytest.mark.parametrize(("configured", "num_labels", "labels", "expected"), RESOLVED)
def test_problem_type_follows_configuration_then_labels(
    configured: str | None, num_labels: int, labels: Facts, expected: str
) -> None:
    assert resolve_problem_type(configured, num_labels, labels) == expected


REFUSED = {
    "floats for one class": (ONE, 3, floats(3, 3), f"problem_type='{ONE}' takes integer class indices"),
    "integers for many classes": (MANY, 3, integers(3), rf"problem_type='{MANY}' takes floating point .*\.float\(\)"),
    "one class, configured": (ONE, 1, integers(3), "num_labels=1: one class is always right"),
    "integers in many columns": (None, 3, integers(3, 3), r"pass \(batch,\) integers .*, \(batch, 3\) floats"),
    "floats in one column": (None, 3, floats(3), "or set config.problem_type"),
    "booleans": (None, 3, BOOLEANS, "labels are bool"),
    "an unknown type": ("regresion", 1, floats(3), "problem_type is 'regresion'; did you mean 'regression'"),
}


@pytest.mark.parametrize(("configured", "num_labels", "labels", "message"), REFUSED.values(), ids=REFUSED)
def test_contradictory_and_undetermined_problem_types_are_refused(
    configured: str | None, num_labels: int, labels: Facts, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        resolve_problem_type(configured, num_labels, labels)
    assert "\n" not in str(caught.value)


def refusal(check: object, *arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        check(*arguments)  # type: ignore[operator]
    return str(caught.value)


def test_labels_of_another_shape_are_refused_by_name() -> None:
    check_shape(integers(4, 6), (4, 6))
    assert refusal(check_shape, integers(4, 5), (4, 6)) == "labels have shape (4, 5); expected (4, 6)"
    assert (
        refusal(check_shape, integers(3), (2,), "start_positions") == "start_positions have shape (3,); expected (2,)"
    )


def test_class_indices_are_integers_within_the_classes() -> None:
    check_class_indices(integers(2, bounds=(0, 4)), 5)
    check_class_indices(SHORTS, 5)
    check_class_indices(integers(2, bounds=(0, 400)))  # any integer will do
    assert (
        refusal(check_class_indices, floats(2)) == "labels are float32; expected integer class indices (labels.long())"
    )
    assert refusal(check_class_indices, BOOLEANS, 2, "end_positions").startswith("end_positions are bool; expected")
    for bounds in ((0, 5), (-1, 0)):
        found = refusal(check_class_indices, integers(2, bounds=bounds), 5)
        assert found == f"labels range from {bounds[0]} to {bounds[1]}; expected 0 to 4, or {IGNORED}"


def test_probabilities_are_from_0_to_1() -> None:
    check_probabilities(floats(2, bounds=(0.0, 1.0)))
    check_probabilities(floats(2))  # unknown values are not checked
    for low, high in ((0.0, 2.0), (-0.5, 1.0), (float("nan"), float("nan"))):
        found = refusal(check_probabilities, floats(2, bounds=(low, high)))
        assert found == f"labels range from {low:g} to {high:g}; expected 0 to 1, or -100"


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, float("nan")])
def test_smoothing_outside_0_to_1_is_refused(smoothing: float) -> None:
    for allowed in (0, 0.1, 1):
        check_label_smoothing(allowed)
    assert refusal(check_label_smoothing, smoothing) == f"label_smoothing is {smoothing}; expected 0 to 1"


def test_every_task_has_a_loss_and_labels() -> None:
    found = {name: value for name, value in vars(tasks).items() if isinstance(value, Task)}
    assert set(found) <= set(tasks.__all__)
    assert {task.loss for task in found.values()} == {"class", "next token", "problem type", "span"}
    assert all(task.labels for task in found.values())
    assert tasks.QUESTION_ANSWERING.labels == ("start_positions", "end_positions")
