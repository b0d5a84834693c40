"""Output classes with NumPy arrays, for the tests of what their annotations mean."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from modeloutputs import ALWAYS, ModelOutput

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
