"""Output classes that the tests of `modeloutputs.output` share."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from jaxtyping import Float, Int

from modeloutputs import ALWAYS, ModelOutput
from modeloutputs.output import field_names

from ..support.random_outputs import class_named
from ..support.random_outputs import full as random_output

Array = np.ndarray[Any, Any]
Vector = Float[Array, "batch"]
Matrix = Float[Array, "batch hidden"]


class Checked(ModelOutput):
    loss: Float[Array, ""] | None = None
    logits: Float[Array, "batch labels"] = ALWAYS
    hidden_states: tuple[Float[Array, "batch seq hidden"] | None, ...] | None = None
    ids: Int[Array, "batch seq"] | None = None


class Plain(ModelOutput):
    number: int | None = None
    named: dict[str, Matrix] | None = None
    listed: list[Matrix] | None = None
    pair: tuple[int, str] | None = None
    either: str | list[int] | None = None
    mapping: Mapping[str, int] | None = None
    anything: Any = None
    literal: Literal["a"] | None = None
    sequence: Sequence[int] | None = None
    bare: tuple | None = None  # pyright: ignore[reportMissingTypeArgument]
    inner: Checked | None = None


def f32(*shape: int) -> Any:
    return np.zeros(shape, "f4")


class Masked(ModelOutput):
    loss: float | None = None
    logits: str = ALWAYS
    hidden_states: tuple[Any, ...] | None = None
    attentions: tuple[Any, ...] | None = None


@dataclasses.dataclass
class Decorated(ModelOutput):
    loss: float | None = None
    logits: str = ALWAYS
    mode: str = "mean"
    notes: list[str] = dataclasses.field(default_factory=list)


class Defaulted(ModelOutput):
    mode: str | None = "mean"
    notes: list[str] | None = dataclasses.field(default_factory=list)
    loss: float | None = None


def full() -> Masked:
    return Masked(loss=0.5, logits="l", hidden_states=(1, 2))


def views(output: ModelOutput) -> tuple[list[str], tuple[Any, ...], dict[str, Any]]:
    """Give names, tuple and attributes, after asserting that all views agree."""
    names = list(output.keys())
    assert names == [name for name in field_names(output) if getattr(output, name) is not None]
    assert output.to_tuple() == tuple(output[name] for name in names) == tuple(output.values())
    assert output.to_dict() == dict(output.items()) == dict(output)
    assert [name for name in field_names(output) if name in output] == names
    assert len(output) == len(names)
    assert all(output[i] is output[name] for i, name in enumerate(names))
    return names, output.to_tuple(), {name: getattr(output, name) for name in field_names(output)}


class Moved(ModelOutput):
    loss: Any = None
    table: Any = None


FULL = [("CausalLMOutputWithPast", "torch"), ("FlaxBaseModelOutputWithPast", "jax"), ("TFCausalLMOutput", "tensorflow")]
every_framework = pytest.mark.parametrize(("class_name", "kind"), FULL, ids=[kind for _, kind in FULL])


def complete(class_name: str, kind: str) -> Any:
    """Return an output with every field filled, a hidden state not asked for, and the last one in two places."""
    pytest.importorskip(kind, reason=f"{kind} is not installed")
    output = random_output(class_named(class_name), kind)
    output.hidden_states = (None, *output.hidden_states)
    if "last_hidden_state" in output:
        output.last_hidden_state = output.hidden_states[-1]
    return output
