"""What editors and type checkers infer about outputs; read by pyright in tests/test_typing.py, never executed.

A `pyright: ignore` here is an assertion too: pyright reports one that is not needed as an error.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=error

import dataclasses
from typing import Any, assert_type

from jaxtyping import Float
from torch import Tensor

import modeloutputs
from modeloutputs import ALWAYS, ModelOutput
from modeloutputs.torch.outputs import BaseModelOutput, CausalLMOutputWithPast, SequenceClassifierOutput


def fields(output: SequenceClassifierOutput, cached: CausalLMOutputWithPast) -> None:
    assert_type(output.loss, Tensor | None)
    assert_type(output.logits, Tensor)
    assert_type(output.hidden_states, tuple[Tensor | None, ...] | None)
    assert_type(cached.past_key_values, tuple[tuple[Tensor, Tensor], ...] | None)
    output.logit  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    output.loss.item()  # pyright: ignore[reportOptionalMemberAccess]
    output.logits.argmax(-1)


def views(output: SequenceClassifierOutput) -> None:
    assert_type(output["logits"], Any)
    assert_type(output[0], Any)
    assert_type(output[:2], tuple[Any, ...])
    assert_type(output.to_tuple(), tuple[Any, ...])
    assert_type(output.to_dict(), dict[str, Any])
    assert_type(list(output.keys()), list[str])
    output[1.5]  # pyright: ignore[reportCallIssue, reportArgumentType]


def copies_keep_the_class(output: SequenceClassifierOutput) -> None:
    assert_type(output.replace(loss=None), SequenceClassifierOutput)
    assert_type(dataclasses.replace(output, loss=None), SequenceClassifierOutput)
    assert_type(output.copy(), SequenceClassifierOutput)
    assert_type(output.check(), SequenceClassifierOutput)
    assert_type(modeloutputs.check(output), SequenceClassifierOutput)


def constructors(tensor: Tensor) -> None:
    SequenceClassifierOutput()
    SequenceClassifierOutput(loss=None, logits=tensor)
    SequenceClassifierOutput(tensor, tensor, (tensor, None))
    SequenceClassifierOutput(logit=tensor)  # pyright: ignore[reportCallIssue]
    SequenceClassifierOutput(logits="text")  # pyright: ignore[reportArgumentType]
    SequenceClassifierOutput(logits=None)  # pyright: ignore[reportArgumentType]
    BaseModelOutput(tensor, None, None, None)  # pyright: ignore[reportCallIssue]


def assignments(output: SequenceClassifierOutput, tensor: Tensor) -> None:
    output.loss = tensor
    output.loss = None
    output.logits = "text"  # pyright: ignore[reportAttributeAccessIssue]
    output.logit = tensor  # pyright: ignore[reportAttributeAccessIssue]
    del output.logit  # pyright: ignore[reportAttributeAccessIssue]


class Mine(ModelOutput):
    """A user's own class: required without a default, optional with one."""

    scores: Float[Tensor, "batch labels"]
    loss: Float[Tensor, ""] | None = None
    mode: str = "mean"


class Extended(BaseModelOutput):
    """A user's class on top of one of ours."""

    probe: Float[Tensor, "batch seq"] = ALWAYS


def own_classes(tensor: Tensor) -> None:
    mine = Mine(tensor, mode="sum")
    assert_type(mine.scores, Tensor)
    assert_type(mine.loss, Tensor | None)
    assert_type(mine.mode, str)
    Mine()  # pyright: ignore[reportCallIssue]
    Mine(tensor, made="sum")  # pyright: ignore[reportCallIssue]
    extended = Extended(last_hidden_state=tensor, probe=tensor)
    assert_type(extended.probe, Tensor)
    assert_type(extended.last_hidden_state, Tensor)
    assert_type(extended.attentions, tuple[Tensor | None, ...] | None)
