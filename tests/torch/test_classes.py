"""Every output class is what some public call returns, and that call fills every field of it."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import modeloutputs.torch
from modeloutputs.torch import outputs

from .producers import PRODUCERS, Producer, classes, main

CLASSES = dict(classes())
every_class = pytest.mark.parametrize("name", CLASSES)
every_producer = pytest.mark.parametrize(
    "producer", PRODUCERS, ids=[f"{p.returns.__name__}-{p.head}" for p in PRODUCERS]
)


def test_there_are_19() -> None:
    assert len(outputs.__all__) == len(set(outputs.__all__)) == 19
    assert set(outputs.__all__) <= set(modeloutputs.torch.__all__)


@every_class
def test_a_public_call_returns_it(name: str) -> None:
    assert CLASSES[name]
    assert all(producer.call.partition("(")[0] in modeloutputs.torch.__all__ for producer in CLASSES[name])


@every_producer
def test_the_call_returns_just_that_class_with_every_field_as_declared(producer: Producer) -> None:
    output = producer()
    assert type(output) is producer.returns
    output.check()
    declared = set(producer.returns.__output_fields__)
    assert set(output) == declared


@every_producer
def test_no_field_is_empty_or_of_placeholders(producer: Producer) -> None:
    for value in producer().to_tuple():
        entries = value if isinstance(value, tuple) else (value,)
        assert entries
        assert all(entry is not None for entry in entries)


def test_the_table_says_19_of_19(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    assert capsys.readouterr().out.endswith("\n19 of 19 classes\n")
